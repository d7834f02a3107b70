"""Files of visitors: in one folder, limited, deleted within the hour, and all of them when the page ends.

Gradio's `delete_cache` deletes uploads and what a function returned. It does not know of results that were
never handed over and of what a killed page left behind. In Gradio 6.31 it also ends for good if a file is
added while it looks. So `remove_old` goes through the folder too.
"""

import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gradio.utils import get_upload_folder

from .uploads import Refusal
from .visitors import visitor

KEEP_S = float(os.environ.get("MER_HF_KEEP_S", "3600"))
"""The promise: a file of a visitor does not live longer."""
EVERY_S = max(1, int(min(KEEP_S / 6, 600)))
AGE_S = max(1, int(KEEP_S) - EVERY_S)
DELETE_CACHE = (EVERY_S, AGE_S)
"""For `gr.Blocks(delete_cache=...)`: how often Gradio looks, and the age from which it deletes a file."""
PREFIX = "mer-hf-page-"
MOST_OF_ONE, MOST_OF_ALL = (2_000_000_000, 2000), (8_000_000_000, 8000)
"""Bytes and files in the folder: of one address, and of all visitors together."""
LEAST_FREE_BYTES = 2_000_000_000
"""Nothing more is taken when the disk has less room than this."""
RESULT_BYTES = 1_000_000
"""What a file that the page writes counts for, before its size is known."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A file in the folder: whose it is, its size, and when it came."""

    address: str
    size: int
    came_s: float


class Ledger:
    """What lies in the folder by the addresses that sent it; forgotten when its age has passed."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def add(self, address: str, size: int) -> Entry:
        """Note a file that comes; raise `Refusal` where it would be too much."""
        entry = Entry(address, size, time.monotonic())
        with self._lock:
            self._entries = [each for each in self._entries if entry.came_s - each.came_s < KEEP_S]
            own = [each for each in self._entries if each.address == address]
            _check_room(own, size, MOST_OF_ONE, "this address")
            _check_room(self._entries, size, MOST_OF_ALL, "all visitors together")
            if shutil.disk_usage(get_upload_folder()).free - size < LEAST_FREE_BYTES:
                raise Refusal("The disk of this page is full. Come back in an hour.")
            self._entries.append(entry)
        return entry

    def remove(self, entry: Entry) -> None:
        """Forget a file that did not come."""
        with self._lock, suppress(ValueError):
            self._entries.remove(entry)


LEDGER = Ledger()


def _check_room(entries: list[Entry], size: int, most: tuple[int, int], whose: str) -> None:
    held, (most_bytes, most_files) = sum(entry.size for entry in entries), most
    if held + size > most_bytes or len(entries) >= most_files:
        raise Refusal(
            f"Too many files: {whose} sent {len(entries)} of them, {held / 1e6:.0f} MB, within an hour; the "
            f"limit is {most_files} files and {most_bytes / 1e6:.0f} MB. Come back later."
        )


def open_folder() -> tempfile.TemporaryDirectory:
    """Make the folder of this process and let Gradio use it; it goes when it is closed or Python ends.

    Call this before the page is built. The folder lies in `GRADIO_TEMP_DIR` where that is set.
    """
    parent = os.environ.get("GRADIO_TEMP_DIR")
    folder = tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = folder.name
    threading.Thread(target=_keep_removing, args=[Path(folder.name)], daemon=True).start()
    return folder


def new(suffix: str, name: str = "file") -> Path:
    """Return a path where nothing lies yet, in a folder of its own; raise `Refusal` if there is no room."""
    LEDGER.add(visitor().address, RESULT_BYTES)
    return Path(tempfile.mkdtemp(dir=get_upload_folder())) / f"{name}{suffix}"


def remove_old(folder: Path) -> None:
    """Delete the files in a folder that are too old, and folders that have been empty for as long."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
        with suppress(OSError):  # a folder with newer files, or something that another request deleted
            if time.time() - path.lstat().st_ctime > AGE_S:
                path.rmdir() if path.is_dir() else path.unlink()


def _keep_removing(folder: Path) -> None:
    """Remove old files of this page and of pages that were killed, until the folder is closed."""
    while folder.is_dir():
        for page in folder.parent.glob(f"{PREFIX}*"):
            remove_old(page)
        time.sleep(EVERY_S)
