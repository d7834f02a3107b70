"""Draw a dataset of people who do not exist: flow maps in which each subject keeps a crop and a camera."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .flow_maps import FlowMapSettings, SyntheticFlowMaps, log_uniform

CLIPS_EACH = (3, 12)
"""Fewest and most clips of a subject; the composite's 68 subjects have 1 to 39."""


def settings_of(rng: np.random.Generator, settings: FlowMapSettings) -> FlowMapSettings:
    """Draw what one person and one camera keep from clip to clip: the crop, the noise, the flow method."""
    kept = {}
    for name, spread in (("eye_row", 0.3), ("interocular_px", 0.3), ("squash", 0.02)):
        middle = rng.uniform(*getattr(settings, name))
        kept[name] = (middle - spread, middle + spread)
    noise = log_uniform(rng, *settings.sensor_noise)
    kept["sensor_noise"] = (0.8 * noise, 1.25 * noise)
    kept["picture_px"] = (int(rng.choice(settings.picture_px)),)
    kept["tvl1"] = float(rng.random() < settings.tvl1)
    return replace(settings, **kept)


def person_maps(seed: int, person: int) -> SyntheticFlowMaps:
    """Return the flow maps of one person of a dataset, a pure function of (seed, person)."""
    rng = np.random.default_rng([seed, person])
    clips = int(rng.integers(CLIPS_EACH[0], CLIPS_EACH[1] + 1))
    stream = int(rng.integers(2**31))
    return SyntheticFlowMaps(stream, clips, settings_of(rng, FlowMapSettings()))


def draw_people(
    subjects: int, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> dict[str, np.ndarray]:
    """Draw a dataset; subject i is a pure function of (seed, i).

    Args:
        subjects (`int`): Number of people.
        seed (`int`, *optional*, defaults to 0): Chooses the people.
        progress (`Callable[[int, int], None]`, *optional*): Called with people done and people in all.

    Returns:
        `dict[str, np.ndarray]`: `flow` uint8 `(N, 28, 28, 3)`, `label` int64 `(N,)`, `subject` and `dataset`
        str `(N,)`.

    Raises:
        ValueError: If there are fewer than two subjects.
    """
    if subjects < 2:
        raise ValueError(f"expected at least two subjects, got {subjects}: no subject could be held out.")
    samples: list[dict] = []
    for person in range(subjects):
        known = {"subject": f"s{person:03d}", "dataset": "synthetic"}
        samples += [sample | known for sample in person_maps(seed, person)]
        if progress:
            progress(person + 1, subjects)
    columns = ("flow", "label", "subject", "dataset")
    return {name: np.array([sample[name] for sample in samples]) for name in columns}
