"""Many folds of one small network, trained as one program.

A small network leaves a machine idle between tiny operations, and leave-one-subject-out trains it once per
subject. Here the folds' weights are stacked: each operation serves all of them. What a fold becomes does not
depend on its neighbours: [`train_one`] trains it alone, by a plain loop, to the same weights up to rounding.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from psutil import virtual_memory
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _NormBase
from transformers import get_cosine_schedule_with_warmup

from .noise import Noise, generator_of, sequence_of

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Of AdamW, PyTorch's own."""

WEIGHT_COPIES = 8
"""Of a fold: itself, stacked, gradient and its copy, two moments, average, and room."""

ACTIVATION_COPIES = 3
"""Of what a plain pass keeps for its gradient: stacked layers keep more, and the way back needs room."""

FOLDS_ON_CPU = 8

State = dict[str, torch.Tensor]
Progress = Callable[[int, int], None]


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


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    """Fill a batch with a sample of its own; the loss gives what is filled in no weight."""
    return np.concatenate([rows, np.full(size - len(rows), rows[0])])


def _check(model: nn.Module, folds: Sequence[Fold], settings: FoldSettings) -> None:
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


def _logits(outputs) -> torch.Tensor:
    return outputs if isinstance(outputs, torch.Tensor) else outputs.logits


def train_one(
    model: nn.Module,
    inputs: dict[str, torch.Tensor],
    labels: torch.Tensor,
    fold: Fold,
    settings: FoldSettings,
    *,
    device: torch.device | str = "cpu",
) -> State:
    """Train one fold by a plain loop: what [`train_folds`] is held against.

    Args:
        model (`nn.Module`): Its first weights; it is trained in place.
        inputs (`dict[str, torch.Tensor]` of shapes `(N, ...)`): Arguments of the network, all samples.
        labels (`torch.Tensor` of shape `(N,)`): Class indices.
        fold ([`Fold`]): What to train on.
        settings ([`FoldSettings`]): How.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`): Where.

    Returns:
        `dict[str, torch.Tensor]`: The trained weights on the CPU, the average if `ema_decay` is not 0.

    Raises:
        ValueError: If the network has batch norm or the fold no samples.
    """
    _check(model, [fold], settings)
    model = model.to(device).train()
    inputs, labels = {name: tensor.to(device) for name, tensor in inputs.items()}, labels.to(device)
    noise = Noise.of(model, {name: tensor[: settings.batch_size] for name, tensor in inputs.items()})
    generator = generator_of(device, settings.seed, fold.name)
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=BETAS, eps=EPSILON, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, settings.warmup(fold), settings.steps(fold))
    averages = [p.detach().clone() for p in parameters] if settings.ema_decay else parameters
    for step, rows in enumerate(batches(fold, settings)):
        rows = torch.from_numpy(rows).to(device)
        noise.play([mask[0] for mask in noise.draw([generator])])
        logits = _logits(model(**{name: tensor[rows] for name, tensor in inputs.items()}))
        cross_entropy(logits, labels[rows], label_smoothing=settings.label_smoothing).backward()
        if settings.max_grad_norm:
            nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if settings.ema_decay:
            torch._foreach_lerp_(averages, [p.detach() for p in parameters], 1 - _decay(step, settings))
    trained = dict(zip([name for name, _ in model.named_parameters()], averages, strict=True))
    return {name: trained.get(name, t).detach().cpu().clone() for name, t in model.state_dict().items()}


def _decay(step: int, settings: FoldSettings) -> float:
    """The average forgets the first weights sooner than `ema_decay` would; step 0 copies the weights."""
    return min(settings.ema_decay, (1 + step) / (10 + step)) if step else 0.0


def _rate(step: int, total: int, warmup: int) -> float:
    """Share of the learning rate: a rise, then half a cosine."""
    if step < warmup:
        return step / max(1, warmup)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def train_folds(
    make_model: Callable[[int], nn.Module],
    inputs: dict[str, torch.Tensor],
    labels: torch.Tensor,
    folds: Sequence[Fold],
    settings: FoldSettings,
    *,
    device: torch.device | str = "cpu",
    folds_per_pass: int | None = None,
    progress: Progress | None = None,
) -> list[State]:
    """Train many folds of one network as one program.

    Args:
        make_model (`Callable[[int], nn.Module]`): Makes the untrained network of a fold, given its position
            in `folds`; all have the same shapes.
        inputs (`dict[str, torch.Tensor]` of shapes `(N, ...)`): Arguments of the network, all samples.
        labels (`torch.Tensor` of shape `(N,)`): Class indices.
        folds (`Sequence[Fold]`): What to train on; they may differ in size, and so in steps.
        settings ([`FoldSettings`]): How.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`): Where.
        folds_per_pass (`int`, *optional*): Folds that are stacked at a time; by default as many as memory
            holds and speed profits from. The result does not depend on it, up to rounding.
        progress (`Callable[[int, int], None]`, *optional*): Called with steps done and steps in total, summed
            over folds.

    Returns:
        `list[dict[str, torch.Tensor]]`: The trained weights of each fold on the CPU, in the order of `folds`;
        the averages if `ema_decay` is not 0.

    Raises:
        ValueError: If the network has batch norm or draws random numbers outside `nn.Dropout`, or if a fold
            has no samples.
    """
    _check(make_model(0), folds, settings)
    device = torch.device(device)
    inputs, labels = {name: tensor.to(device) for name, tensor in inputs.items()}, labels.to(device)
    if folds_per_pass is None:
        folds_per_pass = _folds_that_fit(make_model(0), inputs, settings, device)
    # Folds of about the same number of steps go together, longest first: those that end leave from the back.
    order = sorted(range(len(folds)), key=lambda i: -settings.steps(folds[i]))
    results: list[State] = [{} for _ in folds]
    done, total = 0, sum(map(settings.steps, folds))
    for start in range(0, len(order), folds_per_pass):
        chosen = order[start : start + folds_per_pass]
        stack = _Stack([make_model(i) for i in chosen], [folds[i] for i in chosen], settings, inputs, labels)
        for active in stack.train():
            done += active
            if progress:
                progress(done, total)
        for i, state in zip(chosen, stack.states(), strict=True):
            results[i] = state
    return results


class _Stack:
    """Folds that are trained together; those with the most steps come first."""

    def __init__(self, models, folds, settings: FoldSettings, inputs: State, labels: torch.Tensor):
        self.folds, self.settings, self.inputs, self.labels = folds, settings, inputs, labels
        device = labels.device
        self.models = [model.to(device).train() for model in models]
        self.weights, self.buffers = stack_module_state(self.models)
        self.weights = {name: weight.detach() for name, weight in self.weights.items()}
        self.model = self.models[0]
        self.noise = Noise.of(self.model, {name: t[: settings.batch_size] for name, t in inputs.items()})
        self.generators = [generator_of(device, settings.seed, fold.name) for fold in folds]
        self.moments = [[torch.zeros_like(w) for w in self.weights.values()] for _ in range(2)]
        self.averages = [w.clone() for w in self.weights.values()] if settings.ema_decay else None
        # Each fold's own part of every stacked tensor, matrices apart from vectors.
        self.decayed = [weight.ndim > 2 for weight in self.weights.values()]

    def train(self) -> Iterator[int]:
        """Do all steps; yields the number of folds that made one."""
        plans = [batches(fold, self.settings) for fold in self.folds]
        steps = [self.settings.steps(fold) for fold in self.folds]
        for step in range(steps[0]):
            active = sum(step < total for total in steps)
            rows = [next(plan) for plan in plans[:active]]
            gradients = self._gradients(rows)
            self._update(step, gradients)
            yield active

    def _gradients(self, rows: list[np.ndarray]) -> list[torch.Tensor]:
        """The gradient of each fold's mean loss, `(active, ...)` each."""
        active, size, device = len(rows), self.settings.batch_size, self.labels.device
        share = np.stack([np.repeat([1 / len(r), 0], [len(r), size - len(r)]) for r in rows])
        index = torch.from_numpy(np.stack([_padded(r, size) for r in rows])).to(device)
        weights = {name: w[:active].requires_grad_() for name, w in self.weights.items()}
        buffers = {name: b[:active] for name, b in self.buffers.items()}
        inputs = {name: tensor[index] for name, tensor in self.inputs.items()}
        masks = self.noise.draw(self.generators[:active])
        with sdpa_kernel(SDPBackend.MATH):  # vmap would run the others fold by fold
            logits = vmap(self._forward)(weights, buffers, inputs, masks)  # (active, batch_size, classes)
        losses = cross_entropy(
            logits.flatten(0, 1),
            self.labels[index].flatten(),
            reduction="none",
            label_smoothing=self.settings.label_smoothing,
        )
        share = torch.from_numpy(share).to(losses).flatten()
        gradients = torch.autograd.grad((losses * share).sum(), list(weights.values()))
        # The fused optimizer walks through memory and would misread a transposed gradient.
        return [gradient.contiguous() for gradient in gradients]

    def _forward(self, weights, buffers, inputs, masks) -> torch.Tensor:
        self.noise.play(masks)
        return _logits(functional_call(self.model, (weights, buffers), (), inputs))

    def _scales(self, gradients: list[torch.Tensor]) -> torch.Tensor:
        """What each fold's gradient is divided by, `(active,)`, so that it is not too long."""
        norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
        norm = torch.linalg.vector_norm(norms, dim=0)
        return ((norm + 1e-6) / self.settings.max_grad_norm).clamp(min=1.0)

    @torch.no_grad()
    def _update(self, step: int, gradients: list[torch.Tensor]) -> None:
        settings = self.settings
        scales = [None] * len(gradients[0])
        if settings.max_grad_norm:
            scales = self._scales(gradients)
            if scales.dtype != torch.float32:  # the fused optimizer takes its scale as float32 only
                for gradient in gradients:
                    gradient.div_(scales.view(-1, *[1] * (gradient.ndim - 1)))
                scales = [None] * len(scales)
        parts = [
            list(zip(*[t.unbind() for t in ts], strict=False))
            for ts in (self.weights.values(), *self.moments, self.averages or self.weights.values())
        ]
        by_fold = zip(*[g.unbind() for g in gradients], strict=True)
        for i, gradient in enumerate(by_fold):
            fold = self.folds[i]
            rate = settings.lr * _rate(step, settings.steps(fold), settings.warmup(fold))
            weights, first, second, averages = (part[i] for part in parts)
            for decayed in (True, False):
                chosen = [j for j, d in enumerate(self.decayed) if d == decayed]
                count = torch.full((), step + 1.0, device=self.labels.device)
                torch._fused_adamw_(
                    [weights[j] for j in chosen],
                    [gradient[j] for j in chosen],
                    [first[j] for j in chosen],
                    [second[j] for j in chosen],
                    [],
                    [count] * len(chosen),
                    lr=rate,
                    beta1=BETAS[0],
                    beta2=BETAS[1],
                    weight_decay=settings.weight_decay if decayed else 0.0,
                    eps=EPSILON,
                    amsgrad=False,
                    maximize=False,
                    grad_scale=scales[i],
                )
            if settings.ema_decay:
                torch._foreach_lerp_(list(averages), list(weights), 1 - _decay(step, settings))

    def states(self) -> list[State]:
        """The weights of each fold, or their averages."""
        trained = dict(zip(self.weights, self.averages or self.weights.values(), strict=True))
        return [
            {
                name: (trained[name][i] if name in trained else t).detach().cpu().clone()
                for name, t in model.state_dict().items()
            }
            for i, model in enumerate(self.models)
        ]


def _folds_that_fit(model: nn.Module, inputs: State, settings: FoldSettings, device: torch.device) -> int:
    """Folds that half of the free memory holds, at least one; on a CPU no more than its caches like."""
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    model = model.to(device).train()
    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(**{name: tensor[: settings.batch_size] for name, tensor in inputs.items()})
    del outputs
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else virtual_memory().available
    fit = max(1, int(free / 2 / (WEIGHT_COPIES * weights + ACTIVATION_COPIES * sum(saved.values()))))
    return min(fit, FOLDS_ON_CPU) if device.type == "cpu" else fit
