"""What the page writes: in one folder of this process, removed by age and at exit."""

import atexit
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

MOST_AGE_S = float(os.environ.get("MER_HF_KEEP_S", "3600"))
"""Files live so long; the page's `delete_cache` is set to the same."""

PREFIX = "mer-hf-page-"


class Files:
    """One folder in the temporary folder, made when it is first needed.

    Gradio copies what a function returns into its own cache, so a file may go as soon as the age is reached.
    What a process that was killed left behind goes by its age too, and so do the folders that Gradio's own
    deletion leaves empty.

    Args:
        most_age_s (`float`, *optional*, defaults to 3600): Files are removed after so many seconds, when
            the next one is made, every half of that time and at exit.
    """

    def __init__(self, most_age_s: float = MOST_AGE_S) -> None:
        self.most_age_s = most_age_s
        self._folder: Path | None = None
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where the files lie; only this user may look into it."""
        with self._lock:
            if self._folder is None:
                threading.Thread(target=self._keep_removing, daemon=True, name="remove-old-files").start()
            if self._folder is None or not self._folder.is_dir():
                self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
                atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
            return self._folder

    def new(self, suffix: str, name: str = "file") -> Path:
        """A path for a file that does not exist yet, in a folder of its own; what is too old is removed.

        Args:
            suffix (`str`): Its ending, such as `".mp4"`.
            name (`str`, *optional*, defaults to `"file"`): What a download is called.

        Returns:
            `Path`: Nothing lies there.
        """
        self.remove_old()
        return Path(tempfile.mkdtemp(dir=self.folder)) / f"{name}{suffix}"

    def remove_old(self) -> None:
        """Removes what is older than `most_age_s`."""
        others = [each for each in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if each != self.folder]
        for each in (*self.folder.iterdir(), *others):
            if self._is_old(each):
                shutil.rmtree(each, ignore_errors=True)
        cache = Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")
        for each in cache.glob("*/"):
            if self._is_old(each) and not any(each.iterdir()):
                each.rmdir()

    def _is_old(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime < time.time() - self.most_age_s
        except FileNotFoundError:  # another request has just removed it
            return False

    def _keep_removing(self) -> None:
        while True:
            time.sleep(max(1.0, self.most_age_s / 2))
            try:
                self.remove_old()
            except OSError:  # a folder went or was filled while it was looked at; the next round sees it anew
                continue


files = Files()
"""The page's own."""

new = files.new
