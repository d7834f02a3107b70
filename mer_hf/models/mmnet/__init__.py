"""MMNet: muscle motion between onset and apex, gated by continuous attention (arXiv 2201.05297)."""

from typing import TYPE_CHECKING

from mer_hf.models import names_of

if TYPE_CHECKING:
    from .configuration_mmnet import *
    from .image_processing_mmnet import *
    from .modeling_mmnet import *
    from .video_processing_mmnet import *

__getattr__ = names_of(__name__)
