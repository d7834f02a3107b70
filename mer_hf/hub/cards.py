"""Model cards: a template, the architecture's own words, and numbers that are read and never typed.

The texts lie in `hub_cards/`: `template.md` and one file per architecture with the sections `about` and
`limits`.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from safetensors import safe_open

from .folder import Source

HERE = Path(__file__).resolve()
PLACES = (HERE.parents[2] / "hub_cards", HERE.parents[1] / "_data" / "hub_cards")
"""In a checkout, and in an installed wheel."""

METRICS = {"uf1": "UF1 (macro F1)", "uar": "UAR (balanced accuracy)", "accuracy": "accuracy"}
SELECTED = "_test_selected"


def texts_folder() -> Path:
    """Where the texts of the cards are.

    Raises:
        ValueError: If the installation lacks them.
    """
    for place in PLACES:
        if (place / "template.md").is_file():
            return place
    raise ValueError(
        "the texts of the cards (hub_cards) are missing from this installation. Install it again."
    )


def sections(path: Path) -> dict[str, str]:
    """The sections of an architecture's text, by their headings."""
    found = {}
    for part in path.read_text().split("## ")[1:]:
        title, _, body = part.partition("\n")
        found[title.strip()] = body.strip()
    return found


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def eval_results(report: dict[str, Any]) -> list[EvalResult]:
    """The numbers of a report for the model's index.

    A report whose epoch was chosen on the tested clips has no measurement in it, and gives none.

    Args:
        report (`dict`): report.json, `{}` if there is none.

    Returns:
        `list[EvalResult]`: One per metric.
    """
    if not report or f"uf1{SELECTED}" in report:
        return []
    names = ", ".join(report["per_dataset"])
    said = f"{report['clips']} clips, {report['subjects']} subjects, {report['protocol']}"
    return [
        EvalResult(
            task_type="video-classification",
            task_name="micro-expression recognition",
            dataset_type="micro-expression",
            dataset_name=f"{names} ({said})",
            metric_type=name,
            metric_name=title,
            metric_value=report[name],
        )
        for name, title in METRICS.items()
    ]


def _scores(report: dict[str, Any]) -> str:
    if not report:
        return "It has not been measured on recordings."
    selected = f"uf1{SELECTED}" in report
    suffix, mark = (SELECTED, " (test-selected)") if selected else ("", "")
    lines = ["| metric | value | 95 % interval over subjects |", "|---|---|---|"]
    for name, title in METRICS.items():
        interval = report[f"{name}{suffix}_interval"]
        shown = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-"
        lines.append(f"| {title}{mark} | {report[name + suffix]:.3f} | {shown} |")
    said = (
        f"{report['clips']} clips of {report['subjects']} subjects, protocol {report['protocol']}, seeds "
        f"{', '.join(map(str, report['seeds']))}; computed from the log by `mer-hf report`."
    )
    warning = (
        "**The epoch was chosen on the tested clips: these numbers are no measurement.**\n\n"
        if selected
        else ""
    )
    return warning + "\n".join(lines) + "\n\n" + said


def _training(record: dict[str, Any]) -> str:
    if record.get("data") == "synthetic":
        return "**It was trained on no recorded expression**, only on motion that a generator drew."
    start = f", begun from `{record['init_from']}`" if record.get("init_from") else ""
    return (
        f"It was trained on recorded micro-expressions{start}."
        if record
        else "How it was trained is not known."
    )


def _data(record: dict[str, Any]) -> tuple[str, str]:
    """Words on the training data, and the licence of the weights."""
    if record.get("data") == "synthetic":
        words = (
            "No recorded face was used. How often an action unit goes with an emotion, how the classes are "
            "shared out and where a face lies in its crop follow public statistics of CASME II, SAMM and "
            "the MEGC2019 composite."
        )
        return words, "apache-2.0"
    words = (
        "The data sets of micro-expressions are given out for research under signed agreements and may not "
        "be passed on. No frame, crop or flow picture of them is part of this repository. Treat these "
        "weights as research weights that may not be used commercially."
    )
    return words, "cc-by-nc-4.0"


def _parameters(source: Source) -> int:
    total = 0
    for name in source.weights:
        with safe_open(source.path / name, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 (it is no dictionary)
                size = 1
                for side in file.get_slice(key).get_shape():
                    size *= side
                total += size
    return total


def model_card(source: Source, repo_id: str) -> str:
    """The card of a checkpoint, with checked metadata.

    Args:
        source ([`Source`]): The checkpoint.
        repo_id (`str`): Where it is going to be.

    Returns:
        `str`: README.md.

    Raises:
        ValueError: If a text of the card is missing.
    """
    config = _read_json(source.path / "config.json")
    record, report = (_read_json(source.path / name) for name in ("train_config.json", "report.json"))
    folder, key = texts_folder(), source.architecture.key
    words, licence = _data(record)
    data = ModelCardData(
        license=licence,
        library_name="transformers",
        pipeline_tag="video-classification",
        tags=["micro-expression-recognition", "facial-expression", key],
        metrics=["f1", "recall", "accuracy"],
        model_name=repo_id.split("/")[-1],
        eval_results=eval_results(report) or None,
    )
    own = sections(folder / f"{key}.md")
    card = ModelCard.from_template(
        data,
        template_path=str(folder / "template.md"),
        repo_id=repo_id,
        about=own["about"],
        limits=own["limits"],
        parameters=f"{_parameters(source):,}",
        classes=", ".join(config["id2label"].values()),
        training=_training(record),
        scores=_scores(report),
        data=words,
        picture=next(iter(source.pictures), ""),
    )
    return str(card)
