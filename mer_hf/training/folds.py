"""Trains a network for every fold of a protocol, and tests each on people that it has not seen.

    train_config.json    the flags
    clips.csv            who is seen in which clip
    splits.json          fold -> keys of its training and its tested clips
    folds/<fold>/        a training run: its checkpoint, its predictions.csv
    predictions.csv      the log: one row per tested clip and seed
    baselines.csv        the same of simple baselines on the same folds
    report.md, .html     made from these files alone

A run that was killed is resumed by the same flags and --resume, with any number of processes.
"""

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import set_seed
from tqdm.auto import tqdm
from transformers.utils import logging as transformers_logging

from mer_hf import __version__
from mer_hf.data import splits
from mer_hf.data.splits import Fold
from mer_hf.data.table import ClipTable
from mer_hf.evaluation.fold_log import read_rows, rows_of, training_name, write_rows
from mer_hf.evaluation.run_report import END_OF_SUMMARY, TEST_SELECTED, write_report
from mer_hf.training.build import build_model, build_processor, save_checkpoint
from mer_hf.training.config import TrainingConfig, TrainingError
from mer_hf.training.loop import Trainer, make_accelerator, run_training
from mer_hf.training.optimization import make_optimizer
from mer_hf.training.recorded import Recorded, RecordedSource, read_recorded
from mer_hf.training.run_folder import WEIGHTS
from mer_hf.utils.files import write_text
from mer_hf.utils.provenance import git_commit
from mer_hf.utils.work_queue import WorkQueue

from .baselines import baseline_rows
from .selection import predict, rule

PREDICTIONS = "predictions.csv"
WAIT_S = 600
STACKED_AT_ONCE = 32


@dataclass(frozen=True)
class Unit:
    """One training of a protocol: a fold and a seed."""

    fold: Fold
    seed: int

    @property
    def name(self) -> str:
        """Of its folder and its file in the queue."""
        return training_name(self.fold.name, self.seed)


def make_folds(table: ClipTable, config: TrainingConfig) -> list[Fold]:
    """The folds of `--protocol`, checked for leaks.

    Args:
        table ([`ClipTable`]): The clips.
        config ([`TrainingConfig`]): Of the run.

    Returns:
        `list[Fold]`: In the order in which they are trained.

    Raises:
        TrainingError: In one line, if the clips do not suit the protocol.
    """
    try:
        if config.protocol == "kfold":
            return splits.grouped_k_fold(table, config.folds, config.seed)
        if config.protocol == "cross":
            sides = [text.split(",") if text else None for text in (config.train_on, config.test_on)]
            return splits.cross_dataset(table, *sides)
        if config.protocol == "cde" and len(table.class_names) != 3:
            raise ValueError(
                f"the composite has 3 classes, got {len(table.class_names)}. Use --classes composite3."
            )
        return splits.leave_one_subject_out(table)
    except ValueError as error:
        raise TrainingError(f"--protocol {config.protocol}: {error}") from error


def parallel_mode(config: TrainingConfig, units: int) -> str:
    """`folds`, `batch` or `stacked`, with `auto` decided.

    Args:
        config ([`TrainingConfig`]): Of the run.
        units (`int`): Trainings to do.

    Returns:
        `str`: With one process `folds`; with several `folds` if there is work for each, else `batch`.
    """
    if config.parallel != "auto":
        return config.parallel
    return "folds" if units >= int(os.environ.get("WORLD_SIZE", "1")) else "batch"


class ProtocolRun:
    """A protocol's run as one process sees it.

    Args:
        config ([`TrainingConfig`]): Of the run.
        recorded ([`Recorded`]): All clips.
    """

    def __init__(self, config: TrainingConfig, recorded: Recorded):
        self.config, self.recorded, self.path = config, recorded, Path(config.output_dir)
        self.folds = make_folds(recorded.table, config)
        seeds = range(config.seed, config.seed + config.num_seeds)
        self.units = {unit.name: unit for seed in seeds for unit in (Unit(fold, seed) for fold in self.folds)}
        self.queue = WorkQueue(self.path / "queue", list(self.units))

    def start(self, rank: int) -> None:
        """Make the folder, or check that it is the run to go on with; the first process does so.

        Raises:
            TrainingError: If the folder holds something else.
        """
        record = self.path / "train_config.json"
        if rank:
            until = time.monotonic() + WAIT_S
            while not self.queue.folder.is_dir():
                if time.monotonic() > until:
                    raise TrainingError(f"the first process did not begin the run in {self.path}.")
                time.sleep(0.05)
            self._check()
            return
        if self.config.resume and record.is_file() and self.queue.folder.is_dir():
            self._check()
            return
        if self.path.exists() and not self.path.is_dir():
            raise TrainingError(f"--output-dir {self.path} is a file. Name a folder.")
        # A run that was killed before its queue was there has begun nothing.
        ours = {"train_config.json", "clips.csv", "splits.json"} if self.config.resume else set()
        if self.path.exists() and any(
            name not in ours and not name.startswith(".") for name in os.listdir(self.path)
        ):
            hint = "name another folder" if self.config.resume else "add --resume to go on with the run in it"
            raise TrainingError(f"--output-dir {self.path} is not empty: {hint}.")
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.path / "clips.csv", self.recorded.table.to_csv())
        write_text(self.path / "splits.json", splits.to_json(self.recorded.table, self.folds))
        write_text(record, json.dumps(self._setting(), indent=2) + "\n")
        self.queue.fill()

    def _setting(self) -> dict:
        table = self.recorded.table
        return {
            **self.config.stored(),
            "class_names": table.class_names,
            "given": self.recorded.given,
            "clips_sha256": table.digest(),
            "splits_sha256": splits.digest(table, self.folds),
            "started_with": int(os.environ.get("WORLD_SIZE", "1")),
            "mer_hf": __version__,
            "commit": git_commit(),
            "torch": torch.__version__,
            "device": "cuda" if torch.cuda.is_available() else "cpu",
        }

    def _check(self) -> None:
        before = json.loads((self.path / "train_config.json").read_text())
        for name in ("clips_sha256", "splits_sha256"):
            if before[name] != self._setting()[name]:
                what = "clips or labels" if name == "clips_sha256" else "folds"
                raise TrainingError(
                    f"the run in {self.path} has other {what} than --data {self.config.data} now gives. "
                    "Restore the data, or start anew in another folder."
                )

    def folder(self, unit: Unit) -> Path:
        """Where a unit's training run is."""
        return self.path / "folds" / unit.name

    def train_unit(self, unit: Unit) -> None:
        """Train and test one unit, or go on with it; all processes that know of each other do so together."""
        folder, table = self.folder(unit), self.recorded.table
        folder.mkdir(parents=True, exist_ok=True)
        config = replace(self.config, output_dir=str(folder), seed=unit.seed, num_seeds=1, resume=True)
        accelerator = make_accelerator(config)
        fit, inner = unit.fold.train, np.zeros(0, np.int64)
        if config.selection == "inner":
            fit, inner = splits.inner_validation(table, unit.fold.train, config.inner_share, unit.seed)
        best = rule(config.selection, folder, self.recorded, inner, unit.fold.test)

        def prepare(trainer: Trainer) -> None:
            trainer.title, trainer.quiet = unit.name, True
            trainer.at_epoch_end = best

            def test(trainer: Trainer, final: Path) -> None:
                model = trainer.trained_model()
                epoch = best.restore(model) if best else trainer.step // trainer.source.steps_per_epoch
                self.write_predictions(unit, predict(model, self.recorded, unit.fold.test), epoch, final)

            trainer.at_finish = test

        run_training(config, accelerator, self.recorded, fit, prepare)
        if accelerator.is_main_process:
            if best:
                best.clear()
            if self.config.drop_fold_weights:
                (folder / WEIGHTS).unlink(missing_ok=True)

    def write_predictions(self, unit: Unit, probabilities: np.ndarray, epoch: int, folder: Path) -> None:
        """Write the rows of one unit."""
        selection = TEST_SELECTED if self.config.selection == "oracle-epoch" else self.config.selection
        rows = rows_of(
            self.recorded.table, unit.fold.test, probabilities,
            fold=unit.fold.name, seed=unit.seed, epoch=epoch, selection=selection,
        )  # fmt: skip
        write_rows(folder / PREDICTIONS, rows)

    def merge(self) -> bool:
        """Once all units are done: join their rows, score the baselines, write the report.

        Returns:
            `bool`: Whether the run is complete.
        """
        if self.queue.left():
            return False
        last = WorkQueue(self.path / "merge", ["merge"])
        last.fill()
        for _ in last.claims():
            rows = [row for unit in self.units.values() for row in read_rows(self.folder(unit) / PREDICTIONS)]
            write_rows(self.path / PREDICTIONS, rows)
            if self.config.baselines == "yes":
                rows = baseline_rows(self.recorded, self.folds, self.config.seed)
                write_rows(self.path / "baselines.csv", rows)
            write_report(self.path)
        return not last.left()


def _work_on_folds(run: ProtocolRun) -> None:
    """Fold mode: each process trains units of its own; no model is wrapped, nothing is exchanged."""
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # sums are taken in one order whatever the number of processes
    for name in run.queue.claims():
        run.train_unit(run.units[name])


def _work_together(run: ProtocolRun, accelerator) -> None:
    """Batch mode: all processes train each unit together."""
    for name in list(run.units):
        # Which units are left may differ between processes that look at different moments.
        left = torch.tensor(int(name in run.queue.left()), device=accelerator.device)
        accelerator.wait_for_everyone()
        if not int(accelerator.reduce(left, reduction="sum")):
            continue
        run.train_unit(run.units[name])
        if accelerator.is_main_process:
            run.queue.finish(name)
        accelerator.wait_for_everyone()


def _work_stacked(run: ProtocolRun) -> None:
    """Stacked mode: as many units of one seed as fit are trained as one program, then the next."""
    from mer_hf.training import stacked

    config = run.config
    settings = stacked.FoldSettings(
        **{
            name: getattr(config, name)
            for name in ("epochs", "max_steps", "batch_size", "lr", "warmup_ratio", "weight_decay",
                         "max_grad_norm", "label_smoothing", "ema_decay")
        }
    )  # fmt: skip
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    left = [run.units[name] for name in run.queue.left()]
    # Sorted by size, because folds of about the same number of steps go well together.
    for seed in sorted({unit.seed for unit in left}):
        units = sorted((u for u in left if u.seed == seed), key=lambda unit: len(unit.fold.train))
        for start in range(0, len(units), STACKED_AT_ONCE):
            _train_stack(run, units[start : start + STACKED_AT_ONCE], replace(settings, seed=seed), device)


def _train_stack(run: ProtocolRun, units: list[Unit], settings, device: torch.device) -> None:
    """Train and test some units of one seed as one program."""
    from mer_hf.training import stacked

    config, table = replace(run.config, seed=settings.seed), run.recorded.table

    def make_model(_: int) -> torch.nn.Module:
        set_seed(settings.seed)
        return build_model(config, table.class_names)[0]

    folds = [stacked.Fold(unit.fold.name, unit.fold.train) for unit in units]
    inputs = {name: tensor.float() for name, tensor in run.recorded.inputs.items()}
    labels = torch.from_numpy(table.labels)
    with tqdm(desc=f"seed {settings.seed}, {len(units)} folds", unit="step", leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            states = stacked.train_folds(
                make_model, inputs, labels, folds, settings, device=device, progress=progress
            )
        except ValueError as error:
            raise TrainingError(f"--parallel stacked: {error}") from error
    model, processor = build_model(config, table.class_names)
    for unit, fold, state in zip(units, folds, states, strict=True):
        model.load_state_dict(state)
        folder = run.folder(unit)
        folder.mkdir(parents=True, exist_ok=True)
        if not run.config.drop_fold_weights:
            save_checkpoint(model, processor, folder, config)
        epoch = settings.steps(fold) // settings.steps_per_epoch(fold)
        run.write_predictions(unit, predict(model, run.recorded, unit.fold.test), epoch, folder)
        run.queue.finish(unit.name)


def run_protocol(config: TrainingConfig) -> None:
    """Train and test every fold, or go on doing so, and write the report.

    Args:
        config ([`TrainingConfig`]): Of the run; `protocol` is set.

    Raises:
        TrainingError: In one line, if the run cannot be started as it is described.
    """
    transformers_logging.disable_progress_bar()
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    recorded = read_recorded(config, build_processor(config), show=rank == 0)
    run = ProtocolRun(config, recorded)
    mode = parallel_mode(config, len(run.units))
    if config.dry_run:
        if rank == 0:
            print(plan(run, mode, world))
        return
    if mode == "stacked" and world > 1:
        raise TrainingError("--parallel stacked uses one process. Start one, or use --parallel folds.")
    run.start(rank)
    if rank == 0:
        print(_summary(run, mode, world), flush=True)
    if mode == "batch":
        accelerator = make_accelerator(config)
        _work_together(run, accelerator)
        complete = accelerator.is_main_process and run.merge()
        accelerator.wait_for_everyone()
    else:
        if mode == "folds":
            _leave_the_group(world)
            _work_on_folds(run)
        else:
            _work_stacked(run)
        complete = run.merge()
    if complete:
        print((run.path / "report.md").read_text().split(END_OF_SUMMARY)[0].rstrip())
        print(f"report: {run.path / 'report.html'}")


def _leave_the_group(world: int) -> None:
    """Forget the other processes of the launch, so that Accelerate wraps nothing and waits for nobody."""
    if world > 1 and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    for name in (
        "RANK",
        "LOCAL_RANK",
        "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        "GROUP_RANK",
        "MASTER_ADDR",
        "MASTER_PORT",
    ):
        os.environ.pop(name, None)


def _summary(run: ProtocolRun, mode: str, world: int) -> str:
    table = run.recorded.table
    counts = ", ".join(f"{name} {count}" for name, count in table.counts().items())
    left = len(run.queue.left()) if run.queue.folder.is_dir() else len(run.units)
    lines = [
        f"{run.config.protocol}: {len(table)} clips of {len(np.unique(table.subjects))} subjects ({counts})",
        f"{len(run.folds)} folds, {run.config.num_seeds} seed(s), {left} trainings left, "
        f"{world} process(es), --parallel {mode}, selection {run.config.selection}",
    ]
    if mode == "folds" and world == 1 and (os.cpu_count() or 1) > 1 and not torch.cuda.is_available():
        lines.append(
            f"one process uses one core; torchrun --nproc_per_node {os.cpu_count()} train.py ... uses all"
        )
    return "\n".join(lines)


def plan(run: ProtocolRun, mode: str, world: int) -> str:
    """What a run would do, and about how long it would take; nothing is written.

    Args:
        run ([`ProtocolRun`]): Not started.
        mode (`str`): `folds`, `batch` or `stacked`.
        world (`int`): Number of processes.

    Returns:
        `str`: Lines.
    """
    config, table = run.config, run.recorded.table
    set_seed(config.seed)
    model, _ = build_model(config, table.class_names)
    size = sum(parameter.numel() for parameter in model.parameters())
    per_epoch = [
        -(-len(fold.train) // (config.batch_size * config.gradient_accumulation_steps)) for fold in run.folds
    ]
    steps = sum(config.max_steps or config.epochs * each for each in per_epoch) * config.num_seeds
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if mode == "folds" and device.type == "cpu":
        torch.set_num_threads(1)
    seconds = _seconds_per_step(model.to(device), run.recorded, config, device)
    hours = steps * seconds / 3600 / (world if mode == "folds" else 1)
    bytes_each = size * (2 if config.dtype_on_disk == "float16" else 4)
    disk = 0 if config.drop_fold_weights else bytes_each * len(run.units)
    rows = [f"  {fold.name:<24}{len(fold.train):6d} train {len(fold.test):5d} test" for fold in run.folds]
    return "\n".join(
        [
            _summary(run, mode, world), *rows,
            f"{config.model}: {size:,} parameters; {steps:,} optimizer steps, {seconds:.3g} s each here",
            f"about {hours:.1f} h" if hours >= 1 else f"about {hours * 60:.1f} minutes",
            f"fold checkpoints: {disk / 1e9:.2f} GB",
        ]
    )  # fmt: skip


def _seconds_per_step(model, recorded: Recorded, config: TrainingConfig, device: torch.device) -> float:
    """Median time of a step, of a few; the network is changed by them."""
    source = RecordedSource(config, recorded, np.arange(len(recorded.table)), 1, 0, 1)
    optimizer, seconds = make_optimizer(model, config), []
    batches = source.batches(0, 0)
    for _ in range(min(4, source.steps_per_epoch)):
        start = time.perf_counter()
        for _ in range(config.gradient_accumulation_steps):
            batch, weight = next(batches)
            labels = batch.pop("labels").to(device)
            logits = model(**{name: tensor.to(device) for name, tensor in batch.items()}).logits
            (torch.nn.functional.cross_entropy(logits, labels) * weight).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:] or seconds))
