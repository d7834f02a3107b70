"""The page as a visitor meets it, in a process of its own: a camera, a model from the Hub, own clips.

`MER_HF_CLIPS=FOLDER pytest -m slow tests/space/test_whole_page.py` puts every clip of a folder through it.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")
pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")

from huggingface_hub import HfApi, constants

from tests.hub.clean import environment
from tests.hub.hub_server import serve
from tests.models.tiny import tiny_model, tiny_processor
from tests.space.browser import APP, find_chromium, opened, wait_for_answer
from tests.space.odd_files import write_camera

SCREENSHOTS = Path(__file__).parents[1] / "screenshots"
CHROMIUM = find_chromium()
CLIPS = sorted(Path(os.environ["MER_HF_CLIPS"]).glob("*.mp4")) if "MER_HF_CLIPS" in os.environ else []
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: the page was not opened in a browser"),
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub on loopback with a small HTNet, me/tiny."""
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch, serve(folder / "store") as url:
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        tiny_model("htnet").save_pretrained(folder / "tiny")
        tiny_processor("htnet").save_pretrained(folder / "tiny")
        api = HfApi(endpoint=url, token="x")
        api.create_repo("me/tiny")
        api.upload_folder(repo_id="me/tiny", folder_path=folder / "tiny")
        yield url


@pytest.fixture(scope="module")
def url(hub, tmp_path_factory):
    """Of `python space/app.py`, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    visitors = tmp_path_factory.mktemp("visitors")
    home = tmp_path_factory.mktemp("home")
    kept = environment(hub, home, PORT=str(port), TMPDIR=str(visitors))
    kept.pop("GRADIO_TEMP_DIR", None)
    process = subprocess.Popen([sys.executable, str(APP)], env=kept, cwd=APP.parents[1])
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 300
    try:
        while True:
            try:
                urllib.request.urlopen(address, timeout=5)
                break
            except urllib.error.URLError:
                assert process.poll() is None and time.monotonic() < deadline, "the page did not start"
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(60)
    assert not list(visitors.glob("mer-hf-page-*"))  # nothing of the visitors stays


def test_a_clip_of_the_camera_is_analysed(url, example, tmp_path):
    camera = write_camera(tmp_path / "camera.mjpeg", example("still").clip.frames)
    flags = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    )
    with opened(url, CHROMIUM, *flags) as page:
        page.get_by_label("Capture from camera").first.click()
        page.get_by_text("Click to Access Webcam").first.click()
        page.get_by_label("start recording").first.click()
        page.wait_for_timeout(1500)
        page.locator("#clip").get_by_text("Stop").first.click()
        page.locator("#verdict .verdict:not(.idle)").wait_for()
        page.wait_for_timeout(500)
        page.screenshot(path=SCREENSHOTS / "webcam.png")
        kinds = page.locator("#verdict .verdict").get_attribute("class").split()
    assert "refused" not in kinds


def test_a_model_from_the_hub_answers(url, example_file):
    with opened(url, CHROMIUM) as page:
        page.get_by_role("button", name="positive", exact=True).click()
        wait_for_answer(page)
        box = page.locator("#network input")
        box.fill("me/tiny")
        box.press("Enter")
        page.locator("#verdict").get_by_text("me/tiny@").wait_for()
        wait_for_answer(page)
        page.screenshot(path=SCREENSHOTS / "hub-model.png")
        box.fill("me/none")
        box.press("Enter")
        page.locator(".verdict.refused").get_by_text("there is no model me/none").wait_for()


@pytest.mark.parametrize("clip", CLIPS, ids=lambda path: path.name)
def test_a_clip_of_ones_own_is_analysed_searched_and_compared(url, clip):
    """No picture is kept: the clip may be anybody's."""
    with opened(url, CHROMIUM) as page:
        page.locator("#clip input[type=file]").first.set_input_files(str(clip))
        page.locator("#verdict .verdict:not(.idle)").wait_for()
        kinds = set(page.locator("#verdict .verdict").get_attribute("class").split())
        assert kinds & {"found", "still", "blink", "other"}
        page.get_by_role("tab", name="Long video").click()
        page.locator("#long-video input[type=file]").first.set_input_files(str(clip))
        page.locator("#found .line .bar").wait_for()
        page.get_by_role("tab", name="Compare").click()
        page.get_by_role("button", name="Take the clip").click()
        page.wait_for_function("document.querySelectorAll('.columns section').length == 4")
