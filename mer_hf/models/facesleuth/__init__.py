"""FaceSleuth: vertical attention on the motion, a Swin on the face, action units (arXiv 2506.02695)."""

# ruff: noqa: F403 (each module lists its public names)

from .configuration_facesleuth import *
from .image_processing_facesleuth import *
from .modeling_facesleuth import *
from .video_processing_facesleuth import *
