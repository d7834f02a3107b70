"""What a run trains on when clips were recorded: flow maps of a file, or the faces of prepared datasets.

Everything lies in memory as the network takes it, in every process. A global batch is a function of (seed,
epoch, step), and each process works on its share of it, so a run can be resumed with another number of
processes.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from mer_hf.data.flow_files import read_flow_maps
from mer_hf.data.table import ClipTable, joined
from mer_hf.face.flow import flow_map, optical_flow, span_to_uint8
from mer_hf.labels import SCHEMES
from mer_hf.loading import takes_flow_maps

from .augmentation import augment, generator_of, mix_pairs
from .config import TrainingConfig, TrainingError
from .samples import clip_inputs, to_inputs


def class_names_of(classes: str | None) -> tuple[str, ...] | None:
    """Return `--classes` as names in index order: a scheme's, or those given with commas."""
    if classes is None:
        return None
    names = SCHEMES.get(classes) or tuple(name.strip() for name in classes.split(","))
    if len(names) < 2 or len(set(names)) < len(names) or "" in names:
        raise TrainingError(
            f"unknown --classes {classes}. Choose from {', '.join(SCHEMES)}, or pass class names with commas."
        )
    return names


@dataclass(frozen=True)
class Recorded:
    """Recorded clips as a network takes them.

    Attributes:
        table ([`ClipTable`]): Who is seen in which clip.
        inputs (`dict[str, torch.Tensor]`): The network's inputs, each `(N, ...)`, without labels.
        extras (`dict[str, Any]`): What baselines need: `flow` uint8 `(N, 28, 28, 3)` and `action_units`, a
            list of sets of annotated units. What the dataset does not have is missing.
        given (`str`): What the network is given of a tested clip, for the report.
    """

    table: ClipTable
    inputs: dict[str, torch.Tensor]
    extras: dict[str, Any]
    given: str


def read_recorded(config: TrainingConfig, processor, show: bool = False) -> Recorded:
    """Read `--data` and prepare it for a network, with a progress bar if `show` is set.

    Raises:
        TrainingError: If the data cannot be read or do not suit the network.
    """
    try:
        if config.data.startswith("flows:"):
            return _read_flows(config, processor)
        return _read_prepared(config, processor, show)
    except (ValueError, OSError) as error:
        raise TrainingError(f"--data {config.data}: {error}") from error


def _read_flows(config: TrainingConfig, processor) -> Recorded:
    if not takes_flow_maps(processor):
        raise TrainingError(f"it holds flow maps, but {config.model} looks at faces. Choose --model htnet.")
    maps = read_flow_maps(config.data.removeprefix("flows:"))
    table = maps.table(class_names_of(config.classes))
    description = "ready-made flow maps from onset to apex; the file does not say how these were found"
    inputs = {"pixel_values": to_inputs(processor, maps.flow)}
    return Recorded(table, inputs, {"flow": maps.flow}, description)


def _read_prepared(config: TrainingConfig, processor, show: bool) -> Recorded:
    from mer_hf.data.prepared import Prepared  # needs `datasets`, which training on flow maps does without
    from mer_hf.face.tracking import FaceGeometry

    sets = [Prepared(path) for path in config.data.split(",")]
    geometry = FaceGeometry(**(processor.face_geometry or {}))
    scheme = class_names_of(config.classes) or "composite3"
    tables = [dataset.table(scheme) for dataset in sets]
    table = joined(tables)
    clips = [(dataset, str(key)) for dataset, part in zip(sets, tables, strict=True) for key in part.keys]
    rows, units, flow, sources = [], [], [], Counter()
    for dataset, key in tqdm(clips, desc="preparing clips", unit="clip", disable=not show):
        clip = dataset.clip(key, geometry)
        rows.append(clip_inputs(clip, processor, landmarks_xy=clip["landmarks_xy"]))
        units.append({f"AU{unit['number']}" for unit in clip["action_units"]})
        motion = flow_map(optical_flow(*(clip["frames"][clip[name]] for name in ("onset", "apex"))))
        flow.append(span_to_uint8(motion))
        sources[clip["apex_source"]] += 1
    inputs = {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
    excluded = sum((Counter(dataset.excluded(scheme)) for dataset in sets), Counter())
    extras = {"action_units": units, "flow": np.stack(flow)}
    description = _description(sources, "action_units" in inputs, excluded)
    return Recorded(table, inputs, extras, description)


def _description(sources: Counter, estimated_units: bool, excluded: Counter) -> str:
    """Say what a network is given of a prepared clip."""
    apexes = ", ".join(f"{source} in {count} clips" for source, count in sources.most_common())
    text = f"aligned faces with onset, apex and offset (apex: {apexes})"
    text += ", and action units that are estimated from these pictures" if estimated_units else ""
    counts = ", ".join(f"{label} {count}" for label, count in excluded.items())
    return text + (f"; clips without a class were excluded: {counts}" if counts else "")


class RecordedSource:
    """Batches of recorded clips for one process.

    Args:
        config ([`TrainingConfig`]): Of the run; `batch_size` samples are one process's part of a batch.
        data ([`Recorded`]): All clips.
        rows (`np.ndarray` of shape `(n,)`): int64; the clips that are trained on.
        processes (`int`): Number of processes that the run was started with.
        rank (`int`): This process among those that run now.
        of (`int`): Processes that run now.
    """

    def __init__(
        self, config: TrainingConfig, data: Recorded, rows: np.ndarray, processes: int, rank: int, of: int
    ):
        self.config, self.data, self.rows, self.rank, self.of = config, data, rows, rank, of
        self.class_names = data.table.class_names
        self.global_step = config.batch_size * config.gradient_accumulation_steps * processes
        rounded = math.floor if config.drop_last else math.ceil
        self.steps_per_epoch = rounded(len(rows) / self.global_step)
        self.per_step = self.global_step // of
        if not self.steps_per_epoch:
            raise TrainingError(
                f"--drop-last leaves nothing: {len(rows)} clips are less than one step of "
                f"{self.global_step}. Lower --batch-size, or keep the last batch."
            )

    def prepare(self) -> None:
        """Do nothing: everything is in memory already."""

    def order(self, epoch: int) -> np.ndarray:
        """Return the rows of an epoch in the order they are seen, int64."""
        rng = np.random.default_rng([self.config.seed, epoch])
        if self.config.sampling == "listed":
            return self.rows
        if self.config.sampling == "balanced":
            labels = self.data.table.labels[self.rows]
            weights = 1.0 / np.bincount(labels)[labels]
            return rng.choice(self.rows, len(self.rows), p=weights / weights.sum())
        return rng.permutation(self.rows)

    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[dict[str, torch.Tensor], float]]:
        """Yield this process's part of each step from `first_step` on, in accumulated parts.

        Each is inputs in float32 with `labels`, and the weight of the part's mean loss in its step. Where a
        process has nothing to do, one sample of weight 0 keeps it in step with the others.
        """
        order, parts = self.order(epoch), self.config.gradient_accumulation_steps
        for step in range(first_step, self.steps_per_epoch):
            rows = order[step * self.global_step : (step + 1) * self.global_step]
            for part, chosen in enumerate(np.array_split(rows, parts)):
                inputs, labels = self._part(chosen, rows, [self.config.seed, epoch, step, part])
                own = slice(self.rank, None, self.of)
                share = len(chosen[own]) * self.of / len(rows)
                own = own if share else slice(0, 1)
                yield {name: tensor[own] for name, tensor in inputs.items()} | {"labels": labels[own]}, share

    def _part(self, chosen: np.ndarray, rows: np.ndarray, key: list[int]):
        """Return one part of a step as all processes see it, augmented alike in all of them."""
        index = torch.from_numpy(chosen if len(chosen) else rows[:1])
        inputs = {name: tensor[index].float() for name, tensor in self.data.inputs.items()}
        labels = torch.from_numpy(self.data.table.labels)[index]
        inputs = augment(inputs, self.config, generator_of(key), generator_of([*key, 2]))
        if self.config.mixup:
            rng = np.random.default_rng([*key, 1])
            inputs, labels = mix_pairs(inputs, labels, len(self.class_names), self.config.mixup, rng)
        return inputs, labels
