import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from mer_hf.data.flow_files import FlowMaps, read_flow_maps, write_flow_maps
from mer_hf.evaluation.fold_log import read_log, read_rows
from mer_hf.evaluation.run_report import write_report
from mer_hf.loading import load
from mer_hf.training import loop
from mer_hf.training.build import build_processor
from mer_hf.training.config import TrainingError
from mer_hf.training.folds import ProtocolRun, run_protocol
from mer_hf.training.recorded import read_recorded
from mer_hf.training.samples import to_inputs


def rows(config):
    with open(Path(config.output_dir) / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def ended(tmp_path_factory, maps_file):
    """A run with two seeds that has ended."""
    from mer_hf.training.config import TrainingConfig

    folder = tmp_path_factory.mktemp("ended") / "run"
    config = TrainingConfig(
        output_dir=str(folder), data=f"flows:{maps_file}", protocol="loso", num_seeds=2, epochs=6,
        batch_size=8,
        config={"hidden_size": 12, "depths": [1, 1, 1], "hidden_dropout_prob": 0.1}, lr=3e-3,
        processor={"mosaic": "corrected", "normalization": "standardize"},
    )  # fmt: skip
    run_protocol(config)
    return config


def test_every_clip_is_tested_once_per_seed_by_a_network_that_has_not_seen_its_subject(ended):
    table = rows(ended)
    assert len(table) == 60 and len({(row["seed"], row["key"]) for row in table}) == 60
    split = json.loads((Path(ended.output_dir) / "splits.json").read_text())
    for row in table:
        trained_on = split[row["fold"]]["train"]
        assert row["key"] in split[row["fold"]]["test"]
        assert not any(key.startswith(row["subject"] + "/") for key in trained_on)
        assert row["epoch"] == "6" and row["selection"] == "last"


def test_a_fold_leaves_the_checkpoint_that_gave_its_predictions(ended):
    fold = Path(ended.output_dir) / "folds" / "seed1-b-s3"
    model, processor = load(str(fold))
    data = read_flow_maps(ended.data.removeprefix("flows:"))
    pixels = to_inputs(processor, data.flow[data.subject == "s3"])
    probabilities = model.eval()(pixel_values=pixels).logits.softmax(-1).detach().numpy()
    logged = read_log(Path(ended.output_dir) / "predictions.csv")
    own = logged.of((logged.folds == "b-s3") & (logged.seeds == 1))
    assert np.allclose(probabilities, own.probabilities, atol=1e-5)


def test_the_report_is_what_scikit_learn_computes_from_the_log(ended):
    numbers = json.loads((Path(ended.output_dir) / "report.json").read_text())
    for seed, expected_uf1, expected_uar in zip(
        ("0", "1"), numbers["uf1_by_seed"], numbers["uar_by_seed"], strict=True
    ):
        pairs = [(row["label"], row["prediction"]) for row in rows(ended) if row["seed"] == seed]
        labels, predictions = zip(*pairs, strict=True)
        options = {"labels": ["negative", "positive", "surprise"], "average": "macro", "zero_division": 0}
        assert f1_score(labels, predictions, **options) == pytest.approx(expected_uf1, abs=1e-12)
        assert recall_score(labels, predictions, **options) == pytest.approx(expected_uar, abs=1e-12)
    assert numbers["uf1"] == pytest.approx(np.mean(numbers["uf1_by_seed"]))
    assert numbers["uf1"] > 0.5  # the class can be seen in these maps
    assert numbers["uf1_interval"][0] < numbers["uf1"] < numbers["uf1_interval"][1] <= 1
    assert set(numbers["per_dataset"]) == {"a", "b"}
    assert set(numbers["baselines_uf1"]) == {"majority class", "small flow CNN"}


def test_the_report_can_be_made_again_from_the_files_to_the_last_digit(ended):
    folder = Path(ended.output_dir)
    before = {name: (folder / name).read_bytes() for name in ("report.md", "report.html", "report.json")}
    for name in before:
        (folder / name).unlink()
    write_report(folder)
    assert before == {name: (folder / name).read_bytes() for name in before}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_log_from_scratch(ended, tmp_path):
    again = replace(ended, output_dir=str(tmp_path / "again"))
    run_protocol(again)
    for name in ("predictions.csv", "baselines.csv", "report.json"):
        assert (tmp_path / "again" / name).read_bytes() == (Path(ended.output_dir) / name).read_bytes()


def with_other_labels_of(maps_file, tmp_path, subject):
    """The same file with the labels of one subject turned round."""
    data = read_flow_maps(maps_file)
    label = data.label.copy()
    label[data.subject == subject] = (label[data.subject == subject] + 1) % 3
    write_flow_maps(tmp_path / "other.npz", FlowMaps(data.flow, label, data.subject, data.dataset))
    return f"flows:{tmp_path / 'other.npz'}"


def predictions_of_fold(config, name):
    """Train and test one fold alone."""
    processor = build_processor(config)
    run = ProtocolRun(config, read_recorded(config, processor), processor)
    run.start(rank=0)
    run.train(name)
    return read_rows(run.folder(name) / "predictions.csv")


@pytest.mark.parametrize("selection", ["last", "inner"])
def test_no_label_of_a_tested_clip_changes_its_prediction(protocol_run, maps_file, tmp_path, selection):
    first = protocol_run("first", selection=selection)
    second = replace(
        first, output_dir=str(tmp_path / "second"), data=with_other_labels_of(maps_file, tmp_path, "s3")
    )
    logs = [predictions_of_fold(config, "seed0-b-s3") for config in (first, second)]
    answers = [{row["key"]: (row["p_negative"], row["epoch"]) for row in log} for log in logs]
    assert answers[0] == answers[1] and len(answers[0]) == 6
    assert [row["label"] for row in logs[0]] != [row["label"] for row in logs[1]]
    assert {row["selection"] for row in logs[0]} == {selection}


def test_the_oracle_takes_the_best_epoch_on_the_tested_clips_and_nobody_can_overlook_it(protocol_run):
    config = protocol_run(selection="oracle-epoch", epochs=5, protocol="kfold", folds=2, baselines="no")
    run_protocol(config)
    folder = Path(config.output_dir)
    assert {row["selection"] for row in rows(config)} == {"test-selected"}
    for fold in (folder / "folds").iterdir():
        scores = [json.loads(line)["score"] for line in (fold / "epochs.jsonl").read_text().splitlines()]
        own = [row for row in rows(config) if f"seed0-{row['fold']}" == fold.name]
        best = max(epoch for epoch, score in enumerate(scores, start=1) if score == max(scores))
        assert {int(row["epoch"]) for row in own} == {best} and len(scores) == 5
        right = np.mean([row["label"] == row["prediction"] for row in own])
        assert right == pytest.approx(max(scores))
    for name in ("report.md", "report.html"):
        text = (folder / name).read_text()
        assert "TEST-SELECTED, not a measurement" in text
        for metric in ("UF1", "UAR", "accuracy"):
            assert f"{metric} (test-selected)" in text
    numbers = json.loads((folder / "report.json").read_text())
    assert "uf1_test_selected" in numbers and "uf1" not in numbers


def test_an_interrupted_run_continues_where_it_was(protocol_run, monkeypatch):
    settings = {"protocol": "kfold", "folds": 2, "baselines": "no", "selection": "inner"}
    whole, config = protocol_run("whole", **settings), protocol_run("killed", **settings)
    run_protocol(whole)
    original, steps = loop.Trainer._step, []

    def stop(self, batches):
        steps.append(0)
        if len(steps) == 9:
            raise KeyboardInterrupt
        return original(self, batches)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Trainer, "_step", stop)
        run_protocol(config)
    # A process lets go of its folds when it ends; here it lives on.
    run_protocol(replace(config, resume=True))
    assert rows(config) == rows(whole)


def test_a_finished_run_is_not_done_again(ended, monkeypatch, capsys):
    monkeypatch.setattr(ProtocolRun, "train", lambda *_: pytest.fail("trained again"))
    run_protocol(replace(ended, resume=True))
    assert "0 trainings left" in capsys.readouterr().out


def test_the_plan_writes_nothing(protocol_run, capsys, tmp_path):
    run_protocol(protocol_run(dry_run=True))
    text = capsys.readouterr().out
    assert "30 clips of 5 subjects" in text and "5 trainings" in text and "optimizer steps" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "flows:absent.npz"}, r"--data flows:absent\.npz: absent\.npz cannot be read"),
        ({"protocol": "kfold", "folds": 9}, "expected 2 to 5 folds for 5 subjects, got 9"),
        ({"protocol": "cross", "test_on": "c"}, "there is no data ?set c"),
        ({"protocol": "cde", "classes": "a,b,c,d"}, "the composite has 3 classes, got 4"),
        ({"classes": "a,b"}, "labels lie in 0 to 2, but there are 2 classes"),
        ({"model": "mmnet", "config": {}, "processor": {}}, "mmnet looks at faces"),
    ],
)
def test_mistakes_are_told_in_one_line(protocol_run, tmp_path, changes, message):
    with pytest.raises(TrainingError, match=message):
        run_protocol(protocol_run(**changes))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_and_other_data_are_refused(protocol_run, tmp_path, maps_file, ended):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.doc").touch()
    with pytest.raises(TrainingError, match=r"is not empty\. Add --resume"):
        run_protocol(protocol_run())
    with pytest.raises(TrainingError, match="has other clips or labels than the run"):
        run_protocol(replace(ended, resume=True, data=with_other_labels_of(maps_file, tmp_path, "s3")))


def test_a_log_that_was_changed_is_refused(ended, tmp_path):
    folder = Path(ended.output_dir)
    for name in ("train_config.json", "predictions.csv", "splits.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    text = (tmp_path / "predictions.csv").read_text().splitlines(keepends=True)
    for changed, message in (
        ([*text, text[1]], "a clip more than once"),
        ([*text[:-1], text[-1][:30]], "cells where the header has"),
        ([*text[:-1], text[-1].replace(",last,", ",test-selected,")], "mixes ways to choose an epoch"),
        (["key,label\n", "a,b\n"], "lacks the column subject"),
    ):
        (tmp_path / "predictions.csv").write_text("".join(changed))
        with pytest.raises(ValueError, match=message):
            write_report(tmp_path)
    with pytest.raises(ValueError, match=r"holds no train_config\.json"):
        write_report(tmp_path / "absent")
