"""Clips of a photographed face that moves in a way known exactly, for the tests of faces and spotting."""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from skimage import data

from mer_hf.face import landmarks
from mer_hf.face.registration import apply, compose, fit_similarity, invert, sample
from mer_hf.face.tracking import FaceGeometry, FaceTrack, track_face
from mer_hf.video.clip import Clip

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


def squeezed_lids(points_xy: np.ndarray) -> np.ndarray:
    """Both upper lids down on the lower ones, the eyeball squeezed in between, as a drawn face blinks."""
    moved = np.zeros_like(points_xy)
    for left, right, upper, lower in EYES:
        across = (points_xy[..., 0] - (left[0] + right[0]) / 2) / ((right[0] - left[0]) / 2)
        below_lid = points_xy[..., 1] - lower
        opening = lower - upper
        along = np.where(below_lid > 0, 0.0, np.exp(-np.clip(-below_lid - 0.05 * opening, 0, None) / 4.0))
        moved[..., 1] += 0.85 * opening * np.clip(1 - across**2, 0, 1) * along
    return moved


def blink(points_xy: np.ndarray, amount: float) -> np.ndarray:
    """Both upper lids slide down over the eyeballs, which stay; skin above is stretched to cover them."""
    moved = np.zeros_like(points_xy)
    skin_px = 7.0
    for left, right, upper, lower in EYES:
        across = (points_xy[..., 0] - (left[0] + right[0]) / 2) / ((right[0] - left[0]) / 2)
        edge = upper + 0.95 * amount * (lower - upper) * np.sqrt(np.clip(1 - across**2, 0, 1))
        depth = points_xy[..., 1] - (upper - skin_px)
        shown = skin_px + edge - upper
        covered = (depth > 0) & (depth < shown)
        moved[..., 1] += np.where(covered, depth * (1 - skin_px / shown), 0.0)
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
    size_wh: tuple[int, int] = (400, 360),
    noise: float = 2.0,
    seed: int = 0,
    photo: np.ndarray | None = None,
) -> tuple[Clip, np.ndarray]:
    """A clip of the photograph under rigid motions and local displacements.

    Args:
        motions: `(T, 2, 3)`, in photograph pixels.
        fields: Pairs of amplitude per frame `(T,)` and displacement field at amplitude 1 (or `blink`).
        scale: Clip pixels per photograph pixel.
        noise: Standard deviation of the sensor's noise in grey levels.

    Returns:
        The clip, and the maps `(T, 2, 3)` from photograph to clip pixels without the local displacements.
    """
    photo = data.astronaut() if photo is None else photo
    rng = np.random.default_rng(seed)
    bank = noise * rng.standard_normal(2_000_003, dtype=np.float32)
    width, height = size_wh
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    grid = np.stack(np.meshgrid(np.arange(130.0, 320.0), np.arange(30.0, 220.0)), axis=-1)
    steps = [None if field is blink else field(grid) for _, field in fields]
    frames, maps = [], []
    for i, motion in enumerate(motions):
        turn = scale * motion[:, :2]
        maps.append(np.column_stack([turn, scale * (motion[:, 2] - FACE_XY - (0, 15)) + centre]))
        at = grid.copy()
        for (amplitude, _), step in zip(fields, steps, strict=True):
            at -= blink(grid, amplitude[i]) if step is None else amplitude[i] * step
        x, y = np.moveaxis(at.astype(np.float32), -1, 0)
        face = photo.copy()
        face[30:220, 130:320] = cv2.remap(photo, x, y, cv2.INTER_CUBIC)
        frame = cv2.warpAffine(
            face, maps[-1], size_wh, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        start = rng.integers(len(bank) - frame.size)
        grain = bank[start : start + frame.size].reshape(frame.shape)
        frames.append(np.clip(np.rint(frame + grain), 0, 255).astype(np.uint8))
    return Clip(np.stack(frames), np.arange(len(motions)) / fps), np.stack(maps)


def raised_cosine(count: int, onset: int, apex: int, offset: int) -> np.ndarray:
    """Amplitude per frame: 0 until the onset, 1 at the apex, 0 from the offset on."""
    t = np.arange(count, dtype=np.float64)
    rise = np.clip((t - onset) / max(apex - onset, 1), 0, 1)
    fall = np.clip((offset - t) / max(offset - apex, 1), 0, 1)
    return 0.5 - 0.5 * np.cos(np.pi * np.minimum(rise, fall))


@cache
def photograph_landmarks() -> np.ndarray:
    """The face mesh of the photograph, `(478, 2)` in its pixels: the one time that it is searched for."""
    track = track_face(Clip(data.astronaut()[None], np.zeros(1)))
    return apply(track.to_clip[0].astype(np.float64), track.landmarks_xy[0].astype(np.float64))


def _moved(points_xy: np.ndarray, fields: list[tuple[np.ndarray, Field]], i: int) -> np.ndarray:
    """Where the mesh's points are in frame i: a blink carries the upper lids down, a field the skin."""
    moved = points_xy.copy()
    for amplitude, field in fields:
        if field is not blink:
            moved += amplitude[i] * field(points_xy)
            continue
        for upper, lower in (landmarks.RIGHT_LIDS, landmarks.LEFT_LIDS):
            moved[list(upper)] += 0.9 * amplitude[i] * (points_xy[list(lower)] - points_xy[list(upper)])
    return moved


def aligned(
    *fields: tuple[np.ndarray, Field],
    count: int = 60,
    fps: float = 30.0,
    noise: float = 2.0,
    seed: int = 0,
    scale: float = 1.2,
    through: Callable[[np.ndarray], np.ndarray] = lambda frames: frames,
) -> tuple[FaceTrack, np.ndarray]:
    """A face that drifts and moves, aligned by its true motion instead of by tracking, and the frames' times.

    Args:
        through: What happens to the clip's frames before the face is cut out, such as compression.
    """
    clip, maps = render(drift(count, fps, seed=seed), fps, list(fields), scale, (320, 300), noise, seed)
    geometry, points = FaceGeometry(), photograph_landmarks()
    crop = fit_similarity(geometry.eyes_xy, landmarks.eye_centres(points))  # crop -> photograph
    to_clip = np.stack([compose(photo_to_clip, crop) for photo_to_clip in maps])
    pairs = zip(through(clip.frames), to_clip, strict=True)
    frames = np.stack([sample(frame, matrix, geometry.size, 1) for frame, matrix in pairs])
    jitter = np.random.default_rng(seed).normal(0, 0.2, (count, *points.shape))  # as the mesh's own
    mesh = np.stack([apply(invert(crop), _moved(points, fields, i)) for i in range(count)]) + jitter
    return FaceTrack(frames, mesh.astype(np.float32), to_clip.astype(np.float32)), clip.timestamps_s
