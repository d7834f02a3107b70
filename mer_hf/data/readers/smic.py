"""SMIC-HS has no sheet: a clip's folder holds the micro-expression alone; there is no apex and no AU."""

import re
from pathlib import Path

from mer_hf.video.clip import numbered_frames

from ..annotations import Annotation, Findings
from .base import Reader, existing

CODES = {"ne": "negative", "po": "positive", "sur": "surprise"}
NAME = re.compile(r"^s(\d+)_([a-z]+)_(\d+)$", re.IGNORECASE)


def clip_identity(name: str) -> tuple[int, str, int] | None:
    """`s1_ne_01` or `s01_ne_01` -> (1, "ne", 1): lists and folders pad differently."""
    found = NAME.match(name.strip())
    return (int(found[1]), found[2].lower(), int(found[3])) if found else None


def read_smic(root: Path, sheet: Path | None, list_file: Path | None) -> Findings:
    """Read SMIC-HS from its folders: `HS/<subject>/micro/<emotion>/<clip>`.

    Args:
        root (`Path`): Holds `HS`, or `SMIC_all_cropped/HS`, or is `HS` itself.
        sheet (`Path`, *optional*): Not used: there is none.
        list_file (`Path`, *optional*): Not used.

    Returns:
        [`Findings`]: Onset is the first frame, offset the last, apex their middle.

    Raises:
        ValueError: In one line, if there is no such folder.
    """
    if not root.is_dir():
        raise ValueError(f"--root {root} is no folder. Give the folder of SMIC.")
    top = existing(root, ["HS", "SMIC_all_cropped/HS", "SMIC/HS"]) or (
        root if root.name.lower() == "hs" else None
    )
    if top is None:
        raise ValueError(f"{root} holds no folder HS. Give the folder of SMIC that holds it.")
    findings = Findings(notes=["SMIC annotates no apex: the middle frame is taken"], sheet="folders")
    for folder in sorted(top.glob("*/micro/*/*")):
        if not folder.is_dir():
            continue
        identity = clip_identity(folder.name)
        emotion = folder.parent.name.lower()
        subject = f"s{identity[0]:02d}" if identity else folder.parents[2].name
        key = f"smic/{subject}/{folder.name}"
        if identity is None or CODES.get(identity[1]) != emotion:
            findings.skipped.append((key, f"its name does not fit its folder {emotion}"))
            continue
        try:
            frames = numbered_frames(folder)
        except ValueError as error:
            findings.skipped.append((key, str(error)))
            continue
        if not frames:
            findings.skipped.append((key, f"{folder} holds no picture"))
            continue
        findings.add(
            Annotation(
                database="smic", subject=subject, clip=folder.name, folder=folder, emotion=emotion,
                onset=min(frames), apex=None, offset=max(frames), apex_source="midpoint", fps=100.0,
            )
        )  # fmt: skip
    if not findings.annotations:
        raise ValueError(f"{top} holds no clip (<subject>/micro/<emotion>/<clip>). Is it SMIC-HS?")
    return findings


SMIC = Reader("smic", "SMIC-HS", read_smic, {"paper": 164, "MEGC2019": 164}, 100.0)
