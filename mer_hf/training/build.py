"""The network a run begins with, and the checkpoint it ends in."""

import copy
import dataclasses
import inspect
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from mer_hf.loading import load
from mer_hf.models.saving import save_processors
from mer_hf.registry import ARCHITECTURES, Architecture
from mer_hf.utils.settings import check_settings

from .config import TrainingConfig, TrainingError


def _check(flag: str, values: dict[str, Any], made: type, known: set[str]) -> None:
    # Configurations and processors accept any name: a typing mistake would have no effect.
    if unknown := sorted(set(values) - known):
        raise TrainingError(
            f"{flag} {unknown[0]}: {made.__name__} has no such field. Choose from {', '.join(sorted(known))}."
        )
    check_settings(made, values, flag)


def _architecture(config: TrainingConfig) -> Architecture:
    """Return the architecture of a run, and check that it knows the run's fields."""
    if config.model not in ARCHITECTURES:
        raise TrainingError(f"--model {config.model} is unknown. Choose from {', '.join(ARCHITECTURES)}.")
    architecture = ARCHITECTURES[config.model]
    made = architecture.config_class
    own, inherited = ({spec.name for spec in dataclasses.fields(each)} for each in (made, made.__base__))
    _check("--config", config.config, made, own - inherited)
    made = architecture.processor_class
    _check("--processor", config.processor, made, set(inspect.signature(made).parameters) - {"kwargs"})
    return architecture


@lru_cache(maxsize=1)  # a protocol starts every fold from it
def _start(name: str) -> tuple[Any, Any]:
    """Return the network and the processor of `--init-from`; random numbers are left alone."""
    with torch.random.fork_rng(devices=[]):
        return load(name)


def _in_one_line(error: Exception) -> str:
    """Return the reason of an error: strict configurations give it in their last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-1:] if isinstance(error, StrictDataclassError) else lines)


def build_processor(config: TrainingConfig):
    """Return the image processor of a run, new or of `--init-from` with the run's changes."""
    try:
        architecture = _architecture(config)
        if config.init_from:
            start = _start(config.init_from)[1]
            return type(start).from_dict({**start.to_dict(), **config.processor})
        return architecture.processor_class(**config.processor)
    except (ValueError, TypeError, RuntimeError, OSError, StrictDataclassError) as error:
        raise TrainingError(_in_one_line(error)) from error


def build_model(config: TrainingConfig, class_names: tuple[str, ...]):
    """Return the classifier of a run in training mode and float32, new or begun from `--init-from`."""
    classes = dict(enumerate(class_names))
    labels = {"id2label": classes, "label2id": {name: index for index, name in classes.items()}}
    try:
        architecture = _architecture(config)
        if config.init_from:
            return _continued(architecture, config, labels).train()
        return architecture.classifier_class(architecture.config_class(**config.config, **labels)).train()
    except (ValueError, TypeError, RuntimeError, OSError, StrictDataclassError) as error:
        raise TrainingError(_in_one_line(error)) from error


def _continued(architecture: Architecture, config: TrainingConfig, labels: dict[str, Any]):
    """Return a network with the weights of `--init-from`; for other classes its last layer is new."""
    start, _ = _start(config.init_from)
    if start.config.model_type != config.model:
        raise ValueError(
            f"--init-from {config.init_from} is a {start.config.model_type}, not a {config.model}."
        )
    same_classes = list(start.config.id2label.values()) == list(labels["id2label"].values())
    settings = copy.deepcopy(start.config)
    settings.update({**config.config, **labels})
    model = architecture.classifier_class(settings)
    weights = start.state_dict()
    if not same_classes:
        weights = {name: w for name, w in weights.items() if name.startswith(model.base_model_prefix + ".")}
    model.load_state_dict(weights, strict=same_classes)
    return model


def save_checkpoint(model, processor, folder: Path, config: TrainingConfig) -> None:
    """Write weights, configuration, processors and their code, as `from_pretrained` reads them."""
    weights = model.state_dict()
    if config.dtype_on_disk == "float16":
        # config.json still says float32, the type they are loaded as.
        weights = {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}
    model.save_pretrained(folder, state_dict=weights)
    save_processors(processor, folder)
    # safetensors makes its files readable by their owner only.
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)
