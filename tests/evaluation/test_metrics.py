import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from mer_hf.evaluation import metrics

# predictions, labels, classes, UF1, UAR, accuracy; worked by hand
TABLE = [
    ([0, 1, 2], [0, 1, 2], 3, 1.0, 1.0, 1.0),
    # always "negative" on 2, 1, 1 clips: F1 = 2*2/(4+2) = 2/3, 0, 0; recall 1, 0, 0
    ([0, 0, 0, 0], [0, 0, 1, 2], 3, 2 / 9, 1 / 3, 1 / 2),
    # the third class does not occur and is still counted
    ([0, 1], [0, 1], 3, 2 / 3, 2 / 3, 1.0),
    # class 2 is predicted once and never true: F1 = 2/3 (TP 1, FN 1), 1, 0; recall 1/2, 1, 0
    ([0, 2, 1], [0, 0, 1], 3, 5 / 9, 1 / 2, 2 / 3),
    # class 0: TP 2 FP 1 FN 1, class 1: TP 1 FP 1 FN 1 -> F1 4/6, 2/4; recall 2/3, 1/2
    ([0, 0, 1, 0, 1], [0, 0, 0, 1, 1], 2, 7 / 12, 7 / 12, 3 / 5),
    # everything wrong
    ([1, 0], [0, 1], 2, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("predictions", "labels", "classes", "uf1", "uar", "accuracy"), TABLE)
def test_metrics_equal_the_values_worked_by_hand(predictions, labels, classes, uf1, uar, accuracy):
    assert metrics.uf1(predictions, labels, classes) == pytest.approx(uf1, abs=1e-12)
    assert metrics.uar(predictions, labels, classes) == pytest.approx(uar, abs=1e-12)
    assert metrics.accuracy(predictions, labels, classes) == pytest.approx(accuracy, abs=1e-12)


def test_confusion_has_true_classes_in_rows():
    matrix = metrics.confusion([1, 1, 0], [0, 0, 0], 3)
    assert matrix.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 0]]
    assert metrics.f1_of(matrix).tolist() == [0.5, 0.0, 0.0]


def test_always_negative_scores_what_the_composite_is_known_to_give():
    labels = np.repeat([0, 1, 2], [250, 109, 83])  # the 442 clips of the MEGC2019 composite
    predictions = np.zeros_like(labels)
    assert round(metrics.uf1(predictions, labels, 3), 3) == 0.241
    assert round(metrics.uar(predictions, labels, 3), 3) == 0.333
    assert round(metrics.accuracy(predictions, labels, 3), 3) == 0.566


def test_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    for clips in (5, 40, 300):
        labels, predictions = rng.integers(0, 4, (2, clips))
        macro = f1_score(labels, predictions, labels=range(4), average="macro", zero_division=0)
        assert metrics.uf1(predictions, labels, 4) == pytest.approx(macro, abs=1e-12)
    assert metrics.uar(predictions, labels, 4) == pytest.approx(balanced_accuracy_score(labels, predictions))


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        ([0, 1], [0], r"one prediction and one label per clip, got shapes \(2,\) and \(1,\)"),
        ([], [], "one prediction and one label per clip"),
        ([0.2, 0.8], [0, 1], "predictions must be class indices in 0 to 2, got float64"),
        ([0, 3], [0, 1], "predictions must be class indices in 0 to 2, got int64 from 0 to 3"),
        ([0, 1], [0, -1], "labels must be class indices in 0 to 2, got int64 from -1 to 0"),
    ],
)
def test_what_is_not_class_indices_is_refused(predictions, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.uf1(np.array(predictions), np.array(labels), 3)


def interval(metric_of, predictions, labels, subjects, classes, **options):
    values = metrics.bootstrap_values(metric_of, predictions, labels, subjects, classes, **options)
    return metrics.interval_of(values)


def test_bootstrap_of_two_subjects_spans_their_own_scores():
    # One subject is always right, the other always wrong: a draw is both right, one of each, or both wrong.
    predictions, labels = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1])
    subjects = np.array(["a", "a", "b", "b"])
    assert interval(metrics.uf1_of, predictions, labels, subjects, 2) == (0.0, 1.0)


def test_bootstrap_draws_subjects_and_not_clips():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 100)
    right = np.repeat(rng.random(10) < 0.5, 20)  # each of ten subjects is wholly right or wholly wrong
    predictions = np.where(right, labels, 1 - labels)
    by_subject = interval(metrics.accuracy_of, predictions, labels, np.repeat(range(10), 20), 2)
    by_clip = interval(metrics.accuracy_of, predictions, labels, np.arange(200), 2)
    assert by_subject[1] - by_subject[0] > 3 * (by_clip[1] - by_clip[0])
    # Of ten independent subjects with share p right, the standard error is sqrt(p (1 - p) / 10).
    share = right.mean()
    assert by_subject[1] - by_subject[0] == pytest.approx(3.92 * np.sqrt(share * (1 - share) / 10), rel=0.15)


def test_bootstrap_is_a_function_of_its_seed():
    rng = np.random.default_rng(1)
    labels, predictions, subjects = rng.integers(0, 3, (3, 60))
    runs = [
        interval(metrics.uar_of, predictions, labels, subjects, 3, draws=50, seed=seed) for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_bootstrap_of_one_subject_is_refused():
    with pytest.raises(ValueError, match="at least two, got 1"):
        interval(metrics.uf1_of, np.array([0, 1]), np.array([0, 1]), np.array(["a", "a"]), 2)
