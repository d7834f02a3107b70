"""HSTA: hierarchical space-time attention over a clip and its key frames (arXiv 2405.03202)."""

from typing import TYPE_CHECKING

from mer_hf.models import names_of

if TYPE_CHECKING:
    from .configuration_hsta import *
    from .image_processing_hsta import *
    from .modeling_hsta import *
    from .video_processing_hsta import *

__getattr__ = names_of(__name__)
