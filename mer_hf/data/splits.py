"""Splits into training and test clips in which no subject and no stretch of a recording is on both sides.

Every split is checked for leaks after it is made.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold

from .table import ClipTable


@dataclass(frozen=True)
class Fold:
    """One training and what it is tested on.

    Attributes:
        name (`str`): Unique in the split; can be used as a file name.
        train (`np.ndarray` of shape `(n,)`): int64 rows of the table.
        test (`np.ndarray` of shape `(m,)`): int64 rows of the table.
    """

    name: str
    train: np.ndarray
    test: np.ndarray


def file_name(text: str) -> str:
    """Replace what may not be part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text)


def _leave_one_out(table: ClipTable, groups: np.ndarray) -> list[Fold]:
    """Return one fold per group, in the order of their names."""
    sides = LeaveOneGroupOut().split(groups, groups=groups)
    folds = [Fold(file_name(name), *each) for name, each in zip(np.unique(groups), sides, strict=True)]
    return checked(table, folds)


def leave_one_subject_out(table: ClipTable) -> list[Fold]:
    """Return one fold per subject, in the order of their names."""
    subjects = np.unique(table.subjects)
    if len(subjects) < 2:
        raise ValueError(f"leaving one subject out needs at least two, got {len(subjects)}: {subjects[0]}.")
    return _leave_one_out(table, table.subjects)


def grouped_k_fold(table: ClipTable, k: int, seed: int = 0) -> list[Fold]:
    """Return `k` folds of whole subjects, with similar shares of the classes."""
    subjects = len(np.unique(table.subjects))
    if not 2 <= k <= subjects:
        raise ValueError(f"expected 2 to {subjects} folds for {subjects} subjects, got {k}.")
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    parts = splitter.split(np.zeros(len(table)), table.labels, table.subjects)
    return checked(table, [Fold(f"fold{i}", train, test) for i, (train, test) in enumerate(parts)])


def cross_dataset(
    table: ClipTable, train_on: list[str] | None = None, test_on: list[str] | None = None
) -> list[Fold]:
    """Return one fold that trains on some datasets and tests on others.

    A side that is not given is all datasets that the other does not name. With neither, each dataset is left
    out once.
    """
    names = sorted(set(table.datasets.tolist()))
    for name in [*(train_on or ()), *(test_on or ())]:
        if name not in names:
            raise ValueError(f"there is no dataset {name} in the table. Choose from {', '.join(names)}.")
    both = set(train_on or ()) & set(test_on or ())
    if both:
        raise ValueError(f"{min(both)} is trained on and tested on. Name it on one side only.")
    if len(names) < 2:
        raise ValueError(f"a cross-dataset split needs at least two datasets, got {names[0]}.")
    if not train_on and not test_on:
        return _leave_one_out(table, table.datasets)
    test_on = test_on or [name for name in names if name not in train_on]
    train_on = train_on or [name for name in names if name not in test_on]
    if not train_on or not test_on:
        raise ValueError(f"nothing is left to {'train' if test_on else 'test'} on. Name fewer datasets.")
    train, test = (np.flatnonzero(np.isin(table.datasets, side)) for side in (train_on, test_on))
    return checked(table, [Fold(file_name("-".join(sorted(test_on))), train, test)])


def inner_validation(
    table: ClipTable, train: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split the training rows of a fold into rows to train on and rows to choose an epoch on.

    About `share` (in (0, 0.5]) of the clips is set aside; no subject is on both sides.
    """
    subjects = table.subjects[train]
    parts = min(round(1 / share), len(np.unique(subjects)))
    if parts < 2:
        raise ValueError(
            "an inner validation needs at least two training subjects, got one. Use --selection last."
        )
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    fit, held = next(splitter.split(np.zeros(len(train)), table.labels[train], subjects))
    checked(table, [Fold("inner", train[fit], train[held])])
    return train[fit], train[held]


def checked(table: ClipTable, folds: list[Fold]) -> list[Fold]:
    """Return the folds if nothing leaks.

    Raises ValueError if a side is empty, a clip is tested twice, or a subject or an overlapping stretch of
    one recording is on both sides; the message names the first.
    """
    for fold in folds:
        for side in ("train", "test"):
            if not len(getattr(fold, side)):
                raise ValueError(f"fold {fold.name} has no clip to {side} on.")
        shared = np.intersect1d(table.subjects[fold.train], table.subjects[fold.test])
        if len(shared):
            raise ValueError(f"fold {fold.name} trains on subject {shared[0]} and tests on it.")
        overlap = _first_overlap(table, fold)
        if overlap:
            raise ValueError(f"fold {fold.name}: {overlap[0]} overlaps {overlap[1]}, which it tests on.")
    tested, times = np.unique(np.concatenate([fold.test for fold in folds]), return_counts=True)
    if times.max() > 1:
        raise ValueError(f"{table.keys[tested[times > 1][0]]} is tested in more than one fold.")
    return folds


def _first_overlap(table: ClipTable, fold: Fold) -> tuple[str, str] | None:
    """Return the keys of a training and a test clip that share frames of one recording, if there are any.

    With disjoint subjects, this finds recordings that two subjects' names point at.
    """
    known = (table.videos != "") & (table.intervals >= 0).all(axis=1)
    train = fold.train[known[fold.train]]
    for row in fold.test[known[fold.test]]:
        onset, offset = table.intervals[row]
        shared = (table.videos[train] == table.videos[row]) & (table.intervals[train, 0] <= offset)
        shared &= table.intervals[train, 1] >= onset
        if shared.any():
            return str(table.keys[train[shared.argmax()]]), str(table.keys[row])
    return None


def to_json(table: ClipTable, folds: list[Fold]) -> str:
    """Return a split as JSON: fold -> the keys of both sides."""
    sides = {
        fold.name: {side: sorted(table.keys[getattr(fold, side)].tolist()) for side in ("train", "test")}
        for fold in folds
    }
    return json.dumps(sides, indent=1) + "\n"


def from_keys(table: ClipTable, split: dict[str, dict[str, list[str]]]) -> list[Fold]:
    """Return the folds of a split (fold -> the keys of both sides, all in the table), and check them."""
    row_of = {str(key): row for row, key in enumerate(table.keys)}
    folds = []
    for name, sides in split.items():
        rows = {side: np.array(sorted(row_of[key] for key in keys)) for side, keys in sides.items()}
        folds.append(Fold(name, rows["train"], rows["test"]))
    return checked(table, folds)


def digest(table: ClipTable, folds: list[Fold]) -> str:
    """Return the SHA-256 of a split."""
    return hashlib.sha256(to_json(table, folds).encode()).hexdigest()
