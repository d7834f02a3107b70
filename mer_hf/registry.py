"""The one list of architectures: command line choices, test sweeps, cards and the demo read it."""

import inspect
import json
import re
from dataclasses import dataclass
from functools import partial
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

from .fetch import refuse_pickles, snapshot, split_revision
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


def load(
    name_or_path: str | Path, revision: str | None = None, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """A classifier and its processor, from safetensors; no code of a repository is run unless it is trusted.

    Args:
        name_or_path (`str` or `Path`): A bundled checkpoint (`"htnet-synthetic"`, or its architecture's key
            for short), a folder, or a repository on the Hub (`"owner/name"`, `"owner/name@revision"`), looked
            for in this order.
        revision (`str`, *optional*): A branch, tag or full commit hash of a repository on the Hub.
        trust_remote_code (`bool`, *optional*, defaults to `False`): Whether code that comes with the
            checkpoint may be run. It is, only for an architecture that is not one of `ARCHITECTURES`: those
            are built from the installed classes in any case.

    Returns:
        `tuple`: The classifier in evaluation mode, in float32, and its image processor.

    Raises:
        ValueError: In one line, if nothing is found, its architecture is not one of `ARCHITECTURES` and its
            code is absent or not trusted, its weights are pickles, or a file is damaged.
    """
    source = _locate(str(name_or_path), revision, trust_remote_code)
    try:
        refuse_pickles((path.name for path in Path(source).iterdir()), "it")
        config, _ = PreTrainedConfig.get_config_dict(source)
        key = config.get("model_type")
        if key in ARCHITECTURES:
            load_model = ARCHITECTURES[key].classifier_class.from_pretrained
            load_processor = ARCHITECTURES[key].processor_class.from_pretrained
        else:
            _refuse_unknown(Path(source), config, trust_remote_code)
            trusted = {"trust_remote_code": True}
            load_model = partial(AutoModelForVideoClassification.from_pretrained, **trusted)
            load_processor = partial(AutoImageProcessor.from_pretrained, **trusted)
        model, info = load_model(
            source,
            dtype="float32",
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        _refuse_partial(info)
        processor = load_processor(source)
        if key not in ARCHITECTURES:
            _refuse_without_contract(model, processor)
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        # A configuration that refuses its values gives the reason in its last line, the others in the first.
        reason = (
            lines[-1].removeprefix("ValueError: ") if isinstance(error, StrictDataclassError) else lines[0]
        )
        raise ValueError(f"no model could be loaded from {_shown(source)}: {reason}") from error
    return model.eval(), processor


def name_of(model: PreTrainedModel) -> str:
    """What a model was loaded from, so that loading that name gives the same weights again.

    Args:
        model (`PreTrainedModel`): From [`load`].

    Returns:
        `str`: The name of a bundled checkpoint, `owner/name@commit` for one of the Hub, or its folder.
    """
    return _shown(model.config._name_or_path)


def _shown(source: str) -> str:
    path = Path(source)
    if path.parent == CHECKPOINTS:
        return path.name
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return f"{path.parent.parent.name.removeprefix('models--').replace('--', '/')}@{path.name}"
    return source


def _locate(name: str, revision: str | None, code: bool) -> str:
    """The folder of a checkpoint: a bundled one, one that is named, or what the Hub has."""
    is_folder = bool(name) and Path(name).is_dir()
    for bundled_name in (name, f"{name}-synthetic" if name in ARCHITECTURES else name):
        if (CHECKPOINTS / bundled_name / "config.json").is_file():
            name, is_folder = str(CHECKPOINTS / bundled_name), True
    if is_folder and not (Path(name) / "config.json").is_file():
        raise ValueError(f"the folder {name} holds no config.json, so it is no model.")
    if is_folder and revision:
        raise ValueError(f"{_shown(name)} has no revisions: only a Hub repository (owner/name) has.")
    if is_folder:
        return name
    repo_id, named = split_revision(name)
    # Without this, every slip of the pen would wait for the network to say that it knows no such name.
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo_id) or named == "":
        raise ValueError(
            f"there is no model {name!r}: it is no folder, no Hub repository (owner/name or "
            f"owner/name@revision) and not bundled. Bundled: {_known()}."
        )
    if named and revision and named != revision:
        raise ValueError(f"{name} and revision={revision} name two revisions. Leave one of them out.")
    return str(snapshot(repo_id, named or revision, code))


def _refuse_unknown(folder: Path, config: dict, trust_remote_code: bool) -> None:
    """Refuse a model of another type, unless it brings its own code and that is trusted."""
    settings = folder / "preprocessor_config.json"
    processor = json.loads(settings.read_text()) if settings.is_file() else {}
    classes = {**config.get("auto_map", {}), **processor.get("auto_map", {})}
    if not {"AutoConfig", "AutoModelForVideoClassification", "AutoImageProcessor"} <= set(classes):
        key = config.get("model_type")
        raise ValueError(f"it holds a model of type {key!r}; this package runs {', '.join(ARCHITECTURES)}.")
    if not trust_remote_code:
        raise ValueError(
            f"it brings code of its own for a model of type {config.get('model_type')!r}, which was not run. "
            "Read that code, then add --trust-remote-code (trust_remote_code=True)."
        )
    elsewhere = sorted(name for name in map(str, classes.values()) if "--" in name)
    if elsewhere:
        raise ValueError(f"its code lies in another repository ({elsewhere[0]}), which no revision pins.")


def _refuse_without_contract(model: PreTrainedModel, processor: BaseImageProcessor) -> None:
    """Refuse code that loads and cannot be asked what this package asks."""
    for owner, what in ((model, "relevance"), (processor, "to_face"), (processor, "face_geometry")):
        if not hasattr(owner, what):
            raise ValueError(f"its {type(owner).__name__} has no {what}, which this package needs.")


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
