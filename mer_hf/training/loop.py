"""The training loop, on Accelerate: one process, several, or GPUs, and resumable to the bit.

All that decides the weights is a function of the configuration and the number of steps done, except what a
state keeps: weights, their average, optimizer, schedule, gradient scale and random numbers.
"""

import importlib.util
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object, set_seed
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm
from transformers.utils import logging as transformers_logging

from mer_hf import __version__
from mer_hf.evaluation import metrics
from mer_hf.loading import takes_flow_maps
from mer_hf.utils.files import writing
from mer_hf.utils.provenance import git_commit

from .build import build_model, build_processor, save_checkpoint
from .config import TrainingConfig, TrainingError
from .data import SyntheticSource
from .optimization import average_of, make_optimizer, make_schedule
from .recorded import Recorded, RecordedSource, read_recorded
from .run_folder import RunFolder
from .second_task import WithActionUnits, action_unit_loss
from .selection import BestEpoch

Test = Callable[[torch.nn.Module, int, Path], None]
"""Tests a fold's network after its epochs and writes the predictions into a folder."""


class Trainer:
    """One run from its first step, or from the state it was left in, to its checkpoint.

    Args:
        config ([`TrainingConfig`]): Of the run.
        accelerator (`Accelerator`): Of this process.
        run ([`RunFolder`]): Where the run keeps what it needs.
        processor (`BaseImageProcessor`): The network's image processor.
        recorded ([`Recorded`], *optional*): The clips, where they were recorded.
        rows (`np.ndarray` of shape `(n,)`, *optional*): The clips that are trained on; all by default.
        best ([`BestEpoch`], *optional*): Keeps the best weights; by default the last ones are saved.
        test (`Test`, *optional*): Called by the main process before the checkpoint is saved.
        title (`str`, *optional*): Of a fold; then only its progress bar is shown, while it moves.
    """

    def __init__(
        self, config: TrainingConfig, accelerator: Accelerator, run: RunFolder, processor,
        recorded: Recorded | None = None, rows: np.ndarray | None = None,
        best: BestEpoch | None = None, test: Test | None = None, title: str = "",
    ):  # fmt: skip
        self.config, self.accelerator, self.run, self.processor = config, accelerator, run, processor
        self.best, self.test, self.title = best, test, title
        rank, processes = accelerator.process_index, accelerator.num_processes
        self.started_with = run.started_with() or processes
        if recorded is None:
            self.source = SyntheticSource(config, processor, rank, processes)
        else:
            rows = np.arange(len(recorded.table)) if rows is None else rows
            self.source = RecordedSource(config, recorded, rows, self.started_with, rank, processes)
        model = build_model(config, self.source.class_names)
        if not takes_flow_maps(processor):
            convolve_channels_last(model)
        trained = WithActionUnits(model) if config.action_unit_weight else model
        self.total_steps = config.max_steps or config.epochs * self.source.steps_per_epoch
        optimizer = make_optimizer(trained, config)
        # Not prepared: Accelerate would step the schedule once per process.
        self.schedule = make_schedule(optimizer, config, self.source.steps_per_epoch, self.total_steps)
        self.average = None
        if config.ema_decay:
            self.average = average_of(model, config.ema_decay).to(accelerator.device)
        self.model, self.optimizer = accelerator.prepare(trained, optimizer)
        accelerator.register_for_checkpointing(*filter(None, [self.schedule, self.average]))
        accelerator.register_load_state_pre_hook(_load_weights)
        self.step = 0

    def network(self, **options) -> torch.nn.Module:
        """Return the network alone, without what Accelerate and a second task have put around it."""
        model = self.accelerator.unwrap_model(self.model, **options)
        return model.network if isinstance(model, WithActionUnits) else model

    def restore(self) -> None:
        """Continue from the latest state, if there is one."""
        state = self.run.latest()
        if state is not None:
            # Accelerate ignores missing random numbers.
            name = f"random_states_{self.accelerator.process_index}.pkl"
            elsewhere = self.started_with != self.accelerator.num_processes
            if not elsewhere and not (state / name).is_file():
                raise TrainingError(f"cannot resume: {state} lacks {name}. Start again in another folder.")
            self.accelerator.load_state(str(state))
            self.step = self.run.step_of(state)
            if elsewhere:
                set_seed(self.config.seed + self.step, device_specific=True)
        if self.accelerator.is_main_process:
            self.run.rewind_log(self.step)

    def save_state(self) -> None:
        """Write a state from which a killed run can continue."""
        state = self.run.unfinished(self.step)
        with writing(state.parent):
            self.accelerator.save_state(str(state))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.run.complete(self.step)
        self.accelerator.wait_for_everyone()

    def fit(self) -> None:
        """Do the steps that are left."""
        bar = tqdm(
            total=self.total_steps, initial=self.step, desc=self.title or "training", unit="step",
            leave=not self.title, disable=not self.accelerator.is_main_process,
        )  # fmt: skip
        with bar:
            while self.step < self.total_steps:
                self._epoch(bar)

    def _epoch(self, bar: tqdm) -> None:
        per_epoch = self.source.steps_per_epoch
        epoch, done = divmod(self.step, per_epoch)
        batches = iter(self.source.batches(epoch, done))
        losses, since = [], time.perf_counter()
        for _ in range(done, min(per_epoch, done + self.total_steps - self.step)):
            losses.append(self._step(batches))
            self.step += 1
            bar.update()
            at_state = self.step % self.config.save_steps == 0
            if self.best and self.accelerator.is_main_process and self.step % per_epoch == 0:
                model = self.average.module if self.average else self.network()
                self.best.update(model, self.step // per_epoch)
            # A line before every state: a state then holds no half-summed loss.
            if at_state or self.step % self.config.log_every == 0 or self.step == self.total_steps:
                loss = self._log(losses, epoch, since)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                losses, since = [], time.perf_counter()
            if at_state:
                self.save_state()

    def _step(self, batches) -> torch.Tensor:
        """Make one optimizer step and return the mean loss of this process, without waiting for it."""
        self.model.train()
        parts = self.config.gradient_accumulation_steps
        total = torch.zeros((), device=self.accelerator.device)
        for part in range(parts):
            batch, weight = next(batches)
            batch = {name: array.to(self.accelerator.device) for name, array in batch.items()}
            # Processes exchange gradients once per step, with the last part.
            with nullcontext() if part == parts - 1 else self.accelerator.no_sync(self.model):
                total += self._backward(batch, weight)
        if self.config.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.network())
        return total

    def _backward(self, batch: dict[str, torch.Tensor], weight: float) -> torch.Tensor:
        labels, strengths = batch.pop("labels"), batch.pop("strengths", None)
        if strengths is None:
            logits, second = self.model(**batch).logits, 0.0
        else:
            logits, units = self.model(**batch)
            second = self.config.action_unit_weight * action_unit_loss(units, strengths)
        loss = cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing) + second
        self.accelerator.backward(loss * weight)
        return loss.detach() * weight

    def _log(self, losses: list[torch.Tensor], epoch: int, since: float) -> float:
        loss = self.accelerator.reduce(torch.stack(losses).mean(), reduction="mean").item()
        if self.accelerator.is_main_process:
            samples = len(losses) * self.source.per_step * self.accelerator.num_processes
            values = {"epoch": epoch, "loss": loss, "lr": self.schedule.get_last_lr()[0]}
            values["samples_per_s"] = round(samples / (time.perf_counter() - since), 1)
            self.run.log({"step": self.step, **values})
            self.accelerator.log(values, step=self.step)
        return loss

    def finish(self) -> dict[str, Any]:
        """Score the weights on the held-out set and save them; every process returns the same scores."""
        # In float32: the last weights, or their average.
        model = self.network(keep_fp32_wrapper=False)
        if self.average is not None:
            model.load_state_dict(self.average.module.state_dict())
        result = {"step": self.step, "validation": self._validate(model)}

        def save(folder: Path) -> None:
            epoch = self.best.restore(model) if self.best else self.step // self.source.steps_per_epoch
            if self.test is not None:
                self.test(model, epoch, folder)
            save_checkpoint(model, self.processor, folder, self.config)

        if self.accelerator.is_main_process:
            self.run.log(result)
            self.run.finish(save)
        self.accelerator.wait_for_everyone()
        return result

    @torch.inference_mode()
    def _validate(self, model) -> dict[str, float]:
        if not self.config.validation_samples or isinstance(self.source, RecordedSource):
            return {}
        model.eval()
        pairs = []
        for batch in self.source.validation():
            labels = batch.pop("labels").tolist()
            inputs = {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}
            pairs += list(zip(model(**inputs).logits.argmax(-1).tolist(), labels, strict=True))
        predictions, labels = np.array(gather_object(pairs)).T
        matrix = metrics.confusion(predictions, labels, len(self.source.class_names))
        scores = {name: float(metric_of(matrix)) for name, metric_of in metrics.METRICS.items()}
        return {"samples": len(labels), **scores}


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
        raise TrainingError("--mixed-precision fp16 needs a GPU, but no GPU was found. Use bf16 or no.")
    if accelerator.num_processes != started:
        raise TrainingError(
            f"{started} processes were started, but {accelerator.num_processes} found each other. "
            "Start them with torchrun, one per GPU."
        )
    return accelerator


def convolve_channels_last(model: torch.nn.Module) -> None:
    """Keep the weights of convolutions in the order in which they are a third faster on faces."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.to(memory_format=torch.channels_last)


def _load_weights(models: list[torch.nn.Module], folder: str) -> None:
    """Load a state's weights in place of Accelerate, which fails if the model was wrapped then or is now."""
    state = load_file(Path(folder) / "model.safetensors")
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    while models:
        model = models.pop()
        getattr(model, "module", model).load_state_dict(state)


def _agree(accelerator: Accelerator, act: Callable[[], None]) -> None:
    """Let the main process act, and raise its error in every process."""
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
    """Train a network, or continue an interrupted run.

    Args:
        config ([`TrainingConfig`]): Of the run.

    Returns:
        `dict`: `step`, the steps done, and `validation`: `samples`, `uf1`, `uar` and `accuracy` on held-out
        synthetic samples (`{}` if there are none); `{}` if the run had already ended.

    Raises:
        TrainingError: If the run cannot be started as it is described.
    """
    accelerator = make_accelerator(config)
    transformers_logging.disable_progress_bar()
    processor, recorded = build_processor(config), None
    if config.data != "synthetic":
        recorded = read_recorded(config, processor, show=accelerator.is_main_process)
    return run_training(config, accelerator, processor, recorded)


def run_training(
    config: TrainingConfig, accelerator: Accelerator, processor, recorded: Recorded | None = None, **fold
) -> dict[str, Any]:
    """Train with everything at hand, as [`train`]; `fold` are more arguments of [`Trainer`]."""
    set_seed(config.seed)
    run = RunFolder(config)
    trainer = Trainer(config, accelerator, run, processor, recorded, **fold)
    say = (lambda *_: None) if trainer.title else accelerator.print
    setting = {"num_processes": accelerator.num_processes, "mer_hf": __version__, "commit": git_commit()}
    _agree(accelerator, lambda: run.claim(setting))
    if run.finished:
        say(f"{run.path} is finished; there is nothing to resume.")
        return {}
    accelerator.init_trackers("mer_hf", config={"run": str(run.path), "seed": config.seed})
    # Each process has its own dropout.
    set_seed(config.seed, device_specific=True)
    trainer.source.prepare()
    trainer.restore()
    say(_description(trainer))
    trainer.fit()
    result = trainer.finish()
    if config.track != "no":
        accelerator.end_training()
    scores = ", ".join(f"{name} {value:.4g}" for name, value in result["validation"].items())
    say(f"saved {run.path}" + (f"; held-out synthetic: {scores}" if scores else ""))
    return result


def _description(trainer: Trainer) -> str:
    """Return one line on what is trained."""
    accelerator, config = trainer.accelerator, trainer.config
    size = sum(parameter.numel() for parameter in trainer.network().parameters())
    samples = trainer.source.per_step * accelerator.num_processes
    where = f"{accelerator.num_processes} process(es) on {accelerator.device.type}"
    steps = f"{trainer.total_steps} steps of {samples} samples"
    steps += f", from step {trainer.step}" if trainer.step else ""
    return f"{config.model}: {size:,} parameters, {where}, {steps}"
