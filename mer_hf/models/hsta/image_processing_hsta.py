"""From aligned faces to HSTA's input: frames sampled between onset and offset, then onset and apex."""

import numpy as np
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from .face_frames import (
    DEFAULT_GEOMETRY,
    aligned_face,
    check_index,
    clips_with_phases,
    maps_to_face,
    mean_and_std,
    normalize,
    refuse_unknown,
)

try:
    import cv2
except ImportError:
    cv2 = None

CHOICES = {
    "frame_sampling": ("random", "uniform"),
    "fill": ("repeat", "zeros"),
    "resize": ("opencv", "pillow"),
}


class HSTAImageProcessor(BaseImageProcessor):
    r"""Sampled frames and key frames of aligned faces, resized and normalised.

    The defaults do what the original code does in evaluation and in training: it draws the sampled frames at
    random, so that its results are not repeatable. Here the draw depends on `seed` and the phases alone.

    Args:
        size (`int`, *optional*, defaults to 224): Height and width of the result; the model's `image_size`.
        num_frames (`int`, *optional*, defaults to 6): Sampled frames; the model's `num_frames`.
        frame_sampling (`str`, *optional*, defaults to `"random"`): Which frames between onset and offset:
            distinct ones drawn at random, in order of time, as the original does; or `"uniform"`, evenly from
            onset to offset.
        seed (`int`, *optional*, defaults to 0): Seed of the random draw, the same for every clip; None draws
            again in every call, as the original does.
        fill (`str`, *optional*, defaults to `"repeat"`): What replaces missing frames in a short clip: copies
            of the first frame in front and of the last one behind (one more behind if their number is odd),
            or black frames behind (`"zeros"`).
        correct_phases (`bool`, *optional*, defaults to `True`): Repair phases in the wrong order as the
            original does: an apex before the onset becomes the onset, an offset before the onset too, an apex
            behind the offset becomes the middle. False refuses them.
        max_frames (`int`, *optional*, defaults to 50): The offset is moved to at most this many frames behind
            the onset; None leaves it. (The apex is not moved with it.)
        resize (`str`, *optional*, defaults to `"opencv"`): Bilinear without averaging, as the original's, or
            `"pillow"`, which averages when it shrinks.
        motion_gain (`float`, *optional*): By default the network gets frames, as in the original. With a
            number it gets motion instead of every frame but the onset: the frame's difference from the onset
            times this number. A small network does not find the motion under a face that hardly changes.
        image_mean (`list[float]`, *optional*): Per channel, after scaling to [0, 1]; by default ImageNet's.
        image_std (`list[float]`, *optional*): Per channel; by default ImageNet's.
        face_geometry (`dict`, *optional*): `size`, `eye_row` and `interocular_fraction` of the aligned faces
            that the network was trained with; the pipeline crops faces accordingly.

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
        image_mean: list[float] | None = None,
        image_std: list[float] | None = None,
        face_geometry: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.size, self.num_frames, self.max_frames = size, num_frames, max_frames
        self.frame_sampling, self.seed, self.fill, self.resize = frame_sampling, seed, fill, resize
        self.correct_phases, self.motion_gain = correct_phases, motion_gain
        self.image_mean, self.image_std = mean_and_std(image_mean, image_std)
        self.face_geometry = dict(face_geometry or DEFAULT_GEOMETRY)
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"unknown {name} {value!r}. Choose one of {', '.join(allowed)}.")
        for name, value in {"size": size, "num_frames": num_frames, "max_frames": max_frames}.items():
            if (value is not None or name != "max_frames") and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a positive whole number, got {value!r}.")
        if motion_gain is not None and not 0 < motion_gain < float("inf"):
            raise ValueError(f"motion_gain must be a number above 0, or None, got {motion_gain!r}.")

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
        """Build the sampled frames and key frames of each clip.

        Args:
            images (`np.ndarray` of shape `(T, S, S, 3)`, `list[PIL.Image.Image]` or a list): Aligned faces,
                uint8 RGB: a clip, or a list of clips.
            onset (`int` or `list[int]`, *optional*): Frame index per clip; by default the first frame.
            apex (`int` or `list[int]`, *optional*): Frame index per clip; by default the middle frame.
            offset (`int` or `list[int]`, *optional*): Frame index per clip; by default the last frame.
            landmarks_xy (*optional*): Not used by HSTA.
            action_units (*optional*): Not used by HSTA.
            return_tensors (`str`, *optional*): `"pt"` for tensors, by default arrays.
            **kwargs: Refused by name.

        Returns:
            `BatchFeature`: `pixel_values` `(N, num_frames + 2, 3, size, size)` float32: sampled frames,
            onset, apex.

        Raises:
            TypeError: If an argument is unknown.
            ValueError: If a frame has another type or shape, an index lies outside its clip, or phases are in
                the wrong order and `correct_phases` is off.
            ImportError: If OpenCV is missing and `resize` is `"opencv"`.
        """
        refuse_unknown(self.preprocess, kwargs)
        clips = clips_with_phases(images, onset=onset, apex=apex, offset=offset)
        frames = np.stack([self._clip(*clip) for clip in clips])
        pixel_values = normalize(frames, self.image_mean, self.image_std)
        if self.motion_gain is not None:
            onsets = pixel_values[:, -2:-1].copy()
            pixel_values = (pixel_values - onsets) * np.float32(self.motion_gain)
            pixel_values[:, -2:-1] = onsets
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)

    def to_face(self, heatmap, geometry=None, landmarks_xy=None) -> np.ndarray:
        """Take maps of the network's input back to the face, which is the same square.

        Args:
            heatmap (`np.ndarray` or `torch.Tensor` of shape `(B, T, h, w)` or `(B, h, w)`): At any
                resolution, such as from `HSTAForVideoClassification.relevance`.
            geometry (`dict` or an object with the attribute `size`, *optional*): Of the aligned faces; by
                default `face_geometry`.
            landmarks_xy (*optional*): Not used by HSTA.

        Returns:
            `np.ndarray` of shape `(B, T, S, S)` or `(B, S, S)`: float32.
        """
        return maps_to_face(heatmap, geometry or self.face_geometry)

    def frame_indices(
        self, frames: int, onset: int | None = None, apex: int | None = None, offset: int | None = None
    ) -> list[int | None]:
        """Return which frames of a clip `preprocess` takes, in its order.

        Args:
            frames (`int`): Frames of the clip.
            onset (`int`, *optional*): See `preprocess`.
            apex (`int`, *optional*): See `preprocess`.
            offset (`int`, *optional*): See `preprocess`.

        Returns:
            `list[int | None]`: `num_frames + 2` indices; None is a black frame.

        Raises:
            ValueError: If the clip has no such frame, or phases are in the wrong order and `correct_phases`
                is off.
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
                f"phases must be in order, got onset={onset}, apex={apex} and offset={offset}. Fix them, or "
                "set correct_phases."
            )
        return onset, apex, offset if self.max_frames is None else min(offset, onset + self.max_frames)

    def _sampled(self, onset: int, offset: int) -> list[int | None]:
        """Return the indices of the sampled frames; None for a black one."""
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
        """Return sampled frames, onset and apex, uint8 `(num_frames + 2, size, size, 3)`."""
        indices = self.frame_indices(len(clip), onset, apex, offset)
        frames = {index: self._frame(clip, index) for index in set(indices)}
        return np.stack([frames[index] for index in indices])

    def _frame(self, clip, index: int | None) -> np.ndarray:
        if index is None:
            return np.zeros((self.size, self.size, 3), np.uint8)
        if self.resize == "pillow":
            return aligned_face(clip, index, self.size)
        if cv2 is None:
            raise ImportError("resize='opencv' needs OpenCV. Run pip install opencv-contrib-python.")
        return cv2.resize(aligned_face(clip, index), (self.size, self.size), interpolation=cv2.INTER_LINEAR)


__all__ = ["HSTAImageProcessor"]
