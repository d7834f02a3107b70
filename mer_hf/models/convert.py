"""Shared by every converter: read an untrusted .pth without running code in it, write a complete folder."""

import argparse
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from mer_hf.utils.files import replacing
from mer_hf.utils.settings import check_settings

from .saving import save_processors


def load_original(path: str | Path) -> dict[str, torch.Tensor]:
    """Return the state dict of an original checkpoint, on the CPU, without the prefix `module.`.

    Only tensors, plain values and `argparse.Namespace` are read: a file that would run code is refused with a
    ValueError. The file may hold the state dict itself, or a dict that has it under `model`.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on the pickle's version
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is refused: it is not a checkpoint, or holds more than tensors, plain values and "
            "argparse.Namespace."
        ) from error
    except Exception as error:  # other files fail in as many ways as there are formats
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read as a PyTorch checkpoint: {reason}") from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    entries = content if isinstance(content, Mapping) and content else {"its content": content}
    for name, value in entries.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{path} does not hold a state dict: {name!r} is a {type(value).__name__}.")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"{path}: the tensor {name} has more values than the file holds.")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{path}: the tensor {name} holds NaN or infinity.")
    wrapped = all(name.startswith("module.") for name in content)
    return {name.removeprefix("module.") if wrapped else name: value for name, value in content.items()}


def rename_all(
    state: Mapping[str, torch.Tensor], names: Iterable[tuple[str, str]], dead: Iterable[str], network: str
) -> dict[str, torch.Tensor]:
    """Return the weights of an original under our names, without those that have no effect.

    Args:
        state (`Mapping[str, torch.Tensor]`): A state dict of the original.
        names (`Iterable[tuple[str, str]]`): Regular expressions of whole names, and their replacements.
        dead (`Iterable[str]`): Names to drop.
        network (`str`): The original's name, for the error message.
    """
    names, dead, renamed = list(names), set(dead), {}
    for name, tensor in state.items():
        if name in dead:
            continue
        match = next(((p, r) for p, r in names if re.fullmatch(p, name)), None)
        if match is None:
            raise ValueError(
                f"{name} is not a name of the original {network}: is this one of its weight files?"
            )
        renamed[re.sub(*match, name)] = tensor
    return renamed


def indices_in(state: Mapping[str, torch.Tensor], pattern: str) -> set[tuple[int, ...]]:
    """Return the numbers that the groups of a pattern find in names, such as (layer, block)."""
    matches = (re.match(pattern, name) for name in state)
    return {tuple(map(int, match.groups())) for match in matches if match}


def name_dead(state: Mapping[str, torch.Tensor], dead: Sequence[str]) -> str:
    """Return one line on the entries that have no effect in the original and were dropped."""
    if not dead:
        return "No entry without effect was found; nothing was dropped."
    count = sum(state[name].numel() for name in dead)
    return f"Dropped {count:,} values that have no effect in the original: {', '.join(dead)}."


def build_config(
    config_class: type[PreTrainedConfig], found: Mapping, overrides: Mapping
) -> PreTrainedConfig:
    """Return a configuration from what the shapes show (`found`) and what the user gives (`overrides`)."""
    fields = [*config_class.__annotations__, "id2label", "label2id", "num_labels"]
    for name, value in overrides.items():
        if name not in fields:
            raise ValueError(f"{config_class.__name__} has no field {name!r}. Fields: {', '.join(fields)}.")
        if name in found and value != found[name]:
            raise ValueError(
                f"{name}={value} contradicts the weights, whose shapes give {name}={found[name]}."
            )
    values = {**found, **overrides}
    if isinstance(values.get("id2label"), dict):  # as JSON has it
        values["id2label"] = {str(index): name for index, name in values["id2label"].items()}
    check_settings(config_class, values, "--config and the weights")
    try:
        return config_class(**values)
    except Exception as error:  # transformers wraps the reason in an error of its own, over two lines
        raise ValueError(str(error).strip().splitlines()[-1].strip()) from error


def notes_on(config: PreTrainedConfig, found: Mapping, given: Mapping, unseen: Sequence[str]) -> list[str]:
    """Return a line on what the weights show, and one on what was assumed of the fields `unseen`, if any."""
    notes = [", ".join(f"{name}={value}" for name, value in found.items()) + " were read from the weights."]
    assumed = (name for name in unseen if name not in given)
    if values := ", ".join(f"{name}={getattr(config, name)}" for name in assumed):
        notes.append(f"The weights do not show {values}; --config gives other values.")
    return notes


def load_renamed(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    weights: Mapping[str, torch.Tensor],
    unseen: Iterable[str] = ("the fields",),
) -> PreTrainedModel:
    """Return a model with weights under its own names; all of them must fit before it takes memory.

    `unseen` names the fields that the shapes do not show, for the error message.
    """
    try:
        with torch.device("meta"):
            model_class(config).load_state_dict(dict(weights), assign=True)
        model = model_class(config)
        model.load_state_dict(dict(weights))
        return model
    except RuntimeError as error:  # its first line names the class, each other line a misfit
        misfit = str(error).splitlines()[1].strip()[:300]
        raise ValueError(
            f"{misfit} Give {', '.join(unseen)} with --config where the defaults do not fit."
        ) from error


def save_converted(model: PreTrainedModel, processor: BaseImageProcessor | None, out_dir: str | Path) -> None:
    """Write a model and its processor to a folder that appears only when it is complete."""
    out_dir = check_out_dir(out_dir)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out_dir) as unfinished:
        model.save_pretrained(unfinished)
        if processor is not None:
            save_processors(processor, unfinished)


def check_out_dir(out_dir: str | Path) -> Path:
    """Return the folder to write to; it must not exist, or be empty."""
    out_dir = Path(out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ValueError(f"{out_dir} exists and is not an empty folder. Choose another, or remove it.")
    return out_dir
