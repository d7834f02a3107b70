"""A report is computed from the log of a run alone."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from mer_hf.data.table import task_digest
from mer_hf.evaluation import metrics
from mer_hf.evaluation.fold_log import read_log, read_rows, rows_of, write_rows
from mer_hf.evaluation.run_report import score, write_report
from mer_hf.utils.provenance import sha256_of

CLASSES = ("negative", "positive", "surprise")
SETTING = {
    "protocol": "loso", "class_names": CLASSES, "model": "htnet", "data": "flows:maps.npz",
    "given": "flow maps", "clips_sha256": "a" * 64, "splits_sha256": "b" * 64, "recipe": "",
    "init_from": "", "seed": 0, "num_seeds": 1,
    "mer_hf": "0.1.0", "commit": "c", "torch": "2", "device": "cpu",
}  # fmt: skip


def write_split(folder, sides):
    (folder / "splits.json").write_text(json.dumps(sides))
    log = read_log(folder / "predictions.csv")
    clips_sha256 = task_digest(log.keys, log.subjects, np.array(CLASSES)[log.labels])
    setting = SETTING | {"clips_sha256": clips_sha256, "splits_sha256": sha256_of(folder / "splits.json")}
    (folder / "train_config.json").write_text(json.dumps(setting))


def run_folder(folder, selection="last"):
    rng = np.random.default_rng(0)
    subjects = np.repeat([f"a/s{i}" for i in range(5)], 4)
    keys = np.array([f"{name}/{i}" for i, name in enumerate(subjects)])
    table = SimpleNamespace(
        keys=keys, datasets=np.full(20, "a"), subjects=subjects, labels=np.arange(20) % 3, class_names=CLASSES
    )
    answers = rng.dirichlet([1, 1, 1], 20)
    about = {"seed": 0, "epoch": 3, "selection": selection}
    rows = [
        row
        for i in range(5)
        for row in rows_of(table, np.arange(20)[4 * i :][:4], answers[4 * i :][:4], fold=f"s{i}", **about)
    ]
    write_rows(folder / "predictions.csv", rows)
    sides = {
        f"s{i}": {"train": [k for k in keys if f"s{i}/" not in k], "test": keys[4 * i :][:4].tolist()}
        for i in range(5)
    }
    write_split(folder, sides)
    return answers.argmax(axis=1), table.labels


def test_a_report_shows_what_its_log_says(tmp_path):
    predictions, labels = run_folder(tmp_path)
    numbers = write_report(tmp_path)
    assert numbers["uf1"] == pytest.approx(metrics.uf1(predictions, labels, 3))
    assert numbers["confusion"] == metrics.confusion(predictions, labels, 3).tolist()
    assert numbers["uf1_interval"][0] < numbers["uf1"] < numbers["uf1_interval"][1]
    assert json.loads((tmp_path / "report.json").read_text()) == numbers
    text, page = ((tmp_path / name).read_text() for name in ("report.md", "report.html"))
    for words in (f"{numbers['uf1']:.3f}", "UF1 0.8603, UAR 0.8475", "leave one subject out"):
        assert words in text and words in page
    assert "TEST-SELECTED" not in text + page and score(read_log(tmp_path / "predictions.csv")).clips == 20


def test_what_was_selected_on_the_test_clips_says_so_everywhere(tmp_path):
    run_folder(tmp_path, "test-selected")
    numbers = write_report(tmp_path)
    assert "uf1_test_selected" in numbers and "uf1" not in numbers
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "TEST-SELECTED, not a measurement" in text and "UF1 (test-selected)" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: [rows[0] | {"label": "fear"}, *rows[1:]],
            "label 'fear' is not one of negative, positive",
        ),
        (lambda rows: [*rows, rows[0]], "holds a clip more than once"),
        (
            lambda rows: [rows[0] | {"selection": "inner"}, *rows[1:]],
            "mixes ways to choose an epoch: inner, last",
        ),
        (
            lambda rows: [{k: v for k, v in row.items() if k != "fold"} for row in rows],
            "lacks the column fold",
        ),
        (lambda rows: [rows[0] | {"p_positive": "x"}, *rows[1:]], "a probability is not a number"),
        (lambda rows: [rows[0] | {"p_positive": "nan"}, *rows[1:]], "fold s0 predicted NaN or inf"),
        (
            lambda rows: [rows[0] | {"p_positive": "0.9"}, *rows[1:]],
            "fold s0 has shares that do not sum to 1",
        ),
        (lambda rows: [rows[0] | {"epoch": "x"}, *rows[1:]], "epoch must be a number, got 'x'"),
        (
            lambda rows: [other_answer(rows[0]), *rows[1:]],
            r"fold s0 has a prediction that is not its largest probability \(clip a/s0/0",
        ),
        (lambda rows: rows[1:], r"disagree on 1 rows, the first .* \('0', 's0', 'a/s0/0'\)"),
    ],
)
def test_a_log_that_contradicts_itself_is_refused(tmp_path, change, message):
    run_folder(tmp_path)
    path = tmp_path / "predictions.csv"
    write_rows(path, change(read_rows(path)))
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path)


def other_answer(row):
    return row | {"prediction": min(CLASSES, key=lambda name: float(row[f"p_{name}"]))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sides: sides["s0"]["train"].append("a/s0/0"), "fold s0 trains on a/s0/0 and tests on it"),
        (
            lambda sides: sides["s0"]["train"].append("a/s0/3"),
            "fold s0 trains on subject a/s0 and tests on it",
        ),
        (lambda sides: sides["s0"]["train"].clear(), "fold s0 needs clips to train on"),
        (lambda sides: sides.update({"../s0": sides.pop("s0")}), "'../s0' is not a valid name of a fold"),
        (lambda sides: sides.update(s0=5), "must be dict"),
    ],
)
def test_a_split_that_leaks_is_refused(tmp_path, change, message):
    run_folder(tmp_path)
    sides = json.loads((tmp_path / "splits.json").read_text())
    if "subject" in message:  # clips of the subject are on both sides, no clip is
        sides["s1"]["test"].append(sides["s0"]["test"].pop())
        rows = read_rows(tmp_path / "predictions.csv")
        rows = [row | {"fold": "s1"} if row["key"] == "a/s0/3" else row for row in rows]
        write_rows(tmp_path / "predictions.csv", rows)
        sides["s1"]["train"].remove("a/s0/3")
    change(sides)
    write_split(tmp_path, sides)
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path)


def test_another_split_or_setting_than_the_run_s_is_refused(tmp_path):
    run_folder(tmp_path)
    setting = json.loads((tmp_path / "train_config.json").read_text())
    for change, words in (
        ({"num_seeds": 10**30}, "num_seeds must be at most 1000"),
        ({"class_names": "abc"}, "class_names must be list"),
        ({"protocol": "x"}, "protocol must be Literal"),
    ):
        (tmp_path / "train_config.json").write_text(json.dumps(setting | change))
        with pytest.raises(ValueError, match=words):
            write_report(tmp_path)
    del setting["recipe"], setting["commit"]
    (tmp_path / "train_config.json").write_text(json.dumps(setting))
    write_report(tmp_path)
    with open(tmp_path / "splits.json", "a") as file:
        file.write("\n")
    with pytest.raises(ValueError, match="is not the split that the run was trained with"):
        write_report(tmp_path)


def test_a_folder_without_a_protocol_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no train_config\.json"):
        write_report(tmp_path)
    (tmp_path / "train_config.json").write_text("{}")
    with pytest.raises(ValueError, match="has no protocol"):
        write_report(tmp_path)
