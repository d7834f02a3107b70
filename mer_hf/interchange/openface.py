"""OpenFace's table: a row per frame and face, with the strength (0 to 5) and presence of each action unit."""

import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mer_hf.face.action_units import PRESENT, VOCABULARY, Intensities
from mer_hf.face.frame_units import units_of_frames
from mer_hf.face.tracking import FaceTrack
from mer_hf.utils.files import write_text
from mer_hf.utils.untrusted import finite

from .coding import Coding, Event
from .rows import csv_text, read_rows

BASE = ("frame", "face_id", "timestamp", "confidence", "success")
STRONGEST = 5.0
ABOUT = "Strength and presence of action units, against the face at rest in the same recording; by mer_hf.\n"


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


def check_note(path: Path) -> None:
    """Refuse a table beside which `NAME.txt` is somebody's own text."""
    note = path.with_suffix(".txt")
    if note.exists() and note.read_bytes() != ABOUT.encode():
        raise ValueError(f"{note}, where it is said what the numbers of {path} mean, is there already.")


def write(path: str | os.PathLike, rows: Iterable[FrameUnits]) -> None:
    """Write the table, and `NAME.txt` beside it, which says what the numbers are relative to."""
    rows = list(rows)
    seen = [name for name in VOCABULARY if any(row.units and row.units[name] for row in rows)]
    table = [[*BASE, *(f"{_code(name)}_{kind}" for kind in "rc" for name in seen)]]
    for frame, time_s, units, person in rows:
        found = int(units is not None)
        strengths = [units[name][2] if units and units[name] else 0.0 for name in seen]
        present = [float(each >= PRESENT) for each in strengths]
        numbers = [f"{STRONGEST * each:.3f}" for each in strengths] + [f"{each:.1f}" for each in present]
        table.append([frame + 1, person - 1, f"{time_s:.6f}", float(found), found, *numbers])
    write_text(path, csv_text(table))
    write_text(Path(path).with_suffix(".txt"), ABOUT)


def read(path: str | os.PathLike) -> Coding:
    """Read stretches in which action units are present, as events without a class."""
    records = read_rows(path, ("timestamp",))
    header = records[0][1] if records else {}
    names = [name for name in VOCABULARY if {f"{_code(name)}_c", f"{_code(name)}_r"} <= header.keys()]
    if not names:
        raise ValueError("it has no row, or no columns AU.._r and AU.._c of a known action unit")
    columns = [f"{_code(name)}_{kind}" for name in names for kind in "rc"]
    rows = [_numbers(row, ("timestamp", *columns), line) for line, row in records]
    events = []
    for face, own in groupby(sorted(rows, key=itemgetter("face_id", "timestamp")), itemgetter("face_id")):
        is_active = lambda row: row["success"] and any(row[each] for each in columns[1::2])  # noqa: E731
        frames = list(own)
        step_s = float(np.median(np.diff([row["timestamp"] for row in frames]))) if len(frames) > 1 else 0.0
        for active, stretch in groupby(frames, is_active):
            if active:
                events.append(_event(list(stretch), names, int(face) + 1, step_s))
    return Coding(events=tuple(events))


def _code(name: str) -> str:
    return f"AU{int(name.removeprefix('AU')):02d}"


def _numbers(row: dict[str, str], columns: Iterable[str], line: int) -> dict[str, float]:
    row = {"face_id": "0", "success": "1"} | row
    return {name: finite(row[name], f"line {line}: {name}") for name in ("face_id", "success", *columns)}


def _event(rows: list[dict[str, float]], names: list[str], person: int, step_s: float) -> Event:
    """Make an event of frames; it lasts until the frame after the last."""
    strengths = np.array([[row[f"{_code(name)}_r"] / STRONGEST for name in names] for row in rows]).clip(0, 1)
    present = np.array([[row[f"{_code(name)}_c"] for name in names] for row in rows]).any(0)
    top = strengths.max(0).tolist()
    units = {name: (each, each) for name, each, shown in zip(names, top, present, strict=True) if shown}
    times_s = [row["timestamp"] for row in rows]
    apex_s = times_s[int(strengths.sum(1).argmax())]
    return Event(times_s[0], apex_s, round(times_s[-1] + step_s, 6), action_units=units, person=person)
