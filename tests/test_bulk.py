import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from mer_hf import bulk
from mer_hf.bulk import find_clips
from mer_hf.cli import main
from mer_hf.clip import write_clip
from tests.data import trees

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips of a face and three that cannot be analysed."""
    top = tmp_path_factory.mktemp("clips")
    (top / "deep").mkdir()
    write_clip(top / "smile.mp4", trees.face_frames(12), 30.0)
    trees.face_folder(top / "deep" / "brows", 1, 12, field=trees.brow_raise)
    (top / "empty.mp4").touch()
    (top / "text.avi").write_text("no video")
    trees.numbered(top / "grey", 1, 5)
    (top / "notes.txt").touch()
    return top


NAMES = ["deep/brows", "empty.mp4", "grey", "smile.mp4", "text.avi"]


def test_videos_and_folders_of_pictures_are_clips(folder, tmp_path):
    assert [clip.as_posix() for clip in find_clips(folder)] == NAMES
    with pytest.raises(ValueError, match="holds no clip"):
        find_clips(tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        find_clips(folder / "smile.mp4")


def test_every_clip_gets_a_row_whatever_becomes_of_it(folder, tmp_path, capfd):
    out = tmp_path / "found.parquet"
    assert main(["predict", str(folder), "--out", str(out), "--fps", "30"]) == 0
    told = capfd.readouterr()
    assert "5 clips, 3 failed" in told.out and "failed: empty.mp4: " in told.out and "/5 [" in told.err
    rows = {row["path"]: row for row in parquet.read_table(out).to_pylist()}
    assert list(rows) == NAMES
    smile = rows["smile.mp4"]
    assert smile["status"] == "ok" and smile["outcome"] == "micro_expression" and smile["label"] == "positive"
    assert sum(smile[f"score_{name}"] for name in ("negative", "positive", "surprise")) == pytest.approx(1)
    assert 3 <= smile["apex"] <= 8 and smile["apex_s"] == pytest.approx(smile["apex"] / 30)
    assert smile["AU12"] > 0.5 and smile["AU16"] is None
    assert rows["grey"]["reason"].startswith("no face was found") and rows["grey"]["label"] is None
    assert not rows["text.avi"]["reason"].count("\n") and len(smile["weights_sha256"]) == 64
    assert [path.name for path in tmp_path.iterdir()] == ["found.parquet"]


def test_a_finished_file_is_not_replaced_unasked(folder, tmp_path, capfd):
    out = tmp_path / "found.csv"
    out.write_text("a thesis")
    assert main(["predict", str(folder), "--out", str(out)]) == 2
    assert "exists already. Add --overwrite" in capfd.readouterr().err and out.read_text() == "a thesis"
    assert main(["predict", str(folder), "--out", str(out), "--overwrite"]) == 0
    with open(out, newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)].count("ok") == 2


def test_an_unexpected_failure_is_a_row_too(folder, tmp_path, monkeypatch, capfd):
    from mer_hf.pipeline import MicroExpressionPipeline

    monkeypatch.setattr(MicroExpressionPipeline, "__call__", lambda *_, **__: 1 / 0)
    assert main(["predict", str(folder), "--out", str(tmp_path / "found.csv")]) == 0
    assert "failed: deep/brows: ZeroDivisionError: division by zero" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "found.txt"], "must end in one of .parquet, .csv"),
        (["--out", "found.csv", "--apex", "3"], "--apex is for one clip and --out for many"),
        (["--out", "absent/found.csv"], "the folder absent does not exist"),
    ],
)
def test_mistakes_end_in_one_line(folder, flags, message, capfd):
    assert main(["predict", str(folder), *flags]) == 2
    told = capfd.readouterr().err
    assert message in told and told.count("\n") == 1


def start(folder, out, *launcher):
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "mer_hf", "predict", str(folder), "--out", str(out)], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_killed_run_goes_on_and_other_options_are_refused(folder, tmp_path, capfd, monkeypatch):
    out = tmp_path / "found.csv"
    process = start(folder, out)
    parts = tmp_path / "found.csv.parts"
    until = time.monotonic() + 100
    while not list((parts / "rows").glob("[0-9]*.json")):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    assert main(["predict", str(folder), "--out", str(out), "--action-units", "none"]) == 2
    assert "was begun with other options. Delete it" in capfd.readouterr().err
    kept = {path.name for path in (parts / "rows").glob("[0-9]*.json")}
    done = []
    original = bulk.Bulk.row
    monkeypatch.setattr(bulk.Bulk, "row", lambda self, clip: done.append(clip) or original(self, clip))
    assert main(["predict", str(folder), "--out", str(out)]) == 0
    assert len(done) <= len(NAMES) - len(kept) + 1  # one row may lack its mark in the queue
    assert "5 clips, 3 failed" in capfd.readouterr().out and not parts.exists()


@pytest.mark.slow
def test_two_processes_share_the_clips(folder, tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]
    many = tmp_path / "many"
    for i in range(12):
        (many / f"c{i:02d}").mkdir(parents=True)
        (many / f"c{i:02d}" / "brows").symlink_to(folder / "deep" / "brows")
        write_clip(many / f"c{i:02d}.mp4", trees.face_frames(8), 30.0)
    process = start(many, tmp_path / "found.parquet", *torchrun)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    rows = parquet.read_table(tmp_path / "found.parquet").to_pylist()
    assert len(rows) == 12 and {row["process"] for row in rows} == {0, 1}
    assert out.count("12 clips, 0 failed") == 1
