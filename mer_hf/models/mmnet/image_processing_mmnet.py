"""From aligned faces to the pair of frames that MMNet takes: onset and apex."""

import numpy as np
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from .face_frames import (
    DEFAULT_GEOMETRY,
    aligned_face,
    clips_with_phases,
    maps_to_face,
    mean_and_std,
    normalize,
    onset_and_apex,
    refuse_unknown,
)


class MMNetImageProcessor(BaseImageProcessor):
    r"""Onset and apex of aligned faces, resized and normalised.

    The defaults are the original's evaluation: RGB, Pillow's bilinear resize (which averages when it
    shrinks), [0, 1], ImageNet's mean and standard deviation. Its random choice of frames near onset and apex
    belongs to training.

    Args:
        size (`int`, *optional*, defaults to 224): Height and width of the result; the model's `image_size`.
        image_mean (`list[float]`, *optional*): Per channel, after scaling to [0, 1]; by default ImageNet's.
        image_std (`list[float]`, *optional*): Per channel; by default ImageNet's.
        face_geometry (`dict`, *optional*): `size`, `eye_row` and `interocular_fraction` of the aligned faces
            that the network was trained with; the pipeline crops faces so.

    Raises:
        ValueError: If a value is out of range.
    """

    model_input_names = ("pixel_values",)

    def __init__(
        self,
        size: int = 224,
        image_mean: list[float] | None = None,
        image_std: list[float] | None = None,
        face_geometry: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"size must be a positive whole number, got {size!r}.")
        self.size = size
        self.image_mean, self.image_std = mean_and_std(image_mean, image_std)
        self.face_geometry = dict(face_geometry or DEFAULT_GEOMETRY)

    def preprocess(
        self,
        images,
        *,
        onset=None,
        apex=None,
        offset=None,
        landmarks_xy=None,
        action_units=None,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """Make one pair per clip.

        Args:
            images (`np.ndarray` of shape `(T, S, S, 3)`, `list[PIL.Image.Image]` or a list): Aligned faces,
                uint8 RGB: a clip, or a list of clips.
            onset (`int` or `list[int]`, *optional*): Frame index per clip; by default the first frame.
            apex (`int` or `list[int]`, *optional*): Frame index per clip, not before the onset; by default
                the middle frame.
            offset (*optional*): Not used by MMNet.
            landmarks_xy (*optional*): Not used by MMNet.
            action_units (*optional*): Not used by MMNet.
            return_tensors (`str`, *optional*): `"pt"` for tensors, by default arrays.
            **kwargs: Refused by name.

        Returns:
            `BatchFeature`: `pixel_values` `(N, 2, 3, size, size)` float32, onset then apex.

        Raises:
            TypeError: If an argument is unknown.
            ValueError: If a frame has another type or shape, or an index lies outside its clip.
        """
        refuse_unknown(self.preprocess, kwargs)
        pairs = [self._pair(*clip) for clip in clips_with_phases(images, onset=onset, apex=apex)]
        pixel_values = normalize(np.stack(pairs), self.image_mean, self.image_std)
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)

    def to_face(self, heatmap, geometry=None, landmarks_xy=None) -> np.ndarray:
        """Take a heatmap of the network's input back to the face: both are the same square.

        Args:
            heatmap (`np.ndarray` or `torch.Tensor` of shape `(B, h, w)` or `(h, w)`): At any resolution, e.g.
                from `MMNetForVideoClassification.relevance`.
            geometry (`dict` or an object with the attribute `size`, *optional*): Of the aligned faces; by
                default `face_geometry`.
            landmarks_xy (*optional*): Not used by MMNet.

        Returns:
            `np.ndarray` of shape `(B, S, S)`: float32.
        """
        return maps_to_face(heatmap, geometry or self.face_geometry)

    def _pair(self, clip, onset: int | None, apex: int | None) -> np.ndarray:
        return np.stack([aligned_face(clip, i, self.size) for i in onset_and_apex(clip, onset, apex)])


__all__ = ["MMNetImageProcessor"]
