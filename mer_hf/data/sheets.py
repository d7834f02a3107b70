"""Annotation sheets: rows as text, frame numbers, and the grammar in which coders write action units."""

import re
from dataclasses import dataclass
from pathlib import Path

UNIT = re.compile(r"^(AU|AD)?\s*([LRATB]?)\s*(\d{1,2})\s*([A-E]?)$", re.IGNORECASE)
SIDES = {"L": "left", "R": "right", "A": "asymmetric", "T": "top", "B": "bottom", "": ""}


@dataclass(frozen=True)
class CodedUnit:
    """An action unit as a person coded it.

    Attributes:
        number (`int`): Of the Facial Action Coding System; above 46 head and eye positions and others.
        side (`str`): `left`, `right`, `asymmetric`, `top`, `bottom` or `""`.
        intensity (`str`): `A` to `E`, or `""`.
    """

    number: int
    side: str = ""
    intensity: str = ""


def read_sheet(path: Path, first_cell: str = "Subject", sheet: str = "") -> list[dict[str, str]]:
    """The rows of a sheet below its header, which is looked for: some have a preamble, some have none.

    Args:
        path (`Path`): An .xlsx, .xls or .csv file.
        first_cell (`str`, *optional*, defaults to `"Subject"`): How one of the first cells of the header row
            reads, in any case.
        sheet (`str`, *optional*): Name of the sheet in its workbook; the first one where there is none of it.

    Returns:
        `list[dict[str, str]]`: Column -> stripped text, `""` for an empty cell; column names stripped, in
        lower case; rows without any text are left out.

    Raises:
        ValueError: In one line, if the file cannot be read or has no such header.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "reading annotation sheets needs pandas. Run pip install 'mer_hf[train]'."
        ) from error
    try:
        if path.suffix.lower() == ".csv":
            table = pandas.read_csv(path, header=None, dtype=str, keep_default_na=False)
        else:
            with pandas.ExcelFile(path) as book:
                wanted = sheet if sheet in book.sheet_names else 0
                table = pandas.read_excel(
                    book, sheet_name=wanted, header=None, dtype=str, keep_default_na=False
                )
    except Exception as error:  # openpyxl and xlrd raise what they like
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read as a sheet ({reason}).") from error
    rows = [[str(cell).strip() for cell in row] for row in table.to_numpy()]
    for at, row in enumerate(rows):
        if first_cell.lower() in (cell.lower() for cell in row[:3]):
            names = [name.lower() for name in row]
            found = [dict(zip(names, cells, strict=True)) for cells in rows[at + 1 :] if any(cells)]
            return [{name: text for name, text in cells.items() if name} for cells in found]
    raise ValueError(f"{path} has no header row with the cell {first_cell!r}. Is it the annotation sheet?")


def column(rows: list[dict[str, str]], path: Path, *names: str) -> str:
    """The first of some names that a sheet has.

    Raises:
        ValueError: If it has none of them.
    """
    have = rows[0] if rows else {}
    for name in names:
        if name.lower() in have:
            return name.lower()
    raise ValueError(f"{path} has no column {' or '.join(names)}; its columns: {', '.join(have) or 'none'}.")


def frame_number(text: str) -> int | None:
    """A frame number as sheets write it (`46`, `46.0`), None for `/`, text and an empty cell."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value >= 0 and value.is_integer() else None


def parse_action_units(text: str) -> tuple[tuple[CodedUnit, ...], tuple[str, ...]]:
    """Coded action units, and what in them was not plain.

    Args:
        text (`str`): Such as `4+L10`, `R6+R12`, `(R6 or R12) + R15`, `A14C`, `10A/B`, `AD38` or `?`.

    Returns:
        `tuple`: The units in the order they are written, each once; and notes: of alternatives the first is
        taken, action descriptors (AD) and what is no unit are left out.
    """
    units: list[CodedUnit] = []
    notes: list[str] = []
    # A full-width comma occurs in published sheets.
    for part in re.split(r"[+,;\uff0c]", text):
        part = part.strip()
        if not part or part == "?":
            continue
        choices = [
            choice for choice in re.split(r"\bor\b|/", part.strip("() "), flags=re.IGNORECASE) if choice
        ]
        if len(choices) > 1:
            notes.append(f"{part}: took {choices[0].strip()}")
        # A cell that holds one number may come as 4.0.
        found = UNIT.match(choices[0].strip("() ").removesuffix(".0") if choices else "")
        if not found or (found[1] or "").upper() == "AD":
            notes.append(f"left out {part}")
            continue
        unit = CodedUnit(int(found[3]), SIDES[found[2].upper()], found[4].upper())
        if unit not in units:
            units.append(unit)
    return tuple(units), tuple(notes)
