"""Score what networks said about recordings: classes, outcomes, phases and action units, with intervals."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mer_hf.inference.pipeline import PHASE_NAMES, REPORTED, MicroExpressionPipeline
from mer_hf.labels import ACTION_UNITS
from mer_hf.utils.files import replacing
from mer_hf.utils.rendering import render

from .metrics import accuracy_of, bootstrap_values, confusion, f1_of, interval_of
from .recordings import PHASES, Recordings, ask, with_mean

TEMPLATE = Path(__file__).parent / "templates" / "recordings.txt.j2"
PUBLISHED = Path(__file__).parent / "recordings.json"
"""What `python -m benchmarks.recordings --publish` measured."""

Rows = list[dict[str, Any]]


def evaluate_recordings(
    pipelines: Mapping[str, MicroExpressionPipeline],
    recordings: Recordings,
    selective: bool = False,
    mean: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Rows, dict[str, Any]]:
    """Ask networks about recordings, and score their answers.

    Args:
        pipelines (`Mapping[str, MicroExpressionPipeline]`): Name -> network of the same classes.
        recordings ([`Recordings`]): The clips.
        selective (`bool`, *optional*, defaults to `False`): See [`score`].
        mean (`bool`, *optional*, defaults to `False`): Whether the mean of the networks is scored too.
        progress (`Callable[[int, int], None]`, *optional*): Called with the clips done and their total.

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
        if progress:
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


def score(rows: Rows, classes: tuple[str, ...], selective: bool = False, draws: int = 2000) -> dict[str, Any]:
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
    names = list(dict.fromkeys(row["model"] for row in rows))
    by_model = {name: [row for row in rows if row["model"] == name] for name in names}
    first = by_model[names[0]]
    classed = {
        name: {
            phases: _class_scores(group, classes, phases, selective and phases == "spotted", draws)
            for phases in PHASES
            if any(phases in row for row in group)
        }
        for name, group in by_model.items()
    }
    return {
        "clips": len(first),
        "classes": list(classes),
        "selective": selective,
        "left_out": dict(Counter(row["emotion"] for row in first if row["label"] is None)),
        "models": {
            name: {
                "classes": classed[name],
                "outcomes": outcomes(group),
                "phases": phase_errors(group),
                "action_units": action_unit_scores(group),
            }
            for name, group in by_model.items()
        },
        "differences": _differences(by_model, classes, selective, draws),
    }


def _predictions(rows: Rows, phases: str, selective: bool, refused: int) -> tuple[np.ndarray, ...]:
    """Return predictions, labels and subjects of the clips that have a class and these phases."""
    rows = [row for row in rows if row["label"] is not None and phases in row]
    said = [
        refused if selective and row["outcome"] not in REPORTED else int(np.argmax(row[phases]))
        for row in rows
    ]
    return (
        np.array(said),
        np.array([row["label"] for row in rows]),
        np.array([row["subject"] for row in rows]),
    )


def _uf1(matrices: np.ndarray) -> np.ndarray:
    """UF1 where the last class is a refusal, which no clip truly is."""
    return f1_of(matrices)[..., :-1].mean(axis=-1)


def _uar(matrices: np.ndarray) -> np.ndarray:
    hits, clips = np.diagonal(matrices, axis1=-2, axis2=-1), matrices.sum(axis=-1)
    return (hits / np.maximum(clips, 1))[..., :-1].mean(axis=-1)


def _class_scores(
    rows: Rows, classes: tuple[str, ...], phases: str, selective: bool, draws: int
) -> dict[str, Any]:
    """Return metrics with intervals over subjects, and the same for each dataset."""
    clips = _predictions(rows, phases, selective, len(classes))
    if not len(clips[0]):
        return {"clips": 0}
    matrix = confusion(*clips[:2], len(classes) + 1)
    result: dict[str, Any] = {"clips": len(clips[0]), "subjects": len(np.unique(clips[2]))}
    for name, metric in (("uf1", _uf1), ("uar", _uar), ("accuracy", accuracy_of)):
        result[name] = float(metric(matrix))
        if result["subjects"] > 1:
            result[f"{name}_interval"] = interval_of(
                bootstrap_values(metric, *clips, len(classes) + 1, draws)
            )
    result["confusion"] = matrix[:-1].tolist()  # the last column: refused
    datasets = sorted({row["dataset"] for row in rows})
    if len(datasets) > 1:
        parts = {name: [row for row in rows if row["dataset"] == name] for name in datasets}
        result["per_dataset"] = {
            name: _class_scores(part, classes, phases, selective, draws) for name, part in parts.items()
        }
    return result


def _differences(by_model: dict[str, Rows], classes: tuple[str, ...], selective: bool, draws: int) -> Rows:
    """Compare each two networks on the same clips: the difference in UF1 with its paired interval."""
    found = []
    for one, other in combinations(by_model, 2):
        for phases in PHASES:
            pair = [
                _predictions(by_model[name], phases, selective and phases == "spotted", len(classes))
                for name in (one, other)
            ]
            if len(np.unique(pair[0][2])) < 2:
                continue
            values = [bootstrap_values(_uf1, *clips, len(classes) + 1, draws) for clips in pair]
            exact = [float(_uf1(confusion(*clips[:2], len(classes) + 1))) for clips in pair]
            interval = interval_of(values[0] - values[1])
            found.append({"models": [one, other], "phases": phases, "uf1": exact[0] - exact[1],
                          "interval": interval})  # fmt: skip
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
        result["area_under_the_curve"] = _area(shown, likely)
    return result


def _area(truth: np.ndarray, values: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, values))


def phase_errors(rows: Rows) -> dict[str, Any]:
    """Return mean absolute errors of spotted phases in milliseconds, beside those of the midpoint."""
    pairs = [(row["spotted_s"], row["coded"]) for row in rows if row["coded"] and row.get("spotted_s")]
    if not pairs:
        return {}
    spotted, coded = (np.array(each) * 1000 for each in zip(*pairs, strict=True))
    errors = np.abs(spotted - coded).mean(axis=0)
    middle = coded[:, [0, 2]].mean(axis=1)
    return {
        "clips": len(pairs),
        **{f"{name}_ms": float(error) for name, error in zip(PHASE_NAMES, errors, strict=True)},
        "midpoint_ms": float(np.abs(middle - coded[:, 1]).mean()),
    }


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
    said = values >= 0.5
    hits = int((said & truth).sum())
    precision, recall = hits / max(int(said.sum()), 1), hits / int(truth.sum())
    return {
        "coded": int(truth.sum()),
        "area_under_the_curve": _area(truth, values),
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
