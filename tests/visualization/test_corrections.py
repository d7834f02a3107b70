"""A report is corrected in a browser without a server; it saves what Python would have made of it."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")

from mer_hf.interchange import facs
from mer_hf.interchange.coding import Coding
from mer_hf.visualization.report import html_report
from tests.results import result
from tests.space.browser import find_chromium, opened

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: the report was not opened in a browser"
)
PREDICTION = result()[1]
ANSWER = replace(Coding.of(PREDICTION), video="</script><b>.mp4", sha256="ab" * 32)


@pytest.fixture(scope="module")
def browser_page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    html_report(path, PREDICTION, source=ANSWER.video, sha256=ANSWER.sha256)
    with opened(path.as_uri(), CHROMIUM) as page:
        yield page


@pytest.fixture
def page(browser_page):
    browser_page.reload()
    browser_page.set_default_timeout(10_000)
    yield browser_page


def put(page, about, text, row=0):
    box = page.get_by_label(about, exact=True).nth(row)
    box.fill(text)
    box.press("Tab")


def saved(page, tmp_path) -> Coding:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the coding").click()
    download.value.save_as(tmp_path / "a.json")
    return Coding.load(tmp_path / "a.json")


def without_time(coding: Coding) -> Coding:
    return replace(coding, changes=tuple({**each, "when": ""} for each in coding.changes))


def test_what_is_saved_untouched_is_the_answer(page, tmp_path):
    assert saved(page, tmp_path) == ANSWER


def test_corrections_are_what_python_makes_of_them(page, tmp_path):
    page.get_by_label("Coder").fill("Ana")
    put(page, "class", "negative")
    put(page, "offset in seconds", "1.2")
    put(page, "action units", "l12E+R12c+L4B")  # AU12 as before
    page.get_by_role("button", name="Confirm").click()
    page.get_by_role("button", name="Add an expression").click()
    put(page, "onset in seconds", "0.1", 1)
    put(page, "apex in seconds", "0.2", 1)
    put(page, "class", "others", 1)
    page.get_by_role("button", name="Reject").nth(1).click()
    expected = ANSWER.changed(0, "Ana", label="negative")
    expected = expected.changed(0, "Ana", offset_s=1.2, kind="expression")
    units = {"AU12": ANSWER.events[0].action_units["AU12"], "AU4": (0.65, 0.0)}
    expected = expected.changed(0, "Ana", action_units=units).changed(0, "Ana", status="confirmed")
    new = {"onset_s": 0, "apex_s": None, "offset_s": 0.5}
    expected = expected.added("Ana", **new, kind="micro_expression", label="", person=1)
    expected = expected.changed(1, "Ana", onset_s=0.1).changed(1, "Ana", apex_s=0.2)
    expected = expected.changed(1, "Ana", label="others").changed(1, "Ana", status="rejected")
    plain = json.loads(json.dumps(without_time(expected).to_dict()))  # tuples are lists in a file
    found = saved(page, tmp_path)
    assert json.loads(json.dumps(without_time(found).to_dict())) == plain
    assert found.changes[0]["when"][:2] == "20" and found.changes[0]["when"].endswith("+00:00")
    page.get_by_role("button", name="Start over").click()
    assert saved(page, tmp_path) == ANSWER


@pytest.mark.parametrize(
    ("about", "text", "reason"),
    [
        ("onset in seconds", "1.9", "seconds in order"),
        ("onset in seconds", "", "seconds in order"),
        ("offset in seconds", "99", "The video ends at 1.33 s"),
        ("action units", "12X", "12X is not a known action unit"),
        ("action units", "4B+99A", "99A is not a known action unit"),
    ],
)
def test_what_cannot_be_is_said_and_not_taken(page, tmp_path, about, text, reason):
    put(page, about, text)
    assert reason in page.get_by_role("alert").inner_text()
    assert saved(page, tmp_path) == ANSWER


def test_letters_are_those_of_the_score_sheet(page):
    coded = page.evaluate("[0.5, 0.59, 0.6, 0.75, 0.89, 0.9, 1].map(letterOf).join('')")
    assert coded == "".join(map(facs.letter_of, (0.5, 0.59, 0.6, 0.75, 0.89, 0.9, 1)))
    for sides in ((0.9, 0.2), (0.5, 0.5), (0.61, 0.88), (0.0, 0.75)):
        assert page.evaluate("(sides) => codeOf({AU12: sides})", sides) == facs.code_of({"AU12": sides})
    for code in ("L12B+R12D+4", "14C", "R1"):
        units = page.evaluate("(code) => unitsOf(code, {})", code)
        expected = facs.units_of(code)[0]
        assert set(units) == set(expected)
        assert all(units[name] == pytest.approx(sides) for name, sides in expected.items())
