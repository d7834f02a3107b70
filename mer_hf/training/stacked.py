"""Many folds of one small network, trained as one program.

A small network leaves a machine idle between tiny operations, and leave-one-subject-out trains it once per
subject. Here the folds' weights are stacked: each operation serves all of them. What a fold becomes does not
depend on its neighbours: [`train_one`] trains it alone, by a plain loop, to the same weights up to rounding.
"""

import ctypes
import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import torch
from psutil import virtual_memory
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import get_cosine_schedule_with_warmup

from .fold import BETAS, EPSILON, Fold, FoldSettings, State, batches, check, decay_of, logits_of
from .noise import Noise, first_batch, generator_of
from .stack import Programs, Stack

WEIGHT_COPIES = 8
"""Of a fold: itself, stacked, gradient and its copy, two moments, average, and room."""

ACTIVATION_COPIES = 3
"""Of what a plain pass keeps for its gradient: stacked layers keep more, and the way back needs room."""

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Names of glibc's `mallopt`."""

FOLDS_ON_CPU = 16
"""More do not run quicker on a CPU."""

Progress = Callable[[int, int], None]


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
    check(model, [fold], settings)
    model = model.to(device).train()
    inputs, labels = {name: tensor.to(device) for name, tensor in inputs.items()}, labels.to(device)
    noise = Noise.of(model, inputs, settings.batch_size)
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
        logits = logits_of(model(**{name: tensor[rows] for name, tensor in inputs.items()}))
        cross_entropy(logits, labels[rows], label_smoothing=settings.label_smoothing).backward()
        if settings.max_grad_norm:
            nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if settings.ema_decay:
            torch._foreach_lerp_(averages, [p.detach() for p in parameters], 1 - decay_of(step, settings))
    trained = dict(zip([name for name, _ in model.named_parameters()], averages, strict=True))
    return {name: trained.get(name, t).detach().cpu().clone() for name, t in model.state_dict().items()}


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
    check(make_model(0), folds, settings)
    device = torch.device(device)
    inputs, labels = {name: tensor.to(device) for name, tensor in inputs.items()}, labels.to(device)
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if folds_per_pass is None:
        folds_per_pass = _folds_that_fit(make_model(0), inputs, settings, device, threads)
        passes = math.ceil(len(folds) / folds_per_pass / threads) * threads
        folds_per_pass = math.ceil(len(folds) / passes)
    # Folds of about the same number of steps go together, longest first: those that end leave from the back.
    order = sorted(range(len(folds)), key=lambda i: -settings.steps(folds[i]))
    passes = [order[start : start + folds_per_pass] for start in range(0, len(order), folds_per_pass)]
    tally, programs = _Tally(sum(map(settings.steps, folds)), progress), Programs()

    def train(chosen: list[int]) -> list[State]:
        with programs.tracing:
            models = [make_model(i) for i in chosen]
            stack = Stack(models, [folds[i] for i in chosen], settings, inputs, labels, programs)
        for stepped in stack.train():
            tally.add(stepped)
        return stack.states()

    with _kept_memory() if device.type == "cpu" else nullcontext():
        states = _in_threads(train, passes, threads, tally)
    results = dict(zip([i for chosen in passes for i in chosen], states, strict=True))
    return [results[i] for i in range(len(folds))]


class _Stopped(Exception):
    """Ends a pass because something else has failed."""


class _Tally:
    """Counts the steps of passes that run side by side, and stops them when one fails."""

    def __init__(self, total: int, progress: Progress | None):
        self.done, self.total, self.progress = 0, total, progress
        self.counting = threading.Lock()
        self.failure: BaseException | None = None

    def add(self, steps: int) -> None:
        with self.counting:
            if self.failure:
                raise _Stopped
            self.done += steps
            if self.progress:
                self.progress(self.done, self.total)


def _in_threads(train, passes: list[list[int]], threads: int, tally: _Tally) -> list[State]:
    """Run passes side by side, each on one thread: small operations gain little from several."""
    threads = min(threads, len(passes))
    if threads == 1:
        return [state for chosen in passes for state in train(chosen)]

    def guarded(chosen: list[int]) -> list[State]:
        try:
            return train(chosen) if not tally.failure else []
        except BaseException as error:
            tally.failure = tally.failure or error
            return []

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            try:
                states = [state for found in pool.map(guarded, passes) for state in found]
            except BaseException as error:  # an interruption reaches this thread only
                tally.failure = error
                raise
    finally:
        torch.set_num_threads(before)
    if tally.failure:
        raise tally.failure
    return states


@contextmanager
def _kept_memory() -> Iterator[None]:
    """Let glibc, where it allocates, keep what is freed: a step frees and asks for the same memory again.

    By itself it gives large pieces back to the system, which clears them page by page when they return.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        yield
        return
    for option, value in ((MMAP_THRESHOLD, 2**30), (TRIM_THRESHOLD, 2**31 - 1), (ARENA_MAX, 1)):
        libc.mallopt(option, value)
    try:
        yield
    finally:
        # Where its own thresholds end up in a process that uses large tensors.
        for option, value in ((MMAP_THRESHOLD, 2**25), (TRIM_THRESHOLD, 2**26), (ARENA_MAX, 0)):
            libc.mallopt(option, value)
        libc.malloc_trim(0)


def _folds_that_fit(
    model: nn.Module, inputs: State, settings: FoldSettings, device: torch.device, passes: int
) -> int:
    """Folds of one of several passes at a time that together take half of the free memory; at least one."""
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    model = model.to(device).train()
    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(**first_batch(inputs, settings.batch_size))
    del outputs
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else virtual_memory().available
    fit = max(1, int(free / 2 / passes / (WEIGHT_COPIES * weights + ACTIVATION_COPIES * sum(saved.values()))))
    return min(fit, FOLDS_ON_CPU) if device.type == "cpu" else fit
