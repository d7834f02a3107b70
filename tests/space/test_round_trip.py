"""A coder's round trip: the page, corrections, files, and the commands that take them."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")
pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")

from mer_hf.cli import main
from mer_hf.interchange.formats import read_coding
from tests.space.browser import find_chromium, opened, wait_for_answer

SCREENSHOTS = Path(__file__).parents[1] / "screenshots"
CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: the page was not opened in a browser")
FILES = {"Coding (.json)": "json", "ELAN (.eaf)": "eaf", "BORIS (.boris)": "boris", "FACS (.csv)": "csv"}
FRAMES = "OpenFace (.csv)"


@pytest.fixture
def page(url, example_file):
    """The page with the answer to a clip, and the editor under it."""
    with opened(url, CHROMIUM) as page:
        page.locator("#clip input[type=file]").first.set_input_files(str(example_file("positive")))
        wait_for_answer(page)
        page.get_by_role("button", name="Correct, save").click()
        page.locator("#coding .history").get_by_text("no changes yet").wait_for()
        yield page


def save(page, label, path):
    with page.expect_download() as download:
        page.locator("#coding").get_by_role("button", name=label).click()
    download.value.save_as(path)
    return path


def put(page, about, text):
    box = page.locator("#coding").get_by_label(about).first
    box.fill(text)
    box.press("Tab")


def move_the_apex(page):
    """With the slider of the curve, by one frame."""
    page.locator("input[name=apex]").focus()
    page.locator("input[name=apex]").press("ArrowRight")
    page.get_by_text("phases set by hand").wait_for()


def test_a_moved_phase_stays_in_the_coding_and_goes_back(page, tmp_path):
    answer = read_coding(save(page, "Coding (.json)", tmp_path / "answer.json"))
    move_the_apex(page)
    page.locator("#coding .history").get_by_text("1 change").wait_for()
    put(page, "Coder", "Ana")
    moved = read_coding(save(page, "Coding (.json)", tmp_path / "moved.json"))
    assert moved.events[0].apex_s == pytest.approx(answer.events[0].apex_s + 1 / 30, abs=0.001)
    assert moved.answers == answer.events and list(moved.changes[0]["set"]) == ["apex_s"]
    page.get_by_role("button", name="Back to spotted").click()
    page.locator("#coding .history").get_by_text("2 changes, the last by Ana").wait_for()
    back = read_coding(save(page, "Coding (.json)", tmp_path / "back.json"))
    assert back.events[0].apex_s == answer.events[0].apex_s


@pytest.mark.slow
def test_a_coder_corrects_saves_exports_trains_and_compares(page, example_file, checkpoint, tmp_path, capfd):
    coded = tmp_path / "coded"
    coded.mkdir()
    network = save(page, "Coding (.json)", tmp_path / "network.json")
    put(page, "Coder", "Ana")
    put(page, "class", "negative")
    put(page, "action units", "4B+L12C")
    move_the_apex(page)
    page.locator("#coding").get_by_role("button", name="Confirm").click()
    page.locator("#coding").scroll_into_view_if_needed()
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "corrections.png", full_page=True)
    files = {ending: save(page, label, tmp_path / f"ana.{ending}") for label, ending in FILES.items()}
    events = [read_coding(file).events[0] for file in files.values()]
    assert {event.label for event in events} == {"negative"}
    assert {round(event.apex_s, 3) for event in events} == {round(events[0].apex_s, 3)}

    assert "AU12_r" in save(page, FRAMES, tmp_path / "frames.csv").read_text()

    page.locator("#coding").get_by_role("button", name="Start over").click()
    page.locator("#coding input[type=file]").set_input_files(str(files["json"]))
    page.locator("#coding .history").get_by_text("the last by Ana").wait_for()

    shutil.copy(example_file("positive"), coded / "positive.mp4")
    shutil.copy(files["eaf"], coded / "positive.eaf")
    prepared = str(tmp_path / "prepared")
    prepare = ["prepare", "table", "--csv", str(coded), "--out", prepared, "--workers", "1"]
    assert main(prepare) == 0 and "1 clip" in capfd.readouterr().out
    assert main(["evaluate", "--data", prepared, "--model", str(checkpoint), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["clips"] == 1
    assert main(["agreement", str(network), str(files["eaf"]), "--json"]) == 0
    (pair,) = json.loads(capfd.readouterr().out)["pairs"]
    assert pair["labels"] == [read_coding(network).events[0].label, "negative"]
    assert pair["apex_ms"] == pytest.approx(1000 / 30, abs=1.5)
