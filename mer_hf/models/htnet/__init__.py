"""HTNet: a nested hierarchical transformer on flow maps of four facial areas (arXiv 2307.14637)."""

# ruff: noqa: F403 (each module lists its public names)

from .configuration_htnet import *
from .image_processing_htnet import *
from .modeling_htnet import *
from .video_processing_htnet import *
