"""The commands write what other programs read, and read what people made of it."""

import csv
import json
import shutil

from mer_hf.cli import main
from mer_hf.interchange.formats import read_coding


def test_predict_writes_for_every_program_and_prepare_takes_it_back(
    checkpoint, example_file, tmp_path, capfd
):
    clip = example_file("positive")
    files = {
        "eaf": "a.eaf",
        "boris": "a.boris",
        "facs": "a.csv",
        "coding": "a.json",
        "openface": "frames.csv",
    }
    flags = [part for name, file in files.items() for part in (f"--{name}", str(tmp_path / file))]
    assert main(["predict", str(clip), "--model", str(checkpoint), "--json", *flags]) == 0
    answer = json.loads(capfd.readouterr().out)
    onset_s = answer["phases"]["onset_s"]
    for name in ("a.eaf", "a.boris", "a.csv", "a.json"):
        (event,) = read_coding(tmp_path / name).events
        assert abs(event.onset_s - onset_s) < 0.001 and event.kind == answer["outcome"], name
    with open(tmp_path / "frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    strongest = max(rows, key=lambda row: float(row["AU12_r"]))
    assert abs(float(strongest["timestamp"]) - answer["phases"]["apex_s"]) < 0.25
    prepared = ["prepare", "table", "--csv", str(tmp_path / "a.eaf"), "--out", str(tmp_path / "out")]
    assert main([*prepared, "--workers", "1"]) == 0
    assert "1 clip" in capfd.readouterr().out
    assert main(["evaluate", "--data", str(tmp_path / "out"), "--model", str(checkpoint)]) == 0
    assert "annotated       1" in capfd.readouterr().out  # one subject: no interval


def test_files_for_many_clips_need_a_folder(checkpoint, tmp_path, capfd):
    for flags, words in (
        (["--eaf", "a.eaf", "--out", "b.csv"], "--eaf is for one clip"),
        (["--export", "eaf"], "are for many clips"),
        (["--out", "b.csv", "--export-dir", __file__], "test_commands.py is a file"),
        (["--out", "b.csv", "--export", "eaf"], "--export needs --export-dir"),
    ):
        assert main(["predict", str(tmp_path), "--model", str(checkpoint), *flags]) == 2
        assert words in capfd.readouterr().err


def test_what_somebody_wrote_is_not_replaced(checkpoint, example_file, tmp_path, capfd):
    predict = ["predict", str(example_file("positive")), "--model", str(checkpoint)]
    (tmp_path / "a.eaf").write_text("corrected")
    (tmp_path / "a.txt").write_text("field notes")
    for flags, name in ((["--eaf", "a.eaf"], "a.eaf"), (["--openface", "a.csv"], "a.txt")):
        assert main([*predict, flags[0], str(tmp_path / flags[1])]) == 2
        assert f"{name}" in capfd.readouterr().err
    assert [(tmp_path / name).read_text() for name in ("a.eaf", "a.txt")] == ["corrected", "field notes"]
    assert main([*predict, "--eaf", str(tmp_path / "a.eaf"), "--overwrite"]) == 0
    assert read_coding(tmp_path / "a.eaf").events


def test_codings_are_found_in_folders_and_belong_to_their_videos(checkpoint, example_file, tmp_path, capfd):
    clips, coded = tmp_path / "clips", tmp_path / "coded"
    (clips / "more").mkdir(parents=True)
    videos = [clips / "a%20b.mp4", clips / "more" / "c.mp4"]
    for video, label in zip(videos, ("positive", "surprise"), strict=True):
        shutil.copy(example_file(label), video)
    run = ["predict", str(clips), "--model", str(checkpoint), "--export-dir", str(coded), "--export", "eaf"]
    assert main([*run, "--out", str(tmp_path / "a.csv")]) == 0
    assert main([*run, "--out", str(tmp_path / "b.csv")]) == 2
    assert "a%20b.mp4.eaf exists. Add --overwrite" in capfd.readouterr().err
    table = ["prepare", "table", "--csv", str(coded), "--workers", "1", "--out"]
    assert main([*table, str(tmp_path / "all")]) == 0
    assert "2 clips" in capfd.readouterr().out
    facs = ["convert-coding", str(coded / "a%20b.mp4.eaf"), str(coded / "ben.csv")]
    assert main(facs) == 0 and main([*table, str(tmp_path / "twice")]) == 2
    assert "code the same video" in capfd.readouterr().err
    (coded / "ben.csv").unlink()
    shutil.copy(videos[1], videos[0])
    assert main([*table, str(tmp_path / "other")]) == 2
    assert "is not the video that was coded" in capfd.readouterr().err
    assert not (tmp_path / "other").exists() and not (tmp_path / "twice").exists()
