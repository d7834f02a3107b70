"""Whether the intervals that were spotted in a long video are those that are there."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment


def interval_iou(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair of intervals.

    Args:
        found (`np.ndarray` of shape `(N, 2)`): Start and end of each, in any unit.
        truth (`np.ndarray` of shape `(M, 2)`): As `found`.

    Returns:
        `np.ndarray` of shape `(N, M)`: In [0, 1].
    """
    low = np.maximum(found[:, None, 0], truth[None, :, 0])
    high = np.minimum(found[:, None, 1], truth[None, :, 1])
    common = np.clip(high - low, 0, None)
    union = np.diff(found, axis=1) + np.diff(truth, axis=1).T - common
    return common / np.maximum(union, 1e-12)


def interval_counts(
    found: Sequence[tuple[float, float]], truth: Sequence[tuple[float, float]], least_iou: float = 0.5
) -> np.ndarray:
    """Right, wrong and missed intervals of one video, by the rule of the MEGC challenges.

    An interval is right where its intersection with a true one is at least half of their union; no true one
    is found twice. Counts of several videos are added before precision, recall and F1 are computed.

    Args:
        found (`Sequence[tuple[float, float]]`): Start and end of each interval that was spotted.
        truth (`Sequence[tuple[float, float]]`): Of those that are there.
        least_iou (`float`, *optional*, defaults to 0.5): What counts as the same.

    Returns:
        `np.ndarray` of shape `(3,)`: int64; right, wrong, missed.

    Raises:
        ValueError: If an interval ends before it starts.
    """
    spans = [np.asarray(each, dtype=np.float64).reshape(-1, 2) for each in (found, truth)]
    if any((each[:, 1] < each[:, 0]).any() for each in spans):
        raise ValueError("expected intervals (start, end) with start <= end. Check the order.")
    same = interval_iou(*spans) >= least_iou
    right = int(same[linear_sum_assignment(same, maximize=True)].sum())
    return np.array([right, len(found) - right, len(truth) - right])
