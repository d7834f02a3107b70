"""The benchmarks of speed run, at a tiny size, and watch what the pipeline calls."""

import sys

import cv2
import numpy as np
import pytest
import torch

from benchmarks import _clock, floors, number_formats, peers, training_speed
from mer_hf import MicroExpressionPipeline
from mer_hf.video.clip import read_clip, write_clip


def test_the_pipeline_calls_every_floor_and_is_left_as_it_was(example_file):
    before, pipeline = cv2.warpAffine, MicroExpressionPipeline.from_pretrained("htnet")
    with floors.watching(pipeline) as watched:
        pipeline(example_file("positive"))
    calls = watched.summed(floors.Calls.number)
    assert set(calls) == {floor for each in floors.PARTS.values() for floor in each} - {"decode", "colours"}
    assert calls["warp"] >= 60 and calls["mesh"] >= 20 and cv2.warpAffine is before
    assert all(each.seconds() > 0 for each in watched.calls.values())
    assert "forward" not in vars(pipeline._network)


def test_calls_are_counted_some_are_kept_and_the_time_is_that_of_all():
    watched = floors.Watched()
    resize = watched.watch("warp", cv2.resize)
    for _ in range(floors.REPLAYED + 6):
        resize(np.zeros((8, 8), np.uint8), (4, 4))
    resize(np.zeros((800, 800), np.uint8), (4, 4))
    assert watched.summed(floors.Calls.number) == {"warp": floors.REPLAYED + 7}
    many, one = watched.calls.values()
    assert (len(many.kept), len(one.kept)) == (floors.REPLAYED, 1)
    many.replay = lambda kept: 2.0 * len(kept)
    assert many.seconds() == pytest.approx(2.0 * (floors.REPLAYED + 6))


def test_the_floor_of_a_stage_is_that_of_its_parts():
    parts = {"decode": 1.0, "colours": 2.0, "mesh": 4.0, "network": 0.5}
    found = floors.summed({"whole_s": 15.0} | {f"{name}_floor_s": each for name, each in parts.items()}, 5.0)
    stages = [found[f"{stage}_floor_s"] for stage in ("read", "track", "spot", "answer")]
    assert stages == [3.0, 4.0, 0.0, 0.5] and found["floors_s"] == 7.5
    assert found["whole_to_floors"] == 2.0 and found["s_per_s"] == 3.0


def test_packets_are_repeated_without_a_pause(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (6, 16, 32, 3), dtype=np.uint8)
    write_clip(tmp_path / "a.mp4", frames, 30)
    floors.repeat_packets(tmp_path / "a.mp4", tmp_path / "b.mp4", 0.5)
    clip = read_clip(tmp_path / "b.mp4")
    assert len(clip) == 15 and np.diff(clip.timestamps_s) == pytest.approx(np.full(14, 1 / 30), abs=1e-4)
    assert (clip.frames[:3] == clip.frames[6:9]).all()


def test_calls_take_turns_and_fresh_processes_say_what_failed():
    order = []
    spent = _clock.in_turns({name: lambda name=name: order.append(name) for name in "ab"}, 0.0)
    assert order == ["a", "b"] * 4 and set(spent) == {"a", "b"}
    assert _clock.fresh("-c", "print(1)").output == "1\n"
    with pytest.raises(RuntimeError, match="oh no"):
        _clock.fresh("-c", "raise SystemExit('oh no')")


def test_a_format_is_compared_with_float32_and_one_that_fails_says_so():
    def broken(_):
        raise OSError("no compiler")

    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    networks = {
        "float32": lambda _: logits,
        "half": lambda _: logits * torch.tensor([1.0, -1.0]),
        "no": broken,
    }
    found = number_formats.compare(networks, {}, 0.0)
    assert found["half_same_class"] == 0.5 and found["float32_probability_difference"] == 0
    assert found["no_failed"] == "no compiler" and "no_clips_per_s" not in found


def test_both_loops_of_training_make_steps(tmp_path):
    found = training_speed.measure("htnet", 4, 1, 0.0, str(tmp_path))
    assert found["batch"] == 4 and found["step_to_plain"] == pytest.approx(
        found["step_s"] / found["plain_step_s"]
    )
    assert found["draw_s_per_sample"] > 0 and not any(tmp_path.iterdir())


def test_networks_in_another_environment_answer_or_say_that_they_do_not_run(
    example_file, tmp_path, monkeypatch
):
    clip = example_file("positive")
    with (
        peers.py_feat_networks(sys.executable, clip) as call,
        pytest.raises(RuntimeError, match="do not run in"),
    ):
        call()
    stand_in = tmp_path / "networks.py"
    stand_in.write_text(
        "import sys\nfor _ in sys.stdin: print('done', flush=True)\nprint(sys.argv, file=sys.stderr)"
    )
    monkeypatch.setattr(peers, "NETWORKS", stand_in)
    with peers.py_feat_networks(sys.executable, clip) as call:
        call()
        call()
