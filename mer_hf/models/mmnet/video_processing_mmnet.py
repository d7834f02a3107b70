"""From a video to what MMNet takes."""

from .face_video import FaceVideoProcessor
from .image_processing_mmnet import MMNetImageProcessor


class MMNetVideoProcessor(FaceVideoProcessor, MMNetImageProcessor):
    """Finds the face and the phases in a video, then does what [`MMNetImageProcessor`] does.

    Takes the arguments of [`MMNetImageProcessor`].
    """

    model_input_names = MMNetImageProcessor.model_input_names


__all__ = ["MMNetVideoProcessor"]
