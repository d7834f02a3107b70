"""The slowed replay of a result: the face as it was recorded beside the face with its motion magnified.

from mer_hf import MicroExpressionPipeline
from mer_hf.visualization.replay import write_replay

pipe = MicroExpressionPipeline.from_pretrained("htnet")
prediction, track = pipe.with_track("clip.mp4")
write_replay("replay.mp4", track, prediction)
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from mer_hf.face.tracking import FaceTrack
from mer_hf.inference.pipeline import REPORTED, Prediction
from mer_hf.video.clip import write_clip

from .figures import PHASE_STYLES, heat_colors, smooth_relevance
from .magnify import FACTOR, exaggerate, measure_motion

SLOW = 0.25
"""Speed of the replay: a micro-expression of a fifth of a second takes most of a second."""
FPS = 30.0
SHORTEST_S, LONGEST_S = 3.0, 8.0
MOST_FRAMES = int(FPS * LONGEST_S)

_SIDE, _GAP, _TOP, _BOTTOM = 336, 4, 30, 76
_WIDTH, _LINE_Y = 2 * _SIDE + _GAP, _TOP + _SIDE + 16
_HOLD_S = 0.6
"""How long the replay rests at the apex, so that it can be looked at."""
_OPACITY = 0.55
_UNTIMED_HZ = 30.0
_INK, _PAPER, _QUIET, _TRACK = (243, 244, 246), (17, 24, 39), (156, 163, 175), (55, 65, 81)
_INTERVAL, _CURSOR = (86, 180, 233), (240, 228, 66)
_TITLES = {"no_motion": "no motion above the noise", "blink": "no other motion"}


def write_replay(
    path: str | os.PathLike, track: FaceTrack, prediction: Prediction, factor: float = FACTOR
) -> None:
    """Write the replay as an mp4 that browsers play; a failure leaves what was there.

    The replay shows 3 to 8 seconds around the motion, at a quarter of the clip's speed where that fits; a
    clip without times counts as one of 30 frames per second. On the left stands the aligned face as it was
    recorded, beside it the same face with its motion since the onset drawn larger. For an expression the
    network's relevance fades in towards the apex, where the replay rests for a moment. Below, a strip shows
    the place in the clip. Without an expression no relevance is shown: the replay shows the interval in
    question, or the whole clip (of a long clip, the stretch with the strongest motion).

    Args:
        path (`str` or `os.PathLike`): The file to write, ending in `.mp4`.
        track ([`FaceTrack`]): The aligned faces, from `MicroExpressionPipeline.with_track`.
        prediction ([`Prediction`]): The prediction made from them.
        factor (`float`, *optional*, defaults to 8.0): How many times larger motion is drawn, 1 or more.

    Raises:
        ValueError: If track and prediction belong to different clips, the factor is below 1, or the path
            does not end in `.mp4`.
    """
    write_clip(path, replay_frames(track, prediction, factor), FPS, crf=23, preset="veryfast")


def replay_frames(track: FaceTrack, prediction: Prediction, factor: float = FACTOR) -> Iterator[np.ndarray]:
    """Draw the frames of the replay, at most 240 of shape `(442, 676, 3)`, uint8 RGB, 30 per second."""
    if len(track.frames) != len(prediction.phases.curve):
        raise ValueError(
            f"the track has {len(track.frames)} frames, the curve {len(prediction.phases.curve)}. "
            "Pass the track that the prediction was made from."
        )
    board = _storyboard(prediction)
    faces, used = _faces(track, board.places)
    moved_xy = measure_motion(faces, int(np.abs(used - board.start).argmin()))
    heat = _Heat(prediction) if prediction.outcome in REPORTED else None
    background = _background(board, factor)
    indices = np.interp(board.places, used, np.arange(len(used)))
    for place, index, share in zip(board.places, indices, board.relevance_shares(), strict=True):
        picture, face = background.copy(), _between(faces, index)
        larger = _sized(exaggerate(face, _between(moved_xy, index), factor))
        picture[_TOP : _TOP + _SIDE, :_SIDE] = _sized(face)
        picture[_TOP : _TOP + _SIDE, _SIDE + _GAP :] = heat.over(larger, place, share) if heat else larger
        _draw_cursor(picture, board, place)
        yield picture


# --- what is shown when -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Storyboard:
    """The stretch of the clip that is replayed, frame by frame.

    Attributes:
        places: `(N,)`, the place in the clip of every picture, in frames with fractions.
        start: Frame that motion is measured from.
        phases: Onset, apex and offset; empty where there are none.
        blinks: First and last frame of each blink.
        times_s: `(T,)` seconds of the clip's frames, or None.
        speed: Speed of the replay, 1 being that of the clip.
        title: Name of a stretch without phases.
    """

    places: np.ndarray
    start: int
    phases: dict[str, int]
    blinks: tuple[tuple[int, int], ...]
    times_s: np.ndarray | None
    speed: float
    title: str

    def relevance_shares(self) -> np.ndarray:
        """Return how strong the relevance is in every picture, `(N,)`.

        It is faint on the way up, so that the motion is seen, full while the replay rests at the apex, and
        gone some time after the offset.
        """
        if not self.phases:
            return np.zeros(len(self.places))
        onset, apex, offset = self.phases.values()
        end = max(offset, apex + 1) + 0.5 * max(offset - onset, 1)
        share = np.interp(self.places, [onset, max(apex, onset + 0.5)], [0.0, 0.4])
        resting = np.flatnonzero(self.places == apex)
        share[resting] = np.interp(np.arange(len(resting)), [0, 0.6 * len(resting) + 1], [0.4, 1.0])
        falling = np.interp(self.places, [max(offset, apex + 0.5), end], [1.0, 0.0])
        share = np.where(self.places > apex, falling, share)
        return 0.5 - 0.5 * np.cos(np.pi * share)

    def name_of(self, place: float) -> str:
        """Name the phase at a place."""
        if any(first <= place <= last for first, last in self.blinks):
            return "blink"
        if not self.phases:
            return self.title
        onset, apex, offset = self.phases.values()
        if abs(place - apex) < 0.5:
            return "apex"
        if abs(place - onset) < 0.5:
            return "onset"
        if place < onset:
            return "before"
        return "rising" if place < apex else "falling" if place < offset else "after"


def _storyboard(prediction: Prediction) -> _Storyboard:
    """Choose the stretch of the clip that is replayed, and its speed."""
    phases, times_s = prediction.phases, np.asarray(prediction.timestamps_s, dtype=float)
    count = len(phases.curve)
    timed = bool(np.isfinite(times_s).all()) and (count < 2 or times_s[-1] > times_s[0])
    clock_s = times_s if timed else np.arange(count) / _UNTIMED_HZ
    frames = {name: getattr(phases, name) for name in PHASE_STYLES}
    frames = {} if None in frames.values() else frames
    first_s, last_s = _stretch(prediction, clock_s, frames)
    length_s = max(last_s - first_s, 1e-3)
    hold_s = _HOLD_S if frames else 0.0
    speed = float(np.clip(SLOW, length_s / (LONGEST_S - hold_s), length_s / (SHORTEST_S - hold_s)))
    seconds = np.linspace(first_s, last_s, max(2, int((length_s / speed) * FPS)))
    places = np.interp(seconds, clock_s, np.arange(count))
    if frames:
        apex = frames["apex"]
        hold = np.full(round(hold_s * FPS), float(apex))
        places = np.insert(places, int(np.searchsorted(places, apex)), hold)
    start = frames["onset"] if frames else int(places[0].round())
    title, times_s = _TITLES.get(prediction.outcome, ""), clock_s if timed else None
    return _Storyboard(places[:MOST_FRAMES], start, frames, phases.blinks, times_s, speed, title)


def _stretch(prediction: Prediction, clock_s: np.ndarray, frames: dict[str, int]) -> tuple[float, float]:
    """Return begin and end of what is replayed, in seconds of the clip."""
    begin_s, end_s = float(clock_s[0]), float(clock_s[-1])
    phases = prediction.phases
    if frames:
        onset_s, apex_s, offset_s = (float(clock_s[frame]) for frame in frames.values())
        margin_s = min(max(0.2, 0.5 * (offset_s - onset_s)), 1.0)
        if offset_s - onset_s < LONGEST_S:
            return max(begin_s, onset_s - margin_s), min(end_s, offset_s + margin_s)
        middle_s, most_s = apex_s, LONGEST_S - _HOLD_S
    else:
        blinked = phases.blinks and prediction.outcome == "blink"
        middle = list(phases.blinks[0]) if blinked else int(np.nanargmax(phases.curve))
        middle_s, most_s = float(np.mean(clock_s[middle])), 2.0 * LONGEST_S * SLOW
    if end_s - begin_s <= most_s:
        return begin_s, end_s
    first_s = float(np.clip(middle_s - most_s / 2, begin_s, end_s - most_s))
    return first_s, first_s + most_s


def _faces(track: FaceTrack, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the faces that are shown, at most `MOST_FRAMES`, and their frame indices in the clip."""
    first, last = int(np.floor(places.min())), int(np.ceil(places.max()))
    last = min(last, len(track.frames) - 1)
    used = np.unique(np.linspace(first, last, min(MOST_FRAMES, last - first + 1)).round().astype(int))
    return track.frames[used], used


def _between(values: np.ndarray, index: float) -> np.ndarray:
    """Mix two neighbours; motion from one frame to the next is too small to be seen doubled."""
    low = min(int(index), len(values) - 1)
    share = index - low
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
        maps = prediction.relevance.reshape(-1, *prediction.relevance.shape[-2:]).astype(np.float32)
        pairs = zip(prediction.relevance_frames, maps, strict=True)
        # Where a frame has several maps the last counts: key frames stand at the end.
        by_frame = {frame: relevance for frame, relevance in pairs if frame >= 0}
        self.frames = sorted(by_frame)
        sized = [cv2.resize(by_frame[frame], (_SIDE, _SIDE)) for frame in self.frames]
        self.maps = np.stack([smooth_relevance(relevance, 0.03 * _SIDE) for relevance in sized])
        self.colors = heat_colors(np.linspace(0, 1, 256)).astype(np.uint8)[None]

    def over(self, face: np.ndarray, place: float, share: float) -> np.ndarray:
        """Lay the map that belongs to a place over a face."""
        if share < 0.01:
            return face
        relevance = _between(self.maps, float(np.interp(place, self.frames, np.arange(len(self.frames)))))
        color = cv2.LUT(cv2.merge([(255 * relevance).astype(np.uint8)] * 3), self.colors)
        weight = cv2.merge([np.minimum(1.5 * relevance, 1.0) * np.float32(_OPACITY * share)] * 3)
        return cv2.add(face * (1 - weight), color * weight, dtype=cv2.CV_8U)


@lru_cache(maxsize=4)
def _font(size: int, weight: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont(f"DejaVu Sans:weight={weight}"), size)


@lru_cache(maxsize=512)
def _text(words: str, size: int, color: tuple[int, int, int], weight: str = "normal") -> np.ndarray:
    """Write one line on the background, `(height, width, 3)`."""
    font = _font(size, weight)
    image = Image.new("RGB", (max(1, round(font.getlength(words))) + 2, size + 6), _PAPER)
    ImageDraw.Draw(image).text((1, size), words, font=font, fill=color, anchor="ls")
    return np.asarray(image)


def _put(picture: np.ndarray, words: np.ndarray, x: float, y: int, share: float = 0.0) -> None:
    """Put a text at x with `share` of its width to the left, and keep it inside the picture."""
    height, width = words.shape[:2]
    left = int(np.clip(round(x - share * width), 0, picture.shape[1] - width))
    picture[y : y + height, left : left + width] = words


def _background(board: _Storyboard, factor: float) -> np.ndarray:
    """Draw what does not change: the captions, the line of time and its marks."""
    picture = np.full((_TOP + _SIDE + _BOTTOM, _WIDTH, 3), _PAPER, np.uint8)
    _put(picture, _text("as recorded", 14, _INK), _SIDE / 2, 5, 0.5)
    _put(picture, _text(f"motion \u00d7 {factor:g}", 14, _INK, "bold"), 1.5 * _SIDE + _GAP, 5, 0.5)
    first, last = board.places[[0, -1]]
    spans = [(first, last, _TRACK)]
    spans += [(*blink, _QUIET) for blink in board.blinks if blink[1] >= first and blink[0] <= last]
    if board.phases:
        spans.append((board.phases["onset"], board.phases["offset"], _INTERVAL))
    for begin, end, color in spans:
        cv2.line(picture, (_x(board, begin), _LINE_Y), (_x(board, end), _LINE_Y), color, 4)
    for (name, frame), share in zip(board.phases.items(), (0.85, 0.5, 0.15), strict=False):
        _draw_mark(picture, _x(board, frame), PHASE_STYLES[name][1])
        _put(picture, _text(name, 11, _QUIET), _x(board, frame), _LINE_Y + 8, share)
    return picture


def _draw_mark(picture: np.ndarray, x: int, kind: str) -> None:
    """Draw the marker that a phase has in the curve as well: triangle, disc or square."""
    if kind == "o":
        cv2.circle(picture, (x, _LINE_Y), 6, _INK, -1, cv2.LINE_AA)
        return
    shapes = {"^": [(-7, 6), (7, 6), (0, -7)], "s": [(-5, -5), (5, -5), (5, 5), (-5, 5)]}
    cv2.fillPoly(picture, [np.add(shapes[kind], (x, _LINE_Y))], _INK, cv2.LINE_AA)


def _x(board: _Storyboard, place: float) -> int:
    """Return the column of a place on the line of time."""
    first, last = board.places[[0, -1]]
    share = (np.clip(place, first, last) - first) / ((last - first) or 1.0)
    return round(14 + share * (_WIDTH - 28))


def _draw_cursor(picture: np.ndarray, board: _Storyboard, place: float) -> None:
    """Show where the replay is: a cursor, the time, the frame and the phase."""
    x, y = _x(board, place), _LINE_Y + 33
    cv2.line(picture, (x, _LINE_Y - 11), (x, _LINE_Y + 11), _CURSOR, 2)
    frame, speed = f"frame {round(place)}", "slowed"
    if board.times_s is not None:
        seconds = float(np.interp(place, np.arange(len(board.times_s)), board.times_s))
        frame, speed = f"{seconds:.2f} s   {frame}", f"speed \u00d7 {board.speed:.2g}"
    _put(picture, _text(frame, 14, _INK), 12, y)
    _put(picture, _text(board.name_of(place), 16, _INK, "bold"), _WIDTH / 2, y - 2, 0.5)
    _put(picture, _text(speed, 14, _QUIET), _WIDTH - 12, y, 1.0)
