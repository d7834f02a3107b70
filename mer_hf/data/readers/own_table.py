"""A user's own clips: a CSV table with one row per clip."""

import os
import re
from collections import Counter
from itertools import zip_longest
from pathlib import Path

from mer_hf.labels import TO_COMPOSITE3, parse_action_units
from mer_hf.utils.untrusted import read_csv, read_json, read_text, separator

from ..annotations import PHASES, Annotation, Findings
from ..sheets import frame_number
from .base import Reader, emotion_of, frame_range

REQUIRED = ("path", "subject", "label")
OPTIONAL = (*PHASES, "fps", "action_units", "clip", "dataset", "video")
EMPTY = ("nan", "na", "n/a", "#n/a", "<na>", "null")
"""What programs write into an empty cell, in any case."""


def read_class_map(pairs: list[str]) -> dict[str, str]:
    """Read `--class-map`: pairs `label=class`, or one JSON file that maps labels to classes."""
    if len(pairs) == 1 and "=" not in pairs[0]:
        try:
            return read_json(Path(pairs[0]), dict[str, str])
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--class-map {pairs[0]} is not a JSON file of label: class ({error})."
            ) from error
    split = [pair.partition("=") for pair in pairs]
    if not all(label and name for label, _, name in split):
        raise ValueError(f"--class-map expects label=class, got {' '.join(pairs)}.")
    return {label: name for label, _, name in split}


def read_user_table(csv: Path, class_map: dict[str, str] | None = None) -> Findings:
    """Read a user's table.

    Args:
        csv (`Path`): A coding (see `docs/interchange.md`), or a folder of codings; or a CSV file with the
            columns `path` (a video or a folder of numbered frames, relative to the table), `subject` and
            `label`; optionally `onset`, `apex` and `offset` (numbers in the frames'
            names; 0-based frames of a video), `fps`, `action_units` (such as `4+L12`), `clip` (its name; by
            default the path), `dataset` and `video` (the recording it was cut from). Commas, semicolons or
            tabs separate the columns.
        class_map (`dict[str, str]`, *optional*): Label -> class; other labels stay as they are.

    Returns:
        [`Findings`]: Clips whose files exist.

    Raises:
        ValueError: If a column is missing, a cell cannot be read, or no file exists.
    """
    rows, class_map = _read_rows(csv), class_map or {}
    findings, unknown_labels = Findings(sheet=csv.name), Counter()
    unread = sorted(set(rows[0][1]) - set(REQUIRED) - set(OPTIONAL) - {None})
    if unread:
        findings.notes.append(f"columns that were not read: {', '.join(unread)}")
    for number, row in rows:
        cells = {name: _text(cell) for name, cell in row.items() if name}
        surplus = [text for text in row.get(None, ()) if text.strip()]
        if not any(cells.values()) and not surplus:
            continue
        if faults := _faults(cells, surplus):
            raise ValueError(f"{csv}, line {number}: {'; '.join(faults)}.")
        findings.add(*_annotation(csv.parent, cells, class_map))
        if cells["label"] not in class_map and emotion_of(cells["label"]) not in TO_COMPOSITE3:
            unknown_labels[cells["label"]] += 1
    if unknown_labels:
        labels = ", ".join(f"{label} ({count})" for label, count in unknown_labels.items())
        findings.notes.append(f"labels that are not known emotions: {labels}. --class-map gives them a class")
    if not findings.annotations:
        why = f": {findings.excluded[0][0]} {findings.excluded[0][1]}" if findings.excluded else "."
        raise ValueError(f"{csv} leaves no clip{why}")
    return findings


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a table that has all required columns, each with its line, or those of codings."""
    from mer_hf.interchange.coded_clips import coded_rows, is_coding  # which reads videos

    if path.exists() and is_coding(path):
        if rows := coded_rows(path):
            return list(enumerate(rows, 1))
        raise ValueError(f"{path} holds no expression. Code one, or name another file.")
    text = read_text(path)
    (_, header), *lines = [each for each in read_csv(path, separator(text), text) if each[1]] or [(0, [])]
    names = [name.strip().lower() for name in header]
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ValueError(
            f"{path} lacks the column {', '.join(missing)}; it has {', '.join(names) or 'no header'}. "
            "Separate columns by commas, semicolons or tabs."
        )
    if twice := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
        raise ValueError(f"{path} has the column {', '.join(twice)} more than once. Rename or remove one.")
    rows = [
        (number, dict(zip_longest(names, row[: len(names)])) | {None: row[len(names) :]})
        for number, row in lines
    ]
    if not rows:
        raise ValueError(f"{path} has no row below its header. Add a row for each clip.")
    return rows


def _text(cell: str | None) -> str:
    """Return the text of a cell, `""` for an empty one."""
    text = (cell or "").strip()
    return "" if text.lower() in EMPTY else text


def _faults(cells: dict[str, str], surplus: list[str]) -> list[str]:
    """Return what is wrong with the cells of a row."""
    faults = [f"{name} is empty" for name in REQUIRED if not cells[name]]
    if surplus:
        faults.append(f"it has more cells than the header: {', '.join(surplus)}")
    for name in PHASES:
        if cells.get(name) and frame_number(cells[name]) is None:
            faults.append(f"{name} must be a frame number, got {cells[name]!r}")
    if cells.get("fps") and not _fps(cells):
        faults.append(f"fps must be a number above 0, got {cells['fps']!r}")
    return faults


def _annotation(
    folder: Path, cells: dict[str, str], class_map: dict[str, str]
) -> tuple[Annotation, str, tuple[str, ...]]:
    """Return the clip of a row, why it cannot be used or `""`, and notes on its action units."""
    path, fault = cells["path"], ""
    if not (folder / path).exists():
        path = path.replace("\\", "/")  # as Windows writes it
    source, dataset = folder / path, cells.get("dataset") or "own"
    phases = {name: frame_number(cells.get(name, "")) for name in PHASES}
    given = [str(number) for number in phases.values() if number is not None]
    try:
        if not source.exists():
            raise FileNotFoundError(f"there is no {source}")
        if source.is_dir() and None in (phases["onset"], phases["offset"]):
            # A folder without phases holds exactly one expression, as in SMIC.
            for name, number in zip(("onset", "offset"), frame_range(source), strict=True):
                phases[name] = number if phases[name] is None else phases[name]
    except (FileNotFoundError, ValueError) as error:
        fault = str(error)
    apex_source = "midpoint" if phases["apex"] is None else "annotated"
    if None in (phases["onset"], phases["offset"]):
        apex_source = "spotted"
    units, notes = parse_action_units(cells.get("action_units", ""))
    annotation = Annotation(
        dataset=dataset, subject=cells["subject"], folder=source, apex_source=apex_source,
        clip=cells.get("clip") or Path(os.path.normpath(path)).as_posix().lstrip("/"),
        emotion=class_map.get(cells["label"], emotion_of(cells["label"])), action_units=units,
        video=f"{dataset}/{cells['video']}" if cells.get("video") else "", fps=_fps(cells), **phases,
        suffix="-".join(given),
    )  # fmt: skip
    return annotation, fault, notes


def _fps(cells: dict[str, str]) -> float | None:
    """Read the frame rate of a row, with a point or a comma; None for an empty cell and other text."""
    text = cells.get("fps", "").replace(",", ".")
    return float(text) or None if re.fullmatch(r"\d+(\.\d*)?|\.\d+", text) else None


TABLE = Reader("table", "", read_user_table)
