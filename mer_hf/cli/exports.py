"""The files in which other programs take an answer: flags that `predict` and `spot` share."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .terminal import argument, check_output

if TYPE_CHECKING:
    from mer_hf.interchange.coding import Coding
    from mer_hf.interchange.openface import FrameUnits

CODINGS = {
    "coding": ((".json",), "write the answer so that it can be corrected and converted"),
    "eaf": ((".eaf",), "write tiers for ELAN"),
    "boris": ((".boris", ".tsv"), "write a project for BORIS, or a table of events as in The Observer"),
    "facs": ((".csv",), "write a FACS score sheet: a row per expression, such as 4B+L12C"),
}
OPENFACE = {
    "openface": ((".csv",), "write OpenFace's table: the action units of each frame (takes its time)")
}
EXPORTS = CODINGS | OPENFACE
"""Flag of a file -> its suffixes and its contents."""
ARGUMENTS = [argument(f"--{name}", "FILE", about, type=Path) for name, (_, about) in EXPORTS.items()]
CODING_ARGUMENTS = ARGUMENTS[: len(CODINGS)]


def check_exports(args: argparse.Namespace) -> None:
    """Refuse files that cannot be written before the work for them is done."""
    for name, (suffixes, _) in EXPORTS.items():
        check_output(getattr(args, name, None), suffixes)


def write_exports(
    args: argparse.Namespace, coding: "Callable[[], Coding]", rows: "Iterable[FrameUnits]" = ()
) -> None:
    """Write the files that were asked for; rows are read, and a coding made, only where one needs them."""
    from mer_hf.interchange import openface
    from mer_hf.interchange.formats import WRITERS

    wanted = {name: path for name in CODINGS if (path := getattr(args, name))}
    made = coding() if wanted else None
    for name, path in wanted.items():
        WRITERS[name](path, made)
    if getattr(args, "openface", None):
        openface.write(args.openface, rows)
