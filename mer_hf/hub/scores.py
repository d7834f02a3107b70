"""Read the numbers of a card from the files of a run; none is ever typed.

report.json       a protocol's scores on recorded clips
metrics.jsonl     its last line: scores on held-out generated samples
evaluation.json   tables that were measured later: a list of {title, columns, rows, note}
"""

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml

from mer_hf.utils.untrusted import check_kinds, read_json_lines


class Metric(NamedTuple):
    """A metric with its key in a report, its title, and the Hub's metric that it equals with `arguments`."""

    key: str
    title: str
    hub_id: str
    arguments: dict[str, str] | None = None


METRICS = (
    Metric("uf1", "UF1 (macro F1)", "f1", {"average": "macro"}),
    Metric("uar", "UAR (balanced accuracy)", "recall", {"average": "macro"}),
    Metric("accuracy", "accuracy", "accuracy"),
)
TASK = {"task_type": "video-classification", "task_name": "micro-expression recognition"}
NUMBERS = ("samples", *(metric.key for metric in METRICS))
TABLE_KINDS = {"title": str, "columns": list[str], "rows": list[list], "note": str | None}
MEASURED = "<!-- measured -->", "<!-- /measured -->"
"""Marks in a card between which evaluation.json is shown."""


def synthetic_scores(path: Path) -> dict[str, float]:
    """Return a run's scores on held-out generated samples, from the end of its metrics.jsonl, or `{}`."""
    lines = read_json_lines(path / "metrics.jsonl", {"validation": dict[str, Any] | None})
    scores = (lines[-1].get("validation") if lines else None) or {}
    check_kinds(scores, dict.fromkeys(NUMBERS, float | None), f"{path}/metrics.jsonl")
    return {} if None in map(scores.get, NUMBERS) else scores


def is_test_selected(report: dict[str, Any]) -> bool:
    """Tell whether the epoch was chosen on the tested clips: such a report contains no measurement."""
    return "uf1_test_selected" in report


def eval_results(report: dict[str, Any], synthetic: dict[str, float]) -> list[EvalResult]:
    """List the results for the model-index: one per metric and kind of data."""
    measured = []
    if report and not is_test_selected(report):
        facts = f"{report['clips']} clips, {report['subjects']} subjects, {report['protocol']}"
        measured.append((report, "micro-expression", f"{', '.join(report['per_dataset'])} ({facts})"))
    if synthetic:
        name = f"generated motion, held out ({synthetic['samples']} samples)"
        measured.append((synthetic, "synthetic", name))
    return [
        EvalResult(
            **TASK,
            dataset_type=kind,
            dataset_name=name,
            metric_type=metric.hub_id,
            metric_name=metric.title,
            metric_value=values[metric.key],
            metric_args=metric.arguments,
        )
        for values, kind, name in measured
        for metric in METRICS
    ]


def eval_entries(report: dict[str, Any], benchmark: str, commit: str | None = None) -> str:
    """Return the text of `.eval_results/<name>.yaml`: a report's numbers for a benchmark's page on the Hub.

    The caller names the benchmark, a dataset on the Hub, because the recorded datasets are not there.
    """
    if not report or is_test_selected(report):
        raise ValueError(
            f"there is no measurement to publish for {benchmark}: the checkpoint needs a report.json whose "
            "epoch was not chosen on the tested clips. Remove --benchmark."
        )
    facts = f"{report['protocol']}, {report['clips']} clips of {report['subjects']} subjects, seeds "
    facts += ", ".join(map(str, report["seeds"])) + (f", mer_hf commit {commit}" if commit else "")
    entries = [
        EvalResultEntry(
            dataset_id=benchmark,
            task_id=f"micro-expression-recognition-{metric.key}",
            value=report[metric.key],
            notes=f"{metric.title}; {facts}",
        )
        for metric in METRICS
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)


def with_tables(card: str, tables: list[dict[str, Any]]) -> str:
    """Return a card that shows the tables of evaluation.json between its `MEASURED` marks, if it has both."""
    start, end = MEASURED
    before, opened, rest = card.partition(start)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        return card
    notes = list(dict.fromkeys(table["note"] for table in tables if table.get("note")))
    shown = "\n\n".join([*(table_text({**table, "note": None}) for table in tables), *notes])
    return f"{before}{start}\n\n{shown}\n\n{end}{after}"


def table_text(table: dict[str, Any]) -> str:
    """Return one table of evaluation.json in Markdown."""
    check_kinds(table, TABLE_KINDS, "a table of evaluation.json")
    title, columns, rows = table["title"], table["columns"], table["rows"]
    if not columns or any(len(row) != len(columns) for row in rows):
        raise ValueError(f"the table {title!r} of evaluation.json needs {len(columns)} cells in every row.")
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    parts = [f"**{title}**", "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)]
    return "\n\n".join([*parts, table["note"]] if table.get("note") else parts)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
