"""From videos to the inputs of a network, for the video processors.

Every model folder has the same copy of this file, so that it works alone; a test holds the copies equal.
"""

import numpy as np
from PIL import Image
from transformers import BatchFeature
from transformers.video_processing_utils import VideoProcessorMixin


class FaceVideoProcessor(VideoProcessorMixin):
    """Base of the video processors: each adds an image processor, whose settings it shares."""

    def preprocess(
        self,
        videos,
        *,
        onset=None,
        apex=None,
        offset=None,
        fps=None,
        aligned: bool = False,
        num_frames: int | None = None,
        do_sample_frames: bool | None = None,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """Find the face in each video, align it, find the phases, and make the network's inputs.

        Args:
            videos (`str`, `Path`, `np.ndarray`, `list[PIL.Image.Image]` or a list of these): A file or the
                address of one (http, https), or frames `(T, H, W, 3)`, uint8 RGB: a video, or a list of
                videos.
            onset (`int`, *optional*): Frame index, in every video; by default it is found.
            apex (`int`, *optional*): Frame index, in every video; by default it is found.
            offset (`int`, *optional*): Frame index, in every video; by default it is found.
            fps (`float`, *optional*): Frames per second of videos that do not carry their times.
            aligned (`bool`, *optional*, defaults to `False`): Whether the videos are aligned faces with known
                phases. They are then taken as the image processor takes them, and mer_hf is not needed.
            num_frames (`int`, *optional*): Without effect: which frames count depends on the phases.
            do_sample_frames (`bool`, *optional*): Without effect.
            return_tensors (`str`, *optional*): `"pt"` for tensors, by default arrays.
            **kwargs: Of the image processor, with `aligned`.

        Returns:
            `BatchFeature`: What the image processor returns.

        Raises:
            ImportError: Unless `aligned`, if the package mer_hf is not installed.
            ValueError: If a video cannot be read, has no usable face, or lacks a given frame.
        """
        # The image processor follows VideoProcessorMixin among the classes of every subclass.
        process_faces = super(VideoProcessorMixin, self).preprocess
        phases = {"onset": onset, "apex": apex, "offset": offset}
        if aligned:
            if onset is None or apex is None:
                raise ValueError("aligned faces need their onset and apex: frame indices that count from 0.")
            return process_faces(videos, **phases, **kwargs, return_tensors=return_tensors)
        if kwargs:
            raise TypeError(f"unknown argument {', '.join(kwargs)}, or one that is for aligned=True only.")
        try:
            from mer_hf.inference.pipeline import face_of_video
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__} finds faces and phases with the package mer_hf, which is not "
                "installed: pip install mer_hf. Without it, give aligned faces, onset, apex and aligned=True."
            ) from error
        found = [face_of_video(video, self.face_geometry, fps, **phases) for video in _listed(videos)]
        parts = [process_faces(**face) for face in found]
        inputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return BatchFeature(inputs, tensor_type=return_tensors)


def _listed(videos) -> list:
    """Return the videos of a batch; one alone counts as a batch of one."""
    if isinstance(videos, list | tuple):
        one = bool(videos) and (isinstance(videos[0], Image.Image) or np.ndim(videos[0]) in (2, 3))
    else:
        one = np.ndim(videos) < 5
    videos = [videos] if one else list(videos)
    if not videos:
        raise ValueError("expected a video or a list of videos, got none.")
    return videos
