"""Calibrated probabilities, and the decision whether there is a micro-expression at all.

A flow map is scaled to its own range, so noise looks like motion to a network, and its answer on noise is
as confident as any. The clip shows what the network cannot know: how far the strongest motion rises above the
clip's own noise, how large it is, how long it lasts, how much moves elsewhere in the clip, and whether a
blink is near. A logistic regression on these features and the network's confidence gives the probability of
an expression. It was fitted on synthetic clips and lies beside the weights as `calibration.json`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from mer_hf.face.spotting import LONGEST_S, Phases

FILE = "calibration.json"

FEATURES = (
    "motion_over_noise", "motion", "confidence", "elsewhere", "candidates", "duration_s", "near_blink",
)  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """The calibration of one checkpoint.

    Attributes:
        temperature (`float`): Divisor of the logits.
        bias (`float`): Bias of the logistic regression.
        weights (`dict[str, float]`): Feature -> weight, for all `FEATURES`.
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
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie in 0 to 1, got {self.threshold}.")
        if set(self.weights) != set(FEATURES):
            raise ValueError(f"weights must be those of {', '.join(FEATURES)}, got {sorted(self.weights)}.")
        if not all(math.isfinite(value) for value in (self.bias, *self.weights.values())):
            raise ValueError("bias and weights must be finite numbers.")

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Read `calibration.json`, or refuse a damaged one in one line."""
        try:
            return cls(**json.loads(Path(path).read_text()))
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


def log_odds(probability: float) -> float:
    """Return the logarithm of p / (1 - p), with p kept a thousandth away from 0 and 1."""
    kept = min(max(probability, 1e-3), 1 - 1e-3)
    return math.log(kept / (1 - kept))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def features_of(
    phases: Phases, timestamps_s: np.ndarray | None, interocular_px: float, confidence: float
) -> dict[str, float]:
    """Return the `FEATURES` of a clip's strongest motion, whose highest class probability is `confidence`."""
    curve = np.asarray(phases.curve, np.float64)
    top = max(float(curve[phases.apex]), 1e-6)
    outside = np.ones(len(curve), dtype=bool)
    outside[phases.onset : phases.offset + 1] = False
    known = timestamps_s is not None and np.isfinite(timestamps_s).all()
    lasts_s = float(timestamps_s[-1] - timestamps_s[0]) if known else 1.0
    duration_s = float(timestamps_s[phases.offset] - timestamps_s[phases.onset]) if known else LONGEST_S / 2
    reach = phases.onset - 2, phases.offset + 2
    return {
        "motion_over_noise": math.log(top / max(phases.threshold, 1e-6)),
        "motion": math.log(top / interocular_px * 60),
        "confidence": log_odds(confidence),
        "elsewhere": float(np.percentile(curve[outside], 90)) / top if outside.any() else 0.0,
        "candidates": math.log1p(max(len(phases.candidates) - 1, 0) / max(lasts_s, 0.5)),
        "duration_s": min(duration_s, 2 * LONGEST_S),
        "near_blink": float(any(a <= reach[1] and b >= reach[0] for a, b in phases.blinks)),
    }


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
