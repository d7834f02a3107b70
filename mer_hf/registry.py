"""List the architectures: command line choices, test sweeps, cards and the demo all read this list."""

from importlib import import_module
from importlib.util import find_spec

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForVideoClassification
from transformers.models.auto.video_processing_auto import AutoVideoProcessor


class Architecture:
    """The classes in `models/<key>`, which all begin with the architecture's name.

    Attributes:
        key (`str`): Lower-case name used everywhere; the `model_type` of its configurations.
        config_class (`type`): Configuration.
        model_class (`type`): Features.
        classifier_class (`type`): Features and classifier.
        processor_class (`type`): From aligned faces to `pixel_values`.
        video_processor_class (`type`): From videos to `pixel_values`, with the settings of `processor_class`.
        looks_at (`str`): What it sees of a face, for tables.
        relevance_by (`str`): How its heat map is made and read, for those who look at the picture.
        convert_module (`str`, *optional*): Module whose `convert(path, out_dir, overrides)` turns the
            original's weights into a folder of ours, if there are such weights.
    """

    def __init__(self, name: str, looks_at: str, relevance_by: str):
        self.key, self.looks_at, self.relevance_by = name.lower(), looks_at, relevance_by
        package = import_module(f".models.{self.key}", __package__)
        self.config_class = getattr(package, f"{name}Config")
        self.model_class = getattr(package, f"{name}Model")
        self.classifier_class = getattr(package, f"{name}ForVideoClassification")
        self.processor_class = getattr(package, f"{name}ImageProcessor")
        self.video_processor_class = getattr(package, f"{name}VideoProcessor")
        converter = f"{package.__name__}.convert_{self.key}"
        self.convert_module = converter if find_spec(converter) else None

    def register(self) -> None:
        """Register with the Auto classes, so that saved folders also contain the architecture's code."""
        AutoConfig.register(self.key, self.config_class)
        AutoModel.register(self.config_class, self.model_class)
        AutoModelForVideoClassification.register(self.config_class, self.classifier_class)
        AutoImageProcessor.register(self.config_class, image_processor_classes={"pil": self.processor_class})
        # Auto classes know video processors by the library they need; ours need none.
        video = {"torchvision": self.video_processor_class}
        AutoVideoProcessor.register(self.config_class, video_processor_classes=video)
        self.config_class.register_for_auto_class()
        self.model_class.register_for_auto_class("AutoModel")
        self.classifier_class.register_for_auto_class("AutoModelForVideoClassification")
        self.processor_class.register_for_auto_class("AutoImageProcessor")
        self.video_processor_class.register_for_auto_class("AutoVideoProcessor")


_LISTED = (
    Architecture(
        "HTNet",
        looks_at="optical flow of eye and lip areas",
        relevance_by="bright regions carry the answer: their motion adds most to the class (attention cannot "
        "show it: HTNet has one token per block, so its attention weights are exactly 1)",
    ),
    Architecture(
        "MMNet",
        looks_at="the difference between onset and apex, and the face at rest",
        relevance_by="bright regions carry the answer: what changed there between onset and apex adds most "
        "to the class",
    ),
    Architecture(
        "HSTA",
        looks_at="frames between onset and offset, and the key frames",
        relevance_by="attention is rolled out over space and time and weighted by gradients; HSTA has one "
        "map for each frame, of which the one of the apex is shown",
    ),
    Architecture(
        "FaceSleuth",
        looks_at="the difference between onset and apex, both faces, and action units",
        relevance_by="bright regions carry the answer: what changed there between onset and apex adds most "
        "to the class",
    ),
)
ARCHITECTURES: dict[str, Architecture] = {each.key: each for each in _LISTED}

for _architecture in ARCHITECTURES.values():
    _architecture.register()
