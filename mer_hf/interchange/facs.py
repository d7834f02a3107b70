"""Score sheets of the Facial Action Coding System: a CSV row per event, with a code such as `4B+L12C`."""

import os
from collections.abc import Iterable

from mer_hf.face.action_units import PRESENT
from mer_hf.face.spotting import LONGEST_S
from mer_hf.labels import parse_action_units
from mer_hf.utils.files import write_text
from mer_hf.utils.untrusted import finite, shown

from .coding import KINDS, Coding, Event, Units
from .rows import csv_text, read_rows

LETTERS = "ABCDE"
UNSCORED = 0.75
"""Strength of an action unit that is coded as present without a letter."""
FRAME_S = 0.05
"""The first frame after a movement may count to it, in video of 20 frames a second or more."""
COLUMNS = ("video", "person", "onset_s", "apex_s", "offset_s", "kind", "label", "probability", "facs")


def letter_of(strength: float) -> str:
    """Return the letter of a strength that is present: 0.5 to 0.6 is A, and so on, 0.9 to 1 is E."""
    place = int((strength - PRESENT) / (1 - PRESENT) * len(LETTERS) + 1e-9)
    return LETTERS[min(max(place, 0), len(LETTERS) - 1)]


def strength_of(letter: str) -> float:
    """Return the middle of a letter's range."""
    if not letter:
        return UNSCORED
    return PRESENT + (1 - PRESENT) * (LETTERS.index(letter) + 0.5) / len(LETTERS)


def code_of(units: Units) -> str:
    """Write action units as coders do: `4B+L12C`, and `L12B+R12D` where the sides differ in their letters."""
    parts = []
    for name, (left, right) in units.items():
        number, most = name.removeprefix("AU"), max(left, right)
        if min(left, right) < 0.5 * most:
            parts.append(f"{'L' if left > right else 'R'}{number}{letter_of(most)}")
        elif letter_of(left) == letter_of(right):
            parts.append(f"{number}{letter_of(most)}")
        else:
            parts += [f"L{number}{letter_of(left)}", f"R{number}{letter_of(right)}"]
    return "+".join(parts)


def units_of(code: str) -> tuple[Units, tuple[str, ...]]:
    """Read a code; also return notes on what it does not say clearly."""
    units: Units = {}
    coded, notes = parse_action_units(code)
    for unit in coded:
        strength, (left, right) = strength_of(unit.intensity), units.get(f"AU{unit.number}", (0.0, 0.0))
        left = left if unit.side == "right" else max(left, strength)
        right = right if unit.side == "left" else max(right, strength)
        units[f"AU{unit.number}"] = (left, right)
    return units, notes


def write(path: str | os.PathLike, coding: Coding) -> None:
    """Write the events of a coding that nobody rejected."""
    rows: list[Iterable] = [COLUMNS]
    for event in coding.kept:
        times_s = [_number(each) for each in (event.onset_s, event.apex_s, event.offset_s)]
        named = [event.kind, event.label, _number(event.probability), code_of(event.action_units)]
        rows.append([coding.video, event.person, *times_s, *named])
    write_text(path, csv_text(rows))


def read(path: str | os.PathLike) -> Coding:
    """Read a score sheet; only onset, offset and code are needed."""
    rows = read_rows(path, ("onset_s", "offset_s", "facs"))
    videos = {row.get("video", "") for _, row in rows} or {""}
    if len(videos) > 1:
        raise ValueError(f"it is of {len(videos)} videos. Write one sheet for each.")
    events = tuple(_event(row, line) for line, row in rows)
    return Coding(video=videos.pop(), events=events)


def _event(row: dict[str, str], line: int) -> Event:
    try:
        onset_s, offset_s = finite(row["onset_s"], "onset_s"), finite(row["offset_s"], "offset_s")
        optional = ("apex_s", "probability")
        apex_s, likely = (finite(row[key], key) if row.get(key) else None for key in optional)
        units, notes = units_of(row["facs"])
        if notes:
            raise ValueError(f"facs {shown(row['facs'])}; expected codes such as 4B+L12C")
        label, person = (row.get("label") or "").strip(), finite(row.get("person") or "1", "person")
        kind = row.get("kind") or ""
        if kind in KINDS[:2] and abs(offset_s - onset_s - LONGEST_S) > FRAME_S:
            kind = ""  # times that a coder has changed decide
        return Event(onset_s, apex_s, offset_s, kind, label, likely, units, int(person))
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from error


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
