"""The neutral face on which synthetic motion is drawn.

It is the face mesh's 468 vertices: frontal, symmetric, mouth closed. The table was measured, not drawn:
MediaPipe's face mesh on a public-domain NASA portrait, turned to the front, made symmetric and with the mouth
closed. Unit: the interocular distance; origin: the point between the eye centres; x grows to the right of the
picture, y downwards, z away from the camera.
"""

from functools import lru_cache
from importlib import resources

import numpy as np
from scipy.spatial import Delaunay

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


def interpolation_operator(
    points_xy: np.ndarray, query_xy: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights that carry values from vertices `(V, 2)` to points `(Q, 2)`, linear in each triangle.

    Returns:
        `tuple`: vertex indices int64 `(Q, 3)`, weights float64 `(Q, 3)` (all 0 outside the mesh), inside bool
        `(Q,)`.
    """
    mesh = Delaunay(points_xy)
    triangle = mesh.find_simplex(query_xy)
    inside = triangle >= 0
    transform = mesh.transform[triangle]  # (Q, 3, 2)
    first_two = np.einsum("qij,qj->qi", transform[:, :2], query_xy - transform[:, 2])
    weights = np.concatenate([first_two, 1.0 - first_two.sum(axis=1, keepdims=True)], axis=1)
    weights[~inside] = 0.0
    return mesh.simplices[triangle].astype(np.int64), weights, inside
