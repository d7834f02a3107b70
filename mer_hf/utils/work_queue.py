"""Pieces of work that several processes do together, on one machine or on many that share a folder.

    queue/todo-<piece>     nobody has begun it
    queue/doing-<piece>    a process is at work on it, or was killed at it; machine and process stand in it
    queue/done-<piece>     its result is there

A process claims a piece by renaming its file, which succeeds for one process only, and holds a lock on the
file while it lives: a file without a lock was left by a process that died, and its piece goes on.
"""

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: what a killed process left is not taken up by others there
    fcntl = None


class WorkQueue:
    """The pieces of a run, such as the folds of a protocol.

    Args:
        folder (`Path`): Where their files are.
        names (`list[str]`): Of all pieces; each may serve as a file's name.
    """

    def __init__(self, folder: Path, names: list[str]):
        self.folder, self.names = folder, names

    def fill(self) -> None:
        """Make the queue, unless another process has made it or an earlier run has left it."""
        unfinished = self.folder.with_name(f".{self.folder.name}.{socket.gethostname()}.{os.getpid()}")
        try:
            if not self.folder.is_dir():
                unfinished.mkdir(parents=True, exist_ok=True)
                for name in self.names:
                    (unfinished / f"todo-{name}").touch()
                unfinished.rename(self.folder)
        except OSError:  # another process was quicker
            if not self.folder.is_dir():
                raise
        for path in self.folder.parent.glob(f".{self.folder.name}.*"):
            shutil.rmtree(path, ignore_errors=True)

    def _file(self, state: str, name: str) -> Path:
        return self.folder / f"{state}-{name}"

    def left(self) -> list[str]:
        """Pieces that are not done."""
        return [name for name in self.names if not self._file("done", name).exists()]

    def claims(self) -> Iterator[str]:
        """Pieces for this process, one at a time, until there is none that nobody else is at work on.

        A piece is done when the caller asks for the next one; if it raises instead, others may take it up.

        Yields:
            `str`: Name of a piece.
        """
        waiting = self.names
        while waiting:
            others = []  # not this process's in this round; it may be in the next, if its process dies
            for name in waiting:
                with self._claimed(name) as mine:
                    if mine:
                        yield name
                        self._file("doing", name).rename(self._file("done", name))
                    elif not self._file("done", name).exists():
                        others.append(name)
            if len(others) == len(waiting):
                return
            waiting = others

    def finish(self, name: str) -> None:
        """Mark a piece as done that was not claimed: all processes worked on it together."""
        for state in ("todo", "doing"):
            with contextlib.suppress(FileNotFoundError):
                self._file(state, name).rename(self._file("done", name))

    @contextlib.contextmanager
    def _claimed(self, name: str) -> Iterator[bool]:
        """Whether the piece is this process's, for as long as the context lasts."""
        doing = self._file("doing", name)
        with contextlib.suppress(FileNotFoundError):
            self._file("todo", name).rename(doing)
            if fcntl is None:
                yield True
                return
        if fcntl is None or not doing.exists():
            yield False
            return
        try:
            file = open(doing, "r+")  # noqa: SIM115 (it may be gone by now)
        except FileNotFoundError:
            yield False
            return
        with file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # its process lives
                yield False
                return
            # It may have been done between opening and locking.
            mine = doing.exists()
            if mine:
                file.truncate(0)
                file.write(f"{socket.gethostname()} {os.getpid()}\n")
                file.flush()
            yield mine
