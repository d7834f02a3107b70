"""The tab that explains: its text is explain.md; every number in it is read from the checkpoints' files."""

import json
from pathlib import Path

import gradio as gr
import yaml

from mer_hf import loading, registry

TEXT = Path(__file__).with_suffix(".md")


def build(models: list[str]) -> None:
    """Lays the tab out.

    Args:
        models (`list[str]`): Bundled checkpoints.
    """
    gr.Markdown(text(models), elem_id="explain")


def text(models: list[str]) -> str:
    """The explanation with its tables.

    Args:
        models (`list[str]`): Bundled checkpoints.

    Returns:
        `str`: Markdown.
    """
    return TEXT.read_text().format(
        networks=networks(models), recorded=recorded(models), synthetic=synthetic(models)
    )


def networks(models: list[str]) -> str:
    """What each network looks at, and how its relevance is made."""
    rows = ["| network | looks at | relevance |", "|---|---|---|"]
    for name in models:
        found = registry.ARCHITECTURES[name.partition("-")[0]]
        rows.append(f"| {name} | {found.looks_at} | {found.relevance_by} |")
    return "\n".join(rows)


def recorded(models: list[str]) -> str:
    """Scores on recordings, from the model index of each card; a card without one was not measured."""
    rows = ["| network | measured on | score | |", "|---|---|---|---|"]
    for name in models:
        results = _card(name).get("model-index", [])
        if not results:
            rows.append(f"| {name} | not measured on recordings | | |")
        for result in (each for entry in results for each in entry["results"]):
            for metric in result["metrics"]:
                rows.append(
                    f"| {name} | {result['dataset']['name']} | {metric['name']} | {metric['value']:.3f} |"
                )
    return "\n".join(rows)


def synthetic(models: list[str]) -> str:
    """What each makes of whole synthetic clips, in short, from its evaluation."""
    tables = {name: _in_short(name) for name in models}
    measures = list(dict.fromkeys(row for table in tables.values() for row in table))
    lines = [f"| | {' | '.join(models)} |", "|---" * (len(models) + 1) + "|"]
    for measure in measures:
        values = " | ".join(tables[name].get(measure, "") for name in models)
        lines.append(f"| {measure} | {values} |")
    return "\n".join(lines)


def _card(name: str) -> dict:
    """The header of a checkpoint's README."""
    return yaml.safe_load((loading.CHECKPOINTS / name / "README.md").read_text().split("---")[1])


def _in_short(name: str) -> dict[str, str]:
    """Measure -> value: the first table of a checkpoint's evaluation."""
    table = json.loads((loading.CHECKPOINTS / name / "evaluation.json").read_text())[0]
    return dict(table["rows"])
