"""HTNet: a nested hierarchical transformer on flow maps of four facial areas (arXiv 2307.14637)."""

from typing import TYPE_CHECKING

from mer_hf.models import names_of

if TYPE_CHECKING:
    from .configuration_htnet import *
    from .image_processing_htnet import *
    from .modeling_htnet import *
    from .video_processing_htnet import *

__getattr__ = names_of(__name__)
