"""SMIC-HS has no sheet: a clip's folder holds only the micro-expression, without apex and action units."""

import re
from pathlib import Path

from ..annotations import Annotation, Findings
from .base import Reader, existing, frame_range

CODES = {"ne": "negative", "po": "positive", "sur": "surprise"}
NAME = re.compile(r"^s(\d+)_([a-z]+)_(\d+)$", re.IGNORECASE)


def clip_identity(name: str) -> tuple[int, str, int] | None:
    """Split `s1_ne_01` or `s01_ne_01` into (1, "ne", 1): lists and folders pad numbers differently."""
    match = NAME.match(name.strip())
    return (int(match[1]), match[2].lower(), int(match[3])) if match else None


def read_smic(root: Path) -> Findings:
    """Read SMIC-HS from its folders, `HS/<subject>/micro/<emotion>/<clip>`.

    The onset is the first frame, the offset the last, the apex their middle.
    """
    top = existing(root, ["HS", "SMIC_all_cropped/HS", "SMIC/HS"])
    if top is None and root.name.lower() != "hs":
        raise ValueError(f"{root} holds no folder HS. Give the folder of SMIC that holds it.")
    top = top or root
    findings = Findings(notes=["SMIC annotates no apex: the middle frame is taken"], sheet="folders")
    for folder in sorted(top.glob("*/micro/*/*")):
        if folder.is_dir():
            _add_clip(folder, findings)
    if not findings.annotations:
        raise ValueError(f"{top} holds no clip (<subject>/micro/<emotion>/<clip>). Is it SMIC-HS?")
    return findings


def _add_clip(folder: Path, findings: Findings) -> None:
    """Add the clip in a folder, or exclude it with the reason."""
    identity, emotion = clip_identity(folder.name), folder.parent.name.lower()
    subject = f"s{identity[0]:02d}" if identity else folder.parents[2].name
    key = f"smic/{subject}/{folder.name}"
    try:
        if identity is None or CODES.get(identity[1]) != emotion:
            raise ValueError(f"its name does not fit its folder {emotion}")
        onset, offset = frame_range(folder)
    except ValueError as error:
        findings.excluded.append((key, str(error)))
        return
    findings.add(
        Annotation(
            dataset="smic", subject=subject, clip=folder.name, folder=folder, emotion=emotion,
            onset=onset, apex=None, offset=offset, apex_source="midpoint", fps=100.0,
        )
    )  # fmt: skip


SMIC = Reader("smic", "SMIC-HS", read_smic, {"paper": 164, "MEGC2019": 164})
