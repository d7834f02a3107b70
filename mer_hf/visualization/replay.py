"""The slowed replay of a result: the face as it was beside the face with its motion magnified.

from mer_hf.replay import write_replay

track = pipe.track(clip)
prediction = pipe.classify(track, pipe.spot(track, clip.timestamps_s), clip.timestamps_s)
write_replay("replay.mp4", track, prediction)
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from mer_hf.face.tracking import FaceTrack
from mer_hf.inference.pipeline import Prediction
from mer_hf.video.clip import write_clip

from .figures import PHASE_STYLES
from .magnify import FACTOR, exaggerate, measure_motion

SLOW = 0.25
"""Speed of the replay: a micro-expression of a fifth of a second takes most of a second."""
FPS = 30.0
SHORTEST_S, LONGEST_S = 3.0, 8.0
MOST_FRAMES = int(FPS * LONGEST_S)

_SIDE, _GAP, _TOP, _BOTTOM = 336, 4, 30, 76
_HOLD_S = 0.6
"""How long the replay rests at the apex, so that it can be looked at."""
_OPACITY = 0.55
_UNTIMED_HZ = 30.0
_INK, _PAPER, _QUIET, _TRACK = (243, 244, 246), (17, 24, 39), (156, 163, 175), (55, 65, 81)


def write_replay(
    path: str | os.PathLike,
    track: FaceTrack,
    prediction: Prediction,
    factor: float = FACTOR,
    slow: float = SLOW,
    crf: int = 23,
) -> None:
    """Write the replay as an mp4 that browsers play.

    Args:
        path (`str` or `os.PathLike`): Where to write, ending in `.mp4`.
        track ([`FaceTrack`]): The aligned faces.
        prediction ([`Prediction`]): What was found in them.
        factor (`float`, *optional*, defaults to 8.0): How many times larger motion is drawn.
        slow (`float`, *optional*, defaults to 0.25): See `replay_frames`.
        crf (`int`, *optional*, defaults to 23): Strength of the compression, 0 to 51.

    Raises:
        ValueError: See `replay_frames`; also if the path does not end in `.mp4`.
    """
    _check(track, prediction, factor, slow)
    write_clip(Path(path), _pictures(track, prediction, factor, slow), FPS, crf=crf, preset="veryfast")


def replay_frames(
    track: FaceTrack, prediction: Prediction, factor: float = FACTOR, slow: float = SLOW
) -> tuple[np.ndarray, float]:
    """The replay as pictures: 3 to 8 seconds around what was found.

    On the image left the aligned face as it was recorded, beside it the same face with its motion since the
    onset drawn larger; for a micro-expression the network's relevance fades in over it towards the apex,
    where the replay rests for a moment. Below, a strip says where in the clip this is. Without an expression
    there is no relevance: the interval in question is replayed, or the whole clip (of a clip too long for
    that, the stretch with the strongest motion).

    Args:
        track ([`FaceTrack`]): The aligned faces.
        prediction ([`Prediction`]): What was found in them.
        factor (`float`, *optional*, defaults to 8.0): How many times larger motion is drawn, 1 or more.
        slow (`float`, *optional*, defaults to 0.25): Speed, 1 being that of the clip; a replay that would be
            shorter than 3 or longer than 8 seconds is slower or faster. A clip without times counts as one of
            30 frames per second.

    Returns:
        `tuple`: frames uint8 `(N, 442, 676, 3)` RGB, N at most 240, and their rate per second.

    Raises:
        ValueError: If track and prediction belong to different clips, or a number is out of range.
    """
    _check(track, prediction, factor, slow)
    return np.stack(list(_pictures(track, prediction, factor, slow))), FPS


def _pictures(track: FaceTrack, prediction: Prediction, factor: float, slow: float) -> Iterator[np.ndarray]:
    """One picture after the other: all of them together take 200 MB."""
    plan = _plan(prediction, slow)
    faces, used = _faces(track, plan.places)
    moved_xy = measure_motion(faces, int(np.abs(used - plan.start).argmin()))
    heat = _Heat(prediction) if prediction.outcome == "micro_expression" else None
    still = _background(plan, factor)
    at_used = np.interp(plan.places, used, np.arange(len(used)))
    for place, at, overlay in zip(plan.places, at_used, plan.overlay(), strict=True):
        picture, face = still.copy(), _between(faces, at)
        larger = _sized(exaggerate(face, _between(moved_xy, at), factor))
        picture[_TOP : _TOP + _SIDE, :_SIDE] = _sized(face)
        picture[_TOP : _TOP + _SIDE, _SIDE + _GAP :] = heat.over(larger, place, overlay) if heat else larger
        _write_now(picture, plan, place)
        yield picture


# --- what is shown when -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Plan:
    """What the replay shows.

    Attributes:
        places: `(N,)`, the place in the clip of every picture, in frames with fractions.
        start: Frame that motion is measured from.
        phases: Onset, apex and offset, {} where there are none.
        blinks: First and last frame of each blink.
        times_s: `(T,)` seconds of the clip's frames, or None.
        speed: Of the replay, 1 being that of the clip.
        title: What the interval is called.
    """

    places: np.ndarray
    start: int
    phases: dict[str, int]
    blinks: tuple[tuple[int, int], ...]
    times_s: np.ndarray | None
    speed: float
    title: str

    def overlay(self) -> np.ndarray:
        """How strong the relevance is in every picture, `(N,)`.

        Faint on the way up, so that the motion is seen; full while the replay rests at the apex; gone some
        time after the offset.
        """
        if not self.phases:
            return np.zeros(len(self.places))
        onset, apex, offset = (self.phases[name] for name in PHASE_STYLES)
        gone = max(offset, apex + 1) + 0.5 * max(offset - onset, 1)
        share = np.interp(self.places, [onset, max(apex, onset + 0.5)], [0.0, 0.4])
        resting = np.flatnonzero(self.places == apex)
        share[resting] = np.interp(np.arange(len(resting)), [0, 0.6 * len(resting) + 1], [0.4, 1.0])
        falling = np.interp(self.places, [max(offset, apex + 0.5), gone], [1.0, 0.0])
        share = np.where(self.places > apex, falling, share)
        return 0.5 - 0.5 * np.cos(np.pi * share)

    def name_of(self, place: float) -> str:
        """What is going on at a place."""
        if any(first <= place <= last for first, last in self.blinks):
            return "blink"
        if not self.phases:
            return self.title
        onset, apex, offset = (self.phases[name] for name in PHASE_STYLES)
        if abs(place - apex) < 0.5:
            return "apex"
        if abs(place - onset) < 0.5:
            return "onset"
        if place < onset:
            return "before"
        return "rising" if place < apex else "falling" if place < offset else "after"


_TITLES = {"no_motion": "no motion above the noise", "blink": "no other motion"}


def _plan(prediction: Prediction, slow: float) -> _Plan:
    """Which stretch of the clip is replayed, and how fast."""
    count, phases = len(prediction.phases.curve), prediction.phases
    times_s = prediction.timestamps_s
    known = (
        len(times_s) == count and bool(np.isfinite(times_s).all()) and (count < 2 or times_s[-1] > times_s[0])
    )
    clock_s = np.asarray(times_s, dtype=float) if known else np.arange(count) / _UNTIMED_HZ
    found = {name: getattr(phases, name) for name in PHASE_STYLES}
    found = {} if None in found.values() else found
    first_s, last_s = _stretch(prediction, clock_s, found, slow)
    length_s = max(last_s - first_s, 1e-3)
    hold_s = _HOLD_S if found else 0.0
    speed = float(np.clip(slow, length_s / (LONGEST_S - hold_s), length_s / (SHORTEST_S - hold_s)))
    seconds = np.linspace(first_s, last_s, max(2, int((length_s / speed) * FPS)))
    places = np.interp(seconds, clock_s, np.arange(count))
    if found:
        at = int(np.searchsorted(places, found["apex"]))
        places = np.insert(places, at, np.full(round(hold_s * FPS), float(found["apex"])))
    start = found["onset"] if found else int(places[0].round())
    title = _TITLES.get(prediction.outcome, "")
    return _Plan(places[:MOST_FRAMES], start, found, phases.blinks, clock_s if known else None, speed, title)


def _stretch(
    prediction: Prediction, clock_s: np.ndarray, found: dict[str, int], slow: float
) -> tuple[float, float]:
    """Begin and end of what is replayed, in seconds of the clip."""
    begin_s, end_s = float(clock_s[0]), float(clock_s[-1])
    if found:
        onset_s, apex_s, offset_s = (float(clock_s[at]) for at in found.values())
        margin_s = min(max(0.2, 0.5 * (offset_s - onset_s)), 1.0)
        if offset_s - onset_s < LONGEST_S:
            return max(begin_s, onset_s - margin_s), min(end_s, offset_s + margin_s)
        middle_s, most_s = apex_s, LONGEST_S - _HOLD_S
    else:
        if prediction.phases.blinks and prediction.outcome == "blink":
            middle_s = float(np.mean([clock_s[at] for at in prediction.phases.blinks[0]]))
        else:
            middle_s = float(clock_s[int(np.nanargmax(prediction.phases.curve))])
        most_s = 2.0 * LONGEST_S * slow
    if end_s - begin_s <= most_s:
        return begin_s, end_s
    first_s = float(np.clip(middle_s - most_s / 2, begin_s, end_s - most_s))
    return first_s, first_s + most_s


def _faces(track: FaceTrack, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The faces that are shown, at most `MOST_FRAMES`, and which frames of the clip they are."""
    first, last = int(np.floor(places.min())), int(np.ceil(places.max()))
    last = min(last, len(track.frames) - 1)
    used = np.unique(np.linspace(first, last, min(MOST_FRAMES, last - first + 1)).round().astype(int))
    return track.frames[used], used


def _between(values: np.ndarray, at: float) -> np.ndarray:
    """Between two neighbours; motion from one frame to the next is too small to be seen doubled."""
    low = min(int(at), len(values) - 1)
    share = at - low
    if share < 1e-3 or low + 1 >= len(values):
        return values[low]
    return cv2.addWeighted(values[low], 1 - share, values[low + 1], share, 0)


# --- how it is drawn ----------------------------------------------------------------------------------------


def _sized(face: np.ndarray) -> np.ndarray:
    method = cv2.INTER_AREA if len(face) > _SIDE else cv2.INTER_CUBIC
    return cv2.resize(face, (_SIDE, _SIDE), interpolation=method)


class _Heat:
    """Relevance as a see-through heat map; between two frames that have a map, a mixture of both."""

    def __init__(self, prediction: Prediction) -> None:
        maps = np.atleast_3d(prediction.relevance.T).T.astype(np.float32)
        at = np.array(prediction.relevance_frames)
        order = [index for index in np.argsort(at, kind="stable") if at[index] >= 0]
        at, order = np.unique(at[order], return_index=True)[0], self._last_of_each(at, order)
        self.at = at.astype(float)
        self.maps = [self._smoothed(maps[index]) for index in order]
        steps = 0.25 + 0.70 * np.linspace(0, 1, 256)
        self.colors = (255 * colormaps["inferno"](steps)[:, :3]).astype(np.uint8)[None]

    @staticmethod
    def _last_of_each(at: np.ndarray, order: list[int]) -> list[int]:
        """Where a frame has several maps, the last: key frames stand at the end."""
        return list({int(at[index]): index for index in order}.values())

    @staticmethod
    def _smoothed(one: np.ndarray) -> np.ndarray:
        one = cv2.resize(one, (_SIDE, _SIDE))
        blurred = cv2.GaussianBlur(one, (0, 0), 0.03 * _SIDE)
        return np.clip(blurred * (one.max() / (blurred.max() or 1.0)), 0.0, 1.0)

    def over(self, face: np.ndarray, place: float, share: float) -> np.ndarray:
        """The face with the map that belongs to a place over it."""
        if share < 0.01:
            return face
        map_ = _between(np.array(self.maps), float(np.interp(place, self.at, np.arange(len(self.at)))))
        color = cv2.LUT(cv2.merge([(255 * map_).astype(np.uint8)] * 3), self.colors)
        weight = cv2.merge([np.minimum(1.5 * map_, 1.0) * np.float32(_OPACITY * share)] * 3)
        return cv2.add(face * (1 - weight), color * weight, dtype=cv2.CV_8U)


@lru_cache(maxsize=4)
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of the other pictures, which comes with matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", name), size)


@lru_cache(maxsize=512)
def _text(words: str, size: int, color: tuple[int, int, int], bold: bool = False) -> np.ndarray:
    """One line of writing on the background, `(height, width, 3)`."""
    font = _font(size, bold)
    image = Image.new("RGB", (max(1, round(font.getlength(words))) + 2, size + 6), _PAPER)
    ImageDraw.Draw(image).text((1, size), words, font=font, fill=color, anchor="ls")
    return np.asarray(image)


def _put(picture: np.ndarray, words: np.ndarray, x: float, y: int, share: float = 0.0) -> None:
    """Writing at x, of which `share` of its width lies to the left; kept inside the picture."""
    height, width = words.shape[:2]
    left = int(np.clip(round(x - share * width), 0, picture.shape[1] - width))
    picture[y : y + height, left : left + width] = words


def _background(plan: _Plan, factor: float) -> np.ndarray:
    """What does not change: the captions, the line of time and its marks."""
    width = 2 * _SIDE + _GAP
    picture = np.full((_TOP + _SIDE + _BOTTOM, width, 3), _PAPER, np.uint8)
    _put(picture, _text("as recorded", 14, _INK), _SIDE / 2, 5, 0.5)
    _put(picture, _text(f"motion \u00d7 {factor:g}", 14, _INK, True), 1.5 * _SIDE + _GAP, 5, 0.5)
    line = _line_y()
    cv2.line(picture, (_x(plan, -1e9), line), (_x(plan, 1e9), line), _TRACK, 4)
    for first, last in plan.blinks:
        if last >= plan.places[0] and first <= plan.places[-1]:
            cv2.line(picture, (_x(plan, first), line), (_x(plan, last), line), _QUIET, 4)
    if plan.phases:
        onset, offset = plan.phases["onset"], plan.phases["offset"]
        cv2.line(picture, (_x(plan, onset), line), (_x(plan, offset), line), (86, 180, 233), 4)
    for name, at in plan.phases.items():
        _mark(picture, _x(plan, at), line, PHASE_STYLES[name][1])
        beside = {"onset": 0.85, "apex": 0.5, "offset": 0.15}[name]
        _put(picture, _text(name, 11, _QUIET), _x(plan, at), line + 8, beside)
    return picture


def _mark(picture: np.ndarray, x: int, y: int, kind: str) -> None:
    """The marker that a phase has in the curve as well: triangle, disc or square."""
    if kind == "o":
        cv2.circle(picture, (x, y), 6, _INK, -1, cv2.LINE_AA)
        return
    shapes = {"^": [(-7, 6), (7, 6), (0, -7)], "s": [(-5, -5), (5, -5), (5, 5), (-5, 5)]}
    cv2.fillPoly(picture, [np.array(shapes[kind]) + np.array([x, y])], _INK, cv2.LINE_AA)


def _line_y() -> int:
    return _TOP + _SIDE + 16


def _x(plan: _Plan, place: float) -> int:
    """Column of a place on the line of time."""
    first, last = float(plan.places[0]), float(plan.places[-1])
    share = (np.clip(place, first, last) - first) / ((last - first) or 1.0)
    return round(14 + share * (2 * _SIDE + _GAP - 28))


def _write_now(picture: np.ndarray, plan: _Plan, place: float) -> None:
    """Where the replay is: a cursor, the time, the frame and what is going on."""
    x, line = _x(plan, place), _line_y()
    cv2.line(picture, (x, line - 11), (x, line + 11), (240, 228, 66), 2)
    y = line + 33
    frame = f"frame {round(place)}"
    if plan.times_s is not None:
        seconds = float(np.interp(place, np.arange(len(plan.times_s)), plan.times_s))
        frame = f"{seconds:.2f} s   {frame}"
    _put(picture, _text(frame, 14, _INK), 12, y)
    _put(picture, _text(plan.name_of(place), 16, _INK, True), picture.shape[1] / 2, y - 2, 0.5)
    speed = f"speed \u00d7 {plan.speed:.2g}" if plan.times_s is not None else "slowed"
    _put(picture, _text(speed, 14, _QUIET), picture.shape[1] - 12, y, 1.0)


def _check(track: FaceTrack, prediction: Prediction, factor: float, slow: float) -> None:
    if len(track.frames) != len(prediction.phases.curve):
        raise ValueError(
            f"the track has {len(track.frames)} frames, the curve {len(prediction.phases.curve)}. "
            "Pass the track that the prediction was made from."
        )
    if not 1.0 <= factor < np.inf:
        raise ValueError(f"expected a factor of 1 or more, got {factor}. 1 leaves the motion as it is.")
    if not 0.0 < slow <= 1.0:
        raise ValueError(
            f"expected slow above 0 and at most 1, got {slow}. 0.25 plays at a quarter of the speed."
        )


__all__ = ["replay_frames", "write_replay"]
