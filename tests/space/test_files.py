"""Files of visitors: private, deleted within the promised time, and all of them when the page ends."""

import os
import tempfile
import time
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from gradio_client import Client, handle_file
from page import api, files
from page import demo as demo_module
from page.exports import LABELS

from tests.space.browser import load_app, served


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def parts():
    """Files of uploads on their way; whole uploads and what earlier tests still write lie in folders."""
    return [path.name for path in Path(files.get_upload_folder()).iterdir() if path.is_file()]


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_files_go_within_the_hour():
    assert files.EVERY_S + files.AGE_S <= files.KEEP_S == 3600
    assert files.DELETE_CACHE == (files.EVERY_S, files.AGE_S)


def test_an_upload_and_its_results_go_by_their_age_while_examples_stay(
    engine, example_file, tmp_path, monkeypatch
):
    """With seconds in place of the hour: the deletion is Gradio's own, in the real page."""
    folder = tmp_path / "visitors"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    monkeypatch.setattr(demo_module, "DELETE_CACHE", (1, 3))

    def write_exports(_analysis, name):
        paths = [files.new(ending, name) for ending in (".json", ".csv", ".mp4", ".html")]
        for path in paths:
            path.write_text("x")
        return dict(zip(LABELS, paths, strict=True))

    monkeypatch.setattr(api, "write_exports", write_exports)  # the real one takes longer than files live here
    still = example_file("still")
    with served(load_app("space_app_files"), engine=engine, paths={"still": still}) as url:
        client = Client(url, verbose=False, download_files=False)
        client.predict(handle_file(still), "htnet-synthetic", api_name="/export")
        assert {"still.json", "still.csv", "still.html"} <= set(names(folder))
        assert wait_until(lambda: not names(folder)) and still.exists()


def test_what_gradio_does_not_know_goes_too_and_everything_when_the_page_ends(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(files, "AGE_S", 1)
    monkeypatch.setattr(files, "EVERY_S", 0.1)
    mine = tmp_path / "mine.txt"
    mine.write_text("of somebody who put GRADIO_TEMP_DIR here")
    left = Path(tempfile.mkdtemp(prefix=files.PREFIX, dir=tmp_path)) / "clip.mp4"  # by a page that was killed
    left.write_text("x")
    with files.open_folder() as name:
        folder = Path(name)
        assert os.environ["GRADIO_TEMP_DIR"] == name and folder.parent == tmp_path
        assert folder.stat().st_mode & 0o077 == 0
        never_returned = files.new(".mp4", "replay")
        assert never_returned.name == "replay.mp4" and files.new(".mp4", "replay") != never_returned
        never_returned.write_text("x")
        (folder / "tmp123").write_text("an upload that was broken off")
        assert len(names(folder)) == 2
        assert wait_until(lambda: not list(folder.iterdir()) and not left.exists())
        files.new(".txt").write_text("x")
    assert names(tmp_path) == ["mine.txt"] and not folder.exists()
    with pytest.raises(FileNotFoundError):  # a request that is still at work does not make the folder again
        files.new(".txt")
