"""Say how each action unit moves the skin: AU -> displacement of the face mesh's vertices.

An AU is a few pulls. A pull moves the skin around a vertex in one direction and fades as a Gaussian, as skin
does around the insertion of a muscle (after the descriptions of the Facial Action Coding System and of
Waters, "A muscle model for animating three-dimensional facial expression", 1987). Only the person's right
side (the left of the picture) is written down; the other is its mirror image.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .expressions import Activations
from .template import face_template

Basis = dict[str, np.ndarray]
"""AU -> image-left half of its motion on a mesh, `(468, 2)`."""


class Pull(NamedTuple):
    """Motion of the skin around one vertex.

    Attributes:
        vertex (`int`): Centre, on the image-left half or on the midline.
        lateral (`float`): Share of the motion away from the midline.
        down (`float`): Share of the motion downwards.
        width (`float`): Horizontal standard deviation, in interocular distances.
        height (`float`): Vertical standard deviation, in interocular distances.
    """

    vertex: int
    lateral: float
    down: float
    width: float
    height: float


PULLS: dict[str, tuple[Pull, ...]] = {
    "AU1": (Pull(107, 0, -1, 0.16, 0.16), Pull(108, 0, -0.5, 0.2, 0.2), Pull(55, 0, -0.35, 0.14, 0.1)),
    "AU2": (Pull(105, 0.1, -0.8, 0.18, 0.15), Pull(70, 0.1, -0.8, 0.18, 0.16),
            Pull(104, 0, -0.5, 0.25, 0.2)),
    "AU4": (Pull(107, -0.45, 0.8, 0.2, 0.16), Pull(105, -0.35, 0.5, 0.2, 0.16), Pull(9, 0, 0.5, 0.16, 0.18),
            Pull(223, 0, 0.3, 0.2, 0.08)),
    "AU5": (Pull(159, 0, -1, 0.16, 0.06), Pull(223, 0, -0.35, 0.18, 0.07)),
    "AU6": (Pull(50, 0.05, -0.7, 0.26, 0.2), Pull(117, -0.15, -0.6, 0.2, 0.12),
            Pull(145, 0, -0.3, 0.16, 0.06), Pull(226, -0.5, 0, 0.12, 0.14)),
    "AU7": (Pull(145, -0.25, -0.9, 0.18, 0.07), Pull(159, -0.1, 0.35, 0.16, 0.06),
            Pull(226, -0.3, 0, 0.12, 0.08)),
    "AU9": (Pull(129, 0.15, -0.9, 0.16, 0.16), Pull(193, 0, -0.4, 0.14, 0.16),
            Pull(107, -0.3, 0.45, 0.16, 0.14), Pull(40, 0, -0.5, 0.16, 0.1), Pull(121, 0, -0.4, 0.14, 0.1)),
    "AU10": (Pull(39, 0.05, -0.9, 0.16, 0.12), Pull(206, 0.05, -0.8, 0.14, 0.18),
            Pull(129, 0.2, -0.4, 0.12, 0.12)),
    "AU12": (Pull(61, 0.65, -0.75, 0.18, 0.16), Pull(205, 0.3, -0.55, 0.22, 0.24),
            Pull(50, 0.05, -0.3, 0.26, 0.2), Pull(40, 0.3, -0.25, 0.16, 0.1),
            Pull(91, 0.3, -0.2, 0.16, 0.12), Pull(117, 0.8, 0, 0.16, 0.14)),
    "AU14": (Pull(61, 0.75, 0, 0.13, 0.14), Pull(212, -0.35, -0.1, 0.12, 0.2), Pull(91, 0.3, 0, 0.14, 0.1)),
    "AU15": (Pull(61, 0.1, 1, 0.14, 0.13), Pull(202, 0.1, 0.6, 0.18, 0.2), Pull(91, 0, 0.4, 0.14, 0.1)),
    "AU16": (Pull(17, 0, 0.9, 0.18, 0.09), Pull(91, 0.2, 0.7, 0.16, 0.1), Pull(182, 0.1, 0.5, 0.18, 0.12)),
    "AU17": (Pull(199, 0, -1, 0.3, 0.2), Pull(17, 0, -0.7, 0.24, 0.1), Pull(61, 0.05, 0.15, 0.12, 0.1)),
    "AU18": (Pull(61, -0.85, 0, 0.16, 0.14), Pull(39, -0.3, -0.15, 0.14, 0.08),
            Pull(181, -0.3, 0.2, 0.14, 0.09)),
    "AU20": (Pull(61, 0.95, 0.25, 0.2, 0.18), Pull(202, 0.5, 0.2, 0.22, 0.2), Pull(91, 0.4, 0.1, 0.16, 0.1)),
    "AU23": (Pull(61, -0.6, 0, 0.16, 0.12), Pull(37, -0.1, 0.35, 0.18, 0.06),
            Pull(84, -0.1, -0.35, 0.18, 0.06)),
    "AU24": (Pull(37, 0, 0.7, 0.24, 0.08), Pull(84, 0, -0.8, 0.24, 0.09), Pull(199, 0, -0.3, 0.25, 0.16)),
    "AU25": (Pull(84, 0, 0.9, 0.22, 0.09), Pull(37, 0, -0.35, 0.22, 0.07), Pull(199, 0, 0.3, 0.28, 0.2)),
    "AU26": (Pull(84, 0, 0.9, 0.28, 0.1), Pull(199, 0, 1, 0.45, 0.28), Pull(202, 0, 0.5, 0.25, 0.25)),
    "AU28": (Pull(37, 0, 0.8, 0.24, 0.08), Pull(84, 0, -0.9, 0.24, 0.09), Pull(199, 0, -0.5, 0.3, 0.2),
            Pull(61, -0.25, 0, 0.12, 0.1)),
    "AU45": (Pull(159, 0, 1, 0.17, 0.06), Pull(223, 0, 0.45, 0.19, 0.06), Pull(145, 0, -0.15, 0.16, 0.05)),
}  # fmt: skip
"""AU -> pulls; the strongest vertex of an AU moves by 1 when its activation is 1."""


@lru_cache(maxsize=1)
def au_basis() -> Basis:
    """Return AU -> image-left half of its motion on the neutral mesh, `(468, 2)`."""
    return {name: side_field(PULLS[name]) for name in PULLS}


def side_field(pulls: tuple[Pull, ...]) -> np.ndarray:
    """Return one side of an AU on the neutral mesh, `(468, 2)`.

    Both sides together have a strongest vertex of 1. Pulls on the midline are halved, so that both sides
    together move it once.
    """
    vertices, mirror = face_template()
    points = vertices[:, :2]
    field = np.zeros_like(points)
    for pull in pulls:
        offset = (points - points[pull.vertex]) / (pull.width, pull.height)
        fade = np.exp(-0.5 * np.square(offset).sum(axis=1))
        on_midline = abs(points[pull.vertex, 0]) < 1e-3
        # Lateral is towards the left of the picture.
        field += fade[:, None] * np.array([-pull.lateral, pull.down]) * (0.5 if on_midline else 1.0)
    both = field + field[mirror] * (-1.0, 1.0)
    return field / np.linalg.norm(both, axis=1).max()


def vertex_displacement(activations: Activations, basis: Basis | None = None) -> np.ndarray:
    """Return the displacement `(468, 2)` of every vertex by several AUs at once.

    Amplitudes and displacements are in interocular distances, x to the right of the picture, y downwards;
    (left, right) are the person's own. `basis` are image-left fields, by default `au_basis()`.
    """
    basis = au_basis() if basis is None else basis
    mirror = face_template()[1]
    total = np.zeros((len(mirror), 2))
    for name, (left, right) in activations.items():
        field = basis[name]
        total += right * field + left * field[mirror] * (-1.0, 1.0)
    return total
