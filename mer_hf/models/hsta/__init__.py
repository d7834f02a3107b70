"""HSTA: hierarchical space-time attention over a clip and its key frames (arXiv 2405.03202)."""

# ruff: noqa: F403 (each module lists its public names)

from .configuration_hsta import *
from .image_processing_hsta import *
from .modeling_hsta import *
from .video_processing_hsta import *
