"""Find the face in a clip, crop it once for the whole clip, and hold the head still in every frame.

Face-mesh landmarks jitter by tenths of a pixel, as much as a micro-expression moves, so they only place the
crop and its regions. The head's motion is measured on corners of the nose bridge and the inner eyes instead,
where skin is tight on bone. Brows and lids are not used for it, so that their own motion survives.
"""

import contextlib
import io
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cv2
import numpy as np

from mer_hf.video.clip import Clip

from .landmarks import interocular
from .registration import apply, block_of, evenly, invert, over_time, rigid_motion, runs, sample

MIN_INTEROCULAR_PX = 20.0
"""A face with its eyes nearer than this is refused: half a pixel of skin motion would be a fortieth of the
interocular distance."""
LOW_INTEROCULAR_PX = 40.0
"""Below this the answer comes with a warning."""

BUNDLE = "face_landmarker.task"
"""Google's face detector and face mesh, a file beside this one; see NOTICE there."""

_MESH_RATE_HZ = 12.0
_MESH_FRAMES_WITHOUT_TIMES = 32
_stderr_lock = threading.Lock()


class FaceError(ValueError):
    """No face in the clip can be analysed; the message says why and what to do.

    Args:
        message (`str`): One line.
        kind (`str`, *optional*, defaults to `"none"`): `"none"` where no face was seen, `"brief"` where one
            was in less than half of the frames, `"small"` where its eyes are too near each other.
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
        if self.size < 16 or not 0 < self.eye_row < 1 or not 0.05 <= self.interocular_fraction < 1:
            raise ValueError(
                "expected size >= 16, eye_row in (0, 1) and interocular_fraction in [0.05, 1), got "
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
    """

    frames: np.ndarray
    landmarks_xy: np.ndarray
    to_clip: np.ndarray
    warnings: tuple[str, ...] = ()
    found: np.ndarray | None = None
    steady: np.ndarray | None = None


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


def track_face(clip: Clip, geometry: FaceGeometry | None = None) -> FaceTrack:
    """Find the largest face of a clip and align it in every frame.

    The face mesh runs about 12 times a second at most (32 times in a clip without times): it places the crop
    and the regions, nothing else. Each frame is then warped once, straight from the clip, by the crop's
    similarity times the rigid motion of that frame, which LMEDS fits to corners tracked by pyramidal
    Lucas-Kanade from a reference frame. A new reference is taken when the head has turned so far that the old
    one no longer matches.

    Args:
        clip (`Clip`): Frames `(T, H, W, 3)` with their times.
        geometry (`FaceGeometry`, *optional*): Defaults to `FaceGeometry()`.

    Returns:
        `FaceTrack`: As many frames as the clip has.

    Raises:
        FaceError: If there is no face, it is missing from most of the clip, or it is too small.
    """
    geometry, count = geometry or FaceGeometry(), len(clip.frames)
    box, other_faces = _find_face(clip.frames)
    notes = [f"{other_faces + 1} faces were found; the largest is analysed."] if other_faces else []
    sampled = _mesh_frames(clip)
    mesh_xy = _mesh_landmarks(clip.frames, sampled, box)
    seen = np.isfinite(mesh_xy[:, 0, 0])
    # A frame between two sampled ones counts as showing the face when both do.
    found = np.interp(np.arange(count), sampled, seen.astype(float)) > 0.999
    mesh_xy, sampled = mesh_xy[seen], sampled[seen]
    notes += _presence_notes(found) + _size_notes(float(np.median(interocular(mesh_xy))))
    clip_xy = over_time(mesh_xy, sampled, count)
    to_clip, steady = rigid_motion(
        clip.frames, clip_xy, sampled, found, geometry.eyes_xy, _smoothing_frames(clip)
    )
    if (found & ~steady).any():
        notes.append(
            f"head motion in {_spans(found & ~steady)} was removed by landmarks only (nose bridge not "
            "trackable): motion under about half a pixel is not reliable there."
        )
    in_crop = np.stack([apply(invert(to_clip[t]), xy) for t, xy in zip(sampled, mesh_xy, strict=True)])
    landmarks_xy = over_time(in_crop, sampled, count).astype(np.float32)
    block = block_of(np.median(to_clip, axis=0))
    frames = np.empty((count, geometry.size, geometry.size, 3), dtype=np.uint8)
    for aligned, frame, matrix in zip(frames, clip.frames, to_clip, strict=True):
        aligned[:] = sample(frame, matrix, geometry.size, block)
    return FaceTrack(frames, landmarks_xy, to_clip.astype(np.float32), tuple(notes), found, steady)


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
def _started(task: str, file: str, **options) -> Iterator[Callable]:
    """Start a task of MediaPipe quietly, and give its function of a picture `(H, W, 3)`, uint8.

    A task carries nothing over from one picture to the next. It belongs to one clip and one thread.
    """
    with _quiet_stderr():
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


# --- where the face is --------------------------------------------------------------------------------------


def _detect(detector: Callable, picture: np.ndarray) -> np.ndarray:
    """Return the boxes `(N, 4)` (x0, y0, x1, y1) of the faces in pixels of the picture."""
    found = [detection.bounding_box for detection in detector(picture).detections]
    boxes = [(b.origin_x, b.origin_y, b.origin_x + b.width, b.origin_y + b.height) for b in found]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _detect_in_tiles(detector: Callable, picture: np.ndarray) -> np.ndarray:
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
            _detect(detector, picture[y : y + side, x : x + side]) + np.array([x, y, x, y])
            for y in rows
            for x in columns
        ]
        boxes = _distinct(np.concatenate(tiles))
        if len(boxes):
            return boxes
    return np.empty((0, 4))


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.clip(boxes[..., 2:] - boxes[..., :2], 0, None), axis=-1)


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the share of the smaller box that lies in the other."""
    low, high = np.maximum(box[:2], boxes[..., :2]), np.minimum(box[2:], boxes[..., 2:])
    common = _area(np.concatenate([low, high], axis=-1))
    return common / np.maximum(np.minimum(_area(box), _area(boxes)), 1e-9)


def _distinct(boxes: np.ndarray) -> np.ndarray:
    """Sort boxes by size, and drop those that mostly lie in a larger one."""
    kept: list[np.ndarray] = []
    for box in boxes[np.argsort(-_area(boxes), kind="stable")]:
        if not kept or _overlap(box, np.array(kept)).max() < 0.5:
            kept.append(box)
    return np.array(kept).reshape(-1, 4)


def _find_face(frames: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the box of the largest face, joined over a few frames of the clip, and the number of others."""
    pictures = frames[evenly(len(frames), 5)]
    with _started("FaceDetector", "face_detector.tflite") as detector:
        per_frame = [_distinct(_detect(detector, picture)) for picture in pictures]
        if not any(len(boxes) for boxes in per_frame):
            per_frame = [_detect_in_tiles(detector, picture) for picture in pictures]
    per_frame = [boxes for boxes in per_frame if len(boxes)]
    if not per_frame:
        raise _no_face(frames)
    largest = max((boxes[0] for boxes in per_frame), key=_area)
    same = [boxes[_overlap(largest, boxes).argmax()] for boxes in per_frame]
    same = np.array([box for box in same if _overlap(largest, box) > 0.2])
    other_faces = max(len(boxes) for boxes in per_frame) - 1
    return np.concatenate([same[:, :2].min(0), same[:, 2:].max(0)]), other_faces


def _no_face(frames: np.ndarray) -> FaceError:
    return FaceError(
        f"no face was found in {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}. "
        "Give a clip that shows one face from the front, at least a tenth of the picture high."
    )


def _duration_s(clip: Clip) -> float:
    return float(clip.timestamps_s[-1] - clip.timestamps_s[0])


def _smoothing_frames(clip: Clip) -> int:
    """Return the frames in a tenth of a second: an odd number, at least five."""
    frame_s = _duration_s(clip) / max(len(clip.frames) - 1, 1)
    return max(5, 2 * int(0.05 / frame_s) + 1) if np.isfinite(frame_s) and frame_s > 0 else 5


def _mesh_frames(clip: Clip) -> np.ndarray:
    """Choose the frames on which the mesh runs."""
    duration_s = _duration_s(clip)
    wanted = duration_s * _MESH_RATE_HZ + 1 if np.isfinite(duration_s) else _MESH_FRAMES_WITHOUT_TIMES
    return evenly(len(clip.frames), wanted)


def _mesh_landmarks(frames: np.ndarray, indices: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return landmarks `(K, 478, 2)` in clip pixels, NaN where no face is seen."""
    for widths in (3.0, 2.0, 5.0):  # now and then the mesh misses a face at one size and sees it at another
        landmarks_xy = _mesh_in_window(frames, indices, box, widths)
        if np.isfinite(landmarks_xy).any():
            return landmarks_xy
    raise _no_face(frames)


def _mesh_in_window(frames: np.ndarray, indices: np.ndarray, box: np.ndarray, widths: float) -> np.ndarray:
    """Run the mesh in a window some face widths wide: in a large picture it is several times less steady."""
    side = widths * (box[2:] - box[:2]).max()
    anchor = (box[:2] + box[2:]) / 2
    low = np.clip(np.floor(anchor - side / 2), 0, None).astype(int)
    high = np.ceil(anchor + side / 2).astype(int)
    window = frames[:, low[1] : high[1], low[0] : high[0]]
    scale = np.array(window.shape[2:0:-1])
    shrink = max(1.0, scale.max() / 640)
    size = tuple(round(n / shrink) for n in window.shape[2:0:-1])
    result = np.full((len(indices), 478, 2), np.nan)
    with _started("FaceLandmarker", BUNDLE, num_faces=2) as mesh:
        for k, t in enumerate(indices):
            picture = window[t]
            if shrink > 1:
                picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            faces = mesh(picture).face_landmarks
            faces = [np.array([(p.x, p.y) for p in face]) * scale + low - 0.5 for face in faces]
            if faces:
                result[k] = min(faces, key=lambda xy: np.hypot(*(xy.mean(0) - anchor)))
                anchor = result[k].mean(0)
    return result


# --- what the reader of the result should know --------------------------------------------------------------


def _spans(mask: np.ndarray) -> str:
    """Write the True entries of a mask as `frames 3 to 7 and 12`."""
    parts = [f"{a} to {b - 1}" if b - a > 1 else f"{a}" for a, b in runs(mask)]
    if len(parts) > 4:
        parts = [*parts[:3], f"{len(parts) - 3} more stretches"]
    text = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return ("frames " if mask.sum() > 1 else "frame ") + text


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
