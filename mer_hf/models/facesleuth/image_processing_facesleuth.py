"""From aligned faces and action units to what FaceSleuth takes: onset, apex, and a row of bits."""

import re
from collections.abc import Mapping

import numpy as np
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import logging

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

logger = logging.get_logger(__name__)

# The original's 21, in its order.
ACTION_UNITS = [
    f"AU{n}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 23, 24, 25, 26, 28, 45)
]


class FaceSleuthImageProcessor(BaseImageProcessor):
    r"""Onset and apex of aligned faces, resized and normalised, and the action units beside them.

    The defaults are the original's evaluation: RGB, Pillow's bilinear resize (which averages when it
    shrinks), [0, 1], ImageNet's mean and standard deviation; action units as bits. Its random choice of
    frames near onset and apex and its augmentation belong to training. The original takes the action units
    that people annotated in the dataset, at test time too, which is close to a second label.

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
        image_mean: list[float] | None = None,
        image_std: list[float] | None = None,
        action_unit_names: list[str] | None = None,
        binarize_action_units: bool = True,
        action_unit_threshold: float = 0.5,
        face_geometry: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"size must be a positive whole number, got {size!r}.")
        if not 0 <= action_unit_threshold <= 1:
            raise ValueError(f"action_unit_threshold must lie in [0, 1], got {action_unit_threshold!r}.")
        self.size = size
        self.image_mean, self.image_std = mean_and_std(image_mean, image_std)
        names = ACTION_UNITS if action_unit_names is None else action_unit_names
        self.action_unit_names = [_check_name(name) for name in names]
        if len(set(self.action_unit_names)) != len(self.action_unit_names):
            raise ValueError(f"action_unit_names must be different names, got {self.action_unit_names}.")
        self.binarize_action_units = bool(binarize_action_units)
        self.action_unit_threshold = float(action_unit_threshold)
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
        """Make one pair, and one row of action units, per clip.

        Args:
            images (`np.ndarray` of shape `(T, S, S, 3)`, `list[PIL.Image.Image]` or a list): Aligned faces,
                uint8 RGB: a clip, or a list of clips.
            onset (`int` or `list[int]`, *optional*): Frame index per clip; by default the first frame.
            apex (`int` or `list[int]`, *optional*): Frame index per clip, not before the onset; by default
                the middle frame.
            offset (*optional*): Not used by FaceSleuth.
            landmarks_xy (*optional*): Not used by FaceSleuth.
            action_units (*optional*): The action units of a clip, or a list of one per clip; one alone
                stands for all clips. Either names of those that are present (`["AU4", "AU7"]` or a set), or
                name -> intensity in [0, 1], where an estimate (left, right, intensity) counts with its last
                value and None as 0, or an array of `len(action_unit_names)` intensities or bits. None means
                that none is present. The network cannot tell that from action units that are unknown.
            return_tensors (`str`, *optional*): `"pt"` for tensors, by default arrays.
            **kwargs: Refused by name.

        Returns:
            `BatchFeature`: `pixel_values` `(N, 2, 3, size, size)` float32, onset then apex, and, unless
            `action_unit_names` is empty, `action_units` `(N, len(action_unit_names))` float32.

        Raises:
            TypeError: If an argument is unknown.
            ValueError: If a frame has another type or shape, an index lies outside its clip, or something
                that is not an action unit is given as one.
        """
        refuse_unknown(self.preprocess, kwargs)
        clips = clips_with_phases(images, onset=onset, apex=apex)
        pairs = [self._pair(*clip) for clip in clips]
        features = {"pixel_values": normalize(np.stack(pairs), self.image_mean, self.image_std)}
        if self.action_unit_names:
            rows = [self._action_unit_row(units) for units in _units_per_clip(action_units, len(clips))]
            features["action_units"] = np.stack(rows)
        return BatchFeature(features, tensor_type=return_tensors)

    def to_face(self, heatmap, geometry=None, landmarks_xy=None) -> np.ndarray:
        """Take a heatmap of the network's input back to the face: both are the same square.

        Args:
            heatmap (`np.ndarray` or `torch.Tensor` of shape `(B, h, w)` or `(h, w)`): At any resolution, e.g.
                from `FaceSleuthForVideoClassification.relevance`.
            geometry (`dict` or an object with the attribute `size`, *optional*): Of the aligned faces; by
                default `face_geometry`.
            landmarks_xy (*optional*): Not used by FaceSleuth.

        Returns:
            `np.ndarray` of shape `(B, S, S)`: float32.
        """
        return maps_to_face(heatmap, geometry or self.face_geometry)

    def _pair(self, clip, onset: int | None, apex: int | None) -> np.ndarray:
        return np.stack([aligned_face(clip, i, self.size) for i in onset_and_apex(clip, onset, apex)])

    def _action_unit_row(self, units) -> np.ndarray:
        """Return the action units of one clip, float32 `(len(action_unit_names),)`."""
        names = self.action_unit_names
        if isinstance(units, str):
            raise ValueError(f"action_units must be names in a list, such as [{units!r}], got {units!r}.")
        if _are_names(units):
            units = dict.fromkeys(() if units is None else units, 1.0)
            unknown = sorted(units.keys() - set(names))
            if unknown:
                logger.warning(f"the network does not take {', '.join(map(str, unknown))}: ignored.")
        if isinstance(units, Mapping):
            intensities = {_check_name(name): _intensity(value) for name, value in units.items()}
            row = np.array([intensities.get(name, 0.0) for name in names], dtype=np.float32)
        else:
            row = np.asarray(units, dtype=np.float32)
            if row.shape != (len(names),):
                raise ValueError(
                    f"expected action_units of shape ({len(names)},), in the order of action_unit_names, "
                    f"got {row.shape}."
                )
        if not ((row >= 0) & (row <= 1)).all():
            raise ValueError(f"action_units must lie in [0, 1], got {row.min():g} to {row.max():g}.")
        return (row >= self.action_unit_threshold).astype(np.float32) if self.binarize_action_units else row


def _units_per_clip(action_units, count: int) -> list:
    """Return one entry per clip; what describes one clip stands for all."""
    first = action_units[0] if isinstance(action_units, list | tuple) and action_units else 0
    if isinstance(first, str | int | float) and getattr(action_units, "ndim", 1) < 2:
        return [action_units] * count
    if len(action_units) != count:
        raise ValueError(f"expected action_units for each of {count} clips, got {len(action_units)}.")
    return list(action_units)


def _are_names(units) -> bool:
    """Return whether these are the names of the action units that are present."""
    if units is None or isinstance(units, set | frozenset):
        return True
    return not isinstance(units, Mapping) and (len(units) == 0 or isinstance(units[0], str))


def _check_name(name: str) -> str:
    """Return the name of an action unit."""
    if not re.fullmatch(r"AU\d+", str(name)):
        raise ValueError(f"action units have names such as 'AU12', got {name!r}.")
    return str(name)


def _intensity(value) -> float:
    """Return the intensity from a number, an estimate (left, right, intensity), or None for unknown."""
    if value is None:
        return 0.0
    return float(value[-1]) if isinstance(value, tuple | list | np.ndarray) else float(value)


__all__ = ["ACTION_UNITS", "FaceSleuthImageProcessor"]
