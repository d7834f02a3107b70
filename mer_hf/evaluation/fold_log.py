"""The log of a protocol: one row per tested clip, from which every number of a report is computed."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from mer_hf.utils.files import write_text

FIXED = ("key", "dataset", "subject", "fold", "seed", "label", "prediction", "epoch", "selection")
PROBABILITY = "p_"


def training_name(fold: str, seed: int) -> str:
    """Return the name of the training of one fold with one seed: of its folder and its file in the queue."""
    return f"seed{seed}-{fold}"


@dataclass(frozen=True)
class FoldLog:
    """Rows of a log, in the order of seeds and keys.

    Attributes:
        class_names (`tuple[str, ...]`): In index order.
        keys, datasets, subjects, folds (`np.ndarray` of shape `(N,)`): str.
        seeds, labels, predictions, epochs (`np.ndarray` of shape `(N,)`): int64; labels and predictions are
            class indices, epochs how long the tested weights were trained.
        selections (`np.ndarray` of shape `(N,)`): str; `last`, `inner` or `test-selected`.
        probabilities (`np.ndarray` of shape `(N, num_classes)`): float64.
    """

    class_names: tuple[str, ...]
    keys: np.ndarray
    datasets: np.ndarray
    subjects: np.ndarray
    folds: np.ndarray
    seeds: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    epochs: np.ndarray
    selections: np.ndarray
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def of(self, chosen: np.ndarray) -> "FoldLog":
        """Return the rows that a mask or indices choose."""
        columns = {spec.name for spec in fields(self)} - {"class_names"}
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})


def rows_of(
    table, rows: np.ndarray, probabilities: np.ndarray, *, fold: str, seed: int, epoch: int, selection: str
) -> list[dict]:
    """Return the rows that one fold leaves in the log, as column -> value.

    Args:
        table ([`ClipTable`]): All clips.
        rows (`np.ndarray` of shape `(m,)`): Those that were tested.
        probabilities (`np.ndarray` of shape `(m, num_classes)`): The network's answers.
        fold (`str`): Name of the fold.
        seed (`int`): Of the training.
        epoch (`int`): How long the tested weights were trained.
        selection (`str`): How they were chosen.
    """
    names = table.class_names
    return [
        {
            "key": str(table.keys[row]),
            "dataset": str(table.datasets[row]),
            "subject": str(table.subjects[row]),
            "fold": fold,
            "seed": seed,
            "label": names[table.labels[row]],
            "prediction": names[int(np.argmax(shares))],
            "epoch": epoch,
            "selection": selection,
            **{f"{PROBABILITY}{name}": f"{share:.9g}" for name, share in zip(names, shares, strict=True)},
        }
        for row, shares in zip(rows, probabilities, strict=True)
    ]


def _sorted(rows: Iterable[dict]) -> list[dict]:
    return sorted(rows, key=lambda row: (int(row["seed"]), row["key"]))


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Write rows of [`rows_of`], all of the same classes, as a log sorted by seed and key."""
    rows = _sorted(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[dict]:
    """Read the rows of a log as they stand in the file."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def read_log(path: Path) -> FoldLog:
    """Read a log that [`write_rows`] wrote, or anybody with the same columns."""
    if not path.is_file():
        raise ValueError(f"there is no {path}. Give the folder of a run that has ended.")
    return log_of(read_rows(path), path)


def log_of(rows: list[dict], path: Path) -> FoldLog:
    """Make a log of the rows of a file, sorted by seed and key, after checking them."""
    missing = [name for name in FIXED if not rows or name not in rows[0]]
    if missing:
        raise ValueError(f"{path} is not a log of predictions: it lacks {', '.join(missing)}.")
    names = tuple(name.removeprefix(PROBABILITY) for name in rows[0] if name.startswith(PROBABILITY))
    rows = _sorted(rows)
    _check(rows, names, path)
    text, numbers = ("key", "dataset", "subject", "fold", "selection"), ("seed", "epoch")
    return FoldLog(
        class_names=names,
        **{f"{name}s": np.array([row[name] for row in rows]) for name in text},
        **{f"{name}s": np.array([int(row[name]) for row in rows]) for name in numbers},
        **{
            f"{name}s": np.array([names.index(row[name]) for row in rows]) for name in ("label", "prediction")
        },
        probabilities=np.array([[float(row[PROBABILITY + name]) for name in names] for row in rows]),
    )


def _check(rows: list[dict], names: tuple[str, ...], path: Path) -> None:
    """Check that no row is cut off, names an unknown class or occurs twice."""
    for number, row in enumerate(rows, start=2):
        if None in row.values() or None in row:
            raise ValueError(
                f"{path}: the row of {row['key']} is cut off. Merge the folds again: resume the run."
            )
        for column in ("label", "prediction"):
            if row[column] not in names:
                raise ValueError(
                    f"{path}, row {number}: {column} {row[column]!r} is not one of {', '.join(names)}."
                )
    if len({(row["seed"], row["key"]) for row in rows}) < len(rows):
        raise ValueError(
            f"{path} holds a clip more than once for one seed. Merge the folds again: resume the run."
        )
