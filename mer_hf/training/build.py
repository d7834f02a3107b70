"""The network a run begins with, and the folder it ends in."""

import copy
import dataclasses
import inspect
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from mer_hf.loading import load
from mer_hf.registry import ARCHITECTURES, Architecture

from .config import TrainingConfig, TrainingError


def _check_fields(flag: str, given: dict[str, Any], known: set[str], owner: str) -> None:
    # Configurations and processors keep names they do not know: a slip of the pen would have no effect.
    unknown = sorted(set(given) - known)
    if unknown:
        raise TrainingError(
            f"{flag} {unknown[0]}: {owner} has no such field. Choose from {', '.join(sorted(known))}."
        )


def build_model(config: TrainingConfig, class_names: tuple[str, ...]) -> tuple[Any, Any]:
    """The network and its image processor, new or from a checkpoint.

    Args:
        config ([`TrainingConfig`]): Of the run.
        class_names (`tuple[str, ...]`): In index order.

    Returns:
        `tuple`: The classifier in training mode, in float32, and the image processor.

    Raises:
        TrainingError: If the architecture, a field or a value is unknown, or the checkpoint cannot be read.
    """
    architecture = _architecture(config)
    try:
        if config.init_from:
            return _load(architecture, config, class_names)
        model = architecture.classifier_class(
            architecture.config_class(**config.config, **_labels(class_names))
        )
        return model.train(), architecture.processor_class(**config.processor)
    except (ValueError, TypeError, RuntimeError, StrictDataclassError) as error:
        raise TrainingError(_in_one_line(error)) from error


def build_processor(config: TrainingConfig):
    """The image processor alone, as [`build_model`] gives it.

    Raises:
        TrainingError: If the architecture, a field or a value is unknown, or the checkpoint cannot be read.
    """
    architecture = _architecture(config)
    try:
        if config.init_from:
            return _processor_of(load(config.init_from)[1], config)
        return architecture.processor_class(**config.processor)
    except (ValueError, TypeError, RuntimeError, OSError, StrictDataclassError) as error:
        raise TrainingError(_in_one_line(error)) from error


def _architecture(config: TrainingConfig) -> Architecture:
    """The architecture of a run, if its fields are known to it."""
    if config.model not in ARCHITECTURES:
        raise TrainingError(f"--model {config.model} is unknown. Choose from {', '.join(ARCHITECTURES)}.")
    architecture = ARCHITECTURES[config.model]
    own = {spec.name for spec in dataclasses.fields(architecture.config_class)}
    own -= {spec.name for spec in dataclasses.fields(architecture.config_class.__base__)}
    _check_fields("--config", config.config, own, architecture.config_class.__name__)
    own = set(inspect.signature(architecture.processor_class).parameters) - {"kwargs"}
    _check_fields("--processor", config.processor, own, architecture.processor_class.__name__)
    return architecture


def _processor_of(start, config: TrainingConfig):
    """A checkpoint's image processor with the run's changes."""
    return type(start).from_dict({**start.to_dict(), **config.processor})


def _labels(class_names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(class_names)),
        "label2id": {name: index for index, name in enumerate(class_names)},
    }


def _in_one_line(error: Exception) -> str:
    """The reason of an error: strict configurations give it in their last line, others in all of them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-1:] if isinstance(error, StrictDataclassError) else lines)


def _load(
    architecture: Architecture, config: TrainingConfig, class_names: tuple[str, ...]
) -> tuple[Any, Any]:
    """A checkpoint of the same architecture; where its classes are others, its last layer is made anew."""
    start, processor = load(config.init_from)
    if start.config.model_type != config.model:
        raise ValueError(
            f"--init-from {config.init_from} is a {start.config.model_type}, not a {config.model}."
        )
    same_classes = tuple(start.config.id2label.values()) == class_names
    settings = copy.deepcopy(start.config)
    settings.update({**config.config, **_labels(class_names)})
    model = architecture.classifier_class(settings)
    weights = start.state_dict()
    if not same_classes:
        weights = {name: w for name, w in weights.items() if name.startswith(model.base_model_prefix + ".")}
    model.load_state_dict(weights, strict=same_classes)
    return model.train(), _processor_of(processor, config)


def save_checkpoint(model, processor, folder: Path, config: TrainingConfig) -> None:
    """Weights, configuration, image processor and the code of all three, as `from_pretrained` reads them."""
    weights = model.state_dict()
    if config.dtype_on_disk == "float16":
        # config.json still says float32, the type they are loaded as.
        weights = {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}
    model.save_pretrained(folder, state_dict=weights)
    processor.save_pretrained(folder)
    # safetensors lets nobody but the owner read what it writes.
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)
