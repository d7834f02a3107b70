"""Where weights come from: what they were trained on, under which terms, and by which command."""

import csv
import json
import shlex
from dataclasses import MISSING, fields
from pathlib import Path, PurePath
from typing import Any

import yaml

from mer_hf.training.config import NOT_STORED, TrainingConfig, flag_of

SYNTHETIC_LICENCE, RECORDED_LICENCE = "apache-2.0", "cc-by-nc-4.0"
GENERATED = (
    "No recorded expression was used. How often an action unit goes with an emotion, how the classes are "
    "shared out and where a face lies in its crop follow public statistics of CASME II, SAMM and the "
    "MEGC2019 composite; nothing else was taken from a recorded set."
)
RECORDED = (
    "The data sets of micro-expressions are given out for research under signed agreements and may not be "
    "passed on. No frame, crop or flow picture of them is part of this repository. Treat these weights as "
    "research weights that may not be used commercially."
)
UNKNOWN = "What these weights were trained on is not recorded, so they are treated as if on licensed data."
OTHERS = "| {name} | what its owner agreed to with the people in it | its owner |"


def is_synthetic(record: dict[str, Any]) -> bool:
    """Whether a run saw generated motion alone, from its train_config.json."""
    return record.get("data") == "synthetic" and not record.get("init_from")


def data_sets(path: Path, report: dict[str, Any]) -> tuple[str, ...]:
    """The recorded data sets that a run saw, from its own files.

    Args:
        path (`Path`): Folder of the run.
        report (`dict`): report.json, `{}` if there is none.

    Returns:
        `tuple[str, ...]`: Names as the readers call them; empty if no file says so.
    """
    names = set(report.get("per_dataset", {}))
    clips = path / "clips.csv"
    if clips.is_file():
        with open(clips, newline="") as file:
            names |= {row["dataset"] for row in csv.DictReader(file)}
    return tuple(sorted(names))


def data_text(record: dict[str, Any], names: tuple[str, ...], agreements: Path) -> tuple[str, str]:
    """Words on the training data, and the licence of the weights.

    Args:
        record (`dict`): train_config.json.
        names (`tuple[str, ...]`): From [`data_sets`].
        agreements (`Path`): The table of what each data set's agreement says.

    Returns:
        `tuple[str, str]`: Markdown, and a licence of the Hub.
    """
    if is_synthetic(record):
        return GENERATED, SYNTHETIC_LICENCE
    if not record:
        return f"{UNKNOWN} {RECORDED}", RECORDED_LICENCE
    if not names:
        return RECORDED, RECORDED_LICENCE
    known = yaml.safe_load(agreements.read_text())
    lines = ["| data set | terms | ask |", "|---|---|---|"]
    for name in names:
        row = known.get(name)
        lines.append(
            f"| {row['title']} | {row['terms']} | {row['ask']} |" if row else OTHERS.format(name=name)
        )
    return f"{RECORDED}\n\n" + "\n".join(lines), RECORDED_LICENCE


def training_text(record: dict[str, Any]) -> str:
    """One sentence on what was trained on."""
    if not record:
        return "How it was trained is not known."
    start = f", begun from `{_without_folder(record['init_from'])}`" if record.get("init_from") else ""
    if record.get("data") == "synthetic":
        alone = (
            ""
            if start
            else "**It was trained on no recorded expression**, only on motion that a generator drew."
        )
        return alone or f"It was trained on motion that a generator drew{start}."
    return f"It was trained on recorded micro-expressions{start}."


def made_by(record: dict[str, Any]) -> str:
    """The command, seeds and commit of a run, in Markdown.

    Args:
        record (`dict`): train_config.json.

    Returns:
        `str`: Empty if there is no record.
    """
    if not record:
        return ""
    seeds = range(record.get("seed", 0), record.get("seed", 0) + record.get("num_seeds", 1))
    commit = record.get("commit")
    facts = [
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}",
        f"commit `{commit}`" if commit else "commit not recorded",
        f"mer_hf {record['mer_hf']}" if record.get("mer_hf") else "",
    ]
    lines = " \\\n  ".join(_command(record))
    return f"```bash\n{lines}\n```\n\n" + ", ".join(fact for fact in facts if fact) + "."


def _command(record: dict[str, Any]) -> list[str]:
    """`train.py` with the flags that differ from their defaults."""
    lines = ["accelerate launch train.py"]
    for spec in fields(TrainingConfig):
        if spec.name in NOT_STORED or spec.name not in record or record[spec.name] == _default(spec):
            continue
        value, flag = record[spec.name], flag_of(spec.name)
        if isinstance(value, dict):
            # A string that is no JSON is taken as a word, so it needs no marks of its own.
            pairs = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in value.items()]
            lines.append(f"{flag} {shlex.join(pairs)}")
        elif isinstance(value, bool):
            lines.append(flag)
        else:
            lines.append(
                f"{flag} {shlex.quote(_without_folder(value) if isinstance(value, str) else str(value))}"
            )
    return [*lines, "--output-dir RUN"]


def _default(spec) -> Any:
    # The model and the data are named even where they are the default.
    if spec.name in ("model", "data"):
        return None
    return spec.default_factory() if spec.default_factory is not MISSING else spec.default


def _without_folder(value: str) -> str:
    """A file or folder by its own name: where it lay is nobody's business."""
    kind, colon, path = value.rpartition("flows:")
    if colon:
        return f"{kind}{colon}{PurePath(path).name}"
    return ",".join(
        PurePath(part).name if PurePath(part).is_absolute() else part for part in value.split(",")
    )


def public_record(record: dict[str, Any]) -> dict[str, Any]:
    """train_config.json without the folders of the machine that the run was on."""
    named = {name: record[name] for name in ("data", "init_from", "recipe") if record.get(name)}
    return record | {name: _without_folder(value) for name, value in named.items()}
