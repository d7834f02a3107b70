"""The page: its function, its endpoint, and one run in a browser."""

from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from gradio_client import Client, handle_file
from page import analyse, examples, view

from mer_hf.clip import write_clip
from mer_hf.registry import ARCHITECTURES
from tests.models.tiny import tiny_model, tiny_processor
from tests.space.browser import find_chromium, load_app, opened, served, wait_for_pictures

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "tests" / "screenshots"


app = load_app()
example_paths = examples.example_paths


@pytest.fixture(scope="module", autouse=True)
def tiny_networks(checkpoint, example_file, tmp_path_factory):
    """Small random networks in place of the bundled ones, and two examples."""
    tiny = {"htnet-synthetic": checkpoint}
    for key in ARCHITECTURES:
        if key != "htnet":
            tiny[f"{key}-synthetic"] = tmp_path_factory.mktemp(key)
            tiny_model(key).save_pretrained(tiny[f"{key}-synthetic"])
            tiny_processor(key).save_pretrained(tiny[f"{key}-synthetic"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "example_paths", lambda: {k: example_file(k) for k in ("positive", "still")})
        patch.setattr(examples, "bundled_models", lambda: list(tiny))
        load_pipeline = analyse.load_pipeline
        patch.setattr(analyse, "load_pipeline", lambda model: load_pipeline(str(tiny[model])))
        yield


@pytest.fixture(scope="module")
def url(tiny_networks):
    with served(app) as url:
        yield url


@pytest.fixture(scope="module")
def faceless(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "faceless.mp4"
    write_clip(path, np.full((10, 120, 160, 3), 90, np.uint8), 30)
    return path


def test_a_clip_gives_every_picture(example_file):
    card, scores, curve, onset, apex, flow, overlay, details = analyse.analyse(
        str(example_file("positive")), "htnet-synthetic"
    )
    assert f"Micro-expression: {max(scores, key=scores.get)}" in card
    assert sum(scores.values()) == pytest.approx(1.0)
    for picture in (onset, apex, flow):
        assert picture.value is not None
    assert curve.std() > 0
    assert overlay.shape == (224, 224, 3)
    assert details["outcome"] == "micro_expression"
    assert str(details["phases"]["apex"]) in apex.label


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_every_network_can_be_chosen(example_file, key):
    card, scores, *_, overlay, details = analyse.analyse(str(example_file("positive")), f"{key}-synthetic")
    assert "Micro-expression" in card and "AU12 lip corner puller" in card
    assert overlay.shape == (224, 224, 3) and overlay.std() > 0
    assert details["action_units"]["AU12"][2] > 0.5 and len(scores) == len(details["scores"])
    assert ARCHITECTURES[key].relevance_by in analyse.note(f"{key}-synthetic")


def test_a_still_clip_is_not_named(example_file):
    card, scores, *_, overlay, details = analyse.analyse(str(example_file("still")), "htnet-synthetic")
    assert "No motion" in card and "nothing was classified" in card
    assert set(scores.values()) == {1 / 3}
    assert details["label"] is None
    assert overlay is None


@pytest.mark.parametrize("clip, reason", [(None, "no clip yet"), ("uploads/no-such.mp4", "no-such.mp4")])
def test_a_bad_clip_shows_the_reason(clip, reason):
    card, *rest, details = analyse.analyse(clip, "htnet-synthetic")
    assert "Not analysed" in card and reason in card
    assert reason in details["error"] and "uploads" not in details["error"]
    assert rest[:2] == [None, None] and [picture.value for picture in rest[2:]] == [None] * 4


def test_reasons_are_text_and_no_markup():
    assert "&lt;b&gt;" in view.refusal("<b>")[0]


def test_examples_are_rendered_once(tmp_path, monkeypatch):
    monkeypatch.setattr(examples.synthetic_clips, "EXAMPLE_KINDS", ("still",))
    paths = example_paths(tmp_path)
    written = paths["still"].stat().st_mtime_ns
    assert [path.name for path in tmp_path.rglob("*.mp4")] == ["still.mp4"]
    assert example_paths(tmp_path)["still"].stat().st_mtime_ns == written
    (tmp_path / "changed.py").write_text("")
    monkeypatch.setattr(examples.synthetic_clips, "__file__", str(tmp_path / "changed.py"))
    assert example_paths(tmp_path)["still"] != paths["still"]


def test_the_endpoint_takes_a_clip_and_a_model(url, example_file, faceless):
    client = Client(url, verbose=False)
    card, scores, *pictures, details = client.predict(
        handle_file(example_file("positive")), "htnet-synthetic", api_name="/analyse"
    )
    assert "Micro-expression" in card
    assert sum(row["confidence"] for row in scores["confidences"]) == pytest.approx(1.0, abs=1e-6)
    assert len(pictures) == 5
    assert details["phases"]["onset"] < details["phases"]["apex"]
    _, *_, details = client.predict(handle_file(faceless), "htnet-synthetic", api_name="/analyse")
    assert "face" in details["error"]


def test_the_space_header_names_what_is_there():
    text = (ROOT / "space" / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["sdk"] == "gradio"
    assert (ROOT / "space" / header["app_file"]).exists()
    assert len(header["short_description"]) <= 60
    installed = [line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()]
    assert dict(pair for pair in installed if len(pair) == 2)["gradio"] == header["sdk_version"]


@pytest.fixture(scope="module")
def page(url):
    pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium is installed: the page was not opened in a browser")
    with opened(url, chromium) as page:
        yield page


def test_the_page_in_a_browser(page, example_file, faceless):
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.locator("input[type=file]").first.set_input_files(str(example_file("positive")))
    wait_for_pictures(page)
    assert page.get_by_text("attention weights are all exactly 1").is_visible()
    assert page.evaluate("document.documentElement.scrollHeight") <= 768
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366
    apex = page.get_by_text("Apex, frame").inner_text()
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "demo.png")

    page.get_by_role("button", name="still", exact=True).click()
    page.get_by_text("nothing was classified").wait_for()
    assert not page.get_by_text(apex, exact=True).is_visible()

    page.get_by_label("Clear").or_(page.get_by_label("Remove")).first.click()
    page.locator("input[type=file]").first.set_input_files(str(faceless))
    page.get_by_text("Not analysed").wait_for()
    assert "face" in page.locator(".verdict.refused").inner_text()
    page.screenshot(path=SCREENSHOTS / "refused.png")
    assert not faults
