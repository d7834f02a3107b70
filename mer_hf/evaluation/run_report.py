"""The report of a protocol: every number is computed from the log, so that anybody can compute it again.

A number that was reached by choosing an epoch on the tested clips is called test-selected wherever it stands:
in the title, in the names of the columns, in the picture and in the keys of report.json.
"""

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from mer_hf.utils.files import write_text
from mer_hf.visualization.figures import confusion_picture

from . import metrics
from .fold_log import FoldLog, read_log
from .published import beside

TEST_SELECTED = "test-selected"
END_OF_SUMMARY = "<!-- end of the summary -->"
METRICS = {"UF1": metrics.uf1_of, "UAR": metrics.uar_of, "accuracy": metrics.accuracy_of}
DRAWS = 2000
PROTOCOLS = {
    "loso": "leave one subject out",
    "cde": "MEGC2019 composite, leave one subject out",
    "kfold": "folds of whole subjects",
    "cross": "trained on some data sets, tested on others",
}
RULES = {
    "last": "the last epoch of a fixed number; no label of a tested clip played a part",
    "inner": "the best epoch on training subjects that were set aside; no label of a tested clip played a "
    "part",
    TEST_SELECTED: "the best epoch on the tested clips themselves, for each fold separately. This is how "
    "several papers reached their numbers; it is no measurement of how well the network recognises a new "
    "person",
}
DESCRIPTIONS = {
    "majority class": "always the commonest class of the training clips",
    "AU rule": "human AUs: AU12 without 4, 9 or 10 is positive; else AU1, 2 or 5 without 4 or 9 is surprise; "
    "else negative; its author had seen the AUs of each class",
    "AUs, logistic regression": "human AUs as 0 or 1, classes weighted alike",
    "film letter": "which film was watched, read from the name of the recording; no pixel",
    "small flow CNN": "one layer of 16 filters on 28 x 28 flow maps, the size of STSTNet",
}
"""Name of a baseline -> what it does."""


@dataclass(frozen=True)
class Scores:
    """Metrics of one set of rows, pooled over folds, one value per seed.

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
        """Mean of a metric over seeds."""
        return float(np.mean(self.by_seed[metric]))

    def spread(self, metric: str) -> float | None:
        """Standard deviation of a metric over seeds, None for one seed."""
        values = self.by_seed[metric]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def score(log: FoldLog, intervals: bool = True) -> Scores:
    """Metrics of a log, or of some of its rows.

    Args:
        log ([`FoldLog`]): The rows.
        intervals (`bool`, *optional*, defaults to `True`): Whether to draw the subjects again.

    Returns:
        [`Scores`]: Of the pooled rows.
    """
    count, seeds = len(log.class_names), np.unique(log.seeds)
    parts = [log.of(log.seeds == seed) for seed in seeds]
    matrices = np.stack([metrics.confusion(part.predictions, part.labels, count) for part in parts])
    found: dict[str, tuple[float, float]] = {}
    subjects = len(np.unique(log.subjects))
    if intervals and subjects > 1:
        for name, metric_of in METRICS.items():
            values = [
                metrics.bootstrap_values(metric_of, p.predictions, p.labels, p.subjects, count, DRAWS)
                for p in parts
            ]
            low, high = np.percentile(np.mean(values, axis=0), [2.5, 97.5])
            found[name] = (float(low), float(high))
    return Scores(
        clips=len(parts[0]),
        subjects=subjects,
        by_seed={name: metric_of(matrices).tolist() for name, metric_of in METRICS.items()},
        interval=found,
        per_class_f1=dict(zip(log.class_names, metrics.f1_of(matrices).mean(axis=0).tolist(), strict=True)),
        weighted_f1=float(metrics.weighted_f1_of(matrices).mean()),
        confusion=matrices.mean(axis=0),
    )


def _of_baselines(path: Path) -> dict[str, Scores]:
    """Baseline -> its scores; rows carry the baseline's name as their `selection`."""
    if not path.is_file():
        return {}
    log = read_log(path)
    order = [name for name in DESCRIPTIONS if name in log.selections]
    return {name: score(log.of(log.selections == name)) for name in order}


def _check_setting(path: Path) -> dict[str, Any]:
    record = path / "train_config.json"
    if not record.is_file():
        raise ValueError(f"{path} holds no train_config.json. Give the folder of a run with --protocol.")
    setting = json.loads(record.read_text())
    if not setting.get("protocol"):
        raise ValueError(f"the run in {path} has no protocol, so nobody was tested. Train with --protocol.")
    return setting


def report_of(path: Path) -> dict[str, Any]:
    """All that a report shows, from the files of a run.

    Args:
        path (`Path`): Folder of a run with a protocol that has ended.

    Returns:
        `dict`: What the templates read.

    Raises:
        ValueError: In one line, if the run has not ended or its files contradict each other.
    """
    setting, log = _check_setting(path), read_log(path / "predictions.csv")
    selections = sorted(set(log.selections.tolist()))
    if len(selections) > 1 or selections[0] not in RULES:
        raise ValueError(
            f"{path / 'predictions.csv'} mixes ways to choose an epoch: {', '.join(selections)}."
        )
    if tuple(setting["class_names"]) != log.class_names:
        raise ValueError(
            f"{path / 'predictions.csv'} has the classes {', '.join(log.class_names)}, the run others."
        )
    datasets = np.unique(log.datasets)
    return {
        "setting": setting,
        "protocol": PROTOCOLS[setting["protocol"]],
        "selection": selections[0],
        "rule": RULES[selections[0]],
        "dishonest": selections[0] == TEST_SELECTED,
        "scores": score(log),
        "per_dataset": {str(name): score(log.of(log.datasets == name)) for name in datasets},
        "class_names": log.class_names,
        "clips_of_class": {
            name: int((log.labels[log.seeds == log.seeds[0]] == index).sum())
            for index, name in enumerate(log.class_names)
        },
        "seeds": np.unique(log.seeds).tolist(),
        "folds": len(np.unique(log.folds)),
        "epochs": sorted({int(epoch) for epoch in log.epochs}),
        "baselines": _of_baselines(path / "baselines.csv"),
        "descriptions": DESCRIPTIONS,
        "published": beside(setting["model"], len(log.class_names)),
    }


def _numbers(report: dict[str, Any]) -> dict[str, Any]:
    """The report as plain numbers; keys of what was selected on the test clips say so."""
    suffix = "_test_selected" if report["dishonest"] else ""

    def plain(scores: Scores) -> dict[str, Any]:
        values: dict[str, Any] = {"clips": scores.clips, "subjects": scores.subjects}
        for name in METRICS:
            key = name.lower() + suffix
            values[key] = scores.mean(name)
            values[f"{key}_by_seed"] = scores.by_seed[name]
            values[f"{key}_interval"] = list(scores.interval[name]) if scores.interval else None
        values["weighted_f1" + suffix] = scores.weighted_f1
        values["per_class_f1" + suffix] = scores.per_class_f1
        values["confusion" + suffix] = scores.confusion.tolist()
        return values

    honest = {name: score.mean("UF1") for name, score in report["baselines"].items()}
    return {
        "protocol": report["setting"]["protocol"],
        "selection": report["selection"],
        "model": report["setting"]["model"],
        "seeds": report["seeds"],
        **plain(report["scores"]),
        "per_dataset": {name: plain(scores) for name, scores in report["per_dataset"].items()},
        "baselines_uf1": honest,
        "clips_sha256": report["setting"]["clips_sha256"],
        "splits_sha256": report["setting"]["splits_sha256"],
    }


def _png(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def write_report(path: Path) -> dict[str, Any]:
    """Compute a run's report and write it: report.md, report.html (opens offline) and report.json.

    Args:
        path (`Path`): Folder of a run with a protocol that has ended.

    Returns:
        `dict`: The numbers, as in report.json.

    Raises:
        ValueError: In one line, if the run has not ended or its files contradict each other.
    """
    path = Path(path)
    report, mark = report_of(path), ""
    if report["dishonest"]:
        mark = "TEST-SELECTED"
    picture = _png(confusion_picture(report["scores"].confusion, report["class_names"], mark))
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=lambda name: name.endswith(".html.j2"),
    )  # fmt: skip
    mark = " (test-selected)" if report["dishonest"] else ""
    shared = {**report, "mark": mark, "end_of_summary": END_OF_SUMMARY, "draws": DRAWS, "picture": picture}
    numbers = _numbers(report)
    write_text(path / "report.md", environment.get_template("report.md.j2").render(shared))
    write_text(path / "report.html", environment.get_template("report.html.j2").render(shared))
    write_text(path / "report.json", json.dumps(numbers, indent=1) + "\n")
    return numbers
