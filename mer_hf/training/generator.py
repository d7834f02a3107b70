"""Settings of the generator that a run changes, `--generator FIELD=VALUE ...`."""

import json
import math
from dataclasses import fields, replace
from typing import Any, TypeVar

from mer_hf.synthetic import FlowMapSettings
from mer_hf.synthetic.faces import FaceSettings

from .config import TrainingError

Settings = TypeVar("Settings", FlowMapSettings, FaceSettings)

NOT_CHANGED = ("filmed", "photograph", "photographs")
"""Settings of faces that a run leaves alone: the first has a flag of its own, photographs are for testing."""

NO_RANGES = ("class_shares", "picture_px")
"""Settings of several numbers that are not the two ends of a range."""

BOUNDS = {
    "peak_px": (0.01, 100), "sensor_noise": (0.01, 255), "noise": (0.001, 255), "picture_px": (28, 1024),
    "quality": (1, 101), "crf": (0, 52),
}  # fmt: skip
"""Least and most of settings that are drawn log-uniformly, or that a picture or a codec bounds."""


def changed(settings: Settings, given: dict[str, Any]) -> Settings:
    """The generator's settings with some of them changed.

    Args:
        settings ([`FlowMapSettings`] or [`FaceSettings`]): As they are by default.
        given (`dict`): Field -> number, or list of numbers where the field has several.

    Returns:
        [`FlowMapSettings`] or [`FaceSettings`]: The changed ones.

    Raises:
        TrainingError: If there is no such setting, or a value is not of its kind.
    """
    refused = NOT_CHANGED if isinstance(settings, FaceSettings) else ()
    known = [spec.name for spec in fields(settings) if spec.name not in refused]
    for name, value in given.items():
        if name not in known:
            raise TrainingError(
                f"--generator {name}: {type(settings).__name__} has no field of this name that a run can "
                f"change. Choose from {', '.join(known)}."
            )
        if (wanted := _wanted(name, getattr(settings, name), value)) is not None:
            raise TrainingError(f"--generator {name} must be {wanted}, got {json.dumps(value)}.")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return replace(settings, **values)


def _wanted(name: str, default: Any, value: Any) -> str | None:
    """What a value should be that it is not, with the default as an example; None if nothing is wrong."""
    example = f"like {json.dumps(default)}"
    several = isinstance(default, tuple)
    whole = isinstance(default[0] if several else default, int)
    least, most = BOUNDS.get(name, (0, math.inf))
    bounds = f"of at least {least}" if most == math.inf else f"in {least} to {most}"
    if not several:
        kind = "a whole number" if whole else "a number"
        return None if _fits(value, whole, least, most) else f"{kind} {bounds} {example}"
    kind = "whole numbers" if whole else "numbers"
    if not isinstance(value, list | tuple) or not value:
        return f"a list of {len(default)} {kind} {example}"
    if name != "picture_px" and len(value) != len(default):
        return f"a list of {len(default)} {kind} {example}"
    if not all(_fits(one, whole, least, most) for one in value):
        return f"a list of {kind} {bounds} {example}"
    if name == "class_shares" and not math.isclose(sum(value), 1, abs_tol=1e-6):
        return f"shares that add up to 1 {example}"
    # Whole numbers are drawn below the upper end.
    if name not in NO_RANGES and value[0] + whole > value[1]:
        return f"the lower and the upper end of a range {example}"
    return None


def _fits(value: Any, whole: bool, least: float, most: float) -> bool:
    """Whether a value is a number of the kind, within its bounds."""
    kinds = int if whole else int | float
    return (
        isinstance(value, kinds)
        and not isinstance(value, bool)
        and least <= value <= most
        and value < math.inf
    )
