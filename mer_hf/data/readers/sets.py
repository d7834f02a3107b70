"""The datasets that are annotated in one sheet: CASME, CASME II, SAMM, CAS(ME)^3, MMEW and 4DME.

Known mistakes are fixed by the clip's name, and only if the sheet still has them: versions differ.
"""

from dataclasses import replace
from pathlib import Path

import yaml

from ..annotations import Annotation
from .base import Layout

APEXES = {("028", "028_4_1"): 1105, ("032", "032_3_1"): 4945, ("032", "032_3_2"): 5130}
"""Subject and clip of SAMM -> the published apex, which is wrong in some releases of the sheet."""


def _fix_samm(annotation: Annotation) -> tuple[Annotation, str]:
    """Set an apex that lies outside the clip to the published one."""
    apex = APEXES.get((annotation.subject, annotation.clip))
    onset, offset = annotation.onset, annotation.offset
    if apex is None or onset is None or offset is None or not onset <= apex <= offset:
        return annotation, ""
    if annotation.apex is not None and onset <= annotation.apex <= offset:
        return annotation, ""
    fix = f"apex {annotation.apex} lies outside the clip: {apex}, as published"
    return replace(annotation, apex=apex), fix


def _fix_casme3(annotation: Annotation) -> tuple[Annotation, str]:
    """Fix impossible rows of the second sheet, each identified by its clip and its wrong number."""
    clip = (annotation.subject, annotation.clip.lower())
    onset, apex, offset = annotation.onset, annotation.apex, annotation.offset
    changes: dict[str, int] = {}
    if clip == ("spNO.149", "d") and apex == 83 and onset == 112:
        changes = {"apex": 123}
    elif clip == ("spNO.216", "d") and onset == 3647 and offset is not None and offset < 3647:
        changes = {"onset": 2647}
    elif clip == ("spNO.216", "e") and onset == 0:
        changes = {"onset": 1} | ({"apex": 1} if apex == 0 else {})
    elif clip == ("spNO.40", "e") and offset == 0 and onset is not None:
        later = [number for number in (1845, 2403) if number > max(onset, apex or 0)]
        changes = {"offset": later[0]} if later else {}
    elif offset == 3460 and onset is not None and max(onset, apex or 0) < 34:
        changes = {"offset": 34}
    fixes = [f"{name} {getattr(annotation, name)} cannot be: {value}" for name, value in changes.items()]
    return replace(annotation, **changes), ", ".join(fixes)


def _mmew_folders(cells: dict[str, str]) -> list[str]:
    """Return the folders of a clip in both orders in use.

    `others` of the sheet is the folder `repression` in one of them.
    """
    emotion, subject = cells["emotion"].strip().lower(), f"S{cells['subject'].lstrip('Ss').zfill(2)}"
    emotions = [emotion, "repression"] if emotion in ("other", "others") else [emotion]
    folders = [f"{top}{folder}" for folder in emotions for top in ("", f"{subject}/")]
    return [f"{top}{folder}/{cells['clip']}" for top in ("Micro_Expression/", "") for folder in folders]


FOURDME_EMOTIONS = ("positive", "negative", "surprise", "repression", "others")


def _fourdme_emotion(row: dict[str, str]) -> str:
    """Return the emotion of a row; several are joined by a plus sign, which no scheme contains."""
    marked = [name for name in FOURDME_EMOTIONS if row.get(name, "").strip() in ("1", "1.0")]
    return "+".join(marked) or row.get("emotion", "")


SPECIAL = {
    "samm": {"fix": _fix_samm},
    "casme3": {"fix": _fix_casme3},
    "mmew": {"find_folders": _mmew_folders},
    "4dme": {"emotion": _fourdme_emotion},
}


def read_layouts() -> dict[str, Layout]:
    """Read layouts.yaml."""
    content = yaml.safe_load((Path(__file__).parent / "layouts.yaml").read_text())
    layouts = {}
    for name, fields in content["layouts"].items():
        fields["columns"] = content["columns"] | fields.get("columns", {})
        layouts[name] = Layout(name=name, **fields, **SPECIAL.get(name, {}))
    return layouts


LAYOUTS = read_layouts()
