"""Dropout whose random numbers belong to a fold, so that it does not matter what is trained beside it.

PyTorch's own dropout draws from one generator for all: the masks of a fold would depend on its neighbours.
Here every `nn.Dropout` of a network takes its masks from a tape that is filled before each step, by one
generator per fold. A mask takes 16 random bits per value: the rate is right to 1/65536, and drawing is
several times quicker than `torch.bernoulli_`.
"""

import math
import zlib
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import nn

CHUNKS = 1 << 16
"""Values of 16 random bits."""


def sequence_of(seed: int, name: str, *more: int) -> list[int]:
    """The entropy of a fold's random numbers: of its name, so that folds may come in any order or number."""
    return [seed, zlib.crc32(name.encode()), *more]


def generator_of(device: torch.device | str, seed: int, name: str) -> torch.Generator:
    """The generator of a fold's dropout."""
    first, second = sequence_of(seed, name)
    return torch.Generator(device).manual_seed(((first << 32) + second) % 2**63)


def first_batch(inputs: dict[str, torch.Tensor], batch_size: int) -> dict[str, torch.Tensor]:
    """The first samples, over again where there are fewer than a batch."""
    index = torch.arange(batch_size) % len(next(iter(inputs.values())))
    return {name: tensor[index.to(tensor.device)] for name, tensor in inputs.items()}


class TapedDropout(nn.Module):
    """`nn.Dropout` with masks from a tape."""

    def __init__(self, rate: float, tape: "Noise"):
        super().__init__()
        self.rate, self.tape = rate, tape

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(samples * k, ...)` -> the same."""
        if not self.training or not self.rate:
            return hidden_states
        return self.tape.apply(hidden_states, self.rate)


class Noise:
    """The dropout masks of one step of one or several folds.

    Args:
        device (`torch.device` or `str`): Where masks are made.
        dtype (`torch.dtype`): Of the masks.
    """

    def __init__(self, device: torch.device | str, dtype: torch.dtype):
        self.device, self.dtype = device, dtype
        self.calls: list[tuple[torch.Size, float]] = []
        self.masks: list[torch.Tensor] = []
        self._recording, self._playing = False, iter(())
        self._kept: tuple[torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def of(cls, model: nn.Module, inputs: dict[str, torch.Tensor], batch_size: int) -> "Noise":
        """Put taped dropout in place of a network's own, and find the shapes of the masks by one pass.

        Args:
            model (`nn.Module`): In training mode; its `nn.Dropout` modules are replaced.
            inputs (`dict[str, torch.Tensor]` of shapes `(N, ...)`): Arguments of the network.
            batch_size (`int`): Samples of a full batch.

        Raises:
            ValueError: If the network draws random numbers elsewhere.
        """
        weights = next(model.parameters())
        noise = cls(weights.device, weights.dtype)
        for module in list(model.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Dropout):
                    setattr(module, name, TapedDropout(child.p, noise).train(child.training))
        noise._record(model, first_batch(inputs, batch_size))
        return noise

    def _record(self, model: nn.Module, inputs: dict[str, torch.Tensor]) -> None:
        self._recording = True
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            before = self._random_state()
            model(**inputs)
            drawn = not torch.equal(before, self._random_state())
        self._recording = False
        if drawn:
            raise ValueError(
                f"{type(model).__name__} draws random numbers outside nn.Dropout (attention dropout, "
                "stochastic depth). Set those rates to 0, or train it with fold processes (--parallel folds)."
            )

    def _random_state(self) -> torch.Tensor:
        if self.device.type == "cuda":
            return torch.cuda.get_rng_state(self.device)
        return torch.get_rng_state()

    def apply(self, hidden_states: torch.Tensor, rate: float) -> torch.Tensor:
        """Multiply by the next mask of the tape; a smaller batch takes the masks of its samples."""
        if self._recording:
            self.calls.append((hidden_states.shape, rate))
            return hidden_states
        return hidden_states * next(self._playing)[: len(hidden_states)]

    def play(self, masks: Sequence[torch.Tensor]) -> None:
        """Let the next forward pass take these masks, in the order of its calls."""
        self._playing = iter(masks)

    def draw(self, generators: Sequence[torch.Generator]) -> list[torch.Tensor]:
        """Draw the masks of a step.

        Args:
            generators (`Sequence[torch.Generator]`): One per fold; each is moved on by the same amount.

        Returns:
            `list[torch.Tensor]` of shapes `(folds, samples * k, ...)`: 0 or 1 / (1 - rate), one for each call
            of a dropout in the forward pass. The next call overwrites them.
        """
        sizes = [math.prod(shape) for shape, _ in self.calls]
        words, kept = self._memory(len(generators), sum(sizes))
        for row, generator in zip(words, generators, strict=True):
            row.random_(-(2**63), None, generator=generator)
        chunks = words.view(torch.int16)[:, : sum(sizes)]
        start = 0
        for rate, calls in groupby(self.calls, key=lambda call: call[1]):  # usually all have one rate
            end = start + sum(math.prod(shape) for shape, _ in calls)
            dropped = round(rate * CHUNKS)
            torch.ge(chunks[:, start:end], dropped - CHUNKS // 2, out=kept[:, start:end])
            kept[:, start:end] *= CHUNKS / max(1, CHUNKS - dropped)
            start = end
        masks = kept.split(sizes, dim=1)
        return [mask.view(len(mask), *shape) for mask, (shape, _) in zip(masks, self.calls, strict=True)]

    def _memory(self, folds: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Random words and masks of a step, in the memory of the step before."""
        if self._kept is None or self._kept[1].shape != (folds, size):
            words = torch.empty(folds, (size + 3) // 4, dtype=torch.int64, device=self.device)
            self._kept = words, torch.empty(folds, size, dtype=self.dtype, device=self.device)
        return self._kept
