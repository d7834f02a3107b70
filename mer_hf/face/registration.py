"""Rigid motion of a head, measured on corners of the nose bridge and the inner eyes; similarities; sampling.

A similarity is a `(2, 3)` float64 matrix (rotation, scale, shift) that maps homogeneous pixels; pixel centres
lie on whole numbers. `motion[t]` maps pixels of the reference frame to pixels of frame t.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import maximum_filter1d
from scipy.signal import savgol_filter

PATCH_INTEROCULAR_PX = 96.0
"""Eye distance in the square in which corners are followed, whatever it is in the clip."""
WINDOW_PX = 25
"""Side of the patch around a corner. Wider is steadier, but lets brows and lids pull at the outermost
corners."""
MIN_CORNERS = 8


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The similarity that applies `inner` first, then `outer`."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """The similarity that leads back."""
    inverse = np.linalg.inv(matrix[:, :2])
    return np.column_stack([inverse, -inverse @ matrix[:, 2]])


def apply(matrix: np.ndarray, points_xy: np.ndarray) -> np.ndarray:
    """Points `(..., 2)` carried by a similarity."""
    return points_xy @ matrix[:, :2].T + matrix[:, 2]


def scale_of(matrix: np.ndarray) -> float:
    """By how much a similarity enlarges."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def fit_similarity(source_xy: np.ndarray, target_xy: np.ndarray) -> np.ndarray:
    """Least-squares similarity that takes points `(N, 2)` to other points `(N, 2)`."""
    source, target = (points[:, 0] + 1j * points[:, 1] for points in (source_xy, target_xy))
    centred = source - source.mean()
    turn = np.vdot(centred, target) / np.vdot(centred, centred)
    shift = target.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def sample(
    frame: np.ndarray, to_frame: np.ndarray, size: int, block: int | None = None, gray: bool = False
) -> np.ndarray:
    """Cut a square out of a frame.

    One cubic interpolation; where the frame is much finer than the square, blocks of its pixels are averaged
    first, on a grid that does not move with the face, so that skin texture does not alias into motion.

    Args:
        frame (`np.ndarray` of shape `(H, W, 3)`): uint8, RGB.
        to_frame (`np.ndarray` of shape `(2, 3)`): Similarity from pixels of the square to pixels of the
            frame.
        size (`int`): Height and width of the square.
        block (`int`, *optional*): Side of the blocks, 1 for none. By default as `to_frame` shrinks; give the
            same to all frames of a clip, so that none is sharper than the others.
        gray (`bool`, *optional*, defaults to `False`): Whether luma is wanted.

    Returns:
        `np.ndarray` of shape `(size, size, 3)`, or `(size, size)` if gray: uint8; beyond the frame its border
        is repeated.
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


def block_of(to_frame: np.ndarray) -> int:
    """Side of the blocks of frame pixels that fall on one pixel of a square."""
    return max(1, int(scale_of(to_frame) + 0.5))


@dataclass(frozen=True)
class Reference:
    """Corners on the rigid part of the face, in a small upright square cut out of one frame.

    Args:
        gray (`np.ndarray` of shape `(P, P)`): uint8.
        points (`np.ndarray` of shape `(N, 1, 2)`): float32 corners in pixels of the square.
        to_first (`np.ndarray` of shape `(2, 3)`): From pixels of the square to pixels of the clip's reference
            frame.
    """

    gray: np.ndarray
    points: np.ndarray
    to_first: np.ndarray


def make_reference(
    frame: np.ndarray, eyes_xy: np.ndarray, rigid_xy: np.ndarray, motion: np.ndarray
) -> Reference:
    """Find corners to follow.

    Args:
        frame (`np.ndarray` of shape `(H, W, 3)`): uint8, RGB.
        eyes_xy (`np.ndarray` of shape `(2, 2)`): Eye centres in it, image-left first.
        rigid_xy (`np.ndarray` of shape `(N, 2)`): Points whose hull is the rigid part of the face.
        motion (`np.ndarray` of shape `(2, 3)`): Motion of this frame, known already.

    Returns:
        `Reference`: With as many corners as the skin shows, none on a blurred face.
    """
    size = round(1.6 * PATCH_INTEROCULAR_PX)
    left, right = (size - 1 - PATCH_INTEROCULAR_PX) / 2, (size - 1 + PATCH_INTEROCULAR_PX) / 2
    row = 0.6 * PATCH_INTEROCULAR_PX
    to_frame = fit_similarity(np.array([[left, row], [right, row]]), eyes_xy)
    gray = sample(frame, to_frame, size, gray=True)
    hull = cv2.convexHull(apply(invert(to_frame), rigid_xy).astype(np.float32))
    mask = cv2.fillConvexPoly(np.zeros_like(gray), hull.round().astype(np.int32), 255)
    points = cv2.goodFeaturesToTrack(gray, maxCorners=100, qualityLevel=0.01, minDistance=3, mask=mask)
    if points is None:
        points = np.empty((0, 1, 2), np.float32)
    return Reference(gray, points, compose(invert(motion), to_frame))


def follow(reference: Reference, frame: np.ndarray, guess: np.ndarray) -> np.ndarray | None:
    """Rigid motion of one frame.

    The square is cut out of the frame as the guess says, corners are followed into it, a similarity is fitted
    to them by least median of squares, and if the guess was more than half a pixel off, the same is done once
    more from there.

    Args:
        reference (`Reference`): What to look for.
        frame (`np.ndarray` of shape `(H, W, 3)`): uint8, RGB.
        guess (`np.ndarray` of shape `(2, 3)`): Motion of a neighbouring frame.

    Returns:
        `np.ndarray` of shape `(2, 3)`, or None when too few corners agree on one motion.
    """
    size = len(reference.gray)
    window = (WINDOW_PX, WINDOW_PX)
    block = block_of(reference.to_first)
    if len(reference.points) < MIN_CORNERS:
        return None
    for levels in (2, 0):
        gray = sample(frame, compose(guess, reference.to_first), size, block, gray=True)
        moved, status, _ = cv2.calcOpticalFlowPyrLK(
            reference.gray, gray, reference.points, None, winSize=window, maxLevel=levels
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


def rigid_motion(
    frames: np.ndarray, eyes_xy: np.ndarray, rigid_xy: np.ndarray, found: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rigid motion of the head through a clip.

    Corners are followed from the first frame that shows the face, each frame from the motion of the frame
    before it. Where they no longer match, new ones are taken in the frame before, and their motion added to
    that frame's. Where that fails too, the frame gets the motion of the landmarks, tenths of a pixel off;
    after three such frames in a row new corners are taken there, so that what follows is steady again.

    Args:
        frames (`np.ndarray` of shape `(T, H, W, 3)`): uint8, RGB.
        eyes_xy (`np.ndarray` of shape `(T, 2, 2)`): Eye centres by landmarks.
        rigid_xy (`np.ndarray` of shape `(T, N, 2)`): Landmarks around the rigid part of the face.
        found (`np.ndarray` of shape `(T,)`): Whether a frame shows the face.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: motion `(T, 2, 3)` from the first face frame to each frame, and
        `(T,)` bool: whether it was measured on corners.
    """
    first = int(np.flatnonzero(found)[0])
    motion = np.stack([fit_similarity(rigid_xy[first], xy) for xy in rigid_xy])
    registered = np.zeros(len(frames), dtype=bool)

    def reference_in(t):
        return make_reference(frames[t], eyes_xy[t], rigid_xy[t], motion[t])

    def measured(reference, t):
        """Motion of frame t on corners, if it agrees with the landmarks to a sixth of the eyes' distance."""
        near_px = np.hypot(*(eyes_xy[t, 1] - eyes_xy[t, 0])) / 6
        before_is_near = registered[t - 1] and _distance(motion[t - 1], motion[t], eyes_xy[first]) < near_px
        result = follow(reference, frames[t], motion[t - 1] if before_is_near else motion[t])
        agrees = result is not None and _distance(result, motion[t], eyes_xy[first]) < near_px
        return result if agrees else None

    reference = reference_in(first)
    registered[first] = len(reference.points) >= MIN_CORNERS
    missed = 0
    for t in np.flatnonzero(found)[1:]:
        result = measured(reference, t)
        if result is None and registered[t - 1]:
            newer = reference_in(t - 1)
            result = measured(newer, t)
            if result is not None:
                reference = newer
        if result is not None:
            motion[t], registered[t] = result, True
        missed = 0 if registered[t] else missed + 1
        if missed >= 3:
            reference = reference_in(t)
    return motion, registered


def _distance(a: np.ndarray, b: np.ndarray, points_xy: np.ndarray) -> float:
    """Largest distance between where two similarities take the same points."""
    return float(np.hypot(*(apply(a, points_xy) - apply(b, points_xy)).T).max())


def over_time(values: np.ndarray, at: np.ndarray, count: int) -> np.ndarray:
    """Linear interpolation along the first axis.

    Args:
        values (`np.ndarray` of shape `(K, ...)`): Measured values.
        at (`np.ndarray` of shape `(K,)`): Increasing frame indices at which they were measured.
        count (`int`): Frames wanted.

    Returns:
        `np.ndarray` of shape `(count, ...)`: Held constant before the first and after the last measurement.
    """
    where = np.clip(np.arange(count), at[0], at[-1])
    upper = np.clip(np.searchsorted(at, where, side="left"), min(1, len(at) - 1), len(at) - 1)
    lower = np.maximum(upper - 1, 0)
    span = np.maximum(at[upper] - at[lower], 1)
    weight = ((where - at[lower]) / span).reshape(-1, *[1] * (values.ndim - 1))
    return values[lower] * (1 - weight) + values[upper] * weight


def smooth_motion(
    motion: np.ndarray, registered: np.ndarray, points_xy: np.ndarray, window: int
) -> np.ndarray:
    """Take the measurement noise out of a motion, which a head's own slowness tells from movement.

    Args:
        motion (`np.ndarray` of shape `(T, 2, 3)`): As measured, frame by frame.
        registered (`np.ndarray` of shape `(T,)`): Where it was measured on corners; the rest is left as it
            is.
        points_xy (`np.ndarray` of shape `(N, 2)`): Points of the face in the reference frame.
        window (`int`): Odd number of frames over which a parabola is fitted.

    Returns:
        `np.ndarray` of shape `(T, 2, 3)`: Smoothed where that moves `points_xy` no further than noise would;
        a jerk, or a frame that the recording repeats, keeps its measured motion.
    """
    smoothed = motion.copy()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], registered.astype(int), [0]])))
    for start, stop in edges.reshape(-1, 2):
        if stop - start >= window:
            smoothed[start:stop] = savgol_filter(motion[start:stop], window, 2, axis=0)
    moved = np.array([_distance(a, b, points_xy) for a, b in zip(motion, smoothed, strict=True)])
    jerk = maximum_filter1d((moved > 4 * np.median(moved)).astype(np.uint8), window) > 0
    smoothed[jerk] = motion[jerk]
    return smoothed
