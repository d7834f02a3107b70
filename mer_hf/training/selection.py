"""Which weights of a fold are tested: the last ones, or those of the epoch that a rule chooses.

The rule `oracle-epoch` looks at the tested clips' labels, as published code does; what it yields is marked
`test-selected` in every row of the log.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mer_hf.evaluation.metrics import accuracy, uf1
from mer_hf.training.recorded import Recorded
from mer_hf.utils.files import write_text

if TYPE_CHECKING:  # asking a network needs nothing that trains one
    from mer_hf.training.loop import Trainer

BEST = "best-epoch.safetensors"
SCORES = "epochs.jsonl"


@torch.inference_mode()
def predict(model: torch.nn.Module, recorded: Recorded, rows: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Class probabilities of some recorded clips.

    Args:
        model (`torch.nn.Module`): A classifier; its mode is restored afterwards.
        recorded ([`Recorded`]): All clips.
        rows (`np.ndarray` of shape `(m,)`): Those that are asked for.
        batch_size (`int`, *optional*, defaults to 64): Clips per forward pass.

    Returns:
        `np.ndarray` of shape `(m, num_classes)`: float64.
    """
    training, parts = model.training, []
    device = next(model.parameters()).device
    model.eval()
    for start in range(0, len(rows), batch_size):
        index = torch.from_numpy(rows[start : start + batch_size])
        inputs = {name: tensor[index].float().to(device) for name, tensor in recorded.inputs.items()}
        parts.append(model(**inputs).logits.double().softmax(dim=-1).cpu())
    model.train(training)
    return torch.cat(parts).numpy()


def weights_of(trainer: "Trainer") -> torch.nn.Module:
    """The network whose answers count at this point of a training: the moving average, where there is one."""
    if trainer.average is not None:
        return trainer.average.module
    return trainer.accelerator.unwrap_model(trainer.model)


class BestEpoch:
    """Keeps the weights of the best epoch so far; only the main process writes.

    Args:
        folder (`Path`): Of the fold's run.
        score (`Callable[[torch.nn.Module], float]`): Higher is better.
        latest (`bool`): Whether the later one of equal epochs is kept, as HTNet's code does.
    """

    def __init__(self, folder: Path, score: Callable[[torch.nn.Module], float], latest: bool):
        self.path, self.scores_path = folder / BEST, folder / SCORES
        self.score, self.latest = score, latest

    def scores(self, last: int) -> list[dict]:
        """What earlier epochs reached, up to `last`; those that are trained again are left out."""
        if not self.scores_path.is_file():
            return []
        found = [json.loads(line) for line in self.scores_path.read_text().splitlines()]
        return [row for row in found if row["epoch"] <= last]

    def __call__(self, trainer: "Trainer", epoch: int) -> None:
        """After an epoch: score, and keep the weights if they are the best."""
        if not trainer.accelerator.is_main_process:
            return
        model = weights_of(trainer)
        earlier = self.scores(epoch - 1)
        best = max((row["score"] for row in earlier), default=-1.0)
        score = self.score(model)
        if score > best or (self.latest and score == best):
            unfinished = self.path.with_name(f".{BEST}")
            save_file(model.state_dict(), unfinished, {"epoch": str(epoch)})
            unfinished.replace(self.path)
        rows = [*earlier, {"epoch": epoch, "score": score}]
        write_text(self.scores_path, "".join(json.dumps(row) + "\n" for row in rows))

    def restore(self, model: torch.nn.Module) -> int:
        """Put the best weights into a network; returns the epochs that they were trained for."""
        model.load_state_dict(load_file(self.path))
        with safe_open(self.path, framework="pt") as file:
            return int(file.metadata()["epoch"])

    def clear(self) -> None:
        """Remove what a fold that has ended needs no more; the scores stay."""
        self.path.unlink(missing_ok=True)


def score_rows(recorded: Recorded, rows: np.ndarray, by: Callable) -> Callable[[torch.nn.Module], float]:
    """A score on some of the clips, by a metric of `(predictions, labels, num_classes)`."""
    labels, classes = recorded.table.labels[rows], len(recorded.table.class_names)
    return lambda model: by(predict(model, recorded, rows).argmax(axis=1), labels, classes)


def rule(
    selection: str, folder: Path, recorded: Recorded, inner: np.ndarray, test: np.ndarray
) -> BestEpoch | None:
    """The rule of a fold.

    Args:
        selection (`str`): `last`, `inner` or `oracle-epoch`.
        folder (`Path`): Of the fold's run.
        recorded ([`Recorded`]): All clips.
        inner (`np.ndarray` of shape `(n,)`): Training clips that were set aside.
        test (`np.ndarray` of shape `(m,)`): Tested clips; only `oracle-epoch` looks at their labels.

    Returns:
        [`BestEpoch`] or None: None for `last`.
    """
    if selection == "inner":
        return BestEpoch(folder, score_rows(recorded, inner, uf1), latest=False)
    if selection == "oracle-epoch":
        return BestEpoch(folder, score_rows(recorded, test, accuracy), latest=True)
    return None
