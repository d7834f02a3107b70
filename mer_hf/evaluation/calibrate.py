"""Fits how sure a checkpoint is: calibrated probabilities, and whether there is an expression at all."""

import numpy as np

from mer_hf.inference.calibration import FEATURES, Calibration, expected_calibration_error, log_odds, softmax
from mer_hf.synthetic.expressions import CLASSES

from .clip_sets import SILENT, Case
from .panel import Answer

CALIBRATION_SEED = 2**31 + 11
KEPT = 0.97
"""Share of each kind of clip without an expression that stays silent below the threshold, and share of the
expressions that are reported above it, where both can be had."""

CASES = (
    *(("expression", Case()) for _ in range(10)),
    ("still", Case("still")),
    *(("blink", Case("blink")) for _ in range(3)),
    *(("talk", Case("talk")) for _ in range(3)),
    *(("head turn", Case("head turn")) for _ in range(2)),
    ("gaze", Case("gaze")),
)
"""One round of clips; rounds are repeated with other indices."""


def tasks(rounds: int) -> list[tuple[str, Case]]:
    """What [`look`] draws to fit a calibration to.

    Args:
        rounds (`int`): How often `CASES` are drawn.

    Returns:
        `list[tuple[str, Case]]`: Kind and case of every clip.
    """
    return list(CASES) * rounds


def fit(answers: list[Answer], record: dict) -> Calibration:
    """Fit temperature, regression and threshold.

    The regression weighs expressions and the rest alike. The threshold keeps `KEPT` of every kind of clip
    without an expression silent; it lies halfway, in log-odds, to where fewer than `KEPT` of the expressions
    would be reported, if there is room.

    Args:
        answers (`list[Answer]`): From [`look`].
        record (`dict`): What is written down with it.

    Returns:
        [`Calibration`]

    Raises:
        ValueError: If there are too few clips of a kind.
    """
    from scipy.optimize import minimize_scalar
    from sklearn.linear_model import LogisticRegression

    moving = [each for each in answers if each.features is not None]
    shown = [each for each in moving if each.label >= 0]
    if len(shown) < 20 or len(moving) - len(shown) < 10:
        raise ValueError(
            f"{len(shown)} expressions and {len(moving) - len(shown)} other motions were spotted, too few to "
            "fit a calibration to. Raise --rounds."
        )
    logits, labels = np.stack([each.logits for each in shown]), np.array([each.label for each in shown])

    def surprise(log_temperature):
        return -np.log(
            softmax(logits / np.exp(log_temperature))[np.arange(len(labels)), labels] + 1e-12
        ).mean()

    temperature = _settled(np.exp(minimize_scalar(surprise, bounds=(-2, 3), method="bounded").x))
    sure = {id(each): float(softmax(each.logits / temperature).max()) for each in moving}
    moved = {
        key: each.features | {"confidence": log_odds(sure[key])}
        for key, each in zip(sure, moving, strict=True)
    }
    values = np.array([[moved[id(each)][name] for name in FEATURES] for each in moving])
    is_one = np.array([each.label >= 0 for each in moving])
    mean, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
    regression = LogisticRegression(C=1.0, class_weight="balanced").fit((values - mean) / spread, is_one)
    weights = regression.coef_[0] / spread
    draft = Calibration(
        temperature,
        _settled(regression.intercept_[0] - weights @ mean),
        dict(zip(FEATURES, map(_settled, weights), strict=True)),
        0.0,
    )
    likely = {key: draft.expression_probability(features) for key, features in moved.items()}
    silencing = max(
        _silencing([likely.get(id(each), 0.0) for each in answers if each.kind == kind]) for kind in SILENT
    )
    threshold = _halfway(silencing, sorted(likely[id(each)] for each in shown))
    record = record | {
        "classes": list(CLASSES),
        "clips": len(answers),
        "ece_before": round(expected_calibration_error(softmax(logits), labels), 4),
        "ece_after": round(expected_calibration_error(draft.probabilities(logits), labels), 4),
    }
    return Calibration(temperature, draft.bias, draft.weights, _settled(threshold), record)


def _settled(value: float) -> float:
    """Eight digits: another order of summing changes the twelfth, and a fit shall be the same again."""
    return float(f"{value:.8g}")


def _silencing(likely: list[float]) -> float:
    """The least threshold that keeps `KEPT` of some clips silent."""
    if not likely:
        raise ValueError("a kind of clip without an expression is missing. Raise --rounds.")
    allowed = int((1 - KEPT) * len(likely))
    return min(sorted(likely)[len(likely) - 1 - allowed] + 1e-6, 1.0)


def _halfway(silencing: float, likely: list[float]) -> float:
    """Between the least threshold and where expressions begin to be lost, given theirs in order."""
    reporting = likely[int((1 - KEPT) * len(likely))]
    if reporting <= silencing or silencing >= 1.0:
        return silencing
    middle = (log_odds(silencing) + log_odds(reporting)) / 2
    return float(1 / (1 + np.exp(-middle)))
