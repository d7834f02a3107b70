"""Clips of a photographed face that moves in a way known exactly, for the tests of faces and spotting."""

from collections.abc import Callable

import cv2
import numpy as np
from skimage import data

from mer_hf.clip import Clip

# Places on the face of skimage.data.astronaut(), in its pixels (its eyes are 42 px apart).
FACE_XY = np.array([225.0, 125.0])
INTEROCULAR_PX = 42.0
BROWS_XY = np.array([[192.0, 90.0], [205.0, 92.0], [244.0, 93.0], [257.0, 94.0]])
MOUTH_CORNERS_XY = np.array([[205.0, 147.0], [249.0, 147.0]])
NOSE_XY = np.array([225.0, 125.0])
EYES = (((194.9, 100.6), (213.1, 103.6), 98.5, 105.0), ((236.1, 104.7), (255.5, 104.1), 99.5, 107.0))
"""Per eye: image-left corner, image-right corner, row of the upper lid, row of the lower lid."""

Field = Callable[[np.ndarray], np.ndarray]


def bumps(centres_xy: np.ndarray, moves_xy: np.ndarray, sigma_px: float = 8.0) -> Field:
    """Displacement in photograph pixels: one Gaussian bump per centre."""

    def field(points_xy: np.ndarray) -> np.ndarray:
        moved = np.zeros_like(points_xy)
        for centre, move in zip(centres_xy, moves_xy, strict=True):
            distance2 = ((points_xy - centre) ** 2).sum(-1)
            moved += np.exp(-distance2 / (2 * sigma_px**2))[..., None] * move
        return moved

    return field


def brow_raise(points_xy: np.ndarray) -> np.ndarray:
    """Both brows one photograph pixel upwards."""
    return bumps(BROWS_XY, np.tile([0.0, -0.62], (4, 1)))(points_xy)


def smile(points_xy: np.ndarray) -> np.ndarray:
    """Both mouth corners about one photograph pixel outwards and upwards."""
    return bumps(MOUTH_CORNERS_XY, np.array([[-0.8, -0.6], [0.8, -0.6]]))(points_xy)


def closed_lids(points_xy: np.ndarray) -> np.ndarray:
    """Both upper lids down on the lower ones; what lies between is squeezed, the skin above follows."""
    moved = np.zeros_like(points_xy)
    for left, right, upper, lower in EYES:
        across = (points_xy[..., 0] - (left[0] + right[0]) / 2) / ((right[0] - left[0]) / 2)
        below_lid = points_xy[..., 1] - lower
        opening = lower - upper
        along = np.where(below_lid > 0, 0.0, np.exp(-np.clip(-below_lid - 0.05 * opening, 0, None) / 4.0))
        moved[..., 1] += 0.85 * opening * np.clip(1 - across**2, 0, 1) * along
    return moved


def drift(count: int, fps: float, size_px: float = 3.0, turn_deg: float = 1.5, seed: int = 0) -> np.ndarray:
    """Slow motion of a head: similarities `(T, 2, 3)` in photograph pixels about the face."""
    rng = np.random.default_rng(seed)
    frequency, phase = rng.uniform(0.2, 0.6, 4), rng.uniform(0, 2 * np.pi, 4)
    angle = 2 * np.pi * frequency * np.arange(count)[:, None] / fps + phase
    wave = np.sin(angle) - np.sin(phase)
    motions = []
    for turn, zoom, dx, dy in wave:
        motions.append(cv2.getRotationMatrix2D((0, 0), turn * turn_deg, 1 + 0.01 * zoom))
        motions[-1][:, 2] = FACE_XY - motions[-1][:, :2] @ FACE_XY + size_px * np.array([dx, dy])
    return np.stack(motions)


def render(
    motions: np.ndarray,
    fps: float = 30.0,
    fields: list[tuple[np.ndarray, Field]] = (),
    scale: float = 1.42,
    size_wh: tuple[int, int] = (480, 360),
    noise: float = 2.0,
    seed: int = 0,
    photo: np.ndarray | None = None,
) -> tuple[Clip, np.ndarray]:
    """A clip of the photograph under rigid motions and local displacements.

    Args:
        motions: `(T, 2, 3)`, in photograph pixels.
        fields: Pairs of amplitude per frame `(T,)` and displacement field at amplitude 1.
        scale: Clip pixels per photograph pixel.
        noise: Standard deviation of the sensor's noise in grey levels.

    Returns:
        The clip, and the maps `(T, 2, 3)` from photograph to clip pixels without the local displacements.
    """
    photo = data.astronaut() if photo is None else photo
    rng = np.random.default_rng(seed)
    width, height = size_wh
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    points = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float64)
    frames, maps = [], []
    for i, motion in enumerate(motions):
        turn = scale * motion[:, :2]
        shift = scale * (motion[:, 2] - FACE_XY - (0, 15)) + centre
        maps.append(np.column_stack([turn, shift]))
        at = (points - shift) @ np.linalg.inv(turn).T
        at = at - sum((amplitude[i] * field(at) for amplitude, field in fields if amplitude[i]), np.zeros(2))
        x, y = np.moveaxis(at.astype(np.float32), -1, 0)
        frame = cv2.remap(photo, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        frame += noise * rng.standard_normal(frame.shape, dtype=np.float32)
        frames.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
    return Clip(np.stack(frames), np.arange(len(motions)) / fps), np.stack(maps)


def raised_cosine(count: int, onset: int, apex: int, offset: int) -> np.ndarray:
    """Amplitude per frame: 0 until the onset, 1 at the apex, 0 from the offset on."""
    t = np.arange(count, dtype=np.float64)
    rise = np.clip((t - onset) / max(apex - onset, 1), 0, 1)
    fall = np.clip((offset - t) / max(offset - apex, 1), 0, 1)
    return 0.5 - 0.5 * np.cos(np.pi * np.minimum(rise, fall))
