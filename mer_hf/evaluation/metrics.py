"""Recognition metrics on plain arrays, pooled over every clip that is passed in.

The number of classes is an argument and never read from the labels that happen to occur: a class with no true
and no predicted clip counts 0. Everything is computed from confusion matrices, also from a stack of them, so
that a bootstrap of 2,000 draws takes milliseconds.
"""

from collections.abc import Callable

import numpy as np
from sklearn.metrics import confusion_matrix


def _check_classes(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> None:
    if predictions.shape != labels.shape or predictions.ndim != 1:
        raise ValueError(
            f"predictions and labels must be two lists of one length, got shapes {predictions.shape} and "
            f"{labels.shape}. Pass one class index per clip in each."
        )
    if not len(labels):
        raise ValueError(
            "there is nothing to score: predictions and labels are empty. Pass at least one clip."
        )
    for name, values in (("predictions", predictions), ("labels", labels)):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{name} must be integers, got {values.dtype}. Pass class indices, not scores.")
        if values.min() < 0 or values.max() >= num_classes:
            raise ValueError(
                f"{name} must lie in 0 to {num_classes - 1}, got {values.min()} to {values.max()}. "
                "Check the class scheme."
            )


def confusion(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts of clips by true class (row) and predicted class (column).

    Args:
        predictions (`np.ndarray` of shape `(num_clips,)`): Class indices, one per clip.
        labels (`np.ndarray` of shape `(num_clips,)`): True class indices in `[0, num_classes)`.
        num_classes (`int`): Classes counted, including those absent from `labels`.

    Returns:
        `np.ndarray` of shape `(num_classes, num_classes)`: int64.

    Raises:
        ValueError: If the arrays differ in length, are empty, or hold something else than class indices.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    _check_classes(predictions, labels, num_classes)
    return confusion_matrix(labels, predictions, labels=list(range(num_classes))).astype(np.int64)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient that is 0 where there is nothing to divide by."""
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), 0.0)


def f1_of(confusions: np.ndarray) -> np.ndarray:
    """F1 of every class, 2 TP / (2 TP + FP + FN).

    Args:
        confusions (`np.ndarray` of shape `(..., num_classes, num_classes)`): Rows true, columns predicted.

    Returns:
        `np.ndarray` of shape `(..., num_classes)`: float64 in [0, 1].
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    return _ratio(2.0 * hits, confusions.sum(axis=-1) + confusions.sum(axis=-2))


def uf1_of(confusions: np.ndarray) -> np.ndarray:
    """UF1 of each matrix in a stack: `(..., C, C)` -> `(...)`."""
    return f1_of(confusions).mean(axis=-1)


def uar_of(confusions: np.ndarray) -> np.ndarray:
    """UAR of each matrix in a stack: `(..., C, C)` -> `(...)`."""
    return _ratio(np.diagonal(confusions, axis1=-2, axis2=-1), confusions.sum(axis=-1)).mean(axis=-1)


def accuracy_of(confusions: np.ndarray) -> np.ndarray:
    """Accuracy of each matrix in a stack: `(..., C, C)` -> `(...)`."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1).sum(axis=-1)
    return _ratio(hits, confusions.sum(axis=(-2, -1)))


def weighted_f1_of(confusions: np.ndarray) -> np.ndarray:
    """F1 weighted by the clips of each class, of each matrix in a stack: `(..., C, C)` -> `(...)`."""
    clips = confusions.sum(axis=-1)
    return _ratio((f1_of(confusions) * clips).sum(axis=-1), clips.sum(axis=-1))


def per_class_f1(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """F1 of every class on pooled predictions.

    Args:
        predictions (`np.ndarray` of shape `(num_clips,)`): Class indices, one per clip.
        labels (`np.ndarray` of shape `(num_clips,)`): True class indices in `[0, num_classes)`.
        num_classes (`int`): Classes counted, including those absent from `labels`.

    Returns:
        `np.ndarray` of shape `(num_classes,)`: In [0, 1]; 0 for a class with no true and no predicted clip.

    Raises:
        ValueError: As [`confusion`].
    """
    return f1_of(confusion(predictions, labels, num_classes))


def uf1(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Unweighted F1: the mean over classes of F1 on pooled predictions.

    Args:
        predictions (`np.ndarray` of shape `(num_clips,)`): Class indices, one per clip.
        labels (`np.ndarray` of shape `(num_clips,)`): True class indices in `[0, num_classes)`.
        num_classes (`int`): Classes counted, including those absent from `labels`.

    Returns:
        `float`: In [0, 1]; a class with no true and no predicted clip contributes 0.

    Raises:
        ValueError: As [`confusion`].
    """
    return float(uf1_of(confusion(predictions, labels, num_classes)))


def uar(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Unweighted average recall: the mean over classes of the share of a class's clips that are recognised.

    Args:
        predictions (`np.ndarray` of shape `(num_clips,)`): Class indices, one per clip.
        labels (`np.ndarray` of shape `(num_clips,)`): True class indices in `[0, num_classes)`.
        num_classes (`int`): Classes counted, including those absent from `labels`.

    Returns:
        `float`: In [0, 1]; a class without clips contributes 0.

    Raises:
        ValueError: As [`confusion`].
    """
    return float(uar_of(confusion(predictions, labels, num_classes)))


def accuracy(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Share of clips that are recognised.

    Args:
        predictions (`np.ndarray` of shape `(num_clips,)`): Class indices, one per clip.
        labels (`np.ndarray` of shape `(num_clips,)`): True class indices in `[0, num_classes)`.
        num_classes (`int`): Classes that may occur.

    Returns:
        `float`: In [0, 1].

    Raises:
        ValueError: As [`confusion`].
    """
    return float(accuracy_of(confusion(predictions, labels, num_classes)))


def bootstrap_values(
    metric_of: Callable[[np.ndarray], np.ndarray],
    predictions: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    num_classes: int,
    draws: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """A metric when subjects, with all their clips, are drawn again with replacement.

    Args:
        metric_of (`Callable`): Stack of confusion matrices `(draws, C, C)` -> `(draws,)`, e.g. [`uf1_of`].
        predictions (`np.ndarray` of shape `(num_clips,)`): Class indices, one per clip.
        labels (`np.ndarray` of shape `(num_clips,)`): True class indices in `[0, num_classes)`.
        subjects (`np.ndarray` of shape `(num_clips,)`): Who is seen; unique over all data sets.
        num_classes (`int`): Classes counted, including those absent from `labels`.
        draws (`int`, *optional*, defaults to 2000): Times the subjects are drawn.
        seed (`int`, *optional*, defaults to 0): Of the draws; the same subjects are drawn for the same seed.

    Returns:
        `np.ndarray` of shape `(draws,)`: A class that no drawn subject shows counts 0.

    Raises:
        ValueError: As [`confusion`], or if there are fewer than two subjects.
    """
    predictions, labels, subjects = np.asarray(predictions), np.asarray(labels), np.asarray(subjects)
    _check_classes(predictions, labels, num_classes)
    if subjects.shape != labels.shape:
        raise ValueError(f"expected one subject per clip, got {subjects.shape} for {labels.shape} labels.")
    names, who = np.unique(subjects, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"an interval over subjects needs at least two, got {len(names)}.")
    of_subject = np.zeros((len(names), num_classes, num_classes), dtype=np.int64)
    np.add.at(of_subject, (who, labels, predictions), 1)
    drawn = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    times = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
    return metric_of(np.einsum("ds,sij->dij", times, of_subject))


def subject_bootstrap(
    metric_of: Callable[[np.ndarray], np.ndarray],
    predictions: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    num_classes: int,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of a metric over subjects: the 2.5th and 97.5th percentile of [`bootstrap_values`]."""
    values = bootstrap_values(metric_of, predictions, labels, subjects, num_classes, draws, seed)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
