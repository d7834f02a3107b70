"""How sure to be: calibrated probabilities, and whether there is a micro-expression at all.

A flow map is scaled to its own range, so noise looks like motion to a network, and its answer on noise is
as confident as any. What it cannot know is read from the clip: how far the strongest motion rises above the
clip's own noise, how large it is, how long it lasts, how much moves elsewhere in the clip, and whether a
blink is near. A logistic regression on these and the network's confidence says how likely an expression is.
It was fitted on synthetic clips and lies beside the weights as `calibration.json`.
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
    """What was fitted for one checkpoint.

    Attributes:
        temperature (`float`): Logits are divided by it.
        bias (`float`): Of the logistic regression.
        weights (`dict[str, float]`): Of `FEATURES`.
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
        """Read `calibration.json`.

        Args:
            path (`Path`): The file.

        Returns:
            [`Calibration`]

        Raises:
            ValueError: In one line, if the file is damaged.
        """
        try:
            return cls(**json.loads(Path(path).read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is no calibration ({error}). Run mer-hf calibrate again.") from error

    def to_json(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Class probabilities.

        Args:
            logits (`np.ndarray` of shape `(..., num_classes)`): The network's.

        Returns:
            `np.ndarray`: Same shape, float64; the last axis sums to 1.
        """
        return softmax(np.asarray(logits, np.float64) / self.temperature)

    def expression_probability(self, features: Mapping[str, float]) -> float:
        """How likely a motion is an expression.

        Args:
            features (`Mapping[str, float]`): From [`features_of`].

        Returns:
            `float`: In [0, 1].
        """
        score = self.bias + sum(self.weights[name] * features[name] for name in FEATURES)
        return float(1 / (1 + math.exp(-min(max(score, -60.0), 60.0))))


def log_odds(probability: float) -> float:
    """Logarithm of p / (1 - p), with p kept a thousandth away from 0 and 1."""
    sure = min(max(probability, 1e-3), 1 - 1e-3)
    return math.log(sure / (1 - sure))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def features_of(
    phases: Phases, timestamps_s: np.ndarray | None, interocular_px: float, confidence: float
) -> dict[str, float]:
    """What a clip says about its strongest motion.

    Args:
        phases (`Phases`): Spotted in the clip, with an apex.
        timestamps_s (`np.ndarray` of shape `(T,)`, *optional*): Seconds; None or NaN where they are unknown.
        interocular_px (`float`): Distance between the eyes in the aligned face.
        confidence (`float`): The network's highest class probability.

    Returns:
        `dict[str, float]`: `FEATURES`.
    """
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
    """How far confidence and accuracy lie apart (ECE; Guo et al. 2017, with bins of equal width).

    Args:
        probabilities (`np.ndarray` of shape `(N, num_classes)`): Of the classes.
        labels (`np.ndarray` of shape `(N,)`): Class indices.
        bins (`int`, *optional*, defaults to 15): Of confidence.

    Returns:
        `float`: In [0, 1].

    Raises:
        ValueError: If there is nothing to measure.
    """
    if not len(labels):
        raise ValueError("expected at least one answer.")
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (place == each).sum() * abs(right[place == each].mean() - confidence[place == each].mean())
        for each in np.unique(place)
    ]
    return float(sum(gaps) / len(labels))
