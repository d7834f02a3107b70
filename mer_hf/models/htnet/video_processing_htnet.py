"""From a video to what HTNet takes."""

from .face_video import FaceVideoProcessor
from .image_processing_htnet import HTNetImageProcessor


class HTNetVideoProcessor(FaceVideoProcessor, HTNetImageProcessor):
    """Finds the face and the phases in a video, then does what [`HTNetImageProcessor`] does.

    Takes the arguments of [`HTNetImageProcessor`].
    """

    model_input_names = HTNetImageProcessor.model_input_names


__all__ = ["HTNetVideoProcessor"]
