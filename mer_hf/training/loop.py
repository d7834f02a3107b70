"""The training loop, on Accelerate: one process, several, or GPUs, and resumable to the bit.

All that decides the weights is a function of the configuration and the number of steps done, except what a
state keeps: weights, their average, optimizer, schedule, gradient scale and random numbers.
"""

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object, set_seed
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score, recall_score
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm
from transformers.utils import logging as transformers_logging

from mer_hf import __version__
from mer_hf.utils.provenance import git_commit

from .build import build_model, build_processor, save_checkpoint
from .config import TrainingConfig, TrainingError
from .data import Share, SyntheticSource
from .optimization import average_of, make_optimizer, make_schedule
from .recorded import Recorded, RecordedSource, is_recorded, read_recorded
from .run_folder import RunFolder


class Trainer:
    """One run from its first step, or from the state it was left in, to its checkpoint.

    Args:
        config ([`TrainingConfig`]): Of the run.
        accelerator (`Accelerator`): Of this process.
        run ([`RunFolder`]): Where the run keeps what it needs.
        recorded ([`Recorded`], *optional*): The clips, where they were recorded.
        rows (`np.ndarray` of shape `(n,)`, *optional*): Those of them that are trained on; all by default.

    Attributes:
        at_epoch_end (`Callable[[Trainer, int], None]` or None): Called in every process with the number of
            epochs done, before a state is saved.
        at_finish (`Callable[[Trainer, Path], None]` or None): Called in the main process with the folder that
            becomes the checkpoint, before it is saved; it may put other weights into `trained_model()`.
        title (`str`): Of the progress bar.
        quiet (`bool`): Whether only the progress bar is shown, and only while it moves.
    """

    def __init__(
        self,
        config: TrainingConfig,
        accelerator: Accelerator,
        run: RunFolder,
        recorded: Recorded | None = None,
        rows: np.ndarray | None = None,
    ):
        self.config, self.accelerator, self.run = config, accelerator, run
        self.at_epoch_end: Callable[[Trainer, int], None] | None = None
        self.at_finish: Callable[[Trainer, Path], None] | None = None
        self.title, self.quiet = "training", False
        names = recorded.table.class_names if recorded else SyntheticSource.class_names
        model, self.processor = build_model(config, names)
        rank, processes = accelerator.process_index, accelerator.num_processes
        self.started_with = run.started_with() or processes
        if recorded is None:
            self.source = SyntheticSource(config, self.processor, Share(rank, processes))
        else:
            rows = np.arange(len(recorded.table)) if rows is None else rows
            self.source = RecordedSource(config, recorded, rows, self.started_with, rank, processes)
        self.total_steps = config.max_steps or config.epochs * self.source.steps_per_epoch
        optimizer = make_optimizer(model, config)
        # Not prepared: Accelerate would step the schedule once per process.
        self.schedule = make_schedule(optimizer, config, self.source.steps_per_epoch, self.total_steps)
        self.average = None
        if config.ema_decay:
            self.average = average_of(model, config.ema_decay).to(accelerator.device)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        accelerator.register_for_checkpointing(
            *[part for part in (self.schedule, self.average) if part is not None]
        )
        accelerator.register_load_state_pre_hook(_load_weights)
        self.step = 0

    def restore(self) -> None:
        """Go on from the latest state, if there is one."""
        state = self.run.latest()
        if state is not None:
            # Accelerate goes on without a word if the random numbers are missing.
            name = f"random_states_{self.accelerator.process_index}.pkl"
            elsewhere = self.started_with != self.accelerator.num_processes
            if not elsewhere and not (state / name).is_file():
                raise TrainingError(f"cannot resume: {state} lacks {name}. Start anew in another folder.")
            self.accelerator.load_state(str(state))
            self.step = self.run.step_of(state)
            if elsewhere:
                set_seed(self.config.seed + self.step, device_specific=True)
        if self.accelerator.is_main_process:
            self.run.rewind_log(self.step)

    def save_state(self) -> None:
        """Write a state that a killed run can go on from."""
        self.accelerator.save_state(str(self.run.unfinished(self.step)))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.run.complete(self.step)
        self.accelerator.wait_for_everyone()

    def fit(self) -> None:
        """Do the steps that are left."""
        bar = tqdm(
            total=self.total_steps,
            initial=self.step,
            desc=self.title,
            unit="step",
            leave=not self.quiet,
            disable=not self.accelerator.is_main_process,
        )
        with bar:
            while self.step < self.total_steps:
                self._epoch(bar)

    def _epoch(self, bar: tqdm) -> None:
        epoch, done = divmod(self.step, self.source.steps_per_epoch)
        batches = iter(self.source.batches(epoch, done))
        losses, since = [], time.perf_counter()
        for _ in range(done, min(self.source.steps_per_epoch, done + self.total_steps - self.step)):
            losses.append(self._step(batches))
            self.step += 1
            bar.update()
            at_state = self.step % self.config.save_steps == 0
            if self.at_epoch_end is not None and self.step % self.source.steps_per_epoch == 0:
                self.at_epoch_end(self, self.step // self.source.steps_per_epoch)
            # A line before every state: a state then holds no half-summed loss.
            if at_state or self.step % self.config.log_every == 0 or self.step == self.total_steps:
                loss = self._log(losses, epoch, since)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                losses, since = [], time.perf_counter()
            if at_state:
                self.save_state()

    def _step(self, batches) -> torch.Tensor:
        """One optimizer step; returns the mean loss of this process, without waiting for it."""
        self.model.train()
        parts = self.config.gradient_accumulation_steps
        total = torch.zeros((), device=self.accelerator.device)
        for part in range(parts):
            batch, weight = next(batches)
            batch = {name: array.to(self.accelerator.device) for name, array in batch.items()}
            # Processes exchange gradients once per step, with the last part.
            if part < parts - 1:
                with self.accelerator.no_sync(self.model):
                    loss = self._backward(batch, weight)
            else:
                loss = self._backward(batch, weight)
            total += loss
        if self.config.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.accelerator.unwrap_model(self.model))
        return total

    def _backward(self, batch: dict[str, torch.Tensor], weight: float) -> torch.Tensor:
        soft = batch["labels"].ndim == 2  # mixed samples have shares of classes
        labels = batch["labels"]
        outputs = self.model(**({name: batch[name] for name in batch if name != "labels"} if soft else batch))
        loss = outputs.loss
        if self.config.label_smoothing or soft:
            loss = cross_entropy(outputs.logits, labels, label_smoothing=self.config.label_smoothing)
        self.accelerator.backward(loss * weight)
        return loss.detach() * weight

    def _log(self, losses: list[torch.Tensor], epoch: int, since: float) -> float:
        loss = self.accelerator.reduce(torch.stack(losses).mean(), reduction="mean").item()
        if self.accelerator.is_main_process:
            samples = len(losses) * self.source.per_step * self.accelerator.num_processes
            record = {
                "step": self.step,
                "epoch": epoch,
                "loss": loss,
                "lr": self.schedule.get_last_lr()[0],
                "samples_per_s": round(samples / (time.perf_counter() - since), 1),
            }
            self.run.log(record)
            if self.config.track != "no":
                values = {name: value for name, value in record.items() if name != "step"}
                self.accelerator.log(values, step=self.step)
        return loss

    def finish(self) -> dict[str, Any]:
        """Score the weights on the held-out set and save them; the same result in every process."""
        model = self.trained_model()
        result = {"step": self.step, "validation": self._validate(model)}

        def save(folder: Path) -> None:
            if self.at_finish is not None:
                self.at_finish(self, folder)
            save_checkpoint(model, self.processor, folder, self.config)

        if self.accelerator.is_main_process:
            self.run.log(result)
            self.run.finish(save)
        self.accelerator.wait_for_everyone()
        return result

    def trained_model(self) -> torch.nn.Module:
        """The network in float32 with the weights that are kept: the last ones, or their average."""
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        if self.average is not None:
            model.load_state_dict(self.average.module.state_dict())
        return model

    @torch.inference_mode()
    def _validate(self, model) -> dict[str, float]:
        if not self.config.validation_samples or isinstance(self.source, RecordedSource):
            return {}
        model.eval()
        found = []
        for batch in self.source.validation():
            labels = batch.pop("labels").tolist()
            inputs = {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}
            found += list(zip(model(**inputs).logits.argmax(-1).tolist(), labels, strict=True))
        predictions, labels = zip(*gather_object(found), strict=True)
        options = {
            "labels": list(range(len(self.source.class_names))),
            "average": "macro",
            "zero_division": 0,
        }
        return {
            "samples": len(labels),
            "uf1": float(f1_score(labels, predictions, **options)),
            "uar": float(recall_score(labels, predictions, **options)),
            "accuracy": float(accuracy_score(labels, predictions)),
        }


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Join the other processes of the run, on GPUs where there are any."""
    if torch.cuda.is_available():  # the price of the same weights from the same seed
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    # Processes that torchrun starts on CPUs find each other only if Accelerate is told to use CPUs.
    on_cpu = started > 1 and not torch.accelerator.is_available()
    if config.track != "no" and importlib.util.find_spec(config.track) is None:
        raise TrainingError(f"--track {config.track} is not installed. Run pip install {config.track}.")
    tracker = {} if config.track == "no" else {"log_with": config.track, "project_dir": config.output_dir}
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=config.mixed_precision, **tracker)
    if config.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise TrainingError("--mixed-precision fp16 needs a GPU, and none was found. Use bf16 or no.")
    if accelerator.num_processes != started:
        raise TrainingError(
            f"{started} processes were started, but {accelerator.num_processes} found each other. "
            "Start them with torchrun, one per GPU."
        )
    return accelerator


def _load_weights(models: list[torch.nn.Module], folder: str) -> None:
    """Load a state's weights in place of Accelerate, which fails if the model was wrapped then or is now."""
    state = {
        name.removeprefix("module."): tensor
        for name, tensor in load_file(Path(folder) / "model.safetensors").items()
    }
    while models:
        model = models.pop()
        getattr(model, "module", model).load_state_dict(state)


def _agree(accelerator: Accelerator, act) -> None:
    """Let the main process act; a mistake it finds is raised in every process."""
    problem = [None]
    if accelerator.is_main_process:
        try:
            act()
        except TrainingError as error:
            problem = [str(error)]
    broadcast_object_list(problem)
    if problem[0]:
        raise TrainingError(problem[0])


def train(config: TrainingConfig) -> dict[str, Any]:
    """Train a network, or go on training it.

    Args:
        config ([`TrainingConfig`]): Of the run.

    Returns:
        `dict`: `step`, the steps done, and `validation`: `samples`, `uf1`, `uar` and `accuracy` on held-out
        synthetic samples (`{}` if there are none); `{}` if the run had already ended.

    Raises:
        TrainingError: In one line, if the run cannot be started as it is described.
    """
    accelerator = make_accelerator(config)
    transformers_logging.disable_progress_bar()
    recorded = None
    if is_recorded(config):
        processor = build_processor(config)
        recorded = read_recorded(config, processor, show=accelerator.is_main_process)
    return run_training(config, accelerator, recorded)


def run_training(
    config: TrainingConfig,
    accelerator: Accelerator,
    recorded: Recorded | None = None,
    rows: np.ndarray | None = None,
    prepare: Callable[[Trainer], None] | None = None,
) -> dict[str, Any]:
    """One run with everything it needs at hand; see [`train`] and [`Trainer`].

    Args:
        config ([`TrainingConfig`]): Of the run.
        accelerator (`Accelerator`): Of this process, made for this run.
        recorded ([`Recorded`], *optional*): The clips, where they were recorded.
        rows (`np.ndarray` of shape `(n,)`, *optional*): Those of them that are trained on.
        prepare (`Callable[[Trainer], None]`, *optional*): Sets the trainer's hooks.

    Returns:
        `dict`: As [`train`].
    """
    set_seed(config.seed)
    run = RunFolder(config)
    trainer = Trainer(config, accelerator, run, recorded, rows)
    if prepare is not None:
        prepare(trainer)
    setting = {"num_processes": accelerator.num_processes, "mer_hf": __version__, "commit": git_commit()}
    notes: list[str] = []
    _agree(accelerator, lambda: notes.extend(run.claim(setting, elastic=recorded is not None)))
    for note in notes:
        accelerator.print(note)
    if run.finished:
        if trainer.quiet:
            return {}
        accelerator.print(f"{run.path} is finished; there is nothing to resume.")
        return {}
    if config.track != "no":
        accelerator.init_trackers("mer_hf", config={"run": str(run.path), "seed": config.seed})
    # Each process has its own dropout.
    set_seed(config.seed, device_specific=True)
    trainer.source.prepare()
    trainer.restore()
    if not trainer.quiet:
        _announce(trainer)
    trainer.fit()
    result = trainer.finish()
    if config.track != "no":
        accelerator.end_training()
    scores = ", ".join(f"{name} {value:.4g}" for name, value in result["validation"].items())
    if trainer.quiet:
        return result
    accelerator.print(f"saved {run.path}" + (f"; held-out synthetic: {scores}" if scores else ""))
    return result


def _announce(trainer: Trainer) -> None:
    accelerator, config = trainer.accelerator, trainer.config
    size = sum(parameter.numel() for parameter in trainer.model.parameters())
    samples = trainer.source.per_step * accelerator.num_processes
    accelerator.print(
        f"{config.model}: {size:,} parameters, {accelerator.num_processes} process(es) on "
        f"{accelerator.device.type}, {trainer.total_steps} steps of {samples} samples"
        + (f", from step {trainer.step}" if trainer.step else "")
    )
