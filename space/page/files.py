"""Files of visitors: in one folder, deleted within the hour, and all of them when the page ends.

Gradio's `delete_cache` deletes uploads and what a function returned. It does not know of uploads that were
broken off, of results that were never handed over and of what a killed page left behind. In Gradio 6.31 it
also ends for good if a file is added while it looks. So `remove_old` goes through the folder too.
"""

import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from gradio.utils import get_upload_folder

KEEP_S = float(os.environ.get("MER_HF_KEEP_S", "3600"))
"""The promise: a file of a visitor does not live longer."""
EVERY_S = max(1, int(min(KEEP_S / 6, 600)))
AGE_S = max(1, int(KEEP_S) - EVERY_S)
DELETE_CACHE = (EVERY_S, AGE_S)
"""For `gr.Blocks(delete_cache=...)`: how often Gradio looks, and the age from which it deletes a file."""
PREFIX = "mer-hf-page-"


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
    """Return a path where nothing lies yet, in a folder of its own."""
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
