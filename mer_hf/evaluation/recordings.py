"""Ask networks about recordings whose truth is known.

Each network is asked with the annotated phases, with those that spotting finds, and with a guess that looks
at no picture: the whole clip, its middle as apex. It is also left alone, as a user leaves it: then it decides
itself whether there is an expression.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from mer_hf.data.prepared import Prepared, class_of
from mer_hf.face.spotting import Phases
from mer_hf.face.tracking import FaceGeometry, FaceTrack
from mer_hf.inference.pipeline import PHASE_NAMES, REPORTED, MicroExpressionPipeline
from mer_hf.labels import CodedUnit

from .metrics import grouped

PHASES = ("annotated", "spotted", "midpoint")
"""Where the phases come from that a network is asked about."""
Pipelines = Mapping[str, MicroExpressionPipeline]
"""Name -> network."""
MEAN = "mean"
"""Name of the mean of the networks' log-probabilities."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A clip and what is known of it.

    Attributes:
        key, dataset, subject (`str`): Unique names; the subject with its dataset.
        emotion (`str`): As annotated.
        label (`int` or `None`): Class index; None where the scheme has no such class.
        track (`Callable`): Geometry -> aligned faces.
        timestamps_s (`np.ndarray` of shape `(T,)`): Seconds.
        coded (`dict`): Annotated `onset`, `apex` and `offset`, positions in the clip; or empty.
        units (`tuple[CodedUnit, ...]` or `None`): Coded action units; None where none were coded.
    """

    key: str
    dataset: str
    subject: str
    emotion: str
    label: int | None
    track: Callable[[FaceGeometry], FaceTrack]
    timestamps_s: np.ndarray
    coded: Mapping[str, int] = field(default_factory=dict)
    units: tuple[CodedUnit, ...] | None = None


class Recordings:
    """The clips of prepared folders, one at a time.

    Args:
        paths (`Sequence[Path]`): Folders that `mer-hf prepare` made.
        classes (`tuple[str, ...]`): Class names in index order.

    Raises:
        ValueError: If a folder is not one.
    """

    def __init__(self, paths: Sequence[Path], classes: tuple[str, ...]):
        self.folders = [Prepared(path) for path in paths]
        self.classes = classes

    def __len__(self) -> int:
        return sum(len(folder.rows()) for folder in self.folders)

    def __iter__(self) -> Iterator[Recording]:
        for folder in self.folders:
            for row in folder.rows():
                yield self._read(folder, row)

    def _read(self, folder: Prepared, row: Mapping[str, str]) -> Recording:
        clip, name = folder.clip(row["key"]), class_of(row["emotion"], self.classes)
        label = None if name is None else self.classes.index(name)
        coded = {} if clip["apex_source"] == "spotted" else {phase: clip[phase] for phase in PHASE_NAMES}
        units = tuple(CodedUnit(**unit) for unit in clip["action_units"]) or None
        about = row["key"], row["database"], row["subject"], row["emotion"], label
        return Recording(*about, partial(folder.track, clip), clip["timestamps_s"], coded, units)


def ask(pipelines: Pipelines, recording: Recording) -> list[dict[str, Any]]:
    """Return a row for each network: what it said about a recording, as values that JSON has.

    A row holds `key`, `dataset`, `subject`, `emotion`, `label`, `model`; `outcome` and
    `expression_probability` of its own decision; for each of `PHASES` that is known the probabilities of the
    classes; `spotted` and `coded` (onset, apex and offset in seconds, or None); `units` (action unit ->
    left, right and whole, as estimated) and `coded_units` (names such as `L12`).
    """
    units = recording.units
    about = {
        **{name: getattr(recording, name) for name in ("key", "dataset", "subject", "emotion", "label")},
        "coded": _seconds(recording, recording.coded) if recording.coded else None,
        "coded_units": None if units is None else [_name_of(unit) for unit in units if unit.number <= 46],
    }
    tracks: dict[FaceGeometry, tuple[FaceTrack, Phases]] = {}
    rows = []
    for name, pipe in pipelines.items():
        if pipe.geometry not in tracks:
            track = recording.track(pipe.geometry)
            tracks[pipe.geometry] = track, pipe.spot(track, recording.timestamps_s)
        rows.append(about | {"model": name} | _answers(pipe, recording, *tracks[pipe.geometry]))
    return rows


def _answers(
    pipe: MicroExpressionPipeline, recording: Recording, track: FaceTrack, spotted: Phases
) -> dict[str, Any]:
    """Return what a row says about the answers of one network."""
    times_s, last = recording.timestamps_s, len(track.frames) - 1
    own = pipe.classify(track, spotted, times_s, explain=False)
    found = {name: getattr(spotted, name) for name in PHASE_NAMES}
    middle = pipe.spot(track, times_s, onset=0, apex=max(1, last // 2), offset=last)
    asked = {"midpoint": middle, "spotted": middle if spotted.apex is None else spotted}
    if recording.coded:
        asked["annotated"] = pipe.spot(track, times_s, **recording.coded)
    answers = {
        name: own if phases is spotted else pipe.classify(track, phases, times_s, explain=False)
        for name, phases in asked.items()
    }
    units = answers.get("annotated", answers["spotted"]).action_units
    return {
        "outcome": own.outcome,
        "expression_probability": own.expression_probability,
        "spotted_s": None if spotted.apex is None else _seconds(recording, found),
        "units": {name: sides and [round(side, 4) for side in sides] for name, sides in units.items()},
        **{name: list(answer.scores.values()) for name, answer in answers.items()},
    }


def _seconds(recording: Recording, frames: Mapping[str, int]) -> list[float]:
    return [round(float(recording.timestamps_s[frames[name]]), 6) for name in PHASE_NAMES]


def _name_of(unit: CodedUnit) -> str:
    """Return `L12`, `R12` or `12`."""
    return {"left": "L", "right": "R"}.get(unit.side, "") + str(unit.number)


def with_mean(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add a row `MEAN` for each recording: the mean of the networks' log-probabilities.

    It reports an expression where at least half of the networks do.
    """
    rows = list(rows)
    for group in grouped(rows, itemgetter("key")).values():
        mean = dict(group[0]) | {"model": MEAN}
        for name in PHASES:
            if name in mean:
                logs = np.log(np.maximum([row[name] for row in group], 1e-12)).mean(axis=0)
                mean[name] = (np.exp(logs) / np.exp(logs).sum()).tolist()
        reporting = sum(row["outcome"] in REPORTED for row in group)
        mean["outcome"] = REPORTED[0] if 2 * reporting >= len(group) else "not reported"
        likely = [row["expression_probability"] or 0.0 for row in group]
        mean["expression_probability"] = float(np.mean(likely))
        rows.append(mean)
    return rows
