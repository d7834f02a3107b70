"""Draw which action units a class of micro-expression shows, how strongly, and on which side.

The shares below come from the public coding sheets of CASME II and SAMM (AUs by class of the MEGC2019
composite). No recorded expression is used, only how often each AU was written down for each class; AUs under
about 10 % were not counted there and get small shares of our own.
"""

from typing import NamedTuple

import numpy as np

CLASSES = ("negative", "positive", "surprise")

AU_SHARES: dict[str, dict[str, dict[str, float]]] = {
    "casme2": {
        "negative": {
            "AU4": 0.67, "AU7": 0.33, "AU17": 0.23, "AU10": 0.19, "AU9": 0.15,
            "AU14": 0.08, "AU15": 0.10, "AU24": 0.06, "AU6": 0.05, "AU20": 0.03, "AU23": 0.03,
        },
        "positive": {
            "AU12": 0.84, "AU6": 0.25, "AU14": 0.16, "AU7": 0.08, "AU17": 0.05, "AU24": 0.05, "AU15": 0.03,
        },
        "surprise": {"AU2": 0.80, "AU1": 0.72, "AU5": 0.10, "AU25": 0.08, "AU14": 0.04, "AU26": 0.03},
    },
    "samm": {
        "negative": {
            "AU7": 0.47, "AU4": 0.24, "AU14": 0.13, "AU12": 0.06, "AU15": 0.08, "AU9": 0.07, "AU10": 0.06,
            "AU17": 0.07, "AU20": 0.05, "AU23": 0.06, "AU24": 0.05, "AU1": 0.05, "AU2": 0.03, "AU25": 0.05,
        },
        "positive": {"AU12": 1.00, "AU6": 0.15, "AU14": 0.04, "AU7": 0.06, "AU25": 0.05},
        "surprise": {"AU5": 0.60, "AU1": 0.27, "AU2": 0.27, "AU25": 0.10, "AU26": 0.06, "AU7": 0.03},
    },
}  # fmt: skip
"""Set -> class -> AU -> share of clips."""

TOGETHER: tuple[tuple[str, str], ...] = (("AU1", "AU2"), ("AU6", "AU12"))
"""AUs that muscles like to move together: if the first is there, the second gets a similar strength."""

ONE_SIDED = {"AU12": 0.25, "AU14": 0.45, "AU10": 0.25, "AU15": 0.15, "AU2": 0.15, "AU20": 0.15}
"""AU -> share of clips in which only one side moves; 0.05 for all others."""


Activations = dict[str, tuple[float, float]]
"""AU -> strength on the left and on the right of the person."""


class Expression(NamedTuple):
    """An index in `CLASSES`, and strengths relative to the expression's amplitude."""

    label: int
    activations: Activations


def draw_expression(rng: np.random.Generator, label: int) -> Expression:
    """Draw at least one AU, strengths and sides for a clip of a class."""
    shares = list(AU_SHARES.values())[rng.integers(len(AU_SHARES))][CLASSES[label]]
    names = np.array(list(shares))
    probabilities = np.array(list(shares.values()))
    present = rng.random(len(names)) < probabilities
    if not present.any():
        present[rng.choice(len(names), p=probabilities / probabilities.sum())] = True
    strengths = {name: float(np.exp(0.35 * rng.standard_normal())) for name in names[present]}
    for first, second in TOGETHER:
        if first in strengths and second in strengths:
            strengths[first] = strengths[second] * float(rng.uniform(0.6, 1.2))
    return Expression(label, {name: draw_sides(rng, name, strength) for name, strength in strengths.items()})


def begin_sample(
    seed: int, index: int, class_shares: tuple[float, ...]
) -> tuple[np.random.Generator, Expression]:
    """Return the random generator of sample `index` of a stream, and the expression first drawn from it."""
    rng = np.random.default_rng([seed, index])
    label = int(rng.choice(len(CLASSES), p=class_shares))
    return rng, draw_expression(rng, label)


def draw_sides(rng: np.random.Generator, name: str, strength: float) -> tuple[float, float]:
    """Draw left and right strength of an AU: sometimes one side alone, else slightly uneven."""
    if rng.random() < ONE_SIDED.get(name, 0.05):
        weaker = strength * float(rng.uniform(0.0, 0.3))
        return (strength, weaker) if rng.random() < 0.5 else (weaker, strength)
    imbalance = float(np.exp(0.15 * rng.standard_normal()))
    return strength * imbalance, strength / imbalance
