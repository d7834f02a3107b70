"""Folds whose weights are stacked, and the steps that all of them make together."""

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import cross_entropy

from .fold import BETAS, EPSILON, Fold, FoldSettings, State, batches, decay_of, logits_of, rate_of
from .noise import Noise, generator_of
from .stacked_layers import StackedLayers

TRACED_STEPS = 100
"""From so many steps on it pays to record a step and to repeat it without autograd and vmap."""


class Programs:
    """Recorded steps: what a stack of a number of folds does with its weights, inputs and masks.

    Stacks on several threads share them. `tracing` is held by the one that records or calls modules.
    """

    def __init__(self):
        self.tracing = threading.Lock()
        self._by_folds: dict[int, Callable[..., list[torch.Tensor]]] = {}

    def recorded(self, function, folds: int, batch: tuple) -> Callable[..., list[torch.Tensor]]:
        """The program of this number of folds; `function` is recorded on `batch` if there is none yet."""

        def step(weights, buffers, inputs, labels, shares, masks):
            return function(weights, buffers, inputs, labels, shares, masks)

        with self.tracing:
            if folds not in self._by_folds:
                program = make_fx(step)(*batch)  # it miscounts the arguments of a method
                _simplify(program)
                # Not the module itself: calling one is recorded while another program is.
                self._by_folds[folds] = torch.no_grad()(program.forward)
            return self._by_folds[folds]


class Stack:
    """Folds that are trained together.

    Args:
        models (`Sequence[nn.Module]`): The untrained network of each fold.
        folds (`Sequence[Fold]`): Those with the most steps first.
        settings ([`FoldSettings`]): How they are trained.
        inputs (`dict[str, torch.Tensor]` of shapes `(N, ...)`): Arguments of the network.
        labels (`torch.Tensor` of shape `(N,)`): Class indices; training goes on where they are.
        programs ([`Programs`]): Steps that stacks of the same network and settings share.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        folds: Sequence[Fold],
        settings: FoldSettings,
        inputs: State,
        labels: torch.Tensor,
        programs: "Programs",
    ):
        self.models, self.folds, self.settings, self.programs = models, folds, settings, programs
        self.inputs, self.labels, device = inputs, labels, labels.device
        weights, buffers = stack_module_state(list(models))
        self.weights = {name: _laid_out(weight.detach().to(device)) for name, weight in weights.items()}
        self.buffers = {name: buffer.to(device) for name, buffer in buffers.items()}
        self.model = models[0].to(device).train()
        self.noise = Noise.of(self.model, inputs, settings.batch_size)
        self.generators = [generator_of(device, settings.seed, fold.name) for fold in folds]
        stacked = list(self.weights.values())
        self.averages = [weight.clone() for weight in stacked] if settings.ema_decay else stacked
        moments = [[torch.zeros_like(weight) for weight in stacked] for _ in range(2)]
        self.parts = list(zip(*map(_by_fold, (stacked, *moments, self.averages)), strict=True))
        self.matrices = [weight.ndim > 2 for weight in stacked]
        self.count = torch.zeros((), device=device)

    def train(self) -> Iterator[int]:
        """Do all steps; yields the number of folds that made one.

        Folds that have ended leave the stack: what is left of it is a prefix.
        """
        plans = [batches(fold, self.settings) for fold in self.folds]
        steps = [self.settings.steps(fold) for fold in self.folds]
        active, gradients = 0, self._gradients
        for step in range(steps[0]):
            left = sum(step < total for total in steps)
            batch = self._batch([next(plan) for plan in plans[:left]])
            if left != active:
                active, until_next = left, steps[left - 1] - step
                gradients = self._gradients
                if until_next >= TRACED_STEPS:
                    gradients = self.programs.recorded(self._differentiate, active, batch)
            self._update(step, gradients(*batch))
            yield active

    def _batch(self, rows: list[np.ndarray]) -> tuple:
        """The weights, inputs, labels, shares in the loss, and dropout masks of a step."""
        active, size, device = len(rows), self.settings.batch_size, self.labels.device
        index = torch.from_numpy(np.stack([_padded(r, size) for r in rows])).to(device)
        shares = np.stack([np.repeat([1 / len(r), 0], [len(r), size - len(r)]) for r in rows])
        weights = {name: weight[:active] for name, weight in self.weights.items()}
        return (
            weights,
            {name: buffer[:active] for name, buffer in self.buffers.items()},
            {name: tensor[index] for name, tensor in self.inputs.items()},
            self.labels[index],
            torch.from_numpy(shares).to(next(iter(weights.values()))),
            self.noise.draw(self.generators[:active]),
        )

    def _gradients(self, *batch) -> list[torch.Tensor]:
        with self.programs.tracing:
            return self._differentiate(*batch)

    def _differentiate(self, weights, buffers, inputs, labels, shares, masks) -> list[torch.Tensor]:
        """The gradient of each fold's mean loss, `(active, ...)` for each of the weights."""
        weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        with StackedLayers():
            logits = vmap(self._forward)(weights, buffers, inputs, masks)  # (active, batch_size, classes)
        smoothing = self.settings.label_smoothing
        losses = cross_entropy(
            logits.flatten(0, 1), labels.flatten(), reduction="none", label_smoothing=smoothing
        )
        leaves = list(weights.values())
        gradients = torch.autograd.grad((losses * shares.flatten()).sum(), leaves)
        # The fused optimizer walks through memory and would misread a gradient of another layout.
        return [
            gradient if gradient.stride() == weight.stride() else torch.empty_like(weight).copy_(gradient)
            for gradient, weight in zip(gradients, leaves, strict=True)
        ]

    def _forward(self, weights, buffers, inputs, masks) -> torch.Tensor:
        self.noise.play(masks)
        return logits_of(functional_call(self.model, (weights, buffers), (), inputs))

    @torch.no_grad()
    def _update(self, step: int, gradients: list[torch.Tensor]) -> None:
        self.count += 1
        scales = self._scales(gradients) if self.settings.max_grad_norm else [None] * len(gradients[0])
        for fold, scale, gradient, part in zip(
            self.folds, scales, _by_fold(gradients), self.parts, strict=False
        ):
            rate = rate_of(step, self.settings, fold)
            weights, first, second, averages = part
            for matrices in (True, False):
                self._adamw(rate, matrices, scale, weights, gradient, first, second)
            if self.settings.ema_decay:
                torch._foreach_lerp_(averages, weights, 1 - decay_of(step, self.settings))

    def _adamw(self, rate: float, matrices: bool, scale: torch.Tensor | None, *tensors) -> None:
        """One step of one fold: of what is decayed or of what is not."""
        lists = [[t for t, m in zip(ts, self.matrices, strict=True) if m == matrices] for ts in tensors]
        torch._fused_adamw_(
            *lists,
            [],
            [self.count] * len(lists[0]),
            lr=rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=self.settings.weight_decay if matrices else 0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
            grad_scale=scale,
        )

    def _scales(self, gradients: list[torch.Tensor]) -> Sequence[torch.Tensor | None]:
        """What the optimizer divides each fold's gradient by, so that it is not too long."""
        norms = torch.stack([_lengths(gradient) for gradient in gradients])
        norm = torch.linalg.vector_norm(norms, dim=0)
        scales = ((norm + 1e-6) / self.settings.max_grad_norm).clamp(min=1.0)
        if scales.dtype == torch.float32:
            return scales.unbind()
        for gradient in gradients:  # the fused optimizer takes its scale as float32 only
            gradient.div_(scales.view(-1, *[1] * (gradient.ndim - 1)))
        return [None] * len(scales)

    def states(self) -> list[State]:
        """The weights of each fold, or their averages, on the CPU."""
        trained = dict(zip(self.weights, self.averages, strict=True))
        return [
            {
                name: (trained[name][i] if name in trained else tensor).detach().cpu().clone()
                for name, tensor in model.state_dict().items()
            }
            for i, model in enumerate(self.models)
        ]


def _by_fold(stacked: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Tensors of all folds -> lists of each fold's own."""
    return list(map(list, zip(*[tensor.unbind() for tensor in stacked], strict=True)))


def _laid_out(weight: torch.Tensor) -> torch.Tensor:
    """Channels of convolutions last in memory, as the stacked form takes them."""
    if weight.ndim != 5:  # (folds, out, C, kernel, kernel)
        return weight
    return weight.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def _lengths(gradient: torch.Tensor) -> torch.Tensor:
    """`(folds, ...)` -> `(folds,)`."""
    return torch.linalg.vector_norm(gradient, dim=tuple(range(1, gradient.ndim)))


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    """Fill a batch with a sample of its own; the loss gives what is filled in no weight."""
    return np.concatenate([rows, np.full(size - len(rows), rows[0])])


def _simplify(program: torch.fx.GraphModule) -> None:
    """Leave out what a recorded step does without effect."""
    for node in list(program.graph.nodes):
        same = node.target is torch.ops.aten.detach.default
        if node.target is torch.ops.aten.permute.default:
            same = list(node.args[1]) == list(range(len(node.args[1])))
        if same:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.recompile()
