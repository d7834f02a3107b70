"""What the page writes: in one folder of this process, removed by age and at exit."""

import atexit
import shutil
import tempfile
import threading
import time
from pathlib import Path

MOST_AGE_S = 3600.0
"""Files live so long; the page's `delete_cache` is set to the same."""


class Files:
    """One folder in the temporary folder, made when it is first needed.

    Gradio copies what a function returns into its own cache, so a file may go as soon as the age is reached.

    Args:
        most_age_s (`float`, *optional*, defaults to 3600): Files are removed after so many seconds, when
            the next one is made and at exit.
    """

    def __init__(self, most_age_s: float = MOST_AGE_S) -> None:
        self.most_age_s = most_age_s
        self._folder: Path | None = None
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where the files lie; only this user may look into it."""
        with self._lock:
            if self._folder is None or not self._folder.is_dir():
                self._folder = Path(tempfile.mkdtemp(prefix="mer-hf-page-"))
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
        oldest = time.time() - self.most_age_s
        for each in self.folder.iterdir():
            try:
                if each.stat().st_mtime < oldest:
                    shutil.rmtree(each, ignore_errors=True)
            except FileNotFoundError:  # another request has just removed it
                continue


files = Files()
"""The page's own."""

new = files.new
