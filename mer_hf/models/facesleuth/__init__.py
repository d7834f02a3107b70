"""FaceSleuth: vertical attention on the motion, a Swin on the face, action units (arXiv 2506.02695)."""

from .configuration_facesleuth import FaceSleuthConfig
from .image_processing_facesleuth import FaceSleuthImageProcessor
from .modeling_facesleuth import FaceSleuthForVideoClassification, FaceSleuthModel, FaceSleuthPreTrainedModel
from .video_processing_facesleuth import FaceSleuthVideoProcessor

__all__ = [
    "FaceSleuthConfig",
    "FaceSleuthForVideoClassification",
    "FaceSleuthImageProcessor",
    "FaceSleuthModel",
    "FaceSleuthPreTrainedModel",
    "FaceSleuthVideoProcessor",
]
