"""Whether the bundled networks look where the face moves: the pointing game, beside random weights.

python -m benchmarks pointing
"""

from benchmarks.pointing_game import pointing_game
from mer_hf.loading import CHECKPOINTS, load
from mer_hf.registry import ARCHITECTURES

COUNT = 20
"""Samples of each action unit."""


def run() -> dict:
    """Hits of every bundled checkpoint, and of each action unit."""
    result: dict = {"samples_per_action_unit": COUNT}
    for key in ARCHITECTURES:
        name = f"{key}-synthetic"
        if not (CHECKPOINTS / name / "config.json").is_file():
            continue
        found = pointing_game(*load(name), count=COUNT)
        units = found.pop("per_action_unit")
        result |= {f"{key}_{field}": round(value, 3) for field, value in found.items()}
        result |= {f"{key}_{unit}_hits": round(hits, 3) for unit, (hits, _) in units.items()}
    return result
