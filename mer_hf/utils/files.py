"""Write files whole or not at all: the only place that does."""

import contextlib
import csv
import errno
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: lines that two processes append at one moment may follow a half one there
    fcntl = None

PREFIX = ".mer-hf-"
"""Of temporary folders."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that takes no more."""
_APPENDING = threading.Lock()
"""The file's own lock stops other processes only, not threads of this one."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end, so that nobody ever reads half a file.

    If the block raises, `path` stays as it was. The temporary file has the same name and suffix.
    """
    path = Path(path)
    with writing(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=PREFIX) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk, which libraries raise in many forms, into `OSError`."""
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None) if isinstance(error, OSError) else _number_of(error, path)
        if number is None or (number not in FULL and PREFIX not in str(getattr(error, "filename", ""))):
            raise
        # Nobody asked for a temporary file.
        raise OSError(number, os.strerror(number), str(path)) from error


def _number_of(error: Exception, path: Path) -> int | None:
    """Return the number of an error of the disk: datasets wraps it, safetensors writes it, torch hides it."""
    cause = error
    while cause := cause.__cause__ or cause.__context__:
        if getattr(cause, "errno", None) in FULL:
            return cause.errno
    if told := re.search(r"\(os error (\d+)\)", str(error)):
        return int(told[1])
    broken = isinstance(error, RuntimeError) and shutil.disk_usage(path.parent).free < 1_000_000
    return errno.ENOSPC if broken else None


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def write_picture(path: str | os.PathLike, pixels: Any) -> None:
    """Write an array `(H, W, 3)`, uint8 RGB, as a picture, whole or not at all."""
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def write_csv(path: str | os.PathLike, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table with a header, whole or not at all; a cell that a row lacks is empty."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def append_line(path: str | os.PathLike, line: str) -> None:
    """Append a line to a file, whole or not at all; it never joins one that was cut off."""
    with _APPENDING, open(path, "ab+", buffering=0) as file:
        if fcntl:
            fcntl.lockf(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        data = b"\n" * (file.read(1) not in (b"", b"\n")) + line.encode() + b"\n"
        try:
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError as error:
            file.truncate(end)
            raise OSError(error.errno, error.strerror, str(path)) from error
