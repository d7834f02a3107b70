"""Annotation sheets and tables of own clips: absurd cells, encodings, archives that are none."""

import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import openpyxl

from .cases import EITHER, FOREIGN, REFUSED, SPECIAL, Case, damages

CASME2 = [
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
]
ROW = [1, "EP02_01f", None, 1, 3, 6, None, "12", "happiness"]
OWN = "path,subject,label,onset,apex,offset,fps,action_units"
OWN_ROW = "clip,p1,happiness,1,3,6,30,12"
CELLS: dict[str, Any] = {
    "text": "x", "empty": "", "minus one": -1, "1e300": "1e300", "nan": "nan", "inf": "inf", "half": 0.5,
    "5000 digits": "9" * 5000, "20 digits": "9" * 20, "NUL-like": "\x0b", "a path": "../../../etc/passwd",
    "an absolute path": "/etc", "other digits": "٣", "30000 signs": "s" * 30_000, "a formula": "=1/0",
    "a bell": "\x07", "a line break": "a\nb", "a glob": "*",
}  # fmt: skip
"""Name -> contents of one cell."""


def _tree(seeds: Path, root: Path) -> None:
    """The frames of one clip, as in CASME II and as a table of own clips names them."""
    clip = root / "Cropped_original" / "sub01" / "EP02_01f"
    clip.mkdir(parents=True)
    for number in range(6):
        shutil.copy(seeds / "frames" / f"img{number}.png", clip / f"reg_img{number + 1}.png")
    (root / "clip").symlink_to(clip)


def _prepare(seeds: Path, folder: Path, sheet: Path) -> list:
    _tree(seeds, folder)
    own = sheet.stem == "own"
    which = ["table", "--csv", sheet] if own else ["casme2", "--root", folder, "--sheet", sheet]
    return ["mer-hf", "prepare", *which, "--out", folder / "out", "--workers", 1]


def workbook(rows: list[list], change: Callable | None = None) -> bytes:
    book, file = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    if change:
        change(book.active)
    book.save(file)
    return file.getvalue()


def _sheet(seeds: Path, folder: Path, name: str, data: Callable[[], bytes]) -> list:
    path = folder / name
    path.write_bytes(data())
    return _prepare(seeds, folder, path)


def _own_cell(column: str, value: Any) -> bytes:
    names, cells = OWN.split(","), OWN_ROW.split(",")
    cells[names.index(column)] = f'"{value}"' if "\n" in str(value) else str(value)
    return f"{OWN}\n{','.join(cells)}\n".encode()


def _book_cell(column: int, value: Any) -> bytes:
    row = list(ROW)
    row[column] = value
    return workbook([CASME2, row])


def _far(cell: str) -> bytes:
    return workbook([CASME2, ROW], lambda sheet: sheet.__setitem__(cell, "far"))


def _repacked(change: Callable[[dict[str, bytes]], Any]) -> bytes:
    """A workbook whose members are changed."""
    with zipfile.ZipFile(io.BytesIO(workbook([CASME2, ROW]))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


SHEET = "xl/worksheets/sheet1.xml"
LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a "haha">'
    + b"".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">'.encode() for i in range(9))
    + b"]><s>&j;</s>"
)
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]><s>&a;</s>'


def _put(old: bytes, new: bytes) -> Callable[[dict[str, bytes]], Any]:
    return lambda members: members.update({SHEET: members[SHEET].replace(old, new)})


def _all(data: bytes) -> Callable[[dict[str, bytes]], Any]:
    return lambda members: members.update({SHEET: data})


REPACKED: dict[str, Callable[[dict[str, bytes]], Any]] = {
    "no sheet": lambda members: members.pop(SHEET),
    "no list of types": lambda members: members.pop("[Content_Types].xml"),
    "no book": lambda members: members.pop("xl/workbook.xml"),
    "entities of entities": _all(LAUGHS),
    "an entity of another file": _all(OUTSIDE),
    "no XML": _all(b"\x00\x01"),
    "cut XML": lambda members: members.update({SHEET: members[SHEET][:200]}),
    "nested XML": _all(b"<a>" * 50_000),
    "a row of number 1e30": _put(b'r="2"', b'r="1' + b"0" * 30 + b'"'),
    "a cell of no place": _put(b'r="A2"', b'r="2A2A"'),
    "a text that is not there": _put(b"<v>0</v>", b"<v>999999999</v>"),
    "dimensions of everything": _put(b'ref="A1:I2"', b'ref="A1:XFD1048576"'),
    "blanks of 300 MB": lambda members: members.update({SHEET: members[SHEET] + b" " * 300_000_000}),
}
HARMLESS = ("dimensions of everything", "a text that is not there", "blanks of 300 MB")
TEXTS: dict[str, Callable[[str], bytes]] = {
    "empty": lambda text: b"",
    "a header alone": lambda text: text.splitlines()[0].encode(),
    "no header": lambda text: text.splitlines()[1].encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "not UTF-8": lambda text: text.replace("p1", "é").encode("latin-1"),
    "another separator": lambda text: text.replace(",", "|").encode(),
    "a quote that does not end": lambda text: text.replace("p1", '"p1').encode(),
    "more cells": lambda text: (text.rstrip() + ",a,b,c\n").encode(),
    "fewer cells": lambda text: text.rsplit(",", 3)[0].encode(),
    "a column twice": lambda text: text.replace("fps", "path").encode(),
    "NUL": lambda text: text.replace("clip", "cl\0ip").encode(),
    "a line of 10 MB": lambda text: text.replace("p1", "s" * 10_000_000).encode(),
    "100000 columns": lambda text: ("," * 100_000 + text).encode(),
    "missing folder": lambda text: text.replace("clip", "elsewhere").encode(),
    "a folder without frames": lambda text: text.replace("clip", ".").encode(),
    "the table itself": lambda text: text.replace("clip", "own.csv").encode(),
    "the same clip twice": lambda text: (text + text.splitlines()[1] + "\n").encode(),
    "a binary": lambda text: FOREIGN["noise"],
}
EITHER_TEXTS = ("fewer cells", "the same clip twice", "not UTF-8", "more cells", "a line of 10 MB")


def _special(seeds: Path, folder: Path, name: str, make: Callable[[Path], Any]) -> list:
    make(folder / name)
    return _prepare(seeds, folder, folder / name)


def _damaged(damage: Callable[[bytes], bytes]) -> bytes:
    return damage(workbook([CASME2, ROW]))


def cases() -> Iterator[Case]:
    def case(kind: str, name: str, file: str, data: Callable[[], bytes], due: str = REFUSED) -> Case:
        return Case("sheets", kind, f"{file}: {name}", partial(_sheet, name=file, data=data), due)

    for kind, value in CELLS.items():
        column = list(CELLS).index(kind)
        names = OWN.split(",")
        for name in (names[column % 3], names[3 + column % 5]):
            yield case("cells", f"{name} {kind}", "own.csv", partial(_own_cell, name, value), EITHER)
        if value not in ("\x0b", "\x07"):  # no workbook can hold these
            for at in (0, (3, 4, 5)[column % 3]):
                yield case(
                    "cells", f"{CASME2[at]} {kind}", "book.xlsx", partial(_book_cell, at, value), EITHER
                )
    for name in OWN.split(",")[:3]:
        text = f"{OWN}\n{OWN_ROW}\n".replace(name, "other", 1)
        yield case("missing columns", name, "own.csv", partial(bytes, text.encode()))
    for at in (0, 1, 3, 5):
        head = [None if i == at else cell for i, cell in enumerate(CASME2)]
        yield case("missing columns", str(CASME2[at]), "book.xlsx", partial(workbook, [head, ROW]))
    for cell in ("XFD1048576", "XFD3", "A1048576", "ZZ100000"):
        yield case("far cells", cell, "book.xlsx", partial(_far, cell), EITHER)
    for kind, change in REPACKED.items():
        due = EITHER if kind in HARMLESS else REFUSED
        yield case("repacked", kind, "book.xlsx", partial(_repacked, change), due)
    for kind, change in TEXTS.items():
        for file in ("own.csv", "sheet.csv"):
            text = f"{OWN}\n{OWN_ROW}\n"
            due = EITHER if kind in EITHER_TEXTS and file == "own.csv" else REFUSED
            yield case("texts", kind, file, partial(change, text), due)
    for kind, data in FOREIGN.items():
        for file in ("own.csv", "book.xlsx", "book.xls", "book.ods"):
            if len(kind) % 2 or file == "book.xlsx":
                yield case("another kind", kind, file, partial(bytes, data))
    for kind, damage in damages(b"", few=2).items():
        due = REFUSED if "cut to" in kind else EITHER
        yield case("damaged", kind, "book.xlsx", partial(_damaged, damage), due)
    for kind, make in SPECIAL.items():
        for file in ("own.csv", "book.xlsx"):
            yield Case("sheets", "not a file", f"{file}: {kind}", partial(_special, name=file, make=make))
