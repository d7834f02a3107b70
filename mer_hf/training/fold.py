"""What a fold is, how it is trained, and all that follows from the two alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from .noise import sequence_of

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Of AdamW, PyTorch's own."""

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Fold:
    """A part of the data that one network is trained on.

    Args:
        name (`str`): Of the fold, the subject that is left out for instance; it seeds order and dropout.
        train (`np.ndarray` of shape `(n,)`): Indices of its training samples.
    """

    name: str
    train: np.ndarray


@dataclass(frozen=True)
class FoldSettings:
    """How every fold is trained; the fields mean what they mean in [`TrainingConfig`]."""

    epochs: int = 12
    max_steps: int | None = None
    batch_size: int = 32
    lr: float = 1e-3
    warmup_ratio: float = 0.05
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    seed: int = 0

    def steps_per_epoch(self, fold: Fold) -> int:
        """Batches of a fold; the last one may be smaller."""
        return math.ceil(len(fold.train) / self.batch_size)

    def steps(self, fold: Fold) -> int:
        """Optimizer steps of a fold."""
        return self.max_steps or self.epochs * self.steps_per_epoch(fold)

    def warmup(self, fold: Fold) -> int:
        """Steps in which the learning rate of a fold rises."""
        return int(self.warmup_ratio * self.steps(fold))


def batches(fold: Fold, settings: FoldSettings) -> Iterator[np.ndarray]:
    """The samples of each step of a fold: a function of (seed, fold, epoch, step).

    Args:
        fold ([`Fold`]): Whose samples they are.
        settings ([`FoldSettings`]): Of the run.

    Yields:
        `np.ndarray` of shape `(<= batch_size,)`: Indices into the data; an epoch's last batch may be
        smaller.
    """
    size, left = settings.batch_size, settings.steps(fold)
    for epoch in range(math.ceil(left / settings.steps_per_epoch(fold))):
        order = np.random.default_rng(sequence_of(settings.seed, fold.name, epoch)).permutation(fold.train)
        for start in range(0, len(order), size):
            if not left:
                return
            yield order[start : start + size]
            left -= 1


def check(model: nn.Module, folds: Sequence[Fold], settings: FoldSettings) -> None:
    """Refuse what cannot be trained.

    Raises:
        ValueError: If the network has batch norm, a fold no samples, or a setting is out of range.
    """
    normed = [name for name, module in model.named_modules() if isinstance(module, _NormBase)]
    if normed:
        raise ValueError(
            f"{type(model).__name__} has batch norm ({normed[0]}), whose statistics padding would change: "
            "train it with fold processes (--parallel folds)."
        )
    for fold in folds:
        if not len(fold.train):
            raise ValueError(f"fold {fold.name} has no training samples. Leave it out.")
    if settings.ema_decay >= 1 or settings.batch_size < 1:
        raise ValueError(f"ema_decay must be below 1 and batch_size at least 1, got {settings}.")


def logits_of(outputs) -> torch.Tensor:
    """The logits `(B, classes)` among what a network returns, or what it returns."""
    return outputs if isinstance(outputs, torch.Tensor) else outputs.logits


def decay_of(step: int, settings: FoldSettings) -> float:
    """The average forgets the first weights sooner than `ema_decay` would; step 0 copies the weights."""
    return min(settings.ema_decay, (1 + step) / (10 + step)) if step else 0.0


def rate_of(step: int, settings: FoldSettings, fold: Fold) -> float:
    """The learning rate of a step: a rise, then half a cosine."""
    warmup, total = settings.warmup(fold), settings.steps(fold)
    if step < warmup:
        return settings.lr * step / max(1, warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
