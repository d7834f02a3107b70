"""Run folders: records of another type, logs and splits that contradict each other."""

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .cases import ABSURD, EITHER, JSON_TEXTS, REFUSED, SPECIAL, WRONG, Case, chance, damages, edit_json

RECORD, REPORT, SPLITS, LOG = "train_config.json", "report.json", "splits.json", "predictions.csv"
FIELDS = {
    RECORD: (
        "protocol",
        "seed",
        "num_seeds",
        "model",
        "class_names",
        "given",
        "clips_sha256",
        "splits_sha256",
        "started_with",
        "selection",
        "folds",
        "classes",
        "dtype_on_disk",
        "device",
    ),
    REPORT: (
        "protocol",
        "selection",
        "model",
        "seeds",
        "clips",
        "uf1",
        "uar",
        "accuracy",
        "clips_sha256",
        "splits_sha256",
    ),
}
READ = {
    "report": {RECORD: ("protocol", "class_names", "model", "clips_sha256", "splits_sha256")},
    "reproduce": {
        RECORD: ("protocol", "model", "class_names"),
        REPORT: ("selection", "seeds", "uf1", "splits_sha256"),
    },
    "resume": {RECORD: ("clips_sha256", "splits_sha256", "seed", "model")},
}
"""Command -> the fields that it cannot do without."""
COMMANDS = tuple(READ)


def copied(seeds: Path, folder: Path) -> Path:
    return Path(shutil.copytree(seeds / "run", folder / "run"))


def asked(seeds: Path, run: Path, command: str) -> list:
    if command == "resume":
        return ["train.py", "--resume", "--output-dir", run]
    if command == "reproduce":
        return ["mer-hf", "reproduce", run, "--data", f"flows:{seeds / 'maps.npz'}", "--json"]
    return ["mer-hf", "report", run, "--json"]


def _changed(seeds: Path, folder: Path, command: str, change: Callable[[Path], Any]) -> list:
    run = copied(seeds, folder)
    change(run)
    return asked(seeds, run, command)


def _set(run: Path, file: str, name: str, value: Any) -> None:
    edit_json(run / file, lambda settings: settings.update({name: value}))


def _write(run: Path, file: str, data: bytes) -> None:
    (run / file).write_bytes(data)


def _special(run: Path, file: str, make: Callable[[Path], Any]) -> None:
    (run / file).unlink()
    make(run / file)


def _damage(run: Path, file: str, damage: Callable[[bytes], bytes]) -> None:
    (run / file).write_bytes(damage((run / file).read_bytes()))


def _log(run: Path, change: Callable[[list[dict]], Any]) -> None:
    """Change the rows of the log."""
    with open(run / LOG, newline="") as file:
        rows = list(csv.DictReader(file))
    rows = change(rows) or rows
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    (run / LOG).write_text(text.getvalue())


def _of(rows: list[dict], name: str, value: Any) -> None:
    rows[2][name] = value


def _probabilities(rows: list[dict]) -> list[str]:
    return [name for name in rows[0] if name.startswith("p_")]


def _all_right(rows: list[dict]) -> None:
    for row in rows:
        row["prediction"] = row["label"]


def _same_share(rows: list[dict], value: Any) -> None:
    rows[2].update(dict.fromkeys(_probabilities(rows), value))


def _without_column(name: str) -> Callable[[list[dict]], Any]:
    def change(rows: list[dict]) -> None:
        for row in rows:
            row.pop(name)

    return change


LOGS: dict[str, Callable[[list[dict]], Any]] = {
    **{
        f"no column {name}": _without_column(name)
        for name in ("key", "seed", "fold", "label", "prediction", "selection")
    },
    **{
        f"{name} = {value!r}"[:40]: partial(_of, name=name, value=value)
        for name in ("seed", "epoch")
        for value in ("", "x", "nan", "1.5", "9" * 5000, "-1")
    },
    **{
        f"{name} = {value!r}": partial(_of, name=name, value=value)
        for name in ("label", "prediction", "selection")
        for value in ("", "x", "0")
    },
    **{
        f"probabilities = {value!r}": partial(_same_share, value=value)
        for value in ("", "x", "nan", "inf", "-1", "2", "1e300", "0")
    },
    "predictions that are not the largest probability": _all_right,
    "a row less": lambda rows: rows[:-1],
    "a fold less": lambda rows: [row for row in rows if row["fold"] != rows[0]["fold"]],
    "a row twice": lambda rows: [*rows, rows[0]],
    "a row of another fold": partial(_of, name="fold", value="elsewhere"),
    "a subject of another name": partial(_of, name="subject", value="nobody"),
    "an unknown clip": partial(_of, name="key", value="nobody/0"),
    "no row": lambda rows: [dict.fromkeys(rows[0], "")][:0] or [dict.fromkeys(rows[0], "")],
    "another label": lambda rows: _of(
        rows, "label", next(row["label"] for row in rows if row["label"] != rows[2]["label"])
    ),
}
OF_NAMES = ("a subject of another name", "epoch = '-1'")


def _splits(run: Path, change: Callable[[dict], Any]) -> None:
    edit_json(run / SPLITS, change)


def _first(splits: dict) -> dict:
    return splits[next(iter(splits))]


SPLITTINGS: dict[str, Callable[[dict], Any]] = {
    "tested clips in training": lambda splits: _first(splits)["train"].extend(_first(splits)["test"]),
    "a clip tested twice": lambda splits: list(splits.values())[1]["test"].extend(_first(splits)["test"]),
    "no tested clips": lambda splits: _first(splits)["test"].clear(),
    "no training": lambda splits: _first(splits)["train"].clear(),
    "unknown clips": lambda splits: _first(splits)["test"].append("nobody/0"),
    "a fold of another name": lambda splits: splits.update({"../x": splits.pop(next(iter(splits)))}),
    "a fold less": lambda splits: splits.pop(next(iter(splits))),
    "no folds": dict.clear,
    "lists": lambda splits: splits.update({name: [] for name in splits}),
    "numbers": lambda splits: _first(splits).update(test=[1, 2]),
    "null": lambda splits: _first(splits).update(test=None),
}


def cases() -> Iterator[Case]:
    def case(kind: str, name: str, command: str, change: Callable[[Path], Any], due: str = REFUSED) -> Case:
        make = partial(_changed, command=command, change=change)
        return Case("runs", kind, f"{command}: {name}", make, due)

    for command, needed in READ.items():
        for file, names in FIELDS.items():
            for name in names if command != "resume" or file == RECORD else ():
                rng = chance("run", command, file, name)
                kinds = [("records of another type", WRONG), ("absurd records", ABSURD)]
                for kind, values in kinds:
                    label, value = rng.choice(list(values.items()))
                    due = REFUSED if name in needed.get(file, ()) else EITHER
                    yield case(
                        kind,
                        f"{name} in {file} = {label}",
                        command,
                        partial(_set, file=file, name=name, value=value),
                        due,
                    )
    for command in COMMANDS:
        files = (
            (RECORD,)
            if command == "resume"
            else (RECORD, SPLITS)
            if command == "report"
            else (RECORD, REPORT, SPLITS)
        )
        for at, (kind, data) in enumerate(JSON_TEXTS.items()):
            file = files[at % len(files)]
            due = EITHER if (command, file) == ("report", SPLITS) else REFUSED
            yield case(
                "records that are none",
                f"{file}: {kind}",
                command,
                partial(_write, file=file, data=data),
                due,
            )
    for kind, change in LOGS.items():
        for command in ("report", "reproduce"):
            published = (command, kind) == ("reproduce", "no column label")  # as a published log is
            due = EITHER if kind in OF_NAMES or published else REFUSED
            yield case("logs", kind, command, partial(_log, change=change), due)
    for kind, change in SPLITTINGS.items():
        for command in ("report", "reproduce"):
            yield case("splits", kind, command, partial(_splits, change=change))
    for kind, damage in damages(b"", few=1).items():
        yield case("damaged", kind, "report", partial(_damage, file=LOG, damage=damage), EITHER)
    for kind, make in SPECIAL.items():
        for at, command in enumerate(COMMANDS):
            file = (RECORD, LOG, RECORD)[at]
            yield case("not a file", f"{file}: {kind}", command, partial(_special, file=file, make=make))
