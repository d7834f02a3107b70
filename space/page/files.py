"""What the page writes and what Gradio keeps of uploads: one folder a process, removed by age and at exit."""

import atexit
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

MOST_AGE_S = float(os.environ.get("MER_HF_KEEP_S", "3600"))
"""Files live so long at most."""

_EVERY_S = max(1, int(min(MOST_AGE_S / 6, 600)))
DELETE_CACHE = (_EVERY_S, max(1, int(MOST_AGE_S) - 2 * _EVERY_S))
"""For `gr.Blocks(delete_cache=...)`: how often Gradio looks, and the age at which its files go."""

PREFIX = "mer-hf-page-"


class Files:
    """One folder in the temporary folder, made when it is first needed.

    Gradio copies what a function returns into its own cache, so a file may go as soon as the age is reached.
    What a process that was killed left behind goes by its age too, and so do the folders that Gradio's own
    deletion leaves empty.

    Args:
        most_age_s (`float`, *optional*, defaults to 3600): Files are removed after so many seconds, when
            the next one is made, now and then without being asked, and at exit.
    """

    def __init__(self, most_age_s: float = MOST_AGE_S) -> None:
        self.most_age_s = most_age_s
        self._folder: Path | None = None
        self._ended = False
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """The folder of this process; only this user may look into it."""
        with self._lock:
            if self._folder is None:
                threading.Thread(target=self._keep_removing, daemon=True, name="remove-old-files").start()
                atexit.register(self._end)
            if self._folder is None or not (self._ended or self._folder.is_dir()):
                self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
                (self._folder / "files").mkdir()
            return self._folder

    def _end(self) -> None:
        """Removes the folder for good: the thread that still looks for old files does not make it anew."""
        with self._lock:
            self._ended = True
        shutil.rmtree(self._folder, ignore_errors=True)

    def hold_cache(self) -> None:
        """Lets Gradio keep uploads in this folder too, so that nothing of them stays when the process ends.

        Call it before the page is built. A folder that `GRADIO_TEMP_DIR` names already is left as it is.
        """
        os.environ.setdefault("GRADIO_TEMP_DIR", str(self.folder / "gradio"))

    def new(self, suffix: str, name: str = "file") -> Path:
        """A path for a file that does not exist yet, in a folder of its own; what is too old is removed.

        Args:
            suffix (`str`): Its ending, such as `".mp4"`.
            name (`str`, *optional*, defaults to `"file"`): What a download is called.

        Returns:
            `Path`: Nothing lies there.
        """
        self.remove_old()
        return Path(tempfile.mkdtemp(dir=self.folder / "files")) / f"{name}{suffix}"

    def remove_old(self) -> None:
        """Removes what is older than `most_age_s`."""
        os.utime(self.folder)  # so that other pages of this machine see that it is in use
        for each in (self.folder / "files").iterdir():
            if _age_s(each) > self.most_age_s:
                shutil.rmtree(each, ignore_errors=True)
        for each in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            if each != self.folder and _age_s(each) > 3 * self.most_age_s:
                shutil.rmtree(each, ignore_errors=True)
        cache = Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")
        for each in cache.glob("*/"):
            if _age_s(each) > self.most_age_s and not any(each.iterdir()):
                each.rmdir()

    def _keep_removing(self) -> None:
        while True:
            time.sleep(max(1.0, min(self.most_age_s / 6, 600)))
            try:
                self.remove_old()
            except OSError:  # a folder went or was filled while it was looked at; the next round sees it anew
                continue


def _age_s(path: Path) -> float:
    """Seconds since something was put there; 0 if another request has just removed it."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


files = Files()
"""The page's own."""

new = files.new
