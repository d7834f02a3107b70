"""Watch a face while its frames come: events soon after they end, in memory that does not grow.

from mer_hf import MicroExpressionPipeline
from mer_hf.inference.live import Live

live = Live(MicroExpressionPipeline.from_pretrained("htnet"))
for image, time_s in frames:  # (H, W, 3) uint8 RGB, and seconds that rise
    for event in update.events if (update := live.add(image, time_s)) else ():
        print(event.interval.outcome, event.interval.label)

The last seconds are searched again and again, as the windows of a long video are. `Background` does it in a
thread, and leaves out every n-th frame where this machine is slower than the camera.
"""

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mer_hf.face.following import follow_face, with_mesh
from mer_hf.face.spotting import Phases
from mer_hf.face.tracking import FaceTrack
from mer_hf.video.clip import MOST_BYTES
from mer_hf.video.container import Frame

from .long_video import LEAST_MARGIN_S, PAUSE_S, Blink, Gap, Interval, LongVideo, Search

if TYPE_CHECKING:
    from .pipeline import MicroExpressionPipeline

WINDOW_S, STEP_S, LEAST_S = 3.0, 0.5, 1.5
"""What is searched together, the time from one search to the next, and the shortest window that is searched.

A longer window takes more time in each search: four seconds are too much for two cores."""
_LEAST_AT_END_S = 0.3
_NOT_TAKEN = "no pictures were taken"
SETTLE_S = 0.4
"""A movement is told when this much was seen after it: a face that comes to rest has done so by then."""
REPLAY_S = 0.3
"""What a replay shows before and after the movement."""
FACE_FOUND, FACE_NEW = "followed", "a face is being looked for"
_LATE_S = 0.3
"""By how much the end of a movement may move between two windows."""
_MOST_HZ, _LEAST_APART_S = 60, 0.0125
"""Of a quicker camera every second or third frame is taken."""
_MOST_KEPT = 10_000
_MOST_WAITING_BYTES, _MOST_WAITING_S = 150_000_000, 2.0
_BEHIND_S, _MOST_EVERY = 0.8, 10
_SPARE, _TRY_S, _MOST_TRY_S = 0.75, 4.0, 256.0
"""Work that takes less of the time leaves room to try more frames: a search of twice as many costs less than
twice as much. If that fails, the next try comes after twice the time."""


@dataclass(frozen=True, eq=False)
class LiveEvent:
    """A movement that has ended.

    Attributes:
        interval ([`Interval`]): When it was and what it is.
        faces (`np.ndarray` of shape `(T, S, S, 3)`): The aligned face from a moment before to a moment after.
        faces_s (`np.ndarray` of shape `(T,)`): Seconds of these pictures.
    """

    interval: Interval
    faces: np.ndarray
    faces_s: np.ndarray


@dataclass(frozen=True, eq=False)
class Update:
    """What one search adds.

    Attributes:
        time_s (`float`): The newest frame.
        events (`tuple[LiveEvent, ...]`): Movements that have ended; each is told once.
        curve_s, curve (`np.ndarray` of shape `(N,)`): The motion line since the last update, in pixels of the
            aligned face; NaN without a usable face.
        threshold (`float`): Value of the curve above which motion counts.
        face (`str`): `followed`, or why the face is not searched now.
    """

    time_s: float
    events: tuple[LiveEvent, ...] = ()
    curve_s: np.ndarray = field(default_factory=lambda: np.empty(0))
    curve: np.ndarray = field(default_factory=lambda: np.empty(0))
    threshold: float = 0.0
    face: str = FACE_NEW


class Live:
    """A rolling window over frames that come one at a time. It belongs to one thread.

    Args:
        pipeline ([`MicroExpressionPipeline`], *optional*): Classifies every movement; without it they are
            only spotted.
    """

    def __init__(self, pipeline: "MicroExpressionPipeline | None" = None) -> None:
        self.pipeline = pipeline
        self.events: deque[Interval] = deque(maxlen=_MOST_KEPT)
        self.blinks: deque[Gap] = deque(maxlen=_MOST_KEPT)
        self.gaps: deque[Gap] = deque(maxlen=_MOST_KEPT)
        self._inbox: deque[Frame] = deque()
        most_bytes = MOST_BYTES / 3 / (WINDOW_S * _MOST_HZ)
        self._followed = with_mesh(follow_face(iter(self._inbox.popleft, None), most_bytes))
        self._held: deque[Frame] = deque()
        self._next_s = self._end_s = -math.inf

    def add(self, image: np.ndarray, time_s: float) -> Update | None:
        """Take a frame.

        Args:
            image (`np.ndarray` of shape `(H, W, 3)`): uint8, RGB.
            time_s (`float`): Its time; a frame that is not later than the one before is left out.

        Returns:
            `Update` or `None`: News where the last seconds were searched, twice a second.
        """
        held = self._held
        if held and not time_s > held[-1].time_s:
            return None
        self._inbox.append(Frame(image, time_s, None))
        frame = next(self._followed)
        if held and time_s - held[-1].time_s > PAUSE_S:
            self.gaps.append(Gap(held[-1].time_s, time_s, _NOT_TAKEN))
        if held and (frame.run is not held[-1].run or time_s - held[-1].time_s > PAUSE_S):
            held.clear()
        held.append(frame)
        while held[0].time_s < time_s - WINDOW_S:
            held.popleft()
        if time_s < self._next_s:
            return None
        self._next_s = time_s + STEP_S
        return self._search() if time_s - held[0].time_s >= LEAST_S else Update(time_s)

    def finish(self, until_s: float = -math.inf) -> Update | None:
        """Search once more, after the last frame: what ends there is told too.

        `until_s` is the time of the last frame that came, also if it was not taken.
        """
        long = self._held and self._held[-1].time_s - self._held[0].time_s >= _LEAST_AT_END_S
        update = self._search(settle_s=0.0) if long else None
        last_s = self._held[-1].time_s if self._held else 0.0
        if until_s - last_s > PAUSE_S:
            self.gaps.append(Gap(last_s, until_s, _NOT_TAKEN))
        self._end_s = max(self._end_s, last_s, until_s)
        return update

    def _search(self, settle_s: float = SETTLE_S) -> Update:
        """Search the window, and keep what has ended since the last search."""
        times_s = np.array([frame.time_s for frame in self._held])
        clip = self._held[0].run.clip(tuple(frame.image for frame in self._held), times_s, (), "camera")
        window = _Window(self.pipeline, self._end_s, settle_s, list(self.events)[-20:])
        window.add_window(clip)
        due = window.due_s(times_s)
        self.events += [event.interval for event in window.events]
        for blink in window.blinks:
            if due[0] < blink.end_s <= due[1] and not (self.blinks and blink.start_s < self.blinks[-1].end_s):
                self.blinks.append(blink)
        lost = window.gaps_until(window.end_s)
        for gap in lost:
            self._add_gap(replace(gap, start_s=max(gap.start_s, self._end_s)))
        since_s, self._end_s = self._end_s, float(times_s[-1])
        curve_s, curve = (np.concatenate([piece[k] for piece in (([],) * 2, *window.curves)]) for k in (0, 1))
        now = lost[-1].reason if lost and lost[-1].end_s >= times_s[-1] else FACE_FOUND
        new = curve_s > since_s
        return Update(self._end_s, tuple(window.events), curve_s[new], curve[new], window.threshold, now)

    def _add_gap(self, gap: Gap) -> None:
        last = self.gaps[-1] if self.gaps else None
        if last and last.reason == gap.reason and gap.start_s <= last.end_s + STEP_S:
            self.gaps[-1] = replace(last, end_s=max(last.end_s, gap.end_s))
        elif gap.end_s > gap.start_s:
            self.gaps.append(gap)

    def close(self) -> None:
        """Give the face's models back."""
        self._followed.close()

    def result(self) -> LongVideo:
        """Return what was found so far, as the search of a long video gives it; the curve is empty."""
        return LongVideo(
            duration_s=max(self._end_s, 0.0),
            intervals=tuple(self.events),
            gaps=tuple(self.gaps),
            blinks=tuple(Blink(blink.start_s, blink.end_s) for blink in self.blinks.copy()),
            curve=np.empty(0),
            curve_s=np.empty(0),
            model=self.pipeline.name if self.pipeline else None,
        )


class _Window(Search):
    """The search of one window, in which only movements are classified that have ended since the last one."""

    def __init__(self, pipeline, searched_s: float, settle_s: float, told: list[Interval]) -> None:
        super().__init__(pipeline, 0.0)
        self.searched_s, self.settle_s, self.told = searched_s, settle_s, told
        self.events: list[LiveEvent] = []
        self.threshold = 0.0

    def due_s(self, times_s: np.ndarray) -> tuple[float, float]:
        """Return between which times a movement ends that is told now."""
        return self.searched_s - SETTLE_S - _LATE_S, float(times_s[-1]) - self.settle_s

    def _is_due(self, times_s: np.ndarray, onset: int, apex: int, offset: int) -> bool:
        onset_s, apex_s, offset_s = times_s[[onset, apex, offset]]
        after_s, until_s = self.due_s(times_s)
        apart = all(offset_s <= one.onset_s or onset_s >= one.offset_s for one in self.told)
        return apart and after_s < offset_s <= until_s and apex_s >= times_s[0] + LEAST_MARGIN_S

    def _add_phases(self, track: FaceTrack, phases: Phases, times_s: np.ndarray, first: bool) -> None:
        due = tuple(each for each in phases.candidates if self._is_due(times_s, *each))
        before = len(self.sightings)
        super()._add_phases(track, replace(phases, candidates=due), times_s, first)
        self.threshold = phases.threshold
        for sighting in self.sightings[before:]:
            one = sighting.interval
            shown = (times_s >= one.onset_s - REPLAY_S) & (times_s <= one.offset_s + REPLAY_S)
            self.events.append(LiveEvent(one, track.frames[shown], times_s[shown]))


# --- in a thread of its own ---------------------------------------------------------------------------------


class Pace:
    """Which frames are taken: all, or every n-th where the work takes longer than the frames do."""

    def __init__(self) -> None:
        self.every, self.taken, self.dropped = 1, 0, 0
        self._since, self._easy_s, self._try_s, self._tries = 0, 0.0, _TRY_S, False

    def takes(self, has_room: bool = True) -> bool:
        """Count a frame, and tell whether it is taken."""
        self._since += 1
        taken = self._since >= self.every and has_room
        if taken:
            self._since = 0
        self.taken, self.dropped = self.taken + taken, self.dropped + (not taken)
        return taken

    def worked(self, busy_s: float, span_s: float, behind_s: float) -> None:
        """Learn from work on `span_s` of frames; it is `behind_s` behind the newest frame."""
        for_all = busy_s / max(span_s, 1e-6) * self.every
        self._easy_s = max(0.0, self._easy_s + (span_s if busy_s < _SPARE * span_s else -span_s))
        if behind_s > _BEHIND_S:
            self.every = min(max(self.every + 1, math.ceil(for_all)), _MOST_EVERY)
            self._easy_s, self._try_s = 0.0, min(self._try_s * (1 + self._tries), _MOST_TRY_S)
            self._tries = False
        elif self.every > 1 and (for_all / (self.every - 1) < 0.8 or self._easy_s >= self._try_s):
            self._tries = self._easy_s >= self._try_s
            self.every, self._easy_s = self.every - 1, 0.0


class Background:
    """A `Live` in a thread of its own: frames are offered as they come, news fetched when there is time.

    Args:
        live ([`Live`]): Nobody else may use it until this is closed.
    """

    def __init__(self, live: Live) -> None:
        self.live, self.pace = live, Pace()
        self._waiting: deque[tuple[np.ndarray, float]] = deque()
        self._news: deque[Update] = deque(maxlen=1000)
        self._changed = threading.Condition()
        self._closed, self._error = False, None
        self._newest_s, self._taken_s = 0.0, -math.inf
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def offer(self, image: np.ndarray, time_s: float) -> None:
        """Take a frame, or leave it out and count it; this takes no time."""
        with self._changed:
            waiting, self._newest_s = self._waiting, time_s
            full = len(waiting) * image.nbytes > _MOST_WAITING_BYTES
            full = full or (waiting and time_s - waiting[0][1] > _MOST_WAITING_S)
            if self.pace.takes(not full and time_s - self._taken_s > _LEAST_APART_S):
                self._taken_s = time_s
                waiting.append((image, time_s))
                self._changed.notify_all()

    def news(self) -> list[Update]:
        """Return the updates since the last call; raise what went wrong in the thread."""
        if self._error:
            raise self._error
        return [self._news.popleft() for _ in range(len(self._news))]

    @property
    def behind_s(self) -> float:
        """Return how much of what was offered still waits."""
        with self._changed:
            return self._newest_s - self._waiting[0][1] if self._waiting else 0.0

    def close(self) -> list[Update]:
        """Search what waits, end the thread, and return the last news."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        return self.news()

    def _run(self) -> None:
        busy_s, before_s = 0.0, None
        try:
            while (frame := self._next()) is not None:
                begun_s, before_s = time.monotonic(), frame[1] if before_s is None else before_s
                update = self.live.add(*frame)
                busy_s += time.monotonic() - begun_s
                if update is not None:
                    self.pace.worked(busy_s, frame[1] - before_s, self._newest_s - frame[1])
                    busy_s, before_s = 0.0, frame[1]
                    self._news.append(update)
            if (last := self.live.finish(self._newest_s)) is not None:
                self._news.append(last)
        except Exception as error:
            self._error = error
        finally:
            self.live.close()

    def _next(self) -> tuple[np.ndarray, float] | None:
        """Wait for a frame; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return self._waiting.popleft() if self._waiting else None
