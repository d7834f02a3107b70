"""Fit how sure a checkpoint is: calibrated probabilities, and whether there is an expression at all."""

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from mer_hf.inference.calibration import FEATURES, Calibration, expected_calibration_error, softmax
from mer_hf.synthetic.expressions import CLASSES

from .clip_results import ClipResult
from .clip_sets import TestClip

CALIBRATION_SEED = 2**31 + 11
REPORTED = 0.8
"""The threshold reports this share of the expressions, which is what is asked for on ordinary video; more of
them would be paid for with other motion."""

ROUND = {"expression": 6, "still": 1, "blink": 2, "talk": 2, "head turn": 2, "gaze": 1, "restless": 2}
"""Kind -> clips in one round, once as they are and once like ordinary video; rounds are repeated."""


def calibration_clips(rounds: int) -> list[TestClip]:
    """Return the clips that a calibration is fitted to."""
    clips = [TestClip(kind, ordinary=like) for kind, count in ROUND.items() for like in (False, True)
             for _ in range(count)]  # fmt: skip
    return clips * rounds


def fit(results: list[ClipResult], record: dict) -> Calibration:
    """Fit temperature, regression and threshold.

    The regression weighs expressions and other clips alike. The threshold reports `REPORTED` of the
    expressions, of any size and length.

    Args:
        results (`list[ClipResult]`): Of [`calibration_clips`].
        record (`dict`): Stored with the calibration.

    Returns:
        [`Calibration`]

    Raises:
        ValueError: If there are too few clips of a kind.
    """
    moving = [each for each in results if each.features is not None]
    labels = np.array([each.label for each in moving])
    shown = labels >= 0
    if shown.sum() < 20 or (~shown).sum() < 10:
        raise ValueError(
            f"{shown.sum()} expressions and {(~shown).sum()} other motions were spotted, too few to "
            "fit a calibration to. Raise --rounds."
        )
    logits, classes = np.stack([each.logits for each in moving])[shown], labels[shown]
    temperature = _fit_temperature(logits, classes)
    draft = Calibration(temperature, *_fit_regression([each.features for each in moving], shown), 0.0)
    asked = [each.features for each in results if each.label >= 0]
    likely = [draft.expression_probability(features) if features else 0.0 for features in asked]
    before = round(expected_calibration_error(softmax(logits), classes), 4)
    after = round(expected_calibration_error(draft.probabilities(logits), classes), 4)
    found = {"classes": list(CLASSES), "clips": len(results), "ece_before": before, "ece_after": after}
    threshold = _settled(np.quantile(likely, 1 - REPORTED))
    return replace(draft, threshold=threshold, record=record | found)


def _fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature that makes the true classes most probable."""

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature))
        return -np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean()

    return _settled(np.exp(minimize_scalar(loss, bounds=(-2, 3), method="bounded").x))


def _fit_regression(features: list[dict], is_expression: np.ndarray) -> tuple[float, dict[str, float]]:
    """Return bias and weights of the logistic regression on the features."""
    values = np.array([[each[name] for name in FEATURES] for each in features])
    mean, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
    regression = LogisticRegression(C=1.0, class_weight="balanced")
    regression.fit((values - mean) / spread, is_expression)
    weights = regression.coef_[0] / spread
    bias = _settled(regression.intercept_[0] - weights @ mean)
    return bias, dict(zip(FEATURES, map(_settled, weights), strict=True))


def _settled(value: float) -> float:
    """Round to eight digits, so that a fit is reproduced: the order of summing changes the twelfth."""
    return float(f"{value:.8g}")
