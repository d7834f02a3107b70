"""What moves the weights: parameter groups, the course of the learning rate, the moving average."""

import math
import re

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from .config import TrainingConfig, TrainingError, flag_of

STAGE = re.compile(r"\b(?:stages|hierarchies)\.(\d+)\b")


def layer_scales(names: list[str], decay: float) -> dict[str, float]:
    """Return the factor of each parameter's learning rate, falling from the head to the embeddings.

    A stage has `decay` times the rate of the one behind it, and the embeddings `decay` times that of the
    first stage. Parameters outside the stages keep the full rate, and so does a class token (as in the
    training of HSTA, whose list of exceptions misses its names).
    """
    matches = {name: STAGE.search(name) for name in names}
    stages = 1 + max((int(match[1]) for match in matches.values() if match), default=-1)

    def scale(name: str) -> float:
        if name.endswith("class_token"):
            return 1.0
        if matches[name]:
            return decay ** (stages - int(matches[name][1]))
        return decay ** (stages + 1) if "embeddings" in name else 1.0

    return {name: scale(name) for name in names}


def make_optimizer(model: torch.nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a run; parameters of equal settings share a group.

    `weight_decay` reaches matrices only, unless `decay_vectors` is set; `lr_of` and `weight_decay_of` name
    parts of parameters' names.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for field in ("lr_of", "weight_decay_of"):
        for part in getattr(config, field):
            if not any(part in name for name in trained):
                raise TrainingError(f"{flag_of(field)} {part}: no parameter's name contains it.")
    scales = layer_scales(list(trained), config.layer_decay)
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in trained.items():
        decay = config.weight_decay if parameter.ndim > 1 or config.decay_vectors else 0.0
        lr = config.lr * scales[name]
        lr = next((value for part, value in config.lr_of.items() if part in name), lr)
        decay = next((value for part, value in config.weight_decay_of.items() if part in name), decay)
        groups.setdefault((lr, decay), []).append(parameter)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
    settings = [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]
    return kind(settings, lr=config.lr, fused=True)


def make_schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, steps_per_epoch: int, total_steps: int
) -> LambdaLR:
    """Return the course of the learning rate, to be stepped once per optimizer step."""
    warmup = int(config.warmup_ratio * total_steps)
    if config.warmup_epochs:
        warmup = int(config.warmup_epochs * steps_per_epoch)
    lowest = config.min_lr / config.lr

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        if config.schedule == "exponential":
            return config.lr_decay ** min(step // steps_per_epoch, config.lr_decay_epochs)
        if config.schedule == "constant":
            return 1.0
        progress = (step - warmup) / max(1, total_steps - warmup)
        return lowest + (1 - lowest) * max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))

    return LambdaLR(optimizer, factor)


def average_of(model: torch.nn.Module, decay: float) -> AveragedModel:
    """Return a moving average of the weights; it forgets the first ones sooner than `decay` would."""

    @torch.no_grad()
    def update(averages: list[torch.Tensor], weights: list[torch.Tensor], count: torch.Tensor) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, weights, 1 - now)

    return AveragedModel(model, multi_avg_fn=update)
