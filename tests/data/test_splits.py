import json

import numpy as np
import pytest

from mer_hf.data import splits
from mer_hf.data.splits import Fold
from mer_hf.data.table import ClipTable, joined

CLASSES = ("negative", "positive", "surprise")


def table(people=6, each=4, dataset="a", **changes):
    names = np.repeat([f"{dataset}/s{i}" for i in range(people)], each)
    count = len(names)
    columns = {
        "keys": np.array([f"{name}/{i}" for i, name in enumerate(names)]),
        "datasets": np.full(count, dataset),
        "subjects": names,
        "labels": np.arange(count) % 3,
        "class_names": CLASSES,
        "videos": np.full(count, ""),
        "intervals": np.full((count, 2), -1),
    }
    return ClipTable(**{**columns, **changes})


def two_sets():
    return joined([table(), table(4, dataset="b")])


SPLITS = {
    "loso": splits.leave_one_subject_out,
    "kfold": lambda clips: splits.grouped_k_fold(clips, 3, seed=1),
    "cross": splits.cross_dataset,
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_no_subject_is_in_train_and_test_and_every_clip_is_tested_once(split):
    clips = two_sets()
    folds = split(clips)
    for fold in folds:
        assert not set(clips.subjects[fold.train]) & set(clips.subjects[fold.test])
        assert sorted([*fold.train, *fold.test]) == list(range(len(clips)))
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(clips)))


def test_one_fold_per_subject_even_if_two_datasets_use_the_same_name():
    clips = two_sets()
    assert len(splits.leave_one_subject_out(clips)) == 10
    assert [fold.name for fold in splits.leave_one_subject_out(clips)][:2] == ["a-s0", "a-s1"]


def test_folds_of_whole_subjects_depend_on_the_seed_alone():
    clips = two_sets()
    first, again, other = (splits.grouped_k_fold(clips, 3, seed=seed) for seed in (1, 1, 2))
    assert splits.digest(clips, first) == splits.digest(clips, again) != splits.digest(clips, other)


def test_data_sets_can_be_named_on_either_side():
    clips = joined([table(), table(dataset="b"), table(dataset="c")])
    (fold,) = splits.cross_dataset(clips, test_on=["b"])
    assert set(clips.datasets[fold.train]) == {"a", "c"} and set(clips.datasets[fold.test]) == {"b"}
    (fold,) = splits.cross_dataset(clips, train_on=["a"], test_on=["b"])
    assert set(clips.datasets[fold.train]) == {"a"} and fold.name == "b"
    assert len(splits.cross_dataset(clips)) == 3


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"test_on": ["x"]}, "there is no dataset x in the table. Choose from a, b"),
        ({"train_on": ["a"], "test_on": ["a"]}, "a is trained on and tested on"),
        ({"test_on": ["a", "b"]}, "nothing is left to train on"),
        ({"train_on": ["a", "b"]}, "nothing is left to test on"),
    ],
)
def test_wrong_sides_are_refused(sides, message):
    with pytest.raises(ValueError, match=message):
        splits.cross_dataset(two_sets(), **sides)


def test_a_leak_is_found_whoever_made_the_split():
    clips = two_sets()
    with pytest.raises(ValueError, match="fold x trains on subject a/s0 and tests on it"):
        splits.checked(clips, [Fold("x", np.array([0, 20]), np.array([1]))])
    with pytest.raises(ValueError, match="has no clip to test on"):
        splits.checked(clips, [Fold("x", np.array([0]), np.array([], int))])
    with pytest.raises(ValueError, match="tested in more than one fold"):
        splits.checked(clips, [Fold(name, np.array([0]), np.array([9])) for name in "xy"])


def test_overlapping_stretches_of_one_recording_are_a_leak_even_under_two_names():
    clips = table(2, 1, videos=np.array(["v", "v"]), intervals=np.array([[10, 20], [20, 30]]))
    with pytest.raises(ValueError, match="a/s1/1 overlaps a/s0/0, which it tests on"):
        splits.leave_one_subject_out(clips)
    apart = table(2, 1, videos=np.array(["v", "v"]), intervals=np.array([[10, 20], [21, 30]]))
    assert len(splits.leave_one_subject_out(apart)) == 2
    elsewhere = table(2, 1, videos=np.array(["v", "w"]), intervals=np.array([[10, 20], [20, 30]]))
    assert len(splits.leave_one_subject_out(elsewhere)) == 2


def test_the_inner_validation_takes_whole_subjects_of_the_training_side():
    clips = two_sets()
    fold = splits.leave_one_subject_out(clips)[0]
    fit, held = splits.inner_validation(clips, fold.train, 0.2, seed=0)
    assert sorted([*fit, *held]) == fold.train.tolist()
    assert not set(clips.subjects[fit]) & set(clips.subjects[held])
    with pytest.raises(ValueError, match="at least two training subjects"):
        splits.inner_validation(clips, np.arange(4), 0.2, seed=0)


def test_a_split_can_be_written_and_read(tmp_path):
    clips = two_sets()
    folds = splits.leave_one_subject_out(clips)
    text = splits.to_json(clips, folds)
    again = splits.from_keys(clips, json.loads(text))
    assert splits.digest(clips, again) == splits.digest(clips, folds)
    moved = json.loads(text)
    moved["a-s0"]["train"].append(moved["a-s0"]["test"][0])
    with pytest.raises(ValueError, match="trains on subject a/s0"):
        splits.from_keys(clips, moved)


def test_a_table_is_written_as_csv():
    header, first, *rest = table(1, 2, videos=np.array(["v", ""])).to_csv().splitlines()
    assert header == "key,dataset,subject,label,video,onset,offset"
    assert first == "a/s0/0,a,a/s0,negative,v,-1,-1" and len(rest) == 1


def test_equal_tables_have_equal_digests_whatever_their_order():
    clips = two_sets()
    order = np.arange(len(clips))[::-1]
    columns = ("keys", "datasets", "subjects", "labels", "videos", "intervals")
    turned = ClipTable(class_names=CLASSES, **{name: getattr(clips, name)[order] for name in columns})
    assert turned.digest() == clips.digest() != table().digest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": np.full(24, "k")}, "the key k occurs more than once"),
        ({"labels": np.full(24, 3)}, "labels lie in 3 to 3, but there are 3 classes"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        table(**changes)
