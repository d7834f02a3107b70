"""Rigid motion of a head, measured on corners of the nose bridge and the inner eyes; similarities; sampling.

A similarity is a `(2, 3)` float64 matrix (rotation, scale, shift) that maps homogeneous pixels; pixel centres
lie on whole numbers. `motion[t]` maps pixels of the first frame with a face to pixels of frame t.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import maximum_filter1d

from . import landmarks

PATCH_INTEROCULAR_PX = 96.0
"""Corners are followed in a square in which the eyes are this far apart, however large the face is."""
WINDOW_PX = 25
"""Side of the patch around a corner. A wider one is steadier, but lets brows and lids pull at the outermost
corners."""
MIN_CORNERS = 8


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return the similarity that applies `inner` first, then `outer`."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """Return the similarity that leads back."""
    inverse = np.linalg.inv(matrix[:, :2])
    return np.column_stack([inverse, -inverse @ matrix[:, 2]])


def apply(matrix: np.ndarray, points_xy: np.ndarray) -> np.ndarray:
    """Map points `(..., 2)` by a similarity."""
    return points_xy @ matrix[:, :2].T + matrix[:, 2]


def scale_of(matrix: np.ndarray) -> float:
    """Return the factor by which a similarity enlarges."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def fit_similarity(source_xy: np.ndarray, target_xy: np.ndarray) -> np.ndarray:
    """Fit the similarity that takes points `(N, 2)` to other points `(N, 2)`, by least squares."""
    source, target = (points[:, 0] + 1j * points[:, 1] for points in (source_xy, target_xy))
    centred = source - source.mean()
    turn = np.vdot(centred, target) / np.vdot(centred, centred)
    shift = target.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def similarity_basis(points_xy: np.ndarray) -> np.ndarray:
    """Return how growth, a turn, a shift right and a shift down move points `(..., 2)`: `(..., 2, 4)`."""
    x, y = np.moveaxis(points_xy, -1, 0)
    one, nil = np.ones_like(x), np.zeros_like(x)
    return np.stack([np.stack([x, -y, one, nil], axis=-1), np.stack([y, x, nil, one], axis=-1)], axis=-2)


def remove_similarity(
    moved_xy: np.ndarray, points_xy: np.ndarray, near_px: float, trust: np.ndarray | None = None
) -> np.ndarray:
    """Take the similarity that most points agree on out of motion `(T, N, 2)` at points `(N, 2)`.

    It is what registration missed of the head's motion. The fit starts from no motion, and a point weighs
    little once it is `near_px` off: an expression does not pull at it. `points_xy` are best given relative to
    the face's size. Points without `trust` `(N,)` are freed of the motion, but have no say in it.
    """
    basis = similarity_basis(points_xy)
    trust = np.ones(len(points_xy)) if trust is None else trust
    asked = np.flatnonzero(trust)
    asked_xy, there, trust = moved_xy[:, asked].astype(np.float64), basis[asked], trust[asked]
    squares = np.einsum("nci,ncj->nij", there, there)
    model = np.zeros((len(moved_xy), 4))
    for _ in range(6):
        left = asked_xy - np.einsum("nci,ti->tnc", there, model)
        weight = trust / (1 + (left**2).sum(-1) / near_px**2)
        matrix = np.einsum("tn,nij->tij", weight, squares) + 1e-6 * np.eye(4)
        wanted = np.einsum("tn,nci,tnc->ti", weight, there, asked_xy)
        model = np.linalg.solve(matrix, wanted[..., None])[..., 0]
    return moved_xy - (model @ basis.reshape(-1, 4).T).reshape(moved_xy.shape).astype(moved_xy.dtype)


def runs(mask: np.ndarray) -> np.ndarray:
    """Return first and one past the last index of every stretch of True in `(T,)`: `(R, 2)`."""
    return np.flatnonzero(np.diff(mask.astype(int), prepend=0, append=0)).reshape(-1, 2)


def evenly(count: int, wanted: float) -> np.ndarray:
    """Choose about `wanted` of `count` frames, evenly spread; always the first and the last."""
    number = int(np.clip(np.ceil(wanted), min(count, 2), count))
    return np.unique(np.linspace(0, count - 1, number).round().astype(int))


def over_time(values: np.ndarray, at: np.ndarray, count: int) -> np.ndarray:
    """Interpolate values `(K, ...)` at increasing frame indices `(K,)` to `count` frames; hold both ends."""
    where = np.clip(np.arange(count), at[0], at[-1])
    upper = np.clip(np.searchsorted(at, where, side="left"), min(1, len(at) - 1), len(at) - 1)
    lower = np.maximum(upper - 1, 0)
    span = np.maximum(at[upper] - at[lower], 1)
    weight = ((where - at[lower]) / span).reshape(-1, *[1] * (values.ndim - 1))
    return values[lower] * (1 - weight) + values[upper] * weight


# --- sampling -----------------------------------------------------------------------------------------------


def block_of(to_frame: np.ndarray) -> int:
    """Return the side of the blocks of frame pixels that fall on one pixel of a square."""
    return max(1, int(scale_of(to_frame) + 0.5))


def sample(
    frame: np.ndarray, to_frame: np.ndarray, size: int, block: int | None = None, gray: bool = False
) -> np.ndarray:
    """Cut the square `(size, size, 3)` that `to_frame` maps to out of a frame; or its luma `(size, size)`.

    One cubic interpolation. Where the frame is much finer than the square, blocks of its pixels are averaged
    first, on a grid that does not move with the face, so that skin texture does not alias into motion. Give
    all frames of a clip the same `block`, so that none is sharper than the others.
    """
    to_frame = np.asarray(to_frame, dtype=np.float64)
    block = block or block_of(to_frame)
    corners = apply(to_frame, np.array([[0, 0], [size, 0], [0, size], [size, size]], dtype=np.float64))
    limit = np.maximum(np.array(frame.shape[1::-1]) // block, 1)
    low = np.clip(np.floor(corners.min(0) / block).astype(int) - 2, 0, limit - 1)
    high = np.clip(np.ceil(corners.max(0) / block).astype(int) + 3, low + 1, limit)
    (x0, y0), (x1, y1) = low * block, high * block
    part = frame[y0:y1, x0:x1]
    if gray:
        part = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    if block > 1:
        part = cv2.resize(part, tuple(int(n) for n in high - low), interpolation=cv2.INTER_AREA)
    shift = np.array([x0, y0]) + (block - 1) / 2
    to_part = np.column_stack([to_frame[:, :2], to_frame[:, 2] - shift]) / block
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(part, to_part, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


# --- the head's motion --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """Corners on the rigid part of the face, in a small upright square cut out of one frame.

    Attributes:
        gray (`np.ndarray` of shape `(P, P)`): uint8.
        points (`np.ndarray` of shape `(N, 1, 2)`): float32 corners in pixels of the square; none on a blurred
            face.
        to_first (`np.ndarray` of shape `(2, 3)`): From pixels of the square to pixels of the first frame.
    """

    gray: np.ndarray
    points: np.ndarray
    to_first: np.ndarray


def make_reference(
    frame: np.ndarray, eyes_xy: np.ndarray, rigid_xy: np.ndarray, motion: np.ndarray
) -> Reference:
    """Find corners in the hull of `rigid_xy` `(N, 2)`, in a frame whose motion is known."""
    size = round(1.6 * PATCH_INTEROCULAR_PX)
    left, right = (size - 1 - PATCH_INTEROCULAR_PX) / 2, (size - 1 + PATCH_INTEROCULAR_PX) / 2
    row = 0.6 * PATCH_INTEROCULAR_PX
    to_frame = fit_similarity(np.array([[left, row], [right, row]]), eyes_xy)
    gray = sample(frame, to_frame, size, gray=True)
    hull = cv2.convexHull(apply(invert(to_frame), rigid_xy).astype(np.float32))
    mask = cv2.fillConvexPoly(np.zeros_like(gray), hull.round().astype(np.int32), 255)
    points = cv2.goodFeaturesToTrack(gray, maxCorners=100, qualityLevel=0.01, minDistance=3, mask=mask)
    points = np.empty((0, 1, 2), np.float32) if points is None else points
    return Reference(gray, points, compose(invert(motion), to_frame))


def follow(reference: Reference, frame: np.ndarray, guess: np.ndarray) -> np.ndarray | None:
    """Measure the motion of one frame from a guess; None when too few corners agree on one motion.

    The square is cut out of the frame as the guess says, corners are followed into it, and a similarity is
    fitted to them by least median of squares. If the guess was more than half a pixel off, this is done once
    more from the result.
    """
    size = len(reference.gray)
    block = block_of(reference.to_first)
    if len(reference.points) < MIN_CORNERS:
        return None
    for levels in (2, 0):
        gray = sample(frame, compose(guess, reference.to_first), size, block, gray=True)
        moved, status, _ = cv2.calcOpticalFlowPyrLK(
            reference.gray, gray, reference.points, None, winSize=(WINDOW_PX, WINDOW_PX), maxLevel=levels
        )
        good = status.ravel() == 1
        if good.sum() < max(MIN_CORNERS, 0.5 * len(good)):
            return None
        before, after = reference.points[good, 0], moved[good, 0]
        fit, _ = cv2.estimateAffinePartial2D(before, after, method=cv2.LMEDS)
        if fit is None or not 0.8 < scale_of(fit) < 1.25:
            return None
        spread_px = np.median(np.hypot(*(apply(fit, before) - after).T))
        if spread_px > 0.015 * size:
            return None
        guess = compose(compose(guess, compose(reference.to_first, fit)), invert(reference.to_first))
        if _distance(fit, np.eye(2, 3), before) < 0.5:
            break
    return guess


def measure_motion(
    frames: np.ndarray, eyes_xy: np.ndarray, rigid_xy: np.ndarray, found: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Measure motion `(T, 2, 3)` frame by frame, and say where it was measured on corners, `(T,)`.

    Corners are followed from the first frame that shows the face, each frame from the motion of the frame
    before it. Where they no longer match, new ones are taken in the frame before, and their motion is added
    to that frame's. Where that fails too, the frame gets the motion of the landmarks, tenths of a pixel off.
    After three such frames in a row new corners are taken there, so that what follows is steady again.
    """
    first = int(np.flatnonzero(found)[0])
    motion = np.stack([fit_similarity(rigid_xy[first], xy) for xy in rigid_xy])
    steady = np.zeros(len(frames), dtype=bool)

    def reference_in(t):
        return make_reference(frames[t], eyes_xy[t], rigid_xy[t], motion[t])

    def measured(reference, t):
        """Follow corners to frame t; None if they are a sixth of the eyes' distance off the landmarks."""
        near_px = np.hypot(*(eyes_xy[t, 1] - eyes_xy[t, 0])) / 6
        before_is_near = steady[t - 1] and _distance(motion[t - 1], motion[t], eyes_xy[first]) < near_px
        result = follow(reference, frames[t], motion[t - 1] if before_is_near else motion[t])
        agrees = result is not None and _distance(result, motion[t], eyes_xy[first]) < near_px
        return result if agrees else None

    reference = reference_in(first)
    steady[first] = len(reference.points) >= MIN_CORNERS
    missed = 0
    for t in np.flatnonzero(found)[1:]:
        result = measured(reference, t)
        if result is None and steady[t - 1]:
            newer = reference_in(t - 1)
            result = measured(newer, t)
            reference = reference if result is None else newer
        if result is not None:
            motion[t], steady[t] = result, True
        missed = 0 if steady[t] else missed + 1
        if missed >= 3:
            reference = reference_in(t)
    return motion, steady


def _distance(a: np.ndarray, b: np.ndarray, points_xy: np.ndarray) -> float:
    """Return the largest distance between where two similarities take the same points."""
    return float(np.hypot(*(apply(a, points_xy) - apply(b, points_xy)).T).max())


def smooth_motion(motion: np.ndarray, steady: np.ndarray, points_xy: np.ndarray, window: int) -> np.ndarray:
    """Take measurement noise out of a motion: a head moves slowly.

    A parabola is fitted over `window` (odd) frames where the motion was measured on corners. A frame keeps
    its measured motion where smoothing would carry `points_xy` further than noise does: in a jerk, or where
    the recording repeats a frame.
    """
    from scipy.signal import savgol_filter  # takes half a second to load

    smoothed = motion.copy()
    for start, stop in runs(steady):
        if stop - start >= window:
            smoothed[start:stop] = savgol_filter(motion[start:stop], window, 2, axis=0)
    moved = np.array([_distance(a, b, points_xy) for a, b in zip(motion, smoothed, strict=True)])
    jerk = maximum_filter1d((moved > 4 * np.median(moved)).astype(np.uint8), window) > 0
    smoothed[jerk] = motion[jerk]
    return smoothed


def rigid_motion(
    frames: np.ndarray,
    landmarks_xy: np.ndarray,
    sampled: np.ndarray,
    found: np.ndarray,
    crop_eyes_xy: np.ndarray,
    window: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Place one crop for the clip and let it follow the head.

    Args:
        frames (`np.ndarray` of shape `(T, H, W, 3)`): uint8, RGB.
        landmarks_xy (`np.ndarray` of shape `(T, 478, 2)`): In pixels of the frames.
        sampled (`np.ndarray` of shape `(K,)`): Frames whose landmarks were measured, not interpolated.
        found (`np.ndarray` of shape `(T,)`): Whether a frame shows the face.
        crop_eyes_xy (`np.ndarray` of shape `(2, 2)`): Where the eye centres shall lie, in pixels of the crop.
        window (`int`): Frames over which the motion is smoothed.

    Returns:
        `tuple`: Similarities `to_clip` `(T, 2, 3)` from pixels of the crop to pixels of each frame, and bool
        `(T,)`: whether a frame's motion was measured on corners.
    """
    eyes_xy = landmarks.eye_centres(landmarks_xy)
    motion, steady = measure_motion(frames, eyes_xy, landmarks_xy[:, landmarks.RIGID], found)
    motion = smooth_motion(motion, steady & found, landmarks_xy[found][0], window)
    at_first = [apply(invert(motion[t]), eyes_xy[t]) for t in sampled]
    crop = fit_similarity(crop_eyes_xy, np.mean(at_first, axis=0))
    return np.stack([compose(matrix, crop) for matrix in motion]), steady
