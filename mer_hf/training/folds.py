"""Train a network for every fold of a protocol, and test each on people that it has not seen.

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
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import set_seed
from transformers.utils import logging as transformers_logging

from mer_hf import __version__
from mer_hf.data import splits
from mer_hf.data.table import ClipTable
from mer_hf.evaluation.fold_log import read_rows, rows_of, training_name, write_rows
from mer_hf.evaluation.run_report import END_OF_SUMMARY, TEST_SELECTED, write_report
from mer_hf.utils.files import write_text
from mer_hf.utils.provenance import git_commit
from mer_hf.utils.rendering import render
from mer_hf.utils.work_queue import WorkQueue

from .baselines import baseline_rows
from .build import build_model, build_processor
from .config import TrainingConfig, TrainingError, read_record
from .loop import make_accelerator, run_training
from .optimization import make_optimizer
from .recorded import Recorded, RecordedSource, read_recorded
from .run_folder import WEIGHTS, make_empty
from .selection import BestEpoch, predict

PREDICTIONS = "predictions.csv"
PLAN = Path(__file__).with_name("plan.txt.j2")
WAIT_S = 600


def make_folds(table: ClipTable, config: TrainingConfig) -> list[splits.Fold]:
    """Return the folds of `--protocol`, checked for leaks, in the order in which they are trained."""
    try:
        if config.protocol == "kfold":
            return splits.grouped_k_fold(table, config.folds, config.seed)
        if config.protocol == "cross":
            sides = [text.split(",") if text else None for text in (config.train_on, config.test_on)]
            return splits.cross_dataset(table, *sides)
        classes = len(table.class_names)
        if config.protocol == "cde" and classes != 3:
            raise ValueError(f"the composite has 3 classes, got {classes}. Use --classes composite3.")
        return splits.leave_one_subject_out(table)
    except ValueError as error:
        raise TrainingError(f"--protocol {config.protocol}: {error}") from error


class ProtocolRun:
    """A protocol's run as one process sees it: a training per fold and seed."""

    def __init__(self, config: TrainingConfig, recorded: Recorded, processor):
        self.config, self.recorded, self.processor = config, recorded, processor
        self.path = Path(config.output_dir)
        self.folds = make_folds(recorded.table, config)
        seeds = range(config.seed, config.seed + config.num_seeds)
        self.trainings = {
            training_name(fold.name, seed): (fold, seed) for seed in seeds for fold in self.folds
        }
        self.queue = WorkQueue(self.path / "queue", list(self.trainings))

    def start(self, rank: int) -> None:
        """Make the folder, or check that it is the run to resume; the first process does so.

        Raises:
            TrainingError: If the folder holds something else.
        """
        record = self.path / "train_config.json"
        if rank:
            self._wait()
        if rank or (self.config.resume and record.is_file() and self.queue.folder.is_dir()):
            return self._check()
        # A run that was killed before its queue was there has not begun anything.
        ours = ("train_config.json", "clips.csv", "splits.json") if self.config.resume else ()
        make_empty(self.path, self.config.resume, ours)
        write_text(self.path / "clips.csv", self.recorded.table.to_csv())
        write_text(self.path / "splits.json", splits.to_json(self.recorded.table, self.folds))
        write_text(record, json.dumps(self._setting(), indent=2) + "\n")
        self.queue.fill()

    def _wait(self) -> None:
        """Wait until the first process has begun the run."""
        until = time.monotonic() + WAIT_S
        while not self.queue.folder.is_dir():
            if time.monotonic() > until:
                raise TrainingError(f"the first process did not begin the run in {self.path}.")
            time.sleep(0.05)

    def _digests(self) -> dict[str, str]:
        table = self.recorded.table
        return {"clips_sha256": table.digest(), "splits_sha256": splits.digest(table, self.folds)}

    def _setting(self) -> dict:
        return {
            **self.config.stored(),
            "class_names": self.recorded.table.class_names, "given": self.recorded.given,
            **self._digests(),
            "started_with": int(os.environ.get("WORLD_SIZE", "1")),
            "mer_hf": __version__, "commit": git_commit(), "torch": torch.__version__,
            "device": "cuda" if torch.cuda.is_available() else "cpu",
        }  # fmt: skip

    def _check(self) -> None:
        before = read_record(self.path / "train_config.json")
        for name, digest in self._digests().items():
            if before.get(name) != digest:
                what = "clips or labels" if name == "clips_sha256" else "folds"
                raise TrainingError(
                    f"--data {self.config.data} now has other {what} than the run in {self.path}. "
                    "Restore the data, or choose another folder."
                )

    def folder(self, name: str) -> Path:
        """Return the folder of a training."""
        return self.path / "folds" / name

    def train(self, name: str) -> None:
        """Train and test one fold, or resume it; all processes that know of each other do so together."""
        (fold, seed), folder, table = self.trainings[name], self.folder(name), self.recorded.table
        folder.mkdir(parents=True, exist_ok=True)
        config = replace(self.config, output_dir=str(folder), seed=seed, num_seeds=1, resume=True)
        accelerator = make_accelerator(config)
        fit, inner = fold.train, np.zeros(0, np.int64)
        if config.selection == "inner":
            fit, inner = splits.inner_validation(table, fold.train, config.inner_share, seed)
        best = None
        if config.selection != "last":
            best = BestEpoch(config.selection, folder, self.recorded, inner, fold.test)
        selection = TEST_SELECTED if config.selection == "oracle-epoch" else config.selection

        def test(model: torch.nn.Module, epoch: int, folder: Path) -> None:
            about = {"fold": fold.name, "seed": seed, "epoch": epoch, "selection": selection}
            rows = rows_of(table, fold.test, predict(model, self.recorded, fold.test), **about)
            write_rows(folder / PREDICTIONS, rows)

        run_training(
            config, accelerator, self.processor, self.recorded, rows=fit, best=best, test=test, title=name
        )
        if accelerator.is_main_process:
            if best:
                best.path.unlink(missing_ok=True)  # the scores stay
            if config.drop_fold_weights:
                (folder / WEIGHTS).unlink(missing_ok=True)

    def merge(self) -> bool:
        """Join the rows of all trainings, score the baselines and write the report, once all are done.

        Returns:
            `bool`: Whether the run is complete.
        """
        if self.queue.left():
            return False
        last = WorkQueue(self.path / "merge", ["merge"])
        last.fill()
        for _ in last.claims():
            rows = [row for name in self.trainings for row in read_rows(self.folder(name) / PREDICTIONS)]
            write_rows(self.path / PREDICTIONS, rows)
            if self.config.baselines == "yes":
                rows = baseline_rows(self.recorded, self.folds, self.config.seed)
                write_rows(self.path / "baselines.csv", rows)
            write_report(self.path)
        return not last.left()


def _work_on_folds(run: ProtocolRun, world: int) -> bool:
    """Train folds of this process's own: no model is wrapped, nothing is exchanged."""
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # sums are taken in one order whatever the number of processes
    elif world > 1:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    # Forget the other processes of the launch, so that Accelerate does not wrap or wait.
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR",
                 "MASTER_PORT"):  # fmt: skip
        os.environ.pop(name, None)
    for name in run.queue.claims():
        run.train(name)
    return run.merge()


def _work_together(run: ProtocolRun) -> bool:
    """Train each fold with all processes."""
    accelerator = make_accelerator(run.config)
    for name in run.trainings:
        # Which trainings are left may differ between processes that look at different moments.
        left = torch.tensor(int(name in run.queue.left()), device=accelerator.device)
        accelerator.wait_for_everyone()
        if not int(accelerator.reduce(left, reduction="sum")):
            continue
        run.train(name)
        if accelerator.is_main_process:
            run.queue.finish(name)
        accelerator.wait_for_everyone()
    complete = accelerator.is_main_process and run.merge()
    accelerator.wait_for_everyone()
    return complete


def run_protocol(config: TrainingConfig) -> None:
    """Train and test every fold, or resume doing so, and write the report.

    Args:
        config ([`TrainingConfig`]): Of the run; `protocol` is set.

    Raises:
        TrainingError: If the run cannot be started as it is described.
    """
    transformers_logging.disable_progress_bar()
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    processor = build_processor(config)
    run = ProtocolRun(config, read_recorded(config, processor, show=rank == 0), processor)
    mode = config.parallel
    if mode == "auto":
        mode = "folds" if len(run.trainings) >= world else "batch"
    if config.dry_run:
        if rank == 0:
            print(plan(run, mode, world))
        return
    run.start(rank)
    if rank == 0:
        print(_summary(run, mode, world), flush=True)
    complete = _work_together(run) if mode == "batch" else _work_on_folds(run, world)
    if complete:
        print((run.path / "report.md").read_text().split(END_OF_SUMMARY)[0].rstrip())
        print(f"report: {run.path / 'report.html'}")


def _summary(run: ProtocolRun, mode: str, world: int, **cost: float) -> str:
    """Return two or three lines on what is trained and how; with a cost also the folds and what they take."""
    table, cores = run.recorded.table, os.cpu_count() or 1
    values = {
        "config": run.config, "table": table, "subjects": len(np.unique(table.subjects)), "folds": run.folds,
        "left": len(run.queue.left()), "world": world, "mode": mode, "cost": cost, "cores": cores,
        "idle_cores": mode == "folds" and world == 1 and cores > 1 and not torch.cuda.is_available(),
    }  # fmt: skip
    return render(PLAN, values).rstrip()


def plan(run: ProtocolRun, mode: str, world: int) -> str:
    """Describe what a run that was not started would do, and estimate how long it would take."""
    config, table = run.config, run.recorded.table
    set_seed(config.seed)
    model = build_model(config, table.class_names)
    size = sum(parameter.numel() for parameter in model.parameters())
    per_step = config.batch_size * config.gradient_accumulation_steps
    epochs = [-(-len(fold.train) // per_step) for fold in run.folds]
    steps = sum(config.max_steps or config.epochs * length for length in epochs) * config.num_seeds
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if mode == "folds" and device.type == "cpu":
        torch.set_num_threads(1)
    seconds = _seconds_per_step(model.to(device), run.recorded, config, device)
    hours = steps * seconds / 3600 / (world if mode == "folds" else 1)
    bytes_each = size * (2 if config.dtype_on_disk == "float16" else 4)
    disk = 0 if config.drop_fold_weights else bytes_each * len(run.trainings)
    cost = {"parameters": size, "steps": steps, "seconds": seconds, "hours": hours, "disk": disk}
    return _summary(run, mode, world, **cost)


def _seconds_per_step(model, recorded: Recorded, config: TrainingConfig, device: torch.device) -> float:
    """Return the median time of a few steps, which change the network."""
    source = RecordedSource(config, recorded, np.arange(len(recorded.table)), 1, 0, 1)
    optimizer, seconds = make_optimizer(model, config), []
    for batch, _ in islice(source.batches(0, 0), 4):
        start = time.perf_counter()
        labels = batch.pop("labels").to(device)
        logits = model(**{name: tensor.to(device) for name, tensor in batch.items()}).logits
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:] or seconds)) * config.gradient_accumulation_steps
