import csv
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mer_hf.face.spotting import Phases
from mer_hf.inference.pipeline import _doubts
from mer_hf.visualization.report import CURVE_COLUMNS, html_report, split_warnings, write_curve_csv
from tests.results import result


class Page(HTMLParser):
    """What a report is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.links, self.alts, self.words = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.links += [attributes[name] for name in ("src", "href", "poster", "srcset") if name in attributes]
        if tag in ("img", "video"):
            self.alts.append(attributes.get("alt" if tag == "img" else "aria-label"))

    def handle_data(self, data):
        self.words += f"{data} "


def rows_of(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def report(tmp_path, prediction, **options) -> Page:
    html_report(tmp_path / "report.html", prediction, **options)
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_the_curve_has_a_row_for_every_frame(tmp_path):
    _, prediction = result()
    phases = replace(prediction.phases, blinks=((2, 4),))
    write_curve_csv(tmp_path / "curve.csv", replace(prediction, phases=phases))
    rows = rows_of(tmp_path / "curve.csv")
    assert tuple(rows[0]) == CURVE_COLUMNS
    assert [int(row["frame"]) for row in rows] == list(range(40))
    assert [row["phase"] for row in rows[13:27]] == [
        *("", "onset", "rising", "rising", "rising", "rising", "apex"),
        *("falling", "falling", "falling", "falling", "falling", "offset", ""),
    ]
    assert [int(row["blink"]) for row in rows[:6]] == [0, 0, 1, 1, 1, 0]
    assert float(rows[19]["motion_px"]) == pytest.approx(1.0) and float(rows[3]["threshold"]) == 0.3
    assert float(rows[30]["time_s"]) == pytest.approx(1.0)
    assert [file.name for file in tmp_path.iterdir()] == ["curve.csv"]


def test_times_and_phases_that_are_not_known_are_empty(tmp_path):
    _, prediction = result("no_motion", fps=None, phases=None)
    write_curve_csv(tmp_path / "curve.csv", prediction)
    assert {(row["time_s"], row["phase"]) for row in rows_of(tmp_path / "curve.csv")} == {("", "")}


def test_an_apex_at_the_end_is_called_apex(tmp_path):
    _, prediction = result(count=4, phases=(1, 3, 3))
    write_curve_csv(tmp_path / "curve.csv", prediction)
    assert [row["phase"] for row in rows_of(tmp_path / "curve.csv")] == ["", "onset", "rising", "apex"]


def test_everything_is_inside_the_report(tmp_path):
    page = report(tmp_path, result()[1], replay=b"video", source="clip.mp4")
    assert page.links and all(link.startswith("data:") for link in page.links)
    assert "data:video/mp4;base64,dmlkZW8=" in page.links
    assert not {"link", "iframe"} & set(page.tags)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http://" not in text and "https://" not in text and "@import" not in text
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_every_picture_is_told_in_words(tmp_path):
    page = report(tmp_path, result()[1], replay=b"video")
    assert page.tags.count("img") == 6 and page.tags.count("video") == 1
    assert all(alt and len(alt) > 15 for alt in page.alts)


def test_the_report_says_what_was_found(tmp_path):
    _, prediction = result(warnings=("2 faces were found; the largest is analysed.",))
    words = " ".join(report(tmp_path, prediction, source="clip.mp4").words.split())
    for part in (
        "Micro-expression: positive",
        "positive 70 %",
        "at all: 93 %",
        "apex frame 19 0.633 s",
        "lasts 0.33 s · moves 1.5 px with the eyes 60 px apart",
        "mean for the frames 15, 19 as apex",
        "AU12 lip corner puller both sides 0.90",
        "2 faces were found",
        "htnet-synthetic",
        "mer_hf 0.",
        "What this must not be used for",
        "detect lies",
        "clip.mp4",
    ):
        assert part in words, part
    assert "AU4 " not in words  # not present


@pytest.mark.parametrize(
    ("outcome", "phases", "title", "pictures"),
    [
        ("other_motion", (14, 19, 25), "Other motion", 5),
        ("no_motion", None, "No motion", 5),
        ("blink", None, "Only a blink", 5),
    ],
)
def test_no_expression_is_a_result_too(tmp_path, outcome, phases, title, pictures):
    page = report(tmp_path, result(outcome, phases=phases)[1])
    words = " ".join(page.words.split())
    assert title in words and "video" not in page.tags
    assert page.tags.count("img") == pictures  # no relevance where there is none
    assert ("Nothing was classified" in words) == (phases is None)


@pytest.mark.parametrize(
    ("outcome", "fps", "sentence"),
    [
        ("expression", 7.0, "Lasts 1.4 s: longer than a micro-expression."),
        (
            "other_motion",
            30.0,
            "Something moved, but the mouth moves to and fro by itself, as in speech: the",
        ),
        ("micro_expression", 30.0, ""),
    ],
)
def test_what_kind_of_movement_it_is_stands_apart_from_the_warnings(outcome, fps, sentence):
    _, prediction = result(outcome, fps=fps)
    decision = {name: getattr(prediction, name) for name in ("outcome", "reason", "duration_s")}
    prediction = replace(prediction, warnings=("2 faces.", *_doubts(decision, None)))
    said, others = split_warnings(prediction)
    assert said.startswith(sentence) and bool(said) == bool(sentence) and others == ["2 faces."]


def test_names_from_outside_are_text_and_no_markup(tmp_path):
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    _, prediction = result(model=evil, warnings=(evil,), label=evil, scores={evil: 0.9, "b": 0.1})
    page = report(tmp_path, prediction, source=evil)
    assert page.tags.count("script") == 2 and page.tags.count("img") < 8 and "x" not in page.links
    assert page.words.count("<script>alert(1)</script>") >= 4


def test_a_clip_without_times_is_reported(tmp_path):
    _, prediction = result(fps=None, expression_probability=None)
    words = " ".join(report(tmp_path, prediction).words.split())
    assert "was not judged" in words and "apex frame 19" in words


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "curve.csv"
    path.write_text("old")

    def full(frame, prediction):
        raise OSError("No space left on device")

    monkeypatch.setattr("mer_hf.visualization.report._phase_of", full)
    with pytest.raises(OSError, match="No space left"):
        write_curve_csv(path, result()[1])
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_blinks_are_named(tmp_path):
    phases = Phases(None, None, None, result()[1].phases.curve, "spotted", "blink", blinks=((3, 6), (20, 24)))
    prediction = replace(result("blink", phases=None)[1], phases=phases)
    words = " ".join(report(tmp_path, prediction).words.split())
    assert "Blinks in frames 3 to 6, 20 to 24." in words
