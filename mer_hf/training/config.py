"""Everything a training run depends on, as a dataclass and as command-line flags.

Nothing heavy is imported here: a mistake on the command line is answered at once.
"""
# ruff: noqa: RUF009 (_flag is dataclasses.field with the flag's help)

import argparse
import json
import math
import os
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

DATA_SOURCES = ("synthetic",)
MAX_SEED = 2**31 - 1
"""Seeds above it belong to held-out data."""

FREE_ON_RESUME = ("output_dir", "resume", "log_every", "save_steps", "num_workers", "cache_dir")
"""Fields that leave the weights as they are, and may therefore change when a run is resumed."""

NOT_STORED = ("output_dir", "resume", "cache_dir")
"""Fields that say where things lie on this machine."""


class TrainingError(ValueError):
    """A mistake of the caller's, told in one line."""


def _flag(default: Any, group: str, text: str, **options: Any) -> Any:
    """A dataclass field that also describes its command-line flag."""
    kind = {"default_factory": default} if callable(default) else {"default": default}
    return field(**kind, metadata={"group": group, "help": text, **options})


@dataclass(frozen=True)
class TrainingConfig:
    """One training run; every field is a flag of `train.py`, whose `--help` explains it.

    Raises:
        TrainingError: If a value is out of range or two of them exclude each other.
    """

    output_dir: str = _flag(
        MISSING, "run", "folder of the run and of the checkpoint it ends in", required=True
    )
    resume: bool = _flag(False, "run", "go on with the run in --output-dir; other flags are taken from it")
    seed: int = _flag(0, "run", "of the weights, the order of the samples and, without --data-seed, the data")
    max_steps: int | None = _flag(None, "run", "optimizer steps, in place of --epochs; 2 makes a smoke test")
    save_steps: int = _flag(200, "run", "optimizer steps between two states that --resume can start from")
    log_every: int = _flag(20, "run", "optimizer steps between two lines of metrics.jsonl")

    model: str = _flag("htnet", "model", "architecture")
    config: dict = _flag(dict, "model", "fields of the model's configuration, values in JSON", pairs=True)
    processor: dict = _flag(dict, "model", "fields of its image processor, values in JSON", pairs=True)
    init_from: str | None = _flag(None, "model", "start from this checkpoint, a folder or a name on the Hub")
    dtype_on_disk: str = _flag(
        "float32",
        "model",
        "type of the saved weights; they are loaded as float32",
        choices=("float32", "float16"),
    )

    data: str = _flag("synthetic", "data", "what to train on", choices=DATA_SOURCES)
    num_samples: int = _flag(20_000, "data", "size of the synthetic set, over all processes")
    fresh_samples: bool = _flag(False, "data", "draw new samples in every epoch: none is seen twice")
    data_seed: int | None = _flag(None, "data", "of the synthetic set; --seed if not given")
    validation_samples: int = _flag(2_000, "data", "size of the synthetic set that is scored at the end")
    num_workers: int = _flag(2, "data", "processes that draw samples, for each training process")
    cache_dir: str | None = _flag(None, "data", "keep drawn sets in this folder, for the next run")

    disturbance: float = _flag(
        0.0,
        "data",
        "largest slow disturbance added to each input, anew in every epoch, in the input's own unit",
    )

    epochs: int = _flag(12, "optimization", "times each sample is seen")
    batch_size: int = _flag(256, "optimization", "samples per forward pass of one process")
    gradient_accumulation_steps: int = _flag(1, "optimization", "forward passes per optimizer step")
    lr: float = _flag(1e-3, "optimization", "highest learning rate, decayed along a cosine")
    warmup_ratio: float = _flag(0.05, "optimization", "share of the steps in which the learning rate rises")
    weight_decay: float = _flag(0.05, "optimization", "of matrices; vectors are not decayed")
    max_grad_norm: float = _flag(1.0, "optimization", "longest gradient; 0 leaves it as it is")
    label_smoothing: float = _flag(0.0, "optimization", "share of a label given to all classes alike")
    ema_decay: float = _flag(
        0.0,
        "optimization",
        "decay of the moving average of the weights that is saved; 0 saves the last weights",
    )
    mixed_precision: str = _flag(
        "no",
        "optimization",
        "arithmetic of the forward pass, or accelerate launch --mixed_precision",
        choices=("no", "bf16", "fp16"),
    )

    def __post_init__(self):
        for spec in fields(self):
            choices, value = spec.metadata.get("choices"), getattr(self, spec.name)
            if choices and value not in choices:
                raise TrainingError(f"{flag_of(spec.name)} {value} is none of {', '.join(choices)}.")
        least = {
            "max_steps": 1, "save_steps": 1, "log_every": 1, "num_samples": 1, "validation_samples": 0,
            "num_workers": 0, "epochs": 1, "batch_size": 1, "gradient_accumulation_steps": 1, "seed": 0,
            "data_seed": 0, "weight_decay": 0, "max_grad_norm": 0, "warmup_ratio": 0, "label_smoothing": 0,
            "disturbance": 0,
            "ema_decay": 0,
        }  # fmt: skip
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and not lowest <= value < math.inf:
                raise TrainingError(f"{flag_of(name)} must be at least {lowest}, got {value}.")
        for name in ("warmup_ratio", "label_smoothing", "ema_decay"):
            if getattr(self, name) >= 1:
                raise TrainingError(f"{flag_of(name)} must be below 1, got {getattr(self, name)}.")
        if not 0 < self.lr < math.inf:
            raise TrainingError(f"--lr must be above 0, got {self.lr}.")
        for name in ("seed", "data_seed"):
            if (getattr(self, name) or 0) > MAX_SEED:
                raise TrainingError(f"{flag_of(name)} must be at most {MAX_SEED}: higher seeds are held out.")

    def stored(self) -> dict[str, Any]:
        """What `train_config.json` keeps: all that the weights depend on, and nothing about this machine."""
        return {name: value for name, value in asdict(self).items() if name not in NOT_STORED}


def flag_of(name: str) -> str:
    """`num_samples` -> `--num-samples`."""
    return "--" + name.replace("_", "-")


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected field=value, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:  # a bare word is a string: flow_method=dis
        return name, value


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing the usage, so that a mistake is one line whoever parses."""

    def error(self, message: str):
        raise TrainingError(message)


def _add(group: argparse._ArgumentGroup, spec: Field) -> None:
    """Turn one field of the dataclass into a flag that is absent from the result unless it is given."""
    meta = spec.metadata
    flag, options = (
        flag_of(spec.name),
        {"dest": spec.name, "default": argparse.SUPPRESS, "help": meta["help"]},
    )
    if meta.get("pairs"):
        options.update(nargs="+", type=_pair, action="extend", metavar="FIELD=VALUE")
    elif spec.type is bool:
        options.update(action="store_true")
    else:
        kinds = [kind for kind in (int, float, str) if spec.type in (kind, kind | None)]
        options.update(type=kinds[0], choices=meta.get("choices"))
        if not meta.get("choices"):
            options["metavar"] = spec.name.upper()
        if spec.default is not MISSING and spec.default is not None:
            options["help"] += f" (default: {spec.default})"
    group.add_argument(flag, **options)


def build_parser() -> argparse.ArgumentParser:
    """The flags of `train.py`, in the groups of [`TrainingConfig`]."""
    parser = _Parser(prog="train.py", description="Train a network on synthetic motion.", allow_abbrev=False)
    groups: dict[str, Any] = {}
    for spec in fields(TrainingConfig):
        name = spec.metadata["group"]
        _add(groups.setdefault(name, parser.add_argument_group(name)), spec)
    return parser


def _read_stored(output_dir: str) -> dict[str, Any] | None:
    """The fields a run in this folder was started with, or None if it holds no run."""
    path = Path(output_dir) / "train_config.json"
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text())
        known = {spec.name for spec in fields(TrainingConfig)}
        return {name: value for name, value in stored.items() if name in known}
    except (ValueError, AttributeError) as error:
        raise TrainingError(
            f"cannot resume: {path} is no record of a run ({error!r}). Start anew in another folder."
        ) from error


def parse_args(arguments: list[str] | None = None) -> TrainingConfig:
    """Read the flags of a run; with `--resume`, what is not given is taken from the run that is resumed.

    A run that was killed before it made its folder is started by the same flags and `--resume`.

    Args:
        arguments (`list[str]`, *optional*): Flags; the command line's by default.

    Returns:
        [`TrainingConfig`]: The run.

    Raises:
        TrainingError: In one line, if a flag is unknown, malformed, out of range, or would change a run that
            is resumed.
    """
    given = vars(build_parser().parse_args(arguments))
    for name in ("config", "processor"):
        if name in given:
            given[name] = dict(given[name])
    if "output_dir" not in given:
        raise TrainingError("--output-dir is missing. Name the folder that the run shall make.")
    stored = _read_stored(given["output_dir"]) if given.get("resume") else None
    if given.get("resume") and stored is None and set(given) <= set(FREE_ON_RESUME):
        raise TrainingError(
            f"{given['output_dir']} holds no run to resume. Give the flags of the run to start."
        )
    for name in set(stored or ()) & set(given) - set(FREE_ON_RESUME):
        if stored[name] != given[name]:
            raise TrainingError(
                f"{flag_of(name)} {given[name]} differs from the run in {given['output_dir']}, which has "
                f"{stored[name]}. Leave it away, or start anew in another folder."
            )
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    return TrainingConfig(**{**(stored or {"mixed_precision": launched}), **given})
