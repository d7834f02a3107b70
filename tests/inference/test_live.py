"""A face is watched frame by frame: what is told, when, how often, and what it costs."""

import threading
import tracemalloc

import numpy as np
import pytest

from mer_hf.inference.live import FACE_FOUND, Background, Live, Pace, Update
from mer_hf.inference.pipeline import REPORTED, MicroExpressionPipeline
from tests.moving_face import blink, brow_raise, drift, raised_cosine, render, smile

FPS = 25.0
EXPRESSIONS_S = ((0.8, 1.0, 1.2), (2.4, 2.6, 2.8), (4.0, 4.25, 4.5))
BLINK_S, LENGTH_S = (5.6, 5.7, 5.8), 8.0


def feed(live: Live, frames: np.ndarray, fps: float = FPS) -> list[Update]:
    updates = [live.add(frame, i / fps) for i, frame in enumerate(frames)]
    return [update for update in [*updates, live.finish()] if update]


@pytest.fixture(scope="module")
def frames():
    """Three expressions, a blink and two seconds of rest."""
    count = round(LENGTH_S * FPS)
    moves = zip((*EXPRESSIONS_S, BLINK_S), (smile, brow_raise, smile, blink), strict=True)
    fields = [
        (
            (1.0 if motion is blink else 2.4) * raised_cosine(count, *(round(t * FPS) for t in phases)),
            motion,
        )
        for phases, motion in moves
    ]
    return render(drift(count, FPS, 1.0, 0.5), FPS, fields, scale=1.6, noise=1.0)[0].frames


@pytest.fixture(scope="module")
def watched(frames):
    live = Live(MicroExpressionPipeline.from_pretrained("htnet"))
    updates = feed(live, frames)
    live.close()
    return live, updates


def test_every_expression_is_told_once_and_soon_and_a_blink_is_none(watched):
    live, updates = watched
    told = [(update.time_s, event) for update in updates for event in update.events]
    assert [event.interval.outcome for _, event in told] == [REPORTED[0]] * len(EXPRESSIONS_S)
    for (told_s, event), (onset_s, apex_s, offset_s) in zip(told, EXPRESSIONS_S, strict=True):
        one = event.interval
        assert one.apex_s == pytest.approx(apex_s, abs=0.1) and one.label
        assert told_s - offset_s < 1.2  # what is left of 1.5 s is for the work
        assert event.faces_s[0] < onset_s and event.faces_s[-1] > offset_s - 0.1
        assert len(event.faces) == len(event.faces_s)
    assert live.result().intervals == tuple(event.interval for _, event in told)
    assert [round(blink.start_s) for blink in live.result().blinks] == [6]


def test_the_motion_line_is_whole_and_shows_the_expressions(watched):
    _, updates = watched
    at_s = np.concatenate([update.curve_s for update in updates])
    curve = np.concatenate([update.curve for update in updates])
    assert len(at_s) == round(LENGTH_S * FPS) and (np.diff(at_s) > 0).all()
    for onset_s, apex_s, _ in EXPRESSIONS_S[1:]:
        assert (
            curve[np.abs(at_s - apex_s) < 0.05].max() > 3 * curve[np.abs(at_s - onset_s + 0.2) < 0.05].max()
        )
    assert updates[-1].face == FACE_FOUND


def test_a_still_face_moves_in_nobodys_eyes(frames):
    rest = render(drift(100, FPS, 1.0, 0.5, seed=3), FPS, scale=1.6, noise=1.0, seed=3)[0].frames
    live = Live()
    assert not [update.events for update in feed(live, rest) if update.events]
    live.close()


def test_a_face_that_leaves_is_said_and_what_it_did_before_stays(frames):
    nobody = np.full_like(frames[:60], 90)
    live = Live()
    updates = feed(live, np.concatenate([frames[:60], nobody]))
    live.close()
    assert updates[-1].face == "no face was found"
    (gap,) = live.result().gaps
    assert gap.start_s == pytest.approx(2.4, abs=0.2) and gap.end_s > 4.5
    assert len(live.result().intervals) == 1


def test_memory_does_not_grow_with_time():
    frame, peaks = np.full((120, 160, 3), 90, np.uint8), []
    live = Live()
    tracemalloc.start()
    for part in range(3):
        tracemalloc.reset_peak()
        for i in range(20 * 30):
            live.add(frame.copy(), 20 * part + i / 30)
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    live.close()
    assert peaks[2] < peaks[1] + 10 * frame.nbytes  # of 600
    assert len(live.gaps) == 1  # one stretch, however long


def test_frames_that_are_not_later_are_left_out():
    live, frame = Live(), np.full((120, 160, 3), 90, np.uint8)
    assert isinstance(live.add(frame, 1.0), Update)
    assert live.add(frame, 1.0) is None and live.add(frame, float("nan")) is None
    live.close()


def test_a_slower_machine_takes_every_nth_frame_and_all_again_when_it_has_time():
    pace = Pace()
    taken = [pace.takes() for _ in range(30)]
    assert all(taken)
    pace.worked(busy_s=1.2, span_s=0.5, behind_s=1.0)
    taken = np.flatnonzero([pace.takes() for _ in range(30)])
    assert (np.diff(taken) == 3).all() and (pace.taken, pace.dropped) == (40, 20)
    pace.worked(busy_s=0.45, span_s=0.5, behind_s=0.2)  # as much as it can
    assert pace.every == 3
    for _ in range(3):
        pace.worked(busy_s=0.1, span_s=0.5, behind_s=0.0)
    assert pace.every == 1


def test_more_frames_are_tried_where_there_is_time_and_less_often_if_that_fails():
    pace, tried_s = Pace(), []
    for at in range(600):
        late = pace.every == 1
        pace.worked(busy_s=0.3 if pace.every > 1 else 0.5, span_s=0.5, behind_s=1.0 if late else 0.1)
        if pace.every == 1:
            tried_s.append(at / 2)
    assert len(tried_s) == 6 and (np.diff(np.diff(tried_s)) >= 8).all()


def test_of_a_quick_camera_no_more_is_taken_than_is_looked_at():
    live = SlowLive()
    live.go.set()
    work = Background(live)
    for i in range(200):
        work.offer(np.zeros((4, 4, 3), np.uint8), i / 200)
    work.close()
    assert (work.pace.taken, work.pace.dropped) == (67, 133)
    assert np.diff(live.times_s) == pytest.approx(0.015)


class SlowLive:
    """Takes no further frame until it is told to."""

    def __init__(self):
        self.go, self.times_s, self.closed = threading.Event(), [], False

    def add(self, image, time_s):
        self.go.wait(10)
        self.times_s.append(time_s)

    def finish(self, until_s=0.0):
        return None

    def close(self):
        self.closed = True


def test_what_waits_is_bounded_and_what_finds_no_room_is_counted():
    live = SlowLive()
    work, frame = Background(live), np.zeros((4, 4, 3), np.uint8)
    for i in range(300):
        work.offer(frame, i / 30)
    live.go.set()
    assert work.close() == [] and live.closed
    assert work.pace.taken == len(live.times_s) < 70
    assert work.pace.taken + work.pace.dropped == 300


def test_an_error_of_the_thread_is_told():
    live = SlowLive()
    live.go.set()
    live.add = None
    work = Background(live)
    work.offer(np.zeros((4, 4, 3), np.uint8), 0.0)
    with pytest.raises(TypeError):
        work.close()
    assert live.closed


def test_what_was_not_taken_is_a_gap():
    live, frame = Live(), np.full((120, 160, 3), 90, np.uint8)
    for time_s in (0.0, 0.1, 2.0):
        live.add(frame.copy(), time_s)
    live.finish(until_s=5.0)
    found = live.result()
    assert found.duration_s == 5.0
    spans = [(gap.start_s, gap.end_s) for gap in found.gaps if gap.reason == "no pictures were taken"]
    assert spans == [(0.1, 2.0), (2.0, 5.0)]
    live.close()
