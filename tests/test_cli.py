import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mer_hf.cli import main, terminal
from mer_hf.face.tracking import FaceError
from mer_hf.video.clip import write_clip
from tests.fixtures import seeded

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def smile(example_file):
    return example_file("positive")


@pytest.fixture(scope="module")
def faceless(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "faceless.mp4"
    write_clip(path, np.full((10, 120, 160, 3), 90, np.uint8), 30)
    return path


@pytest.fixture
def smile_track(tracked, monkeypatch):
    """Whatever clip is tracked, it is the smile: its track is computed once for all tests."""
    monkeypatch.setattr(
        "mer_hf.inference.pipeline.track_face", lambda clip, geometry, face: tracked("positive", geometry)[0]
    )


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "mer_hf", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def predict(clip, model) -> list[str]:
    return ["predict", str(clip), "--model", str(model)]


def refused(capfd, *arguments) -> str:
    """Runs a command that must fail; returns its one line."""
    try:
        code = main(list(map(str, arguments)))
    except SystemExit as stop:
        code = stop.code
    output, errors = capfd.readouterr()
    assert code == 2
    assert output == ""
    assert errors.startswith("mer-hf: error: ")
    assert errors.count("\n") == 1 and errors.endswith("\n")
    return errors


def test_a_file_whose_name_begins_with_a_dash_is_told_from_an_option(tmp_path, monkeypatch, capfd):
    (tmp_path / "-clip.mp4").touch()
    monkeypatch.chdir(tmp_path)
    assert "Write ./-clip.mp4 for the file" in refused(capfd, "predict", "-clip.mp4")


@pytest.mark.parametrize("arguments", [["--help"], ["predict"], ["predict", "missing"], ["spot", "missing"]])
def test_parsing_imports_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mer_hf", *arguments], capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"torch", "transformers", "numpy", "cv2", "av", "mediapipe", "matplotlib", "PIL"}


@pytest.mark.slow
def test_a_process_prints_one_json_object_and_nothing_else(smile, checkpoint):
    done = run("predict", smile, "--json", "--model", checkpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["outcome"] == "micro_expression"


def test_predict_prints_one_json_object_and_nothing_else(smile, smile_track, checkpoint, capfd):
    assert main([*predict(smile, checkpoint), "--json"]) == 0
    output, errors = capfd.readouterr()
    assert errors == ""
    answer = json.loads(output)
    assert answer["outcome"] == "micro_expression"
    assert answer["model"] == str(checkpoint)
    assert sum(answer["scores"].values()) == pytest.approx(1.0)


def test_predict_without_a_face_gives_the_reason(faceless, checkpoint, capfd):
    assert "face" in refused(capfd, *predict(faceless, checkpoint), "--json")


def test_the_summary_is_for_reading(smile, smile_track, checkpoint, capfd):
    assert main([*predict(smile, checkpoint), "--onset", "20", "--apex", "27", "--offset", "35"]) == 0
    output, errors = capfd.readouterr()
    assert errors == ""
    assert "verdict micro-expression: " in output
    assert "onset   frame 20 at 0.667 s" in output and "motion  lasts 0.4" in output
    assert "phases  given, of 60 frames" in output


def test_every_face_gets_an_answer(smile, tracked, checkpoint, capfd, monkeypatch):
    boxes = ((10, 40, 60, 90), (100, 40, 150, 90))

    def track_face(clip, geometry, face):
        if face == 1:
            raise FaceError("the face is too small.", "small")
        return replace(tracked("positive", geometry)[0], faces=boxes, face=2)

    monkeypatch.setattr("mer_hf.inference.pipeline.track_face", track_face)
    assert main([*predict(smile, checkpoint), "--faces", "all", "--json"]) == 0
    small, answer = json.loads(capfd.readouterr().out)
    assert small == {"face": 1, "box": [10, 40, 60, 90], "error": "the face is too small."}
    assert answer["face"] == 2 and answer["faces"] == [list(box) for box in boxes]
    assert main([*predict(smile, checkpoint), "--faces", "all"]) == 0
    output = capfd.readouterr().out
    assert "face    1 of 2 from the left: x 10 to 60, y 40 to 90\nerror   the face is too small." in output
    assert "face    2 of 2" in output and "verdict micro-expression" in output
    assert "--face is for one face" in refused(capfd, *predict(smile, checkpoint), "--faces=all", "--face=1")


def test_files_are_written_whole(smile, smile_track, checkpoint, tmp_path, capfd):
    npz, overlay = tmp_path / "arrays.npz", tmp_path / "overlay.png"
    npz.write_text("old")
    assert main([*predict(smile, checkpoint), "--npz", str(npz), "--overlay", str(overlay)]) == 0
    with np.load(npz) as arrays:
        assert arrays["curve"].shape == (60,)
        assert arrays["relevance"].shape == arrays["apex_face"].shape[:2]
    assert Image.open(overlay).size == (224, 224)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npz", "overlay.png"]


def test_replay_report_and_curve_are_written(smile, smile_track, checkpoint, tmp_path, capfd):
    files = {name: tmp_path / f"out.{name}" for name in ("html", "mp4", "csv")}
    files["mp4"].write_text("old")
    options = ["--report", files["html"], "--replay", files["mp4"], "--curve", files["csv"]]
    assert main([*predict(smile, checkpoint), *map(str, options)]) == 0
    assert "verdict" in capfd.readouterr().out
    replay, report = files["mp4"].read_bytes(), files["html"].read_text()
    assert replay[4:8] == b"ftyp"
    assert base64.b64encode(replay).decode() in report and smile.name in report
    assert str(smile.parent) not in report
    assert files["csv"].read_text().count("\n") == 61
    assert set(tmp_path.iterdir()) == set(files.values())


def test_a_failed_run_leaves_old_files_alone(faceless, checkpoint, tmp_path, capfd):
    npz = tmp_path / "arrays.npz"
    npz.write_text("old")
    refused(capfd, *predict(faceless, checkpoint), "--npz", npz)
    assert npz.read_text() == "old"
    assert list(tmp_path.iterdir()) == [npz]


def test_a_full_disk_leaves_old_files_alone(smile, smile_track, checkpoint, tmp_path, capfd, monkeypatch):
    def full(path, **_):
        Path(path).write_text("half")
        raise OSError("No space left on device")

    monkeypatch.setattr("numpy.savez_compressed", full)
    npz = tmp_path / "arrays.npz"
    npz.write_text("old")
    assert "No space left" in refused(capfd, *predict(smile, checkpoint), "--npz", npz)
    assert npz.read_text() == "old"
    assert list(tmp_path.iterdir()) == [npz]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "COMMAND"),
        (["guess"], "guess"),
        (["predict"], "CLIP"),
        (["predict", "no.mp4", "--model", "GOOD"], "no.mp4"),
        (["predict", "CLIP", "--fps", "0"], "expected a number from 1 to 10000, got '0'"),
        (["predict", "CLIP", "--fps", "1e300"], "expected a number from 1 to 10000"),
        (["predict", "CLIP", "--model", "no-such-model"], "no-such-model"),
        (
            ["predict", "CLIP", "--model", "GOOD", "--onset", "60"],
            "onset 60 is outside the clip",
        ),
        (["predict", "CLIP", "--model", "GOOD", "--apex", "img3.jpg"], "has no frame names"),
        (["predict", "CLIP", "--model", "GOOD", "--onset", "9", "--apex", "3"], "onset"),
        (["predict", "CLIP", "--model", "GOOD", "--npz", "TMP/no/such/folder.npz"], "does not exist"),
        (["predict", "CLIP", "--model", "GOOD", "--npz", "TMP/arrays.txt"], ".npz"),
        (["predict", "CLIP", "--model", "GOOD", "--overlay", "TMP/overlay.gif"], ".png"),
        (["predict", "CLIP", "--model", "GOOD", "--overlay", "TMP/folder.png"], "is a folder"),
        (["predict", "CLIP", "--model", "GOOD", "--replay", "TMP/replay.avi"], ".mp4"),
        (["predict", "CLIP", "--model", "GOOD", "--report", "TMP/report.pdf"], ".html"),
        (["predict", "CLIP", "--model", "GOOD", "--curve", "TMP/no/curve.csv"], "does not exist"),
        (["predict", "CLIP", "--model", "GOOD", "--overlay", "/proc/overlay.png"], "'/proc/overlay.png'"),
        (
            ["predict", "https://example.org/a.mp4"],
            "addresses are not fetched, got https://example.org/a.mp4",
        ),
        (["spot", "CLIP", "--window", "1e-9"], "expected a number from 0.5 to 600, got '1e-9'"),
        (["synth-flows", "--out", "TMP/a.npz", "--seed", "-1"], "expected a whole number from 0 to"),
        (["spot", "file:///tmp/a.mp4"], "argument VIDEO: give a file"),
        (["predict", "TMP/text.mp4", "--model", "GOOD"], "text.mp4"),
        (["evaluate"], "--flows"),
        (["evaluate", "--data", "TMP", "--flows", "TMP/no.npz"], "one of the two"),
        (["evaluate", "--data", "TMP/no"], "mer-hf prepare"),
        (["evaluate", "--flows", "TMP/no.npz", "--model", "all", "--csv", "TMP/a.csv"], "no --csv"),
        (["evaluate", "--flows", "TMP/no.npz"], "no.npz"),
        (["evaluate", "--flows", "TMP/text.mp4"], "text.mp4"),
        (["convert", "htnet"], "ORIGINAL.pth"),
        (["convert", "resnet", "TMP/no.pth", "TMP/out"], "resnet"),
        (["convert", "htnet", "TMP/no.pth", "TMP/out"], "no.pth"),
        (["convert", "htnet", "TMP/text.mp4", "TMP/out"], "text.mp4"),
        (["convert", "htnet", "TMP/text.mp4", "TMP/out", "--config", "depths"], "FIELD=VALUE"),
        (["convert", "htnet", "TMP/text.mp4", "TMP/out", "--config", "depths=[1"], "JSON value"),
    ],
)
def test_mistakes_end_in_one_line(arguments, words, smile, smile_track, checkpoint, tmp_path, capfd):
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "folder.png").mkdir()
    places = {"CLIP": smile, "GOOD": checkpoint}
    message = refused(capfd, *[places.get(a, a.replace("TMP", str(tmp_path))) for a in arguments])
    assert words in message


def test_a_damaged_checkpoint_ends_in_one_line(smile, checkpoint, tmp_path, capfd):
    folder = shutil.copytree(checkpoint, tmp_path / "damaged")
    (folder / "model.safetensors").write_bytes(b"")
    assert str(folder) in refused(capfd, *predict(smile, folder))


def test_evaluate_scores_a_file_of_flow_maps(checkpoint, tmp_path, capfd):
    rng = np.random.default_rng(0)
    flows = tmp_path / "flows.npz"
    np.savez(
        flows,
        flow=rng.integers(0, 256, (12, 28, 28, 3), dtype=np.uint8),
        label=np.arange(12) % 3,
        subject=np.array([f"s{n // 3}" for n in range(12)]),
        dataset=np.array(["a"] * 6 + ["b"] * 6),
    )
    log = tmp_path / "looks.jsonl"
    command = ["evaluate", "--flows", str(flows), "--model", str(checkpoint)]
    assert main([*command, "--json", "--log", str(log)]) == 0
    output, errors = capfd.readouterr()
    result = json.loads(output)
    assert errors == ""
    assert {"uf1", "uar", "accuracy", "per_class_f1", "confusion", "per_dataset", "uf1_interval"} <= set(
        result
    )
    assert set(result["per_dataset"]) == {"a", "b"}
    assert json.loads(log.read_text())["uf1"] == result["uf1"]
    assert main(command) == 0
    assert "uar" in capfd.readouterr().out


def test_convert_writes_a_folder_that_predict_takes(smile, smile_track, tmp_path, capfd):
    shapes = json.loads((FIXTURES / "htnet" / "state_dict.json").read_text())["small_one_token"]
    torch.save(seeded.from_shapes(shapes), tmp_path / "original.pth")
    convert = ["convert", "htnet", str(tmp_path / "original.pth"), str(tmp_path / "ours")]
    assert "num_attention_heads" in refused(capfd, *convert)
    assert main([*convert, "--config", "num_attention_heads=4"]) == 0
    assert f"Written to {tmp_path / 'ours'}." in capfd.readouterr().out
    assert main([*predict(smile, tmp_path / "ours"), "--onset", "20", "--apex", "27"]) == 0


@pytest.mark.parametrize("arguments", [["--help"], pytest.param(["models"], marks=pytest.mark.slow)])
def test_a_reader_that_has_enough_is_no_traceback(arguments, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)  # as head does, early
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open(writing, "w") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "mer_hf", *arguments],
            stdout=nobody, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")


def test_ctrl_c_is_no_traceback(monkeypatch, capfd):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mer_hf.data.flow_files.read_flow_maps", interrupted)
    assert main(["evaluate", "--flows", "any.npz"]) == 130
    assert capfd.readouterr().err == "mer-hf: interrupted.\n"


def test_a_fault_of_the_program_is_not_hidden(monkeypatch, capfd):
    def faulty(*_):
        raise RuntimeError("a fault")

    monkeypatch.setattr("mer_hf.data.flow_files.read_flow_maps", faulty)
    with pytest.raises(RuntimeError, match="a fault"):
        main(["evaluate", "--flows", "any.npz"])
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


@pytest.fixture(scope="module")
def two_examples(example, tmp_path_factory):
    """A smile, and then two seconds of a still face."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    frames = example("positive").clip.frames
    write_clip(path, np.concatenate([frames, np.repeat(frames[-1:], 60, axis=0)]), 30)
    return path


def test_spot_lists_intervals_and_says_what_to_expect(two_examples, checkpoint, capfd, tmp_path):
    files = ["--plot", str(tmp_path / "line.png"), "--csv", str(tmp_path / "found.csv")]
    assert main(["spot", str(two_examples), "--model", str(checkpoint), *files]) == 0
    output, errors = capfd.readouterr()
    assert (
        output.startswith("1 of 1 motions in 0:04.00") and "experimental" in output.splitlines()[-1].lower()
    )
    assert "0:00.9" in output.splitlines()[2]  # the apex
    assert "searching" in errors
    assert Image.open(tmp_path / "line.png").size == (2200, 600)
    assert len((tmp_path / "found.csv").read_text().splitlines()) == 2


def test_spot_lists_what_is_taken_for_no_expression_on_request():
    from mer_hf.cli.spot import summary
    from mer_hf.inference.long_video import Gap, Interval, LongVideo

    one = Interval(61.0, 61.1, 61.3, 2.0, 0.28, "micro_expression", "negative", {"negative": 1.0}, 0.81)
    longer = Interval(65.0, 65.4, 66.5, 2.0, 1.48, "expression", "negative", {"negative": 1.0}, 0.7)
    other = Interval(70.0, 70.1, 70.3, 2.0, 0.28, "other_motion", None, {"negative": 1.0}, 0.02)
    gaps = (Gap(80.0, 90.0, "no face was found"), Gap(95.0, 95.1, "no face was found"))
    found = LongVideo(100.0, (one, longer, other), gaps, (), np.zeros(1), np.zeros(1), ("a warning.",), "net")
    lines = summary(found).splitlines()
    assert lines[0].startswith("2 of 3 motions in 1:40.00") and "--all" in lines[0]
    assert "(micro-expressions: 1, longer: 1)" in lines[0]
    assert lines[2].split() == ["1:01.00", "1:01.10", "1:01.30", "0.28", "s", "negative", "0.81"]
    assert lines[4:6] == ["gap      1:20.00 to 1:30.00: no face was found", "warning  a warning."]
    every = summary(found, every=True)
    assert "other motion" in every and "--all" not in every
    both = replace(found, intervals=(one, replace(longer, person=2)), people=(1, 2))
    lines = summary(both).splitlines()
    assert lines[0].startswith("2 of 2 motions of 2 people in 1:40.00")
    assert [line.split()[0] for line in lines[1:4]] == ["person", "1", "2"]
    assert "1:30.00: person 1: no face" in lines[4]


def test_spot_prints_one_json_object(checkpoint, faceless, capfd, monkeypatch):
    from mer_hf.inference.long_video import Interval, LongVideo

    def spot_long(path, pipeline, window_s, overlap_s, progress, face, frame_units):
        assert (path, window_s, overlap_s) == (faceless, 1.5, 0.75)
        progress(1.0, 4.0)
        interval = Interval(0.8, 0.9, 1.0, 2.0, 0.2)
        return LongVideo(4.0, (interval,), (), (), np.zeros(1), np.zeros(1), model=pipeline.name)

    monkeypatch.setattr("mer_hf.inference.long_video.spot_long", spot_long)
    assert main(["spot", str(faceless), "--model", str(checkpoint), "--json", "--window", "1.5"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["duration_s"] == 4.0 and answer["intervals"][0]["apex_s"] == 0.9
    assert answer["model"] == str(checkpoint)


@pytest.mark.parametrize(
    "option", [["--csv", "a.txt"], ["--plot", "no.txt"], ["--window", "0"], ["--face", "1", "--faces", "all"]]
)
def test_spot_refuses_before_it_works(two_examples, option, capfd):
    assert option[-1] in refused(capfd, "spot", two_examples, *option)


@pytest.mark.parametrize(
    "flags",
    [
        ["predict", "clip.mp4", "--replay", "./clip.mp4"],
        ["predict", "clip.mp4", "--facs", "same.csv", "--curve", "same.csv"],
        ["watch", "clip.mp4", "--record", "clip.mp4"],
        ["convert-coding", "clip.json", "clip.json"],
    ],
)
def test_no_file_is_named_twice(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("clip.mp4", "clip.json"):
        (tmp_path / name).write_text("mine")
    assert main(flags) == 2
    assert "are the same file" in capsys.readouterr().err
    assert (tmp_path / "clip.mp4").read_text() == (tmp_path / "clip.json").read_text() == "mine"


def test_nothing_stands_before_the_error_of_a_command_that_fails_at_once(checkpoint, tmp_path, capfd):
    (tmp_path / "a.mp4").write_text("hello")
    for video in ("a.mp4", "none.mp4"):
        assert main(["spot", str(tmp_path / video), "--model", str(checkpoint)]) == 2
        errors = capfd.readouterr().err
        assert errors.startswith("mer-hf: error: ") and errors.count("\n") == 1


def test_a_bar_is_gone_before_an_error(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "visible_stderr", lambda: contextlib.nullcontext(screen))
    with pytest.raises(ValueError, match="no more"), terminal.bar("searching", "s") as progress:
        progress(1.4, 4.0)
        raise ValueError("no more")
    *_, bar, blank, rest = screen.getvalue().split("\r")
    assert "searching" in bar and len(blank) >= len(bar) and not blank.strip() and rest == ""
