"""Follow one face through a video of large frames, and keep of each frame only what lies around it.

The face is looked for on small copies of a few frames a second. What is kept of each frame is cut out at full
size, or averaged over blocks of pixels where that is more than the aligned face needs or memory holds. So 8K
takes no more memory than a small clip.
"""

import contextlib
import ctypes
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from mer_hf.video.container import Frame

from .parts import FaceClip, FramePart
from .tracking import (
    BUNDLE,
    MESH_RATE_HZ,
    FaceError,
    detect,
    find_faces,
    mesh_near,
    mesh_window,
    overlap,
    started,
    turned_back,
)

_LOOK_S, _LOST_S = 0.25, 1.0
"""Time between two looks at a face, and after it was lost between two searches for one."""
_SMALL_SIDE_PX = 540
"""The detector sees as much in a picture of this height as in a larger one: it makes it smaller itself."""
_WIDTHS = 2.4
"""Side of what is kept, in widths of the face's box."""
_EYES_WIDTHS, _MOST_EYES_PX = 0.43, 200.0
"""The eyes' distance in widths of the box, and the one above which blocks of pixels are averaged: about twice
that in the aligned face."""
_M_MMAP_THRESHOLD = -3
_GROWTH = 1.25
"""A face that grows or shrinks by more is kept in another scale from then on."""


@dataclass(frozen=True, eq=False)
class _Run:
    """Frames in which one face is kept in one scale; without a `box`, nothing is kept.

    Attributes:
        shape (`tuple[int, ...]`): Of the video's frames.
        box (`np.ndarray` of shape `(4,)`, *optional*): The face in pixels of the turned frame, at first.
        turn (`int`): Quarter turns that put the face upright.
        faces (`np.ndarray` of shape `(N, 4)`, *optional*): All faces in pixels of the video.
        number (`int`): The number of this one.
        side (`float`): Of what is kept, in pixels of the video.
        block (`int`): Pixels of the video along the side of a kept one.
    """

    shape: tuple[int, ...]
    box: np.ndarray | None = None
    turn: int = 0
    faces: np.ndarray | None = None
    number: int = 1
    side: float = 1.0
    block: int = 1

    def keep(self, frame: np.ndarray, box: np.ndarray | None) -> FramePart:
        """Cut what lies around the face out of a frame, on a grid that does not move with it."""
        if box is None:
            return FramePart(np.zeros((1, 1, 3), np.uint8), (0, 0), frame.shape)
        frame, block = np.rot90(frame, self.turn), self.block
        whole = np.array(frame.shape[:2]) // block
        length = np.minimum(whole, math.ceil(self.side / block))
        middle = (box[[1, 0]] + box[[3, 2]]) / 2 / block
        first = np.clip(np.round(middle - length / 2).astype(int), 0, whole - length)
        (top, left), (bottom, right) = first * block, (first + length) * block
        pixels = frame[top:bottom, left:right]
        size = tuple(length[::-1].tolist())
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if block > 1 else pixels.copy()
        return FramePart(pixels, tuple(first.tolist()), (*whole.tolist(), 3), box / block)

    def clip(self, frames: tuple[FramePart, ...], times_s: np.ndarray, names: tuple, source: str) -> FaceClip:
        """Make a clip of kept frames."""
        if self.box is None:
            return FaceClip(frames, times_s, names, source)
        boxes = np.stack([part.face for part in frames])
        box = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
        back = turned_back(self.turn, self.shape)
        return FaceClip(
            frames, times_s, names, source, box, self.block, self.turn, back, self.faces, self.number
        )

    def fits(self, box: np.ndarray) -> bool:
        """Tell whether a face is still about as large as at first, or was not made smaller anyway."""
        growth = _width(box) / _width(self.box)
        return growth < _GROWTH and (self.block == 1 or growth > 0.5)


def follow_face(
    frames: Iterator[Frame], most_bytes: float, face: int | None = None, near: np.ndarray | None = None
) -> Iterator[Frame]:
    """Yield frames of which only what lies around one face is kept, each with its run.

    Args:
        frames (`Iterator[Frame]`): Whole frames of one size.
        most_bytes (`float`): The most that may be kept of one.
        face (`int`, *optional*): The number of the face, from the left of the first picture that shows one;
            by default the largest is followed.
        near (`np.ndarray` of shape `(4,)`, *optional*): A box in pixels of the video: follow the face there.

    Raises:
        FaceError: If there are not so many faces.
    """
    _return_large_blocks()
    run, box, seen_s, next_s = None, None, -math.inf, -math.inf
    with started("FaceDetector", "face_detector.tflite") as detector:
        for place, frame in enumerate(frames):
            now_s = place / 30 if math.isnan(frame.time_s) else frame.time_s
            if now_s >= next_s:
                again = None if box is None else _seen_again(detector, np.rot90(frame.image, run.turn), box)
                if again is not None:
                    box, seen_s = again, now_s
                    run = run if run.fits(box) else _scaled(run, box, most_bytes)
                elif now_s - seen_s >= _LOST_S:
                    new = _search(frame.image, face, near, refuse=box is None)
                    if new is not None:
                        run, box, seen_s = _scaled(new, new.box, most_bytes), new.box, now_s
                run = run or _Run(frame.image.shape)
                next_s = now_s + (_LOOK_S if now_s - seen_s < _LOST_S else _LOST_S)
            yield frame._replace(image=run.keep(frame.image, box), run=run)


def with_mesh(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Yield the frames of `follow_face`; measure the face mesh in as many of them as tracking asks for."""
    next_s = -math.inf
    with contextlib.closing(frames), started("FaceLandmarker", BUNDLE, num_faces=2) as mesh:
        for frame in frames:
            box = frame.image.face
            if box is not None and frame.time_s >= next_s:
                next_s = frame.time_s + 1 / MESH_RATE_HZ - 0.01  # of frames that come a little early too
                window = mesh_window(box, 3.0, frame.image.shape)
                mesh_xy = mesh_near(mesh, frame.image, window, (box[:2] + box[2:]) / 2)
                frame = frame._replace(image=replace(frame.image, mesh_xy=mesh_xy))
            yield frame


def _return_large_blocks() -> None:
    """Let glibc give memory of whole frames back at once: what is kept would lie between its holes."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # elsewhere there is no such function
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 4_000_000)


def _seen_again(detector: Callable, frame: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Return where the face is now that was in a box, in pixels of a frame in which it is upright."""
    low = np.clip(2 * box[:2] - box[2:], 0, None).astype(int)
    high = np.ceil(2 * box[2:] - box[:2]).astype(int)
    seen = detect(detector, frame[low[1] : high[1], low[0] : high[0]])[:, :4] + np.tile(low, 2)
    shares = overlap(box, seen)
    return seen[shares.argmax()] if shares.max(initial=0) > 0.2 else None


def _search(frame: np.ndarray, face: int | None, near: np.ndarray | None, refuse: bool) -> _Run | None:
    """Look for a face in a small copy of a frame."""
    factor = max(1, min(frame.shape[:2]) // _SMALL_SIDE_PX)
    height, width = frame.shape[0] // factor, frame.shape[1] // factor
    small = frame[: height * factor, : width * factor]
    if factor > 1:
        small = cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA)
    try:
        if near is not None:
            face = int(overlap(near / factor, find_faces(small[None], None)[2]).argmax()) + 1
        turn, box, faces, number = find_faces(small[None], face)
    except FaceError as error:
        if error.kind == "number" and refuse:
            raise
        return None
    return _Run((1, *frame.shape), box * factor, turn, faces * factor, number)


def _scaled(run: _Run, box: np.ndarray, most_bytes: float) -> _Run:
    """Return a run with the scale for a face of this size."""
    side = _WIDTHS * _GROWTH**0.5 * _width(box)
    enough = int(_EYES_WIDTHS * _width(box) / _MOST_EYES_PX)
    block = max(1, enough, math.ceil(side / math.sqrt(max(most_bytes, 3) / 3)))
    return replace(run, box=box, side=side, block=block)


def _width(box: np.ndarray) -> float:
    return float((box[2:] - box[:2]).max())
