"""From aligned faces to the pair that MMNet looks at: the onset frame and the apex frame."""

import numpy as np
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import logging

from .face_frames import (
    DEFAULT_GEOMETRY,
    IMAGENET_MEAN,
    IMAGENET_STD,
    aligned_face,
    as_clips,
    maps_to_face,
    normalize,
    onset_and_apex,
    per_clip,
)

logger = logging.get_logger(__name__)


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

    def __init__(self, size: int = 224, image_mean=None, image_std=None, face_geometry=None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"size must be a positive whole number, got {size!r}.")
        self.size = size
        self.image_mean = list(IMAGENET_MEAN if image_mean is None else image_mean)
        self.image_std = list(IMAGENET_STD if image_std is None else image_std)
        if len(self.image_mean) != 3 or len(self.image_std) != 3 or min(self.image_std) <= 0:
            raise ValueError(
                f"image_mean and image_std need three numbers, the latter above 0, got {image_mean} and "
                f"{image_std}."
            )
        self.face_geometry = dict(DEFAULT_GEOMETRY if face_geometry is None else face_geometry)

    def __call__(self, images=None, **kwargs) -> BatchFeature:
        """See `preprocess`."""
        return self.preprocess(images, **kwargs)

    def preprocess(
        self, images, *, onset=None, apex=None, offset=None, return_tensors: str | None = None, **kwargs
    ) -> BatchFeature:
        """One pair per clip.

        Args:
            images (`np.ndarray` of shape `(T, S, S, 3)`, `list[PIL.Image.Image]` or a list): Aligned faces,
                uint8 RGB: a clip, or a list of clips.
            onset (`int` or `list[int]`, *optional*): Frame index per clip; by default the first frame.
            apex (`int` or `list[int]`, *optional*): Frame index per clip, not before the onset; by default
                the middle frame.
            offset (`int` or `list[int]`, *optional*): Not used by MMNet.
            return_tensors (`str`, *optional*): `"pt"` for tensors, by default arrays.
            **kwargs: What processors of other architectures take; without effect.

        Returns:
            `BatchFeature`: `pixel_values` `(N, 2, 3, size, size)` float32, onset then apex.

        Raises:
            ValueError: If a frame has another type or shape, or an index lies outside its clip.
        """
        clips = as_clips(images)
        onsets, apexes = per_clip(onset, len(clips), "onset"), per_clip(apex, len(clips), "apex")
        pairs = [self._pair(*each) for each in zip(clips, onsets, apexes, strict=True)]
        pixel_values = normalize(np.stack(pairs), self.image_mean, self.image_std)
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)

    def to_face(self, map, geometry=None, landmarks_xy=None) -> np.ndarray:
        """Take a map of the network's input back to the face: both are the same square.

        Args:
            map (`np.ndarray` or `torch.Tensor` of shape `(B, h, w)` or `(h, w)`): At any resolution, e.g.
                from `MMNetForVideoClassification.relevance`.
            geometry (`dict` or an object with the attribute `size`, *optional*): Of the aligned faces; by
                default `face_geometry`.
            landmarks_xy (*optional*): Without effect.

        Returns:
            `np.ndarray` of shape `(B, S, S)`: float32.
        """
        return maps_to_face(map, self.face_geometry if geometry is None else geometry)

    def _pair(self, clip, onset: int | None, apex: int | None) -> np.ndarray:
        onset, apex = onset_and_apex(clip, onset, apex)
        if apex == onset:
            logger.warning(f"onset and apex are the same frame, {onset}: there is no motion between them.")
        return np.stack([self._resized(aligned_face(clip, index)) for index in (onset, apex)])

    def _resized(self, frame: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(frame).resize((self.size, self.size), Image.BILINEAR))


__all__ = ["MMNetImageProcessor"]
