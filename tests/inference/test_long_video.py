import itertools
import json
import math
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pympi.Elan import Eaf

from mer_hf.face.spotting import Phases
from mer_hf.face.tracking import FaceError, FaceTrack
from mer_hf.inference import long_video
from mer_hf.inference import pipeline as pipeline_module
from mer_hf.inference.long_video import (
    Gap,
    Interval,
    LongVideo,
    Search,
    _best,
    _remaining_gaps,
    _Sighting,
    _thin_curves,
    cut,
    spot_long,
    strongest_stretch,
    write_intervals_csv,
)
from mer_hf.inference.pipeline import MicroExpressionPipeline
from mer_hf.interchange import boris, elan
from mer_hf.interchange.coding import Coding
from mer_hf.interchange.formats import read_coding
from mer_hf.synthetic.clips import EXAMPLES, Motion, render_clip
from mer_hf.video.clip import Clip, read_clip, write_clip
from mer_hf.video.container import ClipError
from tests.moving_face import brow_raise, drift, raised_cosine, render, smile

FPS = 25.0
EXPRESSIONS_S = ((1.6, 1.8, 2.0), (4.0, 4.2, 4.4), (5.2, 5.4, 5.6))
"""Onset, apex and offset; the middle one lies where two windows of 3 s overlap by 1 s."""
LENGTH_S, FACE_UNTIL_S = 9.0, 7.0


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Nine seconds: three expressions, and no face in the last two."""
    count = round(FACE_UNTIL_S * FPS)
    fields = [
        (2.2 * raised_cosine(count, *(round(t * FPS) for t in phases)), motion)
        for phases, motion in zip(EXPRESSIONS_S, (smile, brow_raise, smile), strict=True)
    ]
    clip, _ = render(drift(count, FPS, 1.0, 0.5), FPS, fields, noise=1.0)
    empty = np.full_like(clip.frames[0], 90)
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    write_clip(path, itertools.chain(clip.frames, [empty] * round((LENGTH_S - FACE_UNTIL_S) * FPS)), FPS)
    return path


@pytest.fixture(scope="module")
def found(video):
    return spot_long(video, window_s=3.0, overlap_s=1.0)


def overlap(one: Interval, onset_s: float, offset_s: float) -> float:
    """Intersection over union."""
    common = min(one.offset_s, offset_s) - max(one.onset_s, onset_s)
    return max(common, 0.0) / (max(one.offset_s, offset_s) - min(one.onset_s, onset_s))


def test_every_expression_is_found_once_whichever_window_saw_it(found):
    assert len(found.intervals) == len(EXPRESSIONS_S)
    for one, (onset_s, apex_s, offset_s) in zip(found.intervals, EXPRESSIONS_S, strict=True):
        assert overlap(one, onset_s, offset_s) >= 0.5
        assert one.apex_s == pytest.approx(apex_s, abs=0.08)
        assert (one.outcome, one.label, one.scores) == ("candidate", None, {})
        near = np.abs(found.curve_s - apex_s) < 0.05
        assert np.nanmax(found.curve[near]) == pytest.approx(one.peak_px, rel=0.3)


def test_a_stretch_without_a_face_is_a_gap_and_no_error(found):
    (gap,) = found.gaps
    assert gap.start_s == pytest.approx(FACE_UNTIL_S, abs=0.1)
    assert gap.end_s == pytest.approx(LENGTH_S, abs=0.1)
    assert "face" in gap.reason
    assert np.isnan(found.curve[found.curve_s > gap.start_s + 0.1]).all()
    assert np.isfinite(found.curve[found.curve_s < gap.start_s - 0.1]).all()
    assert found.duration_s == pytest.approx(LENGTH_S, abs=0.05)


@pytest.fixture(scope="module")
def short(video, tmp_path_factory):
    """Two seconds of the video, with its first expression."""
    path = tmp_path_factory.mktemp("short") / "short.mp4"
    write_clip(path, read_clip(video).frames[25:75], FPS)
    return path


def test_a_video_of_one_frame_works(short, tmp_path):
    write_clip(tmp_path / "frame.mp4", read_clip(short).frames[:1], FPS)
    assert spot_long(tmp_path / "frame.mp4").intervals == ()


def test_a_video_without_any_face_says_so(tmp_path):
    write_clip(tmp_path / "a.mp4", [np.full((90, 120, 3), 90, np.uint8)] * 25, FPS)
    nothing = spot_long(tmp_path / "a.mp4")
    assert nothing.intervals == () and "no usable face" in nothing.warnings[-1]
    assert [gap.reason for gap in nothing.gaps] == ["no face was found"]


def test_what_passes_in_front_of_the_face_is_said_with_its_time(video, tmp_path):
    frames = read_clip(video).frames[:75].copy()
    frames[:] = frames[0]
    height, width = frames.shape[1:3]
    frames[30:42, height // 2 : height // 2 + 40, width // 2 - 40 : width // 2 + 40] = 255
    write_clip(tmp_path / "caption.mp4", frames, FPS)
    (note,) = spot_long(tmp_path / "caption.mp4").warnings
    assert note.startswith("something passes in front of the face at 0:01: ")


def test_intervals_are_classified_as_the_pipeline_would(short, checkpoint):
    pipeline = MicroExpressionPipeline.from_pretrained(checkpoint)
    track, tracks = pipeline.track, []
    pipeline.track = lambda clip, face: tracks.append(track(clip, face)) or tracks[-1]
    result = spot_long(short, pipeline, window_s=4.0, overlap_s=1.0)  # shorter than a window
    (one,) = result.intervals
    assert overlap(one, 0.6, 1.0) >= 0.5
    assert result.duration_s == pytest.approx(2.0, abs=0.05)
    (faces,), times_s = tracks, read_clip(short).timestamps_s
    phases = pipeline.spot(faces, times_s)
    answer = pipeline.classify(faces, phases, times_s)
    assert one.apex_s == times_s[phases.apex]
    assert (one.outcome, one.label, one.scores) == (answer.outcome, answer.label, answer.scores)
    assert result.model == str(checkpoint)
    assert result.to_dict()["intervals"][0]["scores"].keys() == answer.scores.keys()


# --- many windows, without the cost of looking for a face ---------------------------------------------------


@pytest.fixture
def quick_track(monkeypatch):
    """A track that any frames give; black frames hold no face."""

    def track(clip: Clip, face: int | None) -> FaceTrack:
        dark = clip.frames.mean((1, 2, 3)) < 20
        if dark.mean() > 0.5:
            raise FaceError("no face", kind="none" if dark.all() else "brief")
        count = len(clip.frames)
        landmarks = np.random.default_rng(0).uniform(10, 50, (478, 2))
        landmarks[[33, 133]], landmarks[[263, 362]] = (20, 25), (44, 25)
        to_clip = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
        faces = clip.frames[:, :64, :64]
        return FaceTrack(faces, np.tile(landmarks, (count, 1, 1)), to_clip, (), ~dark)

    monkeypatch.setattr(long_video, "track_face", track)


def write_noise(path, seconds: float, dark=lambda time_s: False, **options):
    rng = np.random.default_rng(0)
    grain = [rng.integers(100, 140, (64, 96, 3), dtype=np.uint8) for _ in range(7)]
    count = round(seconds * FPS)
    frames = (np.zeros_like(grain[0]) if dark(i / FPS) else grain[i % 7] for i in range(count))
    write_clip(path, frames, FPS, preset="ultrafast", **options)
    return path


def test_memory_does_not_grow_with_the_video(tmp_path, quick_track):
    peaks = []
    for seconds in (6, 18):
        path = write_noise(tmp_path / f"{seconds}.mp4", seconds)
        tracemalloc.start()
        result = spot_long(path, window_s=2.0, overlap_s=0.5)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert result.duration_s == pytest.approx(seconds, abs=0.1)
        assert len(result.curve) <= long_video.CURVE_POINTS
    assert peaks[1] < 1.1 * peaks[0]


def test_a_face_that_is_there_for_a_part_of_a_window_is_looked_at(tmp_path, quick_track):
    path = write_noise(tmp_path / "a.mp4", 8.0, dark=lambda time_s: 1.0 <= time_s < 6.0)
    result = spot_long(path, window_s=4.0, overlap_s=1.0)
    (gap,) = result.gaps
    assert (gap.start_s, gap.end_s) == (pytest.approx(1.0, abs=0.05), pytest.approx(6.0, abs=0.05))


def test_a_window_without_a_usable_face_leaves_what_its_neighbours_saw(tmp_path, quick_track, monkeypatch):
    track = long_video.track_face

    def refuse_the_second(clip: Clip, face: int | None) -> FaceTrack:
        if 2.9 < clip.timestamps_s[0] < 3.1:
            raise FaceError("its eyes are near each other", kind="small")
        return track(clip, face)

    monkeypatch.setattr(long_video, "track_face", refuse_the_second)
    result = spot_long(write_noise(tmp_path / "a.mp4", 9.0), window_s=4.0, overlap_s=1.0)
    (gap,) = result.gaps
    assert (gap.start_s, gap.end_s) == (pytest.approx(4.0, abs=0.05), pytest.approx(6.0, abs=0.05))
    assert gap.reason == "the face is too small"


def damaged(tmp_path, share: float):
    whole = write_noise(tmp_path / "whole.mp4", 20.0)
    content = whole.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(content[: int(share * len(content))])
    return path


def test_of_a_video_cut_short_what_lies_before_is_given(tmp_path, quick_track):
    result = spot_long(damaged(tmp_path, 0.7), window_s=2.0, overlap_s=0.5)
    assert 12.0 < result.duration_s < 15.0
    assert result.curve_s[-1] == pytest.approx(result.duration_s, abs=0.2)
    (warning,) = result.warnings
    assert f"breaks off at {result.duration_s:.2f} s" in warning and "of 500 frames" in warning
    assert str(tmp_path) not in warning


def test_a_video_that_breaks_in_its_middle_is_given_up_to_there(tmp_path, quick_track):
    whole = bytearray(write_noise(tmp_path / "whole.mp4", 20.0).read_bytes())
    half = len(whole) // 2
    whole[half : half + 20_000] = bytes(20_000)
    (tmp_path / "broken.mp4").write_bytes(whole)
    result = spot_long(tmp_path / "broken.mp4", window_s=2.0, overlap_s=0.5)
    assert 7.0 < result.duration_s < 11.0
    assert "breaks off" in result.warnings[0]


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ClipError, match=r"a\.mp4"):
        spot_long(path)


def test_progress_counts_seconds_and_can_stop_the_search(tmp_path, quick_track):
    path = write_noise(tmp_path / "a.mp4", 12.0)
    told = []
    spot_long(path, window_s=2.0, overlap_s=0.5, progress=lambda *seconds: told.append(seconds))
    done_s, total_s = zip(*told, strict=True)
    assert list(done_s) == sorted(done_s) and done_s[-1] == pytest.approx(12.0, abs=0.1)
    assert set(np.round(total_s)) == {12.0}
    stopped = spot_long(path, window_s=2.0, overlap_s=0.5, progress=lambda done_s, _: done_s < 5)
    assert 5 <= stopped.duration_s < 7 and "stopped at" in stopped.warnings[0]


# --- several people -----------------------------------------------------------------------------------------


def person(number: int, label: str, apex_s: float, seconds: float) -> np.ndarray:
    """A person of their own, with one expression."""
    motion = Motion(EXAMPLES[label], 2.5, apex_s - 0.2, apex_s, apex_s + 0.25)
    size = {"height": 300, "width": 320, "fps": FPS, "duration_s": seconds, "seed": number}
    return render_clip(motion, name=f"person-{number}", **size).clip.frames


def test_each_of_two_people_is_a_track_of_its_own(tmp_path):
    people = [person(1, "positive", 1.0, 2.4), person(2, "negative", 1.6, 2.4)]
    write_clip(tmp_path / "two.mp4", np.concatenate(people, axis=2), FPS)
    found = spot_long(tmp_path / "two.mp4", face="all")
    assert [one.person for one in found.intervals] == [1, 2]
    assert [one.apex_s for one in found.intervals] == pytest.approx([1.0, 1.6], abs=0.1)
    assert found.people == (1, 2) and found.gaps == () and found.warnings == ()
    assert found.curve.shape == (2, len(found.curve_s))
    answer = json.loads(found.to_json())
    assert [one["person"] for one in answer["intervals"]] == [1, 2] == answer["people"]
    second = spot_long(tmp_path / "two.mp4", face=2, frame_units=True)
    assert second.people == (2,) and second.intervals == found.intervals[1:]
    units = {row.frame: row for row in second.frame_units}
    assert len(units) == 60 and {row.person for row in units.values()} == {2}
    assert units[40].units["AU4"][2] > units[10].units["AU4"][2]


@pytest.mark.slow
def test_three_people_get_their_own_answers_and_a_cut_makes_all_of_them_new(tmp_path):
    wanted = [("positive", 1.2), ("surprise", 1.8), ("negative", 2.4)]
    before = [person(k, *each, 4.0) for k, each in zip((1, 3, 2), wanted, strict=True)]
    after = [person(k, *each, 4.0) for k, each in zip((5, 4), (wanted[0], wanted[2]), strict=True)]
    empty = np.full_like(after[0], 90)
    frames = np.concatenate([np.concatenate(scene, 2) for scene in (before, [*after, empty])])
    write_clip(tmp_path / "cut.mp4", frames, FPS)
    found = spot_long(tmp_path / "cut.mp4", MicroExpressionPipeline.from_pretrained("htnet"), face="all")
    assert found.people == (1, 2, 3, 4, 5)
    seen = [(one.person, one.label, one.outcome) for one in found.intervals]
    labels = ("positive", "surprise", "negative", "positive", "negative")
    assert seen == [(k, label, "micro_expression") for k, label in enumerate(labels, 1)]
    for one, apex_s in zip(found.intervals, (1.2, 1.8, 2.4, 5.2, 6.4), strict=True):
        assert one.apex_s == pytest.approx(apex_s, abs=0.1)
    absent = {(gap.person, round(gap.start_s), round(gap.end_s)) for gap in found.gaps}
    assert absent == {(1, 4, 8), (2, 4, 8), (3, 4, 8), (4, 0, 4), (5, 0, 4)}
    for name, write in (("a.eaf", elan.write), ("a.boris", boris.write)):
        write(tmp_path / name, Coding.of(found, tmp_path / "cut.mp4"))
        events = read_coding(tmp_path / name).events
        assert sorted((one.person, one.label) for one in events) == list(enumerate(labels, 1))
    assert "expression @5" in Eaf(str(tmp_path / "a.eaf")).get_tier_names()


def test_who_is_asked_for_and_not_there_is_said(tmp_path):
    write_clip(tmp_path / "a.mp4", [np.full((90, 120, 3), 90, np.uint8)] * 25, FPS)
    found = spot_long(tmp_path / "a.mp4", face=3)
    assert found.people == () and found.warnings[0].startswith("there is no person 3: ")
    assert [gap.reason for gap in found.gaps] == ["no face was found"]


# --- clips that are too large to keep -----------------------------------------------------------------------


def large_video(path, example, scale: int) -> Path:
    """Two seconds of rest, an expression of two seconds, and two seconds of rest."""
    frames = example("positive").clip.frames
    frames = np.concatenate([np.repeat(frames[:1], 60, 0), frames, np.repeat(frames[-1:], 60, 0)])
    write_clip(
        path, (cv2.resize(frame, None, fx=scale, fy=scale) for frame in frames), 30, preset="ultrafast"
    )
    return path


def test_of_a_large_clip_the_strongest_movement_is_described(tmp_path, example, checkpoint, monkeypatch):
    path, smile = large_video(tmp_path / "a.mp4", example, 1), example("positive")
    monkeypatch.setattr(pipeline_module, "MOST_BYTES", 10_000_000)
    monkeypatch.setattr(
        pipeline_module, "strongest_stretch", partial(strongest_stretch, max_bytes=40_000_000)
    )
    pipeline = MicroExpressionPipeline.from_pretrained(checkpoint)
    told = []
    prediction, track = pipeline.with_track(path, progress=lambda *seconds: told.append(seconds))
    phases = prediction.to_dict()["phases"]
    assert abs(phases["apex"] - (60 + smile.apex)) <= 3 and prediction.first_frame > 0
    assert phases["apex_s"] == pytest.approx(phases["apex"] / 30, abs=1e-3)
    assert 110 < len(track.frames) < 130 and told
    assert "the clip is long: the strongest movement, at 0:03, is described" in prediction.warnings[0]
    known = pipeline(path, onset=60 + smile.onset, apex=60 + smile.apex, offset=60 + smile.offset)
    assert known.to_dict()["phases"]["apex"] == 60 + smile.apex and known.phases.source == "given"


def test_a_large_video_is_searched_in_bounded_memory(tmp_path, example):
    path = large_video(tmp_path / "a.mp4", example, 3)
    limit = 60_000_000  # 10 of 180 frames
    tracemalloc.start()
    found = spot_long(path, max_bytes=limit)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < limit + 60_000_000  # aligned faces, and frames on their way
    (one,) = found.intervals
    assert one.apex_s == pytest.approx(2 + example("positive").apex / 30, abs=0.1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("command", ["predict", "spot"])
def test_ten_minutes_of_4k_take_less_than_a_gigabyte_and_a_half(tmp_path, example, command):
    """A second of 60 frames, encoded once; its packets are repeated."""
    frames = example("positive").clip.frames
    write_clip(tmp_path / "s.mp4", (cv2.resize(f, (3840, 2160)) for f in frames), 60, 30, "ultrafast")
    with av.open(str(tmp_path / "s.mp4")) as second, av.open(str(tmp_path / "long.mp4"), "w") as long:
        stream = second.streams.video[0]
        packets = [(bytes(packet), packet.is_keyframe) for packet in second.demux(stream) if packet.size]
        copy = long.add_stream_from_template(stream)
        for i in range(600 * 60):
            packet = av.Packet(packets[i % 60][0])
            packet.stream, packet.is_keyframe = copy, packets[i % 60][1]
            packet.pts = packet.dts = i * 256
            packet.duration, packet.time_base = 256, Fraction(1, 15360)
            long.mux(packet)
    run = f"import sys; from mer_hf.cli import main; main({[command, str(tmp_path / 'long.mp4'), '--json']})"
    # Not getrusage: its peak is that of the process before it became this one, if that was larger.
    measure = "; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", run + measure], capture_output=True, text=True, check=True)
    assert int(done.stderr.split()[-1]) < 1_500_000  # kB
    answer = json.loads(done.stdout)
    if command == "spot":  # `predict` says how long the movement lasts
        assert answer["duration_s"] == pytest.approx(600, abs=0.1)
    else:
        assert answer["outcome"] and sum(answer["scores"].values()) == pytest.approx(1)


# --- putting windows together -------------------------------------------------------------------------------


def at(onset_s: float, offset_s: float, peak_px: float = 1.0) -> Interval:
    return Interval(onset_s, (onset_s + offset_s) / 2, offset_s, peak_px, offset_s - onset_s)


def test_what_two_windows_saw_is_taken_from_the_one_that_saw_it_farther_from_its_ends():
    central, marginal, other = at(3.0, 3.4), at(3.1, 3.6, 9.0), at(1.0, 1.2)
    found = [_Sighting(marginal, 3.1, 7.0), _Sighting(central, 0.0, 4.0), _Sighting(other, 0.0, 4.0)]
    assert _best(found, 10.0, 0.2) == (other, central)


def test_what_lies_at_an_end_of_a_window_is_left_to_its_neighbour():
    early, late = at(0.0, 0.2), at(3.8, 4.0)
    assert _best([_Sighting(early, 0.0, 4.0), _Sighting(late, 0.0, 4.0)], 10.0, 0.25) == ()
    assert _best([_Sighting(early, -math.inf, 4.0), _Sighting(late, 0.0, 4.0)], 4.0, 0.25) == (early, late)


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        ([], [(2.0, 5.0)]),
        ([(0.0, 2.0), (5.0, 7.0)], [(2.0, 5.0)]),
        ([(0.0, 3.0), (4.5, 7.0)], [(3.0, 4.5)]),
        ([(3.0, 4.0)], [(2.0, 3.0), (4.0, 5.0)]),
        ([(1.0, 6.0)], []),
    ],
)
def test_what_another_window_saw_is_no_gap(seen, left):
    assert [(gap.start_s, gap.end_s) for gap in _remaining_gaps([Gap(2.0, 5.0, "lost")], seen)] == left


def test_gaps_do_not_lie_over_each_other():
    gaps = [Gap(0, 2, "a"), Gap(1, 3, "a"), Gap(2, 4, "b"), Gap(2.5, 3, "b"), Gap(6, 7, "b")]
    assert _remaining_gaps(gaps) == [Gap(0, 3, "a"), Gap(3, 4, "b"), Gap(6, 7, "b")]


def test_a_pause_is_a_gap_even_where_a_window_was_searched():
    pause = Gap(2, 3, long_video._PAUSE)
    assert _remaining_gaps([pause, Gap(2.5, 4, "a")], [(0, 3)]) == [pause, Gap(3, 4, "a")]


def test_a_thin_curve_keeps_its_peaks_and_takes_what_the_later_window_saw(monkeypatch):
    monkeypatch.setattr(long_video, "CURVE_POINTS", 64)
    times_s, rng = np.arange(0, 300, 0.04), np.random.default_rng(0)
    values = rng.uniform(0, 1, len(times_s))
    values[5000] = 7.0
    windows = [(times_s[at : at + 100], values[at : at + 100]) for at in range(0, len(times_s), 100)]
    windows.insert(-1, (windows[-1][0], np.full_like(windows[-1][1], 9.0)))
    middles_s, (top,) = _thin_curves([windows], 300.0, [])
    assert 60 <= len(top) <= 64
    assert top.max() == 7.0 and middles_s[top.argmax()] == pytest.approx(200.0, abs=5)


def test_curves_of_several_people_lie_on_one_line_of_time():
    times_s = np.arange(0, 4, 0.1)
    early, late = (times_s, np.ones(40)), (times_s + 6, np.full(40, 2.0))
    gaps = [Gap(4, 10, "gone")], [Gap(0, 6, "not yet there", 2)]
    middles_s, (one, other) = _thin_curves([[early], [late]], 10.0, gaps)
    assert len(middles_s) == len(one) == len(other)
    assert np.nanmax(middles_s[np.isfinite(one)]) < 4.1 and np.nanmin(middles_s[np.isfinite(other)]) > 5.9
    assert set(other[np.isfinite(other)]) == {2.0}


def test_a_table_has_a_column_for_each_class(tmp_path):
    judged = Interval(
        1.0, 1.2, 1.4, 2.0, 0.38, "micro_expression", "negative", {"negative": 0.9, "positive": 0.1}, 0.8
    )
    found = LongVideo(9.0, (judged,), (), (), np.zeros(1), np.zeros(1))
    write_intervals_csv(tmp_path / "a.csv", found)
    head, row = (tmp_path / "a.csv").read_text().splitlines()
    assert head.endswith("outcome,label,expression_probability,person,negative,positive")
    assert row == "1.0,1.2,1.4,2.0,0.38,micro_expression,negative,0.8,1,0.9,0.1"
    write_intervals_csv(tmp_path / "b.csv", replace(found, intervals=(at(1.0, 2.0),)))
    assert (tmp_path / "b.csv").read_text().splitlines()[1] == "1.0,1.5,2.0,1.0,1.0,candidate,,,1"


def test_an_interval_has_the_outcome_of_its_own_length_not_of_the_strongest_movement():
    outcomes, search = [], Search(None, 0.5)
    search._classified = lambda track, phases, times_s: outcomes.append(phases.outcome) or at(0.0, 1.0)
    movements = ((10, 20, 60), (70, 75, 80))
    phases = Phases(*movements[0], np.zeros(100, np.float32), "spotted", "expression", candidates=movements)
    track = FaceTrack(np.zeros((100, 4, 4, 3), np.uint8), np.zeros((100, 478, 2)), np.zeros((100, 2, 3)))
    search._add_phases(track, phases, np.arange(100) / 30, True)
    assert outcomes == ["expression", "micro_expression"]


# --- cutting ------------------------------------------------------------------------------------------------


def test_a_cut_holds_the_stretch_in_good_quality(video, tmp_path):
    cut(video, 4.0, 5.0, tmp_path / "piece.mp4")
    piece, whole = read_clip(tmp_path / "piece.mp4"), read_clip(video)
    wanted = whole.frames[(whole.timestamps_s >= 4.0) & (whole.timestamps_s <= 5.0)]
    assert len(piece) == len(wanted)
    assert np.diff(piece.timestamps_s).mean() == pytest.approx(1 / FPS, rel=1e-3)
    off = np.abs(piece.frames.astype(int) - wanted).mean()
    assert off < 1.5


def test_a_cut_of_a_changing_rate_lasts_as_long(tmp_path):
    times_ms = np.cumsum([0, *([20, 20, 60] * 40)])
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 2 * i % 255, np.uint8), format="rgb24")
            frame.pts, frame.time_base = int(time_ms), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    cut(path, 1.0, 3.0, tmp_path / "piece.mp4")
    inside = times_ms[(times_ms >= 1000) & (times_ms <= 3000)]
    piece = read_clip(tmp_path / "piece.mp4")
    assert len(piece) == len(inside)
    lasts_s = (inside[-1] - inside[0]) / 1000
    assert piece.timestamps_s[-1] == pytest.approx(lasts_s, rel=0.01)


def test_cutting_does_not_hold_the_video(tmp_path):
    path = write_noise(tmp_path / "a.mp4", 16.0)
    tracemalloc.start()
    cut(path, 12.0, 12.5, tmp_path / "piece.mp4")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 64 * 96 * 3


@pytest.mark.parametrize(("start_s", "end_s"), [(3.0, 3.0), (5.0, 4.0), (100.0, 101.0), (float("nan"), 1.0)])
def test_a_cut_of_nothing_is_refused(video, tmp_path, start_s, end_s):
    with pytest.raises(ClipError):
        cut(video, start_s, end_s, tmp_path / "piece.mp4")
    assert not (tmp_path / "piece.mp4").exists()
