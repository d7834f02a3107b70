"""Follow faces through a video, one or all of them, and keep of each frame only what lies around them.

The face is looked for on small copies of a few frames a second. What is kept of each frame is cut out at full
size, or averaged over blocks of pixels where that is more than the aligned face needs or memory holds. So 8K
takes no more memory than a small clip.

Of several faces each is known by its place and size. A cut makes all of them new.
"""

import contextlib
import ctypes
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from mer_hf.video.container import Frame

from . import tracking
from .parts import FaceClip, FramePart
from .registration import apply, invert
from .tracking import FaceError

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

MOST_FACES = 8
"""That are followed at a time."""
_REMEMBERED_S = 10.0
"""A face that comes back so soon, to its place and in its size, is the same."""
_SAME = 0.15
"""Common part of two boxes of one face, over all that they cover."""
_SURE_CLOSER = 0.6
"""Score of a face that is seen in a part of the picture only: some thirty parts give more false ones."""
_ALIKE, _CUT_LEVELS = 0.8, 6.0
"""Two small copies that correlate less, and differ by more grey levels, have a cut between them."""


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
        box = None if self.box is None else tracking.joined_box(np.stack([part.face for part in frames]))
        back = tracking.turned_back(self.turn, self.shape)
        kept = (box, self.block, self.turn, back, self.faces, self.number)
        return FaceClip(frames, times_s, names, source, (), *kept)

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
    with tracking.started("FaceDetector", "face_detector.tflite") as detector:
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


def follow_faces(
    frames: Iterator[Frame], most_bytes: float, face: int | None = None
) -> Iterator[dict[int, Frame]]:
    """Yield for each frame what lies around every face: the face's number -> a frame, each with its run.

    Faces are numbered as they appear, from 1, those that appear together from the left.

    Args:
        frames (`Iterator[Frame]`): Whole frames of one size.
        most_bytes (`float`): The most that may be kept of a frame for two faces together. Of more faces each
            gets its part.
        face (`int`, *optional*): The number of the only face that is kept.

    Yields:
        `dict[int, Frame]`: A frame of which nothing is kept has the number 0, where there is no such face.
    """
    _return_large_blocks()
    nothing, shot = None, None
    with tracking.started("FaceDetector", "face_detector.tflite") as detector:
        crowd = _Crowd(detector, most_bytes)
        for place, frame in enumerate(frames):
            before, shot = shot, _tiny(frame.image)
            if before is not None and _is_cut(before, shot):
                crowd.forget()
            crowd.look(frame.image, place / 30 if math.isnan(frame.time_s) else frame.time_s)
            nothing = nothing or _Run(frame.image.shape, number=0)
            kept = {
                one.run.number: frame._replace(image=one.run.keep(frame.image, one.box), run=one.run)
                for one in crowd.faces
                if face in (None, one.run.number)
            }
            yield kept or {0: frame._replace(image=nothing.keep(frame.image, None), run=nothing)}


@dataclass
class _Followed:
    """A face that is followed: its run, where it was seen last (in pixels of the turned frame), and when."""

    run: _Run
    box: np.ndarray
    seen_s: float


class _Crowd:
    """The faces in the picture, and those that were lost a short time ago."""

    def __init__(self, detector: Callable, most_bytes: float) -> None:
        self.detector, self.most_bytes, self.count = detector, most_bytes, 0
        self.forget()

    def forget(self) -> None:
        """Begin with a picture that has nothing to do with the one before."""
        self.faces: list[_Followed] = []
        self.lost: list[_Followed] = []
        self.next_look_s = self.next_search_s = -math.inf

    def look(self, frame: np.ndarray, now_s: float) -> None:
        """Look where the faces are now, and whether there are new ones; several times a second."""
        if now_s < self.next_look_s:
            return
        self.next_look_s = now_s + _LOOK_S
        small, factor = _small(frame)
        seen, searched = tracking.detect(self.detector, small), now_s < self.next_search_s
        if not searched:
            self.next_search_s = now_s + _LOST_S
            closer = tracking.detect_in_tiles(self.detector, small)
            seen = np.concatenate([seen, closer[closer[:, 4] >= _SURE_CLOSER]])
        rest = self._move(frame, tracking.distinct(seen)[:, :4] * factor, now_s)
        if not searched and len(self.faces) < MOST_FACES:
            self._add(small, factor, rest, frame.shape, now_s)

    def _move(self, frame: np.ndarray, seen: np.ndarray, now_s: float) -> np.ndarray:
        """Move the faces to where they are seen; return what is seen of others."""
        upright = [face for face in self.faces if not face.run.turn]
        pairs = _pairs([face.box for face in upright], seen)
        for i, j in pairs.items():
            self._see(upright[i], seen[j], now_s)
        for face in self.faces:
            if face.seen_s < now_s:
                box = _seen_again(self.detector, np.rot90(frame, face.run.turn), face.box)
                others = [other.box for other in self.faces if other is not face]
                if box is not None and not _pairs(others, box[None]):
                    self._see(face, box, now_s)
        self.lost += [face for face in self.faces if now_s - face.seen_s >= _LOST_S]
        self.lost = [face for face in self.lost if now_s - face.seen_s < _REMEMBERED_S]
        self.faces = [face for face in self.faces if now_s - face.seen_s < _LOST_S]
        rest = np.delete(seen, list(pairs.values()), axis=0)
        again = _pairs([face.box for face in self.faces], rest)
        return np.delete(rest, list(again.values()), axis=0)

    def _see(self, face: _Followed, box: np.ndarray, now_s: float) -> None:
        face.box, face.seen_s = box, now_s
        if not face.run.fits(box):
            face.run = self._scaled(face.run, box)

    def _scaled(self, run: _Run, box: np.ndarray) -> _Run:
        return _scaled(run, box, self.most_bytes / max(2, len(self.faces)))

    def _add(
        self, small: np.ndarray, factor: int, rest: np.ndarray, shape: tuple[int, ...], now_s: float
    ) -> None:
        """Add the faces that are new, from the left, or back again."""
        turn, places = 0, [box for box in rest if tracking.mesh_agrees(small[None], {0: box / factor})]
        if not places and not self.faces:  # it may be upside down, or lie on its side
            try:
                turn, _, places, _ = tracking.find_faces(small[None], None)
                places = list(places * factor)
            except FaceError:
                return
        places = np.array(sorted(places, key=lambda box: box[0] + box[2])).reshape(-1, 4)
        corners = apply(invert(tracking.turned_back(turn, (1, *shape))), places.reshape(-1, 2, 2))
        boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
        back = {j: i for i, j in _pairs([face.box for face in self.lost], boxes).items()}
        added = []
        for j, box in enumerate(boxes[: MOST_FACES - len(self.faces)]):
            self.count += j not in back
            number = self.lost[back[j]].run.number if j in back else self.count
            added.append(_Followed(_Run((1, *shape), box, turn, places[[j]], number), box, now_s))
        self.faces += added
        for face in added:
            face.run = self._scaled(face.run, face.box)
        self.lost = [face for i, face in enumerate(self.lost) if i not in back.values()]


def _pairs(boxes: list[np.ndarray], seen: np.ndarray) -> dict[int, int]:
    """Pair the boxes with those seen that are about as large and at the same place, one to one."""
    if not boxes or not len(seen):
        return {}
    one, other = np.array(boxes)[:, None], seen[None]
    common = tracking.common_area(one, other)
    shares = common / (tracking.area(one) + tracking.area(other) - common)
    pairs = zip(*linear_sum_assignment(-shares), strict=True)
    return {int(i): int(j) for i, j in pairs if shares[i, j] > _SAME}


def _tiny(frame: np.ndarray) -> np.ndarray:
    """Return a copy of a few pixels, in grey levels without their mean."""
    step = max(1, min(frame.shape[:2]) // 144)
    tiny = cv2.resize(frame[::step, ::step, 1], (64, 36), interpolation=cv2.INTER_AREA).astype(np.float32)
    return tiny - tiny.mean()


def _is_cut(before: np.ndarray, now: np.ndarray) -> bool:
    """Tell whether a picture shows something else than the one before; light alone may change."""
    alike = _ALIKE * float(np.sqrt(np.var(before) * np.var(now)))
    return bool(np.var(before - now) > _CUT_LEVELS**2 and (before * now).mean() < alike)


def with_mesh(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Yield the frames of `follow_face`; measure the face mesh in as many of them as tracking asks for."""
    next_s = -math.inf
    with contextlib.closing(frames), tracking.started("FaceLandmarker", tracking.BUNDLE, num_faces=2) as mesh:
        for frame in frames:
            box = frame.image.face
            if box is not None and frame.time_s >= next_s:
                # 0.01: of frames that come a little early, too.
                next_s = frame.time_s + 1 / tracking.MESH_RATE_HZ - 0.01
                window = tracking.mesh_window(box, 3.0, frame.image.shape)
                mesh_xy = tracking.mesh_near(mesh, frame.image, window, (box[:2] + box[2:]) / 2)
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
    seen = tracking.detect(detector, frame[low[1] : high[1], low[0] : high[0]])[:, :4] + np.tile(low, 2)
    shares = tracking.overlap(box, seen)
    return seen[shares.argmax()] if shares.max(initial=0) > 0.2 else None


def _search(frame: np.ndarray, face: int | None, near: np.ndarray | None, refuse: bool) -> _Run | None:
    """Look for a face in a small copy of a frame."""
    small, factor = _small(frame)
    try:
        if near is not None:
            faces = tracking.find_faces(small[None], None)[2]
            face = int(tracking.overlap(near / factor, faces).argmax()) + 1
        turn, box, faces, number = tracking.find_faces(small[None], face)
    except FaceError as error:
        if error.kind == "number" and refuse:
            raise
        return None
    return _Run((1, *frame.shape), box * factor, turn, faces * factor, number)


def _small(frame: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a copy in which blocks of pixels are averaged, and the side of a block."""
    factor = max(1, min(frame.shape[:2]) // _SMALL_SIDE_PX)
    height, width = frame.shape[0] // factor, frame.shape[1] // factor
    small = frame[: height * factor, : width * factor]
    if factor > 1:
        small = cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA)
    return small, factor


def _scaled(run: _Run, box: np.ndarray, most_bytes: float) -> _Run:
    """Return a run with the scale for a face of this size."""
    side = _WIDTHS * _GROWTH**0.5 * _width(box)
    enough = int(_EYES_WIDTHS * _width(box) / _MOST_EYES_PX)
    block = max(1, enough, math.ceil(side / math.sqrt(max(most_bytes, 3) / 3)))
    return replace(run, box=box, side=side, block=block)


def _width(box: np.ndarray) -> float:
    return float((box[2:] - box[:2]).max())
