"""Computes a published number again: every clip is answered by the fold that has not seen its subject.

Only safetensors, JSON and the log are read; the networks are the installed classes. One fold is in memory at
a time.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from mer_hf.data import splits
from mer_hf.data.splits import Fold
from mer_hf.data.table import ClipTable
from mer_hf.evaluation.fold_log import PROBABILITY, log_of, read_rows, rows_of, training_name
from mer_hf.evaluation.run_report import PROTOCOLS
from mer_hf.loading import load
from mer_hf.training.config import TrainingConfig
from mer_hf.training.recorded import Recorded, read_recorded
from mer_hf.training.selection import predict

from .runs import FOLDS, PREDICTIONS, RECORD, REPORT, SPLITS, numbers_of, read_json, some
from .upload import check_name, one_line_errors

EXACT, ROUNDED = 1e-4, 2e-2
"""Largest difference of a probability that another machine explains. The second is for runs that kept their
weights in float16, whose answers were given before these were rounded, and for those that were answered on a
GPU, where convolutions keep as many bits by default."""

NEEDED = [RECORD, REPORT, SPLITS, PREDICTIONS, f"{FOLDS}/*/*.json", f"{FOLDS}/*/*.safetensors"]


@dataclass(frozen=True)
class Published:
    """A published run.

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


@dataclass(frozen=True)
class Reproduction:
    """What came out.

    Attributes:
        name (`str`): Of what was reproduced.
        clips, subjects (`int`): Of one seed.
        trainings (`int`): Networks that were asked.
        protocol, selection (`str`): Of the run.
        published, recomputed (`dict[str, float]`): Metric -> value, under its name in report.json.
        differing (`list[dict]`): Clips that are answered otherwise, or with other probabilities than the
            tolerance allows: `seed`, `key`, `published`, `recomputed`, `difference` of probabilities.
        answers (`int`): Clips times seeds.
        largest_difference, tolerance (`float`): Of probabilities.
        given (`tuple[str, str]`): What the networks were given of a clip, in the run and now.
    """

    name: str
    clips: int
    subjects: int
    trainings: int
    protocol: str
    selection: str
    published: dict[str, float]
    recomputed: dict[str, float]
    differing: list[dict]
    answers: int
    largest_difference: float
    tolerance: float
    given: tuple[str, str]

    @property
    def verdict(self) -> str:
        """`equal` to the last digit, `within` the tolerance with the same predictions, or `differs`."""
        numbers = all(abs(self.published[name] - self.recomputed[name]) <= 1e-9 for name in self.published)
        if self.differing or not numbers:
            return "differs"
        return "within" if self.largest_difference else "equal"

    @property
    def matches(self) -> bool:
        """Whether the published numbers are confirmed."""
        return self.verdict != "differs"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "verdict": self.verdict, "matches": self.matches}

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.clips} clips of {self.subjects} subjects, {self.trainings} networks, "
            f"{PROTOCOLS.get(self.protocol, self.protocol)}, epochs chosen by: {self.selection}",
            f"{'':26}published    recomputed",
        ]
        for name, value in self.published.items():
            lines.append(f"{name.replace('_', ' '):26}{value:.6f}     {self.recomputed[name]:.6f}")
        lines.append(self._conclusion())
        if not self.matches and self.given[0] != self.given[1]:
            lines.append(f"The networks were given: {self.given[0]}. Now: {self.given[1]}.")
        return "\n".join(lines)

    def _conclusion(self) -> str:
        if self.verdict == "equal":
            return "It matches: every probability is the published one to the last digit."
        if self.verdict == "within":
            return (
                "It matches: every prediction is the published one; probabilities differ by at most "
                f"{self.largest_difference:.2g} (allowed: {self.tolerance:g})."
            )
        if not self.differing:
            return "It does not match: the predictions are the published ones, the numbers are not theirs."
        other = [each for each in self.differing if each["published"] != each["recomputed"]]
        shown = some(
            [
                f"{each['key']} (seed {each['seed']}: {each['recomputed']}, published {each['published']}, "
                f"probabilities {each['difference']:.2g} apart)"
                for each in self.differing
            ]
        )
        return (
            f"It does not match: {len(other)} of {self.answers} answers are others, "
            f"{len(self.differing) - len(other)} more have probabilities over {self.tolerance:g} apart: "
            f"{shown}."
        )


def fetch(
    source: str,
    revision: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    progress: bool = True,
) -> tuple[Path, str]:
    """The files of a published run that are needed to reproduce it.

    Args:
        source (`str`): A folder, or `owner/name` on the Hub.
        revision (`str`, *optional*): Branch, tag or commit.
        endpoint (`str`, *optional*): Of the Hub; huggingface_hub's by default.
        token (`str`, *optional*): huggingface_hub's by default.
        progress (`bool`, *optional*, defaults to `True`): Whether to show bars.

    Returns:
        `tuple[Path, str]`: A folder, for one of the Hub in the cache; and what to call it.

    Raises:
        ValueError: In one line, if there is no such run, or the Hub is not reached and the cache lacks it.
    """
    if Path(source).is_dir():
        if revision:
            raise ValueError(f"{source} is a folder and has no revisions. Leave --revision away.")
        return Path(source), source
    check_name(source)
    (enable_progress_bars if progress else disable_progress_bars)()
    api = HfApi(endpoint=endpoint, token=token)
    options = {"revision": revision, "allow_patterns": NEEDED}
    with one_line_errors(api, source, state="Nothing was computed; what is downloaded already is kept"):
        unreached = _unreached(api, source, revision)
        if not unreached:
            folder = Path(api.snapshot_download(source, **options))
            return folder, f"{source} at {folder.name[:12]}"
    try:
        folder = Path(api.snapshot_download(source, **options, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise ValueError(f"{source} is not, or not wholly, in the cache, and {unreached}.") from error
    return folder, f"{source} at {folder.name[:12]}, as the cache has it ({unreached})"


def _unreached(api: HfApi, source: str, revision: str | None) -> str:
    """Why the Hub cannot be asked, if it cannot: the client would take what it has without a word."""
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    try:
        api.model_info(source, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except httpx2.TransportError as error:
        return f"{api.endpoint} was not reached ({type(error).__name__})"
    return ""


def read_published(path: Path, name: str) -> Published:
    """Read a published run and check that its files belong together.

    Args:
        path (`Path`): From [`fetch`].
        name (`str`): What to call it.

    Returns:
        [`Published`]: All but the weights.

    Raises:
        ValueError: In one line, if it is no published run, a fold is missing, or its files contradict each
            other.
    """
    if not (path / SPLITS).is_file():
        raise ValueError(f"{name} holds no {SPLITS}, so it is no published run with a protocol.")
    record, report, folds = (read_json(path / each) for each in (RECORD, REPORT, SPLITS))
    found = hashlib.sha256((path / SPLITS).read_bytes()).hexdigest()
    if found != report.get("splits_sha256"):
        raise ValueError(f"{name}: {SPLITS} is not the split that {REPORT} was computed with.")
    if not (path / PREDICTIONS).is_file():
        raise ValueError(f"{name} lacks {PREDICTIONS}, so there is nothing to compare with.")
    published = Published(path, name, record, report, folds, read_rows(path / PREDICTIONS))
    _check_files(published)
    return published


def _check_files(published: Published) -> None:
    """Each fold of each seed is there, and each of its tested clips is in the log once."""
    names, expected = [], Counter()
    for seed in published.report["seeds"]:
        for fold, sides in published.splits.items():
            if Path(fold).name != fold:
                raise ValueError(f"{published.name}: {fold!r} is no name of a fold.")
            names.append(training_name(fold, seed))
            expected.update((str(seed), fold, key) for key in sides["test"])
    missing = [each for each in names if not _is_whole(published.path / FOLDS / each)]
    if missing:
        raise ValueError(f"{published.name} lacks {len(missing)} of {len(names)} folds: {some(missing)}.")
    found = Counter((row.get("seed"), row.get("fold"), row.get("key")) for row in published.rows)
    other = sorted(map(str, (expected - found) + (found - expected)))
    if other:
        raise ValueError(
            f"{published.name}: {PREDICTIONS} and {SPLITS} disagree on {len(other)} rows, the first "
            f"(seed, fold, clip) {other[0]}."
        )


def _is_whole(fold: Path) -> bool:
    return (fold / "config.json").is_file() and any(fold.glob("*.safetensors"))


def check_data(table: ClipTable, published: Published, data: str) -> list[Fold]:
    """The published folds as rows of the user's table, if it holds the same clips of the same people.

    Args:
        table ([`ClipTable`]): Of the user's data.
        published ([`Published`]): The run.
        data (`str`): For messages.

    Returns:
        `list[Fold]`: The folds.

    Raises:
        ValueError: In one line that names what differs, or says where a subject is on both sides of a fold.
    """
    classes = tuple(published.record["class_names"])
    if table.class_names != classes:
        raise ValueError(
            f"--data {data} has the classes {', '.join(table.class_names)}, the published run "
            f"{', '.join(classes)}."
        )
    known = {key for sides in published.splits.values() for side in sides.values() for key in side}
    here = set(table.keys.tolist())
    for keys, says in ((known - here, "lacks"), (here - known, "holds")):
        if keys:
            what = "clips of the published run" if says == "lacks" else "clips that the published run has not"
            raise ValueError(f"--data {data} {says} {len(keys)} {what}: {some(sorted(keys))}.")
    if table.digest() != published.report["clips_sha256"]:
        raise ValueError(
            f"--data {data} holds the published clips with other {_what_differs(table, published)}."
        )
    return splits.from_json(table, json.dumps(published.splits))


def _what_differs(table: ClipTable, published: Published) -> str:
    """Subjects or labels; labels are not published, so that only their number per class can be told."""
    subjects = dict(zip(table.keys.tolist(), table.subjects.tolist(), strict=True))
    other = sorted({row["key"] for row in published.rows if subjects[row["key"]] != row["subject"]})
    if other:
        return f"subjects: {some(other)}"
    matrix = published.report.get("confusion", published.report.get("confusion_test_selected"))
    tested = np.isin(table.keys, [row["key"] for row in published.rows])
    here, there = table.counts(tested), [round(sum(row)) for row in matrix]
    counts = [
        f"{name} {here[name]} here and {count} published"
        for name, count in zip(table.class_names, there, strict=True)
        if here[name] != count
    ]
    return f"labels ({', '.join(counts) or 'as many of each class, but not on the same clips'})"


def reproduce(
    source: str,
    data: str,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    show: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Reproduction:
    """Compute the numbers of a published run again, from its weights and the user's own data.

    Args:
        source (`str`): `owner/name` on the Hub, or a folder.
        data (`str`): `flows:FILE.npz`, or folders made by `mer-hf prepare`, joined by commas.
        revision (`str`, *optional*): Branch, tag or commit.
        endpoint (`str`, *optional*): Of the Hub; huggingface_hub's by default.
        token (`str`, *optional*): huggingface_hub's by default.
        show (`bool`, *optional*, defaults to `True`): Whether download and preparation show bars.
        progress (`Callable`, *optional*): Called with answers done and in all.

    Returns:
        [`Reproduction`]: Whether it matches, and where it does not.

    Raises:
        ValueError: In one line, if the run cannot be read, a fold is missing, or the data are others.
    """
    published = read_published(*fetch(source, revision, endpoint, token, show))
    record = published.record
    first = published.path / FOLDS / training_name(next(iter(published.splits)), published.report["seeds"][0])
    config = TrainingConfig(output_dir=".", model=record["model"], data=data, classes=record.get("classes"))
    recorded = read_recorded(config, load(first)[1], show=show)
    folds = check_data(recorded.table, published, data)
    rows = _answers(published, recorded, folds, progress)
    log = log_of(rows, published.path)
    return Reproduction(
        name=published.name,
        clips=len(rows) // len(published.report["seeds"]),
        subjects=len({row["subject"] for row in rows}),
        trainings=len(folds) * len(published.report["seeds"]),
        protocol=record["protocol"],
        selection=published.report["selection"],
        given=(record.get("given", ""), recorded.given),
        **_numbers(published, numbers_of(log)),
        **_differences(published, rows),
    )


def _answers(
    published: Published,
    recorded: Recorded,
    folds: list[Fold],
    progress: Callable[[int, int], None] | None,
) -> list[dict]:
    """The log anew: one fold after the other answers the clips that it was tested on."""
    seeds, rows = published.report["seeds"], []
    total = len(seeds) * sum(len(fold.test) for fold in folds)
    for seed in seeds:
        for fold in folds:
            model, _ = load(published.path / FOLDS / training_name(fold.name, seed))
            if tuple(model.config.id2label.values()) != recorded.table.class_names:
                raise ValueError(f"{published.name}: fold {fold.name} has other classes than the run.")
            rows += rows_of(
                recorded.table, fold.test, predict(model, recorded, fold.test),
                fold=fold.name, seed=seed, epoch=0, selection=published.report["selection"],
            )  # fmt: skip
            if progress:
                progress(len(rows), total)
    return rows


def _numbers(published: Published, recomputed: dict[str, float]) -> dict[str, dict[str, float]]:
    missing = [name for name in recomputed if not isinstance(published.report.get(name), float)]
    if missing:
        raise ValueError(f"{published.name}: {REPORT} does not say {missing[0]}.")
    return {"published": {name: published.report[name] for name in recomputed}, "recomputed": recomputed}


def _differences(published: Published, rows: list[dict]) -> dict[str, Any]:
    """Answers beside the published ones."""
    record = published.record
    rounded = record.get("dtype_on_disk") == "float16" or record.get("device") == "cuda"
    tolerance = ROUNDED if rounded else EXACT
    before = {(int(row["seed"]), row["key"]): row for row in published.rows}
    differing, largest = [], 0.0
    for row in rows:
        other = before[row["seed"], row["key"]]
        names = [name for name in row if name.startswith(PROBABILITY)]
        try:
            answers = np.array([[float(each[name]) for name in names] for each in (row, other)])
        except (KeyError, TypeError, ValueError):
            answers = np.full((2, len(names)), np.nan)
        if not np.isfinite(answers[1]).all():
            raise ValueError(f"{published.name}: {PREDICTIONS}: a probability of {row['key']} is no number.")
        # Weights that answer no number are as far off as can be.
        difference = float(np.nan_to_num(np.abs(answers[0] - answers[1]), nan=1.0).max())
        largest = max(largest, difference)
        if row["prediction"] != other["prediction"] or difference > tolerance:
            differing.append(
                {
                    "seed": row["seed"], "key": row["key"], "published": other["prediction"],
                    "recomputed": row["prediction"], "difference": difference,
                }
            )  # fmt: skip
    return {
        "differing": differing, "answers": len(rows), "largest_difference": largest, "tolerance": tolerance,
    }  # fmt: skip
