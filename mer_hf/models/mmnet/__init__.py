"""MMNet: muscle motion between onset and apex, gated by continuous attention (arXiv 2201.05297)."""

# ruff: noqa: F403 (each module lists its public names)

from .configuration_mmnet import *
from .image_processing_mmnet import *
from .modeling_mmnet import *
from .video_processing_mmnet import *
