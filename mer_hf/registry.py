"""The one list of architectures: command line choices, test sweeps, cards and the demo read it."""

from dataclasses import dataclass
from pathlib import Path

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForVideoClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.image_processing_utils import BaseImageProcessor

from .models.htnet import HTNetConfig, HTNetForVideoClassification, HTNetImageProcessor, HTNetModel

CHECKPOINTS = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True)
class Architecture:
    """An architecture's classes.

    Attributes:
        key (`str`): Lower-case name used everywhere; the `model_type` of its configurations.
        config_class (`type`): Configuration.
        model_class (`type`): Features.
        classifier_class (`type`): Features and classifier.
        processor_class (`type`): From aligned faces to `pixel_values`.
        convert_module (`str`): Module whose `convert(path, out_dir, overrides)` turns the original's weights
            into a folder of ours.
    """

    key: str
    config_class: type[PreTrainedConfig]
    model_class: type[PreTrainedModel]
    classifier_class: type[PreTrainedModel]
    processor_class: type[BaseImageProcessor]
    convert_module: str

    def register(self) -> None:
        """Make the Auto classes know this architecture, and saved folders carry its code."""
        AutoConfig.register(self.key, self.config_class)
        AutoModel.register(self.config_class, self.model_class)
        AutoModelForVideoClassification.register(self.config_class, self.classifier_class)
        AutoImageProcessor.register(self.config_class, image_processor_classes={"pil": self.processor_class})
        self.config_class.register_for_auto_class()
        self.model_class.register_for_auto_class("AutoModel")
        self.classifier_class.register_for_auto_class("AutoModelForVideoClassification")
        self.processor_class.register_for_auto_class("AutoImageProcessor")


ARCHITECTURES: dict[str, Architecture] = {
    "htnet": Architecture(
        key="htnet",
        config_class=HTNetConfig,
        model_class=HTNetModel,
        classifier_class=HTNetForVideoClassification,
        processor_class=HTNetImageProcessor,
        convert_module="mer_hf.models.htnet.convert_htnet",
    ),
}

for _architecture in ARCHITECTURES.values():
    _architecture.register()


def bundled(name: str) -> Path:
    """Where a checkpoint lies that comes with the package.

    Args:
        name (`str`): E.g. `"htnet-synthetic"`.

    Returns:
        `Path`: A folder for `from_pretrained`.

    Raises:
        ValueError: If there is no such checkpoint.
    """
    path = CHECKPOINTS / name
    if Path(name).name != name or not (path / "config.json").is_file():
        known = ", ".join(sorted(p.parent.name for p in CHECKPOINTS.glob("*/config.json"))) or "none"
        raise ValueError(f"no bundled checkpoint is called {name!r}. Bundled: {known}.")
    return path


def load(name_or_path: str | Path) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """A classifier and its processor, built from installed classes; no code of a repository is run.

    Args:
        name_or_path (`str` or `Path`): A bundled checkpoint, a folder, or a repository on the Hub, looked for
            in this order.

    Returns:
        `tuple`: The classifier in evaluation mode, in float32, and its image processor.

    Raises:
        ValueError: If nothing is found, or its architecture is not one of `ARCHITECTURES`.
    """
    source = str(name_or_path)
    if (CHECKPOINTS / source / "config.json").is_file():
        source = str(CHECKPOINTS / source)
    try:
        config, _ = PreTrainedConfig.get_config_dict(source)
        key = config.get("model_type")
        if key not in ARCHITECTURES:
            raise ValueError(
                f"{source} holds a model of type {key!r}; this package runs {', '.join(ARCHITECTURES)}."
            )
        architecture = ARCHITECTURES[key]
        model = architecture.classifier_class.from_pretrained(source, dtype="float32", use_safetensors=True)
        processor = architecture.processor_class.from_pretrained(source)
    except OSError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        known = ", ".join(sorted(p.parent.name for p in CHECKPOINTS.glob("*/config.json"))) or "none"
        raise ValueError(
            f"no model could be loaded from {source!r}: {reason} Bundled checkpoints: {known}."
        ) from error
    return model.eval(), processor
