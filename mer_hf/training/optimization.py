"""What moves the weights: parameter groups, course of the learning rate, moving average, mixed pairs."""

import math
import re

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from .config import TrainingConfig, TrainingError

STAGE = re.compile(r"\b(?:stages|hierarchies)\.(\d+)\b")


def layer_scales(names: list[str], decay: float) -> dict[str, float]:
    """Factor of the learning rate of each parameter, falling from the head to the embeddings.

    A stage has `decay` times the rate of the one behind it and the embeddings `decay` times that of the first
    stage; what belongs to no stage keeps the full rate, and so does a class token (as in the training of
    HSTA, whose list of exceptions misses its names).

    Args:
        names (`list[str]`): Of all parameters.
        decay (`float`): Factor from a stage to the one before; 1 changes nothing.

    Returns:
        `dict[str, float]`: Name -> factor.
    """
    found = {name: STAGE.search(name) for name in names}
    stages = 1 + max((int(match[1]) for match in found.values() if match), default=-1)

    def scale(name: str) -> float:
        if name.endswith("class_token"):
            return 1.0
        if found[name]:
            return decay ** (stages - int(found[name][1]))
        return decay ** (stages + 1) if "embeddings" in name else 1.0

    return {name: scale(name) for name in names}


def make_optimizer(model: torch.nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer of a run; parameters of equal settings share a group.

    Args:
        model (`torch.nn.Module`): What is trained.
        config ([`TrainingConfig`]): `weight_decay` reaches matrices only, unless `decay_vectors` is set;
            `lr_of` and `weight_decay_of` name parts of parameters' names.

    Returns:
        `torch.optim.Optimizer`: AdamW or Adam.

    Raises:
        TrainingError: If `lr_of` or `weight_decay_of` names no parameter.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for flag in ("lr_of", "weight_decay_of"):
        for part in getattr(config, flag):
            if not any(part in name for name in trained):
                raise TrainingError(f"--{flag.replace('_', '-')} {part}: no parameter's name contains it.")
    scales = layer_scales(list(trained), config.layer_decay)
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in trained.items():
        decay = config.weight_decay if parameter.ndim > 1 or config.decay_vectors else 0.0
        lr = config.lr * scales[name]
        lr = next((value for part, value in config.lr_of.items() if part in name), lr)
        decay = next((value for part, value in config.weight_decay_of.items() if part in name), decay)
        groups.setdefault((lr, decay), []).append(parameter)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
    return kind(
        [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()],
        lr=config.lr,
        fused=True,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, steps_per_epoch: int, total_steps: int
) -> LambdaLR:
    """The course of the learning rate, step by step.

    Args:
        optimizer (`torch.optim.Optimizer`): Whose rates are scaled, all groups alike.
        config ([`TrainingConfig`]): `schedule` and its fields.
        steps_per_epoch (`int`): Optimizer steps of an epoch.
        total_steps (`int`): Optimizer steps of the run.

    Returns:
        `LambdaLR`: To be stepped once per optimizer step.
    """
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
    """Exponential moving average of the weights; it forgets the first ones sooner than `decay` would."""

    @torch.no_grad()
    def update(averages: list[torch.Tensor], weights: list[torch.Tensor], count: torch.Tensor) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, weights, 1 - now)

    return AveragedModel(model, multi_avg_fn=update)


def mixed(
    inputs: dict[str, torch.Tensor], labels: torch.Tensor, num_classes: int, alpha: float, key: list[int]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Mix each sample with another of its batch (mixup, Zhang et al. 2018), in one share for the batch.

    Args:
        inputs (`dict[str, torch.Tensor]`): Each `(B, ...)`.
        labels (`torch.Tensor` of shape `(B,)`): int64.
        num_classes (`int`): Number of classes.
        alpha (`float`): Of the Beta distribution that the share is drawn from.
        key (`list[int]`): The result is a function of the arguments and these numbers.

    Returns:
        `tuple`: The mixed inputs, and shares of the classes, float32 `(B, num_classes)`.
    """
    rng = np.random.default_rng([*key, 1])
    share, order = rng.beta(alpha, alpha), torch.from_numpy(rng.permutation(len(labels)))
    soft = torch.nn.functional.one_hot(labels, num_classes).float()
    result = {name: share * tensor + (1 - share) * tensor[order] for name, tensor in inputs.items()}
    return result, share * soft + (1 - share) * soft[order]
