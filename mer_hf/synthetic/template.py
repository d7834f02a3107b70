"""The neutral face on which synthetic motion is drawn.

It is the face mesh's 468 vertices: frontal, symmetric, mouth closed. The table was measured, not drawn:
MediaPipe's face mesh on a public-domain NASA portrait, turned to the front, made symmetric and with the mouth
closed. Unit: the interocular distance; origin: the point between the eye centres; x grows to the right of the
picture, y downwards, z away from the camera.
"""

from functools import lru_cache
from importlib import resources

import cv2
import numpy as np
from matplotlib.tri import Triangulation

FACE_OUTLINE = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
FEATURE_LINES: dict[str, tuple[int, ...]] = {
    "image_left_brow": (70, 63, 105, 66, 107),
    "image_right_brow": (300, 293, 334, 296, 336),
    "image_left_lids": (33, 160, 159, 158, 133, 153, 145, 144, 33),
    "image_right_lids": (263, 387, 386, 385, 362, 380, 374, 373, 263),
    "nostrils": (129, 98, 97, 2, 326, 327, 358),
    "lips": (61, 40, 37, 0, 267, 270, 291, 405, 314, 17, 84, 181, 61),
    "lip_line": (61, 13, 291),
    "image_left_fold": (129, 206, 216, 212),
    "image_right_fold": (358, 426, 436, 432),
}
"""Where a face has contrast, as polylines of vertices: what optical flow can hold on to."""


@lru_cache(maxsize=1)
def face_template() -> tuple[np.ndarray, np.ndarray]:
    """Return the neutral mesh `(468, 3)` and the index of each vertex's mirror image; both are read-only."""
    path = resources.files("mer_hf.synthetic") / "face_template.npz"
    with path.open("rb") as file, np.load(file) as data:
        vertices, mirror = data["vertices_xyz"].astype(np.float64), data["mirror"].astype(np.int64)
    vertices.setflags(write=False)
    mirror.setflags(write=False)
    return vertices, mirror


Operator = tuple[np.ndarray, np.ndarray]
"""Vertex indices int64 and their weights, both `(H, W, 3)`: they carry values from vertices to a raster."""


def interpolation_operator(
    points_xy: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[Operator, np.ndarray]:
    """Return what carries values from vertices `(V, 2)` to a raster, linear in each triangle.

    Weights are 0 outside the mesh; also return where the raster lies inside, `(H, W)`.
    """
    query = np.stack(np.meshgrid(x, y), axis=-1)
    mesh = Triangulation(*points_xy.T)  # scipy's Delaunay calls LAPACK for every triangle: ten times the time
    triangle = mesh.get_trifinder()(query[..., 0], query[..., 1])
    inside = triangle >= 0
    index = mesh.triangles[triangle].astype(np.int64)
    # The share of a corner is the area of the triangle between the point and the other two.
    corners = points_xy[index] - query[..., None, :]  # (H, W, 3, 2)
    following, last = np.roll(corners, -1, axis=-2), np.roll(corners, -2, axis=-2)
    weights = following[..., 0] * last[..., 1] - following[..., 1] * last[..., 0]
    weights /= weights.sum(axis=-1, keepdims=True)
    weights[~inside] = 0.0
    return (index, weights), inside


def spread_operator(points_xy: np.ndarray, x: np.ndarray, y: np.ndarray) -> Operator:
    """Return what carries motion of the vertices to a raster; it fades to zero around the face."""
    hull = cv2.convexHull(points_xy.astype(np.float32))[:, 0]
    ring = points_xy.mean(axis=0) + 1.3 * (hull - points_xy.mean(axis=0))
    (index, weight), _ = interpolation_operator(np.concatenate([points_xy, ring]), x, y)
    weight = np.where(index < len(points_xy), weight, 0.0)  # the ring stands still
    return np.minimum(index, len(points_xy) - 1), weight


def carry(values: np.ndarray, operator: Operator) -> np.ndarray:
    """Carry values of vertices `(V, C)` to a raster, float32 `(H, W, C)`."""
    index, weight = operator
    return (values[index] * weight[..., None]).sum(axis=-2).astype(np.float32)
