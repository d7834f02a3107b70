"""The fixed evaluation set: people who do not exist, at four difficulties, as flow maps and as clips.

Every sample is a pure function of its level and its number, so that everybody measures on the same ones.
"""

from dataclasses import dataclass

import numpy as np

from mer_hf.synthetic import FlowMapSettings, SyntheticFlowMaps

from .clip_sets import TestClip

SEED = 2**31 + 61
"""Above every training seed."""
MAPS, CLIPS = 300, 24
"""Samples of a level."""


@dataclass(frozen=True)
class Level:
    """What makes a level difficult.

    Attributes:
        peak_px (`tuple[float, float]`): Largest motion, in pixels at an interocular distance of 60.
        noise (`float`): Sensor noise in grey levels.
        head (`float`): Spread of the head's relative motion, in flow maps.
        crf (`int`): Compression of the clips, H.264.
    """

    peak_px: tuple[float, float]
    noise: float
    head: float
    crf: int


LEVELS = {
    "easy": Level((2.0, 4.0), noise=0.5, head=0.05, crf=18),
    "medium": Level((1.0, 2.0), noise=1.0, head=0.15, crf=21),
    "hard": Level((0.6, 1.0), noise=2.0, head=0.3, crf=24),
    "hardest": Level((0.3, 0.6), noise=3.0, head=0.6, crf=27),
}


def level_maps(name: str, count: int = MAPS) -> dict[str, np.ndarray]:
    """Draw flow maps of a level: `flow` uint8 `(count, 28, 28, 3)` and `label`, the three classes alike."""
    level = LEVELS[name]
    settings = FlowMapSettings(
        class_shares=(1 / 3, 1 / 3, 1 / 3), muscle=0.35, reach=(0.55, 1.0), person=1.0, filmed=1.0,
        picture_px=(112,), peak_px=level.peak_px, sensor_noise=(0.8 * level.noise, 1.25 * level.noise),
        head=level.head, strong_head=0.0,
    )  # fmt: skip
    data = SyntheticFlowMaps(seed_of(name), count, settings)
    samples = [data[index] for index in range(count)]
    return {key: np.array([sample[key] for sample in samples]) for key in ("flow", "label")}


def level_clips(name: str, count: int = CLIPS) -> list[TestClip]:
    """Describe the clips of a level; their motion grows evenly in its logarithm."""
    level = LEVELS[name]
    sizes = np.geomspace(*level.peak_px, count)
    return [TestClip(peak_px=float(size), noise=level.noise, crf=level.crf, row=(name, "")) for size in sizes]


def seed_of(name: str) -> int:
    """Return the seed of a level's maps and clips: levels share no person."""
    return SEED + list(LEVELS).index(name)
