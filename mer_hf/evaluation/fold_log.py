"""The log of a protocol: one row per tested clip, from which every number of a report is computed."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mer_hf.utils.files import write_text

FIXED = ("key", "dataset", "subject", "fold", "seed", "label", "prediction", "epoch", "selection")
PROBABILITY = "p_"


def training_name(fold: str, seed: int) -> str:
    """Of the training of one fold with one seed: its folder below `folds/`, its file in the queue."""
    return f"seed{seed}-{fold}"


@dataclass(frozen=True)
class FoldLog:
    """Rows of a log, in the order of seeds and keys.

    Attributes:
        class_names (`tuple[str, ...]`): In index order.
        keys, datasets, subjects, folds (`np.ndarray` of shape `(N,)`): str.
        seeds, labels, predictions, epochs (`np.ndarray` of shape `(N,)`): int64; labels and predictions are
            class indices, epochs those that the tested weights were trained for.
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
        """Some of the rows."""
        columns = {
            name: getattr(self, name)[chosen] for name in self.__dataclass_fields__ if name != "class_names"
        }
        return FoldLog(class_names=self.class_names, **columns)


def rows_of(
    table, rows: np.ndarray, probabilities: np.ndarray, *, fold: str, seed: int, epoch: int, selection: str
) -> list[dict]:
    """The rows that one fold leaves in the log.

    Args:
        table ([`ClipTable`]): All clips.
        rows (`np.ndarray` of shape `(m,)`): Those that were tested.
        probabilities (`np.ndarray` of shape `(m, num_classes)`): What the network answered.
        fold (`str`): Its name.
        seed (`int`): Of the training.
        epoch (`int`): Epochs that the tested weights were trained for.
        selection (`str`): How they were chosen.

    Returns:
        `list[dict]`: Column -> value.
    """
    made = []
    for row, answer in zip(rows, probabilities, strict=True):
        shares = {
            f"{PROBABILITY}{name}": f"{share:.9g}"
            for name, share in zip(table.class_names, answer, strict=True)
        }
        made.append(
            {
                "key": str(table.keys[row]),
                "dataset": str(table.datasets[row]),
                "subject": str(table.subjects[row]),
                "fold": fold,
                "seed": seed,
                "label": table.class_names[table.labels[row]],
                "prediction": table.class_names[int(np.argmax(answer))],
                "epoch": epoch,
                "selection": selection,
                **shares,
            }
        )
    return made


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Write a log; it is either there as a whole or not at all.

    Args:
        path (`Path`): Ends in `.csv`.
        rows (`Iterable[dict]`): From [`rows_of`], all of the same classes; they are sorted by seed and key.
    """
    rows = sorted(rows, key=lambda row: (int(row["seed"]), row["key"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[dict]:
    """The rows of a log as they stand in the file."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def read_log(path: Path) -> FoldLog:
    """Read a log.

    Args:
        path (`Path`): What [`write_rows`] wrote, or anybody with the same columns.

    Returns:
        [`FoldLog`]: Its rows, sorted by seed and key.

    Raises:
        ValueError: In one line, if the file is missing, no such log, cut off, or contradicts itself.
    """
    if not path.is_file():
        raise ValueError(f"there is no {path}. Give the folder of a run that has ended.")
    return log_of(read_rows(path), path)


def log_of(rows: list[dict], path: Path) -> FoldLog:
    """A log from its rows.

    Args:
        rows (`list[dict]`): From [`rows_of`] or [`read_rows`].
        path (`Path`): Where they are from, for messages.

    Returns:
        [`FoldLog`]: The rows, sorted by seed and key.

    Raises:
        ValueError: In one line, if they are no log, cut off, or contradict each other.
    """
    missing = [name for name in FIXED if not rows or name not in rows[0]]
    if missing:
        raise ValueError(f"{path} is no log of predictions: it lacks {', '.join(missing)}.")
    names = tuple(name.removeprefix(PROBABILITY) for name in rows[0] if name.startswith(PROBABILITY))
    rows = sorted(rows, key=lambda row: (int(row["seed"]), row["key"]))
    for number, row in enumerate(rows, start=2):
        if None in row.values() or None in row:
            raise ValueError(
                f"{path}: the row of {row['key']} is cut off. Merge the folds again: resume the run."
            )
        for column in ("label", "prediction"):
            if row[column] not in names:
                raise ValueError(
                    f"{path}, row {number}: {column} {row[column]!r} is none of {', '.join(names)}."
                )
    seen = {(row["seed"], row["key"]) for row in rows}
    if len(seen) < len(rows):
        raise ValueError(
            f"{path} holds a clip more than once for one seed. Merge the folds again: resume the run."
        )

    def column(name: str) -> np.ndarray:
        return np.array([row[name] for row in rows])

    def indices(name: str) -> np.ndarray:
        return np.array([names.index(row[name]) for row in rows], dtype=np.int64)

    return FoldLog(
        class_names=names,
        keys=column("key"),
        datasets=column("dataset"),
        subjects=column("subject"),
        folds=column("fold"),
        seeds=column("seed").astype(np.int64),
        labels=indices("label"),
        predictions=indices("prediction"),
        epochs=column("epoch").astype(np.int64),
        selections=column("selection"),
        probabilities=np.array([[float(row[PROBABILITY + name]) for name in names] for row in rows]),
    )
