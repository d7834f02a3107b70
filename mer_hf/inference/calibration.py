"""Calibrated probabilities, and the decision whether there is an expression at all.

A flow map is scaled to its own range, so noise looks like motion to a network, and its answer on noise is
as confident as any. What the network cannot know, `mer_hf.face.evidence` measures: how much of the motion is
facial. A logistic regression on it gives the probability of an expression. It was fitted on synthetic clips
and lies beside the weights as `calibration.json`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from inspect import get_annotations
from pathlib import Path

import numpy as np

from mer_hf.face.evidence import Evidence
from mer_hf.utils.untrusted import check_kinds, read_json

FILE = "calibration.json"

FEATURES = ("motion",)
MOST_WEIGHT = 1e6
_LEAST_PX = 0.03


@dataclass(frozen=True)
class Calibration:
    """The calibration of one checkpoint.

    Attributes:
        temperature (`float`): Divisor of the logits.
        bias (`float`): Bias of the logistic regression.
        weights (`dict[str, float]`): Feature -> weight, for all `FEATURES`; not negative.
        threshold (`float`): Least probability of an expression that is reported as one.
        record (`dict`): How it was fitted: clips, seed, errors before and after.

    Raises:
        ValueError: If a value is out of range or a weight is missing.
    """

    temperature: float
    bias: float
    weights: dict[str, float]
    threshold: float
    record: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_kinds(vars(self), get_annotations(Calibration), "a calibration")
        if not 0.01 <= self.temperature <= 100:
            raise ValueError(f"temperature must lie in 0.01 to 100, got {self.temperature}.")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie in 0 to 1, got {self.threshold}.")
        if set(self.weights) != set(FEATURES):
            raise ValueError(f"weights must be those of {', '.join(FEATURES)}, got {sorted(self.weights)}.")
        if not all(abs(value) <= MOST_WEIGHT for value in (self.bias, *self.weights.values())):
            raise ValueError(f"bias and weights must lie in -{MOST_WEIGHT:g} to {MOST_WEIGHT:g}.")
        if min(self.weights.values()) < 0:
            raise ValueError("weights must not be negative: more facial motion is more of an expression.")

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Read `calibration.json`, or refuse a damaged one in one line."""
        try:
            return cls(**read_json(Path(path)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is not a calibration ({error}). Run mer-hf calibrate again.") from error

    def to_json(self) -> str:
        """Return the text of `calibration.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return class probabilities for logits `(..., num_classes)`; the last axis sums to 1."""
        return softmax(np.asarray(logits, np.float64) / self.temperature)

    def expression_probability(self, features: Mapping[str, float]) -> float:
        """Return the probability that a motion with these `FEATURES` is an expression."""
        score = self.bias + sum(self.weights[name] * features[name] for name in FEATURES)
        return float(1 / (1 + math.exp(-min(max(score, -60.0), 60.0))))

    @property
    def least_motion_px(self) -> float:
        """Return the facial motion at which an expression is reported, see `mer_hf.face.evidence`."""
        odds = math.log(max(self.threshold, 1e-9) / max(1 - self.threshold, 1e-9))
        return math.exp((odds - self.bias) / max(self.weights["motion"], 1e-9)) - _LEAST_PX


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def features_of(evidence: Evidence) -> dict[str, float]:
    """Return the `FEATURES` of a movement."""
    return {"motion": math.log(evidence.motion_px + _LEAST_PX)}


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Return the mean gap between confidence and accuracy (ECE; Guo et al. 2017, bins of equal width).

    Args:
        probabilities (`np.ndarray` of shape `(N, num_classes)`): Class probabilities.
        labels (`np.ndarray` of shape `(N,)`): Class indices.
        bins (`int`, *optional*, defaults to 15): Number of bins of confidence.

    Returns:
        `float`: In [0, 1].
    """
    confidence = probabilities.max(axis=1)
    surplus = (probabilities.argmax(axis=1) == labels) - confidence
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(place, weights=surplus)).sum() / len(labels))
