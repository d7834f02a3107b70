"""The tab that explains: its text is explain.md; every number in it is read from files of measurements."""

import json
from pathlib import Path

import yaml

from mer_hf import loading, registry
from mer_hf.evaluation.recording_scores import published_tables
from mer_hf.utils.rendering import render

TEXT = Path(__file__).with_suffix(".md")


def text(models: list[str]) -> str:
    """Return the explanation of the bundled `models`, as Markdown with its tables."""
    synthetic = {name: _first_table(name) for name in models}
    values = {
        "architectures": {name: registry.ARCHITECTURES[name.partition("-")[0]] for name in models},
        "recorded": {name: _results(name) for name in models},
        "published": published_tables(),
        "synthetic": synthetic,
        "measures": list(dict.fromkeys(measure for table in synthetic.values() for measure in table)),
    }
    return render(TEXT, values)


def _results(name: str) -> list[tuple[str, str, float]]:
    """Read dataset, metric and value of each score on recordings from the header of a checkpoint's card."""
    card = yaml.safe_load((loading.CHECKPOINTS / name / "README.md").read_text().split("---")[1])
    results = [result for entry in card.get("model-index", []) for result in entry["results"]]
    return [
        (result["dataset"]["name"], metric["name"], metric["value"])
        for result in results
        for metric in result["metrics"]
    ]


def _first_table(name: str) -> dict[str, str]:
    """Read measure -> value from the first table of a checkpoint's evaluation."""
    return dict(json.loads((loading.CHECKPOINTS / name / "evaluation.json").read_text())[0]["rows"])
