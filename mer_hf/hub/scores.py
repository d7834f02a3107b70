"""The numbers of a card, each read from a file of the run: none is ever typed.

report.json       a protocol's scores on recorded clips
metrics.jsonl     its last line: scores on generated samples that were held out
evaluation.json   tables that were measured later: a list of {title, columns, rows, note}
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml


class Metric(NamedTuple):
    """A metric as it is called here and on the Hub.

    Attributes:
        title (`str`): For people.
        hub_id (`str`): Of the metric on the Hub.
        arguments (`dict`, *optional*): That make the Hub's metric this one.
    """

    title: str
    hub_id: str
    arguments: dict[str, str] | None = None


METRICS = {
    "uf1": Metric("UF1 (macro F1)", "f1", {"average": "macro"}),
    "uar": Metric("UAR (balanced accuracy)", "recall", {"average": "macro"}),
    "accuracy": Metric("accuracy", "accuracy"),
}
SELECTED = "_test_selected"
TASK = {"task_type": "video-classification", "task_name": "micro-expression recognition"}


def read_json(path: Path) -> Any:
    """What a JSON file holds, `{}` if it is not there.

    Raises:
        ValueError: In one line, if it is no JSON.
    """
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}). Make it again.") from error


def synthetic_scores(path: Path) -> dict[str, float]:
    """The scores on held-out generated samples at the end of a run's metrics.jsonl.

    Args:
        path (`Path`): Folder of the run.

    Returns:
        `dict[str, float]`: `samples`, `uf1`, `uar`, `accuracy`; `{}` if the run has none.
    """
    log = path / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.is_file() else []
    found = json.loads(lines[-1]).get("validation", {}) if lines else {}
    return found if set(METRICS) <= set(found) else {}


def eval_results(report: dict[str, Any], synthetic: dict[str, float] | None = None) -> list[EvalResult]:
    """The numbers of a run for the model's index.

    A report whose epoch was chosen on the tested clips has no measurement in it, and gives none.

    Args:
        report (`dict`): report.json, `{}` if there is none.
        synthetic (`dict`, *optional*): From [`synthetic_scores`].

    Returns:
        `list[EvalResult]`: One per metric and kind of data.
    """
    found = []
    if report and f"uf1{SELECTED}" not in report:
        names = ", ".join(report["per_dataset"])
        said = f"{report['clips']} clips, {report['subjects']} subjects, {report['protocol']}"
        found += _of(report, "micro-expression", f"{names} ({said})")
    if synthetic:
        name = f"generated motion, held out ({synthetic['samples']} samples)"
        found += _of(synthetic, "synthetic", name)
    return found


def _of(values: dict[str, Any], kind: str, name: str) -> list[EvalResult]:
    return [
        EvalResult(
            **TASK,
            dataset_type=kind,
            dataset_name=name,
            metric_type=metric.hub_id,
            metric_name=metric.title,
            metric_value=values[key],
            metric_args=metric.arguments,
        )
        for key, metric in METRICS.items()
    ]


def eval_entries(report: dict[str, Any], benchmark: str, commit: str | None = None) -> str:
    """The numbers of a report for a benchmark's page: the text of `.eval_results/<name>.yaml`.

    An entry has to name a data set of the Hub, and the recorded sets are not on it: it is the caller who says
    which benchmark was run.

    Args:
        report (`dict`): report.json.
        benchmark (`str`): `owner/name` of a data set of the Hub.
        commit (`str`, *optional*): Of the code.

    Returns:
        `str`: YAML, one entry per metric.

    Raises:
        ValueError: If the report holds no measurement.
    """
    if not report or f"uf1{SELECTED}" in report:
        raise ValueError(
            f"there is no measurement to name {benchmark} for: the checkpoint needs a report.json whose "
            "epoch was not chosen on the tested clips. Leave --benchmark out."
        )
    said = f"{report['protocol']}, {report['clips']} clips of {report['subjects']} subjects, seeds "
    said += ", ".join(map(str, report["seeds"])) + (f", mer_hf commit {commit}" if commit else "")
    entries = [
        EvalResultEntry(
            dataset_id=benchmark,
            task_id=f"micro-expression-recognition-{key}",
            value=report[key],
            notes=f"{metric.title}; {said}",
        )
        for key, metric in METRICS.items()
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)


def scores_text(report: dict[str, Any], synthetic: dict[str, float], tables: list[dict[str, Any]]) -> str:
    """What was measured, for people.

    Args:
        report (`dict`): report.json, `{}` if there is none.
        synthetic (`dict`): From [`synthetic_scores`].
        tables (`list[dict]`): evaluation.json.

    Returns:
        `str`: Markdown.
    """
    parts = [_recorded(report)] if report else []
    parts += [_table(each) for each in tables]
    if synthetic:
        values = ", ".join(f"{metric.title} {synthetic[key]:.3f}" for key, metric in METRICS.items())
        parts.append(
            f"On {synthetic['samples']} generated samples that no run trains on: {values}. This says how "
            "well it learnt the generator's motion, and little about people."
        )
    if not report and not tables:
        parts.append("No measurement on recordings comes with this checkpoint.")
    return "\n\n".join(parts)


MEASURED = "<!-- measured -->", "<!-- /measured -->"
"""Between them a card shows evaluation.json."""


def with_tables(card: str, tables: list[dict[str, Any]]) -> str:
    """A card that shows what was measured, in place of what it showed before.

    Args:
        card (`str`): Markdown; one without `MEASURED` stays as it is.
        tables (`list[dict]`): evaluation.json.

    Returns:
        `str`: Markdown.
    """
    start, end = MEASURED
    before, opened, rest = card.partition(start)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        return card
    notes = list(dict.fromkeys(table["note"] for table in tables if table.get("note")))
    shown = "\n\n".join([*(_table({**table, "note": None}) for table in tables), *notes])
    return f"{before}{start}\n\n{shown}\n\n{end}{after}"


def _recorded(report: dict[str, Any]) -> str:
    selected = f"uf1{SELECTED}" in report
    suffix, mark = (SELECTED, " (test-selected)") if selected else ("", "")
    lines = ["| metric | value | 95 % interval over subjects |", "|---|---|---|"]
    for name, metric in METRICS.items():
        interval = report[f"{name}{suffix}_interval"]
        shown = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-"
        lines.append(f"| {metric.title}{mark} | {report[name + suffix]:.3f} | {shown} |")
    said = (
        f"{report['clips']} clips of {report['subjects']} subjects, protocol {report['protocol']}, seeds "
        f"{', '.join(map(str, report['seeds']))}; computed from the log by `mer-hf report`."
    )
    parts = ["\n".join(lines), said, _of_each_set(report["per_dataset"], suffix, mark)]
    if selected:
        parts.insert(0, "**The epoch was chosen on the tested clips: these numbers are no measurement.**")
    return "\n\n".join(part for part in parts if part)


def _of_each_set(parts: dict[str, dict[str, Any]], suffix: str, mark: str) -> str:
    """The same predictions, split by data set; nothing for a single set."""
    if len(parts) < 2 or not all("uf1" + suffix in part for part in parts.values()):
        return ""
    title = " | ".join(metric.title + mark for metric in METRICS.values())
    lines = [f"| data set | clips | subjects | {title} |", "|---|---|---|---|---|---|"]
    for name, part in parts.items():
        values = " | ".join(f"{part[key + suffix]:.3f}" for key in METRICS)
        lines.append(f"| {name} | {part['clips']} | {part['subjects']} | {values} |")
    return "\n".join(lines)


def _table(given: dict[str, Any]) -> str:
    """One table of evaluation.json."""
    try:
        title, columns, rows = given["title"], given["columns"], given["rows"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"a table of evaluation.json needs title, columns and rows, got {given}.") from error
    if not columns or any(len(row) != len(columns) for row in rows):
        raise ValueError(f"the table {title!r} of evaluation.json needs {len(columns)} cells in every row.")
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    parts = [f"**{title}**", "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)]
    return "\n\n".join([*parts, given["note"]] if given.get("note") else parts)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
