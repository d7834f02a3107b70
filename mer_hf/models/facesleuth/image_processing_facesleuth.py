"""From aligned faces and action units to what FaceSleuth looks at: onset, apex, and a row of bits."""

import re
from collections.abc import Mapping

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

ACTION_UNITS = [
    f"AU{n}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 23, 24, 25, 26, 28, 45)
]
"""The original's 21, in its order."""


class FaceSleuthImageProcessor(BaseImageProcessor):
    r"""Onset and apex of aligned faces, resized and normalised, and the action units beside them.

    The defaults are the original's evaluation: RGB, Pillow's bilinear resize (which averages when it
    shrinks), [0, 1], ImageNet's mean and standard deviation; action units as bits. Its random choice of
    frames near onset and apex and its augmentation belong to training. The original was given the data set's
    human annotation of action units, at test time too, which is close to a second label.

    Args:
        size (`int`, *optional*, defaults to 224): Height and width of the result; the model's `image_size`.
        image_mean (`list[float]`, *optional*): Per channel, after scaling to [0, 1]; by default ImageNet's.
        image_std (`list[float]`, *optional*): Per channel; by default ImageNet's.
        action_unit_names (`list[str]`, *optional*): Names such as `"AU12"` in the network's order; by default
            the original's 21. Empty for a network without action units.
        binarize_action_units (`bool`, *optional*, defaults to `True`): Whether intensities become 1 from
            `action_unit_threshold` on and 0 below, as the original's bits; otherwise they are passed on.
        action_unit_threshold (`float`, *optional*, defaults to 0.5): In [0, 1].
        face_geometry (`dict`, *optional*): `size`, `eye_row` and `interocular_fraction` of the aligned faces
            that the network was trained with; the pipeline crops faces so.

    Raises:
        ValueError: If a value is out of range.
    """

    model_input_names = ("pixel_values", "action_units")

    def __init__(
        self,
        size: int = 224,
        image_mean=None,
        image_std=None,
        action_unit_names=None,
        binarize_action_units: bool = True,
        action_unit_threshold: float = 0.5,
        face_geometry=None,
        **kwargs,
    ):
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
        self.action_unit_names = list(ACTION_UNITS if action_unit_names is None else action_unit_names)
        wrong = [name for name in self.action_unit_names if not re.fullmatch(r"AU\d+", str(name))]
        if wrong or len(set(self.action_unit_names)) != len(self.action_unit_names):
            raise ValueError(
                f"action_unit_names must be different names such as 'AU12', got {self.action_unit_names}."
            )
        if not 0 <= action_unit_threshold <= 1:
            raise ValueError(f"action_unit_threshold must lie in [0, 1], got {action_unit_threshold!r}.")
        self.binarize_action_units = bool(binarize_action_units)
        self.action_unit_threshold = float(action_unit_threshold)
        self.face_geometry = dict(DEFAULT_GEOMETRY if face_geometry is None else face_geometry)

    def __call__(self, images=None, **kwargs) -> BatchFeature:
        """See `preprocess`."""
        return self.preprocess(images, **kwargs)

    def preprocess(
        self,
        images,
        *,
        onset=None,
        apex=None,
        offset=None,
        action_units=None,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """One pair, and one row of action units, per clip.

        Args:
            images (`np.ndarray` of shape `(T, S, S, 3)`, `list[PIL.Image.Image]` or a list): Aligned faces,
                uint8 RGB: a clip, or a list of clips.
            onset (`int` or `list[int]`, *optional*): Frame index per clip; by default the first frame.
            apex (`int` or `list[int]`, *optional*): Frame index per clip, not before the onset; by default
                the middle frame.
            offset (`int` or `list[int]`, *optional*): Not used by FaceSleuth.
            action_units (*optional*): The action units of a clip, or a list of one per clip; one alone
                stands for all clips. Either names of those that are present (`["AU4", "AU7"]` or a set), or
                name -> intensity in [0, 1], where an estimate (left, right, intensity) counts with its last
                value and None as 0, or an array of `len(action_unit_names)` intensities or bits. None means
                that none is present, which is also all that the network knows of faces whose action units
                are unknown.
            return_tensors (`str`, *optional*): `"pt"` for tensors, by default arrays.
            **kwargs: What processors of other architectures take; without effect.

        Returns:
            `BatchFeature`: `pixel_values` `(N, 2, 3, size, size)` float32, onset then apex, and, unless
            `action_unit_names` is empty, `action_units` `(N, len(action_unit_names))` float32.

        Raises:
            ValueError: If a frame has another type or shape, an index lies outside its clip, or something
                that is no action unit is given as one.
        """
        clips = as_clips(images)
        onsets, apexes = per_clip(onset, len(clips), "onset"), per_clip(apex, len(clips), "apex")
        pairs = [self._pair(*each) for each in zip(clips, onsets, apexes, strict=True)]
        features = {"pixel_values": normalize(np.stack(pairs), self.image_mean, self.image_std)}
        if self.action_unit_names:
            rows = [self._action_unit_row(each) for each in _one_for_each(action_units, len(clips))]
            features["action_units"] = np.stack(rows)
        return BatchFeature(features, tensor_type=return_tensors)

    def to_face(self, map, geometry=None, landmarks_xy=None) -> np.ndarray:
        """Take a map of the network's input back to the face: both are the same square.

        Args:
            map (`np.ndarray` or `torch.Tensor` of shape `(B, h, w)` or `(h, w)`): At any resolution, e.g.
                from `FaceSleuthForVideoClassification.relevance`.
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

    def _action_unit_row(self, given) -> np.ndarray:
        """The action units of one clip, float32 `(len(action_unit_names),)`."""
        names = self.action_unit_names
        if given is None:
            return np.zeros(len(names), dtype=np.float32)
        if isinstance(given, str):
            raise ValueError(f"action_units must be names in a list, such as [{given!r}], got {given!r}.")
        if isinstance(given, Mapping):
            found = {_name_of(name): _intensity(value) for name, value in given.items()}
            row = np.array([found.get(name, 0.0) for name in names], dtype=np.float32)
        elif isinstance(given, set | frozenset) or (not len(given) or isinstance(given[0], str)):
            present = {_name_of(name) for name in given}
            unknown = sorted(present - set(names))
            if unknown:
                logger.warning(f"the network knows no {', '.join(unknown)}: left out.")
            row = np.array([name in present for name in names], dtype=np.float32)
        else:
            row = np.asarray(given, dtype=np.float32)
            if row.shape != (len(names),):
                raise ValueError(
                    f"expected action_units of shape ({len(names)},), in the order of action_unit_names, "
                    f"got {row.shape}."
                )
        if not ((row >= 0) & (row <= 1)).all():
            raise ValueError(f"action_units must lie in [0, 1], got {row.min():g} to {row.max():g}.")
        return (row >= self.action_unit_threshold).astype(np.float32) if self.binarize_action_units else row


def _one_for_each(given, count: int) -> list:
    """Action units as one entry per clip; what describes one clip stands for all."""
    is_list = isinstance(given, list | tuple) and len(given) and not isinstance(given[0], str | int | float)
    if not is_list and getattr(given, "ndim", 1) < 2:
        return [given] * count
    if len(given) != count:
        raise ValueError(f"expected action_units for each of {count} clips, got {len(given)}.")
    return list(given)


def _name_of(name: str) -> str:
    """An action unit's name, refused if it is none."""
    if not re.fullmatch(r"AU\d+", str(name)):
        raise ValueError(f"action units have names such as 'AU12', got {name!r}.")
    return str(name)


def _intensity(value) -> float:
    """Intensity of one action unit: a number, an estimate (left, right, intensity), or None for unknown."""
    if value is None:
        return 0.0
    return float(value[-1]) if isinstance(value, tuple | list | np.ndarray) else float(value)


__all__ = ["ACTION_UNITS", "FaceSleuthImageProcessor"]
