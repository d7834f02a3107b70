"""Write files whole or not at all: the only place that does."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = ".mer-hf-"
"""Of temporary folders."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end, so that nobody ever reads half a file.

    If the block raises, `path` stays as it was. The temporary file has the same name and suffix.
    """
    path = Path(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=PREFIX) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        if PREFIX not in str(error.filename):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # nobody asked for a temporary file


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text)
