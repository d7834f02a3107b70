"""What a run trains on: synthetic motion maps, turned into the network's inputs.

Each process owns every n-th sample of the set and sees only those, in an order that is a function of (seed,
epoch, process): a run's position in its data is a number, and nothing else is needed to go on from it.
"""

import hashlib
import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from mer_hf import synthetic
from mer_hf.synthetic import CLASSES, SyntheticFlowMaps

from .config import MAX_SEED, TrainingConfig, TrainingError

VALIDATION_SEED = MAX_SEED + 1
"""Seed of the held-out synthetic set, the same for every run; no training run can use it."""


@dataclass(frozen=True)
class Share:
    """The part of a set that one process works on: samples `rank`, `rank + of`, `rank + 2 of`, and so on."""

    rank: int
    of: int

    def of_set(self, size: int) -> range:
        """Its samples of a set of `size`."""
        return range(self.rank, size, self.of)

    def even(self, size: int) -> range:
        """Its samples of a set of `size`, the same number in every process: a few may belong to none."""
        return self.of_set(size - size % self.of)


def _quiet_worker(_: int) -> None:
    cv2.setNumThreads(0)


def _stack(samples: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    # Plain arrays, because tensors would travel through shared memory, which is small in containers.
    return np.stack([sample["flow"] for sample in samples]), np.array([sample["label"] for sample in samples])


def draw(
    maps: SyntheticFlowMaps, indices: range, batch_size: int, num_workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw samples in order, in batches, by several processes.

    Args:
        maps ([`SyntheticFlowMaps`]): The set.
        indices (`range`): Samples that are drawn.
        batch_size (`int`): Samples per batch.
        num_workers (`int`): Processes; 0 draws in this one.

    Yields:
        `tuple[np.ndarray, np.ndarray]`: Maps uint8 `(B, 28, 28, 3)` and labels int64 `(B,)`.
    """
    cv2.setNumThreads(0)  # its threads do not survive the fork that makes the workers
    yield from DataLoader(
        Subset(maps, indices),
        batch_size,
        num_workers=num_workers,
        collate_fn=_stack,
        worker_init_fn=_quiet_worker,
        # Without a generator of its own a loader draws from the global one: dropout differs after a resume.
        generator=torch.Generator().manual_seed(0),
    )


def _fingerprint() -> str:
    """Hash of the generator's code: a kept set is used only by the code that drew it."""
    digest = hashlib.sha256()
    folder = Path(inspect.getfile(synthetic)).parent
    for path in sorted([*folder.glob("*.py"), *folder.glob("*.npz"), folder.parent / "flow.py"]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def draw_all(
    maps: SyntheticFlowMaps,
    indices: range,
    num_workers: int,
    cache_dir: str | None = None,
    show: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a process's share of a set, or read it from where an earlier run has kept it.

    Args:
        maps ([`SyntheticFlowMaps`]): The set.
        indices (`range`): Samples that this process needs.
        num_workers (`int`): Processes that draw.
        cache_dir (`str`, *optional*): Where drawn shares are kept.
        show (`bool`, *optional*, defaults to `False`): Whether to show a progress bar.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Maps uint8 `(N, 28, 28, 3)` and labels int64 `(N,)`.
    """
    path = None
    if cache_dir:
        slice_ = f"{indices.start}-{indices.stop}-{indices.step}"
        name = f"maps-{maps.seed}-{maps.start}-{slice_}-{_fingerprint()}.npz"
        path = Path(cache_dir) / name
        if path.is_file():
            with np.load(path, allow_pickle=False) as kept:
                return kept["flow"], kept["label"]
    parts = []
    with tqdm(total=len(indices), desc="drawing samples", unit="map", disable=not show) as bar:
        for part in draw(maps, indices, 64, num_workers):
            parts.append(part)
            bar.update(len(part[1]))
    flow, label = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(unfinished, flow=flow, label=label)
        unfinished.replace(path)
    return flow, label


def to_inputs(processor, flow: np.ndarray, batch_size: int = 1024) -> torch.Tensor:
    """Motion maps as the network takes them.

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


class SyntheticSource:
    """Batches of synthetic motion maps for one process.

    Args:
        config ([`TrainingConfig`]): Of the run.
        processor (`BaseImageProcessor`): The network's image processor; it must take `flow_maps`.
        share ([`Share`]): The part of the set that this process sees.

    Raises:
        TrainingError: If the processor takes no motion maps, or the set is too small for one optimizer step.
    """

    class_names = tuple(CLASSES)

    def __init__(self, config: TrainingConfig, processor, share: Share):
        taken = set()
        for method in (processor.__call__, processor.preprocess):
            taken |= set(inspect.signature(method).parameters)
        if "flow_maps" not in taken:
            raise TrainingError(
                f"--data synthetic gives motion maps, which {config.model} does not take. "
                "Choose another --model."
            )
        self.config, self.processor, self.share = config, processor, share
        self.seed = config.seed if config.data_seed is None else config.data_seed
        self.per_step = config.batch_size * config.gradient_accumulation_steps
        self.steps_per_epoch = len(share.even(config.num_samples)) // self.per_step
        if not self.steps_per_epoch:
            raise TrainingError(
                f"--num-samples {config.num_samples} is less than one step of {self.per_step} samples in "
                f"each of {share.of} process(es). Raise it, or lower --batch-size."
            )
        self._pool = None

    def _maps(self, epoch: int) -> SyntheticFlowMaps:
        start = epoch * self.config.num_samples if self.config.fresh_samples else 0
        return SyntheticFlowMaps(self.seed, self.config.num_samples, start=start)

    def _draw_all(self, maps: SyntheticFlowMaps, indices: range) -> tuple[np.ndarray, np.ndarray]:
        first = self.share.rank == 0
        return draw_all(maps, indices, self.config.num_workers, self.config.cache_dir, show=first)

    def prepare(self) -> None:
        """Draw the set, if it is one that every epoch shares."""
        if self.config.fresh_samples or self._pool is not None:
            return
        indices = self.share.even(self.config.num_samples)
        flow, label = self._draw_all(self._maps(0), indices)
        self._pool = to_inputs(self.processor, flow), torch.from_numpy(label)

    def batches(self, epoch: int, first_step: int) -> Iterator[dict[str, torch.Tensor]]:
        """The batches of one epoch, `gradient_accumulation_steps` for each optimizer step.

        Args:
            epoch (`int`): Counted from 0.
            first_step (`int`): Optimizer steps of this epoch that are already done.

        Yields:
            `dict[str, torch.Tensor]`: `pixel_values` float32 `(B, 3, S, S)` and `labels` int64 `(B,)`.
        """
        first, last = first_step * self.per_step, self.steps_per_epoch * self.per_step

        def disturbance(position: int) -> tuple[float, list[int]]:
            return self.config.disturbance, [self.config.seed, epoch, self.share.rank, position]

        if self.config.fresh_samples:
            indices = self.share.even(self.config.num_samples)[first:last]
            for flow, label in draw(
                self._maps(epoch), indices, self.config.batch_size, self.config.num_workers
            ):
                inputs = disturb(to_inputs(self.processor, flow), *disturbance(first))
                yield {"pixel_values": inputs, "labels": torch.from_numpy(label)}
                first += len(label)
            return
        self.prepare()
        pixel_values, labels = self._pool
        order = np.random.default_rng([self.config.seed, epoch, self.share.rank]).permutation(len(labels))
        for start in range(first, last, self.config.batch_size):
            chosen = torch.from_numpy(order[start : start + self.config.batch_size])
            inputs = disturb(pixel_values[chosen], *disturbance(start))
            yield {"pixel_values": inputs, "labels": labels[chosen]}

    def validation(self) -> dict[str, torch.Tensor] | None:
        """This process's share of the held-out set, as one batch; None if it has no part in it."""
        maps = SyntheticFlowMaps(VALIDATION_SEED, self.config.validation_samples)
        indices = self.share.of_set(len(maps))
        if not indices:
            return None
        flow, label = self._draw_all(maps, indices)
        return {"pixel_values": to_inputs(self.processor, flow), "labels": torch.from_numpy(label)}


SOURCES = {"synthetic": SyntheticSource}
"""Value of `--data` -> what draws the batches."""
