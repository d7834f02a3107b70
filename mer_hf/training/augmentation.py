"""What changes from epoch to epoch in a sample that stays the same: noise, light, position, pairs.

Every function returns new tensors, which are a function of its arguments and the state of the generator.
"""

import numpy as np
import torch
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate, one_hot

from .config import TrainingConfig

Inputs = dict[str, torch.Tensor]


def generator_of(key: list[int]) -> torch.Generator:
    """Return the generator that belongs to some numbers, such as a seed, an epoch and a position."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def augment(inputs: Inputs, config: TrainingConfig, *generators: torch.Generator) -> Inputs:
    """Vary faces `(B, F, C, S, S)`, or flow maps `(B, C, S, S)`, as a run asks for it.

    The first generator draws noise or light, the last one how faces are moved.
    """
    if inputs["pixel_values"].ndim == 4:
        noisy = add_noise(inputs["pixel_values"], config.augment_noise, generators[0])
        return inputs | {"pixel_values": noisy}
    inputs = vary_light(inputs, config.augment_noise, generators[0])
    if config.augmentation == "faces":
        inputs = move_faces(inputs, config.rotation_deg, config.shift_px, generators[-1])
    return inputs


def add_noise(pixel_values: torch.Tensor, largest: float, generator: torch.Generator) -> torch.Tensor:
    """Add a slow random field to each flow map `(B, C, S, S)` and blur a third of them.

    A real map holds more than the expression (drift, light, other muscles). A network that has seen the same
    samples under much noise leans less on how they were drawn. The field's amplitude is drawn below
    `largest`; a channel that is 0 throughout stays 0.
    """
    if not largest:
        return pixel_values
    count, channels, size, _ = pixel_values.shape
    field = torch.randn(count, channels, 7, 7, generator=generator)
    field = interpolate(field, (size, size), mode="bilinear")
    field *= largest * torch.rand(count, 1, 1, 1, generator=generator)
    noisy = pixel_values + field * (pixel_values.abs().amax((2, 3), keepdim=True) > 0)
    blurred = torch.rand(count, generator=generator) < 1 / 3
    noisy[blurred] = avg_pool2d(noisy[blurred], 3, stride=1, padding=1)
    return noisy


def vary_light(inputs: Inputs, largest: float, generator: torch.Generator) -> Inputs:
    """Change the light slowly across every frame `(B, F, C, S, S)`, mirror half of the clips, hide some AUs.

    `strengths` of action units `(B, 2, 21)`, left and right, are mirrored with the clip.

    The light's amplitude is drawn below `largest`. A third of the clips lose all their `action_units`, so
    that the network also learns to do without.
    """
    if not largest:
        return inputs
    pixel_values = inputs["pixel_values"]
    count, frames, _, size, _ = pixel_values.shape
    light = torch.randn(count * frames, 1, 5, 5, generator=generator)
    light = interpolate(light, (size, size), mode="bilinear").unflatten(0, (count, frames))
    lit = pixel_values + light * largest * torch.rand(count, 1, 1, 1, 1, generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    lit[mirrored] = lit[mirrored].flip(-1)
    varied = _mirrored(inputs, mirrored) | {"pixel_values": lit}
    if "action_units" in inputs:
        kept = torch.rand(count, 1, generator=generator) >= 1 / 3
        varied["action_units"] = inputs["action_units"] * kept
    return varied


def move_faces(inputs: Inputs, rotation_deg: float, shift_px: int, generator: torch.Generator) -> Inputs:
    """Mirror half of the clips, and turn and shift each a little, all frames of a clip alike.

    MMNet and FaceSleuth are trained with this: rotation to the nearest pixel, then a crop of what was padded
    with 0. `strengths` of action units are mirrored with the clip.
    """
    pixel_values = inputs["pixel_values"]
    count, frames, channels, size, _ = pixel_values.shape
    angle = torch.deg2rad((2 * torch.rand(count, generator=generator) - 1) * rotation_deg)
    shift = torch.randint(-shift_px, shift_px + 1, (count, 2), generator=generator) * (2 / size)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    rows = [
        torch.stack([mirror * angle.cos(), -angle.sin(), shift[:, 0]], dim=1),
        torch.stack([mirror * angle.sin(), angle.cos(), shift[:, 1]], dim=1),
    ]
    flat = pixel_values.flatten(1, 2)  # (B, F * C, S, S)
    grid = affine_grid(torch.stack(rows, dim=1), list(flat.shape), align_corners=False)
    moved = grid_sample(flat, grid, mode="nearest", align_corners=False)
    return _mirrored(inputs, mirror < 0) | {"pixel_values": moved.unflatten(1, (frames, channels))}


def _mirrored(inputs: Inputs, mirrored: torch.Tensor) -> Inputs:
    """Exchange the sides of the `strengths` of action units `(B, 2, 21)`, if there are any, of some clips."""
    if "strengths" not in inputs:
        return inputs
    strengths = inputs["strengths"]
    return inputs | {"strengths": torch.where(mirrored[:, None, None], strengths.flip(1), strengths)}


def mix_pairs(
    inputs: Inputs, labels: torch.Tensor, num_classes: int, alpha: float, rng: np.random.Generator
) -> tuple[Inputs, torch.Tensor]:
    """Mix each sample with another of its batch (mixup, Zhang et al. 2018), in one share for the batch.

    The labels, int64 `(B,)`, become shares of the classes, float32 `(B, num_classes)`.
    """
    share, order = rng.beta(alpha, alpha), torch.from_numpy(rng.permutation(len(labels)))
    soft = one_hot(labels, num_classes).float()
    mixed = {name: share * tensor + (1 - share) * tensor[order] for name, tensor in inputs.items()}
    return mixed, share * soft + (1 - share) * soft[order]
