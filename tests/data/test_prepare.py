import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mer_hf.cli import main
from mer_hf.data import prepare as module
from mer_hf.data.prepare import prepare
from mer_hf.data.prepared import Prepared
from mer_hf.data.readers import READERS
from mer_hf.face.tracking import FaceGeometry
from mer_hf.video.clip import write_clip
from tests.data import trees

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def casme2(tmp_path_factory):
    """A tree of four clips of a real face: one lacks frames, one cannot be read, one shows no face."""
    root = tmp_path_factory.mktemp("casme2")
    rows = [
        (1, "EP02_01f", 98, 104, 109, "12", "happiness"),
        (2, "EP03_02", 9, 15, 20, "1+2", "surprise"),
        (3, "EP09f", 1, 4, 8, "4", "disgust"),
        (3, "EP10f", 1, 4, 8, "4", "disgust"),
        (4, "EP01_01", 1, 4, 8, "4", "disgust"),
    ]
    trees.casme2(root, rows)
    top = root / "Cropped_original"
    for folder, first, field in (("sub01/EP02_01f", 98, trees.smile), ("sub02/EP03_02", 9, trees.brow_raise)):
        trees.face_folder(top / folder, first, 12, "reg_img{}.jpg", field)
    (top / "sub02" / "EP03_02" / "reg_img15.jpg").unlink()  # the apex
    (top / "sub03" / "EP09f" / "reg_img4.jpg").write_bytes(b"no picture")
    trees.numbered(top / "sub04" / "EP01_01", 1, 6, "reg_img{}.jpg")
    return root


@pytest.fixture(scope="module")
def prepared(casme2, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "casme2"
    report = prepare(READERS["casme2"].read(root=casme2), out, workers=1)
    return out, report


def test_every_fix_and_every_excluded_clip_is_reported(prepared):
    _, report = prepared
    assert report["clips"] == 2 and report["emotions"] == {"happiness": 1, "surprise": 1}
    excluded, fixed = dict(report["skipped"]), dict(report["repaired"])
    assert "reg_img4.jpg: the picture cannot be read" in excluded["casme2/sub03/EP09f"]
    assert "no face was found" in excluded["casme2/sub03/EP10f"]
    assert (
        "offset is frame 8" in excluded["casme2/sub04/EP01_01"]
        or "no face" in excluded["casme2/sub04/EP01_01"]
    )
    assert ["casme2/sub02/EP03_02", "frame 15 (apex) is missing: took 14"] in report["repaired"]
    nearest = "1 frame(s) between onset and offset are missing: took the nearest of each"
    assert ["casme2/sub02/EP03_02", nearest] in report["repaired"]
    assert report["found"] == 5 and report["by_subject"] == {"casme2/sub01": 1, "casme2/sub02": 1}
    assert "casme2/sub01/EP02_01f" not in fixed


def test_networks_are_scored_on_prepared_clips(prepared, tmp_path, capsys):
    command = ["evaluate", "--data", str(prepared[0]), "--model", "mmnet", "--model", "mean"]
    files = ["--csv", str(tmp_path / "rows.csv"), "--log", str(tmp_path / "looks.jsonl")]
    assert main([*command, *files, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["clips"] == 2 and list(result["models"]) == ["mmnet", "mean"]
    scores = result["models"]["mmnet"]["classes"]
    assert {name: scores[name]["clips"] for name in scores} == dict.fromkeys(
        ("annotated", "spotted", "midpoint"), 2
    )
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 5
    look = json.loads((tmp_path / "looks.jsonl").read_text())
    assert look["data"] == ["casme2"] and look["models"]["mmnet"] == result["models"]["mmnet"]
    assert main(["evaluate", "--data", str(prepared[0]), "--classes", "five"]) == 2
    assert "htnet knows negative, positive, surprise" in capsys.readouterr().err


def test_prepared_clips_hold_aligned_faces_with_their_phases(prepared):
    data = Prepared(prepared[0])
    table = data.table("composite3")
    assert table.keys.tolist() == ["casme2/sub01/EP02_01f", "casme2/sub02/EP03_02"]
    assert [table.class_names[label] for label in table.labels] == ["positive", "surprise"]
    assert table.subjects.tolist() == ["casme2/sub01", "casme2/sub02"]
    clip = data.clip("casme2/sub01/EP02_01f")
    assert clip["frames"].shape == (12, 320, 320, 3) and clip["frames"].dtype == np.uint8
    assert (clip["onset"], clip["apex"], clip["offset"]) == (0, 6, 11)
    eyes = clip["landmarks_xy"][:, [33, 263]].mean(axis=1)
    assert clip["landmarks_xy"].shape == (12, 478, 2)
    assert np.abs(eyes - [160, 0.4 * 320]).max() < 6  # where the geometry wants them
    assert np.allclose(np.diff(clip["timestamps_s"]), 1 / 200)
    gap = data.clip("casme2/sub02/EP03_02")  # frame 15 is missing, and time goes on all the same
    assert (
        gap["apex"] == 5 and len(gap["frames"]) == 12 and gap["timestamps_s"][-1] == pytest.approx(11 / 200)
    )
    near = [np.abs(gap["frames"][6].astype(int) - gap["frames"][i]).mean() for i in (5, 7)]
    assert min(near) < 1.5  # the nearest frame stands in; noise is the same


def test_a_networks_own_crop_is_cut_from_the_stored_one(prepared):
    data, wanted = Prepared(prepared[0]), FaceGeometry(224, 0.393, 0.424)
    wide, own = (data.clip("casme2/sub01/EP02_01f", crop) for crop in (None, wanted))
    assert own["frames"].shape == (12, 224, 224, 3)
    eyes = own["landmarks_xy"][:, [33, 133, 362, 263]].mean(axis=1)
    assert np.abs(eyes - [112, 0.393 * 224]).max() < 4
    apart = np.linalg.norm(own["landmarks_xy"][:, 33] - own["landmarks_xy"][:, 263], axis=1)
    before = np.linalg.norm(wide["landmarks_xy"][:, 33] - wide["landmarks_xy"][:, 263], axis=1)
    assert np.allclose(apart / before, 224 * 0.424 / (320 * 0.32), rtol=1e-4)

    # The picture went where the landmarks went: the pupils' surroundings look alike.
    def patch(clip, size):
        x, y = clip["landmarks_xy"][0, 468].round().astype(int)
        return cv2.resize(clip["frames"][0, y - size : y + size, x - size : x + size], (16, 16)).astype(float)

    assert np.abs(patch(wide, 12) - patch(own, 11)).mean() < 14


def test_other_schemes_give_other_tables(prepared):
    data = Prepared(prepared[0])
    assert data.table(("surprise", "happiness")).labels.tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"no emotion of .* \(happiness, surprise\) is one of fear"):
        data.table(("fear",))


def test_a_second_run_does_only_what_has_changed(prepared, casme2, monkeypatch):
    out, _ = prepared
    done = []
    original = module.prepare_clip
    monkeypatch.setattr(module, "prepare_clip", lambda *args: done.append(args[0].key) or original(*args))
    picture = casme2 / "Cropped_original" / "sub01" / "EP02_01f" / "reg_img99.jpg"
    os.utime(picture, (1, 1))
    prepare(READERS["casme2"].read(root=casme2), out, workers=1)
    assert "casme2/sub01/EP02_01f" in done and "casme2/sub02/EP03_02" not in done
    assert len(Prepared(out).table("composite3")) == 2


def test_a_folder_that_holds_something_else_is_refused(prepared, casme2, tmp_path):
    findings = READERS["casme2"].read(root=casme2)
    findings.name = "samm"
    with pytest.raises(ValueError, match="holds casme2, not samm"):
        prepare(findings, prepared[0])
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(ValueError, match="is not empty and holds nothing prepared"):
        prepare(findings, tmp_path)
    with pytest.raises(ValueError, match="holds no prepared dataset"):
        Prepared(tmp_path)


@pytest.mark.slow
def test_a_clip_that_kills_its_process_is_excluded_and_the_others_are_prepared(tmp_path):
    """Three clips by two processes, one of which reads a file that ends its process."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from mer_hf.data import prepare as module\n"
        "from mer_hf.data.readers.own_table import read_user_table\n"
        "def deadly(files, fps, read=module.read_pictures):\n"
        "    if 'deadly' in str(files[0]): os.kill(os.getpid(), 9)\n"
        "    return read(files, fps)\n"
        "module.read_pictures = deadly\n"
        "if __name__ == '__main__':\n"
        "    top = Path(sys.argv[1])\n"
        "    print(module.prepare(read_user_table(top / 'own.csv'), top / 'out', workers=2)['skipped'])\n"
    )
    for name in ("a", "b", "deadly"):
        trees.face_folder(tmp_path / name, 1, 6)
    (tmp_path / "own.csv").write_text("path,subject,label\ndeadly,p,fear\na,p,fear\nb,q,happy\n")
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[['own/p/deadly', 'the process that prepared it died (out of memory?)']]\n"
    assert len(Prepared(tmp_path / "out").table("composite3")) == 2


def test_an_onset_alone_is_kept_and_the_rest_is_spotted_after_it(tmp_path):
    write_clip(tmp_path / "a.mp4", trees.face_frames(14), 30.0)
    (tmp_path / "own.csv").write_text("path,subject,label,onset\na.mp4,anna,happy,2\n")
    row = module.prepare_clip(READERS["table"].read(csv=tmp_path / "own.csv").annotations[0])
    assert row["apex_source"] == "spotted" and row["onset"] == 2 and 3 <= row["apex"] <= 10


@pytest.mark.slow
def test_a_users_video_is_prepared_by_the_command_line(tmp_path, capfd):
    write_clip(tmp_path / "a.mp4", trees.face_frames(14), 30.0)
    write_clip(tmp_path / "b.mp4", trees.face_frames(14, trees.brow_raise), 30.0)
    rows = ["a.mp4,anna,happy,0,7,13", "b.mp4,ben,surprise,,,", "c.mp4,cleo,fear,,,"]
    (tmp_path / "own.csv").write_text("\n".join(["path,subject,label,onset,apex,offset", *rows]) + "\n")
    flags = [
        "prepare",
        "table",
        "--csv",
        str(tmp_path / "own.csv"),
        "--out",
        str(tmp_path / "out"),
        "--workers",
        "2",
    ]
    assert main(flags) == 0
    told = capfd.readouterr()
    assert "own.csv: 2 clips of 2 subjects" in told.out and "c.mp4" in told.out and "2/2" in told.err
    data = Prepared(tmp_path / "out")
    assert data.clip("own/anna/a.mp4/0-7-13")["apex_source"] == "annotated"
    spotted = data.clip("own/ben/b.mp4")
    assert spotted["apex_source"] == "spotted" and 3 <= spotted["apex"] <= 10


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["prepare", "casme4", "--out", "x"], "there is no reader 'casme4'. Choose from casme2, samm"),
        (["prepare", "casme2", "--out", "x"], "prepare casme2 needs --root DIR"),
        (["prepare", "table", "--out", "x"], "prepare table needs --csv FILE"),
        (["prepare", "casme2", "--root", "absent", "--out", "x"], "--root absent is not a folder"),
    ],
)
def test_mistakes_end_in_one_line(flags, message, capsys):
    assert main(flags) == 2
    told = capsys.readouterr().err
    assert told.startswith("mer-hf: error: ") and message in told and told.count("\n") == 1


def test_an_interrupted_preparation_is_resumed(casme2, tmp_path, monkeypatch):
    findings, out = READERS["casme2"].read(root=casme2), tmp_path / "out"
    original = module.prepare_clip

    def interrupt_the_second(annotation):
        if annotation.key != findings.annotations[0].key:
            raise KeyboardInterrupt
        return original(annotation)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "prepare_clip", interrupt_the_second)
        prepare(findings, out, workers=1)
    with pytest.raises(ValueError, match="Make it, or finish it"):
        Prepared(out)
    (first,) = (out / "clips").glob("*.parquet")
    before = first.stat().st_mtime_ns
    unfinished = out / "clips" / ".mer-hf-killed" / "half.parquet"  # what a killed process leaves
    unfinished.parent.mkdir()
    unfinished.touch()
    assert prepare(findings, out, workers=1)["clips"] == 2
    assert first.stat().st_mtime_ns == before and not list(out.rglob(".*"))


@pytest.mark.slow
def test_a_killed_preparation_is_resumed(casme2, tmp_path):
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "mer_hf",
        "prepare",
        "casme2",
        "--root",
        str(casme2),
        "--out",
        str(out),
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 100
    while not list((out / "clips").glob("*.parquet")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "report.json").exists()
    with pytest.raises(ValueError, match="Make it, or finish it"):
        Prepared(out)
    (first,) = (out / "clips").glob("*.parquet")
    before = first.stat().st_mtime_ns
    assert main(command[3:]) == 0
    assert first.stat().st_mtime_ns == before
    assert json.loads((out / "report.json").read_text())["clips"] == 2
    assert not [path for path in out.rglob(".*") if path.is_file()]
