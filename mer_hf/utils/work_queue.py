"""Pieces of work that several processes share, on one machine or on many that see the same folder.

    queue/todo-<piece>     not begun
    queue/doing-<piece>    a process works on it, or was killed at it; the file names machine and process
    queue/done-<piece>     its result is there

A process claims a piece by renaming its file, which succeeds for one process only, and holds a lock on the
file while it lives. A file without a lock was left by a process that died, and its piece is taken up again.
"""

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: pieces of a killed process are not taken up by others there
    fcntl = None


class WorkQueue:
    """The pieces of a run, such as the folds of a protocol; their names have to be valid file names."""

    def __init__(self, folder: Path, names: list[str]):
        self.folder, self.names = folder, names

    def fill(self) -> None:
        """Create the queue, unless another process or an earlier run has created it."""
        unfinished = self.folder.with_name(f".{self.folder.name}.{socket.gethostname()}.{os.getpid()}")
        try:
            if not self.folder.is_dir():
                unfinished.mkdir(parents=True, exist_ok=True)
                for name in self.names:
                    (unfinished / f"todo-{name}").touch()
                unfinished.rename(self.folder)
        except OSError:  # another process was faster
            if not self.folder.is_dir():
                raise
        for path in self.folder.parent.glob(f".{self.folder.name}.*"):
            shutil.rmtree(path, ignore_errors=True)

    def _file(self, state: str, name: str) -> Path:
        return self.folder / f"{state}-{name}"

    def left(self) -> list[str]:
        """Return the pieces that are not done."""
        return [name for name in self.names if not self._file("done", name).exists()]

    def claims(self) -> Iterator[str]:
        """Yield pieces for this process, one at a time, until other processes work on all that are left.

        A piece is done when the caller asks for the next one. If it raises instead, the piece may be taken up
        again.
        """
        waiting = self.names
        while waiting:
            taken = []  # by another process; if that dies, the piece is free in the next round
            for name in waiting:
                with self._claimed(name) as mine:
                    if mine:
                        yield name
                        self._file("doing", name).rename(self._file("done", name))
                    elif not self._file("done", name).exists():
                        taken.append(name)
            if len(taken) == len(waiting):
                return
            waiting = taken

    def finish(self, name: str) -> None:
        """Mark a piece as done that was not claimed because all processes worked on it together."""
        for state in ("todo", "doing"):
            with contextlib.suppress(FileNotFoundError):
                self._file(state, name).rename(self._file("done", name))

    @contextlib.contextmanager
    def _claimed(self, name: str) -> Iterator[bool]:
        """Yield whether the piece belongs to this process, for as long as the context lasts."""
        doing, mine = self._file("doing", name), False
        with contextlib.suppress(FileNotFoundError):
            self._file("todo", name).rename(doing)
            mine = fcntl is None
        with contextlib.ExitStack() as held:
            # Without the file the piece is done by now; with a lock on it its process lives.
            with contextlib.suppress(FileNotFoundError, BlockingIOError):
                if fcntl:
                    file = held.enter_context(open(doing, "r+"))
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    mine = doing.exists()  # it may have been done between opening and locking
                    if mine:
                        file.truncate(0)
                        file.write(f"{socket.gethostname()} {os.getpid()}\n")
                        file.flush()
            yield mine
