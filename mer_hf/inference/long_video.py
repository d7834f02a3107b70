"""Spotting over minutes of video, window by window, in memory that does not grow with the video.

from mer_hf import MicroExpressionPipeline
from mer_hf.inference.long_video import cut, spot_long

video = spot_long("interview.mp4", MicroExpressionPipeline.from_pretrained("htnet"))
for interval in video.intervals:
    print(f"{interval.apex_s:.2f} s", interval.outcome, interval.label)
cut("interview.mp4", video.intervals[0].onset_s - 0.5, video.intervals[0].offset_s + 0.5, "first.mp4")

Experimental: in long recordings the published methods find few of the micro-expressions, and much else.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from mer_hf.face.action_units import present_units
from mer_hf.face.following import follow_face, follow_faces
from mer_hf.face.frame_units import units_of_frames
from mer_hf.face.parts import FaceClip
from mer_hf.face.registration import apply
from mer_hf.face.spotting import Phases, lasting_s, outcome_of, spot, unusable
from mer_hf.face.tracking import FaceError, FaceTrack, track_face
from mer_hf.interchange.openface import FrameUnits
from mer_hf.utils.files import write_csv
from mer_hf.video.clip import MOST_BYTES, Clip, FrameSource, iter_clips, windows, windows_of_each, write_clip
from mer_hf.video.container import ClipError, CutShort

if TYPE_CHECKING:
    from .pipeline import MicroExpressionPipeline

WINDOW_S, OVERLAP_S = 4.0, 1.0
CURVE_POINTS = 2000
LEVEL_OF_THE_ART = (
    "Experimental: in long recordings published methods spot micro-expressions with an F1 of 0.01 to 0.29; "
    "the baseline of the 2025 challenge scores below 0.01 at spotting and recognising together (MEGC2025, "
    "arXiv 2506.15298). Expect misses and false finds."
)
"""Shown beside every list of intervals."""
CANDIDATE = "candidate"
"""Outcome of an interval that was not classified."""

LEAST_MARGIN_S = 0.25
_SHORTEST_PIECE_S = 1.0
PAUSE_S = 0.5
_MOST_PLACES = 5
_PAUSE = "the video holds no pictures"
_LOST, _SMALL, _FEWER = "no face was found", "the face is too small", "fewer faces were found"
_UNSTEADY = "the head turned or moved too fast"


@dataclass(frozen=True)
class Interval:
    """One motion that may be a micro-expression.

    Attributes:
        onset_s, apex_s, offset_s (`float`): Seconds from the beginning of the video.
        peak_px (`float`): Motion at the apex, in pixels of the aligned face.
        duration_s (`float`): How long the movement lasts.
        outcome (`str`): `micro_expression`, `expression` (longer than half a second) or `other_motion`, as
            the checkpoint's calibration decides; `candidate` where it was not classified.
        label (`str` or `None`): The class with the highest score, for an expression.
        scores (`dict[str, float]`): Class -> probability; empty where it was not classified.
        expression_probability (`float` or `None`): Probability that the motion is an expression, of any
            length; None without a calibration.
        action_units (`dict[str, tuple[float, float]]`): Those present -> intensity on the person's left and
            right; empty where it was not classified.
        person (`int`): Number of the face, where several are followed.
    """

    onset_s: float
    apex_s: float
    offset_s: float
    peak_px: float
    duration_s: float
    outcome: str = CANDIDATE
    label: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    expression_probability: float | None = None
    action_units: dict[str, tuple[float, float]] = field(default_factory=dict)
    person: int = 1

    def to_dict(self) -> dict:
        """Return everything as values that JSON has."""
        return _rounded(asdict(self))


@dataclass(frozen=True)
class Gap:
    """A stretch that could not be searched.

    Attributes:
        start_s, end_s (`float`): Seconds from the beginning of the video.
        reason (`str`): A few words, such as `no face was found`.
        person (`int`): Number of the face.
    """

    start_s: float
    end_s: float
    reason: str
    person: int = 1


class Blink(NamedTuple):
    """A blink of a person, in seconds."""

    start_s: float
    end_s: float
    person: int = 1


@dataclass(frozen=True, eq=False)
class LongVideo:
    """The motions found in a long video.

    Attributes:
        duration_s (`float`): Length of the part that was searched, in seconds from the beginning.
        intervals (`tuple[Interval, ...]`): In order of time; those of a person do not overlap.
        gaps (`tuple[Gap, ...]`): In order of time; those of a person do not overlap.
        blinks (`tuple[Blink, ...]`): In order of time.
        curve (`np.ndarray` of shape `(N,)`): Largest motion in each of N stretches of equal length, in pixels
            of the aligned face; NaN in gaps. N is at most `CURVE_POINTS`. Of several people `(P, N)`.
        curve_s (`np.ndarray` of shape `(N,)`): The middle of each stretch, in seconds.
        warnings (`tuple[str, ...]`): Reasons to doubt the result, one line each.
        model (`str` or `None`): The checkpoint that classified; None without one.
        frame_units (`tuple[FrameUnits, ...]`): Action units of each frame and person; empty unless asked for.
        people (`tuple[int, ...]`): Numbers of the faces, in the order of the curves.
    """

    duration_s: float
    intervals: tuple[Interval, ...]
    gaps: tuple[Gap, ...]
    blinks: tuple[Blink, ...]
    curve: np.ndarray
    curve_s: np.ndarray
    warnings: tuple[str, ...] = ()
    model: str | None = None
    frame_units: tuple[FrameUnits, ...] = ()
    people: tuple[int, ...] = (1,)

    def to_dict(self) -> dict:
        """Return everything but the curve, as values that JSON has."""
        return {
            "duration_s": round(self.duration_s, 4),
            "intervals": [interval.to_dict() for interval in self.intervals],
            "gaps": [_rounded(asdict(gap)) for gap in self.gaps],
            "blinks": [_rounded(blink._asdict()) for blink in self.blinks],
            "people": list(self.people),
            "warnings": list(self.warnings),
            "model": self.model,
        }

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the classes of the network, in its order; empty where nothing was classified."""
        return next((tuple(interval.scores) for interval in self.intervals if interval.scores), ())

    def to_json(self, indent: int | None = None) -> str:
        """Return `to_dict` as one JSON object."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)


def spot_long(
    path: str | os.PathLike,
    pipeline: "MicroExpressionPipeline | None" = None,
    window_s: float = WINDOW_S,
    overlap_s: float = OVERLAP_S,
    progress: Callable[[float, float], object] | None = None,
    max_bytes: int = MOST_BYTES,
    face: int | Literal["all"] | None = None,
    frame_units: bool = False,
) -> LongVideo:
    """Find the motions of a face, or of all faces, in a video of any length, and classify each.

    The video is searched in windows that overlap. Of a motion that two windows saw, the result is taken from
    the window whose ends are farther away. Stretches without a usable face are reported as gaps.

    Args:
        path (`str` or `os.PathLike`): A video file.
        pipeline ([`MicroExpressionPipeline`], *optional*): Classifies every interval. Without it they are
            only spotted.
        window_s (`float`, *optional*, defaults to 4.0): Length of a window in seconds.
        overlap_s (`float`, *optional*, defaults to 1.0): How much of a window the next one repeats.
        progress (`Callable[[float, float], object]`, *optional*): Called after each window with the seconds
            searched and those in the file. Where it returns False the search ends, and what was found so far
            is returned.
        max_bytes (`int`, *optional*, defaults to 600,000,000): Memory limit for the frames of a window. Of
            larger ones only what lies around the face is kept.
        face (`int` or `"all"`, *optional*): Which face, numbered as they appear, from 1, and from the left
            those that appear together; or all, in one pass. A face keeps its number while it stays about
            where it was; after a cut all are new. By default the largest of each window.
        frame_units (`bool`, *optional*, defaults to `False`): Whether to estimate the action units of each
            frame, in some hundredths of a second for each.

    Returns:
        `LongVideo`: For a file that breaks off, what lies before the break, and a warning that names it.

    Raises:
        ClipError: If the file is not a video or none of its frames can be read, or the windows do not fit.
    """
    path = Path(path)
    source = FrameSource(path)
    notes = list(source.survey.doubts)
    searches: dict[int | None, Search] = {}
    clips = _windows_to_search(source, window_s, overlap_s, max_bytes, face)
    end_s = 0.0
    try:
        for clip in clips:
            person = None if face is None else clip.face
            if person not in searches:
                searches[person] = Search(pipeline, overlap_s, frame_units=frame_units, person=person)
            searches[person].add_window(clip)
            del clip  # while the next window is read
            end_s = max(end_s, searches[person].end_s)
            if progress and progress(end_s, max(source.duration_s, end_s)) is False:
                notes.append(f"stopped at {end_s:.1f} s of {source.duration_s:.1f} s by the caller.")
                break
    except CutShort as damage:
        if not end_s:
            raise
        reason = str(damage).removeprefix(f"{path}: ").removeprefix("cut short or damaged: ").split(". ")[0]
        notes.append(f"the video breaks off at {end_s:.2f} s ({reason}); only the part before was searched.")
    finally:
        clips.close()
    if isinstance(face, int) and face not in searches:
        notes.append(f"there is no person {face}: people are numbered as they appear, from the left.")
    return _result([searches[person] for person in sorted(searches)], notes)


def cut(path: str | os.PathLike, start_s: float, end_s: float, out_mp4: str | os.PathLike) -> None:
    """Write a stretch of a video as a clip of its own, in a quality that keeps small motions (H.264, crf 10).

    Frames are decoded and written one by one. The mp4 has a constant rate: a phone's changing rate becomes
    its mean over the stretch. The clip lasts as long, and single frames shift by less than the rate changes.

    Args:
        path (`str` or `os.PathLike`): A video file.
        start_s (`float`): Seconds from the beginning of the video; below 0 means the beginning.
        end_s (`float`): Seconds from the beginning of the video; after the end means the end.
        out_mp4 (`str` or `os.PathLike`): The file to write, ending in `.mp4`.

    Raises:
        ClipError: If no frame lies between the two, the video cannot be read, or the path does not end in
            `.mp4`.
    """
    if not (math.isfinite(start_s) and math.isfinite(end_s) and start_s < end_s):
        raise ClipError(f"{path}: {start_s} s to {end_s} s is not a stretch. Pass start_s < end_s.")
    source = FrameSource(path)
    times_s = source.times_s[(source.times_s >= start_s) & (source.times_s <= end_s)]
    if not len(times_s):
        raise ClipError(f"{path}: no frames from {start_s:.2f} to {end_s:.2f} s. Choose another stretch.")
    lasts_s = float(times_s[-1] - times_s[0])
    fps = (len(times_s) - 1) / lasts_s if lasts_s > 0 else len(source) / source.duration_s
    write_clip(out_mp4, (frame.image for frame in source.frames(start_s, end_s)), fps, crf=10)


def write_intervals_csv(path: str | os.PathLike, video: LongVideo) -> None:
    """Write a row for each interval, in order of time, with a column for the score of each class.

    Args:
        path (`str` or `os.PathLike`): The file to write; a failure leaves what was there.
        video ([`LongVideo`]): From [`spot_long`].
    """
    columns = [name for name in Interval.__dataclass_fields__ if name not in ("scores", "action_units")]
    rows = ({name: getattr(one, name) for name in columns} | one.scores for one in video.intervals)
    write_csv(path, [*columns, *video.labels], map(_rounded, rows))


def _rounded(values: dict) -> dict:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def _windows_to_search(
    source: FrameSource, window_s: float, overlap_s: float, max_bytes: int, face: int | str | None
) -> Iterator[Clip | FaceClip]:
    """Return windows of the largest face, of one that is followed, or of all, each with its number."""
    if face is None:
        return _face_windows(source, window_s, overlap_s, max_bytes, None)
    most_bytes = max_bytes / 1.5 / source.frames_in(window_s)
    followed = follow_faces(source.frames(), most_bytes, None if face == "all" else face)
    return windows_of_each(followed, window_s, overlap_s, str(source.path), max_bytes)


def _face_windows(
    source: FrameSource, window_s: float, overlap_s: float, max_bytes: int, face: int | None
) -> Iterator[Clip | FaceClip]:
    """Yield windows: whole frames where they fit, otherwise what lies around the face."""
    frames = source.frames_in(window_s)
    around_face = partial(follow_face, most_bytes=max_bytes / 3 / frames, face=face)
    through = around_face if frames * source.frame_bytes > max_bytes else iter
    return iter_clips(source, window_s, overlap_s, max_bytes=max_bytes, until_damage=True, through=through)


# --- one answer to a clip that is too large to keep ---------------------------------------------------------


class Stretch(NamedTuple):
    """A part of a clip that is analysed, the frame that it begins with, and notes about it."""

    clip: Clip | FaceClip
    first_frame: int = 0
    notes: tuple[str, ...] = ()


def strongest_stretch(
    source: FrameSource,
    face: int | None = None,
    known: Sequence[int] = (),
    progress: Callable[[float, float], object] | None = None,
    max_bytes: int = MOST_BYTES,
) -> Stretch:
    """Read the seconds around the strongest movement of a clip that is too large to keep.

    Args:
        source ([`FrameSource`]): The clip.
        face (`int`, *optional*): Which face, from the left; by default the largest.
        known (`Sequence[int]`, *optional*): Frames to read in place of those around a movement.
        progress (`Callable`, *optional*): As in `spot_long`.
        max_bytes (`int`, *optional*, defaults to 600,000,000): The most that its frames may take.

    Returns:
        [`Stretch`]: The whole clip where it fits a window or has no times.

    Raises:
        ClipError: If it cannot be read, or is damaged.
        FaceError: If no usable face is in it.
    """
    if source.survey.damage:
        raise source.survey.damage
    start_s, end_s, at_s, near, notes = -math.inf, math.inf, math.nan, None, ()
    timed = len(source.times_s) == len(source) and np.isfinite(source.times_s).all()
    if timed and source.duration_s > WINDOW_S:
        if known:
            start_s, end_s = source.times_s[[min(known), max(known)]]
        else:
            start_s, near, notes = _strongest(source, face, progress, max_bytes)
            end_s = start_s
        at_s, half_s = (start_s + end_s) / 2, max((end_s - start_s) / 2 + 1.0, WINDOW_S / 2)
        start_s, end_s = at_s - half_s, at_s + half_s
    return read_stretch(source, start_s, end_s, at_s, face, near, max_bytes, notes)


def read_stretch(
    source: FrameSource,
    start_s: float = -math.inf,
    end_s: float = math.inf,
    at_s: float = math.nan,
    face: int | None = None,
    near: np.ndarray | None = None,
    max_bytes: int = MOST_BYTES,
    notes: tuple[str, ...] = (),
) -> Stretch:
    """Read a part of a clip: whole frames where they fit, otherwise what lies around the face.

    Where the face changes, or its size does, only the frames around `at_s` are taken, or the most that belong
    together.
    """
    before, frames = int((source.times_s < start_s).sum()), source.frames(start_s, end_s)
    count = max(1, len(source) - before - int((source.times_s > end_s).sum()))
    if count * source.frame_bytes > max_bytes:
        frames = follow_face(frames, max_bytes / 3 / count, face, near)
    clips = list(windows(frames, math.inf, 0.0, str(source.path), max_bytes, count))
    ends_s = [(clip.timestamps_s[0], clip.timestamps_s[-1]) for clip in clips]
    chosen = max(range(len(clips)), key=lambda i: (ends_s[i][0] <= at_s <= ends_s[i][1], len(clips[i])))
    first = before + sum(map(len, clips[:chosen]))
    if len(clips) > 1:
        last = first + len(clips[chosen]) - 1
        notes += (
            f"only frames {first} to {last} are analysed: the face came, went or changed its size there.",
        )
    return Stretch(clips[chosen], first, (*source.survey.doubts, *notes))


def _strongest(
    source: FrameSource, face: int | None, progress: Callable | None, max_bytes: int
) -> tuple[float, np.ndarray | None, tuple[str, ...]]:
    """Return when the strongest movement is, the box of its face where one was followed, and a note."""
    search, boxes = Search(None, OVERLAP_S, face), []
    for clip in _face_windows(source, WINDOW_S, OVERLAP_S, max_bytes, face):
        search.add_window(clip)
        if isinstance(clip, FaceClip) and clip.box is not None:
            corners = apply(clip.to_video, clip.box.reshape(2, 2))
            boxes.append((float(clip.timestamps_s[0]), np.concatenate([corners.min(0), corners.max(0)])))
        del clip  # while the next window is read
        if progress:
            progress(search.end_s, max(source.duration_s, search.end_s))
    video = _result([search], [])
    if not search.searched:
        reasons = " and ".join(sorted({gap.reason for gap in video.gaps}))
        raise FaceError(f"{reasons} in {source.path}. Give a clip that shows one face from the front.")
    if video.intervals:
        at_s = max(video.intervals, key=lambda interval: interval.peak_px).apex_s
        note = f"the clip is long: the strongest movement, at {clock(at_s)}, is described"
    else:
        at_s = (*(blink[0] for blink in video.blinks), search.searched[0][0])[0]
        note = f"the clip is long: the seconds around {clock(at_s)} are described, nothing stood out"
    near = next((box for time_s, box in reversed(boxes) if time_s <= at_s), None)
    return at_s, near, (f"{note}; mer-hf spot lists all.",)


def clock(at_s: float) -> str:
    """Write minutes and seconds."""
    return f"{round(at_s) // 60}:{round(at_s) % 60:02d}"


# --- the search ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sighting:
    """An interval, and the window that saw it, which begins at minus infinity where the video does."""

    interval: Interval
    start_s: float
    end_s: float

    def margin_s(self, video_end_s: float) -> float:
        """Return the distance of the apex from the ends of its window, those of the video apart."""
        after_s = math.inf if self.end_s > video_end_s - 1e-6 else self.end_s - self.interval.apex_s
        return min(self.interval.apex_s - self.start_s, after_s)


class Search:
    """The state of a search after some windows; its size depends on what was found, not on the frames."""

    def __init__(
        self,
        pipeline: "MicroExpressionPipeline | None",
        overlap_s: float,
        face: int | None = None,
        frame_units: bool = False,
        person: int | None = None,
    ) -> None:
        self.pipeline, self.overlap_s, self.person = pipeline, overlap_s, person
        self.track = partial(pipeline.track if pipeline else track_face, face=face)
        self.each_frame, self.frame_units = frame_units, {}
        self.begin_s, self.end_s = 0.0, 0.0
        self.sightings: list[_Sighting] = []
        self.blinks: list[Gap] = []
        self.covered: list[Gap] = []
        self.searched: list[tuple[float, float]] = []
        self.gaps: list[Gap] = []
        self.curves: list[tuple[np.ndarray, np.ndarray]] = []
        self.notes: dict[str, None] = {}

    def add_window(self, clip: Clip | FaceClip) -> None:
        """Search one window."""
        times_s = clip.timestamps_s
        first = self.end_s == 0.0
        if first:
            self.begin_s = float(times_s[0])
        elif times_s[0] - self.end_s > PAUSE_S:
            self.gaps.append(Gap(self.end_s, float(times_s[0]), _PAUSE if self.person is None else _LOST))
        if self.each_frame:
            self.frame_units = dict.fromkeys(times_s.tolist()) | self.frame_units
        self._add_piece(clip, first)
        self.end_s = max(self.end_s, _end_s(times_s))

    def _add_piece(self, clip: Clip | FaceClip, first: bool) -> None:
        """Track and spot; where the face is there for less than half of the time, search both halves."""
        times_s = clip.timestamps_s
        try:
            track = self.track(clip)
        except FaceError as error:
            if error.kind == "brief" and times_s[-1] - times_s[0] >= 2 * _SHORTEST_PIECE_S:
                half = len(times_s) // 2
                for begins, part in ((first, slice(None, half)), (False, slice(half, None))):
                    piece = {"frames": clip.frames[part], "timestamps_s": times_s[part], "frame_names": ()}
                    self._add_piece(replace(clip, **piece), begins)
            else:
                reason = {"small": _SMALL, "number": _FEWER}.get(error.kind, _LOST)
                self.gaps.append(Gap(float(times_s[0]), _end_s(times_s), reason))
            return
        worth_telling = ("the face is small", "2 faces", "3 faces")
        self.notes |= dict.fromkeys(note for note in track.warnings if note.startswith(worth_telling))
        self._add_phases(track, spot(track, times_s, window=True), times_s, first)

    def _add_phases(self, track: FaceTrack, phases: Phases, times_s: np.ndarray, first: bool) -> None:
        start_s, end_s = -math.inf if first else float(times_s[0]), _end_s(times_s)
        for onset, apex, offset in phases.candidates:
            outcome = outcome_of((onset, apex, offset), times_s)
            # Blinks are told by themselves: no interval is one.
            candidate = replace(phases, onset=onset, apex=apex, offset=offset, outcome=outcome, blinks=())
            self.sightings.append(_Sighting(self._classified(track, candidate, times_s), start_s, end_s))
        step_s = _step_s(times_s)
        self.blinks += [Gap(times_s[a], times_s[b] + step_s, "blink") for a, b in phases.blinks]
        self.covered += [Gap(times_s[a], times_s[b] + step_s, "covered") for _, a, b in phases.covered]
        lost = unusable(track)
        self._add_gaps(track, lost, times_s)
        new = slice(0 if first else int(np.searchsorted(times_s, times_s[0] + self.overlap_s / 2)), None)
        self.curves.append((times_s[new], np.where(lost, np.nan, phases.curve)[new]))
        if self.each_frame:
            self.frame_units |= zip(times_s.tolist(), units_of_frames(track, phases), strict=True)

    def _classified(self, track: FaceTrack, phases: Phases, times_s: np.ndarray) -> Interval:
        seconds = [float(times_s[frame]) for frame in (phases.onset, phases.apex, phases.offset)]
        lasts_s = lasting_s((phases.onset, phases.apex, phases.offset), times_s)
        size_px = float(phases.curve[phases.apex])
        interval = Interval(*seconds, size_px, lasts_s or 0.0, person=self.number)
        if self.pipeline is None:
            return interval
        answer = self.pipeline.classify(track, phases, times_s, explain=False)
        names = ("outcome", "label", "scores", "expression_probability")
        units = present_units(answer.action_units)
        return replace(interval, action_units=units, **{name: getattr(answer, name) for name in names})

    def _add_gaps(self, track: FaceTrack, lost: np.ndarray, times_s: np.ndarray) -> None:
        """Note where the face was lost or shook, and the pauses between frames."""
        present = np.ones(len(lost), dtype=bool) if track.found is None else track.found
        reasons = np.where(present, np.where(lost, _UNSTEADY, ""), _LOST)
        ends_s = np.append(times_s[1:], _end_s(times_s))
        for reason, frames in groupby(range(len(reasons)), key=lambda frame: str(reasons[frame])):
            frames = list(frames)
            span = float(times_s[frames[0]]), float(ends_s[frames[-1]])
            if reason:
                self.gaps.append(Gap(*span, reason))
            else:
                self.searched.append(span)
        step_s = _step_s(times_s)
        for frame in np.flatnonzero(np.diff(times_s) > PAUSE_S):
            self.gaps.append(Gap(float(times_s[frame]) + step_s, float(times_s[frame + 1]), _PAUSE))

    @property
    def number(self) -> int:
        """Return the person's number for a reader, also where nobody is followed."""
        return self.person or 1

    def gaps_until(self, end_s: float) -> list[Gap]:
        """Return what no window could search in a video that ends at `end_s`."""
        gaps = list(self.gaps)
        if self.person is not None:
            absent = ((0.0, self.begin_s), (self.end_s, end_s))
            gaps += [Gap(*span, _LOST) for span in absent if span[1] - span[0] > PAUSE_S]
        return [replace(gap, person=self.number) for gap in _remaining_gaps(gaps, self.searched)]

    def warnings(self) -> list[str]:
        """Return reasons to doubt the result."""
        notes = list(self.notes)
        if covered := _remaining_gaps(self.covered):
            places = ", ".join(clock(gap.start_s) for gap in covered[:_MOST_PLACES])
            more = f" and {rest} more times" if (rest := len(covered) - _MOST_PLACES) > 0 else ""
            seen = f"something passes in front of the face at {places}{more}"
            notes.insert(0, f"{seen}: motion there was not looked at.")
        return notes


def _result(searches: list[Search], notes: list[str]) -> LongVideo:
    """Put the windows of all people together; who was never seen well enough is named and left out."""
    end_s = max(search.end_s for search in searches)
    people = [search for search in searches if search.searched]
    for search in searches:
        if people and search.person and not search.searched:
            notes = [*notes, f"person {search.person} is left out: {search.gaps[0].reason}."]
    if not people:
        notes = [*notes, "no usable face was found anywhere in the video."]
    names = {search.person: f"person {search.person}: " if len(people) > 1 else "" for search in people}
    notes = [*notes, *(names[one.person] + note for one in people for note in one.warnings())]
    shown = people or [searches[0]]
    gaps = [search.gaps_until(end_s) for search in shown]
    curve_s, curves = _thin_curves([search.curves for search in shown], end_s, gaps)
    least_s = min(LEAST_MARGIN_S, searches[0].overlap_s / 2)
    intervals = [one for search in shown for one in _best(search.sightings, search.end_s, least_s)]
    blinks = [
        Blink(blink.start_s, blink.end_s, search.number)
        for search in shown
        for blink in _remaining_gaps(search.blinks)
    ]
    return LongVideo(
        duration_s=end_s,
        intervals=tuple(sorted(intervals, key=lambda interval: interval.apex_s)),
        gaps=tuple(sorted((gap for each in gaps for gap in each), key=lambda gap: gap.start_s)),
        blinks=tuple(sorted(blinks)),
        curve=curves[0] if len(curves) == 1 else curves,
        curve_s=curve_s,
        warnings=tuple(notes),
        model=searches[0].pipeline.name if searches[0].pipeline else None,
        frame_units=tuple(_rows_of_frames(searches)),
        people=tuple(search.number for search in people),
    )


def _rows_of_frames(searches: list[Search]) -> Iterator[FrameUnits]:
    """Yield the action units of each frame, of all people who are followed in it."""
    times_s = sorted({time_s for search in searches for time_s in search.frame_units})
    for frame, time_s in enumerate(times_s):
        for search in searches:
            if search.searched and time_s in search.frame_units:
                yield FrameUnits(frame, time_s, search.frame_units[time_s], search.number)


def _best(sightings: list[_Sighting], video_end_s: float, least_margin_s: float) -> tuple[Interval, ...]:
    """Keep, of intervals that overlap, the one seen farthest from the ends of its window; in order of time.

    Near an end rest is known from one side only, and much that is not an expression looks like motion. So
    what lies nearer than `least_margin_s` is left to the window beside it.
    """
    kept: list[Interval] = []
    for sighting in sorted(sightings, key=lambda sighting: -sighting.margin_s(video_end_s)):
        interval = sighting.interval
        apart = all(interval.offset_s <= one.onset_s or interval.onset_s >= one.offset_s for one in kept)
        if apart and sighting.margin_s(video_end_s) >= least_margin_s:
            kept.append(interval)
    return tuple(sorted(kept, key=lambda interval: interval.apex_s))


# --- stretches of time --------------------------------------------------------------------------------------


def _step_s(times_s: np.ndarray) -> float:
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0


def _end_s(times_s: np.ndarray) -> float:
    """Return the end of the last frame."""
    return float(times_s[-1]) + _step_s(times_s)


def _remaining_gaps(gaps: list[Gap], searched: Sequence[tuple[float, float]] = ()) -> list[Gap]:
    """Return what no window could search, in order; where two reasons overlap, the earlier gap's counts.

    A pause is a gap even within a window that was searched: the video holds no pictures there.
    """
    gaps = sorted(gaps, key=lambda gap: (-gap.start_s, gap.end_s))
    painted = [(gap.start_s, gap.end_s, gap.reason) for gap in gaps if gap.reason != _PAUSE]
    painted += [(start_s, end_s, "") for start_s, end_s in searched]
    painted += [(gap.start_s, gap.end_s, gap.reason) for gap in gaps if gap.reason == _PAUSE]
    edges = np.unique(np.round([[start_s, end_s] for start_s, end_s, _ in painted], 6))
    reasons = np.full(max(len(edges) - 1, 0), "", dtype=object)
    for start_s, end_s, reason in painted:
        first, last = np.searchsorted(edges, np.round([start_s, end_s], 6))
        reasons[first:last] = reason
    remaining = []
    for reason, pieces in groupby(range(len(reasons)), key=lambda piece: reasons[piece]):
        pieces = list(pieces)
        if reason:
            remaining.append(Gap(float(edges[pieces[0]]), float(edges[pieces[-1] + 1]), reason))
    return remaining


Curve = tuple[np.ndarray, np.ndarray]
"""Seconds and values of a window."""


def _thin_curves(
    people: Sequence[list[Curve]], end_s: float, gaps: Sequence[Sequence[Gap]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return middles of at most `CURVE_POINTS` stretches from 0 to `end_s`, and each person's maxima in them.

    A stretch counts if it has a value, or lies in a gap, of anybody; NaN where a person has none. Where two
    windows overlap the later one counts.
    """
    step_s = max(1 / 30, 1.001 * end_s / CURVE_POINTS)
    middles_s = (np.arange(int(end_s / step_s) + 1) + 0.5) * step_s
    tops = np.full((len(people), len(middles_s)), np.nan, dtype=np.float32)
    for top, curves in zip(tops, people, strict=True):
        limit_s = math.inf
        for times_s, values in reversed(curves):
            kept = times_s < limit_s
            stretches = (np.maximum(times_s[kept], 0.0) / step_s).astype(int)
            np.fmax.at(top, stretches, values[kept].astype(np.float32))
            limit_s = min([limit_s, *times_s[:1]])
    shown = np.isfinite(tops).any(0)
    for gap in (gap for each in gaps for gap in each):
        shown |= (middles_s >= gap.start_s) & (middles_s <= gap.end_s)
    return middles_s[shown], tops[:, shown]
