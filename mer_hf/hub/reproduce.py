"""Compute the numbers of a published run again: each clip is classified by a fold without its subject.

Only safetensors, JSON and the log are read; the networks are the installed classes. One fold is in memory at
a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mer_hf.data import splits
from mer_hf.data.splits import Fold
from mer_hf.data.table import ClipTable
from mer_hf.evaluation.fold_log import PROBABILITY, log_of, read_rows, read_split, rows_of, training_name
from mer_hf.evaluation.run_report import PROTOCOLS, RECORD_KINDS, check_log, read_report
from mer_hf.loading import load, snapshot
from mer_hf.training.config import TrainingConfig, read_record
from mer_hf.training.recorded import Recorded, read_recorded
from mer_hf.training.selection import predict
from mer_hf.utils.provenance import sha256_of
from mer_hf.utils.rendering import render
from mer_hf.utils.untrusted import read_json

from .runs import FOLDS, PREDICTIONS, RECORD, REPORT, SPLITS, numbers_of, shorten
from .upload import check_name

EXACT, ROUNDED = 1e-4, 2e-2
"""Largest difference of a probability that another machine explains. The second is for runs that kept their
weights in float16, which were rounded after the predictions were made, and for runs on a GPU, where
convolutions keep as few bits by default."""

NEEDED = (RECORD, REPORT, SPLITS, PREDICTIONS, f"{FOLDS}/*/*.json", f"{FOLDS}/*/*.safetensors")
TEMPLATE = Path(__file__).parent / "templates" / "reproduction.txt.j2"
SHOWN = 10
"""Differing clips in the table, before it counts the others."""


@dataclass(frozen=True)
class PublishedRun:
    """A published run without its weights.

    Attributes:
        path (`Path`): Folder with its files.
        name (`str`): For messages: the repository and its commit, or the folder.
        record, report, splits (`dict`): train_config.json, report.json, splits.json.
        rows (`list[dict]`): predictions.csv.
    """

    path: Path
    name: str
    record: dict[str, Any]
    report: dict[str, Any]
    splits: dict[str, dict[str, list[str]]]
    rows: list[dict]

    def fold(self, name: str, seed: int) -> Path:
        """Return the folder of a fold's checkpoint."""
        return self.path / FOLDS / training_name(name, seed)


def fetch(source: str, revision: str | None = None) -> tuple[Path, str]:
    """Return the folder of a published run, downloaded if `source` is on the Hub, and a name for messages."""
    if Path(source).is_dir():
        if revision:
            raise ValueError(f"{source} is a folder and has no revisions. Remove --revision.")
        return Path(source), source
    check_name(source)
    folder = snapshot(source, revision, patterns=NEEDED)
    return folder, f"{source} at {folder.name[:12]}"


def read_published(path: Path, name: str) -> PublishedRun:
    """Read a published run, called `name` in messages, and check that its files belong together."""
    for file in (SPLITS, PREDICTIONS):
        if not (path / file).is_file():
            raise ValueError(f"{name} has no {file}, so it is not a published run with a protocol.")
    read_record(path / RECORD)  # refuses values that no flag takes
    record, report = read_json(path / RECORD, RECORD_KINDS), read_report(path / REPORT)
    if sha256_of(path / SPLITS) != report.get("splits_sha256"):
        raise ValueError(f"{name}: {SPLITS} is not the split that {REPORT} was computed with.")
    rows = read_rows(path / PREDICTIONS)
    split = read_split(path / SPLITS, rows, report["seeds"])
    published = PublishedRun(path, name, record, report, split, rows)
    _check_files(published)
    return published


def _check_files(published: PublishedRun) -> None:
    """Check that every fold of every seed is there."""
    seeds = published.report["seeds"]
    folders = [published.fold(name, seed) for seed, name in product(seeds, published.splits)]
    missing = [
        folder.name
        for folder in folders
        if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors"))
    ]
    if missing or not folders:
        raise ValueError(f"{published.name} lacks {len(missing)} folds: {shorten(missing)}.")


def check_data(table: ClipTable, published: PublishedRun, data: str) -> list[Fold]:
    """Return the published folds as rows of the user's table, if it has the same clips and labels."""
    classes = tuple(published.record["class_names"])
    if table.class_names != classes:
        raise ValueError(
            f"--data {data} has the classes {', '.join(table.class_names)}, the published run "
            f"{', '.join(classes)}."
        )
    known = {key for sides in published.splits.values() for side in sides.values() for key in side}
    here = set(table.keys.tolist())
    for problem, keys in (("lacks", known - here), ("has unpublished", here - known)):
        if keys:
            raise ValueError(f"--data {data} {problem} {len(keys)} clips: {shorten(sorted(keys))}.")
    if table.digest() != published.report.get("clips_sha256"):
        raise ValueError(f"--data {data} has the published clips with other subjects or labels.")
    return splits.from_keys(table, published.splits)


def _check_rows(published: PublishedRun, table: ClipTable) -> None:
    """Check the published log, which has no labels on the Hub, with those of the user's table."""
    labels = dict(zip(table.keys.tolist(), table.label_names.tolist(), strict=True))
    path = published.path / PREDICTIONS
    rows = [{"label": labels[row["key"]], **row} for row in published.rows]
    check_log(log_of(rows, path), published.splits, published.record, path)


def reproduce(
    source: str,
    data: str,
    *,
    revision: str | None = None,
    show: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compute the numbers of a published run again, from its weights and the user's own data.

    Args:
        source (`str`): `owner/name` on the Hub, or a folder.
        data (`str`): `flows:FILE.npz`, or folders made by `mer-hf prepare`, joined by commas.
        revision (`str`, *optional*): Branch, tag or commit.
        show (`bool`, *optional*, defaults to `True`): Whether the preparation of the data shows bars.
        progress (`Callable`, *optional*): Called with predictions done and in all.

    Returns:
        `dict`: `matches` (`bool`) and `verdict`; the `published` and the `recomputed` metrics; the clips in
        `differing` with another prediction, or with probabilities that differ by more than `tolerance`; the
        `largest_difference`; what was run (`name`, `protocol`, `selection`, `trainings`, `clips`, `subjects`,
        `answers`); and in `given` the description of the networks' input, in the run and now.

    Raises:
        ValueError: In one line, if the run cannot be read, a fold is missing, or the data differ.
    """
    published = read_published(*fetch(source, revision))
    record, report = published.record, published.report
    config = TrainingConfig(output_dir=".", model=record["model"], data=data, classes=record.get("classes"))
    processor = load(published.fold(next(iter(published.splits)), report["seeds"][0]))[1]
    recorded = read_recorded(config, processor, show=show)
    folds = check_data(recorded.table, published, data)
    _check_rows(published, recorded.table)
    rows = _predict(published, recorded, folds, progress)
    recomputed = numbers_of(log_of(rows, published.path))
    if not set(recomputed) <= set(report):
        raise ValueError(f"{published.name}: {REPORT} lacks {min(set(recomputed) - set(report))}.")
    equal = all(abs(report[name] - value) <= 1e-9 for name, value in recomputed.items())
    clips = _compare(published, rows)
    rounded = record.get("dtype_on_disk") == "float16" or record.get("device") == "cuda"
    tolerance = ROUNDED if rounded else EXACT
    differing = [
        clip for clip in clips if clip["published"] != clip["recomputed"] or clip["difference"] > tolerance
    ]
    matches = equal and not differing
    return {
        "name": published.name,
        "clips": len(rows) // len(report["seeds"]),
        "subjects": len({row["subject"] for row in rows}),
        "trainings": len(folds) * len(report["seeds"]),
        "protocol": record["protocol"],
        "selection": report["selection"],
        "published": {name: report[name] for name in recomputed},
        "recomputed": recomputed,
        "differing": differing,
        "answers": len(rows),
        "largest_difference": max(clip["difference"] for clip in clips),
        "tolerance": tolerance,
        "given": (record.get("given", ""), recorded.given),
        "verdict": "matches" if matches else "differs",
        "matches": matches,
    }


def format_result(result: dict[str, Any]) -> str:
    """Return what [`reproduce`] found as text with two tables."""
    return render(TEMPLATE, result | {"protocols": PROTOCOLS, "shown": SHOWN}).rstrip()


def _predict(
    published: PublishedRun, recorded: Recorded, folds: list[Fold], progress: Callable | None
) -> list[dict]:
    """Recompute the log: one fold after the other predicts its test clips."""
    seeds, rows = published.report["seeds"], []
    total = len(seeds) * sum(len(fold.test) for fold in folds)
    for seed, fold in product(seeds, folds):
        model, _ = load(published.fold(fold.name, seed))
        if tuple(model.config.id2label.values()) != recorded.table.class_names:
            raise ValueError(f"{published.name}: fold {fold.name} has other classes than the run.")
        facts = {"fold": fold.name, "seed": seed, "epoch": 0, "selection": published.report["selection"]}
        rows += rows_of(recorded.table, fold.test, predict(model, recorded, fold.test), **facts)
        if progress:
            progress(len(rows), total)
    return rows


def _compare(published: PublishedRun, rows: list[dict]) -> list[dict]:
    """Compare recomputed rows with the published ones."""
    logged, compared = {(int(row["seed"]), row["key"]): row for row in published.rows}, []
    for row in rows:
        old = logged[row["seed"], row["key"]]
        names = [name for name in row if name.startswith(PROBABILITY)]
        before, now = (np.array([float(log[name]) for name in names]) for log in (old, row))
        # Weights that predict NaN are as far off as can be.
        difference = float(np.nan_to_num(np.abs(now - before), nan=1.0).max())
        answers = {"published": old["prediction"], "recomputed": row["prediction"]}
        compared.append({"seed": row["seed"], "key": row["key"], **answers, "difference": difference})
    return compared
