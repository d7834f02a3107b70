"""HTNet: a nested hierarchical transformer on flow maps of four facial areas (arXiv 2307.14637)."""

from .configuration_htnet import HTNetConfig
from .image_processing_htnet import HTNetImageProcessor
from .modeling_htnet import HTNetForVideoClassification, HTNetModel, HTNetPreTrainedModel
from .video_processing_htnet import HTNetVideoProcessor

__all__ = [
    "HTNetConfig",
    "HTNetForVideoClassification",
    "HTNetImageProcessor",
    "HTNetModel",
    "HTNetPreTrainedModel",
    "HTNetVideoProcessor",
]
