"""The one list of architectures: command line choices, test sweeps, cards and the demo read it."""

import inspect
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForVideoClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import cached_file

from .models.facesleuth import (
    FaceSleuthConfig,
    FaceSleuthForVideoClassification,
    FaceSleuthImageProcessor,
    FaceSleuthModel,
)
from .models.hsta import HSTAConfig, HSTAForVideoClassification, HSTAImageProcessor, HSTAModel
from .models.htnet import HTNetConfig, HTNetForVideoClassification, HTNetImageProcessor, HTNetModel
from .models.mmnet import MMNetConfig, MMNetForVideoClassification, MMNetImageProcessor, MMNetModel
from .provenance import sha256_of

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
        looks_at (`str`): What it sees of a face, for tables.
        relevance_by (`str`): How its relevance is made, for those who look at the picture.
    """

    key: str
    config_class: type[PreTrainedConfig]
    model_class: type[PreTrainedModel]
    classifier_class: type[PreTrainedModel]
    processor_class: type[BaseImageProcessor]
    convert_module: str
    looks_at: str
    relevance_by: str

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
        looks_at="optical flow of eye and lip areas",
        relevance_by="bright regions changed the answer most; it is made with gradients, not with attention, "
        "because HTNet's published configuration has one token per block, so that its attention weights are "
        "all exactly 1",
    ),
    "mmnet": Architecture(
        key="mmnet",
        config_class=MMNetConfig,
        model_class=MMNetModel,
        classifier_class=MMNetForVideoClassification,
        processor_class=MMNetImageProcessor,
        convert_module="mer_hf.models.mmnet.convert_mmnet",
        looks_at="the difference between onset and apex, and the face at rest",
        relevance_by="bright regions spoke for the answer: the classifier's own share of each position, "
        "spread along MMNet's four continuous-attention maps",
    ),
    "hsta": Architecture(
        key="hsta",
        config_class=HSTAConfig,
        model_class=HSTAModel,
        classifier_class=HSTAForVideoClassification,
        processor_class=HSTAImageProcessor,
        convert_module="mer_hf.models.hsta.convert_hsta",
        looks_at="frames between onset and offset, and the key frames",
        relevance_by="attention is rolled out over space and time and weighed by gradients; of HSTA's maps, "
        "one for each frame it saw, the apex's is shown",
    ),
    "facesleuth": Architecture(
        key="facesleuth",
        config_class=FaceSleuthConfig,
        model_class=FaceSleuthModel,
        classifier_class=FaceSleuthForVideoClassification,
        processor_class=FaceSleuthImageProcessor,
        convert_module="mer_hf.models.facesleuth.convert_facesleuth",
        looks_at="the difference between onset and apex, both faces, and action units",
        relevance_by="bright regions spoke for the answer: FaceSleuth's gates say which rows count, "
        "gradients where in a row",
    ),
}

for _architecture in ARCHITECTURES.values():
    _architecture.register()


def takes_flow_maps(processor: BaseImageProcessor) -> bool:
    """Whether a processor takes ready-made motion maps as `flow_maps`; the others take faces only."""
    call = getattr(processor, "preprocess", processor)
    return "flow_maps" in inspect.signature(call).parameters


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
        raise ValueError(f"no bundled checkpoint is called {name!r}. Bundled: {_known()}.")
    return path


def load(name_or_path: str | Path) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """A classifier and its processor, built from installed classes; no code of a repository is run.

    Args:
        name_or_path (`str` or `Path`): A bundled checkpoint (`"htnet-synthetic"`, or its architecture's key
            for short), a folder, or a repository on the Hub (`"owner/name"`), looked for in this order.

    Returns:
        `tuple`: The classifier in evaluation mode, in float32, and its image processor.

    Raises:
        ValueError: If nothing is found, its architecture is not one of `ARCHITECTURES`, or a file is damaged.
    """
    source = _locate(str(name_or_path))
    try:
        config, _ = PreTrainedConfig.get_config_dict(source)
        key = config.get("model_type")
        if key not in ARCHITECTURES:
            raise ValueError(
                f"it holds a model of type {key!r}; this package runs {', '.join(ARCHITECTURES)}."
            )
        architecture = ARCHITECTURES[key]
        model, info = architecture.classifier_class.from_pretrained(
            source,
            dtype="float32",
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        _refuse_partial(info)
        processor = architecture.processor_class.from_pretrained(source)
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        # A configuration that refuses its values gives the reason in its last line, the others in the first.
        reason = (
            lines[-1].removeprefix("ValueError: ") if isinstance(error, StrictDataclassError) else lines[0]
        )
        raise ValueError(f"no model could be loaded from {source}: {reason}") from error
    return model.eval(), processor


def _locate(name: str) -> str:
    """Where a checkpoint lies: a bundled one, a folder, or else the name of a repository."""
    for bundled_name in (name, f"{name}-synthetic" if name in ARCHITECTURES else name):
        if (CHECKPOINTS / bundled_name / "config.json").is_file():
            return str(CHECKPOINTS / bundled_name)
    is_folder = bool(name) and Path(name).is_dir()
    if is_folder and not (Path(name) / "config.json").is_file():
        raise ValueError(f"the folder {name} holds no config.json, so it is no model.")
    # Without this, every slip of the pen would wait for the network to say that it knows no such name.
    if not is_folder and not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise ValueError(
            f"there is no model {name!r}: it is no folder, no Hub repository (owner/name) and not bundled. "
            f"Bundled: {_known()}."
        )
    return name


def _refuse_partial(info: dict) -> None:
    """Refuse weights that do not fill the network exactly: transformers would make up what is missing."""
    for problem, what in (("missing_keys", "lack"), ("mismatched_keys", "have another shape for")):
        if info[problem]:
            raise ValueError(f"its weights {what} {len(info[problem])} tensors of its config.json's network.")
    if info["unexpected_keys"]:
        raise ValueError(f"its weights hold {len(info['unexpected_keys'])} tensors that its network has not.")


def weights_sha256(model) -> str | None:
    """SHA-256 of the `model.safetensors` that a model was loaded from; None for one that was never saved."""
    source = model.config._name_or_path
    if not source:
        return None
    path = cached_file(
        source, "model.safetensors", local_files_only=True, _raise_exceptions_for_missing_entries=False
    )
    return sha256_of(path) if path else None


def file_beside(model: PreTrainedModel, name: str) -> str | None:
    """A further file of the folder or repository that a model was loaded from.

    Args:
        model (`PreTrainedModel`): From `load`.
        name (`str`): Of the file.

    Returns:
        `str` or `None`: Where it lies on this machine; None if there is none, or the model was never saved.
    """
    source = model.config._name_or_path
    if not source:
        return None
    options = {
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
    }
    return cached_file(source, name, revision=getattr(model.config, "_commit_hash", None), **options)


def _known() -> str:
    """The names of the bundled checkpoints, for messages."""
    return ", ".join(sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))) or "none"
