"""Everything a training run depends on: a dataclass, its command-line flags and its recipes."""
# ruff: noqa: RUF009 (the groups call dataclasses.field)

import argparse
import json
import operator
import os
import sys
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from mer_hf.utils.bounds import SEED
from mer_hf.utils.untrusted import check_kinds, parse_json, read_json

RECIPES = Path(__file__).parent / "recipes"
NOT_IN_RECIPES = ("output_dir", "resume", "recipe", "dry_run")
_, MAX_SEED = SEED
HIGHEST = 10**9
"""The bound of numbers that have no other one."""

FREE_ON_RESUME = (
    "output_dir", "resume", "log_every", "save_steps", "num_workers", "cache_dir", "dry_run", "parallel",
    "track", "drop_fold_weights", "recipe",
)  # fmt: skip
"""Fields that do not change the weights and may therefore differ when a run is resumed."""

NOT_STORED = ("output_dir", "resume", "cache_dir", "dry_run")
"""Fields about places on this machine."""

BOUNDS = {
    "least": (operator.ge, "at least"), "most": (operator.le, "at most"),
    "above": (operator.gt, "above"), "below": (operator.lt, "below"),
}  # fmt: skip


class TrainingError(ValueError):
    """A mistake in the call, explained in one line."""


def _flag(group: str, default: Any, text: str, **options: Any) -> Any:
    """Return a dataclass field with the group, help text, choices and bounds of its flag."""
    kind = "default_factory" if default is dict else "default"
    if {"least", "above"} & set(options) and "below" not in options:
        options.setdefault("most", HIGHEST)
    return field(**{kind: default}, metadata={"group": group, "help": text, **options})


_run, _model, _data = partial(_flag, "run"), partial(_flag, "model"), partial(_flag, "data")
_protocol, _optim = partial(_flag, "protocol"), partial(_flag, "optimization")


@dataclass(frozen=True)
class TrainingConfig:
    """One training run; every field is a flag of `train.py`, and `train.py --help` explains it.

    Raises:
        TrainingError: If a value is out of range or two of them exclude each other.
    """

    output_dir: str = _run("", "folder of the run and of the checkpoint it ends in")
    recipe: str | None = _run(None, "values for flags that are not given: a name or a YAML file")
    resume: bool = _run(False, "continue the run in --output-dir; its other flags are used again")
    seed: int = _run(0, "of weights, order and, without --data-seed, data", least=0, most=MAX_SEED)
    max_steps: int | None = _run(None, "optimizer steps in place of --epochs", least=1)
    save_steps: int = _run(200, "optimizer steps between two states that --resume uses", least=1)
    log_every: int = _run(20, "optimizer steps between two lines of metrics.jsonl", least=1)
    track: str = _run("no", "also send these lines to a tracker", choices=("no", "tensorboard", "trackio"))
    dry_run: bool = _run(False, "print the plan and its estimated cost, write nothing")

    model: str = _model("htnet", "architecture")
    config: dict = _model(dict, "fields of the model's configuration, values in JSON")
    processor: dict = _model(dict, "fields of its image processor, values in JSON")
    init_from: str | None = _model(None, "start from this checkpoint: a folder or a name on the Hub")
    dtype_on_disk: str = _model(
        "float32", "type of the saved weights; they are loaded as float32", choices=("float32", "float16")
    )

    data: str = _data(
        "synthetic", "synthetic, flows:FILE.npz, or folders made by mer-hf prepare, joined by commas"
    )
    classes: str | None = _data(
        None, "class scheme of recorded data (composite3, four, five, seven), or names with commas"
    )
    num_samples: int = _data(20_000, "size of the synthetic set, over all processes", least=1)
    fresh_samples: bool = _data(False, "draw new samples in every epoch; no sample is seen twice")
    data_seed: int | None = _data(None, "of the synthetic set; --seed if not given", least=0, most=MAX_SEED)
    validation_samples: int = _data(2_000, "size of the synthetic set that is scored at the end", least=0)
    tracked_share: float = _data(0.0, "share of faces that are rendered and re-tracked", least=0, most=1)
    generator: dict = _data(dict, "settings of the generator (muscle, peak_px, ...), values in JSON")
    num_workers: int = _data(2, "processes that draw samples, per training process", least=0, most=1024)
    cache_dir: str | None = _data(None, "keep drawn sets in this folder for the next run")
    augment_noise: float = _data(0.0, "largest augmentation noise, in the unit of the input", least=0)
    augmentation: str = _data(
        "none", "faces: mirror, turn and shift all frames of a clip alike", choices=("none", "faces")
    )
    rotation_deg: float = _data(3.0, "largest rotation of --augmentation faces", least=0, most=180)
    shift_px: int = _data(15, "largest shift of --augmentation faces, in input pixels", least=0, most=1000)
    sampling: str = _data(
        "shuffled", "order of recorded clips: shuffled, as listed, or balanced classes with replacement",
        choices=("shuffled", "listed", "balanced"),
    )  # fmt: skip
    drop_last: bool = _data(False, "drop the last batch of recorded clips if it is smaller")

    protocol: str | None = _protocol(
        None, "train a network per fold and test each on people it has not seen: leave one subject out "
        "(loso), the composite of MEGC2019 (cde), whole subjects in --folds parts (kfold), other datasets "
        "(cross)",
        choices=("loso", "cde", "kfold", "cross"),
    )  # fmt: skip
    folds: int = _protocol(5, "parts of --protocol kfold", least=2, most=10000)
    train_on: str | None = _protocol(None, "training datasets of --protocol cross, with commas")
    test_on: str | None = _protocol(None, "test datasets of --protocol cross, with commas")
    num_seeds: int = _protocol(1, "repeat everything with --seed, --seed + 1, ...", least=1, most=1000)
    selection: str = _protocol(
        "last", "weights that are tested: the last ones; the best epoch on training subjects set aside "
        "(inner); or the best epoch on the tested subject itself, as published code does, which every report "
        "marks as test-selected (oracle-epoch)",
        choices=("last", "inner", "oracle-epoch"),
    )  # fmt: skip
    inner_share: float = _protocol(0.15, "share of clips that inner sets aside", above=0, most=0.5)
    parallel: str = _protocol(
        "auto", "folds: each process trains folds of its own; batch: all processes train each fold together; "
        "auto: folds if there are enough of them",
        choices=("auto", "folds", "batch"),
    )  # fmt: skip
    drop_fold_weights: bool = _protocol(False, "keep the predictions of a fold, not its weights")
    baselines: str = _protocol("yes", "score simple baselines on the same folds", choices=("yes", "no"))

    epochs: int = _optim(12, "times each sample is seen", least=1)
    batch_size: int = _optim(256, "samples per forward pass of one process", least=1)
    gradient_accumulation_steps: int = _optim(1, "forward passes per optimizer step", least=1)
    optimizer: str = _optim("adamw", "optimizer", choices=("adamw", "adam"))
    lr: float = _optim(1e-3, "highest learning rate", above=0)
    schedule: str = _optim(
        "cosine", "course of the learning rate", choices=("cosine", "constant", "exponential")
    )
    min_lr: float = _optim(0.0, "learning rate at the end of the cosine", least=0)
    lr_decay: float = _optim(0.987, "factor per epoch of the exponential schedule", above=0, most=1)
    lr_decay_epochs: int = _optim(50, "epochs after which the exponential schedule is constant", least=0)
    warmup_ratio: float = _optim(0.05, "share of steps with a rising learning rate", least=0, below=1)
    warmup_epochs: float = _optim(0.0, "the same in epochs, in place of --warmup-ratio", least=0)
    weight_decay: float = _optim(0.05, "decay of matrices; vectors have none", least=0)
    decay_vectors: bool = _optim(False, "decay biases, norms and other vectors as well")
    layer_decay: float = _optim(1.0, "factor of the rate from a stage to the one before", above=0, most=1)
    lr_of: dict = _optim(dict, "other learning rates: part of a parameter's name=rate")
    weight_decay_of: dict = _optim(dict, "other decays: part of a parameter's name=decay")
    mixup: float = _optim(0.0, "alpha of mixing pairs of samples; 0 mixes none", least=0)
    max_grad_norm: float = _optim(1.0, "longest gradient; 0 does not clip", least=0)
    label_smoothing: float = _optim(0.0, "share of a label that all classes get alike", least=0, below=1)
    ema_decay: float = _optim(0.0, "of the moving average that is saved; 0: last weights", least=0, below=1)
    action_unit_weight: float = _optim(
        0.0, "of telling action units apart, beside the classes; for synthetic data", least=0
    )
    mixed_precision: str = _optim(
        "no", "arithmetic, as accelerate launch --mixed_precision", choices=("no", "bf16", "fp16")
    )

    def __post_init__(self):
        for spec in fields(self):
            flag, value = flag_of(spec.name), getattr(self, spec.name)
            if value is None:
                continue
            if value == "" and spec.default != "":
                raise TrainingError(f"{flag} is empty. Give a value, or leave it out.")
            choices = spec.metadata.get("choices")
            if choices and value not in choices:
                raise TrainingError(f"unknown {flag} {value}. Choose from {', '.join(choices)}.")
            bounds = {name: spec.metadata[name] for name in BOUNDS if name in spec.metadata}
            if not all(BOUNDS[name][0](value, bound) for name, bound in bounds.items()):
                allowed = " and ".join(f"{BOUNDS[name][1]} {bound}" for name, bound in bounds.items())
                raise TrainingError(f"{flag} must be {allowed}, got {value}.")
        self._check_together()

    def _check_together(self) -> None:
        """Refuse flags that exclude each other."""
        if self.protocol and self.data == "synthetic":
            raise TrainingError(
                f"--protocol {self.protocol} needs subjects, and --data synthetic has none. Pass "
                "--data flows:FILE.npz (mer-hf synth-flows makes one) or a prepared dataset."
            )
        if self.classes and self.data == "synthetic":
            raise TrainingError("--classes belongs to recorded data: synthetic motion has three classes.")
        if self.generator and self.data != "synthetic":
            raise TrainingError("--generator belongs to --data synthetic.")
        if self.action_unit_weight and self.data != "synthetic":
            raise TrainingError(
                "--action-unit-weight belongs to --data synthetic, whose strengths are known: pass 0."
            )
        if (self.train_on or self.test_on) and self.protocol != "cross":
            raise TrainingError("--train-on and --test-on belong to --protocol cross.")
        if self.seed + self.num_seeds - 1 > MAX_SEED:
            raise TrainingError(f"--num-seeds leads above seed {MAX_SEED}. Higher seeds are held out.")

    def stored(self) -> dict[str, Any]:
        """Return what `train_config.json` keeps: what the weights depend on, no places on this machine."""
        return {name: value for name, value in asdict(self).items() if name not in NOT_STORED}


FIELDS = tuple(spec.name for spec in fields(TrainingConfig))
PROVENANCE = ("given", "mer_hf", "torch", "device", "clips_sha256", "splits_sha256")
RECORD_KINDS: dict[str, Any] = {
    **{spec.name: spec.type for spec in fields(TrainingConfig)}, **dict.fromkeys(PROVENANCE, str),
    "started_with": int, "num_processes": int, "commit": str | None, "class_names": list[str],
}  # fmt: skip
"""Field of train_config.json -> its type."""


def flag_of(name: str) -> str:
    """Return `--num-samples` for `num_samples`."""
    return "--" + name.replace("_", "-")


def _pair(text: str) -> tuple[str, Any]:
    """Read `FIELD=VALUE`; a value that is not JSON is a string, as in `flow_method=dis`."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected field=value, got {text!r}")
    try:
        return name, parse_json(value, name)
    except ValueError:
        return name, value


class _Parser(HfArgumentParser):
    """`HfArgumentParser` with groups, kebab-case names, FIELD=VALUE pairs for dicts, and one-line errors."""

    def __init__(self):
        self.groups: dict[str, Any] = {}
        options = {"prog": "train.py", "allow_abbrev": False, "formatter_class": argparse.HelpFormatter}
        super().__init__(TrainingConfig, description="Train and test networks.", **options)

    def add_argument(self, *names: str, group: str | None = None, **options):
        """Add a field of the dataclass to its group."""
        if group is None:
            return super().add_argument(*names, **options)
        options = {name: value for name, value in options.items() if name not in BOUNDS}
        if options["type"] is dict:
            options |= {"type": _pair, "nargs": "+", "action": "extend", "metavar": "FIELD=VALUE"}
        elif not isinstance(options["default"], bool) and options["default"] not in (None, ""):
            options["help"] += " (default: %(default)s)"
        self.groups[group] = self.groups.get(group) or self.add_argument_group(group)
        return self.groups[group].add_argument(names[-1], **options)

    def error(self, message: str):
        """Raise instead of printing the usage."""
        raise TrainingError(message)

    def passed(self, arguments: list[str]) -> dict[str, Any]:
        """Return the fields that are set by a command line, without defaults."""
        values = vars(self.parse_args(arguments, argparse.Namespace(**dict.fromkeys(FIELDS))))
        passed = {name: value for name, value in values.items() if value is not None}
        return {name: dict(value) if isinstance(value, list) else value for name, value in passed.items()}


def recipe_arguments(name: str) -> list[str]:
    """Return the flags that a recipe stands for: one of the package, or a YAML file of `field: value`."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
        raise TrainingError(f"there is no recipe {name}. Choose from {known}, or pass a .yaml file.")
    try:
        recipe = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"recipe {path} is not valid YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(recipe, dict):
        raise TrainingError(f"recipe {path} must hold lines of field: value, got a {type(recipe).__name__}.")
    arguments = []
    for field_name, value in recipe.items():
        if field_name not in FIELDS or field_name in NOT_IN_RECIPES:
            raise TrainingError(f"recipe {path} sets {field_name}, which is not a field of recipes.")
        if isinstance(value, dict):
            arguments += [flag_of(field_name), *(f"{key}={json.dumps(item)}" for key, item in value.items())]
        elif value is not None:
            arguments += [flag_of(field_name), str(value)]
    return arguments


def read_record(path: Path, default: dict | None = None) -> dict[str, Any]:
    """Read train_config.json: what a run was started with, each value as its flag takes it."""
    record = read_json(path, default=default)
    check_kinds(record, {name: kind for name, kind in RECORD_KINDS.items() if name in record}, str(path))
    try:
        TrainingConfig(**{name: value for name, value in record.items() if name in FIELDS})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return record


def read_stored(output_dir: str | Path) -> dict[str, Any] | None:
    """Return the fields that the run in a folder was started with, None if there is no run."""
    path = Path(output_dir) / "train_config.json"
    if not path.is_file():
        return None
    try:
        record = read_record(path)
    except ValueError as error:
        raise TrainingError(f"cannot resume: {error} Choose another folder.") from error
    return {name: value for name, value in record.items() if name in FIELDS}


def parse_args(arguments: list[str] | None = None) -> TrainingConfig:
    """Read the flags of a run; they win over its recipe.

    With `--resume`, flags that are not given are those of the interrupted run. A run that was killed before
    it made its folder is started by the same flags and `--resume`.

    Args:
        arguments (`list[str]`, *optional*): Flags; those of the command line by default.

    Returns:
        [`TrainingConfig`]: The run.

    Raises:
        TrainingError: If a flag is unknown, malformed, out of range, or would change a resumed run.
    """
    parser, arguments = _Parser(), sys.argv[1:] if arguments is None else arguments
    passed = parser.passed(arguments)
    if recipe := passed.get("recipe"):
        flags = recipe_arguments(recipe)
        try:
            passed = parser.passed([*flags, *arguments])
        except TrainingError as error:  # the arguments alone are right
            raise TrainingError(f"recipe {recipe}: {error}") from error
    if passed.get("dry_run"):
        passed.setdefault("output_dir", "dry-run")
    folder = passed.get("output_dir")
    if not folder:
        raise TrainingError("--output-dir is missing. Name the folder of the run.")
    stored = read_stored(folder) if passed.get("resume") else None
    if passed.get("resume") and stored is None and set(passed) <= set(FREE_ON_RESUME):
        raise TrainingError(f"{folder} does not hold a run to resume. Pass the flags of the run to start.")
    for name in set(stored or ()) & set(passed) - set(FREE_ON_RESUME):
        if stored[name] != passed[name]:
            raise TrainingError(
                f"{flag_of(name)} {passed[name]} differs from the run in {folder}, which has {stored[name]}. "
                "Omit the flag, or choose another folder."
            )
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    return TrainingConfig(**{**(stored or {"mixed_precision": launched}), **passed})
