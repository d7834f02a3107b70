"""How quick many folds are as one program, beside folds one by one and fold processes.

    python -m benchmarks folds

The same folds of random flow maps, in turns: a plain PyTorch loop with two threads, two processes that run
it with one thread each, both again with the project's own loop (`train_one`, whose dropout is quicker than
PyTorch's), and `train_folds` with two threads. For the published network one step of two folds is held
against the time that the machine needs at best. On a GPU, where there is one, the loop and `train_folds`.
"""

import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import get_cosine_schedule_with_warmup

from mer_hf.loading import bundled
from mer_hf.models.htnet.configuration_htnet import HTNetConfig
from mer_hf.models.htnet.modeling_htnet import HTNetForVideoClassification
from mer_hf.training.fold import Fold, FoldSettings, batches
from mer_hf.training.stacked import train_folds, train_one

from .networks import THREADS, flops_of, inputs_of, rates

TURNS = 5
CLIPS, LEFT_OUT, CLASSES, BATCH = 442, 26, 3, 32
"""Of a leave-one-subject-out run on the composite: 13 steps an epoch."""

STEPS_ALONE, STEPS_STACKED = 60, 120
FOLDS, GPU_FOLDS = 32, 68


def data() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(CLIPS, 3, 28, 28, generator=generator)
    return {"pixel_values": maps}, torch.randint(0, CLASSES, (CLIPS,), generator=generator)


def folds_of(count: int) -> list[Fold]:
    chooser = np.random.default_rng(0)
    return [Fold(f"s{i}", np.sort(chooser.permutation(CLIPS)[LEFT_OUT:])) for i in range(count)]


def maker(config: HTNetConfig):
    def make(i: int) -> HTNetForVideoClassification:
        torch.manual_seed(i)
        return HTNetForVideoClassification(config)

    return make


def settings_of(steps: int) -> FoldSettings:
    return FoldSettings(max_steps=steps, batch_size=BATCH, label_smoothing=0.1)


def plain_loop(model, inputs, labels, fold: Fold, settings: FoldSettings, device="cpu") -> None:
    """What one would write in PyTorch."""
    model = model.to(device).train()
    maps, labels = inputs["pixel_values"].to(device), labels.to(device)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors}]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, weight_decay=0.0, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, settings.warmup(fold), settings.steps(fold))
    for rows in batches(fold, settings):
        rows = torch.from_numpy(rows).to(device)
        logits = model(pixel_values=maps[rows]).logits
        cross_entropy(logits, labels[rows], label_smoothing=settings.label_smoothing).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


LOOPS = {"plain_loop": plain_loop, "train_one": train_one}


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alone(loop: str, make, steps: int, device="cpu") -> float:
    """Milliseconds of a step of one fold."""
    (inputs, labels), (fold,) = data(), folds_of(1)
    model = make(0)
    LOOPS[loop](make(0), inputs, labels, fold, settings_of(3), device=device)
    _synchronize()
    started = time.perf_counter()
    LOOPS[loop](model, inputs, labels, fold, settings_of(steps), device=device)
    _synchronize()
    return (time.perf_counter() - started) / steps * 1e3


def processes(loop: str, steps: int) -> float:
    """Milliseconds of a step of one fold when two processes train a fold each, with one thread."""
    code = f"from benchmarks.folds import _child; _child({loop!r}, {steps})"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for child in children:
        child.stdout.readline()  # it is ready
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    found = [float(child.communicate()[0].split()[-1]) for child in children]
    return statistics.mean(found) / len(children)


def _child(loop: str, steps: int) -> None:
    torch.set_num_threads(1)
    make = maker(_bundled())
    alone(loop, make, 3)
    print("ready", flush=True)
    sys.stdin.readline()
    print(alone(loop, make, steps))


def stacked(make, folds: list[Fold], steps: int, device="cpu") -> dict[str, float]:
    """Milliseconds of a step of one fold once all passes run, and what comes before, in seconds."""
    inputs, labels = data()
    calls = [(time.perf_counter(), 0)]

    def progress(done: int, total: int) -> None:
        if device != "cpu" and done * 10 // total != calls[-1][1] * 10 // total:
            _synchronize()
        calls.append((time.perf_counter(), done))

    train_folds(make, inputs, labels, folds, settings_of(steps), device=device, progress=progress)
    total = calls[-1][1]
    (since, done), (until, last) = (
        next(call for call in calls if call[1] >= share * total) for share in (0.4, 0.9)
    )
    per_step = (until - since) / (last - done)
    return {"ms": per_step * 1e3, "start_s": since - calls[0][0] - done * per_step}


def _bundled() -> HTNetConfig:
    return HTNetConfig.from_pretrained(bundled("htnet-synthetic"))


def on_cpu() -> dict:
    """The bundled configuration on two cores."""
    make, folds = maker(_bundled()), folds_of(FOLDS)
    turns: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        turns.setdefault(name, []).append(value)

    for _ in range(TURNS):
        for loop in LOOPS:
            note(f"{loop}_two_threads_ms", alone(loop, make, STEPS_ALONE))
            note(f"{loop}_two_processes_ms", processes(loop, 2 * STEPS_ALONE))
        found = stacked(make, folds, STEPS_STACKED)
        note("stacked_ms", found["ms"])
        note("stacked_start_s", found["start_s"])
    for loop in LOOPS:
        pairs = zip(turns[f"{loop}_two_threads_ms"], turns[f"{loop}_two_processes_ms"], strict=True)
        faster = [min(pair) for pair in pairs]
        ratios = [f / s for f, s in zip(faster, turns["stacked_ms"], strict=True)]
        turns[f"ratio_to_{loop}"] = ratios
    result = {name: statistics.median(values) for name, values in turns.items()}
    for loop in LOOPS:
        result[f"ratio_to_{loop}_lowest"] = min(turns[f"ratio_to_{loop}"])
        result[f"ratio_to_{loop}_highest"] = max(turns[f"ratio_to_{loop}"])
    return result


def published(device="cpu", count=2, steps=3) -> dict:
    """The published configuration: two folds stacked, one alone, and the least time of a step."""
    config = HTNetConfig()
    make, folds = maker(config), folds_of(count)
    model = make(0)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    # In training mode: in evaluation the linear layers go a way that is not counted.
    flops = 3 * flops_of(model.train(), inputs_of("htnet", config, BATCH))
    del model
    # Weights are read forwards and backwards, the gradient is written, and read for its length; the
    # optimizer reads weight, gradient and two moments, and writes all but the gradient.
    moved = (2 + 2 + 4 + 3) * weights
    speed = _gpu_rates() if device == "cuda" else rates()
    times = {
        "arithmetic": flops / 1e9 / speed["matrix_product_gflop_per_s"],
        "memory": moved / 1e9 / speed["read_gb_per_s"],
    }
    single = alone("plain_loop", make, steps, device)
    found = stacked_without_start(make, folds, steps, device)
    return {
        "parameters": weights // 4,
        "gflop_per_step": flops / 1e9,
        "gb_moved_per_step": moved / 1e9,
        "floor_arithmetic_ms": times["arithmetic"] * 1e3,
        "floor_memory_ms": times["memory"] * 1e3,
        "plain_loop_ms": single,
        "stacked_ms": found,
        "ratio": single / found,
        "stacked_share_of_floor": max(times.values()) * 1e3 / found,
    }


def stacked_without_start(make, folds: list[Fold], steps: int, device) -> float:
    """Milliseconds of a step of one fold, the first step left out."""
    inputs, labels = data()
    calls = []

    def progress(done: int, total: int) -> None:
        _synchronize()
        calls.append((time.perf_counter(), done))

    settings = settings_of(steps + 1)
    train_folds(
        make, inputs, labels, folds, settings, device=device, folds_per_pass=len(folds), progress=progress
    )
    return (calls[-1][0] - calls[0][0]) / (calls[-1][1] - calls[0][1]) * 1e3


def _gpu_rates() -> dict[str, float]:
    numbers, square = torch.randn(1 << 28, device="cuda"), torch.randn(8192, 8192, device="cuda")

    def seconds(call) -> float:
        call()
        _synchronize()
        started = time.perf_counter()
        for _ in range(10):
            call()
        _synchronize()
        return (time.perf_counter() - started) / 10

    return {
        "read_gb_per_s": numbers.numel() * 4 / 1e9 / seconds(numbers.sum),
        "matrix_product_gflop_per_s": 2 * 8192**3 / 1e9 / seconds(lambda: square @ square),
    }


def on_gpu() -> dict:
    """The bundled configuration on a GPU, all folds of a long leave-one-subject-out run."""
    make, folds = maker(_bundled()), folds_of(GPU_FOLDS)
    turns = [
        (
            min(alone(loop, make, 2 * STEPS_ALONE, "cuda") for loop in LOOPS),
            stacked(make, folds, 2 * STEPS_STACKED, "cuda"),
        )
        for _ in range(TURNS)
    ]
    return {
        "device": torch.cuda.get_device_name(),
        "folds": GPU_FOLDS,
        "sequential_ms": statistics.median(one for one, _ in turns),
        "stacked_ms": statistics.median(found["ms"] for _, found in turns),
        "stacked_start_s": statistics.median(found["start_s"] for _, found in turns),
        "ratio": statistics.median(one / found["ms"] for one, found in turns),
    }


def run() -> dict:
    """All comparisons, as flat numbers: milliseconds are of one step of one fold, at batch 32."""
    torch.set_num_threads(THREADS)
    parts = {"bundled": on_cpu(), "published": published()}
    if torch.cuda.is_available():
        parts |= {"gpu_bundled": on_gpu(), "gpu_published": published("cuda", 8, 20)}
    result = {"threads": THREADS, "batch": BATCH, "folds": FOLDS}
    for part, values in parts.items():
        for name, value in values.items():
            short = value if isinstance(value, str) else float(f"{value:.4g}")
            result[f"{part}_{name}"] = short
    return result
