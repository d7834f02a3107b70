import numpy as np
import pytest
import torch

from mer_hf.data import splits
from mer_hf.data.table import ClipTable
from mer_hf.evaluation.run_report import DESCRIPTIONS
from mer_hf.training.baselines import available, baseline_rows, rule_of_action_units
from mer_hf.training.recorded import Recorded

CLASSES = ("negative", "positive", "surprise")


def recorded(dataset="casme2", videos=None, **extras):
    """Six people with five clips each; action units give the class away."""
    subjects = np.repeat([f"{dataset}/s{i}" for i in range(6)], 5)
    labels = np.tile([0, 0, 0, 1, 2], 6)
    table = ClipTable(
        keys=np.array([f"{who}/{i}" for i, who in enumerate(subjects)]), datasets=np.full(30, dataset),
        subjects=subjects, labels=labels, class_names=CLASSES,
        videos=np.full(30, "") if videos is None else videos(labels), intervals=np.full((30, 2), -1),
    )  # fmt: skip
    units = [[{"AU4"}, {"AU12"}, {"AU1", "AU2"}][label] for label in labels]
    given = {"action_units": units, **extras}
    inputs = {"pixel_values": torch.zeros(30, 1)}
    return Recorded(table, inputs, {k: v for k, v in given.items() if v is not None}, "")


def accuracy(data, name):
    folds = splits.leave_one_subject_out(data.table)
    rows = [row for row in baseline_rows(data, folds, 0) if row["selection"] == name]
    assert len(rows) == 30 and len({row["key"] for row in rows}) == 30
    return np.mean([row["label"] == row["prediction"] for row in rows])


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ({"AU12"}, "positive"),
        ({"AU12", "AU4"}, "negative"),
        ({"AU6", "AU12"}, "positive"),
        ({"AU1", "AU2"}, "surprise"),
        ({"AU5", "AU12"}, "positive"),
        ({"AU1", "AU4"}, "negative"),
        ({"AU7"}, "negative"),
        (set(), "negative"),
    ],
)
def test_the_hand_rule(units, expected):
    assert rule_of_action_units(units) == expected


def test_the_majority_is_that_of_the_training_clips():
    assert accuracy(recorded(), "majority class") == pytest.approx(0.6)


def test_action_units_that_give_the_class_away_are_found_out():
    assert accuracy(recorded(), "AU rule") == 1 and accuracy(recorded(), "AUs, logistic regression") == 1


def test_a_film_that_gives_the_class_away_is_found_out():
    def films(labels):
        return np.array([f"casme3/spNO.1/{'abj'[label]}" for label in labels])

    assert accuracy(recorded("casme3", films), "film letter") == 1
    assert "film letter" not in available(recorded("casme2", films), 0)


def test_a_small_network_learns_what_maps_show():
    data = recorded()
    flow = np.random.default_rng(0).integers(100, 150, (30, 28, 28, 3), dtype=np.uint8)
    for label in range(3):
        flow[data.table.labels == label, 9 * label : 9 * label + 9, :, 1] += 60
    assert accuracy(recorded(flow=flow), "small flow CNN") > 0.9


def test_what_the_data_do_not_have_is_no_baseline():
    assert set(available(recorded(action_units=None), 0)) == {"majority class"}
    assert set(available(recorded(action_units=[set()] * 30), 0)) == {"majority class"}
    assert set(DESCRIPTIONS) >= set(available(recorded(flow=np.zeros((30, 28, 28, 3), np.uint8)), 0))


def test_a_fold_trained_on_one_class_answers_it():
    data = recorded()
    folds = [splits.Fold("x", np.arange(3), np.arange(5, 10))]
    rows = [row for row in baseline_rows(data, folds, 0) if row["selection"] == "AUs, logistic regression"]
    assert {row["prediction"] for row in rows} == {"negative"}
