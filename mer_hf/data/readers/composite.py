"""The composite of MEGC2019, defined by its official list: 442 clips of SMIC-HS, CASME II and SAMM."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from mer_hf.utils.untrusted import read_csv, read_text, separator

from ..annotations import Findings
from .base import Reader, existing, read_layout
from .sets import LAYOUTS
from .smic import clip_identity, read_smic

CLASSES = ("negative", "positive", "surprise")
NAMES = {"smic": "smic", "smichs": "smic", "casme2": "casme2", "casmeii": "casme2", "samm": "samm"}
FOLDERS = {
    "smic": ["smic", "SMIC-HS"], "casme2": ["casme2", "CASMEII", "CASME II"], "samm": ["samm"],
}  # fmt: skip
"""Dataset -> names of its folder, in any case."""
READ = {name: partial(read_layout, LAYOUTS[name]) for name in ("casme2", "samm")} | {"smic": read_smic}


def identity(dataset: str, subject: str, clip: str) -> tuple:
    """Return what identifies a clip: the list, the sheets and the folders pad numbers differently."""
    if dataset == "smic":
        return (dataset, *(clip_identity(clip) or (subject, clip)))
    digits = re.search(r"\d+", subject)
    return (dataset, int(digits[0]) if digits else -1, clip.strip().lower())


def read_list(path: Path) -> list[tuple[str, str, str, str]]:
    """Read the official list, with or without a header: dataset, subject, clip and class."""
    rows, text = [], read_text(path)
    for number, row in read_csv(path, separator(text), text):
        cells = [cell.strip() for cell in row]
        dataset = NAMES.get(re.sub(r"[^a-z0-9]", "", cells[0].lower())) if cells else None
        if number == 1 and dataset is None:
            continue
        if len(cells) < 4 or dataset is None or cells[3] not in ("0", "1", "2"):
            raise ValueError(
                f"{path}, line {number}: expected dataset, subject, clip, class 0 to 2, got {row}."
            )
        rows.append((dataset, cells[1], cells[2], CLASSES[int(cells[3])]))
    if not rows:
        raise ValueError(f"{path} lists no clip.")
    return rows


def _read_parts(root: Path, datasets: set[str]) -> list[Findings]:
    """Read the datasets below a root."""
    parts = []
    for dataset in sorted(datasets):
        folder = existing(root, FOLDERS[dataset])
        if folder is None:
            raise ValueError(f"--root {root} holds no folder {dataset}. Put or link the dataset there.")
        parts.append(READ[dataset](folder))
    return parts


def read_megc2019(root: Path, list_file: Path) -> Findings:
    """Read the datasets below `root` (folders or links `smic`, `casme2`, `samm`), keep what the list names.

    Classes are those of the list. Clips of the list that are missing in the datasets are excluded.
    """
    listed = read_list(list_file)
    parts = _read_parts(root, {row[0] for row in listed})
    found = [each for part in parts for each in part.annotations]
    annotations = {identity(each.dataset, each.subject, each.clip): each for each in found}
    reasons = {identity(*key.split("/")[:3]): reason for part in parts for key, reason in part.excluded}
    joined = Findings(sheet=list_file.name, notes=[note for part in parts for note in part.notes])
    seen: set[tuple] = set()
    for dataset, subject, clip, label in listed:
        clip_id, key = identity(dataset, subject, clip), f"{dataset}/{subject}/{clip}"
        if clip_id in seen:
            joined.excluded.append((key, "is in the list twice"))
        elif clip_id in annotations:
            joined.annotations.append(replace(annotations[clip_id], emotion=label))
        else:
            joined.excluded.append((key, reasons.get(clip_id, "is in the list, and not in the dataset")))
        seen.add(clip_id)
    keys = {each.key for each in joined.annotations}
    joined.fixed = [each for part in parts for each in part.fixed if each[0] in keys]
    return joined


MEGC2019 = Reader("megc2019", "MEGC2019 composite", read_megc2019, {"official list": 442})
