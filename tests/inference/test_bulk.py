import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from mer_hf import cli
from mer_hf.cli import exports
from mer_hf.face.action_units import VOCABULARY
from mer_hf.inference import bulk
from mer_hf.inference.bulk import BulkRun, find_clips, format_summary, summarize
from mer_hf.interchange.formats import read_coding
from mer_hf.loading import weights_sha256
from mer_hf.video.clip import write_clip
from tests.moving_face import drift, raised_cosine, render, smile

ROOT = Path(__file__).resolve().parents[2]
CLIPS = ["a/empty.mp4", "a/text.avi", "b/faceless.mp4", "b/smiles.mp4", "frames"]
FAILED = ["a/empty.mp4", "a/text.avi", "b/faceless.mp4"]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips of a face, one of them a folder of frames, and three files that cannot be predicted."""
    root = tmp_path_factory.mktemp("clips")
    for name in ("a", "b", "frames", ".hidden"):
        (root / name).mkdir()
    clip, _ = render(drift(12, 30, 1.0), fields=[(raised_cosine(12, 2, 6, 10), smile)])
    write_clip(root / "b" / "smiles.mp4", clip.frames, 30)
    for number, frame in enumerate(clip.frames[:6]):
        Image.fromarray(frame).save(root / "frames" / f"img{number}.png")
    write_clip(root / "b" / "faceless.mp4", np.full((4, 120, 160, 3), 90, np.uint8), 30)
    (root / "a" / "text.avi").write_text("not a video")
    (root / "a" / "empty.mp4").touch()
    (root / "a" / "notes.txt").write_text("no clip")
    (root / ".hidden" / "x.mp4").touch()
    return root


@pytest.fixture
def quick(monkeypatch, checkpoint):
    """Rows without a network: in the tests of what happens around them; returns the clips that were done."""
    done = []

    def row(_, path):
        done.append(path.name)
        return {"status": "failed", "reason": "not tried", "seconds": 0.0, "process": "here:1"}

    monkeypatch.setattr(BulkRun, "part_of", row)
    return done


def run(folder, out, checkpoint, *flags) -> list[str]:
    return ["predict", str(folder), "--out", str(out), "--model", str(checkpoint), *map(str, flags)]


def launched(*arguments, launcher=()) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "mer_hf", *arguments], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def refused(capfd, *arguments) -> str:
    assert cli.main(list(arguments)) == 2
    output, errors = capfd.readouterr()
    lines = [line for line in errors.splitlines() if "mer-hf" in line]
    assert output == "" and len(lines) == 1 and lines[0].startswith("mer-hf: error: ")
    return lines[0]


def test_clips_are_videos_and_folders_of_frames(folder):
    assert sorted(find_clips(folder)) == CLIPS
    assert list(find_clips(folder / "b" / "smiles.mp4")) == ["smiles.mp4"]
    assert list(find_clips(folder / "frames")) == ["."]


def test_a_poster_beside_a_video_is_no_clip(tmp_path):
    for name in ("x.mp4", "poster.jpg"):
        (tmp_path / name).touch()
    assert list(find_clips(tmp_path)) == ["x.mp4"]


def test_videos_that_are_left_out_are_counted_and_named(tmp_path, checkpoint, quick, capfd):
    root, out = tmp_path / "clips", tmp_path / "x.csv"
    (root / "b").mkdir(parents=True)
    for name in ("00001.MTS", "b/a.wmv"):
        (root / name).touch()
    message = refused(capfd, *run(root, out, checkpoint))
    named = "2 files that look like videos are left out (00001.MTS, b/a.wmv). Convert them to mp4."
    assert "holds no clips" in message and message.endswith(named)
    write_clip(tmp_path / "c.mp4", np.zeros((2, 32, 32, 3), np.uint8), 30)
    for name in ("a.3GP", "b/bare"):
        (root / name).write_bytes((tmp_path / "c.mp4").read_bytes())
    (root / "b" / "README").write_text("not a video")
    assert sorted(find_clips(root)) == ["a.3GP", "b/bare"]
    assert cli.main([*run(root, out, checkpoint), "--json"]) == 0
    output, errors = capfd.readouterr()
    assert json.loads(output)["left_out"] == ["00001.MTS", "b/a.wmv"] and f"mer-hf: note: {named}" in errors


def test_a_table_inside_a_folder_of_frames_does_not_change_the_clip(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "img1.png")
    before = bulk._fingerprint(tmp_path)
    (tmp_path / "out.csv.parts").mkdir()
    (tmp_path / "out.csv").touch()
    assert bulk._fingerprint(tmp_path) == before
    Image.new("RGB", (8, 8)).save(tmp_path / "img2.png")
    assert bulk._fingerprint(tmp_path) != before


def test_a_link_that_leads_back_is_followed_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.MP4").touch()
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    assert list(find_clips(tmp_path)) == ["a/x.MP4"]


def test_one_row_for_every_clip(folder, checkpoint, tmp_path, capfd):
    out = tmp_path / "predictions.parquet"
    assert cli.main(run(folder, out, checkpoint)) == 0
    output, errors = capfd.readouterr()
    assert output.startswith("5 clips, 3 failed, ") and "failed    a/empty.mp4: the file is empty" in output
    assert "predicting" in errors and "5/5" in errors
    table = pyarrow.parquet.read_table(out)
    rows = {row["path"]: row for row in table.to_pylist()}
    assert list(rows) == CLIPS
    assert [path for path, row in rows.items() if row["status"] == "failed"] == FAILED
    assert "0 bytes" in rows["a/empty.mp4"]["reason"] and "video" in rows["a/text.avi"]["reason"]
    assert "face" in rows["b/faceless.mp4"]["reason"] and rows["b/faceless.mp4"]["score_negative"] is None
    found = rows["b/smiles.mp4"]
    assert found["reason"] is None and found["outcome"] == "micro_expression"
    scores = {name: value for name, value in found.items() if name.startswith("score_")}
    assert sum(scores.values()) == pytest.approx(1) and f"score_{found['label']}" in scores
    assert 0 < found["duration_s"] <= 0.5 and found["size_px"] > 0.3
    assert found["onset"] < found["apex"] and found["apex_s"] == pytest.approx(found["apex"] / 30, abs=1e-5)
    assert set(VOCABULARY) < set(found) and 0 <= found["AU12"] <= 1
    assert len(found["weights_sha256"]) == 64 and found["seconds"] > 0
    assert os.listdir(tmp_path) == ["predictions.parquet"]


def test_a_row_says_what_the_clip_alone_says(folder, checkpoint, tmp_path, capfd):
    out = tmp_path / "predictions.csv"
    assert cli.main([*run(folder / "frames", out, checkpoint, "--fps", 30), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["clips"] == 1
    assert (
        cli.main(["predict", str(folder / "frames"), "--model", str(checkpoint), "--fps", "30", "--json"])
        == 0
    )
    alone = json.loads(capfd.readouterr().out)
    with open(out) as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == "." and row["outcome"] == alone["outcome"]
    assert {name: float(row[f"score_{name}"]) for name in alone["scores"]} == alone["scores"]
    assert row["warnings"] == " | ".join(alone["warnings"])


def test_an_unexpected_error_is_a_reason_as_well(tmp_path):
    def pipeline(path, **options):
        raise ZeroDivisionError("by\nzero")

    run = BulkRun(tmp_path, tmp_path / "x.csv")
    run.pipeline = pipeline
    row = run.part_of(tmp_path)
    assert (row["status"], row["reason"]) == ("failed", "ZeroDivisionError: by zero")


def test_a_file_for_each_clip_is_written_for_other_programs(folder, checkpoint, tmp_path):
    flags = ("--export-dir", tmp_path / "coded", "--export", "eaf", "facs", "--fps", "50")
    assert cli.main(run(folder, tmp_path / "a.csv", checkpoint, *flags)) == 0
    with open(tmp_path / "a.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    for row in rows:
        for suffix in (".eaf", ".csv"):
            coding = read_coding(tmp_path / "coded" / f"{row['path']}{suffix}")
            assert [f"{event.onset_s:.3f}" for event in coding.events] == [f"{float(row['onset_s']):.3f}"]
    assert rows


def test_several_clips_need_out(folder, checkpoint, capfd):
    message = refused(capfd, "predict", str(folder), "--model", str(checkpoint))
    assert "holds several clips. Add --out predictions.parquet" in message


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--onset", "3"], "--onset is for one clip"),
        (["--model", "no-such-model"], "there is no model 'no-such-model'"),
        (["--action-units", "AU99"], "AU99"),
        (["--out", "predictions.txt"], "must end in .parquet or .csv"),
        (["--out", "nowhere/predictions.csv"], "the folder nowhere does not exist"),
    ],
)
def test_what_cannot_be_started_is_refused_in_one_line(folder, checkpoint, tmp_path, capfd, flags, words):
    assert words in refused(capfd, *run(folder, tmp_path / "x.csv", checkpoint, *flags))
    assert not list(tmp_path.iterdir())


def test_a_folder_without_clips_is_refused(checkpoint, tmp_path, capfd):
    assert "holds no clips" in refused(capfd, *run(tmp_path, tmp_path / "x.csv", checkpoint))
    assert "no such file" in refused(capfd, *run(tmp_path / "none", tmp_path / "x.csv", checkpoint))


def test_a_finished_table_is_replaced_only_on_request(folder, checkpoint, tmp_path, quick, capfd):
    out = tmp_path / "x.csv"
    out.write_text("old")
    assert "Add --overwrite" in refused(capfd, *run(folder, out, checkpoint))
    assert out.read_text() == "old"
    assert cli.main(run(folder, out, checkpoint, "--overwrite")) == 0
    assert out.read_text().count("not tried") == 5


class Stopped(BaseException):
    pass


@pytest.fixture
def stopped(tmp_path, checkpoint, quick, monkeypatch):
    """A run of clips `a` to `d` that ended in the middle of `c`; its parts are there."""
    root = tmp_path / "clips"
    root.mkdir()
    for name in "abcd":
        (root / f"{name}.mp4").write_text(name)
    whole = BulkRun.part_of

    def row(run, path):
        if path.name == "c.mp4":
            raise Stopped
        return whole(run, path)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(BulkRun, "part_of", row)
        BulkRun(root, tmp_path / "x.csv", str(checkpoint), {"fps": None}).work()
    assert quick == ["a.mp4", "b.mp4"]
    quick.clear()
    return root


def again(root, checkpoint, **options):
    return BulkRun(root, root.parent / "x.csv", str(checkpoint), {"fps": None} | options)


@pytest.fixture
def alone(monkeypatch):
    """Clips that get a process of their own are predicted here; returns them."""
    clips = []

    def here(function, path, part):
        clips.append(path.name)
        function(path, part)

    monkeypatch.setattr(bulk, "run_alone", here)
    return clips


def test_a_run_is_resumed_and_the_clip_that_it_stopped_at_gets_a_process_of_its_own(
    stopped, checkpoint, quick, alone
):
    summary = again(stopped, checkpoint).work()
    assert alone == ["c.mp4"] and quick == ["c.mp4", "d.mp4"] and summary["clips"] == 4
    assert sorted(os.listdir(stopped.parent)) == ["clips", "x.csv"]


def test_a_clip_that_kills_its_process_twice_is_a_row(stopped, checkpoint, quick, monkeypatch):
    died = bulk.run_alone(signal.raise_signal, signal.SIGSEGV)
    assert died["status"] == "failed" and "died (SIGSEGV), twice" in died["reason"]
    assert bulk.run_alone(os.stat, stopped) is None
    monkeypatch.setattr(bulk, "run_alone", lambda *_: died)
    assert again(stopped, checkpoint).work()["failed"] == 4
    with open(stopped.parent / "x.csv") as file:
        assert [row["reason"] for row in csv.DictReader(file)][2] == died["reason"]


def test_what_changed_since_is_named(stopped, checkpoint):
    with pytest.raises(
        ValueError, match=r"fps changed from None to 25 since .*x\.csv\.parts was begun.*delete"
    ):
        again(stopped, checkpoint, fps=25).work()
    with pytest.raises(ValueError, match=r"model changed from .* to htnet-synthetic"):
        again(stopped, "htnet").work()
    with pytest.raises(ValueError, match=r"export_dir changed from None to .*coded"):
        replace(again(stopped, checkpoint), export_dir=stopped.parent / "coded").work()
    (stopped / "b.mp4").write_text("longer")
    with pytest.raises(ValueError, match=r"the clip b\.mp4 changed from 1 files of 1 bytes"):
        again(stopped, checkpoint).work()
    (stopped / "b.mp4").unlink()
    with pytest.raises(ValueError, match=r"the clip b\.mp4 changed from .* to None"):
        again(stopped, checkpoint).work()


def test_other_weights_under_the_same_name_are_noticed(stopped, checkpoint, monkeypatch):
    monkeypatch.setattr(bulk, "weights_sha256", lambda model: weights_sha256(model)[::-1])
    with pytest.raises(ValueError, match=r"weights_sha256 changed from .* since"):
        again(stopped, checkpoint).work()


def test_a_folder_of_something_else_is_not_taken_for_parts(folder, checkpoint, tmp_path):
    (tmp_path / "x.csv.parts").mkdir()
    (tmp_path / "x.csv.parts" / "mine.txt").touch()
    with pytest.raises(ValueError, match="is not a folder of parts"):
        BulkRun(folder, tmp_path / "x.csv", str(checkpoint)).work()
    assert os.listdir(tmp_path / "x.csv.parts") == ["mine.txt"]


def test_a_run_that_was_killed_while_it_joined_the_rows_joins_them_again(
    stopped, checkpoint, quick, alone, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(BulkRun, "_join", lambda *_: (_ for _ in ()).throw(Stopped()))
        again(stopped, checkpoint).work()
    quick.clear()
    assert again(stopped, checkpoint).work()["clips"] == 4
    assert quick == [] and (stopped.parent / "x.csv").read_text().count("not tried") == 4


def test_each_process_does_its_share_and_the_last_one_writes_the_table(
    folder, checkpoint, tmp_path, quick, monkeypatch
):
    run = BulkRun(folder, tmp_path / "x.csv", str(checkpoint))
    monkeypatch.setattr(BulkRun, "_begin_together", BulkRun.begin)
    monkeypatch.setattr(bulk, "WORLD_SIZE", 2)
    seen = []
    monkeypatch.setattr(bulk, "RANK", 1)
    assert run.work(lambda *counts: seen.append(counts)) is None
    assert quick == ["text.avi", "smiles.mp4"] and seen == [(1, 2), (2, 2)]
    monkeypatch.setattr(bulk, "RANK", 0)
    assert run.work()["clips"] == 5 and len(quick) == 5
    assert os.listdir(tmp_path) == ["x.csv"]


def test_the_summary_counts():
    old = ("other_motion", "no_micro_expression")  # as a table of an earlier version names the same
    rows = [
        *({"path": name, "status": "ok", "outcome": name, "label": None} for name in ("blink", *old)),
        {"path": "b", "status": "ok", "outcome": "micro_expression", "label": "negative"},
        *({"path": f"c{i}", "status": "failed", "reason": "why"} for i in range(5)),
    ]
    text = format_summary(summarize(rows, 7, 2.0, ["1.mts", "2.mts", "3.mts", "4.mts"]))
    assert text.splitlines()[:3] == [
        "9 clips, 5 failed, 3.50 clips/s",
        "outcomes  other_motion 2, blink 1, micro_expression 1",
        "labels    negative 1",
    ]
    assert text.splitlines()[3:] == [
        *(f"failed    c{i}: why" for i in range(3)),
        "          and 2 more: see column reason",
        "4 files that look like videos are left out (1.mts, 2.mts, 3.mts, ...). Convert them to mp4.",
    ]


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again(folder, checkpoint, tmp_path):
    out = tmp_path / "predictions.csv"
    process = launched(*run(folder, out, checkpoint))
    parts = tmp_path / "predictions.csv.parts"
    until = time.monotonic() + 60
    while len(list(parts.glob("0*.json"))) < 2:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists() and 2 <= len(list(parts.glob("0*.json"))) < 5
    output, errors = launched(*run(folder, out, checkpoint)).communicate(timeout=120)
    assert output.startswith("5 clips, 3 failed, "), errors
    with open(out) as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == CLIPS
    killed = [row for row in rows if row["process"].endswith(f":{process.pid}")]
    assert len(killed) >= 2 and len(killed) < 5
    assert os.listdir(tmp_path) == ["predictions.csv"]


def test_a_worker_that_fails_ends_the_others(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nif [ "$RANK" = 1 ]; then exit 3; fi\nexec sleep 600\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(exports, "GRACE_S", 0.1)
    assert exports.launch([], 3) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "flags"), [(TORCHRUN, ()), ((), ("--workers", 2))])
def test_two_processes_share_the_clips(launcher, flags, folder, checkpoint, tmp_path):
    root = tmp_path / "clips"
    root.mkdir()
    for number in range(6):
        (root / f"{number}.mp4").write_bytes((folder / "b" / "smiles.mp4").read_bytes())
    out = tmp_path / "predictions.parquet"
    process = launched(*run(root, out, checkpoint, *flags), launcher=launcher)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert output.count("6 clips, 0 failed") == 1 and "predicting: 100%" in errors
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert len(rows) == 6 and len({row["process"] for row in rows}) == 2
    assert sorted(os.listdir(tmp_path)) == ["clips", "predictions.parquet"]
    refusal = launched(*run(root, out, checkpoint, *flags), launcher=launcher)
    _, errors = refusal.communicate(timeout=100)
    assert refusal.returncode != 0 and errors.count("mer-hf: error: ") == 1 and "--overwrite" in errors


@pytest.mark.parametrize("place", ["write_text", "write_csv", "os.replace", "Path.rename", "shutil.rmtree"])
def test_a_disk_that_fills_at_any_write_is_told_in_one_line_and_the_run_is_resumed(
    place, folder, tmp_path, checkpoint, quick, capfd, monkeypatch
):
    owner, _, name = place.rpartition(".")
    owner = {"": bulk, "os": os, "Path": Path, "shutil": bulk.shutil}[owner]

    def full(*_, **options):
        if place != "shutil.rmtree" or not options:  # what is left of an earlier run is removed quietly
            raise OSError(28, "No space left on device", "x")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        assert "No space left on device" in refused(capfd, *run(folder, tmp_path / "x.csv", checkpoint))
    assert cli.main([*run(folder, tmp_path / "x.csv", checkpoint, "--overwrite")]) == 0
    assert os.listdir(tmp_path) == ["x.csv"] and (tmp_path / "x.csv").read_text().count("\n") == 1 + len(
        CLIPS
    )
