"""FaceSleuth: vertical attention on the motion, a Swin on the face, action units (arXiv 2506.02695)."""

from typing import TYPE_CHECKING

from mer_hf.models import names_of

if TYPE_CHECKING:
    from .configuration_facesleuth import *
    from .image_processing_facesleuth import *
    from .modeling_facesleuth import *
    from .video_processing_facesleuth import *

__getattr__ = names_of(__name__)
