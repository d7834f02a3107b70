"""The commands write what other programs read, and read what people made of it."""

import csv
import json

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
        (["--out", "b.csv", "--export", "eaf"], "--export needs --export-dir"),
    ):
        assert main(["predict", str(tmp_path), "--model", str(checkpoint), *flags]) == 2
        assert words in capfd.readouterr().err
