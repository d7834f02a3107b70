"""From aligned faces to what HSTA looks at: frames sampled between onset and offset, then onset and apex."""

import numpy as np
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from .face_frames import (
    DEFAULT_GEOMETRY,
    IMAGENET_MEAN,
    IMAGENET_STD,
    aligned_face,
    as_clips,
    check_index,
    maps_to_face,
    normalize,
    per_clip,
)

SAMPLINGS = ("random", "uniform")
FILLS = ("repeat", "zeros")
RESIZES = ("opencv", "pillow")


class HSTAImageProcessor(BaseImageProcessor):
    r"""Sampled frames and key frames of aligned faces, resized and normalised.

    The defaults do what the original code does, for evaluation as for training: it draws the sampled frames
    at random, so that its results are not repeatable. Here the draw depends on `seed` and the phases alone.

    Args:
        size (`int`, *optional*, defaults to 224): Height and width of the result; the model's `image_size`.
        num_frames (`int`, *optional*, defaults to 6): Sampled frames; the model's `num_frames`.
        frame_sampling (`str`, *optional*, defaults to `"random"`): Which frames between onset and offset:
            distinct ones drawn at random, in order of time, as the original does; or `"uniform"`, evenly from
            onset to offset.
        seed (`int`, *optional*, defaults to 0): Of the random draw, the same for every clip; None draws anew
            in every call, as the original does.
        fill (`str`, *optional*, defaults to `"repeat"`): What makes up for frames where a random draw has too
            few: the first frame in front and the last one behind (of an odd number one more behind), or black
            frames behind (`"zeros"`).
        correct_phases (`bool`, *optional*, defaults to `True`): Repair phases in the wrong order as the
            original does: an apex before the onset becomes the onset, an offset before the onset too, an apex
            behind the offset becomes the middle. False refuses them.
        max_frames (`int`, *optional*, defaults to 50): The offset is moved to at most this many frames behind
            the onset; None leaves it. (The apex is not moved with it.)
        resize (`str`, *optional*, defaults to `"opencv"`): Bilinear without averaging, as the original's, or
            `"pillow"`, which averages when it shrinks.
        motion_gain (`float`, *optional*): None shows the network frames, as the original does. A number shows
            it, in place of every frame but the key frame at the onset, this many times the frame's difference
            from that one: the motion, which a small network does not find under a face that hardly changes.
        image_mean (`list[float]`, *optional*): Per channel, after scaling to [0, 1]; by default ImageNet's.
        image_std (`list[float]`, *optional*): Per channel; by default ImageNet's.
        face_geometry (`dict`, *optional*): `size`, `eye_row` and `interocular_fraction` of the aligned faces
            that the network was trained with; the pipeline crops faces so.

    Raises:
        ValueError: If a value is unknown or out of range.
    """

    model_input_names = ("pixel_values",)

    def __init__(
        self,
        size: int = 224,
        num_frames: int = 6,
        frame_sampling: str = "random",
        seed: int | None = 0,
        fill: str = "repeat",
        correct_phases: bool = True,
        max_frames: int | None = 50,
        resize: str = "opencv",
        motion_gain: float | None = None,
        image_mean=None,
        image_std=None,
        face_geometry=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        choices = {
            "frame_sampling": (frame_sampling, SAMPLINGS),
            "fill": (fill, FILLS),
            "resize": (resize, RESIZES),
        }
        for name, (value, allowed) in choices.items():
            if value not in allowed:
                raise ValueError(f"unknown {name} {value!r}. Choose one of {', '.join(allowed)}.")
        for name, value in {"size": size, "num_frames": num_frames, "max_frames": max_frames}.items():
            if (value is not None or name != "max_frames") and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a positive whole number, got {value!r}.")
        if seed is not None and (not isinstance(seed, int) or seed < 0):
            raise ValueError(f"seed must be a whole number of at least 0, or None, got {seed!r}.")
        self.size, self.num_frames, self.max_frames = size, num_frames, max_frames
        self.frame_sampling, self.seed, self.fill, self.resize = frame_sampling, seed, fill, resize
        if motion_gain is not None and not 0 < motion_gain < float("inf"):
            raise ValueError(f"motion_gain must be a number above 0, or None, got {motion_gain!r}.")
        self.correct_phases, self.motion_gain = correct_phases, motion_gain
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
        """Sampled frames and key frames of each clip.

        Args:
            images (`np.ndarray` of shape `(T, S, S, 3)`, `list[PIL.Image.Image]` or a list): Aligned faces,
                uint8 RGB: a clip, or a list of clips.
            onset (`int` or `list[int]`, *optional*): Frame index per clip; by default the first frame.
            apex (`int` or `list[int]`, *optional*): Frame index per clip; by default the middle frame.
            offset (`int` or `list[int]`, *optional*): Frame index per clip; by default the last frame.
            return_tensors (`str`, *optional*): `"pt"` for tensors, by default arrays.
            **kwargs: What processors of other architectures take; without effect.

        Returns:
            `BatchFeature`: `pixel_values` `(N, num_frames + 2, 3, size, size)` float32: sampled frames,
            onset, apex.

        Raises:
            ValueError: If a frame has another type or shape, an index lies outside its clip, or phases are in
            the
                wrong order and `correct_phases` is off.
        """
        clips = as_clips(images)
        given = {"onset": onset, "apex": apex, "offset": offset}
        phases = zip(*(per_clip(value, len(clips), name) for name, value in given.items()), strict=True)
        made = [self._clip(clip, *each) for clip, each in zip(clips, phases, strict=True)]
        pixel_values = normalize(np.stack(made), self.image_mean, self.image_std)
        if self.motion_gain is not None:
            onsets = pixel_values[:, -2:-1].copy()
            pixel_values = (pixel_values - onsets) * np.float32(self.motion_gain)
            pixel_values[:, -2:-1] = onsets
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)

    def to_face(self, map, geometry=None, landmarks_xy=None) -> np.ndarray:
        """Take maps of the network's input back to the face: both are the same square.

        Args:
            map (`np.ndarray` or `torch.Tensor` of shape `(B, T, h, w)` or `(B, h, w)`): At any resolution,
                e.g. from `HSTAForVideoClassification.relevance`.
            geometry (`dict` or an object with the attribute `size`, *optional*): Of the aligned faces; by
                default `face_geometry`.
            landmarks_xy (*optional*): Without effect.

        Returns:
            `np.ndarray` of shape `(B, T, S, S)` or `(B, S, S)`: float32.
        """
        return maps_to_face(map, self.face_geometry if geometry is None else geometry)

    def frame_indices(
        self, frames: int, onset: int | None = None, apex: int | None = None, offset: int | None = None
    ) -> list[int | None]:
        """Which frames of a clip the result holds, in its order.

        Args:
            frames (`int`): Frames of the clip.
            onset (`int`, *optional*): See `preprocess`.
            apex (`int`, *optional*): See `preprocess`.
            offset (`int`, *optional*): See `preprocess`.

        Returns:
            `list[int | None]`: `num_frames + 2` indices; None is a black frame.

        Raises:
            ValueError: If the clip has no such frame, or phases are in the wrong order and `correct_phases`
            is
                off.
        """
        onset, apex, offset = self._phases(frames, onset, apex, offset)
        return [*self._sampled(onset, offset), onset, apex]

    def _phases(
        self, frames: int, onset: int | None, apex: int | None, offset: int | None
    ) -> tuple[int, int, int]:
        onset = check_index(0 if onset is None else onset, frames, "onset")
        apex = check_index(max(onset, frames // 2) if apex is None else apex, frames, "apex")
        offset = check_index(frames - 1 if offset is None else offset, frames, "offset")
        if self.correct_phases:
            apex, offset = max(apex, onset), max(offset, onset)
            apex = (onset + offset) // 2 if apex > offset else apex
        elif not onset <= apex <= offset:
            raise ValueError(
                f"phases must be in order, got onset={onset}, apex={apex} and offset={offset}. Mend them, or "
                "set correct_phases."
            )
        return onset, apex, offset if self.max_frames is None else min(offset, onset + self.max_frames)

    def _sampled(self, onset: int, offset: int) -> list[int | None]:
        """Indices of the frames that the clip's branch sees; None for a black one."""
        count, wanted = offset - onset + 1, self.num_frames
        if self.frame_sampling == "uniform":
            return np.round(np.linspace(onset, offset, wanted)).astype(int).tolist()
        if count >= wanted:
            chosen = np.random.default_rng(self.seed).choice(count, wanted, replace=False)
            return (onset + np.sort(chosen)).tolist()
        missing, own = wanted - count, list(range(onset, offset + 1))
        if self.fill == "zeros":
            return own + [None] * missing
        return [onset] * (missing // 2) + own + [offset] * (missing - missing // 2)

    def _clip(self, clip, onset: int | None, apex: int | None, offset: int | None) -> np.ndarray:
        """Sampled frames, onset and apex, uint8 `(num_frames + 2, size, size, 3)`."""
        indices = self.frame_indices(len(clip), onset, apex, offset)
        resized = {None: np.zeros((self.size, self.size, 3), np.uint8)}
        for index in set(indices) - {None}:
            resized[index] = self._resized(aligned_face(clip, index))
        return np.stack([resized[index] for index in indices])

    def _resized(self, frame: np.ndarray) -> np.ndarray:
        if self.resize == "pillow":
            return np.asarray(Image.fromarray(frame).resize((self.size, self.size), Image.BILINEAR))
        return _resize_as_opencv(frame, self.size)


def _resize_as_opencv(frame: np.ndarray, size: int) -> np.ndarray:
    """Bilinear, without averaging, in the fixed-point numbers of OpenCV's `resize` for uint8."""
    (top, bottom, row_weights), (left, right, column_weights) = (_taps(n, size) for n in frame.shape[:2])
    # OpenCV takes a column at the border whole, a row in parts.
    inside = (left >= 0) & (left < frame.shape[1] - 1)
    column_weights = np.where(inside, column_weights, np.array([[2048], [0]]))
    left, right = (np.clip(each, 0, frame.shape[1] - 1) for each in (left, right))
    top, bottom = (np.clip(each, 0, frame.shape[0] - 1) for each in (top, bottom))
    pixels = frame.astype(np.int32)
    rows = pixels[:, left] * column_weights[0][:, None] + pixels[:, right] * column_weights[1][:, None]
    rows >>= 4
    above, below = (weights[:, None, None] for weights in row_weights)
    return ((((rows[top] * above) >> 16) + ((rows[bottom] * below) >> 16) + 2) >> 2).astype(np.uint8)


def _taps(size_in: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two source indices of each place, not yet clipped, and their weights `(2, size)` in 1/2048."""
    places = ((np.arange(size) + 0.5) * (size_in / size) - 0.5).astype(np.float32)
    first = np.floor(places).astype(np.int32)
    fraction = places - first
    return first, first + 1, np.rint(np.stack([1 - fraction, fraction]) * 2048).astype(np.int32)


__all__ = ["HSTAImageProcessor"]
