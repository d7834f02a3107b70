"""From aligned faces, or ready-made flow maps, to the mosaic of four facial areas that HTNet looks at.

Onset and apex face -> optical flow and strain -> a 28 x 28 map -> four 14 x 14 areas side by side. The class
defaults do what the original code does with the MEGC2019 composite set, slips included, so that converted
weights see what they were trained on. `mosaic="corrected"` cuts the areas where the landmarks are.
"""

import operator

import numpy as np
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import logging

from .optical_flow import FLOW_METHODS, flow_map, optical_flow, span_to_uint8

logger = logging.get_logger(__name__)

MOSAICS = ("original", "corrected")
NORMALIZATIONS = ("none", "standardize")

# Eyes and mouth corners (x, y) on a map of 28, image-left before image-right: where the original looks when
# it finds no face. The default geometry is theirs: eyes at 0.393 of the height, 0.424 of the width apart.
FALLBACK_CENTERS_XY = (
    (9.528073, 11.062551),
    (21.396168, 10.919773),
    (10.255435, 22.121233),
    (20.583706, 22.25584),
)
FALLBACK_SIZE = 28
DEFAULT_GEOMETRY = {"size": 224, "eye_row": 0.393, "interocular_fraction": 0.424}

# MediaPipe's numbers of the two corners of each eye and of the mouth corners, in the same order.
FACE_MESH_POINTS = ((33, 133), (362, 263), (61, 61), (291, 291))
FIVE_POINTS = (0, 1, 3, 4)  # of eye, eye, nose, mouth corner, mouth corner


class HTNetImageProcessor(BaseImageProcessor):
    r"""Builds HTNet's `pixel_values`.

    Channels are (strain, v, u) in both mosaics: the original reads its (u, v, strain) pictures blue first.

    Args:
        size (`int`, *optional*, defaults to 28): Height and width of the flow map, a multiple of 4.
        flow_method (`str`, *optional*, defaults to `"tvl1"`): `"tvl1"`, as the original's maps, or `"dis"`,
            about thirty times quicker.
        mosaic (`str`, *optional*, defaults to `"original"`): How landmarks become areas. The original takes a
            landmark's x for the row and its y for the column; `"corrected"` takes y for the row and x for the
            column. Cells in both: image-left eye, image-right eye / image-left, image-right mouth corner, by
            landmark. (What the original shows there is, for its default landmarks, image-left eye, image-left
            mouth corner / image-right eye, image-right mouth corner.)
        normalization (`str`, *optional*, defaults to `"none"`): `"none"`: each channel of a map spans 0 to
            255. `"standardize"`: each channel of the whole map, before it is cut, minus its median, divided
            by its standard deviation, clipped to -5 and 5; the same for a map and any positive multiple of it
            plus a constant.
        crop_centers_rc (`list` of 4 `[row, column]`, *optional*): Centres of the areas on the map, in the
            order of the cells, used as they stand where a call gives no landmarks. By default the points that
            the original uses when it finds no face, in the sense of `mosaic`.
        face_geometry (`dict`, *optional*): `size` in pixels, `eye_row` and `interocular_fraction` as
            fractions of it: how faces are to be aligned before they come here.
        use_strain (`bool`, *optional*, defaults to `True`): False puts zeros in the strain channel: how a
            set's strain was computed is often not known, and a network may lean on it too much.
        average_frames (`int`, *optional*, defaults to 1): Frames averaged around the onset, and around the
            apex, before flow is computed; fewer at the ends of a clip and where the two would meet.

    Raises:
        ValueError: If an argument has a value that is not listed here.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 (the base class's own form)

    def __init__(
        self,
        size: int = 28,
        flow_method: str = "tvl1",
        mosaic: str = "original",
        normalization: str = "none",
        crop_centers_rc: list[list[float]] | None = None,
        face_geometry: dict | None = None,
        use_strain: bool = True,
        average_frames: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        choices = {
            "flow_method": (flow_method, FLOW_METHODS),
            "mosaic": (mosaic, MOSAICS),
            "normalization": (normalization, NORMALIZATIONS),
        }
        for name, (value, allowed) in choices.items():
            if value not in allowed:
                raise ValueError(f"unknown {name} {value!r}. Choose one of {', '.join(allowed)}.")
        if not isinstance(size, int) or size < 4 or size % 4:
            raise ValueError(f"size must be a positive multiple of 4, got {size!r}.")
        if not isinstance(average_frames, int) or average_frames < 1:
            raise ValueError(f"average_frames must be a whole number of at least 1, got {average_frames!r}.")
        if not isinstance(use_strain, bool):
            raise ValueError(f"use_strain must be true or false, got {use_strain!r}.")
        if crop_centers_rc is not None and np.shape(crop_centers_rc) != (4, 2):
            raise ValueError(
                f"crop_centers_rc must be 4 pairs (row, column), got shape {np.shape(crop_centers_rc)}."
            )
        if face_geometry is not None and not int(face_geometry.get("size", 0)) >= size:
            raise ValueError(f"face_geometry needs a size of at least {size} pixels, got {face_geometry}.")
        self.size = size
        self.flow_method = flow_method
        self.mosaic = mosaic
        self.normalization = normalization
        self.crop_centers_rc = (
            None if crop_centers_rc is None else np.asarray(crop_centers_rc, float).tolist()
        )
        self.face_geometry = dict(DEFAULT_GEOMETRY if face_geometry is None else face_geometry)
        self.use_strain = use_strain
        self.average_frames = average_frames

    def __call__(self, images=None, **kwargs) -> BatchFeature:
        """See `preprocess`."""
        return self.preprocess(images, **kwargs)

    def preprocess(
        self,
        images=None,
        *,
        onset=None,
        apex=None,
        offset=None,
        landmarks_xy=None,
        flow_maps=None,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """One mosaic per clip, or per ready-made map.

        Args:
            images (`np.ndarray` of shape `(T, S, S, 3)`, `list[PIL.Image.Image]` or a list, *optional*):
                Aligned faces, uint8 RGB: a clip, or a list of clips.
            onset (`int` or `list[int]`, *optional*): Frame index per clip; by default the first frame.
            apex (`int` or `list[int]`, *optional*): Frame index per clip, not before the onset; by default
                the middle frame. The same frame as the onset gives a map without motion.
            offset (`int` or `list[int]`, *optional*): Not used by HTNet.
            landmarks_xy (`np.ndarray` of shape `(T, 478, 2)`, `(478, 2)` or `(5, 2)`, or a list, *optional*):
                Landmarks in pixels of the aligned face (for flow maps: of a face of `face_geometry["size"]`),
                in MediaPipe's numbering, or five points (image-left eye, image-right eye, nose, mouth
                corners); a list has one such array, or None, per clip. They place the areas; over several
                frames their mean does.
            flow_maps (`np.ndarray` of shape `(N, size, size, 3)`, *optional*): Instead of `images`: uint8,
                channels (u, v, strain), each spanning 0 to 255.
            return_tensors (`str`, *optional*): `"pt"` for tensors, by default arrays.
            **kwargs: What processors of other architectures take; without effect.

        Returns:
            `BatchFeature`: `pixel_values` `(N, 3, size, size)` float32, channels (strain, v, u).

        Raises:
            ValueError: If an array has another type or shape, or an index lies outside its clip.
        """
        if (images is None) == (flow_maps is None):
            raise ValueError(
                "give either images (aligned faces) or flow_maps (ready-made maps), not both or neither."
            )
        if flow_maps is not None:
            maps, face_sizes = self._check_maps(flow_maps), [self.face_geometry["size"]]
        else:
            clips = _as_clips(images)
            onsets, apexes = _per_clip(onset, len(clips), "onset"), _per_clip(apex, len(clips), "apex")
            made = [self._clip_map(*each) for each in zip(clips, onsets, apexes, strict=True)]
            maps, face_sizes = np.stack([motion for motion, _ in made]), [face_size for _, face_size in made]
        corners = self._corners(landmarks_xy, len(maps), face_sizes)
        if self.normalization == "standardize":
            maps = _standardize(maps)
        if not self.use_strain:
            maps = maps * np.array([1, 1, 0], maps.dtype)
        return BatchFeature({"pixel_values": _cut(maps, corners)}, tensor_type=return_tensors)

    def to_face(self, map, geometry=None, landmarks_xy=None) -> np.ndarray:
        """Take a picture of the mosaic back to the face.

        Each cell goes to the area it was cut from; where areas overlap the mean is taken, where there is none
        it is 0.

        Args:
            map (`np.ndarray` or `torch.Tensor` of shape `(B, h, w)` or `(h, w)`): In mosaic coordinates at
                any resolution, e.g. from `HTNetForVideoClassification.relevance`.
            geometry (`dict` or an object with the attribute `size`, *optional*): Of the aligned faces; by
                default `face_geometry`.
            landmarks_xy (*optional*): The landmarks given when the mosaic was made.

        Returns:
            `np.ndarray` of shape `(B, S, S)`: float32.
        """
        if hasattr(map, "detach"):
            map = map.detach().cpu().float().numpy()
        mosaics = np.asarray(map, dtype=np.float32)
        mosaics = mosaics[None] if mosaics.ndim == 2 else mosaics
        if mosaics.ndim != 3:
            raise ValueError(f"expected a map of shape (B, h, w) or (h, w), got {mosaics.shape}.")
        face_size = _geometry_size(self.face_geometry if geometry is None else geometry)
        corners = self._corners(landmarks_xy, len(mosaics), [face_size])
        corners = np.broadcast_to(corners, (len(mosaics), 4, 2))
        faces = [
            _paste(_resize(m, self.size, Image.NEAREST), c) for m, c in zip(mosaics, corners, strict=True)
        ]
        return np.stack([_resize(face, face_size, Image.BILINEAR) for face in faces])

    def _check_maps(self, flow_maps) -> np.ndarray:
        maps = np.asarray(flow_maps)
        maps = maps[None] if maps.ndim == 3 else maps
        if maps.dtype != np.uint8 or maps.ndim != 4 or maps.shape[1:] != (self.size, self.size, 3):
            raise ValueError(
                f"expected flow_maps of shape (N, {self.size}, {self.size}, 3), uint8, channels "
                f"(u, v, strain), got {maps.dtype} {maps.shape}. Stretch each channel to 0..255 first."
            )
        return maps

    def _clip_map(self, clip, onset: int | None, apex: int | None) -> tuple[np.ndarray, int]:
        """The flow map (size, size, 3) of a clip, and the side of its faces in pixels."""
        frame_count = len(clip)
        if frame_count == 0:
            raise ValueError("expected at least one frame, got an empty clip.")
        onset = 0 if onset is None else onset
        apex = max(onset, frame_count // 2) if apex is None else apex
        for name, index in (("onset", onset), ("apex", apex)):
            if not 0 <= index < frame_count:
                raise ValueError(
                    f"{name} must be a frame of the clip, 0 to {frame_count - 1}, got {index}. "
                    "Indices count from 0."
                )
        if apex < onset:
            raise ValueError(f"the apex must not lie before the onset, got onset={onset} and apex={apex}.")
        if apex == onset:
            logger.warning(f"onset and apex are the same frame, {onset}: the flow map is empty.")
        reach = max(1, min(self.average_frames, apex - onset))  # so that the two windows share no frame
        start, peak = (_mean_frame(clip, index, reach) for index in (onset, apex))
        if start.shape[0] < self.size:
            raise ValueError(f"aligned faces must be at least {self.size} pixels wide, got {start.shape[0]}.")
        motion = flow_map(optical_flow(start, peak, self.flow_method), self.size)
        return (span_to_uint8(motion) if self.normalization == "none" else motion), start.shape[0]

    def _corners(self, landmarks_xy, count: int, face_sizes: list[int]) -> np.ndarray:
        """Upper left corners (row, column) of the areas: (1, 4, 2) for all maps alike, or (count, 4, 2)."""
        if landmarks_xy is None:
            centers = [self._default_centers_rc()]
        else:
            per_clip = _is_per_clip(landmarks_xy)
            if per_clip and len(landmarks_xy) != count:
                raise ValueError(f"expected landmarks_xy for {count} clips, got {len(landmarks_xy)}.")
            points = list(landmarks_xy) if per_clip else [landmarks_xy] * len(face_sizes)
            sizes = face_sizes * len(points) if len(face_sizes) == 1 else face_sizes
            centers = [self._centers_rc(p, s) for p, s in zip(points, sizes, strict=True)]
        quarter = self.size // 4
        centers = np.clip(np.asarray(centers, dtype=np.float64), quarter, 3 * quarter)
        return centers.astype(np.int64) - quarter  # the original cuts off the decimals

    def _default_centers_rc(self) -> np.ndarray:
        if self.crop_centers_rc is not None:
            return np.asarray(self.crop_centers_rc, dtype=np.float64)
        return self._as_rc(np.asarray(FALLBACK_CENTERS_XY) * (self.size / FALLBACK_SIZE))

    def _centers_rc(self, landmarks_xy, face_size: int) -> np.ndarray:
        if landmarks_xy is None:
            return self._default_centers_rc()
        return self._as_rc(_four_points_xy(landmarks_xy) * (self.size / face_size))

    def _as_rc(self, centers_xy: np.ndarray) -> np.ndarray:
        return centers_xy if self.mosaic == "original" else centers_xy[:, ::-1]


def _geometry_size(geometry) -> int:
    return int(geometry["size"] if isinstance(geometry, dict) else geometry.size)


def _is_per_clip(landmarks_xy) -> bool:
    return isinstance(landmarks_xy, list | tuple) and (
        len(landmarks_xy) == 0 or landmarks_xy[0] is None or np.ndim(landmarks_xy[0]) > 1
    )


def _four_points_xy(landmarks_xy) -> np.ndarray:
    """Eyes and mouth corners (4, 2) of face-mesh or five-point landmarks, averaged over frames."""
    points = np.asarray(landmarks_xy, dtype=np.float64)
    if points.ndim not in (2, 3) or points.shape[-1] != 2 or points.shape[-2] not in (5, 468, 478):
        raise ValueError(
            f"expected landmarks_xy of shape (T, 478, 2), (478, 2) or (5, 2), got {points.shape}. "
            "Pass (x, y) in pixels of the aligned face."
        )
    if not np.isfinite(points).all():
        raise ValueError(
            "landmarks_xy holds values that are not finite. Leave out the frames without a face."
        )
    points = points.mean(axis=0) if points.ndim == 3 else points
    if len(points) == 5:
        return points[list(FIVE_POINTS)]
    return points[np.asarray(FACE_MESH_POINTS)].mean(axis=1)


def _as_clips(images) -> list:
    """A list of clips from one clip or several."""
    if not isinstance(images, list | tuple):
        images = np.asarray(images)
        if images.ndim not in (4, 5):
            raise ValueError(
                f"expected one clip (T, S, S, 3) or several, got an array of shape {images.shape}."
            )
        return [images] if images.ndim == 4 else list(images)
    if len(images) == 0:
        raise ValueError("expected at least one frame, got an empty list.")
    is_frame = isinstance(images[0], Image.Image) or np.ndim(images[0]) == 3
    return [images] if is_frame else list(images)


def _per_clip(value, count: int, name: str) -> list[int | None]:
    values = (
        list(value) if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) else [value] * count
    )
    if len(values) != count:
        raise ValueError(f"expected one {name} for each of {count} clips, got {len(values)}.")
    try:
        return [None if v is None else operator.index(v) for v in values]
    except TypeError as error:
        raise ValueError(f"{name} must be a frame index (a whole number), got {value!r}.") from error


def _frame(clip, index: int) -> np.ndarray:
    frame = clip[index]
    frame = np.asarray(frame.convert("RGB") if isinstance(frame, Image.Image) else frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape[0] != frame.shape[1]:
        raise ValueError(
            f"expected aligned faces of shape (S, S, 3), uint8 RGB, got {frame.dtype} {frame.shape} at frame "
            f"{index}. Crop the face of the whole clip with one square box first."
        )
    return frame


def _mean_frame(clip, index: int, frames: int) -> np.ndarray:
    """The mean of `frames` frames around `index`, of fewer at the ends of the clip, as uint8."""
    first, last = max(0, index - (frames - 1) // 2), min(len(clip) - 1, index + frames // 2)
    if first == last:
        return _frame(clip, index)
    window = [_frame(clip, i) for i in range(first, last + 1)]
    shapes = {frame.shape for frame in window}
    if len(shapes) > 1:
        raise ValueError(f"all frames of a clip must have the same size, got {sorted(shapes)}.")
    return np.round(np.mean(window, axis=0)).astype(np.uint8)


def _standardize(maps: np.ndarray) -> np.ndarray:
    """Median 0 and deviation 1 in each channel of each map, within -5 and 5; a constant channel becomes 0."""
    centred = maps - np.median(maps, axis=(1, 2), keepdims=True).astype(np.float32)
    pixels = maps.shape[1] * maps.shape[2]
    mean = np.einsum("nhwc->nc", centred) / pixels
    variance = np.einsum("nhwc,nhwc->nc", centred, centred) / pixels - mean**2
    deviation = np.sqrt(np.maximum(variance, 0))[:, None, None]
    centred /= np.where(deviation > 0, deviation, 1)
    return np.clip(centred, -5, 5, out=centred)


def _cells(size: int) -> list[tuple[slice, slice]]:
    half = size // 2
    return [(slice(r, r + half), slice(c, c + half)) for r in (0, half) for c in (0, half)]


def _areas(corners: np.ndarray, size: int) -> list[tuple[slice, slice]]:
    return [(slice(r, r + size // 2), slice(c, c + size // 2)) for r, c in corners.tolist()]


def _cut(maps: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(N, size, size, (u, v, strain)) -> mosaics (N, (strain, v, u), size, size)."""
    count, size = maps.shape[:2]
    planes = maps[..., ::-1].transpose(0, 3, 1, 2)
    mosaics = np.empty((count, 3, size, size), dtype=np.float32)
    which = [slice(None)] if len(corners) == 1 else [slice(i, i + 1) for i in range(count)]
    for each, corner in zip(which, corners, strict=True):
        for cell, area in zip(_cells(size), _areas(corner, size), strict=True):
            mosaics[(each, slice(None), *cell)] = planes[(each, slice(None), *area)]
    return mosaics


def _paste(mosaic: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The four cells of a mosaic back in their places; the mean where they overlap."""
    total, count = np.zeros_like(mosaic), np.zeros_like(mosaic)
    for cell, area in zip(_cells(len(mosaic)), _areas(corners, len(mosaic)), strict=True):
        total[area] += mosaic[cell]
        count[area] += 1
    return total / np.maximum(count, 1)


def _resize(plane: np.ndarray, size: int, resample: int) -> np.ndarray:
    if plane.shape == (size, size):
        return plane
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((size, size), resample))


__all__ = ["HTNetImageProcessor"]
