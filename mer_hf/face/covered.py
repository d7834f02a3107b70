"""Find what passes in front of a face: a caption, a pointer, a hand, a reflection, a cut, a flash.

Skin that moves keeps its brightness, relative to the skin around it. A pixel is foreign where it is brighter
or darker than all that lay near its place before, or where what lay there is gone, and optical flow does not
explain it either. Eyes and mouth open and close: more is allowed there.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from . import landmarks
from .registration import over_time, runs

_NEAR, _NEAR_OPENINGS, _AROUND = (np.ones((side, side), np.uint8) for side in (7, 15, 9))
"""How far motion may take a pixel, with the eyes 50 px apart: 3 pixels, and 7 within eyes and mouth."""
_FARTHEST_PX = 8.0
_CONTRAST, _OF_RANGE, _SIGMAS = 0.07, 0.15, 4.0
"""A foreign pixel leaves the range of what lay near by 7 % of the brightness around it (folds and shine change
less) and 4 standard deviations of the noise; within eyes and mouth also by 15 % of that range."""
_LEAST_PX, _LEAST_SHARE, _WHOLE = 12, 0.03, 0.75
"""So many foreign pixels are a thing. It covers a region by 3 % of its window, and the whole face by most
regions."""
_FEWER_EDGES = 0.6
_SCALE = 200.0
"""Levels of a contrast picture (uint8, 128 in the middle) for a contrast of 1."""
_SUDDEN_S, _GAP_S, _CUT_S, _MEMORY_S = 0.1, 0.2, 0.3, 0.3
_OPENINGS = (
    [*landmarks.RIGHT_EYE, *sum(landmarks.RIGHT_LIDS, ())],
    [*landmarks.LEFT_EYE, *sum(landmarks.LEFT_LIDS, ())],
    [61, 291, 0, 17, 37, 267, 84, 314, 40, 270, 91, 321],
)
_MOST_WARNINGS = 5


@dataclass(frozen=True, eq=False)
class Covered:
    """What of a face cannot be seen in K samples.

    Attributes:
        regions (`np.ndarray` of shape `(K, R)`): Whether something is in front of a region.
        whole (`np.ndarray` of shape `(K,)`): Whether a sample shows a flash, or another picture than most do.
        grays (`list[np.ndarray]`): The samples, with the face as it was before in place of what covers it.
    """

    regions: np.ndarray
    whole: np.ndarray
    grays: list[np.ndarray]

    def bridge(self, moved_xy: np.ndarray) -> np.ndarray:
        """Draw straight lines through the motion `(K, R, 2)` of each region while it is covered."""
        result = moved_xy.copy()
        for region in np.flatnonzero(self.regions.any(0)):
            seen = np.flatnonzero(~self.regions[:, region])
            values = moved_xy[seen, region]
            result[:, region] = over_time(values, seen, len(moved_xy)) if len(seen) else 0.0
        return result

    def spans(self, names: list[str], at: np.ndarray) -> tuple[tuple[str, int, int], ...]:
        """Return what was covered, in words, with its first and last frame."""
        spans = [(a, b, "whole face") for a, b in runs(self.whole)]
        for a, b in runs(self.regions.any(1)):
            spans.append((a, b, _in_words(names, self.regions[a:b].any(0))))
        return tuple((what, int(at[a]), int(at[b - 1])) for a, b, what in sorted(spans))


def _in_words(names: list[str], marked: np.ndarray) -> str:
    """Name the marked regions, such as `right brow, right eye and mouth`."""
    nouns = {"brow": "brow", "lid": "eye", "cheek": "cheek", "nose": "nose"}
    words = {}
    for index in np.flatnonzero(marked):
        key = next((key for key in nouns if key in names[index]), None)
        words[
            "mouth"
            if key is None
            else f"{names[index].split()[0]} {nouns[key]}".split(" ", key == "nose")[-1]
        ] = 1
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def warnings(spans: tuple[tuple[str, int, int], ...]) -> list[str]:
    """Tell the reader of a result where motion was not looked at."""
    notes = []
    for what, first, last in spans[:_MOST_WARNINGS]:
        frames = f"frames {first} to {last}" if last > first else f"frame {first}"
        seen = f"something passes in front of the {what} in {frames}"
        seen = f"a flash or another picture is seen in {frames}" if what == "whole face" else seen
        notes.append(f"{seen}: motion there was not looked at.")
    more = len(spans) - _MOST_WARNINGS
    return notes + ([f"something passes in front of the face {more} more times."] if more > 0 else [])


def find_covered(
    grays: list[np.ndarray],
    blues: list[np.ndarray],
    found: np.ndarray,
    steady: np.ndarray,
    weights: np.ndarray,
    centres: np.ndarray,
    points: np.ndarray,
    step_s: float | None,
) -> Covered:
    """Find what covers a face.

    A thing that leaves and does not return looks like one that comes and stays. It is taken for the state with
    more edges: where edges were lost, the clip is looked at backwards.

    Args:
        grays (`list[np.ndarray]`): K gray faces `(S, S)`, uint8, with the eyes 50 px apart.
        blues (`list[np.ndarray]`): Their blue channel, in which skin is darker than white letters and light.
        found (`np.ndarray` of shape `(K,)`): Samples that show a face.
        steady (`np.ndarray` of shape `(K,)`): Samples in which it does not shake.
        weights (`np.ndarray` of shape `(R, S * S)`): Windows of the regions, each of sum 1.
        centres (`np.ndarray` of shape `(R, 2)`): Their centres.
        points (`np.ndarray` of shape `(478, 2)`): The face mesh in pixels of the samples.
        step_s (`float`, *optional*): Seconds between samples; None where they are not known.
    """
    order = np.flatnonzero(found)
    if len(order) < 2:
        return Covered(np.zeros((len(grays), len(weights)), bool), np.zeros(len(grays), bool), grays)
    watch = _Watch(grays, blues, order, steady, weights, centres, points, step_s or 1 / 30)
    if watch.look(order):
        watch.look(order[::-1])
    return watch.result()


def _hull(points: np.ndarray, shape: tuple[int, int], margin: int) -> np.ndarray:
    """Return the hull of points (x, y) and a margin around it as a mask."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.round().astype(np.int32)), 1)
    return cv2.dilate(mask, np.ones((2 * margin + 1,) * 2, np.uint8)) > 0


def _contrast(picture: np.ndarray) -> np.ndarray:
    """Return a picture relative to the brightness around each pixel, which light and exposure leave alone."""
    fine = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 1.0)
    around = cv2.blur(fine, (25, 25))
    return np.clip(_SCALE * (fine - around) / (around + 4) + 128.5, 0, 255).astype(np.uint8)


def _edges(contrast: np.ndarray, where: np.ndarray) -> float:
    return float(np.abs(np.gradient(contrast.astype(np.float32)))[:, where].mean())


class _Watch:
    """Compares each sample with the face as it was before."""

    def __init__(self, grays, blues, order, steady, weights, centres, points, step_s) -> None:
        self.all_grays, self.steady = grays, steady
        judged = _hull(centres, grays[0].shape, 6)
        self.part = tuple(slice(max(0, i.min() - 8), i.max() + 9) for i in np.nonzero(judged))
        openings = np.any([_hull(points[part], grays[0].shape, 3) for part in _OPENINGS], axis=0)
        self.judged, self.openings = judged[self.part], openings[self.part]
        self.weights = weights.reshape(-1, *judged.shape)[:, *self.part].reshape(len(weights), -1)
        self.grays = {k: np.ascontiguousarray(grays[k][self.part]) for k in order}
        self.contrasts = {k: np.ascontiguousarray(_contrast(blues[k])[self.part]) for k in order}
        mask = self.judged.astype(np.uint8)
        pairs = ((self.contrasts[a], self.contrasts[b]) for a, b in pairwise(order))
        noise = np.median([cv2.mean(cv2.absdiff(*pair), mask)[0] for pair in pairs]) / 1.13
        self.margin = float(round(_SCALE * _CONTRAST + _SIGMAS * noise))
        spans_s = _SUDDEN_S, _GAP_S, _CUT_S
        self.sudden, self.gap, self.cut = (max(2, round(span_s / step_s)) for span_s in spans_s)
        self.rate = 1 - np.exp(-step_s / _MEMORY_S)
        self.solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def look(self, order: np.ndarray) -> bool:
        """Look at samples in an order; return whether what differs at the end has lost edges."""
        self.regions = np.zeros((len(self.all_grays), len(self.weights)), bool)
        self.picture, self.cleaned = np.full(len(self.all_grays), -1), list(self.all_grays)
        self.begin(order[0])
        nothing = np.zeros_like(self.judged)
        seen, whole = nothing, []
        for n, k in enumerate(order):
            self.picture[k] = self.number
            foreign = self.foreign(k, order[max(0, n - self.sudden)], seen)
            thing = nothing
            if foreign.any():
                thing = _hull(np.argwhere(foreign | seen)[:, ::-1], seen.shape, 4)
                self.regions[k] = self.weights @ thing.ravel() > _LEAST_SHARE
                seen, before = foreign, n
            elif seen.any() and n - before > self.gap:
                seen = nothing
            whole = [*whole, k] if self.regions[k].mean() >= _WHOLE else []
            if len(whole) > self.cut and self.steady[k]:
                self.begin(k)
                self.picture[whole], self.regions[whole], seen, whole = self.number, False, nothing, []
            elif not whole and self.steady[k]:
                self.remember(k, thing)
        now = self.contrasts[k]
        return bool(thing.any()) and _edges(now, thing) < _FEWER_EDGES * _edges(self.face, thing)

    def begin(self, k: int) -> None:
        """Take a sample for the face."""
        self.number = self.picture.max() + 1
        self.face, self.gray = self.contrasts[k].astype(np.float32), self.grays[k].astype(np.float32)

    def remember(self, k: int, thing: np.ndarray) -> None:
        """Let the face follow slow changes, and put it into the sample in place of the thing."""
        if thing.any():
            free = self.judged & ~thing
            gain = self.grays[k][free].mean() / max(self.gray[free].mean(), 1) if free.any() else 1.0
            self.cleaned[k] = self.all_grays[k].copy()
            self.cleaned[k][self.part][thing] = np.clip(gain * self.gray[thing] + 0.5, 0, 255)
        for picture, memory in ((self.contrasts[k], self.face), (self.grays[k], self.gray)):
            cv2.accumulateWeighted(picture, memory, self.rate, (~thing).astype(np.uint8))

    def foreign(self, k: int, earlier: int, seen: np.ndarray) -> np.ndarray:
        """Mark the pixels that the face does not explain, and that changed suddenly or lie near such ones."""
        now, face = self.contrasts[k], cv2.convertScaleAbs(self.face)
        foreign = self.unlike(now, face)
        if np.count_nonzero(foreign) >= _LEAST_PX:
            begun = seen | (foreign & self.unlike(now, self.contrasts[earlier]))
            foreign &= cv2.dilate(begun.astype(np.uint8), _AROUND) > 0
        if np.count_nonzero(foreign) >= _LEAST_PX:
            flow_xy = self.solver.calc(cv2.convertScaleAbs(self.gray), self.grays[k], None)
            length = np.linalg.norm(flow_xy, axis=2, keepdims=True)
            flow_xy *= np.minimum(1, _FARTHEST_PX / np.maximum(length, 1e-6))
            y, x = np.indices(now.shape, dtype=np.float32)
            back = cv2.remap(now, x + flow_xy[..., 0], y + flow_xy[..., 1], cv2.INTER_LINEAR)
            foreign = self.unlike(back, face) & (cv2.dilate(foreign.astype(np.uint8), _AROUND) > 0)
        return foreign & (np.count_nonzero(foreign) >= _LEAST_PX)

    def unlike(self, now: np.ndarray, face: np.ndarray) -> np.ndarray:
        """Mark the pixels that leave the range of what lay near, or around which that is gone."""
        low, high = self.around(face, _NEAR)
        lowest, highest = self.around(face, _NEAR_OPENINGS)
        more = cv2.convertScaleAbs(cv2.subtract(highest, lowest), alpha=_OF_RANGE)
        low = np.where(self.openings, cv2.subtract(lowest, more), low)
        high = np.where(self.openings, cv2.add(highest, more), high)
        beyond = cv2.inRange(now, low, high) == 0
        gone = cv2.inRange(face, *self.around(now, _NEAR)) == 0
        return self.judged & (beyond | (gone & ~self.openings))

    def around(self, picture: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the most that lies near each pixel, with the margin."""
        low, high = cv2.erode(picture, reach), cv2.dilate(picture, reach)
        return cv2.subtract(low, self.margin), cv2.add(high, self.margin)

    def result(self) -> Covered:
        """Join what was seen in single samples to stretches of time."""
        shown = self.picture >= 0
        flash = self.regions.mean(1) >= _WHOLE
        most = np.bincount(self.picture[shown]).argmax()
        whole = shown & (flash | (self.picture != most))
        regions = self.regions & ~whole[:, None]
        window = 2 * self.gap + 1
        during = minimum_filter1d(maximum_filter1d(regions.any(1), window), window)
        during = maximum_filter1d(during, 3)[:, None]
        regions = maximum_filter1d(regions, window, axis=0) & during & ~whole[:, None]
        return Covered(regions, whole, self.cleaned)
