"""The page in a browser: each tab and kind of result, phases moved by hand, uploads without an answer.

Every screen leaves a picture in `tests/screenshots`, the slow ones included.
"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")
pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")

from mer_hf.interchange.coding import Coding
from mer_hf.video.clip import write_clip
from tests.space.browser import find_chromium, opened, wait_for_answer, wait_for_comparison

SCREENSHOTS = Path(__file__).parents[1] / "screenshots"
CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: the page was not opened in a browser")


@pytest.fixture(scope="module")
def browser_page(url):
    SCREENSHOTS.mkdir(exist_ok=True)
    with opened(url, CHROMIUM) as page:
        yield page


@pytest.fixture
def page(browser_page):
    """The page, its first tab; what went wrong in the browser fails the test."""
    faults = []

    def note(error):
        faults.append(str(error))

    browser_page.on("pageerror", note)
    browser_page.get_by_role("tab", name="Analyse").click()
    yield browser_page
    browser_page.remove_listener("pageerror", note)
    assert not faults


def example(page, kind):
    page.get_by_role("button", name=kind, exact=True).click()


def upload(page, path, where="#clip"):
    clear = page.locator(f"{where} button[aria-label=Clear]")
    if clear.count() and where == "#clip":
        clear.first.click()
        page.locator(".verdict.idle").first.wait_for()
        page.locator(f"{where} input[type=file]").first.wait_for(state="attached")
    page.locator(f"{where} input[type=file]").first.set_input_files(str(path))


def show_answer(page, example_file):
    """Uploads the clip of an expression, unless its answer is shown already."""
    if not page.locator(".verdict.found").count():
        upload(page, example_file("positive"))
    wait_for_answer(page)


def size(page):
    return page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")


def test_an_upload_is_answered_on_one_screen(page, example_file):
    show_answer(page, example_file)
    width, height = size(page)
    page.screenshot(path=SCREENSHOTS / "analyse.png")
    assert width <= 1366 and height <= 768
    assert page.get_by_role("status").first.is_visible()
    last = page.locator("input[type=range]").last.bounding_box()
    assert last["y"] + last["height"] <= 768


def test_the_page_fits_a_phone_in_the_dark(page, example_file):
    show_answer(page, example_file)
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("document.body.classList.add('dark')")
    page.screenshot(path=SCREENSHOTS / "phone-dark.png", full_page=True)
    width, _ = size(page)
    page.evaluate("document.body.classList.remove('dark')")
    page.set_viewport_size({"width": 1366, "height": 768})
    assert width <= 390


def test_moving_a_phase_asks_the_network_again_and_there_is_a_way_back(page, example_file):
    show_answer(page, example_file)
    apex = page.locator("input[name=apex]")
    spotted = int(apex.input_value())
    # the slider's middle stands under the mark of the curve
    thumb = apex.evaluate(
        "e => { const r = e.getBoundingClientRect(); return r.left + 8 + (r.width - 16) * e.value / e.max }"
    )
    mark = page.locator(".mark.apex").bounding_box()
    assert abs(thumb - mark["x"]) < 3
    apex.focus()
    apex.press("ArrowRight")
    page.get_by_text("phases set by hand").wait_for()
    page.get_by_text(f"Apex, frame {spotted + 1}").first.wait_for()
    assert page.evaluate("document.activeElement.name") == "apex"  # who steers by keys goes on
    page.screenshot(path=SCREENSHOTS / "phases.png")
    page.get_by_role("button", name="Back to spotted").click()
    page.get_by_text(f"Apex, frame {spotted}").first.wait_for()


@pytest.mark.slow
def test_sliders_keep_their_order(page):
    example(page, "positive")
    wait_for_answer(page)
    page.locator("input[name=onset]").evaluate(
        "e => { e.value = e.max; e.dispatchEvent(new Event('input', {bubbles: true})) }"
    )
    values = [page.locator(f"input[name={name}]").input_value() for name in ("onset", "apex", "offset")]
    assert len(set(values)) == 1
    example(page, "still")  # and a new answer puts them back
    page.locator(".verdict.still").wait_for()
    page.wait_for_function(
        "[...document.querySelectorAll('input[type=range]')].every(e => e.value == e.defaultValue)"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["still", "blink"])
def test_a_clip_without_an_expression_is_a_result_of_its_own(page, example_file, kind):
    upload(page, example_file(kind))
    page.locator(f".verdict.{kind}").wait_for()
    page.screenshot(path=SCREENSHOTS / f"{kind}.png")
    assert page.locator(".verdict .bars").count() == 0 and page.locator(".figures .none").is_visible()


@pytest.mark.slow
def test_a_motion_that_is_not_an_expression_is_a_result_of_its_own(page):
    example(page, "positive")
    wait_for_answer(page)
    page.locator("#network input").click()
    page.get_by_role("option", name="mmnet-synthetic").click()
    page.locator(".verdict.other").wait_for()
    page.screenshot(path=SCREENSHOTS / "other.png")
    page.locator("#network input").click()
    page.get_by_role("option", name="htnet-synthetic").click()
    page.locator(".verdict.found").wait_for()


@pytest.mark.slow
def test_several_faces_are_a_result(page, two_faces):
    upload(page, two_faces)
    page.locator(".verdict .several").wait_for()
    page.screenshot(path=SCREENSHOTS / "several.png")
    assert "2 faces" in page.locator(".several").inner_text()


BAD = ["not a video", "0 bytes", "audio only", "30 minutes", "8K"]


@pytest.mark.parametrize("name", ["no face", *(pytest.param(bad, marks=pytest.mark.slow) for bad in BAD)])
def test_an_upload_without_an_answer_says_why(page, bad_clips, name):
    path, reason = bad_clips[name]
    upload(page, path)
    page.locator(".verdict.refused").get_by_text(reason).wait_for()
    said = page.locator(".verdict.refused").inner_text()
    assert "/" not in said and "Traceback" not in said
    page.screenshot(path=SCREENSHOTS / "refused.png")


def test_a_model_that_is_not_on_the_hub_is_refused(page):
    example(page, "still")
    page.locator(".verdict.still").wait_for()
    box = page.locator("#network input")
    box.fill("../secrets")
    box.press("Enter")
    page.locator(".verdict.refused").wait_for()
    assert "owner/name" in page.locator(".verdict.refused").inner_text()
    box.fill("htnet-synthetic")
    box.press("Enter")
    page.locator(".verdict.still").wait_for()


@pytest.mark.slow
def test_results_can_be_kept(page):
    example(page, "positive")
    wait_for_answer(page)
    for name, ending in (("JSON", ".json"), ("CSV", ".csv"), ("Replay", ".mp4"), ("Report", ".html")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).or_(
                page.get_by_role("link", name=name, exact=True)
            ).first.click()
        assert download.value.suggested_filename.endswith(ending)


@pytest.mark.slow
def test_four_networks_are_compared(page):
    example(page, "positive")
    wait_for_answer(page)
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="Take the clip").click()
    wait_for_comparison(page)
    page.screenshot(path=SCREENSHOTS / "compare.png")
    assert page.locator(".agreement").first.is_visible() and size(page)[0] <= 1366


@pytest.mark.slow
def test_a_moment_of_a_long_video_opens_in_analyse(page, example, tmp_path):
    frames = example("positive").clip.frames
    write_clip(tmp_path / "long.mp4", np.concatenate([frames[:20], frames]), 30)
    page.get_by_role("tab", name="Long video").click()
    assert page.get_by_text("Experimental").is_visible()
    upload(page, tmp_path / "long.mp4", "#long-video")
    page.locator(".intervals button").first.wait_for()
    page.locator("#long-coding").get_by_role("button", name="Reject").first.click()
    page.screenshot(path=SCREENSHOTS / "long-video.png")
    with page.expect_download() as download:
        page.locator("#long-coding").get_by_role("button", name="Coding (.json)").click()
    (event,) = Coding.load(download.value.path()).events
    assert event.status == "rejected" and download.value.suggested_filename == "long.json"
    page.locator(".intervals button").first.click()
    page.locator("#verdict .verdict.found").wait_for()
    assert page.get_by_role("tab", name="Analyse").get_attribute("aria-selected") == "true"


@pytest.mark.slow
def test_the_page_explains_itself(page):
    page.get_by_role("tab", name="About").click()
    page.get_by_role("heading", name="What this must not be used for").wait_for()
    page.screenshot(path=SCREENSHOTS / "about.png")
    assert page.get_by_text("To tell whether somebody lies").is_visible()
