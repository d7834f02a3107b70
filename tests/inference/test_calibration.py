"""Probabilities that mean what they say, and the decision that there is an expression."""

import json
import math

import numpy as np
import pytest

from mer_hf.face.spotting import Phases
from mer_hf.inference.calibration import (
    FEATURES,
    Calibration,
    expected_calibration_error,
    features_of,
    softmax,
)

ONES = dict.fromkeys(FEATURES, 1.0)


def phases(curve, onset=2, apex=4, offset=6, **options):
    defaults = {"source": "spotted", "outcome": "micro_expression", "threshold": 0.3}
    return Phases(onset, apex, offset, np.asarray(curve, np.float32), **(defaults | options))


def test_it_is_read_as_it_was_written_and_damage_is_told_in_one_line(tmp_path):
    made = Calibration(1.5, -0.2, ONES, 0.4, {"clips": 3})
    (tmp_path / "calibration.json").write_text(made.to_json())
    assert Calibration.read(tmp_path / "calibration.json") == made
    for text in ("{", "{}", json.dumps(json.loads(made.to_json()) | {"temperature": 0})):
        (tmp_path / "calibration.json").write_text(text)
        with pytest.raises(
            ValueError, match=r"calibration\.json is not a calibration .* Run mer-hf calibrate"
        ):
            Calibration.read(tmp_path / "calibration.json")
    with pytest.raises(ValueError, match="weights must be those of"):
        Calibration(1.0, 0.0, {"motion": 1.0}, 0.5)


def test_a_temperature_makes_answers_less_sure_and_keeps_their_order():
    logits = np.array([[2.0, 0.0, -1.0], [0.1, 0.0, 0.3]])
    cooled = Calibration(2.0, 0.0, ONES, 0.5).probabilities(logits)
    assert np.allclose(cooled.sum(axis=1), 1) and (cooled.max(axis=1) < softmax(logits).max(axis=1)).all()
    assert (cooled.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_probability_of_an_expression_is_the_regression_s():
    features = {name: float(at) for at, name in enumerate(FEATURES)}
    made = Calibration(1.0, -3.0, dict.fromkeys(FEATURES, 0.5), 0.5)
    assert made.expression_probability(features) == pytest.approx(1 / (1 + math.exp(3.0 - 0.5 * 21)))
    assert Calibration(1.0, -1e6, ONES, 0.5).expression_probability(features) < 1e-20


def test_features_say_how_large_how_long_and_what_else_moves():
    curve = [0, 0, 0.1, 0.8, 1.2, 0.8, 0.1, 0.3, 0.3, 0.3]
    times = np.arange(10) / 20
    found = features_of(phases(curve, candidates=((2, 4, 6), (7, 8, 9))), times, 120.0, 0.9)
    assert found["motion_over_noise"] == pytest.approx(math.log(4)) and set(found) == set(FEATURES)
    assert found["motion"] == pytest.approx(math.log(0.6)) and found["duration_s"] == pytest.approx(0.2)
    assert found["elsewhere"] == pytest.approx(0.25) and found["candidates"] > 0 and not found["near_blink"]
    assert features_of(phases(curve, blinks=((7, 9),)), times, 120.0, 0.9)["near_blink"] == 1
    unknown = features_of(phases(curve), None, 120.0, 1.0)
    assert all(math.isfinite(value) for value in unknown.values())


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array([0] * 9 + [1] + [0] * 6 + [1] * 4)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.0, abs=1e-12)
    assert expected_calibration_error(probabilities, np.ones(20, int)) == pytest.approx(0.75)
