"""What a run trains on: synthetic motion, drawn by several processes, in batches.

Each process owns every n-th sample of the set and sees only those, in an order that is a function of (seed,
epoch, process). A run's position in its data is a number, so nothing else is needed to resume it.
"""

import gc
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from mer_hf.loading import takes_flow_maps
from mer_hf.synthetic import CLASSES
from mer_hf.synthetic.record import fingerprint
from mer_hf.utils.files import replacing
from mer_hf.utils.untrusted import read_npz

from .augmentation import augment, generator_of
from .config import MAX_SEED, TrainingConfig, TrainingError
from .samples import Arrays, Faces, FlowMapSamples

VALIDATION_SEED = MAX_SEED + 1
"""Seed of the held-out synthetic set, the same for every run; no training run can use it."""


def _quiet_worker(_: int) -> None:
    cv2.setNumThreads(0)


def _stack(samples: list[dict]) -> Arrays:
    # Plain arrays, because tensors would travel through shared memory, which is small in containers.
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def draw(samples, indices: range, batch_size: int, num_workers: int) -> Iterator[Arrays]:
    """Draw samples in order, in batches of stacked columns, by several processes (0: by this one)."""
    cv2.setNumThreads(0)  # its threads do not survive the fork that makes the workers
    if num_workers:
        samples[indices[0]]  # what is made once (landmarks of photographs) is made before the fork
        gc.collect()  # a video frame that a worker would collect waits for ever for threads it does not have
    # Without a generator of its own a loader draws from the global one: dropout differs after a resume.
    options = {"collate_fn": _stack, "worker_init_fn": _quiet_worker}
    options["generator"] = torch.Generator().manual_seed(0)
    yield from DataLoader(Subset(samples, indices), batch_size, num_workers=num_workers, **options)


class SyntheticSource:
    """Batches of synthetic motion for one process of several: samples `rank`, `rank + of`, and so on."""

    class_names = tuple(CLASSES)

    def __init__(self, config: TrainingConfig, processor, rank: int, of: int):
        if takes_flow_maps(processor):
            self.kind = FlowMapSamples(processor, config.generator)
        else:
            self.kind = Faces(processor, config.tracked_share, config.generator)
        self.config, self.rank, self.of = config, rank, of
        # The same number in every process: a few samples may belong to none.
        self.indices = range(rank, config.num_samples - config.num_samples % of, of)
        self.seed = config.seed if config.data_seed is None else config.data_seed
        self.per_step = config.batch_size * config.gradient_accumulation_steps
        self.steps_per_epoch = len(self.indices) // self.per_step
        if not self.steps_per_epoch:
            raise TrainingError(
                f"--num-samples {config.num_samples} is less than one step of {self.per_step} samples in "
                f"each of {of} process(es). Raise it, or lower --batch-size."
            )
        self._pool = None

    def _draw_all(self, seed: int, size: int, indices: range) -> Arrays:
        """Draw this process's share of a set, or read it from where an earlier run has kept it."""
        kind, path = self.kind, None
        if self.config.cache_dir:
            share = f"{indices.start}-{indices.stop}-{indices.step}"
            path = Path(self.config.cache_dir) / f"{kind.key()}-{seed}-{share}-{fingerprint()}.npz"
            if path.is_file():
                return read_npz(path, most_bytes=math.inf)  # what a run itself has kept
        parts, hidden = [], self.rank > 0
        with tqdm(total=len(indices), desc="drawing samples", unit=kind.unit, disable=hidden) as bar:
            for part in draw(kind.view(seed, size), indices, 64, self.config.num_workers):
                parts.append(part)
                bar.update(len(part["label"]))
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                np.savez(temporary, **arrays)
        return arrays

    def prepare(self) -> None:
        """Draw the set, if all epochs share one."""
        if self.config.fresh_samples or self._pool is not None:
            return
        arrays = self._draw_all(self.seed, self.config.num_samples, self.indices)
        self._pool = self._inputs(arrays), torch.from_numpy(arrays["label"])

    def _inputs(self, arrays: Arrays) -> dict[str, torch.Tensor]:
        """Return what a step is given besides labels: the network's inputs, and what a second task asks."""
        inputs = self.kind.inputs(arrays)
        if self.config.action_unit_weight:
            inputs["strengths"] = torch.from_numpy(arrays["strengths"])
        return inputs

    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[dict[str, torch.Tensor], float]]:
        """Yield the batches of an epoch from a step on, `gradient_accumulation_steps` for each step.

        Each is the network's inputs in float32 with `labels` int64 `(B,)`, with `action_unit_weight` also
        `strengths` `(B, 2, 21)`, and the weight of their mean loss in the step.
        """
        first, last = first_step * self.per_step, self.steps_per_epoch * self.per_step
        drawn = self._fresh if self.config.fresh_samples else self._kept
        for position, inputs, labels in drawn(epoch, first, last):
            generator = generator_of([self.config.seed, epoch, self.rank, position])
            inputs = {name: tensor.float() for name, tensor in inputs.items()}
            inputs = augment(inputs, self.config, generator)
            yield inputs | {"labels": labels}, 1 / self.config.gradient_accumulation_steps

    def _fresh(self, epoch: int, first: int, last: int):
        """Yield batches of samples that no other epoch has."""
        size = self.config.num_samples
        samples = self.kind.view(self.seed, size, start=epoch * size)
        indices = self.indices[first:last]
        for arrays in draw(samples, indices, self.config.batch_size, self.config.num_workers):
            yield first, self._inputs(arrays), torch.from_numpy(arrays["label"])
            first += len(arrays["label"])

    def _kept(self, epoch: int, first: int, last: int):
        """Yield batches of the set that all epochs share, in an order of this epoch's own."""
        self.prepare()
        inputs, labels = self._pool
        order = np.random.default_rng([self.config.seed, epoch, self.rank]).permutation(len(labels))
        for start in range(first, last, self.config.batch_size):
            chosen = torch.from_numpy(order[start : start + self.config.batch_size])
            yield start, {name: tensor[chosen] for name, tensor in inputs.items()}, labels[chosen]

    def validation(self) -> Iterator[dict[str, torch.Tensor]]:
        """Yield this process's share of the held-out set, in batches."""
        size, batch_size = self.config.validation_samples, self.config.batch_size
        indices = range(self.rank, size, self.of)
        if not indices:
            return
        arrays = self._draw_all(VALIDATION_SEED, size, indices)
        inputs = self.kind.inputs(arrays) | {"labels": torch.from_numpy(arrays["label"])}
        for start in range(0, len(indices), batch_size):
            batch = {name: tensor[start : start + batch_size] for name, tensor in inputs.items()}
            yield {name: t.float() if t.is_floating_point() else t for name, t in batch.items()}
