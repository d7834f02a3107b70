"""The composite of MEGC2019, driven by its official list: 442 clips of SMIC-HS, CASME II and SAMM."""

import csv
import re
from dataclasses import replace
from pathlib import Path

from ..annotations import Annotation, Findings
from .base import Reader, existing, read_layout
from .sets import CASME2_LAYOUT, SAMM_LAYOUT
from .smic import clip_identity, read_smic

CLASSES = ("negative", "positive", "surprise")
NAMES = {"smic": "smic", "smichs": "smic", "casme2": "casme2", "casmeii": "casme2", "samm": "samm"}
FOLDERS = {
    "smic": ["smic", "SMIC", "SMIC-HS"],
    "casme2": ["casme2", "CASME2", "CASMEII", "CASME II"],
    "samm": ["samm", "SAMM"],
}
ROW_LENGTH = 4


def _digits(text: str) -> int:
    found = re.search(r"\d+", text)
    return int(found[0]) if found else -1


def identity(database: str, subject: str, clip: str) -> tuple:
    """What names a clip whatever the padding: the list, the sheets and the folders pad differently."""
    if database == "smic":
        return (database, *(clip_identity(clip) or (subject, clip)))
    return (database, _digits(subject), clip.strip().lower())


def read_list(path: Path) -> list[tuple[str, str, str, str]]:
    """The official list: database, subject, clip and class, with or without a header.

    Raises:
        ValueError: In one line, if a row is no such row.
    """
    if not path.is_file():
        raise ValueError(f"--list {path} does not exist. Give the challenge's list of clips.")
    rows = []
    with open(path, newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            cells = [cell.strip() for cell in row]
            database = NAMES.get(re.sub(r"[^a-z0-9]", "", cells[0].lower())) if cells else None
            if number == 1 and database is None:
                continue
            if len(cells) < ROW_LENGTH or database is None or cells[3] not in ("0", "1", "2"):
                raise ValueError(
                    f"{path}, line {number}: expected database, subject, clip, class 0 to 2, got {row}."
                )
            rows.append((database, cells[1], cells[2], CLASSES[int(cells[3])]))
    if not rows:
        raise ValueError(f"{path} lists no clip.")
    return rows


def read_megc2019(root: Path, sheet: Path | None, list_file: Path | None) -> Findings:
    """Read the three data sets below a root and keep what the list names, with the list's classes.

    Args:
        root (`Path`): Holds folders (or links) `smic`, `casme2` and `samm`.
        sheet (`Path`, *optional*): Not used: each data set has its own.
        list_file (`Path`): The official list.

    Returns:
        [`Findings`]: Of the three data sets, with clips of the list that are missing under `skipped`.

    Raises:
        ValueError: In one line, if the list or a data set is missing.
    """
    if list_file is None:
        raise ValueError("the composite is defined by a list of clips. Give it with --list.")
    wanted = read_list(list_file)
    found: dict[tuple, Annotation] = {}
    reasons: dict[tuple, str] = {}
    joined = Findings(sheet=list_file.name)
    for database in sorted({row[0] for row in wanted}):
        place = existing(root, FOLDERS[database]) if root.is_dir() else None
        if place is None:
            raise ValueError(f"--root {root} holds no folder {database}. Put or link the data set there.")
        part = _read_part(database, place)
        named = {identity(*row[:3]) for row in wanted}
        keys = {each.key for each in part.annotations if identity(database, each.subject, each.clip) in named}
        found |= {identity(database, each.subject, each.clip): each for each in part.annotations}
        reasons |= {identity(*key.split("/")[:3]): reason for key, reason in part.skipped}
        joined.repaired += [each for each in part.repaired if each[0] in keys]
        joined.notes += part.notes
    taken: set[tuple] = set()
    for database, subject, clip, label in wanted:
        who = identity(database, subject, clip)
        key = f"{database}/{subject}/{clip}"
        if who in taken:
            joined.skipped.append((key, "is in the list twice"))
        elif who in found:
            joined.annotations.append(replace(found[who], emotion=label))
        else:
            joined.skipped.append((key, reasons.get(who, "is in the list, and not in the data set")))
        taken.add(who)
    return joined


def _read_part(database: str, place: Path) -> Findings:
    if database == "smic":
        return read_smic(place, None, None)
    return read_layout(CASME2_LAYOUT if database == "casme2" else SAMM_LAYOUT, place, None)


MEGC2019 = Reader("megc2019", "MEGC2019 composite", read_megc2019, {"official list": 442})
