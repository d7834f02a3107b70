"""The report of a protocol: every number is computed from the log, so that anybody can compute it again.

A number that was reached by choosing an epoch on the tested clips is called test-selected wherever it stands:
in the title, in the names of the columns, in the picture and in the keys of report.json.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import yaml

from mer_hf.data.table import task_digest
from mer_hf.registry import ARCHITECTURES
from mer_hf.utils.files import write_text
from mer_hf.utils.provenance import sha256_of
from mer_hf.utils.rendering import render
from mer_hf.utils.untrusted import check_kinds, read_json
from mer_hf.visualization.figures import confusion_picture

from . import metrics
from .fold_log import SPLIT, FoldLog, read_log, read_rows, read_split

FOLDER = Path(__file__).parent
TEST_SELECTED = "test-selected"
END_OF_SUMMARY = "<!-- end of the summary -->"
METRICS = {"UF1": metrics.uf1_of, "UAR": metrics.uar_of, "accuracy": metrics.accuracy_of}
MOST_SEEDS = 1000
TEXTS = yaml.safe_load((FOLDER / "texts.yaml").read_text())
PROTOCOLS, RULES, DESCRIPTIONS = TEXTS["protocols"], TEXTS["rules"], TEXTS["baselines"]
SHOWN = ("model", "data", "given", "clips_sha256", "splits_sha256", "mer_hf", "torch", "device")
RECORD_KINDS: dict[str, Any] = {
    "protocol": Literal[tuple(PROTOCOLS)], "class_names": list[str], "seed": int, "num_seeds": int,
    **dict.fromkeys(SHOWN, str), **dict.fromkeys(("recipe", "init_from", "commit"), str | None),
}  # fmt: skip
"""Fields of train_config.json that a report shows."""
REPORT_KINDS = {
    "protocol": str, "selection": str, "clips_sha256": str | None, "splits_sha256": str | None, "clips": int,
    "subjects": int, "seeds": list[int], "per_dataset": dict[str, dict],
}  # fmt: skip
"""Fields of report.json that a card shows, besides the metrics."""


def read_report(path: Path, default: dict | None = None) -> dict[str, Any]:
    """Read report.json, with all metrics, or none where it is not there and has a default."""
    report = read_json(path, REPORT_KINDS, default)
    suffix = "_test_selected" if "uf1_test_selected" in report else ""
    numbers = {metric.lower() + suffix: float for metric in METRICS} if report else {}
    intervals = {f"{name}_interval": tuple[float, float] | None for name in numbers}
    check_kinds(report, numbers | intervals, str(path))
    parts = report.get("per_dataset", {})
    if any("uf1" + suffix in part for part in parts.values()):
        for name, part in parts.items():
            check_kinds(part, numbers, f"{path}: {name}")
    return report


@dataclass(frozen=True)
class Scores:
    """Metrics of some rows of a log, pooled over folds, one value per seed.

    Attributes:
        clips, subjects (`int`): Of one seed.
        by_seed (`dict[str, list[float]]`): Metric -> values, in the order of the seeds.
        interval (`dict[str, tuple[float, float]]`): Metric -> 95 % interval of the mean over seeds when
            subjects are drawn again; empty for fewer than two subjects.
        per_class_f1 (`dict[str, float]`): Mean over seeds.
        weighted_f1 (`float`): Mean over seeds.
        confusion (`np.ndarray` of shape `(C, C)`): Mean over seeds; rows true.
    """

    clips: int
    subjects: int
    by_seed: dict[str, list[float]]
    interval: dict[str, tuple[float, float]]
    per_class_f1: dict[str, float]
    weighted_f1: float
    confusion: np.ndarray

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over seeds."""
        return float(np.mean(self.by_seed[metric]))

    def spread(self, metric: str) -> float | None:
        """Return the standard deviation of a metric over seeds, None for one seed."""
        values = self.by_seed[metric]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def score(log: FoldLog, intervals: bool = True) -> Scores:
    """Compute the metrics of a log, with or without intervals over subjects."""
    count = len(log.class_names)
    parts = [log.of(log.seeds == seed) for seed in np.unique(log.seeds)]
    clips = [(part.predictions, part.labels, part.subjects) for part in parts]
    matrices = np.stack([metrics.confusion(*each[:2], count) for each in clips])
    subjects = len(np.unique(log.subjects))
    by_metric = {}
    if intervals and subjects > 1:
        for name, metric_of in METRICS.items():
            values = [metrics.bootstrap_values(metric_of, *each, count) for each in clips]
            by_metric[name] = metrics.interval_of(np.mean(values, axis=0))
    return Scores(
        clips=len(parts[0]),
        subjects=subjects,
        by_seed={name: metric_of(matrices).tolist() for name, metric_of in METRICS.items()},
        interval=by_metric,
        per_class_f1=dict(zip(log.class_names, metrics.f1_of(matrices).mean(axis=0).tolist(), strict=True)),
        weighted_f1=float(metrics.weighted_f1_of(matrices).mean()),
        confusion=matrices.mean(axis=0),
    )


def _score_baselines(path: Path) -> dict[str, Scores]:
    """Score the baselines; rows carry a baseline's name as their `selection`."""
    if not path.is_file():
        return {}
    log = read_log(path)
    return {name: score(log.of(log.selections == name)) for name in DESCRIPTIONS if name in log.selections}


def _published(model: str, num_classes: int) -> list[dict[str, Any]]:
    """Return published results on as many classes: of the same architecture, and of other methods."""
    results = yaml.safe_load((FOLDER / "published.yaml").read_text())["results"]
    others = set(ARCHITECTURES) - {model}
    return [each for each in results if each["num_classes"] == num_classes and each["model"] not in others]


def _read_run(path: Path) -> tuple[dict[str, Any], FoldLog]:
    """Read the settings and the log of a run, and check that they belong together."""
    record, table = path / "train_config.json", path / "predictions.csv"
    if not record.is_file():
        raise ValueError(f"{path} holds no train_config.json. Give the folder of a run with --protocol.")
    if not read_json(record).get("protocol"):
        raise ValueError(f"the run in {path} has no protocol, so nobody was tested. Train with --protocol.")
    setting = dict.fromkeys(RECORD_KINDS) | read_json(record, RECORD_KINDS)
    log = read_log(table)
    if setting["num_seeds"] > MOST_SEEDS:
        raise ValueError(f"{record}: num_seeds must be at most {MOST_SEEDS}, got {setting['num_seeds']}.")
    seeds = range(setting["seed"], setting["seed"] + setting["num_seeds"])
    split = read_split(path / "splits.json", read_rows(table), seeds)
    if sha256_of(path / "splits.json") != setting["splits_sha256"]:
        raise ValueError(f"{path / 'splits.json'} is not the split that the run was trained with.")
    check_log(log, split, setting, table)
    return setting, log


def check_log(log: FoldLog, split: SPLIT, record: dict[str, Any], path: Path) -> None:
    """Raise `ValueError` if a log does not fit the record of its run: classes, labels, choice of an epoch.

    Labels are compared where the split tests every clip; else the record does not tell.
    """
    selections = sorted(set(log.selections.tolist()))
    if len(selections) > 1 or selections[0] not in RULES:
        raise ValueError(f"{path} mixes ways to choose an epoch: {', '.join(selections)}.")
    if tuple(record["class_names"]) != log.class_names:
        raise ValueError(f"{path} has the classes {', '.join(log.class_names)}, the run has others.")
    if {key for sides in split.values() for side in sides.values() for key in side} > set(log.keys.tolist()):
        return
    for seed in np.unique(log.seeds):
        part = log.of(log.seeds == seed)
        labels = np.array(log.class_names)[part.labels]
        if task_digest(part.keys, part.subjects, labels) != record["clips_sha256"]:
            raise ValueError(f"{path}: subjects or labels are not those of the clips that the run had.")


def _collect(path: Path) -> dict[str, Any]:
    """Compute everything that a report shows from the files of a run."""
    setting, log = _read_run(path)
    selection = str(log.selections[0])
    clips = np.bincount(log.labels[log.seeds == log.seeds[0]], minlength=len(log.class_names))
    dishonest = selection == TEST_SELECTED
    return {
        "setting": setting,
        "protocol": PROTOCOLS[setting["protocol"]],
        "selection": selection,
        "rule": RULES[selection],
        "dishonest": dishonest,
        "mark": " (test-selected)" if dishonest else "",
        "scores": score(log),
        "per_dataset": {str(name): score(log.of(log.datasets == name)) for name in np.unique(log.datasets)},
        "class_names": log.class_names,
        "clips_of_class": dict(zip(log.class_names, clips.tolist(), strict=True)),
        "seeds": np.unique(log.seeds).tolist(),
        "folds": len(np.unique(log.folds)),
        "epochs": np.unique(log.epochs).tolist(),
        "baselines": _score_baselines(path / "baselines.csv"),
        "descriptions": DESCRIPTIONS,
        "published": _published(setting["model"], len(log.class_names)),
        "end_of_summary": END_OF_SUMMARY,
        "draws": metrics.DRAWS,
    }


def _numbers(scores: Scores, suffix: str) -> dict[str, Any]:
    """Return scores as plain numbers whose keys end in a suffix."""
    values: dict[str, Any] = {"clips": scores.clips, "subjects": scores.subjects}
    for name in METRICS:
        key = name.lower() + suffix
        values[key] = scores.mean(name)
        values[f"{key}_by_seed"] = scores.by_seed[name]
        values[f"{key}_interval"] = list(scores.interval[name]) if scores.interval else None
    return values | {
        "weighted_f1" + suffix: scores.weighted_f1,
        "per_class_f1" + suffix: scores.per_class_f1,
        "confusion" + suffix: scores.confusion.tolist(),
    }


def _to_json(report: dict[str, Any]) -> dict[str, Any]:
    """Return the content of report.json; keys of what was selected on the test clips say so."""
    suffix, setting = "_test_selected" if report["dishonest"] else "", report["setting"]
    return {
        "protocol": setting["protocol"],
        "selection": report["selection"],
        "model": setting["model"],
        "seeds": report["seeds"],
        **_numbers(report["scores"], suffix),
        "per_dataset": {name: _numbers(scores, suffix) for name, scores in report["per_dataset"].items()},
        "baselines_uf1": {name: scores.mean("UF1") for name, scores in report["baselines"].items()},
        "clips_sha256": setting["clips_sha256"],
        "splits_sha256": setting["splits_sha256"],
    }


def write_report(path: Path) -> dict[str, Any]:
    """Compute a run's report and write it: report.md, report.html (opens offline) and report.json.

    Args:
        path (`Path`): Folder of a run with a protocol that has ended.

    Returns:
        `dict`: The numbers, as in report.json.

    Raises:
        ValueError: If the run has not ended or its files contradict each other.
    """
    path = Path(path)
    report = _collect(path)
    title = "TEST-SELECTED" if report["dishonest"] else ""
    picture = confusion_picture(report["scores"].confusion, report["class_names"], title)
    report["picture"] = base64.b64encode(cv2.imencode(".png", picture[..., ::-1])[1]).decode()
    numbers = _to_json(report)
    for name in ("report.md", "report.html"):
        write_text(path / name, render(FOLDER / "templates" / f"{name}.j2", report))
    write_text(path / "report.json", json.dumps(numbers, indent=1) + "\n")
    return numbers
