"""The training loop, on Accelerate: one process, several, or GPUs, and resumable to the bit.

All that decides the weights is a function of the configuration and the number of steps done, except what a
state keeps: weights, their average, optimizer, schedule, gradient scale and random numbers.
"""

import os
import time
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object, set_seed
from sklearn.metrics import accuracy_score, f1_score, recall_score
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm
from transformers import get_cosine_schedule_with_warmup
from transformers.utils import logging as transformers_logging

from mer_hf import __version__
from mer_hf.provenance import git_commit

from .build import build_model, save_checkpoint
from .config import TrainingConfig, TrainingError
from .data import SOURCES, Share, SyntheticSource
from .run_folder import RunFolder


def _optimizer(model: torch.nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW that decays matrices and leaves biases, norms and other vectors alone."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def _average(model: torch.nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of the weights; it forgets the first ones sooner than `decay` would."""

    @torch.no_grad()
    def update(averages: list[torch.Tensor], weights: list[torch.Tensor], count: torch.Tensor) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, weights, 1 - now)

    return AveragedModel(model, multi_avg_fn=update)


class Trainer:
    """One run from its first step, or from the state it was left in, to its checkpoint.

    Args:
        config ([`TrainingConfig`]): Of the run.
        accelerator (`Accelerator`): Of this process.
        run ([`RunFolder`]): Where the run keeps what it needs.
    """

    def __init__(self, config: TrainingConfig, accelerator: Accelerator, run: RunFolder):
        self.config, self.accelerator, self.run = config, accelerator, run
        source_class = SOURCES[config.data]
        model, self.processor = build_model(config, source_class.class_names)
        share = Share(accelerator.process_index, accelerator.num_processes)
        self.source: SyntheticSource = source_class(config, self.processor, share)
        self.total_steps = config.max_steps or config.epochs * self.source.steps_per_epoch
        optimizer = _optimizer(model, config)
        # Not prepared: Accelerate would step the schedule once per process.
        warmup = int(config.warmup_ratio * self.total_steps)
        self.schedule = get_cosine_schedule_with_warmup(optimizer, warmup, self.total_steps)
        self.average = _average(model, config.ema_decay).to(accelerator.device) if config.ema_decay else None
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        accelerator.register_for_checkpointing(
            *[part for part in (self.schedule, self.average) if part is not None]
        )
        self.step = 0

    def restore(self) -> None:
        """Go on from the latest state, if there is one."""
        state = self.run.latest()
        if state is not None:
            # Accelerate goes on without a word if the random numbers are missing.
            name = f"random_states_{self.accelerator.process_index}.pkl"
            if not (state / name).is_file():
                raise TrainingError(f"cannot resume: {state} lacks {name}. Start anew in another folder.")
            self.accelerator.load_state(str(state))
            self.step = self.run.step_of(state)
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
            desc="training",
            unit="step",
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
            batch = {name: array.to(self.accelerator.device) for name, array in next(batches).items()}
            # Processes exchange gradients once per step, with the last part.
            if part < parts - 1:
                with self.accelerator.no_sync(self.model):
                    loss = self._backward(batch, parts)
            else:
                loss = self._backward(batch, parts)
            total += loss
        if self.config.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.accelerator.unwrap_model(self.model))
        return total

    def _backward(self, batch: dict[str, torch.Tensor], parts: int) -> torch.Tensor:
        outputs = self.model(**batch)
        loss = outputs.loss
        if self.config.label_smoothing:
            smoothing = self.config.label_smoothing
            loss = cross_entropy(outputs.logits, batch["labels"], label_smoothing=smoothing)
        self.accelerator.backward(loss / parts)
        return loss.detach() / parts

    def _log(self, losses: list[torch.Tensor], epoch: int, since: float) -> float:
        loss = self.accelerator.reduce(torch.stack(losses).mean(), reduction="mean").item()
        if self.accelerator.is_main_process:
            samples = len(losses) * self.source.per_step * self.accelerator.num_processes
            self.run.log(
                {
                    "step": self.step,
                    "epoch": epoch,
                    "loss": loss,
                    "lr": self.schedule.get_last_lr()[0],
                    "samples_per_s": round(samples / (time.perf_counter() - since), 1),
                }
            )
        return loss

    def finish(self) -> dict[str, Any]:
        """Score the weights on the held-out set and save them; the same result in every process."""
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        if self.average is not None:
            model.load_state_dict(self.average.module.state_dict())
        result = {"step": self.step, "validation": self._validate(model)}
        if self.accelerator.is_main_process:
            self.run.log(result)
            self.run.finish(lambda folder: save_checkpoint(model, self.processor, folder, self.config))
        self.accelerator.wait_for_everyone()
        return result

    @torch.inference_mode()
    def _validate(self, model) -> dict[str, float]:
        if not self.config.validation_samples:
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


def _accelerator(config: TrainingConfig) -> Accelerator:
    """Join the other processes of the run, on GPUs where there are any."""
    if torch.cuda.is_available():  # the price of the same weights from the same seed
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    # Processes that torchrun starts on CPUs find each other only if Accelerate is told to use CPUs.
    on_cpu = started > 1 and not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=config.mixed_precision)
    if config.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise TrainingError("--mixed-precision fp16 needs a GPU, and none was found. Use bf16 or no.")
    if accelerator.num_processes != started:
        raise TrainingError(
            f"{started} processes were started, but {accelerator.num_processes} found each other. "
            "Start them with torchrun, one per GPU."
        )
    return accelerator


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
    accelerator = _accelerator(config)
    transformers_logging.disable_progress_bar()
    set_seed(config.seed)
    run = RunFolder(config)
    trainer = Trainer(config, accelerator, run)
    setting = {"num_processes": accelerator.num_processes, "mer_hf": __version__, "commit": git_commit()}
    _agree(accelerator, lambda: run.claim(setting))
    if run.finished:
        accelerator.print(f"{run.path} is finished; there is nothing to resume.")
        return {}
    # Each process has its own dropout.
    set_seed(config.seed, device_specific=True)
    trainer.source.prepare()
    trainer.restore()
    _announce(trainer)
    trainer.fit()
    result = trainer.finish()
    scores = ", ".join(f"{name} {value:.4g}" for name, value in result["validation"].items())
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
