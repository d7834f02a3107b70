"""The tab of a camera: what its functions take and refuse, what is freed; and the tab in a browser."""

import base64
import io
import json
import time

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from page import live
from PIL import Image

from mer_hf.synthetic.clips import EXAMPLES, Motion, render_clip
from tests.space.browser import find_chromium, load_app, opened, served
from tests.space.odd_files import write_camera

CHROMIUM = find_chromium()


def jpeg(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture
def sessions(monkeypatch):
    sessions = live.Sessions()
    monkeypatch.setattr(live, "SESSIONS", sessions)
    yield sessions
    for session in sessions.held.values():
        session.end()


def test_pictures_in_expressions_out_and_the_coding_is_kept_where_asked(sessions, example, tmp_path):
    session, pictures, told = sessions.begin("htnet-synthetic", "a"), example("positive").clip.frames, []
    for at in range(0, 60, 5):
        parcel = [[i / 30, jpeg(pictures[i])] for i in range(at, at + 5)]
        news = live.frames({"session": session, "frames": parcel})
        told += news["events"]
        while sessions.held[session].work.behind_s:
            time.sleep(0.01)
    news = live.stop({"session": session})
    (event,) = told + news["events"]
    assert (event["outcome"], event["label"]) == ("micro_expression", "positive")
    replay = Image.open(io.BytesIO(base64.b64decode(event["replay"].split(",")[1])))
    assert replay.format == "WEBP" and replay.n_frames > 20
    assert news["taken"] == 60 and news["dropped"] == 0
    assert sessions.held[session].work is None
    for kind in live.FORMATS:
        assert live.keep({"session": session, "format": kind})["text"]
    coding = json.loads(live.keep({"session": session, "format": "coding"})["text"])
    assert [each["label"] for each in coding["events"]] == ["positive"]


def test_no_more_cameras_than_can_be_watched_and_who_left_makes_room(sessions, monkeypatch):
    names = [sessions.begin("htnet-synthetic", "a"), sessions.begin("htnet-synthetic", "b")]
    with pytest.raises(live.Refusal, match="as many"):
        sessions.begin("htnet-synthetic", "c")
    sessions.held[names[0]].seen_s -= live.IDLE_S + 1
    with pytest.raises(live.Refusal, match="as many"):
        sessions.begin("htnet-synthetic", "b")  # the other one of this address is still watched
    sessions.begin("htnet-synthetic", "c")
    assert sessions.held[names[0]].work is None and sessions.held[names[1]].work is not None
    sessions.held[names[0]].seen_s -= live.KEEP_S
    sessions.sweep()
    assert "over" in live.stop({"session": names[0]})["error"]
    sessions.held[names[1]].begun_s -= live.LONGEST_S + 1
    sessions.sweep()
    assert (
        "30 minutes"
        in live.frames({"session": names[1], "frames": [[0.0, jpeg(np.zeros((8, 8, 3), "u1"))]]})["error"]
    )


@pytest.mark.parametrize(
    "each",
    [
        [0.0, "no base64"],
        [0.0, base64.b64encode(b"no picture").decode()],
        [0.0, jpeg(np.zeros((8, 1300, 3), np.uint8))],
        ["soon", jpeg(np.zeros((8, 8, 3), np.uint8))],
        [-1.0, jpeg(np.zeros((8, 8, 3), np.uint8))],
        None,
        [0.0] * 3,
    ],
)
def test_what_is_no_picture_is_refused(sessions, each):
    session = sessions.begin("htnet-synthetic", "a")
    answer = live.frames({"session": session, "frames": [each]})
    assert answer["error"].startswith("A picture of the camera")


@pytest.mark.parametrize(
    "data", [None, [], {}, {"session": 3}, {"session": "a"}, {"session": ["a"], "frames": []}]
)
def test_a_call_that_makes_no_sense_is_refused_in_a_line(sessions, data):
    for function in (live.frames, live.stop, live.keep):
        assert list(function(data)) == ["error"]


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """Twelve seconds that begin again: two expressions, a blink, rest."""
    motions = [
        Motion(EXAMPLES["positive"], peak_px=3, onset_s=1.5, apex_s=1.7, offset_s=1.95),
        Motion(blink_s=1.5),
        Motion(EXAMPLES["surprise"], peak_px=3, onset_s=1.5, apex_s=1.7, offset_s=1.95),
    ]
    size = {"height": 480, "width": 640, "interocular_px": 70.0, "duration_s": 4.0}
    frames = np.concatenate([render_clip(motion, **size).clip.frames for motion in motions])
    return write_camera(tmp_path_factory.mktemp("camera") / "camera.mjpeg", frames)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: the page was not opened in a browser")
def test_a_camera_is_watched_in_the_browser(camera, example_file, visitors_folder):
    app = load_app()
    flags = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ]
    arguments = {"paths": {"positive": example_file("positive")}}
    with served(app, **arguments) as url, opened(url, CHROMIUM, *flags) as page:
        before = sorted(visitors_folder.rglob("*"))
        page.get_by_role("tab", name="Live").click()
        page.get_by_role("button", name="Start the camera").click()
        page.wait_for_function("document.querySelector('#live [data-start]').textContent == 'Stop'")
        page.wait_for_timeout(20_000)
        page.get_by_role("button", name="Stop").click()
        page.wait_for_timeout(1500)
        found = page.locator("#live li:not(.other) strong").all_inner_texts()
        counts = json.loads(page.evaluate("document.querySelector('[data-counts]').dataset.counts"))
        with page.expect_download() as download:
            page.get_by_role("button", name="ELAN").click()
        assert download.value.suggested_filename == "live.eaf"
        assert sorted(visitors_folder.rglob("*")) == before
    labels = [text.split(",")[0] for text in found]
    assert labels and set(labels) <= {"positive", "surprise"} and len(labels) <= 4
    assert counts["seen"] == counts["taken"] + counts["dropped"] + counts["skipped"]
    if counts["taken"] > 0.9 * counts["seen"]:  # otherwise this machine was busy, and said so
        assert len(labels) >= 3 and set(labels) == {"positive", "surprise"}
