"""Score what networks said about recordings: classes, outcomes, phases and action units, with intervals."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations, product
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from mer_hf.inference.pipeline import REPORTED
from mer_hf.labels import ACTION_UNITS
from mer_hf.utils.files import replacing
from mer_hf.utils.rendering import render

from . import metrics
from .recordings import PHASES, Pipelines, Recordings, ask, with_mean

TEMPLATE = Path(__file__).parent / "templates" / "recordings.txt.j2"
PUBLISHED = Path(__file__).parent / "recordings.json"
"""What `python -m benchmarks.recordings --publish` measured."""

Progress = Callable[[int, int], None]
Rows = list[dict[str, Any]]


def evaluate_recordings(
    pipelines: Pipelines, recordings: Recordings, selective: bool, mean: bool, progress: Progress
) -> tuple[Rows, dict[str, Any]]:
    """Ask networks about recordings, and score their answers.

    Args:
        pipelines (`Pipelines`): Networks of the same classes.
        recordings ([`Recordings`]): The clips.
        selective (`bool`): See [`score`].
        mean (`bool`): Whether the mean of the networks is scored too.
        progress (`Progress`): Called with the clips done and their total.

    Returns:
        `tuple`: The rows of [`ask`], and their [`score`].

    Raises:
        ValueError: If a network has other classes than the recordings.
    """
    classes, rows = recordings.classes, []
    for name, pipe in pipelines.items():
        own = tuple(pipe.model.config.id2label[index] for index in range(pipe.model.config.num_labels))
        if own != classes:
            raise ValueError(f"{name} knows {', '.join(own)}, not {', '.join(classes)}. Choose --classes.")
    for done, recording in enumerate(recordings, start=1):
        rows += ask(pipelines, recording)
        progress(done, len(recordings))
    rows = with_mean(rows) if mean else rows
    return rows, score(rows, classes, selective)


def format_scores(result: dict[str, Any], phases: str | None = None) -> str:
    """Return the result of [`score`] as text, of all phases or of one kind."""
    shown = [phases] if phases else list(PHASES)
    return render(TEMPLATE, result | {"phases": shown}).rstrip()


def published_tables(path: Path = PUBLISHED, short: bool = False) -> str:
    """Return the published numbers in Markdown, the main ones alone if `short`; `""` where there are none."""
    if not path.is_file():
        return ""
    from mer_hf.registry import ARCHITECTURES

    template = TEMPLATE.with_name("recordings_short.md.j2" if short else "recordings.md.j2")
    titles = {name: each.model_class.__name__.removesuffix("Model") for name, each in ARCHITECTURES.items()}
    return render(template, json.loads(path.read_text()) | {"titles": titles}).strip()


def write_rows(path: Path, rows: Rows) -> None:
    """Write rows as CSV; what is not a number or a word is written as JSON."""
    import pandas

    table = pandas.DataFrame(rows)
    nested = [name for name in table if table[name].map(lambda value: isinstance(value, list | dict)).any()]
    table[nested] = table[nested].map(lambda value: json.dumps(value) if value is not None else "")
    table["label"] = table["label"].astype("Int64")
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def score(
    rows: Rows, classes: tuple[str, ...], selective: bool = False, draws: int = metrics.DRAWS
) -> dict[str, Any]:
    """Score the rows of `recordings.ask`.

    Args:
        rows (`list[dict]`): Of one or several networks.
        classes (`tuple[str, ...]`): Class names in index order.
        selective (`bool`, *optional*, defaults to `False`): Whether spotted phases are scored as a user gets
            the answer: what is not reported is wrong. Otherwise a class is always taken.
        draws (`int`, *optional*, defaults to 2000): Draws of the bootstrap over subjects.

    Returns:
        `dict`: `clips`, `left_out` (emotion -> clips without a class), and `models`: name -> `classes`
        (phases -> scores), `outcomes`, `phases` and `action_units`. `differences` compares each two networks.
    """
    by_model = metrics.grouped(rows, itemgetter("model"))
    first = next(iter(by_model.values()))
    return {
        "clips": len(first),
        "classes": list(classes),
        "selective": selective,
        "left_out": dict(Counter(row["emotion"] for row in first if row["label"] is None)),
        "models": {name: _scores(group, classes, selective, draws) for name, group in by_model.items()},
        "differences": _differences(by_model, classes, selective, draws),
    }


def _scores(rows: Rows, classes: tuple[str, ...], selective: bool, draws: int) -> dict[str, Any]:
    """Return all scores of one network."""
    known = [phases for phases in PHASES if any(phases in row for row in rows)]
    return {
        "classes": {phases: _class_scores(rows, classes, phases, selective, draws) for phases in known},
        "outcomes": outcomes(rows),
        "phases": phase_errors(rows),
        "action_units": action_unit_scores(rows),
    }


def _predictions(rows: Rows, phases: str, selective: bool, refused: int) -> tuple[np.ndarray, ...]:
    """Return predictions, labels and subjects of the clips that have a class and these phases."""
    rows = [row for row in rows if row["label"] is not None and phases in row]
    refusing = selective and phases == "spotted"
    said = [
        refused if refusing and row["outcome"] not in REPORTED else int(np.argmax(row[phases]))
        for row in rows
    ]
    labels, subjects = ([row[name] for row in rows] for name in ("label", "subject"))
    return np.array(said), np.array(labels), np.array(subjects)


def _uf1(matrices: np.ndarray) -> np.ndarray:
    """UF1 where the last class is a refusal, which no clip truly is."""
    return metrics.f1_of(matrices)[..., :-1].mean(axis=-1)


def _uar(matrices: np.ndarray) -> np.ndarray:
    return metrics.recall_of(matrices)[..., :-1].mean(axis=-1)


def _class_scores(
    rows: Rows, classes: tuple[str, ...], phases: str, selective: bool, draws: int
) -> dict[str, Any]:
    """Return metrics with intervals over subjects, and the same for each dataset."""
    count = len(classes) + 1
    clips = _predictions(rows, phases, selective, len(classes))
    if not len(clips[0]):
        return {"clips": 0}
    matrix = metrics.confusion(*clips[:2], count)
    result: dict[str, Any] = {"clips": len(clips[0]), "subjects": len(np.unique(clips[2]))}
    for name, metric in (("uf1", _uf1), ("uar", _uar), ("accuracy", metrics.accuracy_of)):
        result[name] = float(metric(matrix))
        if result["subjects"] > 1:
            values = metrics.bootstrap_values(metric, *clips, count, draws)
            result[f"{name}_interval"] = metrics.interval_of(values)
    result["confusion"] = matrix[:-1].tolist()  # the last column: refused
    parts = metrics.grouped(rows, itemgetter("dataset"))
    if len(parts) > 1:
        result["per_dataset"] = {
            name: _class_scores(parts[name], classes, phases, selective, draws) for name in sorted(parts)
        }
    return result


def _differences(by_model: dict[str, Rows], classes: tuple[str, ...], selective: bool, draws: int) -> Rows:
    """Compare each two networks on the same clips: the difference in UF1 with its paired interval."""
    found, count = [], len(classes) + 1
    for models, phases in product(combinations(by_model, 2), PHASES):
        pair = [_predictions(by_model[name], phases, selective, len(classes)) for name in models]
        if len(np.unique(pair[0][2])) < 2:
            continue
        values = [metrics.bootstrap_values(_uf1, *clips, count, draws) for clips in pair]
        exact = [float(_uf1(metrics.confusion(*clips[:2], count))) for clips in pair]
        difference = {"uf1": exact[0] - exact[1], "interval": metrics.interval_of(values[0] - values[1])}
        found.append({"models": list(models), "phases": phases, **difference})
    return found


def outcomes(rows: Rows) -> dict[str, Any]:
    """Count the outcomes, with and without an expression, and how well the decision tells them apart."""
    shown = np.array([row["emotion"] != "neutral" for row in rows])
    likely = np.array([row["expression_probability"] or 0.0 for row in rows])
    reported = np.array([row["outcome"] in REPORTED for row in rows])
    result: dict[str, Any] = {"counts": dict(Counter(row["outcome"] for row in rows))}
    if shown.any():
        result["expressions_reported"] = float(reported[shown].mean())
    if not shown.all():
        result["neutral_left_alone"] = float(1 - reported[~shown].mean())
    if shown.any() and not shown.all():
        result["area_under_the_curve"] = float(roc_auc_score(shown, likely))
    return result


def phase_errors(rows: Rows) -> dict[str, Any]:
    """Return mean absolute errors of spotted phases in milliseconds, beside those of the midpoint."""
    pairs = [(row["spotted_s"], row["coded"]) for row in rows if row["coded"] and row.get("spotted_s")]
    if not pairs:
        return {}
    spotted, coded = (np.array(each) * 1000 for each in zip(*pairs, strict=True))
    onset, apex, offset = np.abs(spotted - coded).mean(axis=0).tolist()
    midpoint = float(np.abs(coded[:, [0, 2]].mean(axis=1) - coded[:, 1]).mean())
    errors = {"onset_ms": onset, "apex_ms": apex, "offset_ms": offset, "midpoint_ms": midpoint}
    return {"clips": len(pairs), **errors}


def action_unit_scores(rows: Rows, least: int = 4) -> dict[str, dict[str, Any]]:
    """Score estimated action units against coded ones: on either side (`AU12`), left (`L12`) and right.

    Units that are coded in fewer than `least` clips are left out.
    """
    rows = [row for row in rows if row["coded_units"] is not None]
    result = {}
    for name in ACTION_UNITS:
        number = name.removeprefix("AU")
        for at, side in ((2, "AU"), (0, "L"), (1, "R")):
            coded = {number, f"L{number}", f"R{number}"} if side == "AU" else {number, f"{side}{number}"}
            truth = np.array([bool(coded & set(row["coded_units"])) for row in rows])
            values = [row["units"].get(name) for row in rows]
            if truth.sum() < least or truth.all() or any(each is None for each in values):
                continue
            result[f"{side}{number}"] = _unit_scores(truth, np.array([each[at] for each in values]))
    return result


def _unit_scores(truth: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    said, coded = values >= 0.5, int(truth.sum())
    hits = int((said & truth).sum())
    precision, recall = hits / max(int(said.sum()), 1), hits / coded
    return {
        "coded": coded,
        "area_under_the_curve": float(roc_auc_score(truth, values)),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(precision + recall, 1e-9),
    }


def flat(result: Any, prefix: str = "") -> Iterable[tuple[str, float | int | str]]:
    """Return the numbers of a nested result, one a name."""
    if isinstance(result, dict):
        for name, value in result.items():
            yield from flat(value, f"{prefix}{name}/")
    elif prefix.endswith("_interval/"):
        yield f"{prefix.rstrip('/')}_low", round(result[0], 4)
        yield f"{prefix.rstrip('/')}_high", round(result[1], 4)
    elif isinstance(result, int | float | str):
        yield prefix.rstrip("/"), round(result, 4) if isinstance(result, float) else result
