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

import yaml

PROTOCOLS = ("loso", "cde", "kfold", "cross")
SELECTIONS = ("last", "inner", "oracle-epoch")
RECIPES = Path(__file__).parent / "recipes"
NOT_IN_RECIPES = ("output_dir", "resume", "recipe", "dry_run")
MAX_SEED = 2**31 - 1
"""Seeds above it belong to held-out data."""

FREE_ON_RESUME = (
    "output_dir", "resume", "log_every", "save_steps", "num_workers", "cache_dir", "dry_run", "parallel",
    "track", "drop_fold_weights", "recipe",
)  # fmt: skip
"""Fields that leave the weights as they are, and may therefore change when a run is resumed."""

STACKED_NEEDS = {
    "selection": "last", "optimizer": "adamw", "schedule": "cosine", "min_lr": 0.0, "warmup_epochs": 0.0,
    "decay_vectors": False, "layer_decay": 1.0, "lr_of": {}, "weight_decay_of": {}, "mixup": 0.0,
    "sampling": "shuffled", "drop_last": False, "augmentation": "none", "augment_noise": 0.0,
    "gradient_accumulation_steps": 1, "mixed_precision": "no",
}  # fmt: skip
"""What folds that are trained as one program cannot vary."""

NOT_STORED = ("output_dir", "resume", "cache_dir", "dry_run")
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
    recipe: str | None = _flag(
        None, "run", "values for flags that are not given: a name (htnet-paper, ...) or a YAML file"
    )
    resume: bool = _flag(False, "run", "go on with the run in --output-dir; other flags are taken from it")
    seed: int = _flag(0, "run", "of the weights, the order of the samples and, without --data-seed, the data")
    max_steps: int | None = _flag(None, "run", "optimizer steps, in place of --epochs; 2 makes a smoke test")
    save_steps: int = _flag(200, "run", "optimizer steps between two states that --resume can start from")
    log_every: int = _flag(20, "run", "optimizer steps between two lines of metrics.jsonl")
    track: str = _flag(
        "no", "run", "also send these lines to a tracker", choices=("no", "tensorboard", "trackio")
    )
    dry_run: bool = _flag(False, "run", "print the plan and its estimated cost; write nothing")

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

    data: str = _flag(
        "synthetic",
        "data",
        "what to train on: synthetic, flows:FILE.npz, or folders made by mer-hf prepare, joined by commas",
    )
    classes: str | None = _flag(
        None, "data", "class scheme of recorded data (composite3, four, five, seven), or names with commas"
    )
    num_samples: int = _flag(20_000, "data", "size of the synthetic set, over all processes")
    fresh_samples: bool = _flag(False, "data", "draw new samples in every epoch: none is seen twice")
    data_seed: int | None = _flag(None, "data", "of the synthetic set; --seed if not given")
    validation_samples: int = _flag(2_000, "data", "size of the synthetic set that is scored at the end")
    tracked_share: float = _flag(
        0.0,
        "data",
        "share of drawn faces that are clips, in which the face is searched for and aligned (mediapipe)",
    )
    generator: dict = _flag(
        dict,
        "data",
        "settings of the generator that are not left as they are (muscle, outliers, peak_px, ...), in JSON",
        pairs=True,
    )
    num_workers: int = _flag(2, "data", "processes that draw samples, for each training process")
    cache_dir: str | None = _flag(None, "data", "keep drawn sets in this folder, for the next run")

    augment_noise: float = _flag(
        0.0,
        "data",
        "largest slow noise added to each input, drawn again in every epoch, in the input's own unit",
    )

    augmentation: str = _flag(
        "none",
        "data",
        "of recorded faces, all frames of a clip alike: mirrored, turned and shifted a little",
        choices=("none", "faces"),
    )
    rotation_deg: float = _flag(3.0, "data", "largest turn of --augmentation faces")
    shift_px: int = _flag(
        15, "data", "largest shift of --augmentation faces, in pixels of the network's input"
    )
    sampling: str = _flag(
        "shuffled",
        "data",
        "order of recorded clips: shuffled, as they are listed, or classes alike (drawn with replacement)",
        choices=("shuffled", "listed", "balanced"),
    )
    drop_last: bool = _flag(False, "data", "leave away the last batch of recorded clips if it is smaller")

    protocol: str | None = _flag(
        None,
        "protocol",
        "train a network per fold and test each on people it has not seen: leave one subject out (loso), "
        "the composite of MEGC2019 (cde), whole subjects in --folds parts (kfold), other data sets "
        "(cross)",
        choices=PROTOCOLS,
    )
    folds: int = _flag(5, "protocol", "parts of --protocol kfold")
    train_on: str | None = _flag(None, "protocol", "data sets that --protocol cross trains on, with commas")
    test_on: str | None = _flag(None, "protocol", "data sets that --protocol cross tests on, with commas")
    num_seeds: int = _flag(1, "protocol", "times everything is done, with --seed, --seed + 1, ...")
    selection: str = _flag(
        "last",
        "protocol",
        "weights that are tested: the last ones; the best epoch on training subjects set aside (inner); or "
        "the best epoch on the tested subject itself, which published code does and which every report "
        "marks as test-selected (oracle-epoch)",
        choices=SELECTIONS,
    )
    inner_share: float = _flag(0.15, "protocol", "share of training clips that --selection inner sets aside")
    parallel: str = _flag(
        "auto",
        "protocol",
        "folds: each process trains folds of its own; batch: all processes train each fold together; "
        "stacked: one process trains many folds as one program; auto: folds if there are enough of them",
        choices=("auto", "folds", "batch", "stacked"),
    )
    drop_fold_weights: bool = _flag(False, "protocol", "keep the predictions of a fold and not its weights")
    baselines: str = _flag(
        "yes", "protocol", "also score simple baselines on the same folds", choices=("yes", "no")
    )

    epochs: int = _flag(12, "optimization", "times each sample is seen")
    batch_size: int = _flag(256, "optimization", "samples per forward pass of one process")
    gradient_accumulation_steps: int = _flag(1, "optimization", "forward passes per optimizer step")
    optimizer: str = _flag("adamw", "optimization", "of the weights", choices=("adamw", "adam"))
    lr: float = _flag(1e-3, "optimization", "highest learning rate")
    schedule: str = _flag(
        "cosine",
        "optimization",
        "course of the learning rate",
        choices=("cosine", "constant", "exponential"),
    )
    min_lr: float = _flag(0.0, "optimization", "where the cosine ends")
    lr_decay: float = _flag(0.987, "optimization", "factor per epoch of the exponential schedule")
    lr_decay_epochs: int = _flag(
        50, "optimization", "epochs after which the exponential schedule is constant"
    )
    warmup_ratio: float = _flag(0.05, "optimization", "share of the steps in which the learning rate rises")
    warmup_epochs: float = _flag(0.0, "optimization", "the same in epochs, in place of --warmup-ratio")
    weight_decay: float = _flag(0.05, "optimization", "of matrices; vectors are not decayed")
    decay_vectors: bool = _flag(False, "optimization", "decay biases, norms and other vectors as well")
    layer_decay: float = _flag(
        1.0, "optimization", "factor of the learning rate from a stage to the one before"
    )
    lr_of: dict = _flag(
        dict, "optimization", "other learning rates: part of parameters' names=rate", pairs=True
    )
    weight_decay_of: dict = _flag(
        dict, "optimization", "other decays: part of parameters' names=decay", pairs=True
    )
    mixup: float = _flag(0.0, "optimization", "alpha of mixing pairs of samples; 0 mixes none")
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
            if choices and value is not None and value not in choices:
                raise TrainingError(f"{flag_of(spec.name)} {value} is none of {', '.join(choices)}.")
        least = {
            "max_steps": 1, "save_steps": 1, "log_every": 1, "num_samples": 1, "validation_samples": 0,
            "num_workers": 0, "epochs": 1, "batch_size": 1, "gradient_accumulation_steps": 1, "seed": 0,
            "data_seed": 0, "weight_decay": 0, "max_grad_norm": 0, "warmup_ratio": 0, "label_smoothing": 0,
            "augment_noise": 0, "ema_decay": 0, "rotation_deg": 0, "shift_px": 0, "folds": 2, "num_seeds": 1,
            "min_lr": 0, "lr_decay_epochs": 0, "warmup_epochs": 0, "mixup": 0,
        }  # fmt: skip
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and not lowest <= value < math.inf:
                raise TrainingError(f"{flag_of(name)} must be at least {lowest}, got {value}.")
        if not 0 <= self.tracked_share <= 1:
            raise TrainingError(f"--tracked-share must lie in 0 to 1, got {self.tracked_share}.")
        for name in ("warmup_ratio", "label_smoothing", "ema_decay"):
            if getattr(self, name) >= 1:
                raise TrainingError(f"{flag_of(name)} must be below 1, got {getattr(self, name)}.")
        if not 0 < self.lr < math.inf:
            raise TrainingError(f"--lr must be above 0, got {self.lr}.")
        for name, highest in (("inner_share", 0.5), ("lr_decay", 1), ("layer_decay", 1)):
            if not 0 < getattr(self, name) <= highest:
                raise TrainingError(
                    f"{flag_of(name)} must be above 0 and at most {highest}, got {getattr(self, name)}."
                )
        for name in ("seed", "data_seed"):
            if (getattr(self, name) or 0) > MAX_SEED:
                raise TrainingError(f"{flag_of(name)} must be at most {MAX_SEED}: higher seeds are held out.")
        self._check_together()

    def _check_together(self) -> None:
        """Refuse flags that exclude each other."""
        if self.protocol and self.data == "synthetic":
            raise TrainingError(
                f"--protocol {self.protocol} needs subjects, and --data synthetic has none. Give "
                "--data flows:FILE.npz (mer-hf synth-flows makes one) or a prepared data set."
            )
        if self.generator and self.data != "synthetic":
            raise TrainingError("--generator belongs to --data synthetic.")
        if (self.train_on or self.test_on) and self.protocol != "cross":
            raise TrainingError("--train-on and --test-on belong to --protocol cross.")
        if self.parallel == "stacked":
            for name, plain in STACKED_NEEDS.items():
                if getattr(self, name) != plain:
                    raise TrainingError(
                        f"--parallel stacked cannot do {flag_of(name)} {getattr(self, name)}. Use --parallel "
                        "folds."
                    )
        if self.seed + self.num_seeds - 1 > MAX_SEED:
            raise TrainingError(f"--num-seeds leads above seed {MAX_SEED}: higher seeds are held out.")

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
    parser = _Parser(prog="train.py", description="Train and test networks.", allow_abbrev=False)
    groups: dict[str, Any] = {}
    for spec in fields(TrainingConfig):
        name = spec.metadata["group"]
        _add(groups.setdefault(name, parser.add_argument_group(name)), spec)
    return parser


def read_recipe(name: str) -> dict[str, Any]:
    """The fields that a recipe sets.

    Args:
        name (`str`): A recipe of the package, or a YAML file: field -> value, names as in [`TrainingConfig`].

    Returns:
        `dict`: Field -> value.

    Raises:
        TrainingError: In one line, if there is no such recipe, or it names something that is no field.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in RECIPES.glob("*.yaml")))
        raise TrainingError(f"there is no recipe {name}. Choose from {known}, or give a .yaml file.")
    try:
        found = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"recipe {path} is no YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(found, dict):
        raise TrainingError(f"recipe {path} must be a list of field: value, got {type(found).__name__}.")
    known = {spec.name: spec for spec in fields(TrainingConfig)}
    for field_name, value in found.items():
        if field_name not in known or field_name in NOT_IN_RECIPES:
            raise TrainingError(f"recipe {path} sets {field_name}, which is no field that a recipe may set.")
        if not _is_of(known[field_name].type, value):
            raise TrainingError(
                f"recipe {path}: {field_name} must be {known[field_name].type}, got {value!r}."
            )
    return {name: float(value) if known[name].type is float else value for name, value in found.items()}


def _is_of(kind: Any, value: Any) -> bool:
    """Whether a value of a YAML file is of a field's type."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (int, int | None):
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole or (kind == int | None and value is None)
    return isinstance(value, kind)


def with_recipe(recipe: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What was given, over what a recipe sets; fields of model and processor are joined one by one."""
    joined = {**recipe, **given}
    for spec in fields(TrainingConfig):
        if spec.metadata.get("pairs") and spec.name in recipe and spec.name in given:
            joined[spec.name] = {**recipe[spec.name], **given[spec.name]}
    return joined


def read_stored(output_dir: str | Path) -> dict[str, Any] | None:
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
    for spec in fields(TrainingConfig):
        if spec.metadata.get("pairs") and spec.name in given:
            given[spec.name] = dict(given[spec.name])
    if given.get("recipe"):
        given = with_recipe(read_recipe(given["recipe"]), given)
    if given.get("dry_run"):
        given.setdefault("output_dir", "dry-run")
    if "output_dir" not in given:
        raise TrainingError("--output-dir is missing. Name the folder that the run shall make.")
    stored = read_stored(given["output_dir"]) if given.get("resume") else None
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
