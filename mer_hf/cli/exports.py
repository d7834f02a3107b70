"""Flags that `predict` and `spot` share: files for other programs, and runs over many clips."""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mer_hf.utils import bounds

from .terminal import argument, bar, check_folder, check_output, flag, number, visible_stderr

if TYPE_CHECKING:
    from mer_hf.inference.bulk import BulkRun
    from mer_hf.interchange.coding import Coding
    from mer_hf.interchange.openface import FrameUnits

CODINGS = {
    "coding": ((".json",), "write the answer so that it can be corrected and converted"),
    "eaf": ((".eaf",), "write tiers for ELAN"),
    "boris": ((".boris", ".tsv"), "write a project for BORIS, or a table of events as in The Observer"),
    "facs": ((".csv",), "write a FACS score sheet: a row per expression, such as 4B+L12C"),
}
OPENFACE = {"openface": ((".csv",), "write OpenFace's table: action units of each frame (takes its time)")}
EXPORTS = CODINGS | OPENFACE
"""Flag of a file -> its suffixes and its contents."""
ARGUMENTS = [argument(f"--{name}", "FILE", about, type=Path) for name, (_, about) in EXPORTS.items()]
CODING_ARGUMENTS = ARGUMENTS[: len(CODINGS)]
OVERWRITE = flag("--overwrite", "replace tables and codings that are there")
MANY = [
    argument("--out", "FILE", "take all of a folder, into a .parquet or .csv table", type=Path),
    OVERWRITE,
    argument("--export-dir", "DIR", "with --out: write a file for each clip", type=Path),
    argument("--export", "KIND", "of these kinds (default: eaf)", nargs="+", choices=list(CODINGS)),
    argument("--workers", "N", "with --out: processes that share it", type=number(int, bounds.WORKERS)),
]
"""Flags of a run over a folder, which [`run_many`] reads."""
GRACE_S = 10.0
OTHER_OR_OVERWRITE = "Name another file, or add --overwrite."


def check_exports(args: argparse.Namespace) -> None:
    """Refuse files that cannot be written before the work for them is done, and flags of many clips."""
    if any(getattr(args, name, None) for name in ("export_dir", "export", "workers")):
        raise ValueError("--export-dir, --export and --workers are for many clips. Add --out FILE.")
    for name, (suffixes, _) in EXPORTS.items():
        path = getattr(args, name, None)
        check_output(path, suffixes)
        if name in CODINGS and path and path.exists() and not args.overwrite:
            raise ValueError(f"{path} is there already, perhaps with corrections. {OTHER_OR_OVERWRITE}")
    if path := getattr(args, "openface", None):
        from mer_hf.interchange.openface import check_note

        check_note(path)


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


def check_many(args: argparse.Namespace, single: Iterable[str]) -> dict:
    """Refuse `single`, the flags of one clip; return the settings of a bulk run that are the same for all."""
    for name in (*single, *EXPORTS):
        if getattr(args, name) is not None:
            raise ValueError(f"--{name} is for one clip, --out for many. Leave one of them out.")
    if args.export and not args.export_dir:
        raise ValueError("--export needs --export-dir DIR.")
    check_output(args.out, (".parquet", ".csv"))
    check_folder(args.export_dir)
    if (args.workers or 1) > 1 and "RANK" not in os.environ:
        sys.exit(launch(args.argv, args.workers))
    names = ("model", "overwrite", "trust_remote_code", "export_dir")
    return {name: getattr(args, name) for name in names} | {"export": args.export or ["eaf"]}


def launch(argv: list[str], workers: int) -> int:
    """Run the command in several processes, which share its clips; return its exit code."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    shared = os.environ | place | {"WORLD_SIZE": str(workers), "LOCAL_WORLD_SIZE": str(workers)}
    command = [sys.executable, "-m", "mer_hf", *argv]
    with visible_stderr() as stderr:
        environments = (shared | {"RANK": str(rank)} for rank in range(workers))
        started = [subprocess.Popen(command, env=each, stderr=stderr) for each in environments]
        while None in (codes := [process.poll() for process in started]) and not any(codes):
            time.sleep(0.1)
        for process in started:  # the others would wait hours for one that has failed
            try:
                process.wait(GRACE_S if any(codes) else None)
            except subprocess.TimeoutExpired:
                process.terminate()
        return next(filter(None, codes), 0)


def run_many(args: argparse.Namespace, run: "BulkRun", title: str) -> str:
    """Do this process's share of a bulk run; return its summary where it was the last."""
    from mer_hf.inference.bulk import RANK, OtherProcessFailed, format_summary

    try:
        with bar(title, "clip") if RANK == 0 else contextlib.nullcontext() as progress:
            counts = run.work(progress)
    except OtherProcessFailed:
        sys.exit(2)
    if counts is None:
        return ""
    return json.dumps(counts) if args.json else f"{format_summary(counts)}\nWritten to {args.out}."
