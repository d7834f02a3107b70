"""The datasets that are annotated in one sheet: CASME, CASME II, SAMM, CAS(ME)^3, MMEW and 4DME.

Known mistakes are fixed by the clip's name, and only if the sheet still has them: versions differ.
"""

from dataclasses import replace
from functools import partial

from ..annotations import Annotation
from .base import Layout

COMMON = {
    "subject": ("Subject",),
    "clip": ("Filename",),
    "onset": ("OnsetFrame", "Onset Frame", "OnsetF", "Onset"),
    "apex": ("ApexFrame", "Apex Frame", "ApexF1", "Apex"),
    "offset": ("OffsetFrame", "Offset Frame", "OffsetF", "Offset"),
    "units": ("Action Units", "AUs", "AU"),
    "emotion": ("Estimated Emotion", "Emotion"),
    "objective": ("Objective Classes", "Objective class"),
}


def below(*tops: str, inner: str = "{subject}/{clip}"):
    """Return a function from a row's fields to the folders `top/inner`."""
    return lambda cells: [f"{top}/{inner}".format(**cells).removeprefix("./") for top in tops]


def two_digits(text: str) -> str:
    """Write a subject as `sub01`: `1`, `01` or `sub01`."""
    digits = "".join(letter for letter in text if letter.isdigit())
    return f"sub{int(digits):02d}" if digits else text


def three_digits(text: str) -> str:
    """Write a subject as `006`."""
    return text.zfill(3)


def _set_apex(apexes: dict[tuple[str, str], int], annotation: Annotation) -> tuple[Annotation, str]:
    """Set an apex that is wrong in some releases, if in this one it lies outside the clip."""
    apex = apexes.get((annotation.subject, annotation.clip))
    onset, offset = annotation.onset, annotation.offset
    if apex is None or onset is None or offset is None or not onset <= apex <= offset:
        return annotation, ""
    if annotation.apex is not None and onset <= annotation.apex <= offset:
        return annotation, ""
    fix = f"apex {annotation.apex} lies outside the clip: {apex}, as published"
    return replace(annotation, apex=apex), fix


CASME2_LAYOUT = Layout(
    name="casme2",
    sheets=(
        "CASME2-coding-updated*.xlsx",
        "CASME2-coding-2019*.xlsx",
        "CASME2-coding*.xlsx",
        "CASME2*coding*.xlsx",
        "CASME2*label*.xls*",
    ),
    columns=COMMON,
    folders=below("Cropped_original", "Cropped", "CASME2_RAW_selected", "CASME2-RAW", "."),
    subject=two_digits,
    fps=200.0,
)
CASME2 = CASME2_LAYOUT.reader(
    "CASME II", {"paper": 247, "sheet of 2014-05-08": 255, "sheet as updated by MEB": 256}
)

SAMM_LAYOUT = Layout(
    name="samm",
    sheets=("SAMM_Micro_FACS_Codes_v2.xlsx", "SAMM_Micro*.xlsx", "SAMM*.xlsx"),
    columns=COMMON,
    folders=below(".", "SAMM"),
    subject=three_digits,
    fix=partial(_set_apex, {("028", "028_4_1"): 1105, ("032", "032_3_1"): 4945, ("032", "032_3_2"): 5130}),
    fps=200.0,
    notes=("copies of the sheet disagree on the apex of 028_4_1 (1105, 1113 or 1124)",),
)
SAMM = SAMM_LAYOUT.reader("SAMM", {"sheet": 159, "MEGC2019": 133})


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


CASME3 = Layout(
    name="casme3",
    sheets=("cas(me)3_part_A_ME_label_JpgIndex_v2*", "cas(me)3_part_A_ME*", "*part_A*ME*label*"),
    columns=COMMON,
    folders=below("part_A", "ME_A", "Part_A_ME_clip/frame", ".", inner="{subject}/{clip}/color"),
    sheet="label",
    fix=_fix_casme3,
    with_onset=True,
    video=lambda subject, clip: f"{subject}/{clip.lower()}",
    fps=30.0,
    notes=(
        "three counts are published (943, 921, 860): name the sheet with every number",
        "labels follow the film as much as the face: compare with the film-letter baseline of the report",
    ),
).reader("CAS(ME)^3 part A", {"paper": 943, "first sheet": 921, "second sheet": 860})


def _mmew_folders(cells: dict[str, str]) -> list[str]:
    """Return the folders of a clip in both orders in use.

    `others` of the sheet is the folder `repression` in one of them.
    """
    emotion, subject = cells["emotion"].strip().lower(), f"S{cells['subject'].lstrip('Ss').zfill(2)}"
    emotions = [emotion, "repression"] if emotion in ("other", "others") else [emotion]
    folders = [f"{top}{folder}" for folder in emotions for top in ("", f"{subject}/")]
    return [f"{top}{folder}/{cells['clip']}" for top in ("Micro_Expression/", "") for folder in folders]


MMEW = Layout(
    name="mmew",
    sheets=("MMEW_Micro_Exp.xlsx", "MMEW*.xlsx"),
    columns=COMMON,
    folders=_mmew_folders,
    fps=90.0,
).reader("MMEW", {"paper": 300})

FOURDME_EMOTIONS = ("positive", "negative", "surprise", "repression", "others")


def _fourdme_emotion(row: dict[str, str]) -> str:
    """Return the emotion of a row; several are joined by a plus sign, which no scheme contains."""
    marked = [name for name in FOURDME_EMOTIONS if row.get(name, "").strip() in ("1", "1.0")]
    return "+".join(marked) or row.get("emotion", "")


FOURDME = Layout(
    name="4dme",
    sheets=("4DME_Labelling_Micro_release*.xlsx", "4DME*.xlsx"),
    columns=COMMON | {"subject": ("sub_ID",), "clip": ("fold_name",)},
    folders=below("gray_micro_crop", "gray_micro", "."),
    emotion=_fourdme_emotion,
    first_cell="sub_ID",
    notes=(
        "the release swaps the action units of two clips; the published correction names rows only, so it is "
        "not applied",
    ),
).reader("4DME", {"MEB": 267})

CASME = Layout(
    name="casme",
    sheets=("casme.xlsx", "CASME*.xls*", "casme*.csv"),
    columns=COMMON,
    folders=below("CASME_raw_selected", "."),
    subject=two_digits,
    fps=60.0,
).reader("CASME", {"paper": 195, "MEB": 189})
