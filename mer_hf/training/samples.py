"""What a drawn sample is, and how it reaches the network: flow maps or aligned faces.

A network whose image processor takes `flow_maps` trains on flow maps, every other one on aligned faces.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from mer_hf.face.action_units import estimate_action_units
from mer_hf.synthetic import FlowMapSettings, SyntheticFlowMaps
from mer_hf.synthetic.faces import FaceSettings, SyntheticFaces

from .config import TrainingError
from .second_task import relative_strengths

Arrays = dict[str, np.ndarray]
"""Column -> the values of several samples."""

FIXED = ("photograph",)
"""Settings that no run changes: the photograph is for testing."""


def changed(settings, changes: dict[str, Any], fixed: tuple[str, ...] = FIXED):
    """Return settings of the generator with some fields changed (`--generator`), names and kinds checked."""
    known = {spec.name: getattr(settings, spec.name) for spec in fields(settings) if spec.name not in fixed}
    for name, value in changes.items():
        if name not in known:
            owner, names = type(settings).__name__, ", ".join(known)
            raise TrainingError(f"--generator {name}: {owner} has no such field. Choose from {names}.")
        if not _is_like(value, known[name]):
            example, actual = json.dumps(known[name]), json.dumps(value)
            raise TrainingError(f"--generator {name} must be like {example}, got {actual}.")
    return replace(settings, **{n: tuple(v) if isinstance(v, list) else v for n, v in changes.items()})


def _is_like(value: Any, default: Any) -> bool:
    """Return whether a value is of a default's kind: a number of at least 0, a range, or several numbers."""
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple) or len(value) != len(default):
            return False
        numbers = all(_is_like(one, other) for one, other in zip(value, default, strict=True))
        # Both ends may be drawn log-uniformly; whole numbers are drawn below the upper end.
        return numbers and (len(value) > 2 or 0 < value[0] <= value[1] - isinstance(default[0], int))
    kind = int if isinstance(default, int) else int | float
    return isinstance(value, kind) and not isinstance(value, bool) and 0 <= value < math.inf


class FlowMapSamples:
    """Flow maps, for a network whose processor takes them ready-made; `generator` changes settings."""

    unit = "map"

    def __init__(self, processor, generator: dict[str, Any] | None = None):
        self.processor = processor
        self.settings = changed(FlowMapSettings(), generator or {})

    def view(self, seed: int, size: int, start: int = 0):
        """Return samples of a stream, each `flow` uint8 `(28, 28, 3)`, `label` and `strengths` of AUs."""
        return _View(SyntheticFlowMaps(seed, size, self.settings, start=start), _flow_of)

    def key(self) -> str:
        """Return a name for everything that a kept set depends on, besides the code that drew it."""
        return "maps" + _digest(asdict(self.settings))

    def inputs(self, arrays: Arrays) -> dict[str, torch.Tensor]:
        """Return drawn samples as the network takes them."""
        return {"pixel_values": to_inputs(self.processor, arrays["flow"])}


class Faces:
    """Aligned faces, put through the processor as soon as they are drawn; `generator` changes settings.

    Action units are estimated from the drawn faces as from recorded ones, never taken from the generator.
    """

    unit = "face"

    def __init__(self, processor, tracked_share: float = 0.0, generator: dict[str, Any] | None = None):
        self.processor = processor
        settings = changed(FaceSettings(), generator or {}, (*FIXED, "filmed"))
        self.settings = replace(settings, filmed=tracked_share)
        sampled = getattr(processor, "num_frames", None)
        # A network that samples frames between onset and offset gets half as many again to choose from.
        self.num_frames = 2 if sampled is None else max(3, 3 * sampled // 2)

    def view(self, seed: int, size: int, start: int = 0):
        """Return samples of a stream, each the processor's arrays, `label` and `strengths` of AUs."""
        options = {"num_frames": self.num_frames, "geometry": self.processor.face_geometry}
        faces = SyntheticFaces(seed, size, self.settings, start=start, **options)
        return _View(faces, partial(clip_inputs, processor=self.processor))

    def key(self) -> str:
        """Return a name for everything that a kept set depends on, besides the code that drew it."""
        return "faces" + _digest([self.processor.to_dict(), asdict(self.settings)])

    def inputs(self, arrays: Arrays) -> dict[str, torch.Tensor]:
        """Return drawn samples as the network takes them, still in float16."""
        drawn = ("label", "strengths")
        return {name: torch.from_numpy(array) for name, array in arrays.items() if name not in drawn}


def _digest(settings: Any) -> str:
    """Return a short name for settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _View:
    """Samples of a generator as columns, which `columns` makes of a drawn sample, and what is known of it."""

    samples: SyntheticFlowMaps | SyntheticFaces
    columns: Callable[[dict[str, Any]], Arrays]

    def __getitem__(self, index: int) -> dict:
        sample = self.samples[index]
        known = {"label": sample["label"], "strengths": relative_strengths(sample["action_units"])}
        return self.columns(sample) | known


def _flow_of(sample: dict[str, Any]) -> Arrays:
    return {"flow": sample["flow"]}


def clip_inputs(clip: dict[str, Any], processor, **options) -> Arrays:
    """Return one clip (`frames`, `onset`, `apex`, `offset`, `landmarks_xy`) as a network takes it.

    Frames are kept in float16. Action units are estimated from the pictures, never read.
    """
    options |= {name: clip[name] for name in ("onset", "apex", "offset")}
    if getattr(processor, "action_unit_names", None):
        options["action_units"] = estimate_action_units(
            clip["frames"], clip["onset"], clip["apex"], clip["landmarks_xy"]
        )
    inputs = {
        name: np.asarray(array)[0] for name, array in processor(images=clip["frames"], **options).items()
    }
    if inputs["pixel_values"].ndim == 4:
        # Half the memory; the step between two grey levels stays thirty times as large as the rounding.
        inputs["pixel_values"] = inputs["pixel_values"].astype(np.float16)
    return inputs


def to_inputs(processor, flow: np.ndarray, batch_size: int = 1024) -> torch.Tensor:
    """Return flow maps uint8 `(N, 28, 28, 3)` as the network takes them, float32 `(N, 3, S, S)`."""
    starts = range(0, len(flow), batch_size)
    parts = [processor(flow_maps=flow[start : start + batch_size], return_tensors="pt") for start in starts]
    return torch.cat([part["pixel_values"] for part in parts])
