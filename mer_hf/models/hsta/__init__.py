"""HSTA: hierarchical space-time attention over a clip and its key frames (arXiv 2405.03202)."""

from .configuration_hsta import HSTAConfig
from .image_processing_hsta import HSTAImageProcessor
from .modeling_hsta import HSTAForVideoClassification, HSTAModel, HSTAPreTrainedModel
from .video_processing_hsta import HSTAVideoProcessor

__all__ = [
    "HSTAConfig",
    "HSTAForVideoClassification",
    "HSTAImageProcessor",
    "HSTAModel",
    "HSTAPreTrainedModel",
    "HSTAVideoProcessor",
]
