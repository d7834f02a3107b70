"""Annotation sheets: rows as text, and frame numbers."""

import io
import zipfile
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

from mer_hf.utils.untrusted import in_one_line, open_regular, read_csv, read_text, separator

MOST_ROWS, MOST_COLUMNS, MOST_SHEET_BYTES = 100_000, 1_000, 64_000_000


def read_sheet(path: Path, first_cell: str = "Subject", sheet: str = "") -> list[dict[str, str]]:
    """Return the rows below the header, as lower-case column name -> stripped text.

    The header is the first row with `first_cell` (in any case) among its first three cells: some sheets have
    a preamble. In a workbook the sheet called `sheet` is read, or the first one if none has that name.
    """
    rows = [[str(cell).strip() for cell in row] for row in _read_cells(path, first_cell, sheet)]
    for at, row in enumerate(rows):
        names = [name.lower() for name in row]
        if first_cell.lower() in names[:3]:
            below = [cells for cells in rows[at + 1 :] if any(cells)]
            if wrong := [cells for cells in below if any(cells[len(names) :])]:
                raise ValueError(f"{path} has more cells than its header in the row {', '.join(wrong[0])}.")
            pairs = (zip_longest(names, cells[: len(names)], fillvalue="") for cells in below)
            return [{name: text for name, text in row if name} for row in pairs]
    raise ValueError(f"{path} has no header row with the cell {first_cell!r}. Is it the annotation sheet?")


def _read_cells(path: Path, first_cell: str, sheet: str) -> list[list[str]]:
    """Read a workbook or CSV file as rows of text, as far as each row goes."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        text = read_text(path)
        return [row for _, row in read_csv(path, separator(text, first_cell), text)]
    rows: list[list[str]] = []
    try:
        with open_regular(path) as file:
            for row in (_rows_of_xls if suffix == ".xls" else _rows_of_xlsx)(file, sheet):
                if len(rows) == MOST_ROWS or len(row) > MOST_COLUMNS:
                    raise ValueError(f"more than {MOST_ROWS:,} rows or {MOST_COLUMNS} columns")
                rows.append([_text(cell) for cell in row])
    except ImportError as error:
        raise ImportError(
            "reading annotation sheets needs openpyxl and xlrd. Run pip install 'mer_hf[train]'."
        ) from error
    except Exception as error:  # openpyxl and xlrd raise exceptions of every kind
        raise ValueError(f"{path} cannot be read as a sheet ({in_one_line(error)}).") from error
    return rows


def _rows_of_xlsx(file: BinaryIO, sheet: str) -> Iterator[Sequence[Any]]:
    """Yield the rows of an Excel workbook one by one: one far cell makes many empty ones."""
    import openpyxl

    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MOST_SHEET_BYTES:
        raise ValueError(f"{size:,} bytes when unpacked, at most {MOST_SHEET_BYTES:,} are read")
    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    chosen = book[sheet] if sheet in book.sheetnames else book.worksheets[0]
    chosen.reset_dimensions()  # what the file says of its size need not be so
    yield from chosen.iter_rows(values_only=True)


def _rows_of_xls(file: BinaryIO, sheet: str) -> Iterator[Sequence[Any]]:
    """Yield the rows of a workbook of old Excel."""
    import xlrd

    quiet = {"logfile": io.StringIO(), "ragged_rows": True, "on_demand": True}
    book = xlrd.open_workbook(file_contents=file.read(MOST_SHEET_BYTES), **quiet)
    chosen = book.sheet_by_name(sheet) if sheet in book.sheet_names() else book.sheet_by_index(0)
    yield from map(chosen.row_values, range(chosen.nrows))


def _text(cell: Any) -> str:
    """Return a cell as text: whole numbers without a point, `""` for an empty one."""
    whole = isinstance(cell, float) and cell.is_integer()
    return "" if cell is None else str(int(cell) if whole else cell)


def frame_number(text: str) -> int | None:
    """Read a frame number as sheets write it (`46`, `46.0`); None for `/`, text and an empty cell."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value >= 0 and value.is_integer() else None
