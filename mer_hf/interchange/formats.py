"""Write and read a coding in any format, by the ending of its file."""

import math
import os
from collections.abc import Callable
from pathlib import Path

from mer_hf.utils.untrusted import in_one_line, open_regular

from . import boris, elan, facs, openface
from .coding import MOST_LATE_S, Coding

WRITERS: dict[str, Callable[[Path, Coding], None]] = {
    "coding": lambda path, coding: coding.save(path),
    "eaf": elan.write,
    "boris": boris.write,
    "facs": facs.write,
}

SUFFIXES = {"coding": ".json", "eaf": ".eaf", "boris": ".boris", "facs": ".csv"}
"""Of the files that a bulk run writes."""
READERS: dict[str, Callable[[Path], Coding]] = {
    ".json": Coding.load,
    ".eaf": elan.read,
    ".boris": boris.read,
    ".tsv": boris.read,
    ".csv": lambda path: (openface if "timestamp" in first_line(path) else facs).read(path),
}


def first_line(path: Path) -> str:
    """Return the first line of a text file, of bounded length."""
    with open_regular(path) as file:
        return file.readline(10_000).decode("utf-8-sig", "replace")


def read_coding(path: str | os.PathLike) -> Coding:
    """Read a coding: our JSON, ELAN, BORIS, The Observer's table, a FACS score sheet, or OpenFace's table.

    Raises:
        ValueError: If the file is none of these, or damaged.
    """
    path = Path(path)
    read = READERS.get(path.suffix.lower())
    if read is None or not path.is_file():
        what = "is not a file" if read else f"is of no known kind; known: {', '.join(READERS)}"
        raise ValueError(f"{path} {what}.")
    if not path.stat().st_size:
        raise ValueError(f"{path} cannot be read as a coding: it is empty (0 bytes).")
    try:
        coding = read(path)
        ends_s = coding.duration_s or math.inf
        for event in coding.events:
            if event.offset_s > ends_s + MOST_LATE_S or event.onset_s >= ends_s:
                raise ValueError(f"it has an event at {event.offset_s:.2f} s of a video of {ends_s:.2f} s")
        return coding
    except KeyError as error:
        raise ValueError(f"{path} cannot be read as a coding: it lacks {error}.") from error
    except Exception as error:  # the readers of other people's formats raise exceptions of every kind
        reason = in_one_line(error).replace(f"{path}: ", "").replace(f"{path}, ", "").replace(str(path), "it")
        raise ValueError(f"{path} cannot be read as a coding: {reason.rstrip('.?')}.") from error
