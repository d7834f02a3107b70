"""A user's own clips: a CSV table with one row per clip."""

import csv
import json
import re
from pathlib import Path

from ..annotations import Annotation, Findings
from ..sheets import frame_number, parse_action_units
from .base import Reader, emotion_of, frame_range

REQUIRED = ("path", "subject", "label")
OPTIONAL = ("onset", "apex", "offset", "fps", "action_units", "clip", "dataset", "video")


def read_class_map(pairs: list[str]) -> dict[str, str]:
    """Read `--class-map`: pairs `label=class`, or one JSON file that maps labels to classes."""
    if len(pairs) == 1 and "=" not in pairs[0]:
        try:
            return {label: str(name) for label, name in json.loads(Path(pairs[0]).read_text()).items()}
        except (OSError, ValueError, AttributeError) as error:
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
        csv (`Path`): A CSV file with the columns `path` (a video or a folder of numbered frames, relative to
            the table), `subject` and `label`; optionally `onset`, `apex` and `offset` (numbers in the frames'
            names; 0-based frames of a video), `fps`, `action_units` (such as `4+L12`), `clip`, `dataset` and
            `video` (the recording it was cut from).
        class_map (`dict[str, str]`, *optional*): Label -> class; other labels stay as they are.

    Returns:
        [`Findings`]: Clips whose files exist.

    Raises:
        ValueError: If a column is missing, a cell cannot be read, or no file exists.
    """
    rows = _read_rows(csv)
    findings = Findings(sheet=csv.name)
    unknown = sorted(set(rows[0]) - set(REQUIRED) - set(OPTIONAL) - {None})
    if unknown:
        findings.notes.append(f"columns that were not read: {', '.join(unknown)}")
    for number, row in enumerate(rows, start=2):
        cells = {name: (text or "").strip() for name, text in row.items() if name}
        if any(cells.values()):
            try:
                _add_row(findings, csv.parent, number, cells, class_map or {})
            except ValueError as error:
                raise ValueError(f"{csv}, line {number}: {error}") from error
    if not findings.annotations:
        why = f": {findings.excluded[0][0]} {findings.excluded[0][1]}" if findings.excluded else "."
        raise ValueError(f"{csv} leaves no clip{why}")
    return findings


def _read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a table that has all required columns."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason}). Save the table as CSV in UTF-8."
        ) from error
    missing = [name for name in REQUIRED if not rows or name not in rows[0]]
    if missing:
        columns = ", ".join(name for name in rows[0] if name) if rows else "no row"
        raise ValueError(f"{path} lacks the column {', '.join(missing)}; it has {columns}.")
    return rows


def _add_row(
    findings: Findings, folder: Path, number: int, cells: dict[str, str], class_map: dict[str, str]
) -> None:
    """Add the clip of a row, or exclude it with the reason."""
    for name in REQUIRED:
        if not cells[name]:
            raise ValueError(f"{name} is empty.")
    source, dataset = folder / cells["path"], cells.get("dataset") or "own"
    clip = cells.get("clip") or Path(cells["path"]).stem or str(number)
    phases = _phases(cells)
    try:
        if not source.exists():
            raise FileNotFoundError(f"there is no {source}")
        if source.is_dir() and None in (phases["onset"], phases["offset"]):
            # A folder without phases holds exactly one expression, as in SMIC.
            for name, number in zip(("onset", "offset"), frame_range(source), strict=True):
                phases[name] = number if phases[name] is None else phases[name]
    except (FileNotFoundError, ValueError) as error:
        findings.excluded.append((f"{dataset}/{cells['subject']}/{clip}", str(error)))
        return
    apex_source = "midpoint" if phases["apex"] is None else "annotated"
    if None in (phases["onset"], phases["offset"]):
        apex_source = "spotted"
    annotation = Annotation(
        dataset=dataset, subject=cells["subject"], clip=clip, folder=source,
        emotion=class_map.get(cells["label"], emotion_of(cells["label"])), apex_source=apex_source,
        action_units=parse_action_units(cells.get("action_units", ""))[0],
        video=f"{dataset}/{cells['video']}" if cells.get("video") else "", fps=_fps(cells), **phases,
    )  # fmt: skip
    findings.add(annotation)


def _phases(cells: dict[str, str]) -> dict[str, int | None]:
    """Read the phases of a row; None for an empty cell."""
    phases = {name: frame_number(cells.get(name, "")) for name in ("onset", "apex", "offset")}
    for name, number in phases.items():
        if number is None and cells.get(name):
            raise ValueError(f"{name} must be a frame number, got {cells[name]!r}.")
    return phases


def _fps(cells: dict[str, str]) -> float | None:
    """Read the frame rate of a row; None for an empty cell."""
    text = cells.get("fps")
    if not text:
        return None
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", text) or not float(text):
        raise ValueError(f"fps must be a number above 0, got {text!r}.")
    return float(text)


TABLE = Reader("table", "", read_user_table)
