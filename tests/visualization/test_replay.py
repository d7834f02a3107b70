from dataclasses import replace
from itertools import islice

import av
import numpy as np
import pytest

from mer_hf.face.spotting import Phases
from mer_hf.visualization.replay import FPS, MOST_FRAMES, _storyboard, replay_frames, write_replay
from tests.results import result

PLAIN, LARGER = slice(0, 336), slice(340, 676)
ROWS = slice(30, 366)


def drawn(*result, **options) -> np.ndarray:
    return np.stack(list(replay_frames(*result, **options)))


def test_the_face_as_it_was_stands_beside_the_magnified_one():
    track, prediction = result("other_motion")
    frames = drawn(track, prediction)
    assert frames.dtype == np.uint8 and frames.shape[1:] == (442, 676, 3)
    assert 3.0 <= len(frames) / FPS <= 8.0
    apart = np.abs(frames[:, ROWS, PLAIN].astype(int) - frames[:, ROWS, LARGER]).mean((1, 2, 3))
    assert apart[0] < 0.5 < 1.5 < apart.max()  # at rest both are the same face


def test_a_larger_factor_moves_more():
    track, prediction = result("other_motion")

    def strongest(factor):
        frames = drawn(track, prediction, factor=factor)
        return np.abs(frames[:, ROWS, PLAIN].astype(int) - frames[:, ROWS, LARGER]).mean((1, 2, 3)).max()

    assert strongest(1.0) == 0.0 < strongest(8.0)


@pytest.mark.parametrize("outcome", ["micro_expression", "expression"])
def test_relevance_fades_in_towards_the_apex_and_only_over_an_expression(outcome):
    track, prediction = result(outcome)
    with_it = drawn(track, prediction)
    without = drawn(track, replace(prediction, outcome="other_motion", label=None))
    share = np.abs(with_it[:, ROWS, LARGER].astype(int) - without[:, ROWS, LARGER]).mean((1, 2, 3))
    top = int(share.argmax())
    assert share[0] == share[-1] == 0.0 < share[top]
    assert (np.diff(share[:top]) > -0.7).all()
    assert np.array_equal(with_it[:, ROWS, PLAIN], without[:, ROWS, PLAIN])


def test_a_map_for_each_frame_moves_with_time():
    track, prediction = result(relevance_frames=(15, 19, 23, 14, 19))
    frames = drawn(track, prediction, factor=1.0)
    heat = (
        np.abs(frames[:, ROWS, LARGER].astype(int) - frames[:, ROWS, PLAIN]).sum(-1).mean(1)
    )  # (N, columns)
    where = (heat * np.arange(336)).sum(1) / np.maximum(heat.sum(1), 1e-9)
    seen = np.flatnonzero(heat.sum(1) > 0.2 * heat.sum(1).max())
    assert where[seen[0]] < where[seen].max() - 20


def test_frames_without_a_place_in_the_clip_have_no_map():
    track, prediction = result(relevance_frames=(-1, 17, 19))
    frames = drawn(track, prediction)
    assert len(frames) > 0


@pytest.mark.parametrize(
    "options",
    [
        {"count": 40},
        {"count": 40, "fps": None},
        {"count": 400, "fps": 200.0, "phases": (140, 180, 230)},
        {"count": 900, "fps": 30.0, "phases": (100, 400, 800)},  # given far apart
        {"count": 3, "phases": (0, 1, 2)},
        {"count": 2, "phases": (0, 1, 1)},
        {"count": 1, "phases": (0, 0, 0), "fps": None},
        {"count": 600, "phases": None, "outcome": "no_motion"},
        {"count": 60, "phases": None, "outcome": "blink"},
        {"count": 1, "phases": None, "outcome": "no_motion"},
    ],
    ids=str,
)
def test_every_replay_lasts_three_to_eight_seconds(options):
    frames = _storyboard(result(**options)[1]).places
    assert 3.0 - 2 / FPS <= len(frames) / FPS <= 8.0
    assert len(frames) <= MOST_FRAMES == 240


@pytest.mark.parametrize("phases", [(0, 0, 0), None])
def test_a_clip_of_one_frame_is_drawn(phases):
    track, prediction = result("other_motion" if phases else "no_motion", 1, None, phases)
    assert len(drawn(track, prediction)) == len(_storyboard(prediction).places)


@pytest.mark.parametrize(("count", "fps", "phases"), [(40, 30.0, (14, 19, 25)), (400, 50.0, (40, 180, 330))])
def test_the_whole_interval_is_replayed(count, fps, phases):
    track, prediction = result("other_motion", count, fps, phases)
    track.frames[:] = 90
    track.frames[phases[2] - 3 : phases[2] + 1] = 200
    frames = drawn(track, prediction)
    assert (frames[-20:, 200, 100, 0] < 100).any() and (frames[:, 200, 100, 0] > 150).any()


def test_a_still_clip_is_shown_still():
    track, prediction = result("no_motion", phases=None)
    track = replace(track, frames=np.repeat(track.frames[:1], len(track.frames), axis=0))
    frames = drawn(track, prediction)
    assert (frames[:, ROWS] == frames[0, ROWS]).all()


def test_a_blink_in_a_long_clip_is_what_is_shown():
    track, prediction = result("blink", count=600, phases=None)
    track.frames[:] = 90
    track.frames[100:104] = 200
    phases = Phases(None, None, None, prediction.phases.curve * 0, "spotted", "blink", blinks=((100, 103),))
    frames = drawn(track, replace(prediction, phases=phases))
    assert (frames[:, 200, 100, 0] > 150).any()


def test_two_runs_give_the_same_pictures():
    track, prediction = result()
    first, second = (list(islice(replay_frames(track, prediction), 30)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factor": 0.0}, "factor of 1 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        drawn(*result(), **options)
    with pytest.raises(ValueError, match=words):
        write_replay(tmp_path / "replay.mp4", *result(), **options)
    assert not list(tmp_path.iterdir())


def test_a_prediction_of_another_clip_is_refused():
    with pytest.raises(ValueError, match="the track has 40 frames, the curve 41"):
        drawn(result()[0], result(count=41)[1])


def test_browsers_play_the_file(tmp_path):
    track, prediction = result()
    path = tmp_path / "replay.mp4"
    write_replay(path, track, prediction)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height) == (676, 442)
        frames = sum(1 for _ in container.decode(stream))
    assert frames == len(_storyboard(prediction).places)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # it starts to play before all of it is there
    assert [file.name for file in tmp_path.iterdir()] == ["replay.mp4"]
