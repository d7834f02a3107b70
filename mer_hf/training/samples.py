"""What a drawn sample is, and how it reaches the network: flow maps or aligned faces.

A network whose image processor takes `flow_maps` trains on flow maps, every other one on aligned faces.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from mer_hf.face.action_units import estimate_action_units
from mer_hf.synthetic import FlowMapSettings, SyntheticFlowMaps
from mer_hf.synthetic.faces import FaceSettings, SyntheticFaces

from .generator import changed

Arrays = dict[str, np.ndarray]
"""Column -> the values of several samples."""


class FlowMapSamples:
    """Flow maps, for a network whose processor takes them ready-made.

    Args:
        processor (`BaseImageProcessor`): The network's image processor; it must take `flow_maps`.
        generator (`dict`, *optional*): Fields of [`FlowMapSettings`] that are not left as they are.

    Raises:
        TrainingError: If the generator has no such setting, or not such a value.
    """

    unit, name = "map", "maps"

    def __init__(self, processor, generator: dict[str, Any] | None = None):
        self.processor, self.generator = processor, generator or {}
        self.map_settings = changed(FlowMapSettings(), self.generator)

    def view(self, seed: int, size: int, start: int = 0):
        """Samples of a stream, each `flow` uint8 `(28, 28, 3)` and `label`."""
        return Columns(SyntheticFlowMaps(seed, size, self.map_settings, start=start), ("flow", "label"))

    def key(self) -> str:
        """What a kept set depends on besides the code that drew it."""
        return "maps" + (_digest(asdict(self.map_settings)) if self.generator else "")

    def settings(self) -> dict[str, Any]:
        """What the samples can be drawn again from, besides the stream."""
        return {"generator_settings": self.generator} if self.generator else {}

    def inputs(self, arrays: Arrays) -> dict[str, torch.Tensor]:
        """Drawn samples as the network takes them."""
        return {"pixel_values": to_inputs(self.processor, arrays["flow"])}

    def disturb(self, inputs: dict[str, torch.Tensor], largest: float, key: list[int]) -> dict:
        """See [`disturb`]."""
        return inputs | {"pixel_values": disturb(inputs["pixel_values"], largest, key)}


class Faces:
    """Aligned faces, put through the processor as soon as they are drawn.

    Args:
        processor (`BaseImageProcessor`): The network's image processor. If it takes action units, they are
            estimated from the drawn faces as from recorded ones, never taken from the generator.
        tracked_share (`float`, *optional*, defaults to 0.0): Share of samples that go through a clip.
        generator (`dict`, *optional*): Fields of [`FaceSettings`] that are not left as they are.

    Raises:
        TrainingError: If the generator has no such setting, or not such a value.
    """

    unit, name = "face", "faces"

    def __init__(self, processor, tracked_share: float = 0.0, generator: dict[str, Any] | None = None):
        self.processor, self.generator = processor, generator or {}
        self.face_settings = replace(changed(FaceSettings(), self.generator), filmed=tracked_share)
        sampled = getattr(processor, "num_frames", None)
        # A network that samples frames between onset and offset gets half as many again to choose from.
        self.num_frames = 2 if sampled is None else max(3, 3 * sampled // 2)

    def view(self, seed: int, size: int, start: int = 0):
        """Samples of a stream, each the processor's arrays for one clip and `label`."""
        options = {"num_frames": self.num_frames, "geometry": self.processor.face_geometry}
        faces = SyntheticFaces(seed, size, self.face_settings, start=start, **options)
        return _Processed(faces, self.processor)

    def settings(self) -> dict[str, Any]:
        """What the samples can be drawn again from, besides the stream."""
        processor = json.loads(json.dumps(self.processor.to_dict(), default=str))
        kept = {"processor": processor, "tracked_share": self.face_settings.filmed}
        return kept | ({"generator_settings": self.generator} if self.generator else {})

    def key(self) -> str:
        """What a kept set depends on besides the code that drew it."""
        return "faces" + _digest([self.processor.to_dict(), asdict(self.face_settings)])

    def inputs(self, arrays: Arrays) -> dict[str, torch.Tensor]:
        """Drawn samples as the network takes them; still in float16, as they are kept."""
        return {name: torch.from_numpy(array) for name, array in arrays.items() if name != "label"}

    def disturb(self, inputs: dict[str, torch.Tensor], largest: float, key: list[int]) -> dict:
        """See [`disturb_faces`]."""
        return disturb_faces({name: tensor.float() for name, tensor in inputs.items()}, largest, key)


def _digest(settings: Any) -> str:
    """A short name for settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Columns:
    """Some columns of a map-style dataset of dicts."""

    samples: SyntheticFlowMaps
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict:
        sample = self.samples[index]
        return {name: sample[name] for name in self.names}


@dataclass(frozen=True)
class _Processed:
    """Drawn faces after the processor: `pixel_values` float16, other inputs float32, `label`."""

    samples: SyntheticFaces
    processor: Any

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict:
        sample = self.samples[index]
        phases = {name: sample[name] for name in ("onset", "apex", "offset")}
        given = {}
        if getattr(self.processor, "action_unit_names", None):
            first, last = sample["onset"], sample["apex"]
            given["action_units"] = estimate_action_units(
                sample["frames"], first, last, sample["landmarks_xy"]
            )
        made = self.processor(images=sample["frames"], **phases, **given)
        inputs = {name: np.asarray(array)[0] for name, array in made.items()}
        # Half the memory; the step between two grey levels stays thirty times as large as the rounding.
        inputs["pixel_values"] = inputs["pixel_values"].astype(np.float16)
        return inputs | {"label": sample["label"]}


def to_inputs(processor, flow: np.ndarray, batch_size: int = 1024) -> torch.Tensor:
    """Flow maps as the network takes them.

    Args:
        processor (`BaseImageProcessor`): The network's image processor; it must take `flow_maps`.
        flow (`np.ndarray` of shape `(N, 28, 28, 3)`): uint8, channels (u, v, strain).
        batch_size (`int`, *optional*, defaults to 1024): Maps per call of the processor.

    Returns:
        `torch.Tensor` of shape `(N, 3, S, S)`: float32.
    """
    starts = range(0, len(flow), batch_size)
    parts = [processor(flow_maps=flow[start : start + batch_size], return_tensors="pt") for start in starts]
    return torch.cat([part["pixel_values"] for part in parts])


def disturb(pixel_values: torch.Tensor, largest: float, key: list[int]) -> torch.Tensor:
    """Add a slow random field to each input and blur a third of them.

    What a real map holds beside the expression (drift, light, other muscles) is never all drawn; a network
    that has seen the same samples disturbed in many ways leans less on how they were drawn. A channel that is
    0 throughout stays 0.

    Args:
        pixel_values (`torch.Tensor` of shape `(B, C, S, S)`): Inputs; not changed.
        largest (`float`): The field's amplitude is drawn between 0 and this; 0 returns the inputs as they
            are.
        key (`list[int]`): The result is a function of the inputs and these numbers.

    Returns:
        `torch.Tensor` of shape `(B, C, S, S)`: In the inputs' type.
    """
    if not largest:
        return pixel_values
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    generator = torch.Generator().manual_seed(seed)
    count, channels, size, _ = pixel_values.shape
    field = torch.randn(count, channels, 7, 7, generator=generator)
    field = torch.nn.functional.interpolate(field, (size, size), mode="bilinear")
    field *= largest * torch.rand(count, 1, 1, 1, generator=generator)
    result = pixel_values + field * (pixel_values.abs().amax((2, 3), keepdim=True) > 0)
    blurred = torch.rand(count, generator=generator) < 1 / 3
    result[blurred] = torch.nn.functional.avg_pool2d(result[blurred], 3, stride=1, padding=1)
    return result


def disturb_faces(inputs: dict[str, torch.Tensor], largest: float, key: list[int]) -> dict[str, torch.Tensor]:
    """Mirror half of the clips, change the light slowly across every frame, and withhold action units.

    Args:
        inputs (`dict[str, torch.Tensor]`): `pixel_values` `(B, F, C, S, S)` and perhaps `action_units`
            `(B, N)`; not changed.
        largest (`float`): The light's amplitude is drawn between 0 and this, in the unit of `pixel_values`; 0
            returns the inputs as they are.
        key (`list[int]`): The result is a function of the inputs and these numbers.

    Returns:
        `dict[str, torch.Tensor]`: The same names. A third of the clips lose all their action units, so that
        the
            network also learns to do without.
    """
    if not largest:
        return inputs
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
    pixel_values = inputs["pixel_values"]
    count, frames, _, size, _ = pixel_values.shape
    field = torch.randn(count * frames, 1, 5, 5, generator=generator)
    field = torch.nn.functional.interpolate(field, (size, size), mode="bilinear")
    field = field.unflatten(0, (count, frames)) * largest * torch.rand(count, 1, 1, 1, 1, generator=generator)
    result = pixel_values + field
    mirrored = torch.rand(count, generator=generator) < 0.5
    result[mirrored] = result[mirrored].flip(-1)
    disturbed = inputs | {"pixel_values": result}
    if "action_units" in inputs:
        kept = torch.rand(count, 1, generator=generator) >= 1 / 3
        disturbed["action_units"] = inputs["action_units"] * kept
    return disturbed


def augment_faces(
    inputs: dict[str, torch.Tensor], rotation_deg: float, shift_px: int, key: list[int]
) -> dict[str, torch.Tensor]:
    """Mirror half of the clips, and turn and shift each a little, all frames of a clip alike.

    What MMNet and FaceSleuth train with (rotation to the nearest pixel, then a crop after padding with 0).

    Args:
        inputs (`dict[str, torch.Tensor]`): `pixel_values` `(B, F, C, S, S)`; others stay as they are.
        rotation_deg (`float`): Largest turn, in degrees.
        shift_px (`int`): Largest shift, in whole pixels.
        key (`list[int]`): The result is a function of the inputs and these numbers.

    Returns:
        `dict[str, torch.Tensor]`: The same names.
    """
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([*key, 2]).generate_state(1)[0]))
    pixel_values = inputs["pixel_values"]
    count, frames, channels, size, _ = pixel_values.shape
    angle = torch.deg2rad((2 * torch.rand(count, generator=generator) - 1) * rotation_deg)
    shift = torch.randint(-shift_px, shift_px + 1, (count, 2), generator=generator) * (2 / size)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    matrix = torch.stack(
        [
            torch.stack([mirror * angle.cos(), -angle.sin(), shift[:, 0]], dim=1),
            torch.stack([mirror * angle.sin(), angle.cos(), shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    flat = pixel_values.flatten(1, 2)  # (B, F * C, S, S)
    grid = torch.nn.functional.affine_grid(matrix, list(flat.shape), align_corners=False)
    turned = torch.nn.functional.grid_sample(flat, grid, mode="nearest", align_corners=False)
    return inputs | {"pixel_values": turned.unflatten(1, (frames, channels))}
