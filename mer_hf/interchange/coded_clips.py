"""Codings as rows of a user's table: what a coder wrote becomes data to train on and to measure with."""

from pathlib import Path
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

import numpy as np

from mer_hf.utils.provenance import sha256_of
from mer_hf.video.clip import FrameSource
from mer_hf.video.container import VIDEO_SUFFIXES

from .coding import KINDS, MOST_LATE_S, Coding, Event
from .facs import code_of
from .formats import READERS, first_line, read_coding

UNLABELLED = "others"
"""Label of an event that is coded without a class."""


def is_coding(path: Path) -> bool:
    """Return whether a path is a coding, or a folder of codings, and not a table with a row per clip."""
    if path.suffix.lower() != ".csv" or path.is_dir():
        return path.is_dir() or path.suffix.lower() in READERS
    columns = first_line(path).lower()
    return "path" not in columns and ("facs" in columns or "timestamp" in columns)


def coded_rows(path: Path) -> list[dict[str, str]]:
    """Return a row for each expression in a coding, or in all codings of a folder and of those in it.

    The subject is that of the coding, or named after the video.

    Raises:
        ValueError: If a file cannot be read, there is none, or two are of one video.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in READERS)
        if not files:
            raise ValueError(f"{path} holds no coding. Known kinds: {', '.join(READERS)}.")
    rows, coded = [], {}
    for file in files:
        found = _rows(file, read_coding(file))
        for video in {row["path"] for row in found}:
            if (other := coded.setdefault(video, file)) != file:
                raise ValueError(f"{other} and {file} code the same video, {video}. Leave one of them out.")
        rows += found
    return rows


def _rows(file: Path, coding: Coding) -> list[dict[str, str]]:
    events = [event for event in coding.kept if event.kind in KINDS[:2]]
    if not events:
        return []
    if len({event.person for event in events}) > 1:
        raise ValueError(f"{file} codes several people; one face is prepared. Code each in its own file.")
    video = _find_video(file, coding.video)
    if coding.sha256 and video.is_file() and sha256_of(video) != coding.sha256:
        raise ValueError(f"{file}: {video} is not the video that was coded: its bytes differ.")
    times_s = FrameSource(video, coding.fps if video.is_dir() else None).times_s
    if (last_s := max(event.offset_s for event in events)) > times_s[-1] + MOST_LATE_S:
        raise ValueError(f"{file} has an event at {last_s:.2f} s; {video} ends at {times_s[-1]:.2f} s.")
    subject = coding.subject or video.stem
    return [_row(event, video.resolve(), subject, times_s) for event in events]


def _row(event: Event, video: Path, subject: str, times_s: np.ndarray) -> dict[str, str]:
    row = {"path": str(video), "subject": subject, "label": event.label or UNLABELLED, "clip": video.stem}
    row["action_units"] = code_of(event.action_units)
    for name, time_s in (("onset", event.onset_s), ("apex", event.apex_s), ("offset", event.offset_s)):
        row[name] = "" if time_s is None else str(int(np.abs(times_s - time_s).argmin()))
    return row


def _find_video(file: Path, named: str) -> Path:
    """Return the video of a coding: where it says, beside it, or of the same name."""
    address = named.startswith("file:")
    names = [url2pathname(unquote(urlparse(named).path))] if address else [named, unquote(named)]
    candidates = [
        place
        for name in filter(None, names)
        for place in (file.parent / name, Path(name), file.parent / Path(name.replace("\\", "/")).name)
    ]
    candidates += [file.with_suffix(suffix) for suffix in VIDEO_SUFFIXES]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise ValueError(f"{file}: its video {named or file.stem!r} was not found. Put it beside the file.")
