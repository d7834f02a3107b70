"""Write files whole or not at all: the only place that does."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end, so that nobody ever reads half a file.

    If the block raises, `path` stays as it was. The temporary file has the same name and suffix.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mer-hf-") as folder:
        temporary = Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text)
