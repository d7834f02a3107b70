"""A run with a protocol as one repository: the weights of all folds, and what its numbers are computed from.

    README.md, *.json, *.py, model.safetensors    one fold, loaded by the repository's name alone
    folds/seed0-casme2-sub01/    a fold, named as in the run: weights, config.json, preprocessor_config.json
    splits.json                  fold -> keys of its training and its tested clips
    predictions.csv              the log: what each tested clip was answered
    report.json, train_config.json

Folds are subfolders and not revisions: all of them are one commit, which is there or not, where revisions
need a commit and a tag each and can be published by half; and they are read with
`from_pretrained(name, subfolder="folds/seed0-casme2-sub01", trust_remote_code=True)`. transformers looks for
code files at the root only, so that is where they are, once.

The root holds one of the folds, because a name alone is what people load: the one that was trained on the
most clips, the nearest to a network that was trained on all. No score plays a part in the choice. Its file is
the same as the fold's and is stored once.

Labels of single clips belong to the data sets and stay here: the log is published without them. Whoever has
the data has them, and the report's hash of keys, subjects and labels says whether they are the same.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from mer_hf.evaluation.fold_log import FoldLog, read_log, read_rows, training_name, write_rows
from mer_hf.evaluation.run_report import METRICS, TEST_SELECTED, score
from mer_hf.registry import Architecture

from .folder import INDEX, WEIGHTS, Source, place, read_source, refuse_unsafe

FOLDS, SPLITS, PREDICTIONS, RECORD, REPORT = (
    "folds", "splits.json", "predictions.csv", "train_config.json", "report.json",
)  # fmt: skip
PER_FOLD = ("config.json", "preprocessor_config.json", INDEX)
SHOWN = 3
"""Names in a message, before it counts the others."""


@dataclass(frozen=True)
class Run:
    """A run with a protocol that has ended.

    Attributes:
        path (`Path`): Its folder.
        record (`dict`): train_config.json.
        report (`dict`): report.json.
        trainings (`dict[str, Source]`): Name of a training (`seed0-casme2-sub01`) -> its checkpoint, in the
            order of the seeds and of splits.json.
        default (`str`): Name of the training that the root of the repository holds.
    """

    path: Path
    record: dict[str, Any]
    report: dict[str, Any]
    trainings: dict[str, Source]
    default: str

    def said(self) -> dict[str, Any]:
        """What the card says about the folds."""
        return {"count": len(self.trainings), "seeds": len(self.report["seeds"]), "default": self.default}

    def other(self) -> str:
        """A training that is not at the root, if there is one."""
        return next((name for name in self.trainings if name != self.default), self.default)


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run with a protocol, ended or not, and no checkpoint."""
    return (path / SPLITS).is_file() or ((path / FOLDS).is_dir() and not (path / "config.json").is_file())


def read_json(path: Path) -> dict[str, Any]:
    """An object in a file that a run must have.

    Raises:
        ValueError: In one line, if it is not there, or no JSON object.
    """
    if not path.is_file():
        raise ValueError(f"{path.parent} lacks {path.name}. Is the run finished? Go on with --resume.")
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold an object, got {type(found).__name__}.")
    return found


def some(names: list[str]) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def read_run(path: Path) -> Run:
    """Look at a run's folder and refuse what must not be published.

    Args:
        path (`Path`): What `train.py --protocol` left.

    Returns:
        [`Run`]: All that may leave.

    Raises:
        ValueError: In one line, if it is half finished (the message names the folds), a fold is refused by
            [`read_source`], its weights have other shapes than its configuration says, the folds differ in
            more than their weights, or report.json is not that of the log.
    """
    refuse_unsafe(path)
    record, splits = read_json(path / RECORD), read_json(path / SPLITS)
    if not record.get("protocol"):
        raise ValueError(f"the run in {path} has no protocol. Publish the checkpoint in it.")
    seeds = range(record["seed"], record["seed"] + record["num_seeds"])
    names = [training_name(fold, seed) for seed in seeds for fold in splits]
    _refuse_unfinished(path, names, record)
    report, log = read_json(path / REPORT), read_log(path / PREDICTIONS)
    _refuse_other_numbers(path, report, log)
    answered = {
        training_name(fold, seed) for fold, seed in zip(log.folds.tolist(), log.seeds.tolist(), strict=True)
    }
    if answered != set(names):
        raise ValueError(f"{path / PREDICTIONS} has other folds than {SPLITS}. Merge them again: --resume.")
    trainings = {name: read_source(path / FOLDS / name) for name in names}
    _refuse_differences(trainings, record)
    for source in trainings.values():
        check_shapes(source)
    largest = max(splits, key=lambda fold: len(splits[fold]["train"]))
    return Run(path, record, report, trainings, training_name(largest, seeds[0]))


def _refuse_unfinished(path: Path, names: list[str], record: dict[str, Any]) -> None:
    missing = [
        name for name in names if not any((path / FOLDS / name / each).is_file() for each in (WEIGHTS, INDEX))
    ]
    if missing and record.get("drop_fold_weights"):
        raise ValueError(
            f"the run in {path} was trained with --drop-fold-weights: {len(missing)} of {len(names)} folds "
            "have no weights that could be published. Train it again without that flag."
        )
    if missing:
        raise ValueError(
            f"the run in {path} is half finished: {len(missing)} of {len(names)} folds have no weights "
            f"({some(missing)}). Go on with it: the same flags and --resume."
        )


def _refuse_other_numbers(path: Path, report: dict[str, Any], log: FoldLog) -> None:
    wrong = log.folds[~np.isfinite(log.probabilities).all(axis=1)]
    if len(wrong):
        raise ValueError(
            f"fold {wrong[0]} of the run in {path} answered no numbers: its training diverged. Train it anew."
        )
    found = numbers_of(log)
    for name, value in found.items():
        if report.get(name) is None or abs(report[name] - value) > 1e-9:
            raise ValueError(
                f"{path / REPORT} says {name} {report.get(name)}, and its log gives {value}. Make it again: "
                f"mer-hf report {path}."
            )


def numbers_of(log: FoldLog) -> dict[str, float]:
    """The metrics of a log under their names in report.json, which say what was test-selected."""
    suffix = "_test_selected" if TEST_SELECTED in log.selections else ""
    scores = score(log, intervals=False)
    return {name.lower() + suffix: scores.mean(name) for name in METRICS}


def _refuse_differences(trainings: dict[str, Source], record: dict[str, Any]) -> None:
    """All folds are of one architecture, one image processor and the classes of the run."""
    first, processor = None, None
    for name, source in trainings.items():
        own = json.loads((source.path / "preprocessor_config.json").read_text())
        first, processor = first or name, processor or own
        if own != processor:
            raise ValueError(f"the folds {first} and {name} have different image processors.")
        if source.architecture.key != record["model"]:
            raise ValueError(f"fold {name} is a {source.architecture.key}, the run a {record['model']}.")
        labels = json.loads((source.path / "config.json").read_text())["id2label"]
        if list(labels.values()) != list(record["class_names"]):
            raise ValueError(f"fold {name} has other classes than the run: {', '.join(labels.values())}.")


@cache
def _shapes(architecture: Architecture, config: str) -> dict[str, tuple[int, ...]]:
    """Tensor -> shape of the network that a configuration describes; no memory is taken."""
    with torch.device("meta"):
        model = architecture.classifier_class(architecture.config_class.from_dict(json.loads(config)))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def check_shapes(source: Source) -> None:
    """Open the weights of a checkpoint and compare them with the network that its configuration describes.

    Args:
        source ([`Source`]): The checkpoint.

    Raises:
        ValueError: In one line, if a tensor is missing, too many, or of another shape.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name in source.weights:
        with safe_open(source.path / name, framework="pt") as file:
            found |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    expected = _shapes(source.architecture, (source.path / "config.json").read_text())
    for key in sorted(set(found) | set(expected)):
        if found.get(key) != expected.get(key):
            raise ValueError(
                f"the weights in {source.path} are not those of its config.json: {key} has the shape "
                f"{found.get(key, 'none')}, expected {expected.get(key, 'none')}."
            )


def make_root(run: Run, folder: Path) -> Source:
    """The checkpoint at the root of the repository: the default fold with the run's report and settings.

    Args:
        run ([`Run`]): From [`read_run`].
        folder (`Path`): Is made.

    Returns:
        [`Source`]: In that folder.
    """
    folder.mkdir()
    source = run.trainings[run.default]
    for name in (*source.weights, *PER_FOLD):
        if (source.path / name).is_file():
            place(source.path / name, folder / name)
    for name in (RECORD, REPORT):
        shutil.copyfile(run.path / name, folder / name)
    return read_source(folder)


def add_folds(run: Run, folder: Path) -> Iterator[Path]:
    """Put folds, split and log beside the root's checkpoint.

    Args:
        run ([`Run`]): From [`read_run`].
        folder (`Path`): From `assemble`.

    Yields:
        `Path`: The files.
    """
    for training, source in run.trainings.items():
        own = folder / FOLDS / training
        own.mkdir(parents=True)
        for name in (*source.weights, *PER_FOLD):
            if (source.path / name).is_file():
                place(source.path / name, own / name)
                yield own / name
    shutil.copyfile(run.path / SPLITS, folder / SPLITS)
    rows = read_rows(run.path / PREDICTIONS)
    write_rows(folder / PREDICTIONS, [{k: v for k, v in row.items() if k != "label"} for row in rows])
    yield from (folder / SPLITS, folder / PREDICTIONS)
