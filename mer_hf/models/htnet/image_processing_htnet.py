"""From aligned faces, or ready-made flow maps, to the mosaic of four facial areas that HTNet sees.

Onset and apex face -> optical flow and strain -> a 28 x 28 map -> four 14 x 14 areas side by side. The class
defaults do what the original code does with the MEGC2019 composite set, mistakes included, so that converted
weights see what they were trained on. `mosaic="corrected"` cuts the areas where the landmarks are.
"""

import numpy as np
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from .face_frames import (
    aligned_face,
    as_maps,
    clips_with_phases,
    face_side,
    onset_and_apex,
    refuse_unknown,
    resize,
)
from .optical_flow import FLOW_METHODS, flow_map, optical_flow, span_to_uint8

CHOICES = {
    "flow_method": FLOW_METHODS,
    "mosaic": ("original", "corrected"),
    "normalization": ("none", "standardize"),
}

# Eyes and mouth corners (x, y) on a map of 28, image-left before image-right: where the original looks when
# it finds no face. The default geometry is theirs: eyes at 0.393 of the height, 0.424 of the width apart.
FALLBACK_SIZE = 28
EYES_XY = [(9.528073, 11.062551), (21.396168, 10.919773)]
MOUTH_CORNERS_XY = [(10.255435, 22.121233), (20.583706, 22.25584)]
DEFAULT_GEOMETRY = {"size": 224, "eye_row": 0.393, "interocular_fraction": 0.424}

# MediaPipe's numbers of the two corners of each eye and of the mouth corners, in the same order.
FACE_MESH_POINTS = np.array([(33, 133), (362, 263), (61, 61), (291, 291)])
FIVE_POINTS = [0, 1, 3, 4]  # of eye, eye, nose, mouth corner, mouth corner


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
            landmark. (With its default landmarks the original shows image-left eye, image-left mouth corner /
            image-right eye, image-right mouth corner.)
        normalization (`str`, *optional*, defaults to `"none"`): `"none"`: each channel of a map spans 0 to
            255. `"standardize"`: each channel of the whole map, before it is cut, minus its median, divided
            by its standard deviation, clipped to -5 and 5. This does not depend on a channel's scale and
            offset.
        crop_centers_rc (`list` of 4 `[row, column]`, *optional*): Centres of the areas on the map, in the
            order of the cells, used where a call gives no landmarks, in both mosaics alike. By default the
            points that the original uses when it finds no face, read as `mosaic` says.
        face_geometry (`dict`, *optional*): How faces must be aligned before they come here: `size` in pixels,
            `eye_row` and `interocular_fraction` as fractions of it.
        use_strain (`bool`, *optional*, defaults to `True`): False puts zeros in the strain channel: how a
            dataset's strain was computed is often unknown, and a network may rely on it too much.
        average_frames (`int`, *optional*, defaults to 1): Frames averaged around the onset, and around the
            apex, before flow is computed; fewer at the ends of a clip and where the two would meet.

    Raises:
        ValueError: If an argument has a value that is not listed here.
    """

    model_input_names = ("pixel_values",)

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
        self.size, self.use_strain, self.average_frames = size, use_strain, average_frames
        self.flow_method, self.mosaic, self.normalization = flow_method, mosaic, normalization
        self.face_geometry = dict(face_geometry or DEFAULT_GEOMETRY)
        self.crop_centers_rc = crop_centers_rc
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"unknown {name} {value!r}. Choose one of {', '.join(allowed)}.")
        if not isinstance(size, int) or size < 4 or size % 4:
            raise ValueError(f"size must be a positive multiple of 4, got {size!r}.")
        if crop_centers_rc is not None and np.shape(crop_centers_rc) != (4, 2):
            raise ValueError(
                f"crop_centers_rc must be 4 pairs (row, column), got shape {np.shape(crop_centers_rc)}."
            )

    def __call__(self, images=None, **kwargs) -> BatchFeature:
        """Call `preprocess`."""
        return self.preprocess(images, **kwargs)

    def preprocess(
        self,
        images=None,
        *,
        onset=None,
        apex=None,
        offset=None,
        landmarks_xy=None,
        action_units=None,
        flow_maps=None,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """Build one mosaic per clip, or per ready-made map.

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
            action_units (*optional*): Not used by HTNet.
            flow_maps (`np.ndarray` of shape `(N, size, size, 3)`, *optional*): Instead of `images`: uint8,
                channels (u, v, strain), each spanning 0 to 255.
            return_tensors (`str`, *optional*): `"pt"` for tensors, by default arrays.
            **kwargs: Refused by name.

        Returns:
            `BatchFeature`: `pixel_values` `(N, 3, size, size)` float32, channels (strain, v, u).

        Raises:
            TypeError: If an argument is unknown.
            ValueError: If an array has another type or shape, or an index lies outside its clip.
        """
        refuse_unknown(self.preprocess, kwargs)
        if (images is None) == (flow_maps is None):
            raise ValueError(
                "give either images (aligned faces) or flow_maps (ready-made maps), not both or neither."
            )
        if flow_maps is not None:
            maps = self._check_maps(flow_maps)
            face_sides = [self.face_geometry["size"]] * len(maps)
        else:
            pairs = [self._pair(*clip) for clip in clips_with_phases(images, onset=onset, apex=apex)]
            maps = np.stack([self._map(*pair) for pair in pairs])
            face_sides = [len(onset_face) for onset_face, _ in pairs]
        rows, columns = _sources(self._corners(landmarks_xy, face_sides), self.size)
        if self.normalization == "standardize":
            maps = _standardize(maps)
        if not self.use_strain:
            maps = maps * np.array([1, 1, 0], maps.dtype)
        mosaics = maps[np.arange(len(maps))[:, None, None], rows, columns, ::-1].transpose(0, 3, 1, 2)
        pixel_values = np.ascontiguousarray(mosaics, dtype=np.float32)
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)

    def to_face(self, heatmap, geometry=None, landmarks_xy=None) -> np.ndarray:
        """Take maps of the mosaic back to the face.

        Each cell goes to the area it was cut from. Where areas overlap, their mean is taken; outside of them
        the result is 0.

        Args:
            heatmap (`np.ndarray` or `torch.Tensor` of shape `(B, h, w)` or `(h, w)`): In mosaic coordinates
                at any resolution, such as from `HTNetForVideoClassification.relevance`.
            geometry (`dict` or an object with the attribute `size`, *optional*): Of the aligned faces; by
                default `face_geometry`.
            landmarks_xy (*optional*): The landmarks given when the mosaic was made.

        Returns:
            `np.ndarray` of shape `(B, S, S)`: float32.
        """
        mosaics, side = as_maps(heatmap), face_side(geometry or self.face_geometry)
        if mosaics.ndim != 3:
            raise ValueError(f"expected a heatmap of shape (B, h, w) or (h, w), got {mosaics.shape}.")
        places = zip(*_sources(self._corners(landmarks_xy, [side] * len(mosaics)), self.size), strict=True)
        faces = []
        for mosaic, place in zip(mosaics, places, strict=True):
            total, count = np.zeros((2, self.size, self.size), np.float32)
            np.add.at(total, place, resize(mosaic, self.size, Image.NEAREST))
            np.add.at(count, place, 1)
            faces.append(resize(total / np.maximum(count, 1), side))
        return np.stack(faces)

    def _check_maps(self, flow_maps) -> np.ndarray:
        maps = np.asarray(flow_maps)
        maps = maps[None] if maps.ndim == 3 else maps
        if maps.dtype != np.uint8 or maps.ndim != 4 or maps.shape[1:] != (self.size, self.size, 3):
            raise ValueError(
                f"expected flow_maps of shape (N, {self.size}, {self.size}, 3), uint8, channels "
                f"(u, v, strain), got {maps.dtype} {maps.shape}. Stretch each channel to 0..255 first."
            )
        return maps

    def _pair(self, clip, onset: int | None, apex: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the faces at onset and apex, averaged over their neighbours."""
        onset, apex = onset_and_apex(clip, onset, apex)
        reach = max(1, min(self.average_frames, apex - onset))  # so that the two windows share no frame
        pair = _mean_frame(clip, onset, reach), _mean_frame(clip, apex, reach)
        if len(pair[0]) < self.size:
            raise ValueError(f"aligned faces must be at least {self.size} pixels wide, got {len(pair[0])}.")
        return pair

    def _map(self, onset: np.ndarray, apex: np.ndarray) -> np.ndarray:
        """Return the flow map `(size, size, 3)` between two faces."""
        motion = flow_map(optical_flow(onset, apex, self.flow_method), self.size)
        return span_to_uint8(motion) if self.normalization == "none" else motion

    def _corners(self, landmarks_xy, face_sides: list[int]) -> np.ndarray:
        """Return the upper left corners (row, column) of each map's areas, `(N, 4, 2)`."""
        listed = isinstance(landmarks_xy, list | tuple) and (
            len(landmarks_xy) == 0 or landmarks_xy[0] is None or np.ndim(landmarks_xy[0]) > 1
        )
        if listed and len(landmarks_xy) != len(face_sides):
            raise ValueError(f"expected landmarks_xy for {len(face_sides)} clips, got {len(landmarks_xy)}.")
        points = landmarks_xy if listed else [landmarks_xy] * len(face_sides)
        centers = np.array([self._centers_rc(*each) for each in zip(points, face_sides, strict=True)])
        quarter = self.size // 4
        # The original cuts off the decimals.
        return np.clip(centers, quarter, 3 * quarter).astype(np.int64) - quarter

    def _centers_rc(self, landmarks_xy, face_side: int) -> np.ndarray:
        """Return the centres (row, column) of the four areas on the map, `(4, 2)`."""
        if landmarks_xy is not None:
            centers_xy = _four_points_xy(landmarks_xy) * (self.size / face_side)
        elif self.crop_centers_rc is not None:
            return np.array(self.crop_centers_rc, dtype=float)
        else:
            centers_xy = np.array(EYES_XY + MOUTH_CORNERS_XY) * (self.size / FALLBACK_SIZE)
        return centers_xy if self.mosaic == "original" else centers_xy[:, ::-1]


def _four_points_xy(landmarks_xy) -> np.ndarray:
    """Return eyes and mouth corners `(4, 2)` of face-mesh or five-point landmarks, averaged over frames."""
    points = np.asarray(landmarks_xy, dtype=np.float64)
    if points.ndim not in (2, 3) or points.shape[-1] != 2 or points.shape[-2] not in (5, 468, 478):
        raise ValueError(
            f"expected landmarks_xy of shape (T, 478, 2), (478, 2) or (5, 2), got {points.shape}. "
            "Pass (x, y) in pixels of the aligned face."
        )
    if not np.isfinite(points).all():
        raise ValueError("landmarks_xy holds values that are not finite. Remove the frames without a face.")
    points = points.mean(axis=0) if points.ndim == 3 else points
    return points[FIVE_POINTS] if len(points) == 5 else points[FACE_MESH_POINTS].mean(axis=1)


def _mean_frame(clip, index: int, frames: int) -> np.ndarray:
    """Return the mean of `frames` frames around `index`, of fewer at the ends of the clip, as uint8."""
    first, last = max(0, index - (frames - 1) // 2), min(len(clip) - 1, index + frames // 2)
    window = [aligned_face(clip, i) for i in range(first, last + 1)]
    if len({frame.shape for frame in window}) > 1:
        raise ValueError("all frames of a clip must have the same size.")
    return np.round(np.mean(window, axis=0)).astype(np.uint8)


def _standardize(maps: np.ndarray) -> np.ndarray:
    """Give each channel of each map median 0 and deviation 1, within -5 and 5; a constant one becomes 0."""
    centred = maps - np.median(maps, axis=(1, 2), keepdims=True).astype(np.float32)
    pixels = maps.shape[1] * maps.shape[2]
    mean = np.einsum("nhwc->nc", centred) / pixels
    variance = np.einsum("nhwc,nhwc->nc", centred, centred) / pixels - mean**2
    deviation = np.sqrt(np.maximum(variance, 0))[:, None, None]
    return np.clip(centred / np.where(deviation > 0, deviation, 1), -5, 5)


def _sources(corners: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column on the map of every pixel of the mosaic, each `(N, size, size)`."""
    half, place = size // 2, np.arange(size)
    cell = 2 * (place >= half)[:, None] + (place >= half)
    return corners[:, cell, 0] + (place % half)[:, None], corners[:, cell, 1] + place % half


__all__ = ["HTNetImageProcessor"]
