"""What the page says and shows, without a server."""

import html
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from page import compare, examples, explain, long_video, motion, view
from page.engine import Refusal

from mer_hf import loading, registry
from mer_hf.evaluation import recording_scores
from mer_hf.inference.long_video import Gap, Interval, LongVideo
from mer_hf.inference.pipeline import REPORTED, UNSCORED
from mer_hf.synthetic.clips import EXAMPLE_KINDS
from mer_hf.video.clip import Clip

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def answers(engine, example_file):
    return engine.compare(example_file("positive"), examples.bundled_models())


@pytest.fixture(scope="module")
def analysis(answers):
    return answers["htnet-synthetic"]


def test_the_card_names_the_class_and_every_probability(analysis):
    card = view.card(analysis.prediction)
    for name, value in analysis.prediction.scores.items():
        assert f">{name}</th>" in card and html.escape(view.percent(value)) in card
    assert f"<strong>{analysis.prediction.label}, " in card and "verdict found" in card


@pytest.mark.parametrize("outcome", view.KINDS)
def test_each_kind_of_result_has_its_own_colour_sign_and_words(analysis, outcome):
    label = analysis.prediction.label if outcome in REPORTED else None
    frames = {} if outcome not in UNSCORED else dict.fromkeys(("onset", "apex", "offset"))
    phases = replace(analysis.prediction.phases, **frames)
    card = view.card(replace(analysis.prediction, outcome=outcome, label=label, phases=phases))
    kind = view.KINDS[outcome]
    assert f"verdict {kind.name}" in card and kind.icon in card and kind.title in card
    assert ('class="bars"' in card) == (outcome not in UNSCORED)
    assert len({(kind.name, kind.icon) for kind in view.KINDS.values()}) == len(view.KINDS)


@pytest.mark.parametrize(
    ("outcome", "known", "said"),
    [
        ("expression", {"duration_s": 1.42}, "<p>Lasts 1.4 s: longer than a micro-expression.</p>"),
        (
            "other_motion",
            {"label": None, "reason": "turn"},
            "<p>Something moved, but it goes along with a turn",
        ),
        ("micro_expression", {"duration_s": 0.3, "size_px": 1.24}, "lasts 0.30 s; moves 1.2 px"),
    ],
)
def test_the_card_says_what_was_seen(analysis, outcome, known, said):
    card = view.card(replace(analysis.prediction, outcome=outcome, **known))
    assert said in card


def test_several_faces_are_said_first_and_in_a_colour_of_their_own(analysis):
    notes = ("the clip is dark.", "3 faces were found; the largest is analysed.")
    card = view.card(replace(analysis.prediction, warnings=notes))
    assert card.index('class="several"') < card.index("the clip is dark.")


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "<1%"), (0.009, "<1%"), (0.01, "1%"), (0.99, "99%"), (0.995, ">99%")],
)
def test_no_probability_is_0_or_100_percent(share, said):
    assert view.percent(share) == said


def test_text_is_text_and_no_markup(analysis):
    assert "&lt;b&gt;" in view.refused("<b>")
    assert "&lt;i&gt;" in view.card(replace(analysis.prediction, warnings=("<i>",)))
    assert "<b>" not in long_video.time_line(
        long_of(Interval(1.0, 1.1, 1.2, 2.0, 0.2, label="<b>", scores={"<b>": 1}))
    )


def test_bars_of_action_units_grow_to_the_side_that_moved(analysis):
    one_sided = {"AU12": (0.8, 0.1, 0.6), "AU4": (0.0, 0.0, 0.0), "AU5": None}
    shown = view.action_units(replace(analysis.prediction, action_units=one_sided))
    assert shown.index("width:10%") < shown.index("AU12 lip") or "right 0.10, left 0.80" in shown
    assert 'class="present"' in shown and "brow lowerer" not in shown and "1 cannot be seen" in shown


def test_every_picture_has_words_and_a_caption(analysis):
    shown = view.pictures(analysis.prediction, analysis.track.frames)
    assert shown.count("<figure>") == 5 and shown.count("<img") == shown.count(' alt="') == 10
    assert f"Apex, frame {analysis.prediction.phases.apex}" in shown


def test_without_an_answer_there_is_no_relevance(engine, example_file):
    still = engine.analyse(example_file("still"), "htnet-synthetic")
    shown = view.pictures(still.prediction, still.track.frames)
    assert "no network was asked" in shown and "First, frame 0" in shown
    assert "motion open" in motion.curve_and_sliders(still.prediction)


def test_marks_and_sliders_stand_at_the_same_frames(analysis):
    shown = motion.curve_and_sliders(analysis.prediction)
    last = len(analysis.track.frames) - 1
    for name in ("onset", "apex", "offset"):
        frame = getattr(analysis.prediction.phases, name)
        assert f'class="mark {name}" style="left:{100 * frame / last:.3f}%"' in shown
        assert f'max="{last}" step="1" value="{frame}"' in shown
    assert "back" not in shown and shown.count("h0") == len(set(analysis.prediction.apexes)) > 0
    by_hand = replace(analysis.prediction, phases=replace(analysis.prediction.phases, source="given"))
    assert 'class="back"' in motion.curve_and_sliders(by_hand)


def test_one_frame_has_no_curve(analysis):
    one = replace(
        analysis.prediction.phases, curve=np.zeros(1, np.float32), onset=None, apex=None, offset=None
    )
    assert "A single frame" in motion.curve_and_sliders(replace(analysis.prediction, phases=one))


def test_scores_of_any_scheme_come_to_common_classes():
    five = {"happiness": 0.1, "surprise": 0.2, "disgust": 0.3, "repression": 0.15, "others": 0.25}
    found = compare.common_scores(five)
    assert found == pytest.approx({"negative": 0.45, "positive": 0.1, "surprise": 0.2, "others": 0.25})


def with_label(analysis, label):
    return replace(analysis, prediction=replace(analysis.prediction, label=label))


@pytest.mark.parametrize(
    ("labels", "expected", "line"),
    [
        (("positive", "happiness", "positive", "surprise"), ("positive", 3, 4), "3 of 4 say"),
        (("positive", "surprise"), ("", 1, 2), "do not agree"),  # as many for the one as for the other
        (("negative", None), ("negative", 1, 1), "1 of 1 say"),  # a refusal has no vote
        ((None,), ("", 0, 0), "None of them answered"),
    ],
)
def test_agreement_is_counted_in_common_classes(analysis, labels, expected, line):
    given = {
        f"htnet-{at}": with_label(analysis, label) if label else Refusal("why not")
        for at, label in enumerate(labels)
    }
    if labels[1:2] == ("happiness",):
        scores = {"happiness": 1.0}
        given["htnet-1"] = replace(
            given["htnet-1"], prediction=replace(given["htnet-1"].prediction, scores=scores)
        )
    assert compare.agreement(given) == expected
    assert line in compare.columns(given)


def test_four_networks_stand_side_by_side(answers):
    shown = compare.columns(answers)
    assert shown.count("<section") == 4 and all(name in shown for name in answers)
    for key in registry.ARCHITECTURES:
        assert registry.ARCHITECTURES[key].looks_at in shown


def long_of(*intervals):
    return LongVideo(60.0, intervals, (Gap(10.0, 12.0, "no face"),), (), np.zeros(2), np.zeros(2), ("short",))


def test_the_time_line_places_every_interval_and_the_table_opens_it():
    scores = {"negative": 0.1, "positive": 0.9}
    first = Interval(15.0, 15.2, 15.3, 1.0, 0.3, "micro_expression", "positive", scores, 0.8)
    shown = long_video.time_line(long_of(first, Interval(30.0, 30.1, 30.3, 0.5, 0.3, "other_motion")))
    assert "1 possible micro-expression in 60 s" in shown and "left:25.000%;width:0.500%" in shown
    assert "1 other motion, more like" in shown.split("<details")[1]
    assert shown.count('data-open="0"') == shown.count('data-open="1"') == 2
    assert "positive, 90%" in shown and "other motion" in shown and "no face" in shown


def test_the_time_line_counts_longer_expressions_apart():
    scores = {"negative": 0.1, "positive": 0.9}
    longer = Interval(15.0, 15.4, 16.2, 1.0, 1.2, "expression", "positive", scores)
    shown = long_video.time_line(long_of(longer))
    assert "No micro-expression found and 1 longer expression in 60 s" in shown and "<td>1.20</td>" in shown
    assert "positive, 90% (longer than a micro-expression)" in shown and 'class="longer"' in shown


def test_each_person_has_a_bar_and_a_number_in_the_table():
    first = Interval(15.0, 15.4, 16.2, 1.0, 1.2, "expression", "positive", {"positive": 1.0})
    shown = long_video.time_line(replace(long_of(first, replace(first, person=2)), people=(1, 2)))
    assert shown.count('class="bar"') == 2 and shown.count("person 2, 15.40 s") == 3
    second = shown.split(">person 2<")[1].split('class="ticks"')[0]
    assert second.count('data-open="1"') == 1 and "gap" not in second and "<td>2</td>" in shown
    assert "person" not in long_video.time_line(long_of(first))


def test_a_video_without_motion_has_no_table():
    shown = long_video.time_line(long_of())
    assert "<table" not in shown and "<details" not in shown and "No micro-expression found in" in shown


def test_the_explanation_reads_its_numbers_from_the_checkpoints():
    text = explain.text(examples.bundled_models())
    card = yaml.safe_load((loading.CHECKPOINTS / "htnet-synthetic" / "README.md").read_text().split("---")[1])
    for metric in card["model-index"][0]["results"][0]["metrics"]:
        assert f"{metric['value']:.3f}" in text
    assert text.count("not measured on it") == 3 and "recognised at 1 px" in text
    assert not set("0123456789") & set(text.split("What the numbers are")[0].split("made\n")[1])


def test_the_explanation_shows_what_was_published_on_recordings(monkeypatch):
    models = examples.bundled_models()
    assert recording_scores.published_tables() in explain.text(models)
    monkeypatch.setattr(explain, "published_tables", lambda: "")
    assert "From the file to the answer" not in explain.text(models)


def test_examples_are_rendered_once(tmp_path, monkeypatch):
    monkeypatch.setattr(examples.synthetic_clips, "EXAMPLE_KINDS", ("still",))
    black = Clip(np.zeros((2, 32, 32, 3), np.uint8), np.array([0.0, 0.1]))
    monkeypatch.setattr(examples, "example_clip", lambda kind: black)
    paths = examples.example_paths(tmp_path)
    written = paths["still"].stat().st_mtime_ns
    assert [path.name for path in tmp_path.rglob("*.mp4")] == ["still.mp4"]
    assert examples.example_paths(tmp_path)["still"].stat().st_mtime_ns == written
    (tmp_path / "changed.py").write_text("")
    monkeypatch.setattr(examples.synthetic_clips, "__file__", str(tmp_path / "changed.py"))
    assert examples.example_paths(tmp_path)["still"] != paths["still"]


def test_somebody_shows_every_example():
    assert set(examples.PEOPLE) == set(EXAMPLE_KINDS)


def test_the_space_header_names_what_is_there():
    text = (ROOT / "space" / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["sdk"] == "gradio"
    assert (ROOT / "space" / header["app_file"]).exists()
    assert len(header["short_description"]) <= 60
    installed = [line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()]
    assert dict(pair for pair in installed if len(pair) == 2)["gradio"] == header["sdk_version"]
