"""Who is trained on and who is tested: splits in which no person, and no stretch of film, is on both sides.

Every split is checked after it is made, whoever made it.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from .table import ClipTable


@dataclass(frozen=True)
class Fold:
    """One training and what it is tested on.

    Attributes:
        name (`str`): Unique in the split; may serve as a file's name.
        train (`np.ndarray` of shape `(n,)`): int64 rows of the table.
        test (`np.ndarray` of shape `(m,)`): int64 rows of the table.
    """

    name: str
    train: np.ndarray
    test: np.ndarray


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text)


def leave_one_subject_out(table: ClipTable) -> list[Fold]:
    """One fold per person, in the order of their names.

    Args:
        table ([`ClipTable`]): The clips; subjects of several data sets are told apart by their prefix.

    Returns:
        `list[Fold]`: As many as there are subjects.

    Raises:
        ValueError: If there are fewer than two subjects, or a leak is found.
    """
    subjects = np.unique(table.subjects)
    if len(subjects) < 2:
        raise ValueError(f"leaving one subject out needs at least two, got {len(subjects)}: {subjects[0]}.")
    folds = [_fold(_file_name(name), table.subjects == name) for name in subjects]
    return checked(table, folds)


def grouped_k_fold(table: ClipTable, k: int, seed: int = 0) -> list[Fold]:
    """`k` folds of whole subjects, with classes in similar shares (scikit-learn's `StratifiedGroupKFold`).

    Args:
        table ([`ClipTable`]): The clips.
        k (`int`): Folds.
        seed (`int`, *optional*, defaults to 0): Deals the subjects out.

    Returns:
        `list[Fold]`: `k` folds.

    Raises:
        ValueError: If there are fewer subjects than folds, or a leak is found.
    """
    subjects = len(np.unique(table.subjects))
    if not 2 <= k <= subjects:
        raise ValueError(f"expected 2 to {subjects} folds for {subjects} subjects, got {k}.")
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    parts = splitter.split(np.zeros(len(table)), table.labels, table.subjects)
    return checked(table, [Fold(f"fold{i}", train, test) for i, (train, test) in enumerate(parts)])


def cross_dataset(
    table: ClipTable, train_on: list[str] | None = None, test_on: list[str] | None = None
) -> list[Fold]:
    """Train on some data sets, test on others.

    Args:
        table ([`ClipTable`]): Clips of several data sets.
        train_on (`list[str]`, *optional*): Data sets to train on; by default all that are not tested on.
        test_on (`list[str]`, *optional*): Data sets to test on. With neither, each data set is left out once.

    Returns:
        `list[Fold]`: One fold, or one per data set.

    Raises:
        ValueError: If a data set is unknown or on both sides, if there is only one, or a leak is found.
    """
    names = sorted(set(table.datasets.tolist()))
    for name in [*(train_on or ()), *(test_on or ())]:
        if name not in names:
            raise ValueError(f"there is no data set {name} in the table. Choose from {', '.join(names)}.")
    both = set(train_on or ()) & set(test_on or ())
    if both:
        raise ValueError(f"{min(both)} is trained on and tested on. Name it on one side only.")
    if len(names) < 2:
        raise ValueError(f"a cross-dataset split needs at least two data sets, got {names[0]}.")
    if not train_on and not test_on:
        return checked(table, [_fold(_file_name(name), table.datasets == name) for name in names])
    test_on = test_on or [name for name in names if name not in train_on]
    train_on = train_on or [name for name in names if name not in test_on]
    if not train_on or not test_on:
        raise ValueError(f"nothing is left to {'train' if test_on else 'test'} on. Name fewer data sets.")
    train = np.flatnonzero(np.isin(table.datasets, train_on))
    test = np.flatnonzero(np.isin(table.datasets, test_on))
    return checked(table, [Fold(_file_name("-".join(sorted(test_on))), train, test)])


def inner_validation(
    table: ClipTable, train: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Part of a fold's training subjects set aside to choose an epoch on; the test clips play no part.

    Args:
        table ([`ClipTable`]): The clips.
        train (`np.ndarray` of shape `(n,)`): Rows that the fold trains on.
        share (`float`): Share of the clips that is set aside, in (0, 0.5].
        seed (`int`): Deals the subjects out.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Rows to train on, rows to choose on; no subject is in both.

    Raises:
        ValueError: If fewer than two subjects are trained on.
    """
    subjects = table.subjects[train]
    parts = min(round(1 / share), len(np.unique(subjects)))
    if parts < 2:
        raise ValueError(
            "an inner validation needs at least two training subjects, got one. Use --selection last."
        )
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    fit, held = next(splitter.split(np.zeros(len(train)), table.labels[train], subjects))
    checked(table, [Fold("inner", train[fit], train[held])], whole=False)
    return train[fit], train[held]


def _fold(name: str, tested: np.ndarray) -> Fold:
    return Fold(name, np.flatnonzero(~tested), np.flatnonzero(tested))


def checked(table: ClipTable, folds: list[Fold], whole: bool = True) -> list[Fold]:
    """The folds, if nothing leaks.

    Args:
        table ([`ClipTable`]): The clips.
        folds (`list[Fold]`): What is checked.
        whole (`bool`, *optional*, defaults to `True`): Whether no clip may be tested twice.

    Returns:
        `list[Fold]`: The same.

    Raises:
        ValueError: If a side is empty, a clip is tested twice, or a subject or an overlapping stretch of one
            recording is on both sides; the message names the first.
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
    if whole and times.max() > 1:
        raise ValueError(f"{table.keys[tested[times > 1][0]]} is tested in more than one fold.")
    return folds


def _first_overlap(table: ClipTable, fold: Fold) -> tuple[str, str] | None:
    """Keys of a training and a test clip that share frames of one recording, if there are any.

    Where subjects are disjoint this finds recordings that two subjects' names point at.
    """
    known = (table.videos != "") & (table.intervals >= 0).all(axis=1)
    train = [row for row in fold.train if known[row]]
    by_video: dict[str, list[int]] = {}
    for row in train:
        by_video.setdefault(str(table.videos[row]), []).append(row)
    for row in (row for row in fold.test if known[row]):
        onset, offset = table.intervals[row]
        for other in by_video.get(str(table.videos[row]), ()):
            if table.intervals[other][0] <= offset and onset <= table.intervals[other][1]:
                return str(table.keys[other]), str(table.keys[row])
    return None


def to_json(table: ClipTable, folds: list[Fold]) -> str:
    """A split as text: fold -> the keys of both sides."""
    sides = {
        fold.name: {side: sorted(table.keys[getattr(fold, side)].tolist()) for side in ("train", "test")}
        for fold in folds
    }
    return json.dumps(sides, indent=1) + "\n"


def from_json(table: ClipTable, text: str) -> list[Fold]:
    """Read what [`to_json`] wrote, and check it again.

    Raises:
        ValueError: If a key is not in the table, or a leak is found.
    """
    row_of = {str(key): row for row, key in enumerate(table.keys)}
    folds = []
    for name, sides in json.loads(text).items():
        missing = [key for side in sides.values() for key in side if key not in row_of]
        if missing:
            raise ValueError(f"fold {name} names {missing[0]}, which is not in the table of clips.")
        rows = {side: np.array(sorted(row_of[key] for key in keys)) for side, keys in sides.items()}
        folds.append(Fold(name, rows["train"], rows["test"]))
    return checked(table, folds)


def digest(table: ClipTable, folds: list[Fold]) -> str:
    """SHA-256 of a split."""
    return hashlib.sha256(to_json(table, folds).encode()).hexdigest()
