"""Compare a step of our training loop with a plain loop, and learning from a sample with drawing it.

    python -m benchmarks training_speed
    python -m benchmarks.training_speed --architectures htnet --batch-size 8 --draws 8

By the recipes of the bundled networks. Both loops take turns on one batch. Ours also clips gradients, keeps a
moving average of the weights, and learns action units where the recipe says so.
"""

import copy
import itertools
import tempfile
from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from benchmarks._clock import in_turns, rounded, script, seconds
from mer_hf.registry import ARCHITECTURES
from mer_hf.training.build import build_processor
from mer_hf.training.config import parse_args
from mer_hf.training.loop import Trainer, make_accelerator
from mer_hf.training.run_folder import RunFolder

SECONDS, DRAWS = 20.0, 32


def trainer_of(key: str, batch_size: int, folder: str) -> Trainer:
    """Return the trainer of a bundled network, whose set is a single batch."""
    flags = ["--recipe", f"{key}-synthetic", "--output-dir", f"{folder}/{key}", "--num-workers", "0"]
    config = parse_args(flags)
    size = str(batch_size or config.batch_size)
    config = parse_args([*flags, "--batch-size", size, "--num-samples", size])
    accelerator = make_accelerator(config)
    return Trainer(config, accelerator, RunFolder(config), build_processor(config))


def plain_step(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """Return a function that makes one step as a tutorial does."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4)
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "strengths")}

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(**inputs).logits, batch["labels"]).backward()
        optimizer.step()

    return step


def measure(key: str, batch_size: int, draws: int, within_s: float, folder: str) -> dict:
    """Return the seconds of both loops, of a drawn sample and of a learned one."""
    trainer = trainer_of(key, batch_size, folder)
    plain = copy.deepcopy(trainer.network())
    batch, weight = next(iter(trainer.source.batches(0, 0)))
    batches = itertools.repeat((batch, weight))
    steps = {"ours": lambda: trainer._step(batches), "plain": plain_step(plain, batch)}
    spent = in_turns(steps, within_s)
    view = trainer.source.kind.view(trainer.source.seed, draws)
    draw_s = seconds(lambda: [view[index] for index in range(draws)]) / draws
    learn_s = spent["ours"] / len(batch["labels"])
    return {
        "batch": len(batch["labels"]),
        "step_s": spent["ours"],
        "plain_step_s": spent["plain"],
        "step_to_plain": spent["ours"] / spent["plain"],
        "draw_s_per_sample": draw_s,
        "learn_s_per_sample": learn_s,
        "draw_to_learn": draw_s / learn_s,
    }


def run(
    architectures: tuple[str, ...] = tuple(ARCHITECTURES),
    batch_size: int = 0,
    draws: int = DRAWS,
    within_s: float = SECONDS,
) -> dict:
    """Return the comparison of every bundled recipe, with a batch of its own size where that is 0."""
    result: dict = {"draws": draws}
    with tempfile.TemporaryDirectory() as folder:
        for key in architectures:
            found = measure(key, batch_size, draws, within_s, folder)
            result |= {f"{key}_{field}": value for field, value in found.items()}
    return rounded(result)


if __name__ == "__main__":
    script(run)
