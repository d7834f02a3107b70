"""OpenFace's table: a row per frame and face, with the strength (0 to 5) and presence of each action unit."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mer_hf.face.action_units import PRESENT, VOCABULARY, Intensities
from mer_hf.face.frame_units import units_of_frames
from mer_hf.face.tracking import FaceTrack
from mer_hf.utils.files import write_text
from mer_hf.utils.untrusted import read_records

from .coding import Coding, Event

BASE = ("frame", "face_id", "timestamp", "confidence", "success")
STRONGEST = 5.0
ABOUT = (
    "Strength and presence of each action unit, against the face at rest in the same recording; by mer_hf.\n"
)


class FrameUnits(NamedTuple):
    """Action units of one frame; None where no face was found."""

    frame: int
    time_s: float
    units: Intensities | None
    person: int = 1


def rows_of(answer: Any, track: FaceTrack) -> Iterator[FrameUnits]:
    """Estimate the action units of each frame of a `Prediction`, in some hundredths of a second for each."""
    for frame, units in enumerate(units_of_frames(track, answer.phases)):
        yield FrameUnits(answer.first_frame + frame, float(answer.timestamps_s[frame]), units, track.face)


def write(path: str | os.PathLike, rows: Iterable[FrameUnits]) -> None:
    """Write the table, and `NAME.txt` beside it, which says what the numbers are relative to."""
    rows = list(rows)
    seen = [name for name in VOCABULARY if any(row.units and row.units[name] for row in rows)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    codes = [f"AU{int(name.removeprefix('AU')):02d}" for name in seen]
    writer.writerow([*BASE, *(f"{code}_r" for code in codes), *(f"{code}_c" for code in codes)])
    for frame, time_s, units, person in rows:
        found = int(units is not None)
        strengths = [units[name][2] if units and units[name] else 0.0 for name in seen]
        present = [float(each >= PRESENT) for each in strengths]
        numbers = [f"{STRONGEST * each:.3f}" for each in strengths] + [f"{each:.1f}" for each in present]
        writer.writerow([frame + 1, person - 1, f"{time_s:.6f}", float(found), found, *numbers])
    write_text(path, file.getvalue())
    write_text(Path(path).with_suffix(".txt"), ABOUT)


def read(path: str | os.PathLike) -> Coding:
    """Read stretches in which action units are present, as events without a class."""
    rows = [row for _, row in read_records(Path(path), ("timestamp",))]
    codes = [name for name in (rows[0] if rows else ()) if name.startswith("AU") and name.endswith("_c")]
    if not codes:
        raise ValueError("it lacks the columns AU.._c")
    codes = [code for code in codes if _name(code) in VOCABULARY and f"{code[:-1]}r" in rows[0]]
    events = []
    for person, own in groupby(
        sorted(rows, key=lambda row: float(row.get("face_id") or 0)), lambda row: row.get("face_id")
    ):
        for active, stretch in groupby(own, lambda row: any(float(row[code]) for code in codes)):
            if active:
                events.append(_event(list(stretch), codes, int(float(person or 0)) + 1))
    return Coding(events=tuple(events))


def _name(code: str) -> str:
    return f"AU{int(code[2:-2])}"


def _event(rows: list[dict[str, str]], codes: list[str], person: int) -> Event:
    strengths = np.array([[float(row[f"{code[:-1]}r"]) / STRONGEST for code in codes] for row in rows]).clip(
        0, 1
    )
    present = np.array([[float(row[code]) for code in codes] for row in rows]).any(0)
    units = {
        _name(code): (top, top)
        for code, top, shown in zip(codes, strengths.max(0).tolist(), present, strict=True)
        if shown
    }
    times_s = [float(row["timestamp"]) for row in rows]
    return Event(
        times_s[0], times_s[int(strengths.sum(1).argmax())], times_s[-1], "", "", None, units, person
    )
