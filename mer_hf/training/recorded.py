"""What a run trains on when clips were recorded: flow maps of a file, or the faces of prepared data sets.

Everything lies in memory as the network takes it. All processes hold all of it; a global batch is a function
of (seed, epoch, step), and each process works on its share of it, so that a run can go on with another number
of processes.
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

from .config import TrainingConfig, TrainingError
from .optimization import mixed
from .samples import augment_faces, disturb, disturb_faces, to_inputs


def class_names_of(classes: str | None) -> tuple[str, ...] | None:
    """`--classes` as names in index order: a scheme's, or those given with commas."""
    if classes is None:
        return None
    names = SCHEMES.get(classes) or tuple(name.strip() for name in classes.split(","))
    if len(names) < 2 or len(set(names)) < len(names) or "" in names:
        raise TrainingError(
            f"--classes {classes} is none of {', '.join(SCHEMES)}, nor several names with commas."
        )
    return names


@dataclass(frozen=True)
class Recorded:
    """Recorded clips as a network takes them.

    Attributes:
        table ([`ClipTable`]): Who is seen in which clip.
        inputs (`dict[str, torch.Tensor]`): The network's inputs, each `(N, ...)`, without labels.
        faces (`bool`): Whether `pixel_values` are faces `(N, F, 3, S, S)` and not flow maps.
        extras (`dict[str, Any]`): What baselines need beside: `flow` uint8 `(N, 28, 28, 3)`, `action_units`,
            a list of sets of annotated units; what the data set does not have is missing.
        given (`str`): What the network is given of a tested clip, for the report.
    """

    table: ClipTable
    inputs: dict[str, torch.Tensor]
    faces: bool
    extras: dict[str, Any]
    given: str


def is_recorded(config: TrainingConfig) -> bool:
    """Whether a run trains on recorded clips."""
    return config.data != "synthetic"


def read_recorded(config: TrainingConfig, processor, show: bool = False) -> Recorded:
    """Read `--data` and prepare it for a network.

    Args:
        config ([`TrainingConfig`]): Of the run.
        processor (`BaseImageProcessor`): The network's image processor.
        show (`bool`, *optional*, defaults to `False`): Whether to show a progress bar.

    Returns:
        [`Recorded`]: The clips.

    Raises:
        TrainingError: In one line, if the data cannot be read or do not suit the network.
    """
    try:
        if config.data.startswith("flows:"):
            return _read_flows(config, processor)
        return _read_prepared(config, processor, show)
    except (ValueError, OSError) as error:
        raise TrainingError(f"--data {config.data}: {error}") from error


def _read_flows(config: TrainingConfig, processor) -> Recorded:
    if not takes_flow_maps(processor):
        raise TrainingError(
            f"--data {config.data} holds flow maps, and a {config.model} looks at faces. "
            "Choose --model htnet."
        )
    maps = read_flow_maps(config.data.removeprefix("flows:"))
    table = maps.table(class_names_of(config.classes))
    given = "ready-made flow maps from onset to apex; the file does not say how these were found"
    inputs = {"pixel_values": to_inputs(processor, maps.flow)}
    return Recorded(table, inputs, False, {"flow": maps.flow}, given)


def _read_prepared(config: TrainingConfig, processor, show: bool) -> Recorded:
    from mer_hf.data.prepared import Prepared  # needs `datasets`, which training on flow maps does without
    from mer_hf.face.tracking import FaceGeometry

    sets = [Prepared(path) for path in config.data.split(",")]
    geometry = FaceGeometry(**(processor.face_geometry or {}))
    scheme = class_names_of(config.classes) or "composite3"
    tables = [each.table(scheme) for each in sets]
    table, rows = joined(tables), []
    units, flow, sources = [], [], Counter()
    with tqdm(total=len(table), desc="preparing clips", unit="clip", disable=not show) as bar:
        for each, part in zip(sets, tables, strict=True):
            for key in part.keys:
                clip = each.clip(str(key), geometry)
                rows.append(clip_inputs(clip, processor))
                units.append({f"AU{unit['number']}" for unit in clip["action_units"]})
                motion = flow_map(optical_flow(*(clip["frames"][clip[name]] for name in ("onset", "apex"))))
                flow.append(span_to_uint8(motion))
                sources[clip["apex_source"]] += 1
                bar.update()
    inputs = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    found = ", ".join(f"{source} in {count} clips" for source, count in sources.most_common())
    given = f"aligned faces with onset, apex and offset (apex: {found})"
    if "action_units" in inputs:
        given += ", and action units that are estimated from these pictures"
    left_out = sum((Counter(each.excluded(scheme)) for each in sets), Counter())
    if left_out:
        given += "; clips of no class were left out: " + ", ".join(f"{k} {n}" for k, n in left_out.items())
    extras = {"action_units": units, "flow": np.stack(flow)}
    return Recorded(table, inputs, inputs["pixel_values"].ndim == 5, extras, given)


def clip_inputs(clip: dict[str, Any], processor) -> dict[str, torch.Tensor]:
    """One prepared clip as a network takes it; action units are estimated from the pictures, never read.

    Args:
        clip (`dict`): `frames`, `onset`, `apex`, `offset`, `landmarks_xy`, as `Prepared.clip` gives them.
        processor (`BaseImageProcessor`): The network's image processor.

    Returns:
        `dict[str, torch.Tensor]`: Without the batch's axis; faces in float16.
    """
    from mer_hf.face.action_units import estimate_action_units

    given = {name: clip[name] for name in ("onset", "apex", "offset")}
    given["landmarks_xy"] = clip["landmarks_xy"]
    if getattr(processor, "action_unit_names", None):
        given["action_units"] = estimate_action_units(
            clip["frames"], clip["onset"], clip["apex"], clip["landmarks_xy"]
        )
    made = processor(images=clip["frames"], **given)
    inputs = {name: torch.from_numpy(np.asarray(array)[0]) for name, array in made.items()}
    if inputs["pixel_values"].ndim == 4:  # frames: half the memory
        inputs["pixel_values"] = inputs["pixel_values"].half()
    return inputs


class RecordedSource:
    """Batches of recorded clips for one process.

    Args:
        config ([`TrainingConfig`]): Of the run; `batch_size` samples are one process's part of a batch.
        data ([`Recorded`]): All clips.
        rows (`np.ndarray` of shape `(n,)`): int64; those that are trained on.
        processes (`int`): Number of processes that the run was started with.
        rank (`int`): This process among those that run now.
        of (`int`): Processes that run now.

    Raises:
        TrainingError: If `--drop-last` leaves no batch.
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
        """Everything is in memory already."""

    def order(self, epoch: int) -> np.ndarray:
        """The rows of an epoch in the order they are seen, int64."""
        rng = np.random.default_rng([self.config.seed, epoch])
        if self.config.sampling == "listed":
            return self.rows
        if self.config.sampling == "balanced":
            labels = self.data.table.labels[self.rows]
            weights = 1.0 / np.bincount(labels)[labels]
            return rng.choice(self.rows, len(self.rows), p=weights / weights.sum())
        return rng.permutation(self.rows)

    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[dict[str, torch.Tensor], float]]:
        """The parts of each step that are this process's, `gradient_accumulation_steps` for each step.

        Args:
            epoch (`int`): Counted from 0.
            first_step (`int`): Optimizer steps of this epoch that are already done.

        Yields:
            `tuple`: Inputs in float32 with `labels`, and the weight of the part's mean loss in its step.
            Where a process has nothing to do, one sample of weight 0 keeps it in step with the others.
        """
        order, parts = self.order(epoch), self.config.gradient_accumulation_steps
        for step in range(first_step, self.steps_per_epoch):
            rows = order[step * self.global_step : (step + 1) * self.global_step]
            for part, chosen in enumerate(np.array_split(rows, parts)):
                inputs, labels = self._part(chosen, rows, [self.config.seed, epoch, step, part])
                own = slice(self.rank, None, self.of)
                count = len(chosen[own])
                if not count:
                    own = slice(0, 1)
                yield (
                    {name: tensor[own] for name, tensor in inputs.items()} | {"labels": labels[own]},
                    count * self.of / len(rows),
                )

    def _part(self, chosen: np.ndarray, rows: np.ndarray, key: list[int]):
        """One part of a step as all processes see it, changed at random but for all processes alike."""
        index = torch.from_numpy(chosen if len(chosen) else rows[:1])
        inputs = {name: tensor[index].float() for name, tensor in self.data.inputs.items()}
        labels = torch.from_numpy(self.data.table.labels)[index]
        config = self.config
        if self.data.faces:
            inputs = disturb_faces(inputs, config.augment_noise, key)
            if config.augmentation == "faces":
                inputs = augment_faces(inputs, config.rotation_deg, config.shift_px, key)
        else:
            changed = disturb(inputs["pixel_values"], config.augment_noise, key)
            inputs = inputs | {"pixel_values": changed}
        if config.mixup:
            inputs, labels = mixed(inputs, labels, len(self.class_names), config.mixup, key)
        return inputs, labels
