"""MMNet: muscle motion between onset and apex, gated by continuous attention (arXiv 2201.05297)."""

from .configuration_mmnet import MMNetConfig
from .image_processing_mmnet import MMNetImageProcessor
from .modeling_mmnet import MMNetForVideoClassification, MMNetModel, MMNetPreTrainedModel
from .video_processing_mmnet import MMNetVideoProcessor

__all__ = [
    "MMNetConfig",
    "MMNetForVideoClassification",
    "MMNetImageProcessor",
    "MMNetModel",
    "MMNetPreTrainedModel",
    "MMNetVideoProcessor",
]
