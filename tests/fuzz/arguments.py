"""Arguments of the command line: numbers out of every range, and paths that cannot be."""

from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path

from .cases import EITHER, REFUSED, Case

NO_NUMBERS = (
    "",
    " ",
    "text",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "0x10",
    "1,5",
    "9" * 20,
    "-1",
    "1e300",
    "--json",
)
"""Values that no numeric option takes."""
FEW = ("1e-300", "1e-9", "1e9", "0")
"""Values that few of them take."""
OPTIONS = {
    "predict": ("--fps", "--face"),
    "spot": ("--window", "--face"),
    "prepare": ("--workers",),
    "synth-flows": ("--subjects", "--seed"),
    "measure": ("--clips", "--workers"),
    "calibrate": ("--rounds", "--workers"),
    "push-synthetic": ("--subjects", "--seed"),
}
"""Command -> its numeric options; `predict` also takes frames, which may be names of files."""
PHASES = ("--onset", "--apex", "--offset")
FROM_ZERO = ("--seed",)
TRAIN = (
    "train.py --num-samples 4 --validation-samples 0 --num-workers 0 --max-steps 1 --batch-size 2 "
    "--generator filmed=0 --config hidden_size=12 num_attention_heads=3 depths=[1,1,1] "
    "--processor flow_method=dis"
)
"""A training of a second."""


def _command(seeds: Path, folder: Path, command: str) -> list:
    model = ["--model", seeds / "htnet"]
    return {
        "predict": ["mer-hf", "predict", seeds / "face.mp4", *model, "--json"],
        "spot": ["mer-hf", "spot", seeds / "face.mp4", *model, "--json"],
        "prepare": ["mer-hf", "prepare", "table", "--csv", seeds / "none.csv", "--out", folder / "out"],
        "synth-flows": ["mer-hf", "synth-flows", "--out", folder / "out.npz"],
        "measure": ["mer-hf", "measure", seeds / "htnet"],
        "calibrate": ["mer-hf", "calibrate", seeds / "htnet"],
        "push-synthetic": ["mer-hf", "push-synthetic", "owner/name", "--dry-run"],
    }[command]


def _option(seeds: Path, folder: Path, command: str, option: str, value: str) -> list:
    given = [f"{option}={value}"] if value.startswith("-") else [option, value]
    return [*_command(seeds, folder, command), *given]


def _flag(seeds: Path, folder: Path, flag: str, value: str) -> list:
    quick = TRAIN.split()
    if flag in quick:
        del quick[quick.index(flag) : quick.index(flag) + 2]
    given = [f"{flag}={value}"] if value.startswith("-") else [flag, value]
    return [*quick, "--output-dir", folder / "run", "--cache-dir", folder / "drawn", *given]


def _training() -> Iterator[tuple[str, type, float]]:
    """Numeric flags of train.py: name, type and least value."""
    from mer_hf.training.config import TrainingConfig, flag_of

    for spec in fields(TrainingConfig):
        kinds = {int: int, float: float, int | None: int, float | None: float}
        if spec.type in kinds:
            yield flag_of(spec.name), kinds[spec.type], spec.metadata.get("least", 1)


PLACES = {
    "missing": "nowhere/file",
    "a folder": ".",
    "below a file": "face.mp4/file",
    "no permission": "/proc/nowhere/file",
    "the root": "/",
    "empty": "",
    "a long name": "n" * 300,
    "a device": "/dev/full",
    "zeros": "/dev/zero",
    "a terminal's name": "\x1b[2J",
    "an address": "https://localhost:1/x.mp4",
    "a file of passwords": "/etc/passwd",
}
OUTPUTS = ("below a file", "no permission", "a long name")
"""Places where nothing can be written."""
PATHS = {
    "predict CLIP": "mer-hf predict PATH --json",
    "predict --model": "mer-hf predict SEEDS/face.mp4 --model PATH",
    "spot VIDEO": "mer-hf spot PATH --model SEEDS/htnet",
    "evaluate --flows": "mer-hf evaluate --flows PATH --model SEEDS/htnet",
    "evaluate --data": "mer-hf evaluate --data PATH --model SEEDS/htnet",
    "report": "mer-hf report PATH",
    "reproduce": "mer-hf reproduce PATH --data flows:SEEDS/maps.npz",
    "prepare --csv": "mer-hf prepare table --csv PATH --out FOLDER/out",
    "prepare --root": "mer-hf prepare casme2 --root PATH --out FOLDER/out",
    "convert": "mer-hf convert htnet PATH FOLDER/out",
    "push": "mer-hf push PATH owner/name --dry-run",
    "measure": "mer-hf measure PATH --clips 1 --workers 1",
    "train --data": "train.py --output-dir FOLDER/run --protocol loso --data flows:PATH",
    "train --recipe": "train.py --output-dir FOLDER/run --recipe PATH.yaml",
    "train --init-from": f"{TRAIN} --output-dir FOLDER/run --init-from PATH",
}
WRITTEN = {
    "predict --out": "mer-hf predict SEEDS/frames --fps 30 --out PATH.csv --model SEEDS/htnet",
    "predict --npz": "mer-hf predict SEEDS/face.mp4 --model SEEDS/htnet --npz PATH.npz",
    "spot --csv": "mer-hf spot SEEDS/face.mp4 --model SEEDS/htnet --csv PATH.csv",
    "evaluate --log": "mer-hf evaluate --flows SEEDS/maps.npz --model SEEDS/htnet --log PATH",
    "prepare --out": "mer-hf prepare table --csv SEEDS/none.csv --out PATH",
    "synth-flows --out": "mer-hf synth-flows --subjects 1 --out PATH.npz",
    "train --output-dir": f"{TRAIN} --output-dir PATH",
    "train --cache-dir": f"{TRAIN} --output-dir FOLDER/run --cache-dir PATH",
}


def _place(seeds: Path, folder: Path, command: str, place: str) -> list:
    path = place if place[:1] in ("", "/", "\x1b") or "://" in place else str(seeds / place)
    words = command.replace("SEEDS", str(seeds)).replace("FOLDER", str(folder)).split()
    return [word.replace("PATH", path) for word in words]


OTHERS = {
    "train --classes": f"{TRAIN} --output-dir FOLDER/run --classes a,a",
    "train --generator": f"{TRAIN} --output-dir FOLDER/run --generator peak_px=nan",
    "train --config": f"{TRAIN} --output-dir FOLDER/run --config hidden_size=1e300",
    "train --config deep": f"{TRAIN} --output-dir FOLDER/run --config depths={'[' * 5000}",
    "train --config huge": f"{TRAIN} --output-dir FOLDER/run --config hidden_size=1048576",
    "train --processor": f"{TRAIN} --output-dir FOLDER/run --processor size=99999",
    "train --lr-of": f"{TRAIN} --output-dir FOLDER/run --lr-of head=nan",
    "predict --action-units": "mer-hf predict SEEDS/face.mp4 --model SEEDS/htnet --action-units AU999",
    "push --revision": "mer-hf push SEEDS/htnet owner/name --revision ../x --dry-run",
    "push owner": "mer-hf push SEEDS/htnet ../name --dry-run",
    "deploy": "mer-hf deploy-space owner/name --variable a --dry-run",
}


def cases() -> Iterator[Case]:
    for command, options in OPTIONS.items():
        for option in options:
            for value in (*NO_NUMBERS, *FEW):
                due = EITHER if value == "0" and option in FROM_ZERO else REFUSED
                make = partial(_option, command=command, option=option, value=value)
                yield Case(
                    "arguments",
                    "numbers of a command",
                    f"{command} {option} {value!r}",
                    make,
                    due,
                    command == "predict",
                )
    for option in PHASES:
        for value in (*NO_NUMBERS, "1e-9", "10"):
            make = partial(_option, command="predict", option=option, value=value)
            yield Case("arguments", "frames", f"{option} {value!r}", make, REFUSED, True)
    for at, (flag, kind, least) in enumerate(_training()):
        for value in [*(NO_NUMBERS[(at + step) % len(NO_NUMBERS)] for step in (0, 5)), "9" * 20, FEW[at % 3]]:
            due = EITHER if value in FEW and kind is float else REFUSED
            yield Case(
                "arguments",
                "numbers of training",
                f"{flag} {value!r}",
                partial(_flag, flag=flag, value=value),
                due,
            )
        if least == 1:
            yield Case(
                "arguments",
                "numbers of training",
                f"{flag} '0'",
                partial(_flag, flag=flag, value="0"),
                EITHER,
            )
    for name, command in PATHS.items():
        for kind, place in PLACES.items():
            yield Case("arguments", "paths", f"{name}: {kind}", partial(_place, command=command, place=place))
    for name, command in WRITTEN.items():
        for kind in OUTPUTS:
            yield Case(
                "arguments", "paths", f"{name}: {kind}", partial(_place, command=command, place=PLACES[kind])
            )
    for name, command in OTHERS.items():
        yield Case("arguments", "others", name, partial(_place, command=command, place=""))
