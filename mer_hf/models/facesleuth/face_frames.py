"""Reading of clips of aligned faces for processors: checks, frame indices, scaling, maps on the face.

Every model folder has the same copy of this file, because a folder must run alone; a test compares them.
"""

import operator

import numpy as np
from PIL import Image

IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_STD = [0.229, 0.224, 0.225]

# Side of the aligned faces in pixels; row of the eyes and interocular distance as fractions of the side.
DEFAULT_GEOMETRY = {"size": 224, "eye_row": 0.32, "interocular_fraction": 0.45}


def as_clips(images) -> list:
    """Return one clip, or several, as a list of clips with at least one frame each."""
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
    """Return a frame index, or None, for each of `count` clips; one number stands for all of them."""
    is_list = isinstance(value, list | tuple | np.ndarray) and np.ndim(value)
    values = list(value) if is_list else [value] * count
    if len(values) != count:
        raise ValueError(f"expected one {name} for each of {count} clips, got {len(values)}.")
    try:
        return [None if v is None else operator.index(v) for v in values]
    except TypeError as error:
        raise ValueError(f"{name} must be a frame index (a whole number), got {value!r}.") from error


def check_index(index: int, frames: int, name: str) -> int:
    """Return the index if a clip of `frames` frames has it."""
    if not 0 <= index < frames:
        raise ValueError(
            f"{name} must be a frame of the clip, 0 to {frames - 1}, got {index}. Indices count from 0."
        )
    return index


def onset_and_apex(clip, onset: int | None, apex: int | None) -> tuple[int, int]:
    """Return both indices, checked; by default the first frame and the middle one."""
    onset = check_index(0 if onset is None else onset, len(clip), "onset")
    apex = check_index(max(onset, len(clip) // 2) if apex is None else apex, len(clip), "apex")
    if apex < onset:
        raise ValueError(f"the apex must not lie before the onset, got onset={onset} and apex={apex}.")
    return onset, apex


def aligned_face(clip, index: int) -> np.ndarray:
    """Return a frame of a clip, uint8 `(S, S, 3)` RGB."""
    frame = clip[index]
    frame = np.asarray(frame.convert("RGB") if isinstance(frame, Image.Image) else frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape[0] != frame.shape[1]:
        raise ValueError(
            f"expected aligned faces of shape (S, S, 3), uint8 RGB, got {frame.dtype} {frame.shape} at frame "
            f"{index}. Crop the face of the whole clip with one square box first."
        )
    return frame


def resize(plane: np.ndarray, side: int) -> np.ndarray:
    """Resize a picture or a map to a square with Pillow's bilinear filter, which averages when it shrinks."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((side, side), Image.BILINEAR))


def mean_and_std(mean, std) -> tuple[list[float], list[float]]:
    """Return both per channel, by default ImageNet's."""
    mean, std = list(IMAGENET_MEAN if mean is None else mean), list(IMAGENET_STD if std is None else std)
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"image_mean and image_std need three numbers, std above 0, got {mean} and {std}.")
    return mean, std


def normalize(frames: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    """Scale uint8 `(..., H, W, 3)` to [0, 1] and normalise the channels: float32 `(..., 3, H, W)`."""
    scaled = frames.astype(np.float32) / np.float32(255)
    scaled = (scaled - np.float32(mean)) / np.float32(std)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))


def as_maps(heatmap) -> np.ndarray:
    """Return an array or tensor of maps as float32 `(..., h, w)` with at least three axes."""
    if hasattr(heatmap, "detach"):
        heatmap = heatmap.detach().cpu().float().numpy()
    maps = np.asarray(heatmap, dtype=np.float32)
    if maps.ndim < 2:
        raise ValueError(f"expected a heatmap of shape (B, h, w) or (h, w), got {maps.shape}.")
    return maps[None] if maps.ndim == 2 else maps


def face_side(geometry) -> int:
    """Return the side of the aligned faces from a `dict` or an object with the attribute `size`."""
    return int(geometry["size"] if isinstance(geometry, dict) else geometry.size)


def maps_to_face(heatmap, geometry) -> np.ndarray:
    """Resize maps that cover the whole square face to its resolution, float32 `(..., S, S)`."""
    maps, side = as_maps(heatmap), face_side(geometry)
    faces = [resize(plane, side) for plane in maps.reshape(-1, *maps.shape[-2:])]
    return np.stack(faces).reshape(*maps.shape[:-2], side, side)
