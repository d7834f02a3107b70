"""Publish a run with a protocol as one repository: the weights of all folds, and what its numbers come from.

    README.md, *.json, *.py, model.safetensors    one fold, loaded by the repository's name alone
    folds/seed0-casme2-sub01/    a fold, named as in the run: weights, config.json, preprocessor_config.json
    splits.json                  fold -> keys of its training and test clips
    predictions.csv              the log: the prediction for each test clip
    report.json, train_config.json

Folds are subfolders rather than revisions: all of them are one commit, whereas revisions need a commit and a
tag each and can be published by half. transformers looks for code files only at the root, so they are there.

A name alone is what people load, so the root holds one of the folds: the one that was trained on the most
clips, which is nearest to a network trained on all. Scores play no part in the choice. Its file equals the
fold's and is stored once.

Labels of single clips belong to the datasets, so the log is published without them. The report has a hash of
keys, subjects and labels: with it, owners of the data can tell whether theirs are the same.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mer_hf.evaluation.fold_log import FoldLog, read_log, read_rows, read_split, training_name, write_rows
from mer_hf.evaluation.run_report import METRICS, RECORD_KINDS, TEST_SELECTED, read_report, score
from mer_hf.loading import read_settings
from mer_hf.training.config import read_record
from mer_hf.utils.untrusted import INDEX, read_json

from .folder import Source, link_or_copy, read_source, refuse_unsafe

FOLDS, SPLITS, PREDICTIONS, RECORD, REPORT = (
    "folds", "splits.json", "predictions.csv", "train_config.json", "report.json",
)  # fmt: skip
PER_FOLD = ("config.json", "preprocessor_config.json", INDEX)


@dataclass(frozen=True)
class Run:
    """A finished run with a protocol.

    Attributes:
        path (`Path`): Its folder.
        report (`dict`): report.json.
        trainings (`dict[str, Source]`): Name of a training (`seed0-casme2-sub01`) -> its checkpoint, in the
            order of the seeds and of splits.json.
        default (`str`): Name of the training that the root of the repository holds.
    """

    path: Path
    report: dict[str, Any]
    trainings: dict[str, Source]
    default: str

    def facts(self) -> dict[str, Any]:
        """Return what the card says about the folds."""
        return {"count": len(self.trainings), "seeds": len(self.report["seeds"]), "default": self.default}

    def other(self) -> str:
        """Name a training that is not at the root, if there is one."""
        return next((name for name in self.trainings if name != self.default), self.default)


def is_run(path: Path) -> bool:
    """Tell whether a folder is a run with a protocol, finished or not, rather than a checkpoint."""
    return (path / SPLITS).is_file() or ((path / FOLDS).is_dir() and not (path / "config.json").is_file())


def shorten(names: list[str], most: int = 3) -> str:
    """Join the first names, and count the rest."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def read_run(path: Path) -> Run:
    """Read a run's folder, and refuse it if it is not complete, consistent and safe to publish."""
    refuse_unsafe(path)
    record = read_record(path / RECORD)
    if not record.get("protocol"):
        raise ValueError(f"the run in {path} has no protocol. Publish the checkpoint in it.")
    record, splits = read_json(path / RECORD, RECORD_KINDS), read_split(path / SPLITS)
    seeds = range(record["seed"], record["seed"] + record["num_seeds"])
    names = [training_name(fold, seed) for seed in seeds for fold in splits]
    _refuse_unfinished(path, names, record)
    report, log = read_report(path / REPORT), read_log(path / PREDICTIONS)
    read_split(path / SPLITS, read_rows(path / PREDICTIONS), seeds)
    _refuse_other_numbers(path, report, log)
    trainings = {name: read_source(path / FOLDS / name) for name in names}
    _refuse_differences(trainings, record)
    largest = max(splits, key=lambda fold: len(splits[fold]["train"]))
    return Run(path, report, trainings, training_name(largest, seeds[0]))


def _refuse_unfinished(path: Path, names: list[str], record: dict[str, Any]) -> None:
    missing = [name for name in names if not any((path / FOLDS / name).glob("model.safetensors*"))]
    if missing:
        advice = "Continue it with the same flags and --resume."
        if record.get("drop_fold_weights"):
            advice = "It was trained with --drop-fold-weights: train it again without that flag."
        raise ValueError(
            f"the run in {path} cannot be published: {len(missing)} of {len(names)} folds have no weights "
            f"({shorten(missing)}). {advice}"
        )


def _refuse_other_numbers(path: Path, report: dict[str, Any], log: FoldLog) -> None:
    for name, value in numbers_of(log).items():
        if report.get(name) is None or abs(report[name] - value) > 1e-9:
            raise ValueError(
                f"{path / REPORT} says {name} {report.get(name)}, but its log gives {value}. Recreate it: "
                f"mer-hf report {path}."
            )


def numbers_of(log: FoldLog) -> dict[str, float]:
    """Compute the metrics of a log under their names in report.json, which say what was test-selected."""
    suffix = "_test_selected" if TEST_SELECTED in log.selections else ""
    scores = score(log, intervals=False)
    return {name.lower() + suffix: scores.mean(name) for name in METRICS}


def _refuse_differences(trainings: dict[str, Source], record: dict[str, Any]) -> None:
    """Refuse folds with another architecture, image processor or classes than the run."""
    first, *_ = trainings
    processor = read_json(trainings[first].path / "preprocessor_config.json")
    for name, source in trainings.items():
        if read_json(source.path / "preprocessor_config.json") != processor:
            raise ValueError(f"the folds {first} and {name} have different image processors.")
        if source.architecture.key != record["model"]:
            raise ValueError(f"fold {name} is a {source.architecture.key}, the run a {record['model']}.")
        labels = list(read_settings(source.path)[0].id2label.values())
        if labels != list(record["class_names"]):
            raise ValueError(f"fold {name} has other classes than the run: {', '.join(labels)}.")


def make_root(run: Run, folder: Path) -> Source:
    """Make the checkpoint for the root: the default fold with the run's report and record."""
    _copy_fold(run.trainings[run.default], folder)
    for name in (RECORD, REPORT):
        shutil.copyfile(run.path / name, folder / name)
    return read_source(folder)


def add_folds(run: Run, folder: Path) -> None:
    """Put folds, split and log beside the root's checkpoint."""
    for training, source in run.trainings.items():
        _copy_fold(source, folder / FOLDS / training)
    shutil.copyfile(run.path / SPLITS, folder / SPLITS)
    rows = read_rows(run.path / PREDICTIONS)
    write_rows(folder / PREDICTIONS, [{k: v for k, v in row.items() if k != "label"} for row in rows])


def _copy_fold(source: Source, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in (*source.weights, *PER_FOLD):
        if (source.path / name).is_file():
            link_or_copy(source.path / name, folder / name)
