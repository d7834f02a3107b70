"""Annotation sheets: rows as text, frame numbers, and the notation in which coders write action units."""

import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

UNIT = re.compile(r"^(AU|AD)?\s*([LRATB]?)\s*(\d{1,2})\s*([A-E]?)$", re.IGNORECASE)
SIDES = {"L": "left", "R": "right", "A": "asymmetric", "T": "top", "B": "bottom", "": ""}


@dataclass(frozen=True)
class CodedUnit:
    """An action unit as a person coded it.

    Attributes:
        number (`int`): In the Facial Action Coding System; above 46, head and eye positions and others.
        side (`str`): `left`, `right`, `asymmetric`, `top`, `bottom` or `""`.
        intensity (`str`): `A` to `E`, or `""`.
    """

    number: int
    side: str = ""
    intensity: str = ""


def separator(text: str, column: str = "") -> str:
    """Return what separates the columns of a CSV text: comma, semicolon or tab, the commonest in its header.

    The header is the first line that holds `column`, in any case.
    """
    header = next((line for line in text.splitlines() if column.lower() in line.lower()), "")
    return max(",;\t", key=header.count)


def read_sheet(path: Path, first_cell: str = "Subject", sheet: str = "") -> list[dict[str, str]]:
    """Return the rows below the header, as lower-case column name -> stripped text.

    The header is the first row with `first_cell` (in any case) among its first three cells: some sheets have
    a preamble. In a workbook the sheet called `sheet` is read, or the first one if none has that name.
    """
    rows = [[str(cell).strip() for cell in row] for row in _read_cells(path, first_cell, sheet)]
    for at, row in enumerate(rows):
        names = [name.lower() for name in row]
        if first_cell.lower() in names[:3]:
            below = [zip(names, cells, strict=True) for cells in rows[at + 1 :] if any(cells)]
            return [{name: text for name, text in pairs if name} for pairs in below]
    raise ValueError(f"{path} has no header row with the cell {first_cell!r}. Is it the annotation sheet?")


def _read_cells(path: Path, first_cell: str, sheet: str):
    """Read a workbook or CSV file as an array of text."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "reading annotation sheets needs pandas. Run pip install 'mer_hf[train]'."
        ) from error
    options = {"header": None, "dtype": str, "keep_default_na": False}
    try:
        if path.suffix.lower() == ".csv":
            text = path.read_text(encoding="utf-8-sig")
            return pandas.read_csv(StringIO(text), sep=separator(text, first_cell), **options).to_numpy()
        with pandas.ExcelFile(path) as book:
            name = sheet if sheet in book.sheet_names else 0
            return pandas.read_excel(book, sheet_name=name, **options).to_numpy()
    except Exception as error:  # openpyxl and xlrd raise exceptions of every kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read as a sheet ({reason}).") from error


def frame_number(text: str) -> int | None:
    """Read a frame number as sheets write it (`46`, `46.0`); None for `/`, text and an empty cell."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value >= 0 and value.is_integer() else None


def parse_action_units(text: str) -> tuple[tuple[CodedUnit, ...], tuple[str, ...]]:
    """Read coded action units, such as `4+L10`, `(R6 or R12) + R15`, `A14C`, `10A/B`, `AD38` or `?`.

    Returns the units in the order in which they are written, each once, and notes on what is ambiguous: the
    first of several alternatives is taken; action descriptors (AD) and anything else are excluded.
    """
    units: list[CodedUnit] = []
    notes: list[str] = []
    # A full-width comma occurs in published sheets.
    for part in re.split(r"[+,;\uff0c]", text):
        part = part.strip()
        if not part or part == "?":
            continue
        choices = list(filter(None, re.split(r"\bor\b|/", part.strip("() "), flags=re.IGNORECASE)))
        if len(choices) > 1:
            notes.append(f"{part}: took {choices[0].strip()}")
        # A cell that holds one number may be read as 4.0.
        match = UNIT.match(choices[0].strip("() ").removesuffix(".0") if choices else "")
        if not match or (match[1] or "").upper() == "AD":
            notes.append(f"excluded {part}")
            continue
        unit = CodedUnit(int(match[3]), SIDES[match[2].upper()], match[4].upper())
        if unit not in units:
            units.append(unit)
    return tuple(units), tuple(notes)
