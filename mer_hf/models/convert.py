"""What every converter needs: reading a stranger's .pth without running it, writing a folder whole or not."""

import argparse
import pickle
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor


def load_original(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of an original checkpoint.

    Only tensors, plain values and `argparse.Namespace` are read: a file that wants to run code is refused.

    Args:
        path (`str` or `Path`): A file written by `torch.save`: a state dict, or a dict that holds one as
            `model`.

    Returns:
        `dict[str, torch.Tensor]`: Name -> tensor on the CPU, without the prefix `module.` of wrapped models.

    Raises:
        ValueError: If the file is missing, is no checkpoint, or holds anything else.
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
            f"{path} is refused: it is no checkpoint, or holds more than tensors, plain values and "
            "argparse.Namespace."
        ) from error
    except Exception as error:  # a file that is no checkpoint fails in as many ways as there are formats
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read as a PyTorch checkpoint: {reason}") from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path} holds no state dict but a {type(content).__name__}.")
    strays = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if strays:
        raise ValueError(
            f"{path} holds no state dict: {strays[0]!r} is a {type(content[strays[0]]).__name__}."
        )
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): value for name, value in content.items()}
    return dict(content)


def rename_all(
    state: Mapping[str, torch.Tensor], names: Iterable[tuple[str, str]], dead: Iterable[str], network: str
) -> dict[str, torch.Tensor]:
    """Weights of an original under our names.

    Args:
        state (`Mapping[str, torch.Tensor]`): A state dict of the original.
        names (`Iterable[tuple[str, str]]`): Regular expressions of whole names, and their replacements.
        dead (`Iterable[str]`): Names that are left out.
        network (`str`): What the original is called, for the message.

    Returns:
        `dict[str, torch.Tensor]`: Our name -> the same tensor.

    Raises:
        ValueError: If a name is neither known nor dead.
    """
    names, dead, renamed = list(names), set(dead), {}
    for name, tensor in state.items():
        if name in dead:
            continue
        found = next(((p, r) for p, r in names if re.fullmatch(p, name)), None)
        if found is None:
            raise ValueError(
                f"{name} is not a name of the original {network}: is this one of its weight files?"
            )
        renamed[re.sub(*found, name)] = tensor
    return renamed


def name_dead(state: Mapping[str, torch.Tensor], dead: Iterable[str]) -> str:
    """One line on entries that have no effect in the original and were dropped."""
    dead = list(dead)
    if not dead:
        return "No entry without effect was found; nothing was dropped."
    count = sum(state[name].numel() for name in dead)
    return f"Dropped {count:,} values that have no effect in the original: {', '.join(dead)}."


def build_config(
    config_class: type[PreTrainedConfig], found: Mapping, overrides: Mapping
) -> PreTrainedConfig:
    """A configuration from what the shapes show and what the user gives.

    Args:
        config_class (`type`): A configuration class of the registry.
        found (`Mapping`): Field -> value read from the shapes.
        overrides (`Mapping`): Field -> value given by the user; may not contradict `found`.

    Returns:
        `PreTrainedConfig`: With the class's defaults for the rest.

    Raises:
        ValueError: If a field is unknown, contradicts the shapes, or the values do not fit together.
    """
    fields = [*config_class.__annotations__, "id2label", "label2id", "num_labels"]
    for name, value in overrides.items():
        if name not in fields:
            raise ValueError(f"{config_class.__name__} has no field {name!r}. Fields: {', '.join(fields)}.")
        if name in found and value != found[name]:
            raise ValueError(
                f"{name}={value} contradicts the weights, whose shapes give {name}={found[name]}."
            )
    try:
        return config_class(**{**found, **overrides})
    except (
        Exception
    ) as error:  # transformers wraps what a configuration refuses in an error of its own, over two lines
        raise ValueError(str(error).strip().splitlines()[-1].strip()) from error


def load_renamed(model: PreTrainedModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Load weights under the model's own names; every name and shape must fit.

    Args:
        model (`PreTrainedModel`): The model to fill.
        weights (`Mapping[str, torch.Tensor]`): Name -> tensor.

    Raises:
        ValueError: If a tensor is missing, too many, or of another shape.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _refuse("is missing from the weights", expected.keys() - weights.keys())
    _refuse("has no place in the model", weights.keys() - expected.keys())
    for name, tensor in weights.items():
        if tuple(tensor.shape) != expected[name]:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)} in the weights and {expected[name]} in the model."
            )
    model.load_state_dict(dict(weights))


def _refuse(what: str, names: Iterable[str]) -> None:
    names = sorted(names)
    if names:
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise ValueError(f"{names[0]}{more} {what}.")


def save_converted(model: PreTrainedModel, processor: BaseImageProcessor | None, out_dir: str | Path) -> None:
    """Write a model and its processor to a folder that appears only when it is complete.

    Args:
        model (`PreTrainedModel`): To be saved.
        processor (`BaseImageProcessor`, *optional*): To be saved beside it.
        out_dir (`str` or `Path`): Must not exist, or be empty.

    Raises:
        ValueError: If `out_dir` holds something already.
    """
    out_dir = check_out_dir(out_dir)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        model.save_pretrained(unfinished)
        if processor is not None:
            processor.save_pretrained(unfinished)
        unfinished.chmod(0o755)
        unfinished.replace(out_dir)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def check_out_dir(out_dir: str | Path) -> Path:
    """The folder to write to, refused by a `ValueError` if it holds something already."""
    out_dir = Path(out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ValueError(f"{out_dir} exists and is not an empty folder. Choose another, or remove it.")
    return out_dir
