"""Where a network looked, as a heat map on the face, for any registered model."""

from collections.abc import Mapping

import numpy as np


def face_relevance(
    model, processor, inputs: Mapping, target: int | None = None, geometry=None, landmarks_xy=None
) -> np.ndarray:
    """The model's own relevance, taken to the face by its processor and scaled to 1.

    Args:
        model (`PreTrainedModel`): A classifier of the registry.
        processor (`BaseImageProcessor`): Its processor.
        inputs (`Mapping`): What the processor made of one clip, as tensors; `labels` are left out.
        target (`int`, *optional*): Class index; by default the model's own answer.
        geometry (`FaceGeometry` or `dict`, *optional*): Of the aligned faces; by default the processor's.
        landmarks_xy (`np.ndarray`, *optional*): The landmarks given to the processor for this clip.

    Returns:
        `np.ndarray` of shape `(S, S)` or `(T, S, S)`: float32 in [0, 1]; all zeros where nothing speaks for
        the class.

    Raises:
        ValueError: If `inputs` holds more than one clip.
    """
    inputs = {name: value for name, value in inputs.items() if name != "labels"}
    if len(inputs["pixel_values"]) != 1:
        raise ValueError(
            f"expected the inputs of one clip, got {len(inputs['pixel_values'])}. Pass them one by one."
        )
    places = {} if landmarks_xy is None else {"landmarks_xy": landmarks_xy}
    face = processor.to_face(model.relevance(target=target, **inputs), geometry, **places)[0]
    face = np.clip(np.asarray(face, dtype=np.float32), 0, None)
    peak = face.max()
    return face / peak if peak > 0 else face


__all__ = ["face_relevance"]
