"""From a video to what FaceSleuth takes."""

from .face_video import FaceVideoProcessor
from .image_processing_facesleuth import FaceSleuthImageProcessor


class FaceSleuthVideoProcessor(FaceVideoProcessor, FaceSleuthImageProcessor):
    """Finds the face and the phases in a video, then does what [`FaceSleuthImageProcessor`] does.

    Takes the arguments of [`FaceSleuthImageProcessor`].
    """

    model_input_names = FaceSleuthImageProcessor.model_input_names


__all__ = ["FaceSleuthVideoProcessor"]
