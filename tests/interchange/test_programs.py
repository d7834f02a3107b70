"""Files go through the programs' own readers, are changed there, and come back: ELAN, BORIS, pandas."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pympi.Elan import Eaf

from mer_hf.cli import main
from mer_hf.face.action_units import VOCABULARY
from mer_hf.interchange import boris, elan, openface
from mer_hf.interchange.coding import Coding, Event, Span
from mer_hf.interchange.formats import read_coding

BORIS_PYTHON = os.environ.get("BORIS_PYTHON") or (sys.executable if find_spec("boris") else None)
"""An interpreter that has BORIS's package, `boris-behav-obs`, which is not needed otherwise."""

_STRENGTHS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
OPENFACE_22 = [
    *("frame", "face_id", "timestamp", "confidence", "success"),
    *(f"AU{unit:02d}_r" for unit in _STRENGTHS),
    *(f"AU{unit:02d}_c" for unit in sorted((*_STRENGTHS, 28))),
]
"""Columns of `FeatureExtraction -aus` of OpenFace 2.2, in its order."""


def everything() -> Coding:
    """Every unit on both sides and on each alone, blinks and lost faces, of two people."""
    sides = ((0.66, 0.64), (0.85, 0.0), (0.0, 0.95))
    events = [
        Event(
            2.0 * at + 1, 2.0 * at + 1.2, 2.0 * at + 1.4, "micro_expression", "positive", 0.8,
            {name: sides[(at + k) % 3] for k, name in enumerate(VOCABULARY)}, person,
        )
        for at in range(3) for person in (1, 2)
    ]  # fmt: skip
    events.append(Event(8.0, 8.8, 9.6, "other_motion"))
    blinks = tuple(Span(7.0, 7.2, "", person) for person in (1, 2))
    gaps = (Span(10.0, 11.0, "no face was found", 2),)
    return Coding("clip.mp4", fps=25.0, duration_s=30.0, events=tuple(events), blinks=blinks, gaps=gaps)


def later(coding: Coding, by_s: float) -> Coding:
    """Move everything."""
    names = ("onset_s", "apex_s", "offset_s", "start_s", "end_s")

    def moved(one):
        return replace(
            one, **{name: round(getattr(one, name) + by_s, 3) for name in names if hasattr(one, name)}
        )

    return replace(
        coding, **{part: tuple(map(moved, getattr(coding, part))) for part in ("events", "blinks", "gaps")}
    )


def in_order(coding: Coding) -> tuple:
    order = lambda one: (one.person, getattr(one, "onset_s", None) or getattr(one, "start_s", 0))  # noqa: E731
    return tuple(sorted(part, key=order) for part in (coding.events, coding.blinks, coding.gaps))


def test_all_that_elan_moves_is_read(tmp_path):
    path = tmp_path / "a.eaf"
    elan.write(path, everything())
    eaf = Eaf(str(path))
    assert {"AU12", "AU12 @2", "phases @2", "blink", "face lost @2"} <= set(eaf.get_tier_names())
    eaf.shift_annotations(1000)
    eaf.to_file(str(path))
    assert in_order(read_coding(path)) == in_order(later(everything(), 1.0))


@pytest.mark.slow
@pytest.mark.skipif(BORIS_PYTHON is None, reason="BORIS_PYTHON names no interpreter with boris-behav-obs")
def test_boris_opens_changes_and_saves_a_project(tmp_path):
    path = tmp_path / "a.boris"
    boris.write(path, everything())
    script = Path(__file__).with_name("in_boris.py")
    done = subprocess.run([BORIS_PYTHON, script, path], capture_output=True, text=True, timeout=120)
    assert done.stdout == "No problem detected\n", done.stderr
    events = tuple(
        replace(one, label="surprise", probability=None, offset_s=round(one.offset_s + 0.08, 3))
        if one.kind == "micro_expression"
        else one
        for one in everything().events
    )
    assert in_order(read_coding(path)) == in_order(replace(everything(), events=events))


def table(path: Path) -> pd.DataFrame:
    units = dict.fromkeys(VOCABULARY, (0.0, 0.0, 0.0))
    rows = [openface.FrameUnits(frame, frame / 25, units, 1) for frame in range(50)]
    openface.write(path, [*rows, rows[-1]._replace(frame=50, time_s=2.0, units=None)])
    return pd.read_csv(path)


def test_a_table_has_the_columns_and_numbers_of_openface(tmp_path):
    frames = table(tmp_path / "a.csv")
    shared = [name for name in frames.columns if name in OPENFACE_22]
    assert shared == [name for name in OPENFACE_22 if name in shared]
    assert {"AU01_r", "AU12_c"} <= set(shared) and list(frames.columns[:5]) == OPENFACE_22[:5]
    assert frames["success"].tolist() == [1] * 50 + [0] and frames["frame"].iloc[0] == 1
    assert all(kind.kind in "if" for kind in frames.dtypes)
    frames.loc[10:20, ["AU04_r", "AU04_c"]] = (3.5, 1)
    frames.loc[15, "AU04_r"] = 4.0
    frames.to_csv(tmp_path / "a.csv", index=False)
    (event,) = read_coding(tmp_path / "a.csv").events
    assert (event.onset_s, event.apex_s, event.offset_s) == (0.4, 0.6, 0.84)
    assert event.action_units == {"AU4": (0.8, 0.8)}


@pytest.mark.parametrize("separator", [",", ", "])
def test_a_table_that_openface_wrote_is_read(tmp_path, separator):
    frames = pd.DataFrame(
        0.0, index=range(40), columns=[*OPENFACE_22[:5], "gaze_0_x", "pose_Tx", *OPENFACE_22[5:]]
    )
    frames["timestamp"], frames["success"] = np.arange(40) / 30, 1
    frames.loc[3:8, ["AU28_c", "AU12_r", "AU12_c"]] = (1, 2.5, 1)
    lines = [separator.join(map(str, row)) for row in [frames.columns, *frames.to_numpy()]]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    (event,) = read_coding(tmp_path / "a.csv").events
    assert event.action_units == {"AU12": (0.5, 0.5)} and event.onset_s == pytest.approx(0.1)


FOREIGN = {
    "page": b"<!doctype html><html><body>Not found</body></html>",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(60),
    "archive": b"PK\x03\x04" + bytes(60),
    "utf-16": '{"format": "mer_hf coding 1"}'.encode("utf-16"),
    "object": b'{"observations": {}, "behaviors_conf": {}}',
    "two": b'{"observations": {"a": {}, "b": {}}}',
    "deep": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "numbers": b'{"format": "mer_hf coding 1", "events": [{"onset_s": "soon", "apex_s": null}]}',
    "table": b"name,age\nAna,31\nBen,27\n",
    "semicolons": b"a;b;c\n1;2;3\n",
    "columns": b"frame,face_id,timestamp,AU12_r,AU12_c\n1,0,now,x,y\n",
    "facs": b"onset_s,apex_s,offset_s,facs\nsoon,later,never,12Z\n",
    "observer": b"Time_Relative_sf\tSubject\tBehavior\tEvent_Type\n1.0\tx\tAU12\tState start\n",
    "elan": b'<?xml version="1.0"?><ANNOTATION_DOCUMENT><TIME_ORDER/></ANNOTATION_DOCUMENT>',
    "xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    "infinite": b'{"observations": {"a": {"file": {}, "events": [[1e999, "", "AU1", "", ""]]}}}',
    "unpaired": b'{"observations": {"a": {"file": {"1": []}, "events": [[1, "", "AU1", "", ""]]}}}',
    "words": b"the light flickers\n" * 9,
    "zeros": bytes(400),
    "quote": b'onset_s,"facs\n1,2\n',
}


@pytest.mark.parametrize("suffix", [".json", ".eaf", ".boris", ".tsv", ".csv"])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_refused_in_a_line_and_nothing_is_written(tmp_path, capfd, name, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(FOREIGN[name])
    code = main(["convert-coding", str(path), str(tmp_path / "b.eaf")])
    output, errors = capfd.readouterr()
    assert code == 2
    assert output == "" and errors.startswith("mer-hf: error: ") and errors.count("\n") == 1
    assert str(path) in errors and [each.name for each in tmp_path.iterdir()] == [path.name]
