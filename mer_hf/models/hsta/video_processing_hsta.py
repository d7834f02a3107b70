"""From a video to what HSTA takes."""

from .face_video import FaceVideoProcessor
from .image_processing_hsta import HSTAImageProcessor


class HSTAVideoProcessor(FaceVideoProcessor, HSTAImageProcessor):
    """Finds the face and the phases in a video, then does what [`HSTAImageProcessor`] does.

    Takes the arguments of [`HSTAImageProcessor`].
    """

    model_input_names = HSTAImageProcessor.model_input_names


__all__ = ["HSTAVideoProcessor"]
