"""Scores of recordings are those that a person would count."""

import numpy as np
import pytest

from mer_hf.evaluation.metrics import uar, uf1
from mer_hf.evaluation.recording_scores import flat, format_scores, score, write_rows
from mer_hf.evaluation.recordings import with_mean

CLASSES = ("negative", "positive", "surprise")
EMOTIONS = ("disgust", "happiness", "surprise", "others", "neutral")


def row(index: int, model: str = "a", said: int = 0, **more):
    """A clip of one of five subjects; `said` is the class that the network names with probability 0.8."""
    emotion = EMOTIONS[index % 5]
    scores = [0.1, 0.1, 0.1]
    scores[said] = 0.8
    return {
        "key": f"clip{index}", "dataset": "x" if index % 2 else "y", "subject": f"s{index // 4}",
        "emotion": emotion, "label": index % 5 if index % 5 < 3 else None, "model": model,
        "outcome": "micro_expression", "expression_probability": 0.9, "coded": [0.0, 0.1, 0.3],
        "spotted_s": [0.02, 0.15, 0.3], "coded_units": ["12", "L4"] if index % 2 else ["R4"],
        "units": {"AU12": [0.9, 0.9, 0.9 if index % 2 else 0.1], "AU4": [0.8 * (index % 2), 0.1, 0.8]},
        "annotated": scores, "spotted": scores, "midpoint": scores,
    } | more  # fmt: skip


ROWS = [row(index, said=(index % 5 + index // 10) % 3) for index in range(20)]


def test_classes_are_scored_as_by_the_metrics():
    result = score(ROWS, CLASSES, draws=200)
    labelled = [each for each in ROWS if each["label"] is not None]
    said = np.array([np.argmax(each["spotted"]) for each in labelled])
    true = np.array([each["label"] for each in labelled])
    scores = result["models"]["a"]["classes"]["spotted"]
    assert scores["uf1"] == pytest.approx(uf1(said, true, 3)) and scores["uar"] == pytest.approx(
        uar(said, true, 3)
    )
    assert scores["uf1_interval"][0] <= scores["uf1"] <= scores["uf1_interval"][1]
    assert np.sum(scores["confusion"]) == scores["clips"] == 12 and result["left_out"] == {
        "others": 4,
        "neutral": 4,
    }
    assert sum(part["clips"] for part in scores["per_dataset"].values()) == 12


def test_what_is_not_reported_is_wrong_if_asked_for():
    rows = [each | {"outcome": "no_motion"} if index < 10 else each for index, each in enumerate(ROWS)]
    forced, own = (score(rows, CLASSES, selective=s, draws=50) for s in (False, True))
    assert forced["models"]["a"]["classes"] == score(ROWS, CLASSES, draws=50)["models"]["a"]["classes"]
    refused = np.array(own["models"]["a"]["classes"]["spotted"]["confusion"])[:, -1]
    assert refused.sum() == 6
    assert own["models"]["a"]["classes"]["annotated"] == forced["models"]["a"]["classes"]["annotated"]


def test_outcomes_phases_and_action_units():
    still = {"outcome": "blink", "expression_probability": 0.1}
    rows = [each | still if each["emotion"] == "neutral" else each for each in ROWS]
    model = score(rows, CLASSES, draws=50)["models"]["a"]
    assert model["outcomes"] == {
        "counts": {"micro_expression": 16, "blink": 4},
        "expressions_reported": 1.0,
        "neutral_left_alone": 1.0,
        "area_under_the_curve": 1.0,
    }
    assert model["phases"] == pytest.approx(
        {"clips": 20, "onset_ms": 20.0, "apex_ms": 50.0, "offset_ms": 0.0, "midpoint_ms": 50.0}
    )
    units = model["action_units"]
    assert units["AU12"] == {
        "coded": 10,
        "area_under_the_curve": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
    }
    assert units["L4"]["recall"] == 1.0 and units["R4"]["recall"] == 0.0
    assert "AU4" not in units  # coded in every clip: there is nothing to tell apart


def test_the_mean_of_networks_and_their_difference():
    other = [row(index, "b", said=index % 5 % 3) for index in range(20)]
    rows = with_mean([*ROWS, *other])
    result = score(rows, CLASSES, draws=100)
    assert list(result["models"]) == ["a", "b", "mean"]
    mean = next(each for each in rows if each["model"] == "mean")
    np.testing.assert_allclose(sum(mean["spotted"]), 1)
    pair = next(each for each in result["differences"] if each["phases"] == "spotted")
    expected = [result["models"][name]["classes"]["spotted"]["uf1"] for name in ("a", "b")]
    assert pair["models"] == ["a", "b"] and pair["uf1"] == pytest.approx(expected[0] - expected[1])
    assert pair["interval"][0] <= pair["uf1"] <= pair["interval"][1] < 0
    text = format_scores(result, "spotted")
    assert "mean" in text and "midpoint  " not in text and "a - b" in text


def test_rows_are_written_as_csv_and_numbers_become_flat(tmp_path):
    import pandas

    write_rows(tmp_path / "rows.csv", ROWS)
    table = pandas.read_csv(tmp_path / "rows.csv")
    assert (
        len(table) == 20 and table["spotted"][0] == "[0.8, 0.1, 0.1]" and table["label"].dropna().max() == 2
    )
    numbers = dict(flat({"a": {"uf1": 0.25, "uf1_interval": (0.1, 0.4)}, "b": [1]}))
    assert numbers == {"a/uf1": 0.25, "a/uf1_interval_low": 0.1, "a/uf1_interval_high": 0.4}
