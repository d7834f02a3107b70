"""The log of a protocol: one row per tested clip, from which every number of a report is computed."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np

from mer_hf.data.splits import file_name
from mer_hf.utils.files import write_text
from mer_hf.utils.untrusted import read_json, read_records

FIXED = ("key", "dataset", "subject", "fold", "seed", "label", "prediction", "epoch", "selection")
PROBABILITY = "p_"
MOST_SPLIT_BYTES = 100_000_000
SPLIT = dict[str, dict[Literal["train", "test"], list[str]]]
"""Fold -> keys of its training and test clips: splits.json."""


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
            **{name: str(getattr(table, f"{name}s")[row]) for name in ("key", "dataset", "subject")},
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
    return [row for _, row in read_records(path, ("key", "subject", "fold", "seed", "prediction"))]


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
    _check_cells(rows, names, path)
    rows = _sorted(rows)
    columns = {f"{name}s": np.array([row[name] for row in rows]) for name in FIXED}
    for name in ("seeds", "epochs"):
        columns[name] = columns[name].astype(np.int64)
    for name in ("labels", "predictions"):
        columns[name] = np.array([names.index(value) for value in columns[name]])
    try:
        shares = np.array([[float(row[PROBABILITY + name]) for name in names] for row in rows])
    except ValueError as error:
        raise ValueError(f"{path}: a probability is not a number ({error}).") from error
    log = FoldLog(class_names=names, **columns, probabilities=shares)
    _check_shares(log, path)
    return log


def _check_cells(rows: list[dict], names: tuple[str, ...], path: Path) -> None:
    """Check that classes are known, that numbers are numbers, and that no row occurs twice."""
    for number, row in enumerate(rows, start=2):
        for column in ("label", "prediction"):
            if row[column] not in names:
                raise ValueError(
                    f"{path}, row {number}: {column} {row[column]!r} is not one of {', '.join(names)}."
                )
        for column in ("seed", "epoch"):
            if not re.fullmatch(r"\d{1,10}", str(row[column]), re.ASCII):
                raise ValueError(f"{path}, row {number}: {column} must be a number, got {row[column]!r}.")
    if len({(int(row["seed"]), row["key"]) for row in rows}) < len(rows):
        raise ValueError(
            f"{path} holds a clip more than once for one seed. Merge the folds again: resume the run."
        )


def _check_shares(log: FoldLog, path: Path) -> None:
    """Check that probabilities are shares, and that predictions are the largest of them."""
    shares = log.probabilities
    answered = shares[np.arange(len(log)), log.predictions]
    for wrong, words in (
        (~np.isfinite(shares).all(axis=1), "predicted NaN or inf: its training diverged. Retrain it"),
        ((shares < 0).any(axis=1) | (abs(shares.sum(axis=1) - 1) > 1e-3), "has shares that do not sum to 1"),
        (answered < shares.max(axis=1) - 1e-8, "has a prediction that is not its largest probability"),
    ):
        if wrong.any():
            fold, key = log.folds[wrong.argmax()], log.keys[wrong.argmax()]
            raise ValueError(f"{path}: fold {fold} {words} (clip {key}).")


def read_split(path: Path, rows: list[dict] | None = None, seeds: Iterable[int] = ()) -> SPLIT:
    """Read splits.json, and check that no clip is on both sides of a fold.

    With the rows of a log, check that it has each test clip once for each seed, and that no subject leaks.
    """
    split = read_json(path, SPLIT, most_bytes=MOST_SPLIT_BYTES)
    for name, sides in split.items():
        if file_name(name) != name or name.startswith("."):
            raise ValueError(f"{path}: {name!r} is not a valid name of a fold.")
        if not sides.get("train") or not sides.get("test"):
            raise ValueError(f"{path}: fold {name} needs clips to train on and clips to test on.")
        if both := set(sides["train"]) & set(sides["test"]):
            raise ValueError(f"{path}: fold {name} trains on {min(both)} and tests on it.")
    if rows is not None:
        _check_split(split, rows, seeds, path)
    return split


def _check_split(split: SPLIT, rows: list[dict], seeds: Iterable[int], path: Path) -> None:
    """Check that a log and a split belong together."""
    expected = {(str(s), name, key) for s in seeds for name, sides in split.items() for key in sides["test"]}
    logged = {(row["seed"], row["fold"], row["key"]) for row in rows}
    if wrong := sorted(expected ^ logged):
        first = f"the first (seed, fold, clip) {wrong[0]}"
        raise ValueError(f"{path} and predictions.csv disagree on {len(wrong)} rows, {first}.")
    subject_of = {row["key"]: row["subject"] for row in rows}
    for name, sides in split.items():
        train, test = ({subject_of.get(key) for key in sides[side]} for side in ("train", "test"))
        if shared := (train & test) - {None}:
            raise ValueError(f"{path}: fold {name} trains on subject {min(shared)} and tests on it.")
