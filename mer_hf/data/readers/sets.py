"""The data sets whose clips stand in one sheet: CASME, CASME II, SAMM, CAS(ME)^3, MMEW and 4DME.

Known faults are mended by the clip's name, and only where the sheet still has the fault: versions differ.
"""

from dataclasses import replace
from functools import partial

from ..annotations import Annotation
from .base import Layout, Reader, read_layout

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


def two_digits(text: str) -> str:
    """`1`, `01` or `sub01` -> `sub01`."""
    digits = "".join(letter for letter in text if letter.isdigit())
    return f"sub{int(digits):02d}" if digits else text


def three_digits(text: str) -> str:
    """`6` -> `006`."""
    return text.zfill(3)


def _reader(layout: Layout, title: str, published: dict[str, int]) -> Reader:
    def read(root, sheet, _):
        return read_layout(layout, root, sheet)

    return Reader(layout.name, title, read, published, layout.fps)


def _set_apex(apexes: dict[tuple[str, str], int], annotation: Annotation) -> tuple[Annotation, str]:
    """An apex that is known to be wrong in some releases, if it lies outside the clip in this one."""
    apex = apexes.get((annotation.subject, annotation.clip))
    onset, offset = annotation.onset, annotation.offset
    wrong = apex is not None and None not in (onset, offset) and onset <= apex <= offset
    wrong = wrong and (annotation.apex is None or not onset <= annotation.apex <= offset)
    if not wrong:
        return annotation, ""
    return replace(
        annotation, apex=apex
    ), f"apex {annotation.apex} lies outside the clip: {apex}, as published"


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
    folders=lambda cells: [
        f"{top}/{cells['subject']}/{cells['clip']}"
        for top in ("Cropped_original", "Cropped", "CASME2_RAW_selected", "CASME2-RAW", ".")
    ],
    subject=two_digits,
    fps=200.0,
)
CASME2 = _reader(
    CASME2_LAYOUT, "CASME II", {"paper": 247, "sheet of 2014-05-08": 255, "sheet as updated by MEB": 256}
)

SAMM_LAYOUT = Layout(
    name="samm",
    sheets=("SAMM_Micro_FACS_Codes_v2.xlsx", "SAMM_Micro*.xlsx", "SAMM*.xlsx"),
    columns=COMMON,
    folders=lambda cells: [f"{cells['subject']}/{cells['clip']}", f"SAMM/{cells['subject']}/{cells['clip']}"],
    subject=three_digits,
    mend=partial(_set_apex, {("028", "028_4_1"): 1105, ("032", "032_3_1"): 4945, ("032", "032_3_2"): 5130}),
    fps=200.0,
    notes=("copies of the sheet disagree on the apex of 028_4_1 (1105, 1113 or 1124)",),
)
SAMM = _reader(SAMM_LAYOUT, "SAMM", {"sheet": 159, "MEGC2019": 133})


def _mend_casme3(annotation: Annotation) -> tuple[Annotation, str]:
    """Rows of the second sheet that cannot be, each told by its clip and its wrong number."""
    who = (annotation.subject, annotation.clip.lower())
    onset, apex, offset = annotation.onset, annotation.apex, annotation.offset
    changes: dict[str, int] = {}
    if who == ("spNO.149", "d") and apex == 83 and onset == 112:
        changes = {"apex": 123}
    elif who == ("spNO.216", "d") and onset == 3647 and offset is not None and offset < 3647:
        changes = {"onset": 2647}
    elif who == ("spNO.216", "e") and onset == 0:
        changes = {"onset": 1} | ({"apex": 1} if apex == 0 else {})
    elif who == ("spNO.40", "e") and offset == 0 and onset is not None:
        later = [number for number in (1845, 2403) if number > max(onset, apex or 0)]
        changes = {"offset": later[0]} if later else {}
    elif offset == 3460 and onset is not None and max(onset, apex or 0) < 34:
        changes = {"offset": 34}
    if not changes:
        return annotation, ""
    said = ", ".join(
        f"{name} {getattr(annotation, name)} cannot be: {value}" for name, value in changes.items()
    )
    return replace(annotation, **changes), said


CASME3_LAYOUT = Layout(
    name="casme3",
    sheets=("cas(me)3_part_A_ME_label_JpgIndex_v2*", "cas(me)3_part_A_ME*", "*part_A*ME*label*"),
    columns=COMMON,
    folders=lambda cells: [
        f"{top}/{cells['subject']}/{cells['clip']}/color"
        for top in ("part_A", "ME_A", "Part_A_ME_clip/frame", ".")
    ],
    sheet="label",
    mend=_mend_casme3,
    with_onset=True,
    video=lambda subject, clip: f"{subject}/{clip.lower()}",
    fps=30.0,
    notes=(
        "three counts are published (943, 921, 860): name the sheet with every number",
        "labels follow the film as much as the face: compare with the film-letter baseline of the report",
    ),
)
CASME3 = _reader(CASME3_LAYOUT, "CAS(ME)^3 part A", {"paper": 943, "first sheet": 921, "second sheet": 860})

MMEW_LAYOUT = Layout(
    name="mmew",
    sheets=("MMEW_Micro_Exp.xlsx", "MMEW*.xlsx"),
    columns=COMMON,
    # The site documents one order of folders, others use another; `others` of the sheet is the folder
    # `repression` in one of them.
    folders=lambda cells: [
        f"{top}/{inner}"
        for top in ("Micro_Expression", ".")
        for emotion in _mmew_folders(cells["emotion"])
        for inner in (f"{emotion}/{cells['clip']}", f"{_mmew_person(cells)}/{emotion}/{cells['clip']}")
    ],
    fps=90.0,
)
MMEW = _reader(MMEW_LAYOUT, "MMEW", {"paper": 300})


def _mmew_person(cells: dict[str, str]) -> str:
    return f"S{cells['subject'].lstrip('Ss').zfill(2)}"


def _mmew_folders(emotion: str) -> list[str]:
    plain = emotion.strip().lower()
    return [plain, "repression"] if plain in ("other", "others") else [plain]


FOURDME_EMOTIONS = ("positive", "negative", "surprise", "repression", "others")


def _fourdme_emotion(row: dict[str, str]) -> str:
    """The emotion of a row; several that are marked are joined by a plus sign, which is in no scheme."""
    marked = [name for name in FOURDME_EMOTIONS if row.get(name, "").strip() in ("1", "1.0")]
    return "+".join(marked) or row.get("emotion", "")


FOURDME_LAYOUT = Layout(
    name="4dme",
    sheets=("4DME_Labelling_Micro_release*.xlsx", "4DME*.xlsx"),
    columns=COMMON | {"subject": ("sub_ID",), "clip": ("fold_name",)},
    folders=lambda cells: [
        f"{top}/{cells['subject']}/{cells['clip']}" for top in ("gray_micro_crop", "gray_micro", ".")
    ],
    emotion=_fourdme_emotion,
    first_cell="sub_ID",
    notes=(
        "the release swaps the action units of two clips; the published correction names rows only, so it is "
        "not applied",
    ),
)
FOURDME = _reader(FOURDME_LAYOUT, "4DME", {"MEB": 267})

CASME_LAYOUT = Layout(
    name="casme",
    sheets=("casme.xlsx", "CASME*.xls*", "casme*.csv"),
    columns=COMMON,
    folders=lambda cells: [
        f"{top}/{cells['subject']}/{cells['clip']}" for top in ("CASME_raw_selected", ".")
    ],
    subject=two_digits,
    fps=60.0,
)
CASME = _reader(CASME_LAYOUT, "CASME", {"paper": 195, "MEB": 189})
