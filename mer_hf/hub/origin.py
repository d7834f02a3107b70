"""Read where weights come from: what they were trained on, and by which command."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from mer_hf.training.config import NOT_STORED, RECIPES, TrainingConfig, flag_of
from mer_hf.utils.untrusted import read_records


def dataset_names(path: Path, report: dict[str, Any]) -> list[str]:
    """List the datasets that a run saw, by the names of the readers, from its report and clips.csv."""
    names = set(report.get("per_dataset", {}))
    clips = path / "clips.csv"
    if clips.is_file():
        names |= {row["dataset"] for _, row in read_records(clips, ("dataset",))}
    return sorted(names)


def training_facts(record: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return what the card says about the training: from train_config.json and [`dataset_names`]."""
    maps = str(record.get("data")).startswith("flows:")
    drawn = record.get("data") == "synthetic" or (maps and names == ["synthetic"])
    start = record.get("init_from")
    recipe = RECIPES / f"{PurePath(str(record.get('recipe'))).name}.yaml"
    # The recipes that go on from other weights name ours, which were trained on generated faces.
    ours = not start or (recipe.is_file() and f"init_from: {start}\n" in recipe.read_text())
    return {
        "known": bool(record),
        "drawn": drawn,
        "begun_from": without_folder(start) if start else "",
        "generated": drawn and ours,
        "data_form": "flows:FILE.npz" if maps else "DIR",
        "command": " \\\n  ".join(_command(record)) if record else "",
        "seeds": list(range(record.get("seed", 0), record.get("seed", 0) + record.get("num_seeds", 1))),
        "commit": record.get("commit"),
        "version": record.get("mer_hf"),
    }


def _command(record: dict[str, Any]) -> list[str]:
    """Return `train.py` with the flags that differ from their defaults, one a line."""
    lines = ["accelerate launch train.py"]
    # The model and the data are always named.
    defaults = asdict(TrainingConfig()) | {"model": None, "data": None}
    for name, default in defaults.items():
        value = record.get(name, default)
        if name in NOT_STORED or value == default:
            continue
        line = flag_of(name)
        if isinstance(value, dict):
            # A string that is not JSON is taken as a word, so it needs no quotes of its own.
            pairs = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in value.items()]
            line += f" {shlex.join(pairs)}"
        elif not isinstance(value, bool):
            line += f" {shlex.quote(without_folder(value) if isinstance(value, str) else str(value))}"
        lines.append(line)
    return [*lines, "--output-dir RUN"]


def without_folder(value: str) -> str:
    """Strip directories from absolute paths: local paths are private."""
    kind, colon, path = value.rpartition("flows:")
    if colon:
        return f"{kind}{colon}{PurePath(path).name}"
    return ",".join(
        PurePath(part).name if PurePath(part).is_absolute() else part for part in value.split(",")
    )


def public_record(record: dict[str, Any]) -> dict[str, Any]:
    """Return train_config.json without the folders of the machine that the run was on."""
    named = {name: record[name] for name in ("data", "init_from", "recipe") if record.get(name)}
    return record | {name: without_folder(value) for name, value in named.items()}
