"""A user's own clips: a CSV with one row per clip, which is all that most laboratories have."""

import csv
import json
from pathlib import Path

from mer_hf.video.clip import numbered_frames

from .annotations import Annotation, Findings
from .readers.base import emotion_of
from .sheets import frame_number, parse_action_units

REQUIRED = ("path", "subject", "label")
OPTIONAL = ("onset", "apex", "offset", "fps", "action_units", "clip", "dataset", "video")


def read_class_map(pairs: list[str]) -> dict[str, str]:
    """`--class-map`: pairs `label=class`, or one JSON file that maps labels to classes.

    Raises:
        ValueError: In one line, if it is neither.
    """
    if len(pairs) == 1 and "=" not in pairs[0]:
        try:
            found = json.loads(Path(pairs[0]).read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"--class-map {pairs[0]} is no JSON file of label: class ({error}).") from error
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise ValueError(f"--class-map {pairs[0]} must map each label to the name of a class.")
        return {str(label): value for label, value in found.items()}
    split = [pair.partition("=") for pair in pairs]
    if any(not label or not equals or not value for label, equals, value in split):
        raise ValueError(f"--class-map expects label=class, got {' '.join(pairs)}.")
    return {label: value for label, _, value in split}


def read_user_table(path: Path, class_map: dict[str, str] | None = None) -> Findings:
    """Read a user's table.

    Args:
        path (`Path`): A CSV with the columns `path` (a video or a folder of numbered frames, relative to the
            table), `subject` and `label`; optionally `onset`, `apex` and `offset` (numbers in the frames'
            names; 0-based frames of a video), `fps`, `action_units` (such as `4+L12`), `clip`, `dataset` and
            `video` (the recording it was cut from).
        class_map (`dict[str, str]`, *optional*): Label -> class; other labels stay as they are.

    Returns:
        [`Findings`]: Clips whose files are there.

    Raises:
        ValueError: In one line, if a column is missing, a cell cannot be read, or no file is there.
    """
    if not path.is_file():
        raise ValueError(f"--csv {path} does not exist.")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason}). Save the table as CSV in UTF-8."
        ) from error
    missing = [name for name in REQUIRED if not rows or name not in rows[0]]
    if missing:
        have = ", ".join(name for name in rows[0] if name) if rows else "no row"
        raise ValueError(f"{path} lacks the column {', '.join(missing)}; it has {have}.")
    unknown = sorted(set(rows[0]) - set(REQUIRED) - set(OPTIONAL) - {None})
    findings = Findings(
        sheet=path.name, notes=[f"columns that were not read: {', '.join(unknown)}"] if unknown else []
    )
    for number, row in enumerate(rows, start=2):
        _add(
            findings,
            path,
            number,
            {name: (text or "").strip() for name, text in row.items() if name},
            class_map or {},
        )
    if not findings.annotations:
        why = f": {findings.skipped[0][0]} {findings.skipped[0][1]}" if findings.skipped else "."
        raise ValueError(f"{path} leaves no clip{why}")
    return findings


def _add(findings: Findings, path: Path, number: int, row: dict[str, str], class_map: dict[str, str]) -> None:
    """One row of a user's table."""
    if not any(row.values()):
        return
    for name in REQUIRED:
        if not row[name]:
            raise ValueError(f"{path}, line {number}: {name} is empty.")
    source = path.parent / row["path"]
    database = row.get("dataset") or "own"
    clip = row.get("clip") or Path(row["path"]).stem or str(number)
    key = f"{database}/{row['subject']}/{clip}"
    if not source.exists():
        findings.skipped.append((key, f"there is no {source}"))
        return
    numbers = {}
    for name in ("onset", "apex", "offset"):
        numbers[name] = frame_number(row.get(name, ""))
        if row.get(name) and numbers[name] is None:
            raise ValueError(f"{path}, line {number}: {name} must be a frame number, got {row[name]!r}.")
    if source.is_dir() and None in (numbers["onset"], numbers["offset"]):
        try:
            frames = numbered_frames(source)
        except ValueError as error:
            findings.skipped.append((key, str(error)))
            return
        if not frames:
            findings.skipped.append((key, f"{source} holds no numbered picture"))
            return
        # Like SMIC: a folder that says nothing else holds the expression and nothing more.
        numbers["onset"] = min(frames) if numbers["onset"] is None else numbers["onset"]
        numbers["offset"] = max(frames) if numbers["offset"] is None else numbers["offset"]
    fps = row.get("fps", "")
    try:
        rate = float(fps) if fps else None
    except ValueError:
        rate = -1.0
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"{path}, line {number}: fps must be a number above 0, got {fps!r}.")
    given_apex = numbers["apex"] is not None
    annotation = Annotation(
        database=database, subject=row["subject"], clip=clip, folder=source,
        emotion=class_map.get(row["label"], emotion_of(row["label"])),
        apex_source="annotated" if given_apex else "midpoint",
        action_units=parse_action_units(row.get("action_units", ""))[0],
        video=f"{database}/{row['video']}" if row.get("video") else "", fps=rate, **numbers,
    )  # fmt: skip
    if source.is_dir() or None not in (numbers["onset"], numbers["offset"]):
        findings.add(annotation)
    else:
        findings.add_unspotted(annotation)
