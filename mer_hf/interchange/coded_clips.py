"""Codings as rows of a user's table: what a coder wrote becomes data to train on and to measure with."""

from pathlib import Path
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

import numpy as np

from mer_hf.video.clip import FrameSource
from mer_hf.video.container import VIDEO_SUFFIXES

from .coding import KINDS, Coding, Event
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
    """Return a row for each expression in a coding, or in all codings of a folder.

    The subject is that of the coding, or named after the video.

    Raises:
        ValueError: If a file cannot be read, or there is none.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in READERS)
        if not files:
            raise ValueError(f"{path} holds no coding. Known kinds: {', '.join(READERS)}.")
    return [row for file in files for row in _rows(file, read_coding(file))]


def _rows(file: Path, coding: Coding) -> list[dict[str, str]]:
    events = [event for event in coding.kept if event.kind in KINDS[:2]]
    if not events:
        return []
    if len({event.person for event in events}) > 1:
        raise ValueError(f"{file} codes several people; one face is prepared. Code each in its own file.")
    video = _find_video(file, coding.video)
    times_s = FrameSource(video, coding.fps if video.is_dir() else None).times_s
    if (last_s := max(event.offset_s for event in events)) > times_s[-1] + 0.5:
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
    path = url2pathname(unquote(urlparse(named).path)) if named.startswith("file:") else unquote(named)
    beside = [file.with_suffix(suffix) for suffix in VIDEO_SUFFIXES]
    named_paths = (file.parent / path, Path(path), file.parent / Path(path.replace("\\", "/")).name)
    for candidate in (*(named_paths if path else ()), *beside):
        if candidate.exists():
            return candidate
    raise ValueError(f"{file}: its video {named or file.stem!r} was not found. Put it beside the file.")
