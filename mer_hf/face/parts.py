"""Frames of which only what lies around a face is kept, for videos too large to keep whole."""

from dataclasses import dataclass

import numpy as np

from mer_hf.video.clip import Clip

from .registration import compose


@dataclass(frozen=True, eq=False)
class FramePart:
    """The part of a frame that is kept; cut out of it as out of the whole: beyond it, its border is repeated.

    Args:
        pixels (`np.ndarray` of shape `(h, w, 3)`): uint8, RGB.
        top_left (`tuple[int, int]`): Row and column of the part in the whole frame.
        shape (`tuple[int, int, int]`): Of the whole frame.
        face (`np.ndarray` of shape `(4,)`, *optional*): Box of the face in the whole frame, as seen last.
        mesh_xy (`np.ndarray` of shape `(478, 2)`, *optional*): The face mesh in the whole frame where it was
            measured already; NaN where it saw no face.
    """

    pixels: np.ndarray
    top_left: tuple[int, int]
    shape: tuple[int, int, int]
    face: np.ndarray | None = None
    mesh_xy: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Return what the part takes."""
        return self.pixels.nbytes

    def __getitem__(self, at: tuple[slice, slice]) -> np.ndarray:
        spans = [piece.indices(length)[:2] for piece, length in zip(at, self.shape, strict=False)]
        first, last = np.transpose(spans) - np.array(self.top_left)
        height, width = self.pixels.shape[:2]
        if (first >= 0).all() and last[0] <= height and last[1] <= width:
            return self.pixels[first[0] : last[0], first[1] : last[1]]
        rows = np.arange(first[0], last[0]).clip(0, height - 1)
        columns = np.arange(first[1], last[1]).clip(0, width - 1)
        return self.pixels[np.ix_(rows, columns)]


@dataclass(frozen=True, eq=False)
class FaceClip(Clip):
    """A clip of which only the surroundings of one face are kept.

    Its `frames` are a `tuple[FramePart, ...]`, the face upright in them, `block` pixels of the video in each
    pixel.

    Args:
        box (`np.ndarray` of shape `(4,)`, *optional*): Where the face lies in `frames`; None without a face.
        block (`int`): Pixels of the video along the side of a pixel.
        quarters (`int`): Quarter turns that put the face upright.
        from_turned (`np.ndarray` of shape `(2, 3)`, *optional*): From pixels of the turned video to
            those of the video.
        faces (`np.ndarray` of shape `(N, 4)`): Boxes of all faces in pixels of the video, from the left.
        face (`int`): The number of this face, from 1.
    """

    box: np.ndarray | None = None
    block: int = 1
    quarters: int = 0
    from_turned: np.ndarray | None = None
    faces: np.ndarray | None = None
    face: int = 1

    def __post_init__(self) -> None:
        """Check nothing: frames that are parts have a shape each."""

    @property
    def to_video(self) -> np.ndarray:
        """Return the similarity `(2, 3)` from pixels of `frames` to pixels of the video."""
        shift = (self.block - 1) / 2
        return compose(self.from_turned, np.array([[self.block, 0.0, shift], [0.0, self.block, shift]]))
