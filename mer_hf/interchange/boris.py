"""BORIS: a project with our ethogram and one observation; or its events as a table, as in The Observer.

A behaviour is a mark's name, its modifier the class or the letter of an action unit, and its comment the
numbers. Other behaviours of a coder's ethogram are left out.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from mer_hf.utils.files import write_text
from mer_hf.utils.untrusted import check_kinds, finite, fits, read_json, shown

from .coding import Coding
from .facs import LETTERS
from .marks import Mark, from_marks, known_name, marks_of
from .rows import csv_text, read_rows

START, STOP = "State start", "State stop"
_PERSON = re.compile(r"person (\d{1,3})(?: #(\d{1,3}))?", re.ASCII)
OBSERVER = ("Time_Relative_sf", "Observation", "Subject", "Behavior", "Modifier_1", "Event_Type", "Comment")

_OBSERVATION = {"file": dict[str, list[str]], "events": list[list], "media_info": dict | None}
Row = tuple[float, str, str, str, str, str]
"""Seconds, subject, behaviour, modifier, comment, and `START` or `STOP`."""


def write(path: str | os.PathLike, coding: Coding) -> None:
    """Write a project (`.boris`), or a table of its events (`.tsv`)."""
    rows = list(_rows(marks_of(coding.kept, coding.blinks, coding.gaps)))
    name = Path(coding.video).stem or "observation"
    if Path(path).suffix.lower() == ".boris":
        write_text(path, json.dumps(_project(coding, name, rows), indent=1, ensure_ascii=False) + "\n")
        return
    table: list[Iterable] = [OBSERVER]
    for time_s, subject, behaviour, modifier, comment, edge in rows:
        table.append([f"{time_s:.6g}", name, subject, behaviour, modifier, edge, comment])
    write_text(path, csv_text(table, "\t"))


def read(path: str | os.PathLike) -> Coding:
    """Read a project with one observation, or a table, as a person changed it."""
    if Path(path).suffix.lower() != ".boris":
        rows = read_rows(path, OBSERVER[:1] + OBSERVER[2:4])
        if len(names := {row.get(OBSERVER[1]) for _, row in rows}) > 1:
            raise ValueError(f"it has {len(names)} observations; expected one")
        return Coding(**from_marks(_marks([_table_row(row, line) for line, row in rows])))
    observations = read_json(Path(path), {"observations": dict[str, dict]})["observations"]
    if len(observations) != 1:
        raise ValueError(f"the project has {len(observations)} observations; expected one")
    ((name, observation),) = observations.items()
    check_kinds(observation, _OBSERVATION, name)
    media = observation.get("media_info") or {}
    check_kinds(media, dict.fromkeys(("fps", "length"), dict[str, float] | None), f"media_info of {name}")
    video = next((file for files in observation["file"].values() for file in files), name)
    fps, length_s = ((media.get(key) or {}).get(video) or None for key in ("fps", "length"))
    for number, event in enumerate(observation["events"], 1):
        if not fits(event[:5], tuple[float, str, str, str, str]):
            raise ValueError(f"event {number} is not seconds and four texts: {shown(event)}")
    marks = _marks([(*event[:5], "") for event in observation["events"]])
    return Coding(video, fps=fps, duration_s=length_s, **from_marks(marks, 1 / fps if fps else 0.0))


def _rows(marks: Iterable[Mark]) -> Iterator[Row]:
    rows = []
    for mark in marks:
        value, _, numbers = mark.value.partition("(")
        person = f"person {mark.person}" + (f" #{mark.line}" if mark.line > 1 else "")
        row = (person, mark.name, value.strip(), f"({numbers}" if numbers else "")
        rows += [(mark.start_s, *row, START), (mark.end_s, *row, STOP)]
    yield from sorted(rows, key=lambda row: (row[0], row[-1] == START))


def _marks(rows: list[Row]) -> Iterator[Mark]:
    """Pair starts and stops: of one behaviour of one subject they alternate.

    Subjects of other names than ours are people in the order of their names.
    """
    ours = [row for row in rows if known_name(row[2])]
    if rows and not ours:
        names = shown(", ".join(sorted({row[2] for row in rows})))
        raise ValueError(f"none of its behaviours, {names}, is called micro-expression, AU12 or alike")
    names = enumerate(sorted({row[1] for row in ours}), 1)
    people = {name: _PERSON.fullmatch(name) or {1: at, 2: 1} for at, name in names}
    open_rows: dict[tuple[str, str], Row] = {}
    for row in sorted(ours, key=lambda row: (row[0], row[-1] != STOP)):
        key = row[1], row[2]
        started = open_rows.pop(key, None)
        if ("start" if started else "stop") in row[5].lower():
            raise ValueError(f"{row[2]} of {row[1]}: a {row[5]} at {row[0]} s does not follow its opposite")
        if started is None:
            open_rows[key] = row
            continue
        person, line = int(people[row[1]][1]), int(people[row[1]][2] or 1)
        value = f"{started[3]} {started[4]}".strip() if started[3] != "None" else started[4]
        yield Mark(started[0], row[0], row[2], value, person, line)
    if open_rows:
        (_, behaviour), row = next(iter(open_rows.items()))
        raise ValueError(f"{behaviour} starts at {row[0]} s and does not stop")


def _table_row(row: dict[str, str], line: int) -> Row:
    time_s = finite(row[OBSERVER[0]], f"line {line}: {OBSERVER[0]}")
    return time_s, *(row.get(name) or "" for name in (*OBSERVER[2:5], "Comment", "Event_Type"))


def _project(coding: Coding, name: str, rows: list[Row]) -> dict:
    modifiers = defaultdict(set)
    for _, _, behaviour, modifier, *_ in rows:
        modifiers[behaviour] |= {modifier} - {""}
    behaviours = {
        str(i): {
            "type": "State event", "key": "", "code": code, "description": "", "color": "", "category": "",
            "modifiers": _modifier_set(code, values), "excluded": "", "coding map": "",
        }
        for i, (code, values) in enumerate(sorted(modifiers.items()))
    }  # fmt: skip
    names = enumerate(sorted({row[1] for row in rows}))
    subjects = {str(i): {"key": "", "name": subject, "description": ""} for i, subject in names}
    today = datetime.now().isoformat(timespec="seconds")
    length = {"fps": coding.fps or 0, "length": coding.duration_s or 0, "hasVideo": True, "hasAudio": False}
    length["display"] = "Nothing"  # no spectrogram
    observation = {
        "file": {"1": [coding.video] if coding.video else [], **{str(player): [] for player in range(2, 9)}},
        "type": "MEDIA", "date": today, "description": "", "time offset": 0.0,
        "observation time interval": [0, 0],
        "events": [[*row[:5], "NA"] for row in rows], "independent_variables": {},
        "media_info": {key: {coding.video: value} for key, value in length.items()},
        "close_behaviors_between_videos": False, "visualize_spectrogram": False, "visualize_waveform": False,
    }  # fmt: skip
    return {
        "time_format": "s", "project_date": today, "project_name": name, "project_description": coding.author,
        "project_format_version": "7.0", "subjects_conf": subjects, "behaviors_conf": behaviours,
        "observations": {name: observation}, "behavioral_categories": [], "independent_variables": {},
        "behavioral_categories_config": {},
        "coding_map": {}, "behaviors_coding_map": [], "converters": {},
    }  # fmt: skip


def _modifier_set(code: str, seen: set[str]) -> dict:
    """Return what a coder can choose: letters and sides, or the classes."""
    sides = ("", "left ", "right ")
    letters = [f"{side}{letter}" for side in sides for letter in LETTERS]
    values = letters if code.startswith("AU") else sorted(seen)
    return {"0": {"name": "", "type": 0, "values": values, "description": ""}} if values else {}
