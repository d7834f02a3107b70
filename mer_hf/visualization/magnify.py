"""Motion magnification: the motion of a face in a clip, drawn several times larger.

Micro-expressions move skin by about a pixel for a fifth of a second: at normal speed nobody sees them. Dense
flow measures the motion from one frame to all others. The motion of the whole head and the clip's own noise
are removed, and each picture is warped by a multiple of what is left. The warp is limited, so that a strong
motion does not tear the face.
"""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from mer_hf.face.flow import to_gray
from mer_hf.face.registration import remove_similarity

FACTOR = 8.0
"""Magnification by default: 0.7 pixels in a face of 224 become 5 to 6, which nobody overlooks."""

_RASTER = 112
"""Height of the picture on which motion is measured: half of the face's, for a quarter of the work."""
_MOST = 0.045
"""Greatest additional displacement by the warp, as a fraction of the face's height."""
_LEAST = 0.0007
"""Least motion that is told from noise, as a fraction of the face's height; 0.16 pixels of 224."""
_SIGMAS = 4.0
_PLAIN = 6.0
"""Squared gradient, as a multiple of the noise's variance, at which flow is trusted by half."""
_SMOOTHING = 0.022
"""Width of the blur over the flow, as a fraction of the face's height: over it skin moves together."""


def measure_motion(frames: np.ndarray, reference: int = 0) -> np.ndarray:
    """Measure how far each point of the face moved since the reference frame; 0 where only noise moved.

    Takes about 5 ms per frame of 224 x 224 on one core; pass the frames around the motion, not a long clip.

    Args:
        frames (`np.ndarray` of shape `(T, H, W, 3)`): Aligned faces, uint8, RGB.
        reference (`int`, *optional*, defaults to 0): The frame that motion is measured from, usually the
            onset.

    Returns:
        `np.ndarray` of shape `(T, h, w, 2)`: float32, on a smaller raster than the frames, in pixels of the
        frames; at the places of the reference frame.
    """
    height, width = frames.shape[1:3]
    scale = min(1.0, _RASTER / height)
    size_wh = (max(8, round(width * scale)), max(8, round(height * scale)))
    grays = [cv2.resize(to_gray(frame), size_wh, interpolation=cv2.INTER_AREA) for frame in frames]
    start = np.mean(grays[max(0, reference - 1) : reference + 2], axis=0, dtype=np.float32)
    sigma = _SMOOTHING * size_wh[1]
    trust, known = _trust(start, grays, sigma)
    solver, start = _solver(), start.round().astype(np.uint8)
    flows = (trust * solver.calc(start, gray, None) for gray in grays)
    per_px = np.float32([width / size_wh[0], height / size_wh[1]])
    per_px = per_px / cv2.GaussianBlur(trust, (0, 0), sigma)[..., None]
    moved = np.stack([cv2.GaussianBlur(flow_xy, (0, 0), sigma) * per_px for flow_xy in flows])
    moved = _without_head(moved, known)
    noise_px = _noise(moved, sigma)
    smooth = gaussian_filter1d(moved, 0.7, axis=0, mode="nearest", truncate=2.0)
    least_px = np.maximum(_SIGMAS * noise_px, _LEAST * height)
    return smooth * (_cored(smooth, least_px, sigma) * known * _inside(*size_wh))[..., None]


def exaggerate(picture: np.ndarray, moved_xy: np.ndarray, factor: float = FACTOR) -> np.ndarray:
    """Draw the motion of one face `factor` times larger.

    A point that moved by d since the reference moves on by (factor - 1) d, and never by more than 4.5 % of
    the height, 10 pixels of 224. Where the motion around it is about that large the picture stays as it is:
    such a motion needs no magnifying, and flow that large cannot be trusted.

    Args:
        picture (`np.ndarray` of shape `(H, W, 3)`): The face after the motion, uint8, RGB.
        moved_xy (`np.ndarray` of shape `(h, w, 2)`): From `measure_motion`, on any raster.
        factor (`float`, *optional*, defaults to 8.0): 1 leaves the picture as it is.

    Returns:
        `np.ndarray` of shape `(H, W, 3)`: uint8, RGB.

    Raises:
        ValueError: If the factor is below 1.
    """
    if not 1.0 <= factor < np.inf:
        raise ValueError(f"expected a factor of 1 or more, got {factor}. 1 leaves the motion as it is.")
    height, width = picture.shape[:2]
    most_px = _MOST * height
    around = max(2.0, 0.06 * len(moved_xy))
    power = cv2.GaussianBlur((moved_xy**2).sum(-1).astype(np.float32), (0, 0), around) / most_px**2
    moved_xy = moved_xy / (1.0 + 4.0 * power**2)[..., None]
    more_xy = (factor - 1) * moved_xy
    length = np.linalg.norm(more_xy, axis=-1, keepdims=True)
    if not length.max() > 0.05:
        return picture.copy()
    more_xy = (more_xy / np.sqrt(1.0 + (length / most_px) ** 2)).astype(np.float32)
    more_xy = cv2.resize(_carried(more_xy, moved_xy + more_xy, height), (width, height))
    source = cv2.split(_grid(height, width) - more_xy)
    return cv2.remap(picture, *source, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _carried(values: np.ndarray, moved_xy: np.ndarray, height: int) -> np.ndarray:
    """Carry values at the places of the reference to where these places went."""
    shift = (moved_xy * (len(values) / height)).astype(np.float32)
    grid = _grid(*values.shape[:2])
    back = np.zeros_like(shift)
    for _ in range(3):  # which place moved here? guess, see where that one moved, correct
        at = grid - back
        back = cv2.remap(shift, *cv2.split(at), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.remap(values, *cv2.split(grid - back), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _solver():
    """Return a dense inverse search, coarser and quicker than `flow.optical_flow`; its flow is blurred."""
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    solver.setFinestScale(0)
    solver.setPatchStride(4)
    solver.setVariationalRefinementAlpha(40.0)
    solver.setVariationalRefinementIterations(5)
    return solver


def _grid(height: int, width: int) -> np.ndarray:
    return np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))


def _inside(width: int, height: int) -> np.ndarray:
    """Return weights that are 1 on the face and fall to 0 at the picture's border, where background begins.

    Beside the chin background fills the lower corners; brows and hair reach into the upper ones.
    """
    x, y = np.abs(np.linspace(-1, 1, width)), np.linspace(-1, 1, height)[:, None]
    power = np.where(y < 0, 8.0, 2.5)
    away = (x**power + np.abs(y) ** power) ** (1 / power)
    return np.clip((1.0 - away) / np.where(y < 0, 0.12, 0.16), 0.0, 1.0).astype(np.float32)


def _trust(start: np.ndarray, grays: list[np.ndarray], sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of the flow at each place, `(h, w, 1)`, and how far to trust it, 0 to 1, `(h, w)`.

    Motion shows at edges. Where a picture has no edges but its noise, dense flow is a guess.
    """
    slopes = np.gradient(cv2.GaussianBlur(start, (0, 0), 0.7))
    power = np.square(slopes).sum(0)
    starts = np.linspace(0, len(grays) - 3, 8).astype(int) if len(grays) > 2 else []
    bends = [np.abs(grays[i].astype(np.float32) - 2.0 * grays[i + 1] + grays[i + 2]) for i in starts]
    noise = (1.4826 * np.median(bends) / np.sqrt(6)) ** 2 if bends else 0.0
    around = cv2.GaussianBlur(power, (0, 0), 1.5 * sigma)
    known = around / (around + _PLAIN * (noise + 0.1))
    return (power + 0.05 * around + 1e-3)[..., None].astype(np.float32), known.astype(np.float32)


def _without_head(moved_xy: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Take out of `(T, h, w, 2)` the similarity that most of the face agrees on."""
    height, width = moved_xy.shape[1:3]
    rows = np.linspace(0.1 * height, 0.9 * height, 16).astype(int)
    columns = np.linspace(0.14 * width, 0.86 * width, 14).astype(int)
    trust = np.zeros((height, width))
    trust[rows[:, None], columns] = known[rows[:, None], columns]
    points = np.moveaxis(np.mgrid[:height, :width][::-1], 0, -1).reshape(-1, 2) / height - 0.5
    freed = remove_similarity(moved_xy.reshape(len(moved_xy), -1, 2), points, 0.15, trust.ravel())
    return freed.reshape(moved_xy.shape)


def _noise(moved_xy: np.ndarray, sigma: float) -> np.ndarray:
    """Estimate the standard deviation of smoothed flow at each place from frame to frame, `(h, w)`."""
    if len(moved_xy) < 4:
        return np.zeros(moved_xy.shape[1:3], dtype=np.float32)
    jitter = np.abs(np.diff(moved_xy[:, ::2, ::2], 2, axis=0)) / np.sqrt(6)
    level = 1.4826 * np.median(jitter, axis=0).mean(-1)
    level = cv2.resize(level.astype(np.float32), moved_xy.shape[2:0:-1])
    return 0.6 * cv2.GaussianBlur(level, (0, 0), 2 * sigma)  # 0.6: what smoothing over time leaves of it


def _cored(moved_xy: np.ndarray, least_px: np.ndarray, sigma: float) -> np.ndarray:
    """Return the share of each motion above noise, `(T, h, w)`: 0 up to `least_px`, 3/4 at twice that."""
    power = np.maximum((moved_xy**2).sum(-1), 1e-12)
    share = np.clip(1.0 - least_px**2 / power, 0.0, 1.0).astype(np.float32)
    return np.stack([cv2.GaussianBlur(part, (0, 0), sigma) for part in share])
