"""Find what passes in front of a face: a caption, a pointer, a hand, a reflection, a cut, a flash.

Skin that moves keeps its brightness, relative to the skin around it. A pixel is foreign where it is brighter
or darker than all that lay near its place before, or where what lay there is gone, and optical flow does not
explain it either. Eyes and mouth open and close: more is allowed there.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from scipy.ndimage import maximum_filter1d

from . import landmarks
from .registration import over_time, runs

_NEAR, _NEAR_OPENINGS, _AROUND = (np.ones((side, side), np.uint8) for side in (7, 15, 9))
"""How far motion may take a pixel, with the eyes 50 px apart: 3 pixels, and 7 within eyes and mouth."""
_FARTHEST_PX = 8.0
"""Flow beyond this is not motion of a face."""
_CONTRAST, _OF_RANGE, _SIGMAS = 0.07, 0.15, 3.0
"""A foreign pixel leaves the range of what lay near by 7 % of the brightness around it (folds and shine
change less) and 3 standard deviations of the noise; within eyes and mouth also by 15 % of that range."""
_LEAST_PX, _LEAST_SHARE, _WHOLE, _ALIKE = 12, 0.03, 0.75, 0.7
"""So many foreign pixels are a thing. It covers a region by 3 % of its window. Another picture changes three
quarters of the regions, and correlates with the sample before it by less than 0.7: no turn of a head does."""
_FEWER_EDGES = 0.75
"""The face has at most so many edges where a thing was, relative to the thing."""
_SCALE = 200.0
"""Levels of a contrast picture (uint8, 128 in the middle) for a contrast of 1."""
_MEMORY_S, _SUDDEN_S, _GAP_S, _JOIN_S, _CUT_S, _LONGEST_S = 0.3, 0.1, 0.2, 0.8, 0.3, 3.0
"""The face is remembered for 0.3 s. A thing begins within 0.1 s, may be lost for 0.2 s, and is the same one
within 0.8 s. Another picture is a new beginning after 0.3 s, and a thing belongs to the face after 3 s."""
_OPENINGS = (
    [*landmarks.RIGHT_EYE, *sum(landmarks.RIGHT_LIDS, ())],
    [*landmarks.LEFT_EYE, *sum(landmarks.LEFT_LIDS, ())],
    [61, 291, 0, 17, 37, 267, 84, 314, 40, 270, 91, 321],
)
_SKIN_BESIDE = [212, 432, 18]
_AROUND_AN_EYE = {"left", "right", "and", "eye", "brow"}
_MOST_WARNINGS = 5

Spans = tuple[tuple[str, int, int], ...]
"""What is covered, with its first and last frame."""


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

    def spans(self, names: list[str], at: np.ndarray) -> Spans:
        """Return what was covered, in words, with its first and last frame."""
        spans = [(a, b, "whole face") for a, b in runs(self.whole)]
        parts = runs(self.regions.any(1))
        spans += [(a, b, _in_words(names, self.regions[a:b].any(0))) for a, b in parts]
        return tuple((what, int(at[a]), int(at[b - 1])) for a, b, what in sorted(spans))


def _in_words(names: list[str], marked: np.ndarray) -> str:
    """Name the marked regions, such as `right brow, right eye and mouth`."""
    if marked.all():
        return "whole face"
    words = []
    for name in (names[index] for index in np.flatnonzero(marked)):
        noun = next((noun for noun in ("brow", "lid", "cheek", "nose") if noun in name), "mouth")
        words.append(noun if noun in ("nose", "mouth") else f"{name.split()[0]} {noun.replace('lid', 'eye')}")
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} and {last}" if first else last


def without_blinks(spans: Spans, blinks: tuple[tuple[int, int], ...], margin: int) -> Spans:
    """Leave out what is covered while the eyes close: the lids are in front of the eyes, and nothing else."""
    return tuple(
        (what, first, last)
        for what, first, last in spans
        if not set(re.findall(r"\w+", what)) <= _AROUND_AN_EYE
        or not any(start - margin <= first and last <= stop + margin for start, stop in blinks)
    )


def covered_warnings(spans: Spans) -> list[str]:
    """Tell the reader of a result where motion was not looked at."""
    notes = []
    for what, first, last in spans[:_MOST_WARNINGS]:
        other = "a flash or another picture is seen, or " if what == "whole face" else ""
        seen = f"{other}something passes in front of the {what}"
        frames = f"frames {first} to {last}" if last > first else f"frame {first}"
        notes.append(f"{seen} in {frames}: motion there was not looked at.")
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

    A thing that leaves and does not return looks like one that comes and stays. It is taken for the state
    with more edges: where edges were lost, the clip is looked at backwards.

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


def _edges(gray: np.ndarray, where: np.ndarray) -> float:
    return float(np.abs(np.gradient(gray.astype(np.float32)))[:, where].mean())


class _Watch:
    """Compares each sample with the face as it was before."""

    def __init__(self, grays, blues, order, steady, weights, centres, points, step_s) -> None:
        self.all_grays, self.steady = grays, steady
        judged = _hull(np.concatenate([centres, points[_SKIN_BESIDE]]), grays[0].shape, 6)
        self.part = tuple(slice(max(0, i.min() - 8), i.max() + 9) for i in np.nonzero(judged))
        openings = np.any([_hull(points[part], grays[0].shape, 3) for part in _OPENINGS], axis=0)
        self.judged, self.openings = judged[self.part], openings[self.part]
        self.weights = np.stack([w.reshape(judged.shape)[self.part].ravel() for w in weights])
        self.grays = {k: np.ascontiguousarray(grays[k][self.part]) for k in order}
        self.contrasts = {k: np.ascontiguousarray(_contrast(blues[k])[self.part]) for k in order}
        mask = self.judged.astype(np.uint8)
        pairs = ((self.contrasts[a], self.contrasts[b]) for a, b in pairwise(order))
        noise = np.median([cv2.mean(cv2.absdiff(*pair), mask)[0] for pair in pairs]) / 1.13
        self.margin = float(round(_SCALE * _CONTRAST + _SIGMAS * noise))
        spans_s = (_SUDDEN_S, _GAP_S, _JOIN_S, _CUT_S, _LONGEST_S)
        counts = (max(2, round(span_s / step_s)) for span_s in spans_s)
        self.sudden, self.gap, self.join, self.cut, self.longest = counts
        self.rate = 1 - np.exp(-step_s / _MEMORY_S)
        self.solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def look(self, order: np.ndarray) -> bool:
        """Look at samples in an order; return whether what differs at the end has lost edges."""
        self.regions = np.zeros((len(self.all_grays), len(self.weights)), bool)
        self.picture, self.cleaned = np.full(len(self.all_grays), -1), list(self.all_grays)
        self.flash = np.zeros(len(self.all_grays), bool)
        self.begin(order[0])
        nothing = np.zeros_like(self.judged)
        seen, whole, began, before = nothing, [], 0, -self.join
        for n, k in enumerate(order):
            self.picture[k], thing = self.number, nothing
            near = seen if n - before <= self.gap else nothing
            foreign = self.foreign(k, order[max(0, n - self.sudden)], near)
            if foreign.any():
                swept = foreign | seen if n - before <= self.join else foreign
                thing = _hull(np.argwhere(swept)[:, ::-1], seen.shape, 4)
                self.regions[k] = self.weights @ thing.ravel() > _LEAST_SHARE
                began = began if near.any() else n
                seen, before = foreign, n
            most = self.regions[k].mean() >= _WHOLE
            whole = [*whole, k] if most and (whole or not self.alike(k, self.contrasts[order[n - 1]])) else []
            self.flash[k] = bool(whole)
            if len(whole) > self.cut and self.steady[k]:
                if not self.alike(k, cv2.convertScaleAbs(self.face)):
                    self.picture[whole] = self.number + 1
                    self.regions[whole] = self.flash[whole] = False
                self.begin(k)
                seen, whole = nothing, []
            elif not whole and self.steady[k]:
                self.remember(k, thing)
                if thing.any() and n - began > self.longest:
                    self.face[thing], self.gray[thing] = self.contrasts[k][thing], self.grays[k][thing]
                    seen = nothing
        return bool(thing.any()) and _edges(self.grays[k], thing) < _FEWER_EDGES * _edges(self.gray, thing)

    def alike(self, k: int, other: np.ndarray) -> bool:
        """Tell whether a sample shows the same as another contrast picture, up to a shift."""
        inner = self.contrasts[k][8:-8, 8:-8]
        return cv2.matchTemplate(other, inner, cv2.TM_CCOEFF_NORMED).max() > _ALIKE

    def begin(self, k: int) -> None:
        """Take a sample for the face."""
        self.number = max(self.picture.max(), 0)
        self.face, self.gray = self.contrasts[k].astype(np.float32), self.grays[k].astype(np.float32)

    def remember(self, k: int, thing: np.ndarray) -> None:
        """Let the face follow slow changes, and put it into the sample in place of the thing."""
        if thing.any():
            near = cv2.dilate(thing.astype(np.uint8), _AROUND) > 0
            free = self.judged & ~near
            gain = self.grays[k][free].mean() / max(self.gray[free].mean(), 1) if free.any() else 1.0
            self.cleaned[k] = self.all_grays[k].copy()
            self.cleaned[k][self.part][near] = np.clip(gain * self.gray[near] + 0.5, 0, 255)
        for now, before in ((self.contrasts[k], self.face), (self.grays[k], self.gray)):
            cv2.accumulateWeighted(now, before, self.rate, (~thing).astype(np.uint8))

    def foreign(self, k: int, earlier: int, seen: np.ndarray) -> np.ndarray:
        """Mark the pixels that the face does not explain, and that changed suddenly or lie near such ones."""
        now, face = self.contrasts[k], cv2.convertScaleAbs(self.face)
        wide = self.openings & ~(cv2.dilate(seen.astype(np.uint8), _AROUND) > 0)
        foreign = self.unlike(now, face, wide)
        if np.count_nonzero(foreign) >= _LEAST_PX:
            begun = seen | (foreign & self.unlike(now, self.contrasts[earlier], wide))
            foreign &= cv2.dilate(begun.astype(np.uint8), _AROUND) > 0
        if np.count_nonzero(foreign) >= _LEAST_PX:
            flow_xy = self.solver.calc(cv2.convertScaleAbs(self.gray), self.grays[k], None)
            length = np.linalg.norm(flow_xy, axis=2, keepdims=True)
            flow_xy *= np.minimum(1, _FARTHEST_PX / np.maximum(length, 1e-6))
            y, x = np.indices(now.shape, dtype=np.float32)
            back = cv2.remap(now, x + flow_xy[..., 0], y + flow_xy[..., 1], cv2.INTER_LINEAR)
            foreign = self.unlike(back, face, wide) & (cv2.dilate(foreign.astype(np.uint8), _AROUND) > 0)
        return foreign & (np.count_nonzero(foreign) >= _LEAST_PX)

    def unlike(self, now: np.ndarray, face: np.ndarray, wide: np.ndarray) -> np.ndarray:
        """Mark the pixels that leave the range of what lay near, or around which that is gone."""
        low, high = self.around(face, _NEAR)
        lowest, highest = self.around(face, _NEAR_OPENINGS)
        more = cv2.convertScaleAbs(cv2.subtract(highest, lowest), alpha=_OF_RANGE)
        low = np.where(wide, cv2.subtract(lowest, more), low)
        high = np.where(wide, cv2.add(highest, more), high)
        beyond = cv2.inRange(now, low, high) == 0
        gone = cv2.inRange(face, *self.around(now, _NEAR)) == 0
        return self.judged & (beyond | (gone & ~wide))

    def around(self, picture: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the most that lies near each pixel, with the margin."""
        low, high = cv2.erode(picture, reach), cv2.dilate(picture, reach)
        return cv2.subtract(low, self.margin), cv2.add(high, self.margin)

    def result(self) -> Covered:
        """Join what was seen in single samples to stretches of time."""
        shown = self.picture >= 0
        most = np.bincount(self.picture[shown]).argmax()
        whole = shown & (self.flash | (self.picture != most))
        regions = self.regions & ~whole[:, None]
        during = regions.any(1)
        for start, stop in runs(~during):
            during[start:stop] = start > 0 and stop < len(during) and stop - start <= self.join
        during = maximum_filter1d(during, 3)[:, None]
        regions = maximum_filter1d(regions, 2 * self.join + 1, axis=0) & during & ~whole[:, None]
        return Covered(regions, whole, self.cleaned)
