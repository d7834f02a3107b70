"""Fit how sure a checkpoint is: calibrated probabilities, and whether there is an expression at all."""

import numpy as np

from mer_hf.inference.calibration import FEATURES, Calibration, expected_calibration_error, log_odds, softmax
from mer_hf.synthetic.expressions import CLASSES

from .clip_results import ClipResult
from .clip_sets import SILENT, TestClip

CALIBRATION_SEED = 2**31 + 11
KEPT = 0.97
"""Share of each kind of clip without an expression that stays silent below the threshold, and share of the
expressions that are reported above it, where both can be had."""

ROUND = {"expression": 10, "still": 1, "blink": 3, "talk": 3, "head turn": 2, "gaze": 1}
"""Kind -> clips in one round; rounds are repeated with other indices."""


def calibration_clips(rounds: int) -> list[TestClip]:
    """Return the clips that a calibration is fitted to."""
    return [TestClip(kind) for kind, count in ROUND.items() for _ in range(count)] * rounds


def fit(results: list[ClipResult], record: dict) -> Calibration:
    """Fit temperature, regression and threshold.

    The regression weighs expressions and other clips alike. The threshold keeps `KEPT` of every kind of clip
    without an expression silent. If there is room, it lies halfway, in log-odds, to where fewer than `KEPT`
    of the expressions would be reported.

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
    logits = np.stack([each.logits for each in moving])
    temperature = _fit_temperature(logits[shown], labels[shown])
    sure = [float(confidence) for confidence in softmax(logits / temperature).max(axis=1)]
    features = [
        each.features | {"confidence": log_odds(confidence)}
        for each, confidence in zip(moving, sure, strict=True)
    ]
    draft = Calibration(temperature, *_fit_regression(features, shown), 0.0)
    likely = {id(each): draft.expression_probability(f) for each, f in zip(moving, features, strict=True)}
    silencing = max(
        _silencing([likely.get(id(each), 0.0) for each in results if each.test.kind == kind])
        for kind in SILENT
    )
    threshold = _halfway(silencing, sorted(likely[id(each)] for each in moving if each.label >= 0))
    record = record | {
        "classes": list(CLASSES),
        "clips": len(results),
        "ece_before": round(expected_calibration_error(softmax(logits[shown]), labels[shown]), 4),
        "ece_after": round(expected_calibration_error(draft.probabilities(logits[shown]), labels[shown]), 4),
    }
    return Calibration(temperature, draft.bias, draft.weights, _settled(threshold), record)


def _fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature that makes the true classes most probable."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature))
        return -np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean()

    return _settled(np.exp(minimize_scalar(loss, bounds=(-2, 3), method="bounded").x))


def _fit_regression(features: list[dict], is_expression: np.ndarray) -> tuple[float, dict[str, float]]:
    """Return bias and weights of the logistic regression on the features."""
    from sklearn.linear_model import LogisticRegression

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


def _silencing(likely: list[float]) -> float:
    """Return the smallest threshold that keeps `KEPT` of some clips silent."""
    if not likely:
        raise ValueError("a kind of clip without an expression is missing. Raise --rounds.")
    allowed = int((1 - KEPT) * len(likely))
    return min(sorted(likely)[len(likely) - 1 - allowed] + 1e-6, 1.0)


def _halfway(silencing: float, likely: list[float]) -> float:
    """Return a threshold halfway from the smallest one to where expressions, sorted, begin to be lost."""
    reporting = likely[int((1 - KEPT) * len(likely))]
    if reporting <= silencing or silencing >= 1.0:
        return silencing
    middle = (log_odds(silencing) + log_odds(reporting)) / 2
    return float(1 / (1 + np.exp(-middle)))
