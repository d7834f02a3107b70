"""Recognition metrics on plain arrays, pooled over every clip that is passed in.

The number of classes is an argument and never read from the labels that happen to occur: a class with no true
and no predicted clip counts 0. Everything is computed from confusion matrices, also from a stack of them, so
that a bootstrap of 2,000 draws takes milliseconds.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
from sklearn.metrics import confusion_matrix

Item = TypeVar("Item")
DRAWS = 2000
"""Draws of a bootstrap over subjects."""


def confusion(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Count clips by true class (row) and predicted class (column).

    Args:
        predictions (`np.ndarray` of shape `(num_clips,)`): Class indices, one per clip.
        labels (`np.ndarray` of shape `(num_clips,)`): True class indices in `[0, num_classes)`.
        num_classes (`int`): Classes counted, including those absent from `labels`.

    Returns:
        `np.ndarray` of shape `(num_classes, num_classes)`: int64.

    Raises:
        ValueError: If the arrays differ in length, are empty, or hold anything but class indices.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.shape != labels.shape or predictions.ndim != 1 or not len(labels):
        raise ValueError(
            f"expected one prediction and one label per clip, got shapes {predictions.shape} and "
            f"{labels.shape}."
        )
    for name, values in (("predictions", predictions), ("labels", labels)):
        if values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= num_classes:
            raise ValueError(
                f"{name} must be class indices in 0 to {num_classes - 1}, got {values.dtype} from "
                f"{values.min()} to {values.max()}. Check the class scheme."
            )
    return confusion_matrix(labels, predictions, labels=list(range(num_classes))).astype(np.int64)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide, with 0 where the denominator is 0."""
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), 0.0)


def f1_of(confusions: np.ndarray) -> np.ndarray:
    """Return the F1 of every class, 2 TP / (2 TP + FP + FN): `(..., C, C)` -> `(..., C)`."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    return _ratio(2.0 * hits, confusions.sum(axis=-1) + confusions.sum(axis=-2))


def recall_of(confusions: np.ndarray) -> np.ndarray:
    """Return the recall of every class, TP / (TP + FN): `(..., C, C)` -> `(..., C)`."""
    return _ratio(np.diagonal(confusions, axis1=-2, axis2=-1), confusions.sum(axis=-1))


def uf1_of(confusions: np.ndarray) -> np.ndarray:
    """Return the UF1 of each matrix in a stack: `(..., C, C)` -> `(...)`."""
    return f1_of(confusions).mean(axis=-1)


def uar_of(confusions: np.ndarray) -> np.ndarray:
    """Return the UAR of each matrix in a stack: `(..., C, C)` -> `(...)`."""
    return recall_of(confusions).mean(axis=-1)


def accuracy_of(confusions: np.ndarray) -> np.ndarray:
    """Return the accuracy of each matrix in a stack: `(..., C, C)` -> `(...)`."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1).sum(axis=-1)
    return _ratio(hits, confusions.sum(axis=(-2, -1)))


METRICS = {"uf1": uf1_of, "uar": uar_of, "accuracy": accuracy_of}


def weighted_f1_of(confusions: np.ndarray) -> np.ndarray:
    """Return the F1 weighted by the clips of each class, of each matrix: `(..., C, C)` -> `(...)`."""
    clips = confusions.sum(axis=-1)
    return _ratio((f1_of(confusions) * clips).sum(axis=-1), clips.sum(axis=-1))


def uf1(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Return the unweighted F1: the mean over classes of F1 on pooled predictions, in [0, 1]."""
    return float(uf1_of(confusion(predictions, labels, num_classes)))


def uar(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Return the unweighted average recall: the mean over classes of recall, in [0, 1]."""
    return float(uar_of(confusion(predictions, labels, num_classes)))


def accuracy(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Return the share of clips that are recognised, in [0, 1]."""
    return float(accuracy_of(confusion(predictions, labels, num_classes)))


def bootstrap_values(
    metric_of: Callable[[np.ndarray], np.ndarray],
    predictions: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    num_classes: int,
    draws: int = DRAWS,
    seed: int = 0,
) -> np.ndarray:
    """Compute a metric for draws of subjects, with all their clips, with replacement.

    Args:
        metric_of (`Callable`): Stack of confusion matrices `(draws, C, C)` -> `(draws,)`, e.g. [`uf1_of`].
        predictions (`np.ndarray` of shape `(num_clips,)`): Class indices, one per clip.
        labels (`np.ndarray` of shape `(num_clips,)`): True class indices in `[0, num_classes)`.
        subjects (`np.ndarray` of shape `(num_clips,)`): Subject of each clip; unique over all datasets.
        num_classes (`int`): Classes counted, including those absent from `labels`.
        draws (`int`, *optional*, defaults to 2000): Number of draws.
        seed (`int`, *optional*, defaults to 0): The same subjects are drawn for the same seed.

    Returns:
        `np.ndarray` of shape `(draws,)`: A class that no drawn subject shows counts 0.

    Raises:
        ValueError: If there are fewer than two subjects.
    """
    names, subject_of = np.unique(subjects, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"an interval over subjects needs at least two, got {len(names)}.")
    by_subject = np.zeros((len(names), num_classes, num_classes), dtype=np.int64)
    np.add.at(by_subject, (subject_of, labels, predictions), 1)
    drawn = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    times = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
    return metric_of(np.einsum("ds,sij->dij", times, by_subject))


def interval_of(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of bootstrap values: their 2.5th and 97.5th percentile."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def grouped(items: Iterable[Item], name_of: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Group items by a name, in the order of the items."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(name_of(item), []).append(item)
    return groups
