"""Find where in a clip a face moves: the motion curve, its onset, apex and offset, and blinks.

The curve follows small regions of brows, lids, nose wings, cheeks and mouth by optical flow on small
pictures. Motion is judged against the noise of the same clip, so that a still face in a noisy recording stays
still. A movement is found whole, however long it lasts, also where the clip cuts it off.
"""

from dataclasses import dataclass, field
from itertools import chain

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter1d, percentile_filter

from . import landmarks
from .covered import Covered, covered_warnings, find_covered, without_blinks
from .registration import evenly, over_time, remove_similarity, runs
from .tracking import FaceTrack, in_threads

REGIONS: dict[str, tuple[int, ...]] = {
    "right brow, inner": (107, 55),
    "left brow, inner": (336, 285),
    "right upper lid": (159,),
    "left upper lid": (386,),
    "right lower lid": (145,),
    "left lower lid": (374,),
    "right nose wing": (129,),
    "left nose wing": (358,),
    "right cheek, lower": (205,),
    "left cheek, lower": (425,),
    "right mouth corner": (61,),
    "left mouth corner": (291,),
    "right brow, outer half": (70, 105),
    "left brow, outer half": (300, 334),
    "upper lip, middle": (0,),
    "lower lip, middle": (17,),
}
"""Region -> points of the face mesh whose mean is its centre."""
_EYELIDS = [
    [list(REGIONS).index(f"{side} {lid} lid") for lid in ("upper", "lower")] for side in ("right", "left")
]
_BROWS = [i for i, name in enumerate(REGIONS) if "brow" in name]

IS_LID = np.array(["lid" in name for name in REGIONS])
IS_MOUTH = np.array(["mouth" in name or "lip" in name for name in REGIONS])

SHORTEST_S, LONGEST_S = 1 / 25, 1 / 2
"""A movement shorter than this is noise, one that lasts longer is not a micro-expression."""
_INTEROCULAR_PX = 50.0
_RATE_HZ = 66.0
_SAMPLES_WITHOUT_TIMES = 200
_KEY_S = 1.0
_REST_S = 0.12
_BLINK_REST_S = 1.2
_SHORT_S = 1.2
"""A clip of at most this length is one movement that starts from rest."""
_LONG_S, _MEDIAN_S = 10.0, 3.0
"""In a clip longer than the first a face does not keep its rest: that is then the median of the second."""
_SETTLED, _SETTLED_S = 0.4, 0.25
"""Share of the peak, and time, at which a face that does not come back to rest counts as settled."""
_EDGE = 0.15
"""Share of its peak at which a movement begins and ends."""
_LID_WEIGHT = 0.5
"""Weight of the lids in the curve: they also move where somebody looks elsewhere."""
_LEAST_MOTION = 0.003
"""Motion below 0.3 % of the interocular distance (0.3 pixels in a face of 224) cannot be told from a still
face."""
_PLAIN_MOTION = 0.012
"""Motion above 1.2 % of the interocular distance always counts, however restless the face is."""
_SIGMAS, _STRAYS = 8.0, 4.2
"""Thresholds for a region: 8 standard deviations of its jitter, or 4.2 times its usual displacement. The
second counts in compressed video, where skin sticks to its block and then jumps."""


@dataclass(frozen=True, eq=False)
class Phases:
    """What moved and when.

    Args:
        onset (`int`, *optional*): Last frame before the motion; None (with apex and offset) where nothing
            moved.
        apex (`int`, *optional*): Frame of the strongest motion.
        offset (`int`, *optional*): First frame after the motion, or the last one of the clip.
        curve (`np.ndarray` of shape `(T,)`): float32, motion of the region that moves most, blinks taken out,
            in pixels of the aligned face.
        source (`str`): `"given"`, `"spotted"`, or `"midpoint"` where the apex had to be put midway.
        outcome (`str`): `"micro_expression"` for a movement of half a second at most, `"expression"` for a
            longer one, `"no_motion"` or `"blink"`.
        threshold (`float`): Value of the curve above which motion counts.
        candidates (`tuple[tuple[int, int, int], ...]`): Onset, apex and offset of every interval, strongest
            first.
        blinks (`tuple[tuple[int, int], ...]`): First and last frame of each blink.
        warnings (`tuple[str, ...]`): What the reader of the result should know, one line each.
        regions_xy (`np.ndarray` of shape `(T, R, 2)`): float32, motion of each of `REGIONS` from rest, blinks
            taken out, in pixels of the aligned face.
        turn_xy (`np.ndarray` of shape `(T, 2)`): float32, motion of the tip of the nose against the eyes, as
            a turn of the head makes it, in pixels of the aligned face.
        covered (`tuple[tuple[str, int, int], ...]`): What something passed in front of, with first and last
            frame. Motion there was not looked at.
    """

    onset: int | None
    apex: int | None
    offset: int | None
    curve: np.ndarray
    source: str
    outcome: str
    threshold: float = 0.0
    candidates: tuple[tuple[int, int, int], ...] = ()
    blinks: tuple[tuple[int, int], ...] = ()
    warnings: tuple[str, ...] = ()
    regions_xy: np.ndarray = field(default_factory=lambda: np.zeros((0, len(REGIONS), 2), np.float32))
    turn_xy: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    covered: tuple[tuple[str, int, int], ...] = ()


def spot(
    track: FaceTrack,
    timestamps_s: np.ndarray | None = None,
    onset: int | None = None,
    apex: int | None = None,
    offset: int | None = None,
    window: bool = False,
) -> Phases:
    """Find onset, apex and offset in a clip of an aligned face.

    A clip of at most 1.2 s, or without times, is taken as one movement that starts from rest. In a longer one
    the strongest movement is taken, of 1/25 s or more, from its first frame to its last. One that the end of
    the clip cuts off has its apex midway between the centre of its motion and its middle. Frames that are
    given are never changed; the missing ones are spotted around them. In a clip of over 10 s, movements of
    up to 1.5 s are found. Spotting takes about a millisecond and a half per frame, and looks at no more than
    66 frames of each second.

    Args:
        track (`FaceTrack`): T aligned faces.
        timestamps_s (`np.ndarray` of shape `(T,)`, *optional*): Seconds; None or NaN where they are not
            known.
        onset (`int`, *optional*): Known onset frame.
        apex (`int`, *optional*): Known apex frame.
        offset (`int`, *optional*): Known offset frame.
        window (`bool`, *optional*, defaults to `False`): Whether the clip is a window of a longer video,
            which need not start from rest: rest is then the median of 3 s.

    Returns:
        `Phases`: All three frames None if nothing moved and nothing was given.

    Raises:
        ValueError: If given frames lie outside the clip or are out of order.
    """
    count = len(track.frames)
    known = {"onset": onset, "apex": apex, "offset": offset}
    known = {name: frame for name, frame in known.items() if frame is not None}
    _check_known(known, count)
    times_s, notes = _times(timestamps_s, count)
    at = _sampled(count, times_s)
    step_s = None if times_s is None else float(times_s[-1] - times_s[0]) / max(len(at) - 1, 1)
    moved_xy, cover = _region_motion(track, at, step_s)
    blinking = _find_blinks(track, at, moved_xy, step_s)
    blinks = tuple((int(at[a]), int(at[b - 1])) for a, b in runs(blinking))
    covered = without_blinks(cover.spans(list(REGIONS), at), blinks, 2 * int(at[-1]) // max(len(at) - 1, 1))
    notes = notes + covered_warnings(covered)
    moved_xy = _without_blinks(moved_xy, blinking)
    away_xy, curve, threshold = _curve(moved_xy, step_s, track, at, onset, window)
    intervals = _candidates(curve, threshold, step_s, unusable(track)[at] | cover.whole)
    candidates = tuple(tuple(at[list(interval)].tolist()) for interval in intervals)
    curve = np.interp(np.arange(count), at, curve).astype(np.float32)
    regions_xy = over_time(away_xy.astype(np.float32), at, count)
    if known:
        frames, source, doubts = _around_known(known, curve, threshold, times_s)
        notes = notes + doubts
    else:
        frames, source = candidates[0] if candidates else (None, None, None), "spotted"
    outcome = outcome_of(frames, times_s) if frames[0] is not None else "blink" if blinks else "no_motion"
    more = (threshold, candidates, blinks, tuple(notes), regions_xy, _turn(track, times_s), covered)
    return Phases(*frames, curve, source, outcome, *more)


def lasting_s(frames: tuple[int, int, int], times_s: np.ndarray | None) -> float | None:
    """Return how long a movement lasts; None where the times are unknown.

    It begins after the onset and is over at the offset: a frame less than what lies between them.
    """
    if times_s is None or not np.isfinite(times_s).all() or len(times_s) < 2:
        return None
    onset, _, offset = frames
    step_s = float(times_s[-1] - times_s[0]) / (len(times_s) - 1)
    return max(float(times_s[offset] - times_s[onset]) - step_s, step_s)


def outcome_of(frames: tuple[int, int, int], times_s: np.ndarray | None) -> str:
    """Return `micro_expression`, or `expression` where a movement is known to last more than 1/2 s."""
    lasts_s = lasting_s(frames, times_s)
    return "expression" if lasts_s is not None and lasts_s > LONGEST_S + 1e-6 else "micro_expression"


# --- time ---------------------------------------------------------------------------------------------------


def _check_known(known: dict[str, int], count: int) -> None:
    for name, frame in known.items():
        if not 0 <= frame < count:
            raise ValueError(f"{name} {frame} lies outside the clip, whose frames are 0 to {count - 1}.")
    if list(known.values()) != sorted(known.values()):
        text = ", ".join(f"{name} {frame}" for name, frame in known.items())
        raise ValueError(f"expected onset <= apex <= offset, got {text}. Check which frames were meant.")


def _times(timestamps_s: np.ndarray | None, count: int) -> tuple[np.ndarray | None, list[str]]:
    if timestamps_s is not None and len(timestamps_s) != count:
        raise ValueError(f"expected {count} timestamps, one per frame, got {len(timestamps_s)}.")
    if timestamps_s is None or not np.isfinite(timestamps_s).all():
        note = "the frame rate is unknown, so the whole clip is taken as one expression; give the rate (fps)."
        return None, [note]
    return np.asarray(timestamps_s, dtype=np.float64), []


def _sampled(count: int, times_s: np.ndarray | None) -> np.ndarray:
    """Choose the frames that are looked at."""
    wanted = _SAMPLES_WITHOUT_TIMES if times_s is None else (times_s[-1] - times_s[0]) * _RATE_HZ + 1
    return evenly(count, wanted)


# --- motion of regions --------------------------------------------------------------------------------------


def _unit(track: FaceTrack) -> float:
    """Return the interocular distance in pixels of the aligned face."""
    return float(landmarks.interocular(track.landmarks_xy.mean(0)))


def _gray(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _blue(frame: np.ndarray) -> np.ndarray:
    return cv2.extractChannel(frame, 2)


def _small_grays(track: FaceTrack, at: np.ndarray, gray_of=_gray) -> tuple[list[np.ndarray], float]:
    """Return gray faces with the eyes 50 px apart, each the mean of the nearest frames, and their scale."""
    size = max(16, round(track.frames.shape[1] * (_INTEROCULAR_PX / _unit(track))))
    borders = np.concatenate([[0], (at[1:] + at[:-1] + 1) // 2, [len(track.frames)]])

    def shrink(part: np.ndarray) -> list[np.ndarray]:
        options = {"dsize": (size, size), "interpolation": cv2.INTER_AREA}
        spans = (track.frames[borders[k] : borders[k + 1]] for k in part)
        small = ([cv2.resize(gray_of(frame), **options) for frame in span] for span in spans)
        return [
            each[0] if len(each) == 1 else np.mean(each, axis=0).round().astype(np.uint8) for each in small
        ]

    return list(chain(*in_threads(shrink, np.arange(len(at))))), size / track.frames.shape[1]


def _turn(track: FaceTrack, times_s: np.ndarray | None) -> np.ndarray:
    """Return how far the tip of the nose moved against the corners of the eyes since the start, `(T, 2)`."""
    points, count = track.landmarks_xy, len(track.frames)
    corners = [*landmarks.RIGHT_EYE, *landmarks.LEFT_EYE]
    nose_xy = points[:, landmarks.NOSE_TIP].mean(1) - points[:, corners].mean(1)
    step_s = None if times_s is None else float(times_s[-1] - times_s[0]) / max(count - 1, 1)
    nose_xy = gaussian_filter1d(nose_xy, max(0.6, 0.1 / step_s) if step_s else 2.0, axis=0, mode="nearest")
    return (nose_xy - nose_xy[0]).astype(np.float32)


def _centres(track: FaceTrack) -> np.ndarray:
    """Return where the regions lie in the aligned face, `(R, 2)`."""
    points = track.landmarks_xy.mean(0)
    return np.stack([points[list(region)].mean(0) for region in REGIONS.values()])


def _weights(centres: np.ndarray, size: int) -> np.ndarray:
    """Return Gaussian windows `(R, size * size)` on the regions, each of sum 1."""
    y, x = np.mgrid[:size, :size].reshape(2, -1)
    distance2 = (x - centres[:, :1]) ** 2 + (y - centres[:, 1:]) ** 2
    windows = np.exp(-distance2 / (2 * (0.09 * _INTEROCULAR_PX) ** 2))
    return (windows / np.maximum(windows.sum(1, keepdims=True), 1e-6)).astype(np.float32)


def _region_motion(track: FaceTrack, at: np.ndarray, step_s: float | None) -> tuple[np.ndarray, Covered]:
    """Measure the displacement `(K, R, 2)` of each region since the start, in pixels of the aligned face.

    Flow is measured from a key picture, the mean of three frames, to all frames up to the next key, and what
    the face had moved at the key is added, so that a long clip needs no match between its ends. The next key
    is taken where the face, about a second later, is most like the last one: not in a blink. Also return what
    covers the face: a covered region does not move.
    """
    grays, scale = _small_grays(track, at)
    centres = _centres(track) * scale
    weights = _weights(centres, len(grays[0]))
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    every = len(at) if not step_s else max(8, round(_KEY_S / step_s))
    lost = unusable(track)[at]
    found = np.ones(len(at), bool) if track.found is None else track.found[at]
    points = track.landmarks_xy.mean(0) * scale
    blues = _small_grays(track, at, _blue)[0]
    cover = find_covered(grays, blues, found, ~lost, weights, centres, points, step_s)
    grays, lost = cover.grays, lost | cover.whole
    seen = np.flatnonzero(~lost)
    hidden = cover.regions[seen]
    moved = np.zeros((len(seen), len(weights), 2))
    key, done = 0, 0
    while done < len(seen):
        around = slice(max(0, key - 1), key + 2)
        exact = np.mean([grays[k] for k in seen[around]], axis=0, dtype=np.float32)
        picture, windows = exact.round().astype(np.uint8), _Windows(exact, centres)
        before = moved[around].mean(0) if done else 0.0
        stop = min(len(seen), key + every + every // 4 + 1)
        for k in range(done, stop):
            gray = grays[seen[k]]
            coarse_xy = weights @ solver.calc(picture, gray, None).reshape(-1, 2)
            now_xy = before + windows.follow(gray, coarse_xy) / scale
            moved[k] = np.where(hidden[k][:, None], moved[k - 1], now_xy)
        done = stop
        later = slice(key + every // 2, stop - 1)
        like = np.abs(moved[later] - before).mean((1, 2)) + 1e3 * hidden[later].any(1)
        key += every // 2 + int(like.argmin()) if len(like) else every
    result = np.zeros((len(at), *moved.shape[1:]))
    result[seen] = moved
    return cover.bridge(_bridge(result, lost)), cover


class _Windows:
    """Follow each region of a picture to a fraction of a pixel (Lucas and Kanade, 1981).

    Dense flow says roughly where a region went, but smooths small motions away. One displacement per window,
    by least squares on the picture's gradients, averages the noise of all its pixels.
    """

    ROUNDS = 3
    FARTHEST_PX = 1.5
    """A window that strays further than this from dense flow has lost its region."""
    PLAIN = 4.0
    """Squared gradient at which a window is half trusted, in grey levels per pixel."""

    def __init__(self, picture: np.ndarray, centres: np.ndarray) -> None:
        reach = round(2 * 0.09 * _INTEROCULAR_PX)
        self.size = (2 * reach + 1, 2 * reach + 1)
        self.centres = centres.astype(np.float32)
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        window = np.exp(-(x**2 + y**2) / (2 * (0.09 * _INTEROCULAR_PX) ** 2)).astype(np.float32)
        self.window = (window / window.sum()).ravel()
        planes = (picture, np.gradient(picture, axis=1), np.gradient(picture, axis=0))
        self.patches, slope_x, slope_y = (self._cut(plane, self.centres) for plane in planes)
        self.slopes = np.stack([slope_x, slope_y], axis=-1)  # (R, pixels, 2)
        matrix = np.einsum("p,rpi,rpj->rij", self.window, self.slopes, self.slopes)
        self.solve = np.linalg.inv(matrix + self.PLAIN * np.eye(2))

    def follow(self, gray: np.ndarray, coarse_xy: np.ndarray) -> np.ndarray:
        """Return how far each region went to another picture, `(R, 2)`; dense flow says it roughly."""
        far = np.linalg.norm(coarse_xy, axis=1, keepdims=True) > 1
        start = np.where(far, coarse_xy, 0.0)
        moved, picture = start.copy(), gray.astype(np.float32)
        for _ in range(self.ROUNDS):
            error = self.patches - self._cut(picture, self.centres + moved)
            step = np.einsum("p,rpi,rp->ri", self.window, self.slopes, error)
            moved = moved + np.einsum("rij,rj->ri", self.solve, step)
        lost = np.linalg.norm(moved - start, axis=1, keepdims=True) > self.FARTHEST_PX
        return np.where(lost, coarse_xy, moved)

    def _cut(self, plane: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Cut windows around points, each less its mean, `(R, pixels)`."""
        plane = np.ascontiguousarray(plane, dtype=np.float32)
        cuts = [cv2.getRectSubPix(plane, self.size, tuple(map(float, point))) for point in centres]
        patches = np.reshape(cuts, (len(cuts), -1))
        return patches - (patches @ self.window)[:, None]


def unusable(track: FaceTrack) -> np.ndarray:
    """Mark the frames in which motion is not looked at, `(T,)`.

    They do not show the face, or they shake for want of corners while most of the clip does not.
    """
    lost = np.zeros(len(track.frames), dtype=bool) if track.found is None else ~track.found
    if track.steady is not None and track.steady[~lost].mean() > 0.5:
        lost = lost | ~track.steady
    return lost


def _bridge(values: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Draw straight lines through the gaps of values `(K, ...)`."""
    return values if gaps.all() else over_time(values[~gaps], np.flatnonzero(~gaps), len(values))


# --- blinks -------------------------------------------------------------------------------------------------


def _openings(landmarks_xy: np.ndarray) -> np.ndarray:
    """Return how far each eye is open, over its width: `(T, 2)`."""
    openings = []
    eyes = (landmarks.RIGHT_EYE, landmarks.RIGHT_LIDS), (landmarks.LEFT_EYE, landmarks.LEFT_LIDS)
    for corners, (upper, lower) in eyes:
        heights = np.linalg.norm(landmarks_xy[:, upper] - landmarks_xy[:, lower], axis=-1).mean(1)
        widths = np.linalg.norm(landmarks_xy[:, corners[0]] - landmarks_xy[:, corners[1]], axis=-1)
        openings.append(heights / np.maximum(widths, 1e-6))
    return np.stack(openings, axis=1)


def _find_blinks(track: FaceTrack, at: np.ndarray, moved_xy: np.ndarray, step_s: float | None) -> np.ndarray:
    """Mark the samples `(K,)` of every blink: both eyes close, or lids drop alone, half a second at most."""
    step = step_s or LONGEST_S / max(len(at), 1)
    window = int(np.clip(round(_BLINK_REST_S / step), 3, max(3, len(at))))
    openings = _openings(track.landmarks_xy[at])
    rest = percentile_filter(openings, 75, size=(window, 1), mode="nearest")
    closed = openings / np.maximum(rest, 1e-6)  # a narrow eye loses less: the mesh never closes one fully
    shut = (closed.mean(1) < 0.75) & (closed < 0.85).all(1) & (rest > 0.08).all(1)
    drop = moved_xy[..., 1] - percentile_filter(moved_xy[..., 1], 50, size=(window, 1), mode="nearest")
    lids = np.min([drop[:, lids].mean(1) for lids in _EYELIDS], axis=0)
    dropped = (lids > 0.008 * _unit(track)) & (lids > 1.3 * np.abs(drop[:, _BROWS]).mean(1))
    margin = max(1, round(0.06 / step))
    blinking = np.zeros(len(at), dtype=bool)
    for start, stop in runs(shut | dropped):
        if (stop - start) * step <= LONGEST_S:
            blinking[max(0, start - margin) : stop + margin] = True
    return blinking


def _without_blinks(moved_xy: np.ndarray, blinking: np.ndarray) -> np.ndarray:
    """Draw straight lines through every blink.

    The mouth keeps its own motion, less what all its parts do together: lids pull a little at the corners
    that hold the head still.
    """
    result = _bridge(moved_xy, blinking)
    mouth = (moved_xy - result)[:, IS_MOUTH]
    result[:, IS_MOUTH] += mouth - np.median(mouth, axis=1, keepdims=True)
    return result


# --- the curve ----------------------------------------------------------------------------------------------


def _curve(
    moved_xy: np.ndarray,
    step_s: float | None,
    track: FaceTrack,
    at: np.ndarray,
    onset: int | None,
    window: bool = False,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return how each region is away from rest `(K, R, 2)`, the curve `(K,)`, and the threshold set by noise.

    The curve follows the region that moves most; a noisier region and the lids have to move further.
    """
    rest = _rest(moved_xy, step_s, at, onset, window)
    away_xy = _without_head(moved_xy - rest, track)
    thresholds = np.maximum(_LEAST_MOTION * _unit(track), _SIGMAS * _jitter(away_xy))
    away_xy = gaussian_filter1d(away_xy, max(0.6, 0.02 / step_s) if step_s else 0.6, axis=0, mode="nearest")
    distance = np.linalg.norm(away_xy, axis=-1)
    if rest.ndim == 3:  # three quarters of a window are rest: how far does it stray there?
        strays = _STRAYS * np.percentile(distance, 75, axis=0)
        thresholds = np.maximum(thresholds, np.minimum(strays, _PLAIN_MOTION * _unit(track)))
    threshold = float(np.median(thresholds))
    weights = np.where(IS_LID, _LID_WEIGHT, 1.0) * threshold / thresholds
    return away_xy, (distance * weights).max(1), threshold


def _rest(
    moved_xy: np.ndarray, step_s: float | None, at: np.ndarray, onset: int | None, window: bool
) -> np.ndarray:
    """Return where the regions are at rest, `(R, 2)`, or `(K, R, 2)` where that changes over time.

    Rest is the onset where it is given, the start of a clip, and in a window or a long clip the running
    median of 3 s, less than half of which an expression fills.
    """
    if onset is not None:
        k = int(np.abs(at - onset).argmin())
        return moved_xy[max(0, k - 1) : k + 2].mean(0)
    lasts_s = 0.0 if step_s is None else step_s * (len(at) - 1)
    if lasts_s <= _SHORT_S:
        return moved_xy[: max(1, min(3, len(at) // 4))].mean(0)
    if window or lasts_s > _LONG_S:
        return _running_median(moved_xy, round(_MEDIAN_S / step_s))
    return moved_xy[: max(1, round(_REST_S / step_s))].mean(0)


def _without_head(away_xy: np.ndarray, track: FaceTrack) -> np.ndarray:
    """Take out of `(K, R, 2)` the motion that most regions share, to 0.06 % of the interocular distance."""
    centres, unit = _centres(track), _unit(track)
    return remove_similarity(away_xy, (centres - centres.mean(0)) / unit, near_px=6e-4 * unit)


def _jitter(moved_xy: np.ndarray) -> np.ndarray:
    """Return the standard deviation `(R,)` of each region's measurement, from its change between samples."""
    if len(moved_xy) < 4:
        return np.zeros(moved_xy.shape[1])
    jitter = np.abs(np.diff(moved_xy, 2, axis=0)) / np.sqrt(6)
    return 1.4826 * np.median(jitter, axis=0).mean(-1)


def _running_median(values: np.ndarray, window: int) -> np.ndarray:
    """Return the median over windows of full length; at the ends of the clip the window stands still."""
    half = window // 2
    centre = np.clip(np.arange(len(values)), half, max(half, len(values) - 1 - half))
    return np.stack([np.median(values[max(0, c - half) : c + half + 1], axis=0) for c in centre])


def _candidates(
    curve: np.ndarray, threshold: float, step_s: float | None, lost: np.ndarray
) -> list[tuple[int, int, int]]:
    """Return onset, apex and offset (samples) of every movement above the threshold, strongest first.

    What a face does without meaning to grows like the square root of the time it has for it, and so a slow
    rise counts less. Movements in which the face was lost for a moment come last, however strong: a hand
    passed, the head turned.
    """
    from scipy.signal import find_peaks  # takes half a second to load

    peaks = find_peaks(np.pad(curve, 1), height=threshold, prominence=0.5 * threshold)[0] - 1
    if step_s is None or step_s * (len(curve) - 1) <= LONGEST_S:
        peaks = peaks[np.argsort(-curve[peaks], kind="stable")][:1]
        return [_movement(curve, int(peak), None) for peak in peaks if peak > 0]
    chosen: dict[tuple[int, int, int], float] = {}
    for peak in peaks[np.argsort(-curve[peaks], kind="stable")]:
        if any(onset <= peak <= offset for onset, _, offset in chosen):
            continue
        onset, apex, offset = _movement(curve, int(peak), step_s)
        # Motion without a rise was under way when the clip began: there is no onset to compare its apex with.
        if onset < peak and (offset - onset) * step_s >= SHORTEST_S:
            rise_s = max((peak - onset) * step_s, _SETTLED_S)
            chosen[onset, apex, offset] = float(curve[peak]) / rise_s**0.5
    return sorted(chosen, key=lambda found: (lost[found[0] : found[2] + 1].any(), -chosen[found]))


def _movement(curve: np.ndarray, peak: int, step_s: float | None) -> tuple[int, int, int]:
    """Return onset, apex and offset (samples) of the whole movement around a peak."""
    onset, offset = peak - _reach(curve[peak::-1], step_s), peak + _reach(curve[peak:], step_s)
    if offset < len(curve) - 1 or curve[-1] <= _EDGE * curve[peak]:
        return onset, peak, offset
    samples = np.arange(onset, offset + 1)
    centre = np.average(samples, weights=curve[samples] ** 2)
    return onset, max(onset + 1, round((centre + (onset + offset) / 2) / 2)), offset


def _reach(side: np.ndarray, step_s: float | None) -> int:
    """Return after how many samples the curve, from its peak on, has come down; the last if the clip ends.

    It has come down to rest, or, for a face can settle elsewhere or never rests, to a level that it keeps for
    a quarter of a second. Motion begins and ends slowly: what took it from half of its peak down to here is
    continued by half.
    """
    down = side <= _EDGE * side[0]
    ahead = round(_SETTLED_S / step_s) + 1 if step_s else len(side)
    if len(side) > ahead:
        lowest = sliding_window_view(side, ahead).min(1)
        level = side[: len(lowest)]
        down[: len(lowest)] |= (level <= _SETTLED * side[0]) & (lowest >= level - _EDGE * side[0])
    if not down.any():
        return len(side) - 1
    low, half = int(down.argmax()), int((side <= 0.5 * side[0]).argmax())
    return min(low + round((low - half) / 2), len(side) - 1)


# --- frames that are known ----------------------------------------------------------------------------------


def _around_known(
    known: dict[str, int], curve: np.ndarray, threshold: float, times_s: np.ndarray | None
) -> tuple[tuple[int, int, int], str, list[str]]:
    """Spot the missing phases around the known frames; also return the source of the apex, and warnings."""
    onset, apex, offset = (known.get(name) for name in ("onset", "apex", "offset"))
    count = len(curve)
    reach = count if times_s is None else int(np.searchsorted(times_s - times_s[0], LONGEST_S))
    source, notes = "given", []
    if apex is None:
        start = onset if onset is not None else max(0, offset - reach)
        stop = offset if offset is not None else min(count - 1, start + reach)
        apex = start + int(curve[start : stop + 1].argmax())
        if curve[apex] < threshold:
            apex, source = (start + stop) // 2, "midpoint"
            notes.append(
                "nothing moved more than the noise between the given frames; the apex is put midway."
            )
    if onset is None:
        onset = apex - _reach(curve[apex::-1], None)
        if curve[apex] < threshold:
            onset = max(0, apex - reach // 2)
            notes.append("nothing moved more than the noise before the given frame; the onset is a guess.")
    if offset is None:
        offset = apex + _reach(curve[apex:], None)
    return (onset, apex, offset), source, notes
