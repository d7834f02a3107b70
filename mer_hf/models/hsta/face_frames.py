"""Clips of aligned faces as processors take them: checked, cut to the frames that are asked for, resized.

The same file stands in the folder of every architecture that looks at frames; a test holds the copies equal.
"""

import operator

import numpy as np
from PIL import Image

IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_STD = [0.229, 0.224, 0.225]

DEFAULT_GEOMETRY = {"size": 224, "eye_row": 0.32, "interocular_fraction": 0.45}
"""Of the aligned faces: side in pixels, row of the eyes and distance between them as shares of the side."""


def as_clips(images) -> list:
    """One clip, or a list of clips, as a list of clips.

    Args:
        images (`np.ndarray` of shape `(T, S, S, 3)`, `list[PIL.Image.Image]`, or a list of these): Aligned
            faces.

    Returns:
        `list`: Of clips with at least one frame.

    Raises:
        ValueError: If there is no clip, or one without frames.
    """
    if images is None or len(images) == 0:
        raise ValueError(
            "expected images, a clip of aligned faces (T, S, S, 3) or a list of clips, got none."
        )
    is_frame = isinstance(images[0], Image.Image) or np.ndim(images[0]) == 3
    clips = [images] if is_frame else list(images)
    if any(len(clip) == 0 for clip in clips):
        raise ValueError("expected at least one frame in every clip, got an empty clip.")
    return clips


def per_clip(value, count: int, name: str) -> list[int | None]:
    """A frame index for each of `count` clips; one number means the same for all, None the default."""
    listed = isinstance(value, list | tuple | np.ndarray) and np.ndim(value)
    values = list(value) if listed else [value] * count
    if len(values) != count:
        raise ValueError(f"expected one {name} for each of {count} clips, got {len(values)}.")
    try:
        return [None if v is None else operator.index(v) for v in values]
    except TypeError as error:
        raise ValueError(f"{name} must be a frame index (a whole number), got {value!r}.") from error


def check_index(index: int, frames: int, name: str) -> int:
    """The index, if the clip has such a frame."""
    if not 0 <= index < frames:
        raise ValueError(
            f"{name} must be a frame of the clip, 0 to {frames - 1}, got {index}. Indices count from 0."
        )
    return index


def aligned_face(clip, index: int) -> np.ndarray:
    """A frame of a clip, uint8 `(S, S, 3)` RGB."""
    frame = clip[index]
    frame = np.asarray(frame.convert("RGB") if isinstance(frame, Image.Image) else frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape[0] != frame.shape[1]:
        raise ValueError(
            f"expected aligned faces of shape (S, S, 3), uint8 RGB, got {frame.dtype} {frame.shape} at frame "
            f"{index}. Crop the face of the whole clip with one square box first."
        )
    return frame


def onset_and_apex(clip, onset: int | None, apex: int | None) -> tuple[int, int]:
    """The frames of a pair; by default the first frame and the middle one.

    Raises:
        ValueError: If the clip has no such frame, or the apex lies before the onset.
    """
    onset = check_index(0 if onset is None else onset, len(clip), "onset")
    apex = check_index(max(onset, len(clip) // 2) if apex is None else apex, len(clip), "apex")
    if apex < onset:
        raise ValueError(f"the apex must not lie before the onset, got onset={onset} and apex={apex}.")
    return onset, apex


def normalize(frames: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    """uint8 `(..., H, W, 3)` -> float32 `(..., 3, H, W)`: to [0, 1], minus mean, over standard deviation."""
    scaled = frames.astype(np.float32) / np.float32(255)
    scaled = (scaled - np.float32(mean)) / np.float32(std)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))


def maps_to_face(maps, geometry) -> np.ndarray:
    """Maps that cover the whole square face at any resolution, at the face's resolution.

    Args:
        maps (`np.ndarray` or `torch.Tensor` of shape `(..., h, w)`): E.g. a model's relevance.
        geometry (`dict` or an object with the attribute `size`): Of the aligned faces.

    Returns:
        `np.ndarray` of shape `(..., S, S)`: float32, interpolated bilinearly; at least three axes.
    """
    if hasattr(maps, "detach"):
        maps = maps.detach().cpu().float().numpy()
    maps = np.asarray(maps, dtype=np.float32)
    if maps.ndim < 2:
        raise ValueError(f"expected maps of shape (B, h, w), got {maps.shape}.")
    maps = maps[None] if maps.ndim == 2 else maps
    side = int(geometry["size"] if isinstance(geometry, dict) else geometry.size)
    flat = [np.ascontiguousarray(each) for each in maps.reshape(-1, *maps.shape[-2:])]
    faces = [np.asarray(Image.fromarray(each).resize((side, side), Image.BILINEAR)) for each in flat]
    return np.stack(faces).reshape(*maps.shape[:-2], side, side)
