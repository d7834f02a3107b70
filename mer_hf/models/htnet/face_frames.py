"""Clips of aligned faces as processors take them: checked, reduced to the needed frames, resized.

Every model folder has the same copy of this file, so that it works alone; a test holds the copies equal.
"""

import inspect
import operator
from collections.abc import Callable

import numpy as np
from PIL import Image
from transformers.utils import logging

logger = logging.get_logger(__name__)

IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_STD = [0.229, 0.224, 0.225]

DEFAULT_GEOMETRY = {"size": 224, "eye_row": 0.32, "interocular_fraction": 0.45}
"""Aligned faces: side in pixels; row of the eyes and interocular distance as shares of the side."""


def refuse_unknown(call: Callable, arguments: dict) -> None:
    """Raise a TypeError that names the arguments that no processor takes, such as a misspelt `onset`."""
    if arguments:
        *accepted, _ = inspect.signature(call).parameters  # the last one takes the unknown ones
        raise TypeError(f"unknown argument {', '.join(arguments)}. Accepted: {', '.join(accepted)}.")


def clips_with_phases(images, **phases) -> list[tuple]:
    """Return one tuple per clip: the clip, then its frame index (or None) for each of `phases`.

    Args:
        images (`np.ndarray` of shape `(T, S, S, 3)`, `list[PIL.Image.Image]`, or a list of these): Aligned
            faces, one clip or several.
        **phases (`int`, `list[int]` or `None`): A name and the frame indices. One index applies to all clips.
    """
    if images is None or len(images) == 0:
        raise ValueError(
            "expected images, a clip of aligned faces (T, S, S, 3) or a list of clips, got none."
        )
    is_frame = isinstance(images[0], Image.Image) or np.ndim(images[0]) == 3
    clips = [images] if is_frame else list(images)
    if any(len(clip) == 0 for clip in clips):
        raise ValueError("expected at least one frame in every clip, got an empty clip.")
    indices = (_per_clip(value, len(clips), name) for name, value in phases.items())
    return list(zip(clips, *indices, strict=True))


def _per_clip(value, count: int, name: str) -> list[int | None]:
    values = list(value) if np.ndim(value) else [value] * count
    if len(values) != count:
        raise ValueError(f"expected one {name} for each of {count} clips, got {len(values)}.")
    try:
        return [None if v is None else operator.index(v) for v in values]
    except TypeError as error:
        raise ValueError(f"{name} must be a frame index (a whole number), got {value!r}.") from error


def check_index(index: int, frames: int, name: str) -> int:
    """Return the index if the clip has such a frame."""
    if not 0 <= index < frames:
        raise ValueError(
            f"{name} must be a frame of the clip, 0 to {frames - 1}, got {index}. Indices count from 0."
        )
    return index


def onset_and_apex(clip, onset: int | None, apex: int | None) -> tuple[int, int]:
    """Return the frames of a pair; by default the first frame and the middle one."""
    onset = check_index(0 if onset is None else onset, len(clip), "onset")
    apex = check_index(max(onset, len(clip) // 2) if apex is None else apex, len(clip), "apex")
    if apex < onset:
        raise ValueError(f"the apex must not lie before the onset, got onset={onset} and apex={apex}.")
    if apex == onset:
        logger.warning(f"onset and apex are the same frame, {onset}: there is no motion between them.")
    return onset, apex


def aligned_face(clip, index: int, size: int | None = None) -> np.ndarray:
    """Return a frame of a clip, uint8 `(S, S, 3)` RGB, resized by Pillow if a size is given."""
    frame = clip[index]
    frame = np.asarray(frame.convert("RGB") if isinstance(frame, Image.Image) else frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape[0] != frame.shape[1]:
        raise ValueError(
            f"expected aligned faces of shape (S, S, 3), uint8 RGB, got {frame.dtype} {frame.shape} at frame "
            f"{index}. Crop the face of the whole clip with one square box first."
        )
    return frame if size is None else resize(frame, size)


def resize(picture: np.ndarray, size: int, resample: int = Image.BILINEAR) -> np.ndarray:
    """Return a picture or a float32 map at `size` x `size`."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((size, size), resample))


def mean_and_std(mean, std) -> tuple[list[float], list[float]]:
    """Return the normalisation of the three channels; by default ImageNet's."""
    mean, std = list(IMAGENET_MEAN if mean is None else mean), list(IMAGENET_STD if std is None else std)
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"image_mean and image_std need three numbers, std above 0, got {mean} and {std}.")
    return mean, std


def normalize(frames: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    """Return uint8 `(..., H, W, 3)` as float32 `(..., 3, H, W)`, scaled to [0, 1] and normalised."""
    scaled = frames.astype(np.float32) / np.float32(255)
    scaled = (scaled - np.float32(mean)) / np.float32(std)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))


def face_side(geometry) -> int:
    """Return the side of aligned faces in pixels, from a dict or an object with the attribute `size`."""
    return int(geometry["size"] if isinstance(geometry, dict) else geometry.size)


def as_maps(heatmap) -> np.ndarray:
    """Return a heatmap `(..., h, w)`, a tensor or an array, as float32 with at least three axes."""
    heatmap = heatmap.detach().cpu().float().numpy() if hasattr(heatmap, "detach") else heatmap
    maps = np.asarray(heatmap, dtype=np.float32)
    if maps.ndim < 2:
        raise ValueError(f"expected a heatmap of shape (B, h, w), got {maps.shape}.")
    return maps[None] if maps.ndim == 2 else maps


def maps_to_face(heatmap, geometry) -> np.ndarray:
    """Return maps that cover the whole square face at the face's resolution, float32 `(..., S, S)`."""
    maps, side = as_maps(heatmap), face_side(geometry)
    faces = [resize(plane, side) for plane in maps.reshape(-1, *maps.shape[-2:])]
    return np.stack(faces).reshape(*maps.shape[:-2], side, side)
