"""Tables of text, as programs for coders read and write them."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from mer_hf.utils.untrusted import read_records, read_text, separator


def csv_text(rows: Iterable[Iterable], delimiter: str = ",") -> str:
    """Return rows of cells, the header first, as the text of a CSV file."""
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return file.getvalue()


def read_rows(path: str | os.PathLike, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Read rows as column -> text, with their lines; commas, semicolons or tabs separate the columns.

    Rows without any text, which spreadsheets leave at the end, are no rows.
    """
    text = read_text(path)
    rows = read_records(Path(path), columns, separator(text), text)
    return [(line, row) for line, row in rows if any(map(str.strip, row.values()))]
