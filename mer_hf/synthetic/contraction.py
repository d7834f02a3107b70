"""A second model of how action units move the skin: muscles that shorten towards where they are fixed.

`muscles.py` says where the skin moves and in which direction; here it follows from anatomy, after Waters, "A
muscle model for animating three-dimensional facial expression" (1987). A linear muscle draws the skin of a
sector towards its origin, most at its insertion; a ring muscle draws an ellipse towards its centre. A network
trained on one model can be tested on the other.
"""

from typing import NamedTuple

import numpy as np

from .template import face_template


class Strand(NamedTuple):
    """A linear muscle on the image-left half.

    Attributes:
        origin (`int`): Vertex where it is fixed.
        vertex (`int`): Of the skin that it pulls.
        width_deg (`float`): Half the angle of the sector that moves with it.
        share (`float`): Of the action unit's strength.
    """

    origin: int
    vertex: int
    width_deg: float
    share: float = 1.0

    def field(self, points: np.ndarray, vary: np.ndarray) -> np.ndarray:
        """Return how it moves the vertices, `(468, 2)`."""
        origin = points[self.origin] + 0.15 * vary[:2]
        insertion = points[self.vertex] + 0.1 * vary[2:4]
        axis = insertion - origin
        length = np.linalg.norm(axis)
        offset = points - origin
        distance = np.linalg.norm(offset, axis=1)
        cosine = offset @ axis / (length * distance + 1e-9)
        angle = np.arccos(np.clip(cosine, -1, 1)) / np.deg2rad(min(self.width_deg * np.exp(vary[4]), 85))
        along = distance / length
        # Beyond this the skin behind the insertion stands still.
        beyond = 1 + max(0.35, 0.18 / length) * np.exp(vary[5])
        fall = np.cos(np.pi / 2 * (along - 1) / (beyond - 1))
        strength = np.where(along < 1, np.sin(np.pi / 2 * along), fall)
        strength = strength * np.cos(np.pi / 2 * np.minimum(angle, 1))
        strength = np.where((along < beyond) & (angle < 1), strength, 0)
        return -self.share * strength[:, None] * offset / (distance[:, None] + 1e-9)


class Ring(NamedTuple):
    """A ring muscle on the image-left half, or around the midline.

    Attributes:
        vertex (`int`): What it closes around.
        width (`float`): Half its horizontal extent, in interocular distances.
        height (`float`): Half its vertical extent.
        horizontal (`float`): Share of the horizontal motion.
        vertical (`float`): Share of the vertical motion.
    """

    vertex: int
    width: float
    height: float
    horizontal: float
    vertical: float

    def field(self, points: np.ndarray, vary: np.ndarray) -> np.ndarray:
        """Return how it moves the vertices, `(468, 2)`."""
        size = np.array([self.width, self.height]) * np.exp(vary[:2])
        offset = (points - points[self.vertex] - 0.1 * vary[2:4]) / size
        distance = np.linalg.norm(offset, axis=1)
        strength = np.where(distance < 1, np.sin(np.pi * np.minimum(distance, 1)), 0)
        direction = offset / (distance[:, None] + 1e-9)
        return -strength[:, None] * direction * (self.horizontal, self.vertical)


ACTIONS: dict[str, tuple[Strand | Ring, ...]] = {
    "AU1": (Strand(109, 107, 45), Strand(108, 55, 50, 0.5)),
    "AU2": (Strand(103, 105, 45), Strand(54, 70, 40, 0.9)),
    "AU4": (Strand(168, 105, 35, 0.7), Strand(193, 107, 55), Strand(6, 9, 35, 0.6)),
    "AU5": (Strand(223, 159, 70),),
    "AU6": (Strand(145, 117, 55), Strand(33, 116, 40, 0.5), Strand(33, 143, 45, 0.4)),
    "AU7": (Ring(159, 0.36, 0.32, 0.35, 1.0),),
    "AU9": (Strand(193, 129, 35), Strand(193, 39, 25, 0.6), Strand(168, 107, 35, 0.5), Strand(6, 9, 35, 0.4)),
    "AU10": (Strand(101, 39, 30), Strand(118, 40, 30, 0.5)),
    "AU12": (Strand(116, 61, 25), Strand(117, 40, 22, 0.4), Strand(127, 117, 40, 0.5)),
    "AU14": (Strand(147, 61, 35), Strand(61, 212, 50, 0.5)),
    "AU15": (Strand(136, 61, 30),),
    "AU16": (Strand(176, 91, 30), Strand(148, 84, 40, 0.8)),
    "AU17": (Strand(17, 199, 55), Strand(0, 17, 50, 0.6)),
    "AU18": (Ring(13, 0.75, 0.26, 1.0, 0.15),),
    "AU20": (Strand(58, 61, 28), Strand(172, 202, 30, 0.5)),
    "AU23": (Ring(13, 0.70, 0.22, 0.8, 0.6),),
    "AU24": (Ring(13, 0.36, 0.24, 0.15, 1.0), Strand(17, 199, 45, 0.4)),
    "AU25": (Strand(199, 17, 60), Strand(2, 0, 50, 0.35)),
}
"""AU -> muscles; the jaw (AU26), the lips' roll (AU28) and the blink are left to `muscles.py`."""


def contraction_field(
    actions: tuple[Strand | Ring, ...], rng=None, spread: float = 0.0, reach: float = 1.0
) -> np.ndarray:
    """Return the image-left half of one action unit, `(468, 2)`, like `muscles.side_field`.

    `spread` (log) is the size of a person's own variation, drawn from `rng`; `reach` is relative.
    """
    vertices, mirror = face_template()
    points = vertices[:, :2]
    while True:
        field = np.zeros_like(points)
        for action in actions:
            vary = np.zeros(6) if rng is None else spread * rng.standard_normal(6)
            vary[4:] += np.log(reach)
            on_midline = abs(points[action.vertex, 0]) < 1e-3
            field += action.field(points, vary) * (0.5 if on_midline else 1.0)
        peak = np.linalg.norm(field + field[mirror] * (-1.0, 1.0), axis=1).max()
        if peak > 0:  # a muscle drawn so narrow that no vertex lies in it is drawn again
            return field / peak
