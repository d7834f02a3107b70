"""Spotting over minutes of video, window by window, in memory that does not grow with the video.

from mer_hf.long_video import cut, spot_long
from mer_hf.pipeline import MicroExpressionPipeline

found = spot_long("interview.mp4", MicroExpressionPipeline.from_pretrained("htnet"))
for interval in found.intervals:
    print(f"{interval.apex_s:.2f} s", interval.outcome, interval.label)
cut("interview.mp4", found.intervals[0].onset_s - 0.5, found.intervals[0].offset_s + 0.5, "first.mp4")

Experimental: in long recordings the published methods find few of the micro-expressions, and much else.
"""

import csv
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from mer_hf.face.spotting import Phases, spot, unusable
from mer_hf.face.tracking import FaceError, FaceTrack, track_face
from mer_hf.video.clip import MAX_BYTES, Clip, iter_clips, write_clip
from mer_hf.video.container import CutShort, VideoInfo, frames_between, survey_video

from .pipeline import MicroExpressionPipeline

WINDOW_S, OVERLAP_S = 4.0, 1.0
CURVE_POINTS = 2000
LEVEL_OF_THE_ART = (
    "Experimental: in long recordings published methods spot micro-expressions with an F1 of 0.01 to 0.29; "
    "the baseline of the 2025 challenge scores below 0.01 at spotting and recognising together (MEGC2025, "
    "arXiv 2506.15298). Expect misses and false finds."
)
"""What a reader of any such list should know; shown beside it."""
CANDIDATE = "candidate"
"""Outcome of an interval that no network was asked about."""

_LEAST_MARGIN_S = 0.25
_SHORTEST_PIECE_S = 1.0
_PAUSE_S = 0.5
_REASONS = {
    "none": "no face was found",
    "brief": "no face was found",
    "small": "the face is too small",
    "lost": "no face was found",
    "unsteady": "the head turned or moved too fast",
    "pause": "the video holds no pictures",
}


@dataclass(frozen=True)
class Interval:
    """One motion that may be a micro-expression.

    Attributes:
        onset_s, apex_s, offset_s (`float`): Seconds from the beginning of the video.
        peak_px (`float`): Motion at the apex, in pixels of the aligned face.
        outcome (`str`): `micro_expression` or `no_micro_expression`, as the network's calibration decides;
            `candidate` where no network was asked.
        label (`str` or `None`): The class with the highest score, for a `micro_expression`.
        scores (`dict[str, float]`): Class -> probability; empty where no network was asked.
        expression_probability (`float` or `None`): How likely the motion is a micro-expression; None without
            a calibration.
    """

    onset_s: float
    apex_s: float
    offset_s: float
    peak_px: float
    outcome: str = CANDIDATE
    label: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    expression_probability: float | None = None


@dataclass(frozen=True)
class Gap:
    """A stretch in which nothing could be looked for.

    Attributes:
        start_s, end_s (`float`): Seconds from the beginning of the video.
        reason (`str`): A few words, such as `no face was found`.
    """

    start_s: float
    end_s: float
    reason: str


@dataclass(frozen=True, eq=False)
class LongVideo:
    """What was found in a long video.

    Attributes:
        duration_s (`float`): How much of it was looked at, in seconds from its beginning.
        intervals (`tuple[Interval, ...]`): In order of time; none overlaps another.
        gaps (`tuple[Gap, ...]`): In order of time.
        blinks (`tuple[tuple[float, float], ...]`): Start and end of each, in seconds.
        curve (`np.ndarray` of shape `(N,)`): Largest motion in each of N stretches of equal length, in pixels
            of the aligned face; NaN in gaps. N is at most `CURVE_POINTS`.
        curve_s (`np.ndarray` of shape `(N,)`): The middle of each stretch, in seconds.
        warnings (`tuple[str, ...]`): What to know before believing it, one line each.
        model (`str` or `None`): The checkpoint that classified; None where none did.
    """

    duration_s: float
    intervals: tuple[Interval, ...]
    gaps: tuple[Gap, ...]
    blinks: tuple[tuple[float, float], ...]
    curve: np.ndarray
    curve_s: np.ndarray
    warnings: tuple[str, ...] = ()
    model: str | None = None

    def to_dict(self) -> dict:
        """Everything but the curve, as values that JSON has."""
        return {
            "duration_s": round(self.duration_s, 4),
            "intervals": [_rounded(asdict(each)) for each in self.intervals],
            "gaps": [_rounded(asdict(each)) for each in self.gaps],
            "blinks": [[round(a, 4), round(b, 4)] for a, b in self.blinks],
            "warnings": list(self.warnings),
            "model": self.model,
        }

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the network, in its order; empty where none was asked or nothing was found."""
        return next((tuple(each.scores) for each in self.intervals if each.scores), ())

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as one JSON object."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)


def spot_long(
    path: str | os.PathLike,
    pipeline: MicroExpressionPipeline | None = None,
    window_s: float = WINDOW_S,
    overlap_s: float = OVERLAP_S,
    progress: Callable[[float, float], object] | None = None,
    max_bytes: int = MAX_BYTES,
) -> LongVideo:
    """Find the motions of a face in a video of any length, and classify each.

    The face is tracked and its motion judged in windows that overlap; what two windows both saw is taken from
    the one that saw it farther from its ends. Stretches without a usable face are reported, not refused.

    Args:
        path (`str` or `os.PathLike`): A video file.
        pipeline ([`MicroExpressionPipeline`], *optional*): Classifies every interval. Without it they are
            only spotted.
        window_s (`float`, *optional*, defaults to 4.0): Length of a window in seconds.
        overlap_s (`float`, *optional*, defaults to 1.0): How much of a window the next one repeats.
        progress (`Callable[[float, float], object]`, *optional*): Called after each window with the seconds
            done and those in the file. Where it returns False the search ends there, with what was found.
        max_bytes (`int`, *optional*, defaults to 1,000,000,000): The most that the frames of a window may
            take. The frames of larger videos are made smaller as they are read.

    Returns:
        `LongVideo`: Of a file that breaks off, what lies before the break, and a warning that names it.

    Raises:
        ClipError: If the file is no video or none of its frames can be read, or the windows do not fit.
    """
    path = Path(path)
    info = survey_video(path)
    search = _Search(pipeline, overlap_s)
    most_pixels, notes = _pixels_that_fit(info, window_s, max_bytes)
    clips = iter_clips(path, window_s, overlap_s, None, max_bytes, most_pixels, until_damage=True)
    try:
        for clip in clips:
            search.look_at(clip)
            if progress and progress(search.end_s, max(info.duration_s, search.end_s)) is False:
                notes.append(f"stopped at {search.end_s:.1f} s of {info.duration_s:.1f} s, as was asked.")
                break
    except CutShort as damage:
        if not search.end_s:
            raise
        notes.append(
            f"the video breaks off at {search.end_s:.2f} s ({_what_broke(damage, path)}); only what lies "
            "before was looked at."
        )
    finally:
        clips.close()
    return search.result(notes)


def cut(path: str | os.PathLike, start_s: float, end_s: float, out_mp4: str | os.PathLike) -> None:
    """Write a stretch of a video as a clip of its own, in a quality that keeps small motions (H.264, crf 10).

    Frames are decoded and written one by one. An mp4 of one steady rate is written: a phone's changing rate
    becomes its mean over the stretch, so that the clip lasts as long, and single frames shift by less than
    the rate changes.

    Args:
        path (`str` or `os.PathLike`): A video file.
        start_s (`float`): Seconds from the beginning of the video; before it means the beginning.
        end_s (`float`): As `start_s`; after the end means the end.
        out_mp4 (`str` or `os.PathLike`): Where to write, ending in `.mp4`.

    Raises:
        ClipError: If no frame lies between the two, the video cannot be read, or the path is no mp4's.
    """
    fps, frames = frames_between(path, start_s, end_s)
    write_clip(out_mp4, frames, fps, crf=10)


def write_intervals_csv(path: str | os.PathLike, found: LongVideo) -> None:
    """A row for each interval, in order of time, with the score of each class in a column of its own.

    Args:
        path (`str` or `os.PathLike`): Where to write.
        found ([`LongVideo`]): From [`spot_long`].
    """
    columns = ["onset_s", "apex_s", "offset_s", "peak_px", "outcome", "label", "expression_probability"]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, [*columns, *found.labels], lineterminator="\n", restval="")
        writer.writeheader()
        for each in found.intervals:
            values = _rounded({name: getattr(each, name) for name in columns} | each.scores)
            writer.writerow({name: "" if value is None else value for name, value in values.items()})


def _what_broke(damage: CutShort, path: Path) -> str:
    """The message of a damage without the path before it and the advice after it."""
    return str(damage).removeprefix(f"{path}: ").removeprefix("cut short or damaged: ").split(". ")[0]


def _pixels_that_fit(info: VideoInfo, window_s: float, max_bytes: int) -> tuple[int | None, list[str]]:
    """How many pixels a frame may have so that a window fits, None for all, and a note about it."""
    # A quarter more than the mean: rates are not always steady.
    frames = math.ceil(1.25 * window_s * info.frames / max(info.duration_s, 1e-3))
    pixels = max_bytes // (3 * max(1, min(frames, info.frames)))
    if pixels >= info.width * info.height:
        return None, []
    share = math.sqrt(pixels / (info.width * info.height))
    return pixels, [f"the frames of {info.width}x{info.height} were made smaller, to {share:.0%} of a side."]


# --- the search ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """An interval, and the window that saw it, which begins at minus infinity where the video does."""

    interval: Interval
    start_s: float
    end_s: float

    def margin_s(self, video_end_s: float) -> float:
        """How far the apex lies from the ends of its window that are not those of the video."""
        after_s = math.inf if self.end_s > video_end_s - 1e-6 else self.end_s - self.interval.apex_s
        return min(self.interval.apex_s - self.start_s, after_s)


class _Search:
    """What has been found up to a window; its size depends on what was found, not on the frames.

    Args:
        pipeline ([`MicroExpressionPipeline`], *optional*): Classifies.
        overlap_s (`float`): Of the windows.
    """

    def __init__(self, pipeline: MicroExpressionPipeline | None, overlap_s: float) -> None:
        self.pipeline = pipeline
        self.overlap_s = overlap_s
        self.end_s = 0.0
        self.found: list[_Found] = []
        self.blinks: list[tuple[float, float]] = []
        self.seen: list[tuple[float, float]] = []
        self.unseen: list[Gap] = []
        self.curve = _ThinCurve(CURVE_POINTS)
        self.notes: dict[str, None] = {}

    def look_at(self, clip: Clip) -> None:
        """Search one window."""
        times_s = clip.timestamps_s
        first = self.end_s == 0.0
        if not first and times_s[0] - self.end_s > _PAUSE_S:
            self.unseen.append(Gap(self.end_s, float(times_s[0]), _REASONS["pause"]))
        self._look_at_piece(clip, first)
        self.end_s = max(self.end_s, float(times_s[-1]) + _frame_s(times_s))

    def _look_at_piece(self, clip: Clip, first: bool) -> None:
        """Track and spot; where the face is there for less than half the time, look at both halves."""
        times_s = clip.timestamps_s
        try:
            track = self.pipeline.track(clip) if self.pipeline else track_face(clip)
        except FaceError as error:
            if error.kind == "brief" and times_s[-1] - times_s[0] >= 2 * _SHORTEST_PIECE_S:
                half = len(times_s) // 2
                for part in (slice(None, half), slice(half, None)):
                    self._look_at_piece(Clip(clip.frames[part], times_s[part], source=clip.source), first)
                    first = False
                return
            end_s = float(times_s[-1]) + _frame_s(times_s)
            self.unseen.append(Gap(float(times_s[0]), end_s, _REASONS[error.kind]))
            return
        for note in track.warnings:
            if note.startswith(("the face is small", "2 faces", "3 faces")):
                self.notes[note] = None
        phases = spot(track, times_s)
        self._remember(track, phases, times_s, first)

    def _remember(self, track: FaceTrack, phases: Phases, times_s: np.ndarray, first: bool) -> None:
        frame_s = _frame_s(times_s)
        start_s, end_s = -math.inf if first else float(times_s[0]), float(times_s[-1]) + frame_s
        for onset, apex, offset in phases.candidates:
            interval = self._judged(track, replace(phases, onset=onset, apex=apex, offset=offset), times_s)
            self.found.append(_Found(interval, start_s, end_s))
        self.blinks += [(float(times_s[a]), float(times_s[b]) + frame_s) for a, b in phases.blinks]
        lost = unusable(track)
        self._remember_gaps(track, lost, times_s)
        keep = slice(0 if first else int(np.searchsorted(times_s, times_s[0] + self.overlap_s / 2)), None)
        self.curve.add(times_s[keep], np.where(lost, np.nan, phases.curve)[keep])

    def _judged(self, track: FaceTrack, phases: Phases, times_s: np.ndarray) -> Interval:
        seconds = [float(times_s[frame]) for frame in (phases.onset, phases.apex, phases.offset)]
        interval = Interval(*seconds, peak_px=float(phases.curve[phases.apex]))
        if self.pipeline is None:
            return interval
        answer = self.pipeline.classify(track, phases, times_s)
        return replace(
            interval,
            outcome=answer.outcome,
            label=answer.label,
            scores=dict(answer.scores),
            expression_probability=answer.expression_probability,
        )

    def _remember_gaps(self, track: FaceTrack, lost: np.ndarray, times_s: np.ndarray) -> None:
        """Stretches of a window in which the face was lost or shook, and the pauses between its frames."""
        frame_s = _frame_s(times_s)
        found = np.ones(len(lost), dtype=bool) if track.found is None else track.found
        kinds = np.where(found, np.where(lost, "unsteady", ""), "lost")
        borders = np.flatnonzero(kinds[1:] != kinds[:-1]) + 1
        for part in np.split(np.arange(len(kinds)), borders):
            start_s = float(times_s[part[0]])
            end_s = (
                float(times_s[part[-1] + 1]) if part[-1] + 1 < len(kinds) else float(times_s[-1]) + frame_s
            )
            kind = str(kinds[part[0]])
            if kind:
                self.unseen.append(Gap(start_s, end_s, _REASONS[kind]))
            else:
                self.seen.append((start_s, end_s))
        for pause in np.flatnonzero(np.diff(times_s) > _PAUSE_S):
            gap = Gap(float(times_s[pause]) + frame_s, float(times_s[pause + 1]), _REASONS["pause"])
            self.unseen.append(gap)

    def result(self, notes: list[str]) -> LongVideo:
        """Everything that was found, in order."""
        pauses = [gap for gap in self.unseen if gap.reason == _REASONS["pause"]]
        others = [gap for gap in self.unseen if gap.reason != _REASONS["pause"]]
        seen = _joined(self.seen)
        gaps = _joined_gaps([*pauses, *(part for gap in others for part in _less(gap, seen))])
        curve_s, curve = self.curve.points(gaps)
        if not self.seen:
            notes = [*notes, "no face could be looked at anywhere in the video."]
        return LongVideo(
            duration_s=self.end_s,
            intervals=_merged(self.found, self.end_s, min(_LEAST_MARGIN_S, self.overlap_s / 2)),
            gaps=tuple(gaps),
            blinks=tuple(_joined(self.blinks)),
            curve=curve,
            curve_s=curve_s,
            warnings=(*notes, *self.notes),
            model=self.pipeline.name if self.pipeline else None,
        )


def _merged(found: list[_Found], video_end_s: float, least_margin_s: float) -> tuple[Interval, ...]:
    """Of intervals that share a moment the one seen farthest from the ends of its window, by time.

    Near an end rest is known from one side only, and much that is none looks like motion: what lies nearer
    than `least_margin_s` is left to the window beside it.
    """
    kept: list[Interval] = []
    for each in sorted(found, key=lambda each: -each.margin_s(video_end_s)):
        one = each.interval
        free = all(one.offset_s <= other.onset_s or one.onset_s >= other.offset_s for other in kept)
        if free and each.margin_s(video_end_s) >= least_margin_s:
            kept.append(one)
    return tuple(sorted(kept, key=lambda one: one.apex_s))


# --- stretches of time --------------------------------------------------------------------------------------


def _frame_s(times_s: np.ndarray) -> float:
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0


def _joined(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans in order, those that touch made one."""
    joined: list[tuple[float, float]] = []
    for start_s, end_s in sorted(spans):
        if joined and start_s <= joined[-1][1] + 1e-6:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end_s))
        else:
            joined.append((start_s, end_s))
    return joined


def _less(gap: Gap, seen: list[tuple[float, float]]) -> Iterator[Gap]:
    """What is left of a gap when another window saw a part of it."""
    at_s = gap.start_s
    for start_s, end_s in seen:
        if end_s <= at_s or start_s >= gap.end_s:
            continue
        if start_s > at_s + 1e-6:
            yield Gap(at_s, start_s, gap.reason)
        at_s = max(at_s, end_s)
    if at_s < gap.end_s - 1e-6:
        yield Gap(at_s, gap.end_s, gap.reason)


def _joined_gaps(gaps: list[Gap]) -> list[Gap]:
    """Gaps in order, none over another; those that touch and have one reason made one."""
    joined: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: (gap.start_s, -gap.end_s)):
        last = joined[-1] if joined else None
        if last and gap.reason == last.reason and gap.start_s <= last.end_s + 1e-6:
            joined[-1] = replace(last, end_s=max(last.end_s, gap.end_s))
        elif last and gap.start_s < last.end_s:
            if gap.end_s > last.end_s + 1e-6:
                joined.append(replace(gap, start_s=last.end_s))
        else:
            joined.append(gap)
    return joined


def _rounded(values: dict) -> dict:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


class _ThinCurve:
    """The largest value in each of a bounded number of stretches of equal length.

    When the time outgrows them, two neighbours become one of twice the length.

    Args:
        most (`int`): Number of stretches, even.
    """

    def __init__(self, most: int) -> None:
        self.step_s = 1 / 30
        self.values = np.full(most, np.nan)

    def add(self, times_s: np.ndarray, values: np.ndarray) -> None:
        """Take values from a time on; what was there from the first of these times on is replaced."""
        if not len(times_s):
            return
        times_s = np.maximum(times_s, 0.0)
        while times_s[-1] >= self.step_s * len(self.values):
            halves = np.fmax(self.values[::2], self.values[1::2])
            self.values = np.concatenate([halves, np.full_like(halves, np.nan)])
            self.step_s *= 2
        at = (times_s / self.step_s).astype(int)
        self.values[at[0] + 1 :] = np.nan
        np.fmax.at(self.values, at, values)

    def points(self, gaps: list[Gap]) -> tuple[np.ndarray, np.ndarray]:
        """Middles of the stretches that hold a value or lie in a gap, and their values."""
        middles_s = (np.arange(len(self.values)) + 0.5) * self.step_s
        wanted = np.isfinite(self.values)
        for gap in gaps:
            wanted |= (middles_s >= gap.start_s) & (middles_s <= gap.end_s)
        return middles_s[wanted], self.values[wanted].astype(np.float32)
