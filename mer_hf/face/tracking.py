"""Find the face in a clip, crop it once for the whole clip, and hold the head still in every frame.

Face-mesh landmarks jitter by tenths of a pixel, as much as a micro-expression moves, so they only place the
crop and its regions. The head's motion is measured on corners of the nose bridge and the inner eyes instead,
where skin is tight on bone. Brows and lids are not used for it, so that their own motion survives.
"""

import contextlib
import io
import os
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from itertools import chain
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from mer_hf.video.clip import Clip

from .landmarks import interocular
from .parts import FaceClip
from .registration import apply, block_of, compose, evenly, invert, over_time, rigid_motion, runs, sample

MIN_INTEROCULAR_PX = 20.0
"""A face with its eyes nearer than this is refused: half a pixel of skin motion would be a fortieth of the
interocular distance."""
LOW_INTEROCULAR_PX = 40.0
"""Below this the answer comes with a warning."""

BUNDLE = "face_landmarker.task"
"""Google's face detector and face mesh, a file beside this one; see NOTICE there."""

_SURELY_UPRIGHT, _SURER = 0.85, 0.08
"""Scores of the face detector: 0.5 to 0.8 for a face that is upside down, above 0.8 for the same upright."""
MESH_RATE_HZ = 12.0
_MESH_FRAMES_WITHOUT_TIMES = 32
_WORTH_A_THREAD = 8
"""The fewest frames for which a second thread is started."""
_stderr_lock = threading.Lock()


class FaceError(ValueError):
    """No face in the clip can be analysed; the message says why and what to do.

    Args:
        message (`str`): One line.
        kind (`str`, *optional*, defaults to `"none"`): `"none"` where no face was seen, `"brief"` where one
            was in less than half of the frames, `"small"` where its eyes are too near each other, `"number"`
            where fewer faces were found than the one that was asked for.
    """

    def __init__(self, message: str, kind: str = "none") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class FaceGeometry:
    """Where the face lies in its crop.

    Args:
        size (`int`, *optional*, defaults to 224): Height and width of the crop in pixels.
        eye_row (`float`, *optional*, defaults to 0.32): Row of the two eye centres, as a fraction of `size`.
        interocular_fraction (`float`, *optional*, defaults to 0.45): Distance of the two eye centres, as a
            fraction of `size`. The default keeps brows and mouth well inside and cuts at the chin.

    Raises:
        ValueError: If a value lies outside the picture.
    """

    size: int = 224
    eye_row: float = 0.32
    interocular_fraction: float = 0.45

    def __post_init__(self):
        inside = 16 <= self.size <= 448 and 0 < self.eye_row < 1 and 0.05 <= self.interocular_fraction < 1
        if not inside:
            raise ValueError(
                "expected size 16 to 448, eye_row in (0, 1) and interocular_fraction in [0.05, 1), got "
                f"{self.size}, {self.eye_row} and {self.interocular_fraction}."
            )

    @property
    def eyes_xy(self) -> np.ndarray:
        """`np.ndarray` of shape `(2, 2)`: Eye centres in crop pixels, the person's right eye first."""
        half = 0.5 * self.interocular_fraction * self.size
        middle = (self.size - 1) / 2  # pixel centres lie on whole numbers
        row = self.eye_row * self.size - 0.5
        return np.array([[middle - half, row], [middle + half, row]])


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """Aligned faces of one clip.

    Args:
        frames (`np.ndarray` of shape `(T, S, S, 3)`): uint8, RGB; the head holds still in them.
        landmarks_xy (`np.ndarray` of shape `(T, 478, 2)`): float32, face mesh in pixels of `frames`. Measured
            about 12 times a second and interpolated between; they jitter by some tenths of a pixel, so
            average them over the clip before placing regions.
        to_clip (`np.ndarray` of shape `(T, 2, 3)`): float32, maps homogeneous face pixels to pixels of the
            clip: one crop for the clip, times each frame's rigid correction.
        warnings (`tuple[str, ...]`): What the reader of the result should know, one line each.
        found (`np.ndarray` of shape `(T,)`, *optional*): False where no face was seen; those frames hold
            whatever lies where the face was last. None means that it was seen throughout.
        steady (`np.ndarray` of shape `(T,)`, *optional*): False where the head's motion is known by landmarks
            only, to about half a pixel. None means that it was measured throughout.
        faces (`tuple[tuple[int, int, int, int], ...]`): Left, top, right and bottom of each face that was
            found, in pixels of the clip, from the left of the picture to the right.
        face (`int`, *optional*, defaults to 1): The number of this face among them, from 1.
    """

    frames: np.ndarray
    landmarks_xy: np.ndarray
    to_clip: np.ndarray
    warnings: tuple[str, ...] = ()
    found: np.ndarray | None = None
    steady: np.ndarray | None = None
    faces: tuple[tuple[int, int, int, int], ...] = ()
    face: int = 1


def recrop(
    frames: np.ndarray, landmarks_xy: np.ndarray, old: FaceGeometry, new: FaceGeometry
) -> tuple[np.ndarray, np.ndarray]:
    """Cut aligned faces and their landmarks again, for a network that wants the face elsewhere in the crop.

    All frames are moved alike, so that motion stays what it was. What the old crop did not show is filled
    with its border.
    """
    if old == new:
        return frames, landmarks_xy
    scale = new.size * new.interocular_fraction / (old.size * old.interocular_fraction)
    shift = new.eyes_xy.mean(axis=0) - scale * old.eyes_xy.mean(axis=0)
    matrix = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    options = {"flags": cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REPLICATE}
    moved = [cv2.warpAffine(frame, matrix, (new.size, new.size), **options) for frame in frames]
    return np.stack(moved), (scale * landmarks_xy + shift).astype(np.float32)


def track_face(clip: Clip, geometry: FaceGeometry | None = None, face: int | None = None) -> FaceTrack:
    """Find a face of a clip and align it in every frame.

    The face mesh runs about 12 times a second at most (32 times in a clip without times): it places the crop
    and the regions, nothing else. Each frame is then warped once, straight from the clip, by the crop's
    similarity times the rigid motion of that frame, which LMEDS fits to corners tracked by pyramidal
    Lucas-Kanade from a reference frame. A new reference is taken when the head has turned so far that the old
    one no longer matches. A face that is upside down or lies on its side is turned first.

    Args:
        clip (`Clip`): Frames `(T, H, W, 3)` with their times; of a `FaceClip` its face is taken.
        geometry (`FaceGeometry`, *optional*): Defaults to `FaceGeometry()`.
        face (`int`, *optional*): Which face, counted from the left of the picture, from 1. By default the
            largest.

    Returns:
        `FaceTrack`: As many frames as the clip has.

    Raises:
        FaceError: If there is no face, or not so many; if it is missing from most of the clip, or too small.
    """
    geometry, count = geometry or FaceGeometry(), len(clip)
    if isinstance(clip, FaceClip):
        if clip.box is None:
            raise _no_face(clip.frames)
        quarters, box, boxes, number = clip.quarters, clip.box, clip.faces, clip.face
        upright, to_original, block_px = clip.frames, clip.to_video, clip.block
    else:
        quarters, box, boxes, number = find_faces(clip.frames, face)
        upright, block_px = np.rot90(clip.frames, quarters, (1, 2)), 1
        to_original = turned_back(quarters, clip.frames.shape)
    notes = [*clip.warnings, *_face_notes(quarters, len(boxes), number, face)]
    known = {t: part.mesh_xy for t, part in enumerate(upright) if getattr(part, "mesh_xy", None) is not None}
    sampled = np.array(list(known)) if known else _mesh_frames(clip)
    mesh_xy = np.stack(list(known.values())) if known else _mesh_landmarks(upright, sampled, box)
    seen = np.isfinite(mesh_xy[:, 0, 0])
    if not seen.any():
        raise _no_face(upright)
    # A frame between two sampled ones counts as showing the face when both do.
    found = np.interp(np.arange(count), sampled, seen.astype(float)) > 0.999
    mesh_xy, sampled = mesh_xy[seen], sampled[seen]
    notes += _presence_notes(found) + _size_notes(block_px * float(np.median(interocular(mesh_xy))))
    clip_xy, window = over_time(mesh_xy, sampled, count), _smoothing_frames(clip)
    to_clip, steady = rigid_motion(upright, clip_xy, sampled, found, geometry.eyes_xy, window)
    if (found & ~steady).any():
        notes.append(
            f"head motion in {_spans(found & ~steady)} was removed by landmarks only (nose bridge not "
            "trackable): motion under about half a pixel is not reliable there."
        )
    in_crop = np.stack([apply(invert(to_clip[t]), xy) for t, xy in zip(sampled, mesh_xy, strict=True)])
    landmarks_xy = over_time(in_crop, sampled, count).astype(np.float32)
    block = block_of(np.median(to_clip, axis=0))
    frames = np.empty((count, geometry.size, geometry.size, 3), dtype=np.uint8)

    def cut(part: np.ndarray) -> None:
        for t in part:
            frames[t] = sample(upright[t], to_clip[t], geometry.size, block)

    list(in_threads(cut, np.arange(count)))
    to_clip = np.stack([compose(to_original, matrix) for matrix in to_clip]).astype(np.float32)
    places = tuple(map(tuple, boxes.round().astype(int).tolist()))
    return FaceTrack(frames, landmarks_xy, to_clip, tuple(notes), found, steady, places, number)


# --- models of mediapipe ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop what native code writes to standard error: MediaPipe's logging has no working switch."""
    with _stderr_lock, open(os.devnull, "wb") as null:
        saved = os.dup(2)
        try:
            os.dup2(null.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@cache
def _model_files() -> dict[str, bytes]:
    """Return the models that lie in the bundle, by name: it is a zip archive of them."""
    bundle = files("mer_hf.face").joinpath(BUNDLE).read_bytes()
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {BUNDLE: bundle} | {name: archive.read(name) for name in archive.namelist()}


@contextlib.contextmanager
def _put_off(name: str) -> Iterator[None]:
    """Let what is imported meanwhile get a stand-in for a module, which imports it where it is used."""
    if name in sys.modules:
        yield
        return
    stand_in = sys.modules[name] = ModuleType(name)
    stand_in.__getattr__ = lambda attribute: getattr(import_module(name), attribute)
    try:
        yield
    finally:
        del sys.modules[name]


@contextlib.contextmanager
def started(task: str, file: str, **options) -> Iterator[Callable]:
    """Start a task of MediaPipe quietly, and give its function of a picture `(H, W, 3)`, uint8.

    A task carries nothing over from one picture to the next. It belongs to one clip and one thread.
    """
    # What MediaPipe draws and records sound with takes longer to load than all of MediaPipe.
    with _quiet_stderr(), _put_off("matplotlib.pyplot"), _put_off("sounddevice"):
        import mediapipe
        from mediapipe.tasks.python import vision
        from mediapipe.tasks.python.core.base_options import BaseOptions

        base = BaseOptions(model_asset_buffer=_model_files()[file])
        chosen = getattr(vision, f"{task}Options")(base_options=base, **options)
        model = getattr(vision, task).create_from_options(chosen)

    def look(picture: np.ndarray):
        # It reads the memory of a view as if the view were all of it.
        data = np.ascontiguousarray(picture)
        return model.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=data))

    try:
        yield look
    finally:
        with _quiet_stderr():
            model.close()


# --- where the faces are ------------------------------------------------------------------------------------


def detect(detector: Callable, picture: np.ndarray) -> np.ndarray:
    """Return the faces in a picture `(N, 6)`: x0, y0, x1, y1 in its pixels, score, and roll in degrees."""
    rows = []
    for detection in detector(picture).detections:
        box, (right, left) = detection.bounding_box, detection.keypoints[:2]
        across = (left.x - right.x) * picture.shape[1], (left.y - right.y) * picture.shape[0]
        roll = np.degrees(np.arctan2(across[1], across[0]))
        corner = box.origin_x + box.width, box.origin_y + box.height
        rows.append((box.origin_x, box.origin_y, *corner, detection.categories[0].score, roll))
    return np.array(rows, dtype=np.float64).reshape(-1, 6)


def detect_in_tiles(detector: Callable, picture: np.ndarray) -> np.ndarray:
    """Look again in overlapping tiles: the detector misses faces under about a tenth of the picture."""
    height, width = picture.shape[:2]
    for side in (int(0.6 * min(height, width)), int(0.35 * min(height, width))):
        if side < 64:
            break
        rows, columns = (
            np.unique(np.linspace(0, length - side, int(np.ceil(2 * length / side)) - 1).astype(int))
            for length in (height, width)
        )
        tiles = [
            detect(detector, picture[y : y + side, x : x + side]) + np.array([x, y, x, y, 0, 0])
            for y in rows
            for x in columns
        ]
        boxes = distinct(np.concatenate(tiles))
        if len(boxes):
            return boxes
    return np.empty((0, 6))


def area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas of boxes; 0 where a side is negative."""
    return np.prod(np.clip(boxes[..., 2:4] - boxes[..., :2], 0, None), axis=-1)


def common_area(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the area that boxes share with other boxes."""
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:4], other[..., 2:4])
    return area(np.concatenate([low, high], axis=-1))


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the share of the smaller box that lies in the other."""
    return common_area(box, boxes) / np.maximum(np.minimum(area(box), area(boxes)), 1e-9)


def distinct(boxes: np.ndarray) -> np.ndarray:
    """Sort boxes by size, and drop those that mostly lie in a larger one."""
    kept: list[np.ndarray] = []
    for box in boxes[np.argsort(-area(boxes), kind="stable")]:
        if not kept or overlap(box, np.array(kept)).max() < 0.5:
            kept.append(box)
    return np.array(kept).reshape(-1, 6)


def find_faces(frames: np.ndarray, face: int | None) -> tuple[int, np.ndarray, np.ndarray, int]:
    """Look for faces in a few frames of a clip.

    Args:
        frames (`np.ndarray` of shape `(T, H, W, 3)`): uint8, RGB.
        face (`int`, *optional*): The number of the wanted face; by default that of the largest.

    Returns:
        `tuple`: The quarter turns (counter-clockwise) that put the face upright; its box in the turned
        frames; the boxes `(N, 4)` of all faces in the frames as they are, from the left; and its number.
    """
    pictures = frames[evenly(len(frames), 5)]

    def turned(quarters):
        return np.rot90(pictures, quarters, (1, 2))

    with started("FaceDetector", "face_detector.tflite") as detector:
        for turn in (0, 2, 1, 3):  # an upright face is nearly always seen, one that is turned not always
            faces = _same_faces(detector, turned(turn), in_tiles=turn == 0)
            if faces:
                break
        else:
            raise _no_face(frames)
        box, boxes, number = _numbered(faces, turned_back(turn, frames.shape), face)
        more = _quarters_to_original(detector, turned(turn), faces, box)
        again = _same_faces(detector, turned((turn + more) % 4)) if more else []
        if again:  # the same boxes as in a clip that is upright
            turn = (turn + more) % 4
            box, boxes, number = _numbered(again, turned_back(turn, frames.shape), face)
    return turn, box, boxes, number


def _same_faces(detector: Callable, pictures: np.ndarray, in_tiles: bool = True) -> list[np.ndarray]:
    """Return what was seen of each face, one array `(K, 6)` a face, the face of the largest box first.

    Of several, a face counts if it is seen in half of the pictures in which one is, and the face mesh agrees:
    the detector takes a hand or a pattern for a face now and then.
    """
    per_picture = [distinct(detect(detector, picture)) for picture in pictures]
    if in_tiles and not any(map(len, per_picture)):
        per_picture = [detect_in_tiles(detector, picture) for picture in pictures]
    shown = [k for k, boxes in enumerate(per_picture) if len(boxes)]
    left, faces = {k: per_picture[k] for k in shown}, []
    while left:
        largest = max((boxes[0] for boxes in left.values()), key=area)
        nearest = {k: overlap(largest, boxes).argmax() for k, boxes in left.items()}
        same = {k: i for k, i in nearest.items() if overlap(largest, left[k])[i] > 0.2}
        faces.append({k: left[k][i] for k, i in same.items()})
        left = {k: np.delete(boxes, same[k], axis=0) if k in same else boxes for k, boxes in left.items()}
        left = {k: boxes for k, boxes in left.items() if len(boxes)}
    if len(faces) > 1:
        lasting = [face for face in faces if len(face) >= len(shown) / 2]
        faces = [face for face in lasting if mesh_agrees(pictures, face)] or faces[:1]
    return [np.array(list(face.values())) for face in faces]


def mesh_agrees(pictures: np.ndarray, face: dict[int, np.ndarray]) -> bool:
    """Tell whether the face mesh sees a face at most of the places where the detector does."""
    boxes = np.stack(list(face.values()))
    centres = _mesh_in_window(pictures, np.array(list(face)), joined_box(boxes), 3.0).mean(1)
    return bool(((boxes[:, :2] < centres) & (centres < boxes[:, 2:4])).all(1).mean() >= 0.5)


def joined_box(boxes: np.ndarray) -> np.ndarray:
    """Return the box around boxes."""
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:4].max(0)])


def _numbered(
    faces: list[np.ndarray], to_clip: np.ndarray, face: int | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the box of the wanted face, the boxes of all in the clip from the left, and its number."""
    if face is not None and not 1 <= face <= len(faces):
        text = "1 face was" if len(faces) == 1 else f"{len(faces)} faces were"
        raise FaceError(
            f"face {face} was asked for, and {text} found. Count from the left, from 1.", "number"
        )
    joined = np.stack([joined_box(boxes) for boxes in faces])
    corners = apply(to_clip, joined.reshape(-1, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    order = np.argsort(boxes[:, 0] + boxes[:, 2], kind="stable").tolist()
    number = order.index(0) + 1 if face is None else face
    return joined[order[number - 1]], boxes[order], number


def _quarters_to_original(
    detector: Callable, pictures: np.ndarray, faces: list[np.ndarray], box: np.ndarray
) -> int:
    """Return the quarter turns (counter-clockwise) after which the detector is surest of the face in a box.

    It is trained on upright faces: turned by a half, their scores drop by a fifth or more. The face stays as
    it is unless another way up is clearly surer, with the eyes about level.
    """
    seen = next(boxes for boxes in faces if (joined_box(boxes) == box).all())
    if seen[:, 4].mean() >= _SURELY_UPRIGHT and np.abs(np.median(seen[:, 5])) < 45:
        return 0
    low = np.clip(1.5 * box[:2] - 0.5 * box[2:], 0, None).astype(int)
    high = np.ceil(1.5 * box[2:] - 0.5 * box[:2]).astype(int)
    scores = np.zeros(4)
    for picture in pictures[:, low[1] : high[1], low[0] : high[0]]:
        for quarters in range(4):
            seen = detect(detector, np.rot90(picture, quarters))
            scores[quarters] += seen[np.abs(seen[:, 5]) < 45, 4].max(initial=0) / len(pictures)
    return int(scores.argmax()) if scores.max() > scores[0] + _SURER else 0


def turned_back(quarters: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return the similarity from pixels of turned frames to those of the frames, of shape `(T, H, W, 3)`."""
    turn = np.linalg.matrix_power([[0, -1], [1, 0]], quarters)
    last_xy = np.array([shape[2], shape[1]]) - 1.0
    return np.column_stack([turn, np.where(turn.sum(axis=1) < 0, last_xy, 0.0)])


def _no_face(frames: Sequence) -> FaceError:
    height, width = frames[0].shape[:2]
    return FaceError(
        f"no face was found in {len(frames)} frames of {width}x{height}. "
        "Give a clip that shows one face from the front, at least a tenth of the picture high."
    )


def _duration_s(clip: Clip) -> float:
    return float(clip.timestamps_s[-1] - clip.timestamps_s[0])


def _smoothing_frames(clip: Clip) -> int:
    """Return the frames in a tenth of a second: an odd number, at least five."""
    frame_s = _duration_s(clip) / max(len(clip) - 1, 1)
    return max(5, 2 * int(0.05 / frame_s) + 1) if np.isfinite(frame_s) and frame_s > 0 else 5


def _mesh_frames(clip: Clip) -> np.ndarray:
    """Choose the frames on which the mesh runs."""
    duration_s = _duration_s(clip)
    wanted = duration_s * MESH_RATE_HZ + 1 if np.isfinite(duration_s) else _MESH_FRAMES_WITHOUT_TIMES
    return evenly(len(clip), wanted)


def _mesh_landmarks(frames: Sequence, indices: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return landmarks `(K, 478, 2)` in clip pixels, NaN where no face is seen."""
    for widths in (3.0, 2.0, 5.0):  # now and then the mesh misses a face at one size and sees it at another
        landmarks_xy = _mesh_in_window(frames, indices, box, widths)
        if np.isfinite(landmarks_xy).any():
            break
    return landmarks_xy


def _mesh_in_window(frames: Sequence, indices: np.ndarray, box: np.ndarray, widths: float) -> np.ndarray:
    """Run the mesh in a window some face widths wide: in a large picture it is several times less steady."""
    window = mesh_window(box, widths, frames[0].shape)
    anchor = (box[:2] + box[2:]) / 2
    result = np.full((len(indices), 478, 2), np.nan)

    def look(part: np.ndarray) -> list[list[np.ndarray]]:
        with started("FaceLandmarker", BUNDLE, num_faces=2) as mesh:
            return [_meshes_in(mesh, frames[t], window) for t in part]

    for k, faces in enumerate(chain(*in_threads(look, indices))):
        result[k] = _nearest(faces, anchor)
        anchor = result[k].mean(0) if np.isfinite(result[k]).all() else anchor
    return result


def in_threads(work: Callable[[np.ndarray], Any], indices: np.ndarray) -> Iterator:
    """Share indices between two threads, or as many as OpenCV may use, and yield the results in order."""
    parts = np.array_split(indices, max(1, min(2, cv2.getNumThreads(), len(indices) // _WORTH_A_THREAD)))
    with ThreadPoolExecutor(len(parts)) as pool:
        yield from pool.map(work, parts)


def mesh_window(box: np.ndarray, widths: float, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the corner and the size (x, y) of a window around a box, some of its widths wide."""
    side = widths * (box[2:] - box[:2]).max()
    middle = (box[:2] + box[2:]) / 2
    low = np.clip(np.floor(middle - side / 2), 0, None).astype(int)
    high = np.ceil(middle + side / 2).astype(int)
    return low, np.minimum(high, shape[1::-1]) - low


def mesh_near(mesh: Callable, frame, window: tuple[np.ndarray, np.ndarray], anchor: np.ndarray) -> np.ndarray:
    """Return the landmarks `(478, 2)` of the face in a window that is nearest to a point; NaN without one."""
    return _nearest(_meshes_in(mesh, frame, window), anchor)


def _meshes_in(mesh: Callable, frame, window: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Return the landmarks `(478, 2)` of the faces in a window, in pixels of the frame."""
    low, scale = window
    shrink = max(1.0, scale.max() / 640)
    picture = frame[low[1] : low[1] + scale[1], low[0] : low[0] + scale[0]]
    if shrink > 1:
        picture = cv2.resize(picture, tuple(round(n / shrink) for n in scale), interpolation=cv2.INTER_AREA)
    return [np.array([(p.x, p.y) for p in face]) * scale + low - 0.5 for face in mesh(picture).face_landmarks]


def _nearest(faces: list[np.ndarray], anchor: np.ndarray) -> np.ndarray:
    return min(faces, key=lambda xy: np.hypot(*(xy.mean(0) - anchor)), default=np.full((478, 2), np.nan))


# --- what the reader of the result should know --------------------------------------------------------------


def _spans(mask: np.ndarray) -> str:
    """Write the True entries of a mask as `frames 3 to 7 and 12`."""
    parts = [f"{a} to {b - 1}" if b - a > 1 else f"{a}" for a, b in runs(mask)]
    if len(parts) > 4:
        parts = [*parts[:3], f"{len(parts) - 3} more stretches"]
    text = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return ("frames " if mask.sum() > 1 else "frame ") + text


def _face_notes(quarters: int, count: int, number: int, face: int | None) -> list[str]:
    lies = ("", "lies on its side", "is upside down", "lies on its side")[quarters]
    notes = [f"the face {lies} in the clip: it was turned."] if quarters else []
    if count > 1:
        which = "the largest" if face is None else "this one"
        notes.append(
            f"{count} faces were found; {which} is analysed, number {number} from the left. "
            "--face N (face=N) takes another."
        )
    return notes


def _presence_notes(found: np.ndarray) -> list[str]:
    if found.mean() < 0.5:
        raise FaceError(
            f"the face is visible in only {found.sum()} of {len(found)} frames. "
            "Cut the clip to the part that shows the face from the front.",
            kind="brief",
        )
    return [] if found.all() else [f"the face was lost in {_spans(~found)}."]


def _size_notes(interocular_px: float) -> list[str]:
    if interocular_px < MIN_INTEROCULAR_PX:
        raise FaceError(
            f"the face is too small: its eyes are {interocular_px:.0f} px apart, at least "
            f"{MIN_INTEROCULAR_PX:.0f} are needed. Give a closer or larger clip (not an enlarged one).",
            kind="small",
        )
    if interocular_px >= LOW_INTEROCULAR_PX:
        return []
    return [
        f"the face is small (eyes {interocular_px:.0f} px apart): weak expressions may go unseen below "
        f"{LOW_INTEROCULAR_PX:.0f} px."
    ]
