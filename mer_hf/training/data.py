"""What a run trains on: synthetic motion, drawn by several processes, in batches.

Each process owns every n-th sample of the set and sees only those, in an order that is a function of (seed,
epoch, process): a run's position in its data is a number, and nothing else is needed to go on from it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from mer_hf.loading import takes_flow_maps
from mer_hf.synthetic import CLASSES
from mer_hf.synthetic.record import fingerprint

from .config import MAX_SEED, TrainingConfig, TrainingError
from .samples import Arrays, Faces, FlowMapSamples

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


def _stack(samples: list[dict]) -> Arrays:
    # Plain arrays, because tensors would travel through shared memory, which is small in containers.
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def draw(samples, indices: range, batch_size: int, num_workers: int) -> Iterator[Arrays]:
    """Draw samples in order, in batches, by several processes.

    Args:
        samples: A map-style dataset of dicts, from `view` of [`FlowMapSamples`] or [`Faces`].
        indices (`range`): Samples that are drawn.
        batch_size (`int`): Samples per batch.
        num_workers (`int`): Processes; 0 draws in this one.

    Yields:
        `dict[str, np.ndarray]`: The samples' columns, stacked.
    """
    cv2.setNumThreads(0)  # its threads do not survive the fork that makes the workers
    if num_workers:
        samples[indices[0]]  # what is made once (landmarks of photographs) is made before the fork
    yield from DataLoader(
        Subset(samples, indices),
        batch_size,
        num_workers=num_workers,
        collate_fn=_stack,
        worker_init_fn=_quiet_worker,
        # Without a generator of its own a loader draws from the global one: dropout differs after a resume.
        generator=torch.Generator().manual_seed(0),
    )


def draw_all(
    kind,
    seed: int,
    size: int,
    indices: range,
    num_workers: int,
    start: int = 0,
    cache_dir: str | None = None,
    show: bool = False,
) -> Arrays:
    """Draw a process's share of a set, or read it from where an earlier run has kept it.

    Args:
        kind ([`FlowMapSamples`] or [`Faces`]): What is drawn.
        seed (`int`): Chooses the stream.
        size (`int`): Of the set.
        indices (`range`): Samples that this process needs.
        num_workers (`int`): Processes that draw.
        start (`int`, *optional*, defaults to 0): Index in the stream of the set's sample 0.
        cache_dir (`str`, *optional*): Where drawn shares are kept.
        show (`bool`, *optional*, defaults to `False`): Whether to show a progress bar.

    Returns:
        `dict[str, np.ndarray]`: The samples' columns, with `label` int64 `(N,)`.
    """
    path = None
    if cache_dir:
        slice_ = f"{indices.start}-{indices.stop}-{indices.step}"
        path = Path(cache_dir) / f"{kind.key()}-{seed}-{start}-{slice_}-{fingerprint()}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as kept:
                return dict(kept)
    parts = []
    with tqdm(total=len(indices), desc="drawing samples", unit=kind.unit, disable=not show) as bar:
        for part in draw(kind.view(seed, size, start), indices, 64, num_workers):
            parts.append(part)
            bar.update(len(part["label"]))
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(unfinished, **arrays)
        unfinished.replace(path)
    return arrays


class SyntheticSource:
    """Batches of synthetic motion for one process.

    Args:
        config ([`TrainingConfig`]): Of the run.
        processor (`BaseImageProcessor`): The network's image processor.
        share ([`Share`]): The part of the set that this process sees.

    Raises:
        TrainingError: If the set is too small for one optimizer step, or the generator has no such setting.
    """

    class_names = tuple(CLASSES)

    def __init__(self, config: TrainingConfig, processor, share: Share):
        if takes_flow_maps(processor):
            self.kind = FlowMapSamples(processor, config.generator)
        else:
            self.kind = Faces(processor, config.tracked_share, config.generator)
        self.config, self.share = config, share
        self.seed = config.seed if config.data_seed is None else config.data_seed
        self.per_step = config.batch_size * config.gradient_accumulation_steps
        self.steps_per_epoch = len(share.even(config.num_samples)) // self.per_step
        if not self.steps_per_epoch:
            raise TrainingError(
                f"--num-samples {config.num_samples} is less than one step of {self.per_step} samples in "
                f"each of {share.of} process(es). Raise it, or lower --batch-size."
            )
        self._pool = None

    def _draw_all(self, seed: int, size: int, indices: range) -> Arrays:
        options = {"cache_dir": self.config.cache_dir, "show": self.share.rank == 0}
        return draw_all(self.kind, seed, size, indices, self.config.num_workers, **options)

    def prepare(self) -> None:
        """Draw the set, if it is one that every epoch shares."""
        if self.config.fresh_samples or self._pool is not None:
            return
        arrays = self._draw_all(self.seed, self.config.num_samples, self.share.even(self.config.num_samples))
        self._pool = self.kind.inputs(arrays), torch.from_numpy(arrays["label"])

    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[dict[str, torch.Tensor], float]]:
        """The batches of one epoch, `gradient_accumulation_steps` for each optimizer step.

        Args:
            epoch (`int`): Counted from 0.
            first_step (`int`): Optimizer steps of this epoch that are already done.

        Yields:
            `tuple`: The network's inputs in float32 with `labels` int64 `(B,)`, and the weight of their mean
            loss in the step.
        """
        first, last = first_step * self.per_step, self.steps_per_epoch * self.per_step
        chunks = (
            self._fresh(epoch, first, last) if self.config.fresh_samples else self._kept(epoch, first, last)
        )
        for position, inputs, labels in chunks:
            key = [self.config.seed, epoch, self.share.rank, position]
            changed = self.kind.disturb(inputs, self.config.augment_noise, key)
            yield changed | {"labels": labels}, 1 / self.config.gradient_accumulation_steps

    def _fresh(self, epoch: int, first: int, last: int):
        """Batches of samples that no other epoch has."""
        size = self.config.num_samples
        samples = self.kind.view(self.seed, size, start=epoch * size)
        indices = self.share.even(size)[first:last]
        for arrays in draw(samples, indices, self.config.batch_size, self.config.num_workers):
            yield first, self.kind.inputs(arrays), torch.from_numpy(arrays["label"])
            first += len(arrays["label"])

    def _kept(self, epoch: int, first: int, last: int):
        """Batches of the set that all epochs share, in an order of this epoch's own."""
        self.prepare()
        inputs, labels = self._pool
        order = np.random.default_rng([self.config.seed, epoch, self.share.rank]).permutation(len(labels))
        for start in range(first, last, self.config.batch_size):
            chosen = torch.from_numpy(order[start : start + self.config.batch_size])
            yield start, {name: tensor[chosen] for name, tensor in inputs.items()}, labels[chosen]

    def validation(self) -> Iterator[dict[str, torch.Tensor]]:
        """This process's share of the held-out set, in batches."""
        size = self.config.validation_samples
        indices = self.share.of_set(size)
        if not indices:
            return
        arrays = self._draw_all(VALIDATION_SEED, size, indices)
        inputs = self.kind.inputs(arrays) | {"labels": torch.from_numpy(arrays["label"])}
        for parts in zip(*(tensor.split(self.config.batch_size) for tensor in inputs.values()), strict=True):
            batch = dict(zip(inputs, parts, strict=True))
            yield {
                name: tensor.float() if tensor.is_floating_point() else tensor
                for name, tensor in batch.items()
            }
