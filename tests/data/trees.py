"""Imitations of the data sets' folders and sheets, with their quirks; pictures are grey or a test face."""

from pathlib import Path

import cv2
import numpy as np
import openpyxl

from tests.moving_face import brow_raise, raised_cosine, render, smile


def picture(path: Path, frame: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8, 3), 128, np.uint8) if frame is None else frame[..., ::-1])


def numbered(folder: Path, first: int, last: int, name: str = "img{}.jpg", without=()) -> None:
    for number in range(first, last + 1):
        if number not in without:
            picture(folder / name.format(number))


def face_frames(count: int, field=smile) -> np.ndarray:
    """A photographed face that shows one expression, `(count, H, W, 3)`."""
    still = np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (count, 1, 1))
    amplitude = raised_cosine(count, 0, count // 2, count - 1) * 1.5
    return render(still, fields=[(amplitude, field)], size_wh=(360, 330))[0].frames


def face_folder(folder: Path, first: int, count: int, name: str = "img{}.jpg", field=smile) -> None:
    for i, frame in enumerate(face_frames(count, field)):
        picture(folder / name.format(first + i), frame)


def workbook(path: Path, rows: list[list], sheets: dict[str, list[list]] | None = None) -> None:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for title, more in (sheets or {}).items():
        sheet = book.create_sheet(title)
        for row in more:
            sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


CASME2_HEAD = [
    "Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units",
    "Estimated Emotion",
]  # fmt: skip


def casme2(root: Path, rows: list | None = None) -> Path:
    rows = rows or [
        (1, "EP02_01f", 46, 59, 86, "12", "happiness"),
        (4, "EP12_01f", 261, "/", 321, "4+L10", "disgust"),  # no apex
        (5, "EP09_05f", 69, 69, 110, "?", "disgust"),  # no motion
        (17, "EP01_2", 9, 12, 20, 4, "repression"),  # a number as action unit; 9 sorts before 12
        (26, "EP09f", 5, 40, 30, "R6+R12", "others"),  # apex behind the offset
        (26, "EP18_50", 90, 95, 91 - 2, "1", "surprise"),  # ends before it begins
        (27, "EP01_01", 1, 2, 9, "1", "surprise"),  # its folder is missing
    ]
    cells = [[s, f, None, a, b, c, None, u, e] for s, f, a, b, c, u, e in rows]
    workbook(root / "CASME2-coding-20140508.xlsx", [CASME2_HEAD, *cells])
    for subject, clip, onset, _, offset, *_ in rows[:-1]:
        numbered(
            root / "Cropped_original" / f"sub{subject:02d}" / clip, onset, max(onset, offset), "reg_img{}.jpg"
        )
    return root


SAMM_HEAD = [
    "Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration",
    "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes",
]  # fmt: skip


def samm(root: Path, preamble: int = 13) -> Path:
    rows = [
        ("006", "006_1_2", 5562, 5588, 5632, "(R6 or R12) + R15", "Happiness", 2),
        ("011", "011_1_1", 10, 20, 40, "A14C", "Other", 7),
        ("028", "028_4_1", 1082, 1200, 1149, "14", "Contempt", 7),  # apex outside, a better one is published
        ("032", "032_3_1", 4900, 4920, 4990, "10A/B", "Disgust", 4),  # apex inside: it stays
    ]
    sheet = [["SAMM micro-movements"]] * preamble + [SAMM_HEAD]
    sheet += [[s, f, 1, a, b, c, c - a, "Micro - 1/2", u, e, o, ""] for s, f, a, b, c, u, e, o in rows]
    workbook(root / "SAMM_Micro_FACS_Codes_v2.xlsx", sheet)
    for subject, clip, onset, _, offset, *_ in rows:
        numbered(root / subject / clip, onset, offset, f"{subject}_{{:05d}}.jpg")
    return root


def smic(root: Path) -> Path:
    for subject, emotion, clip, first, last in (
        (1, "negative", "s1_ne_01", 17581039, 17581049),
        (1, "positive", "s1_po_12", 100, 120),
        (20, "surprise", "s20_sur_03", 5, 9),
        (20, "surprise", "s20_ne_09", 5, 9),  # in the wrong folder
    ):
        numbered(root / "HS" / f"s{subject}" / "micro" / emotion / clip, first, last, "image{}.bmp")
    return root


CASME3_HEAD = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]


def casme3(root: Path) -> Path:
    rows = [
        ("spNO.1", "a", 10, 15, 30, "4", 3, "disgust"),
        ("spNO.1", "a", 50, 55, 60, "R12", 1, "happy"),  # the same video again
        ("spNO.3", "J", 5, 9, 14, "1+2", 2, "surprise"),  # a capital letter
        ("spNO.149", "d", 112, 83, 130, "4", 3, "fear"),  # apex before onset
        ("spNO.216", "e", 0, 0, 12, "4", 3, "Others"),  # there is no 0.jpg
        ("spNO.40", "e", 1830, 1838, 0, "4", 3, "others"),  # no offset
        ("spNO.3", "j", 10, 15, 3460, "4", 3, "disgust"),  # two digits too many
        ("spNO.3", "j", 15, 17, 3999, "4", 3, "disgust"),  # two minutes
    ]
    workbook(root / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", [CASME3_HEAD, *map(list, rows)])
    for subject, letter, first, last in (
        ("spNO.1", "a", 1, 70), ("spNO.3", "j", 1, 20), ("spNO.149", "d", 100, 135), ("spNO.216", "e", 1, 14),
        ("spNO.40", "e", 1825, 1850),
    ):  # fmt: skip
        numbered(root / "part_A" / subject / letter / "color", first, last, "{}.jpg")
    return root


def mmew(root: Path) -> Path:
    head = [
        "Subject",
        "Filename",
        "OnsetFrame",
        "ApexFrame",
        "OffsetFrame",
        "Action Units",
        "Estimated Emotion",
        "remarks",
    ]
    rows = [(1, "S01-001-001", 1, 20, 8, "12", "happiness"), (3, "S03-01-002", 1, 5, 9, "4", "others")]
    workbook(root / "MMEW_Micro_Exp.xlsx", [head, *[[*row, ""] for row in rows]])
    numbered(root / "Micro_Expression" / "happiness" / "S01-001-001", 1, 9, "{}.jpg")
    numbered(root / "S03" / "repression" / "S03-01-002", 1, 9, "{}.jpg")
    return root


def fourdme(root: Path) -> Path:
    head = ["sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs", "AU1"]
    head += ["Positive", "Negative", "Surprise", "Repression", "Others"]
    rows = [
        ("Sub01", "clip1", "x", 1, 4, 9, "AU4+AU7(k)", 0, 0, 1, 0, 0, 0),
        ("Sub02", "clip2", "x", 1, 4, 9, "1", 1, 0, 1, 1, 0, 0),  # two emotions
    ]
    workbook(root / "4DME_Labelling_Micro_release v1.xlsx", [head, *map(list, rows)])
    for subject, clip, *_ in rows:
        numbered(root / "gray_micro_crop" / subject / clip, 1, 9, "{}.jpg")
    return root


def casme(root: Path) -> Path:
    head = ["Emotion", "Subject", "Filename", "OnsetF", "ApexF1", "ApexF2", "OffsetF", "AU", None, None]
    rows = [
        ("Tense", 1, "EP01_5", 3, 9, 0, 20, "4", None, None),
        ("sadness", 2, "EP02", 9, 5, 0, 20, "15", None, None),
    ]
    workbook(root / "casme.xlsx", [head, *map(list, rows)])
    for _, subject, clip, first, *_ in rows:
        numbered(root / "CASME_raw_selected" / f"sub{subject:02d}" / clip, first, 20, f"{clip}-{{:03d}}.jpg")
    return root


def composite(root: Path) -> tuple[Path, Path]:
    casme2(root / "casme2")
    samm(root / "samm")
    smic(root / "smic")
    lines = ["casme2,sub01,EP02_01f,1", "samm,6,006_1_2,1", "smic,s01,s01_ne_01,0", "smic,s20,s20_sur_03,2"]
    lines += ["smic,s02,s02_sur_05,2", "casme2,26,EP18_50,0", "samm,006,006_1_2,0"]
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root, root / "list.csv"


FIELDS = {"smile": smile, "brows": brow_raise}
