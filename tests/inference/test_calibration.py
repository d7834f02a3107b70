"""Probabilities that mean what they say, and the decision that there is an expression."""

import json
import math

import numpy as np
import pytest

from mer_hf.face.evidence import Evidence
from mer_hf.inference.calibration import (
    FEATURES,
    Calibration,
    expected_calibration_error,
    features_of,
    softmax,
)

ONES = dict.fromkeys(FEATURES, 1.0)


def test_it_is_read_as_it_was_written_and_damage_is_told_in_one_line(tmp_path):
    made = Calibration(1.5, -0.2, ONES, 0.4, {"clips": 3})
    (tmp_path / "calibration.json").write_text(made.to_json())
    assert Calibration.read(tmp_path / "calibration.json") == made
    wrong = (
        {"temperature": 0},
        {"temperature": 1e-320},
        {"bias": 1e300},
        {"weights": []},
        {"record": 5},
        {"threshold": "x"},
    )
    for text in ("{", "{}", *(json.dumps(json.loads(made.to_json()) | change) for change in wrong)):
        (tmp_path / "calibration.json").write_text(text)
        with pytest.raises(
            ValueError, match=r"calibration\.json is not a calibration .* Run mer-hf calibrate"
        ):
            Calibration.read(tmp_path / "calibration.json")
    with pytest.raises(ValueError, match="weights must be those of"):
        Calibration(1.0, 0.0, {"elsewhere": 1.0}, 0.5)
    with pytest.raises(ValueError, match="weights must not be negative"):
        Calibration(1.0, 0.0, {"motion": -1.0}, 0.5)


def test_a_temperature_makes_answers_less_sure_and_keeps_their_order():
    logits = np.array([[2.0, 0.0, -1.0], [0.1, 0.0, 0.3]])
    cooled = Calibration(2.0, 0.0, ONES, 0.5).probabilities(logits)
    assert np.allclose(cooled.sum(axis=1), 1) and (cooled.max(axis=1) < softmax(logits).max(axis=1)).all()
    assert (cooled.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_probability_of_an_expression_is_the_regression_s():
    made = Calibration(1.0, -3.0, {"motion": 0.5}, 0.5)
    assert made.expression_probability({"motion": 2.0}) == pytest.approx(1 / (1 + math.exp(3.0 - 1.0)))
    assert Calibration(1.0, -1e6, ONES, 0.5).expression_probability({"motion": 2.0}) < 1e-20


def test_an_expression_is_reported_from_the_least_motion_on():
    made = Calibration(1.0, 1.4, {"motion": 1.3}, 0.43)
    for factor, reported in ((0.99, False), (1.01, True)):
        features = features_of(Evidence(factor * made.least_motion_px, 1.0, {}))
        assert (made.expression_probability(features) >= made.threshold) == reported


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array([0] * 9 + [1] + [0] * 6 + [1] * 4)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.0, abs=1e-12)
    assert expected_calibration_error(probabilities, np.ones(20, int)) == pytest.approx(0.75)
