"""Names of the points of MediaPipe's face mesh; left and right are the person's own."""

from typing import NamedTuple

import numpy as np

RIGHT_EYE, LEFT_EYE = (33, 133), (263, 362)
"""Outer and inner corner of each eye. Gaze leaves them still."""
NOSE_TIP = (1, 4)
RIGHT_LIDS, LEFT_LIDS = ((160, 159, 158), (144, 145, 153)), ((387, 386, 385), (373, 374, 380))
"""Three points on the upper lid of each eye, and those below them on the lower lid."""
RIGID = (6, 197, 195, 5, 4, 1, 45, 275, 198, 420, 174, 399, 112, 341)
"""Nose bridge to tip, and below the inner eye corners, where skin is tight on bone. They end under the root
of the nose, which brows pull at."""


class Region(NamedTuple):
    """A patch of skin, and how the estimate of action units averages motion in it.

    Attributes:
        right (`tuple[int, ...]`): Points whose mean is its centre, on the person's right or the midline.
        left (`tuple[int, ...]`): Their mirror images; empty on the midline.
        reach (`float`): Standard deviation of its Gaussian window, in interocular distances.
        noise (`float`): Motion that action units leave unexplained in it, in thousandths of the interocular
            distance. The fit trusts a noisier region less.
    """

    right: tuple[int, ...]
    left: tuple[int, ...]
    reach: float
    noise: float


REGIONS: dict[str, Region] = {
    "forehead, inner": Region((108,), (337,), 0.08, 2.2),
    "forehead, outer": Region((104,), (333,), 0.08, 1.7),
    "brow, inner": Region((107, 55), (336, 285), 0.06, 1.5),
    "brow, middle": Region((105, 52), (334, 282), 0.06, 1.7),
    "brow, outer": Region((70, 46), (300, 276), 0.06, 1.5),
    "between the brows": Region((9,), (), 0.06, 1.7),
    "root of the nose": Region((193,), (417,), 0.05, 1.7),
    "fold of the upper lid": Region((223,), (443,), 0.05, 2.3),
    "upper lid": Region((159,), (386,), 0.04, 2.6),
    "lower lid": Region((145,), (374,), 0.04, 1.8),
    "outer eye corner": Region((226,), (446,), 0.05, 1.7),
    "below the eye": Region((118, 119), (347, 348), 0.06, 1.9),
    "cheek": Region((50,), (280,), 0.08, 1.9),
    "cheek, lower": Region((205,), (425,), 0.08, 2.0),
    "nose wing": Region((129,), (358,), 0.06, 1.5),
    "nose-lip fold": Region((206,), (426,), 0.06, 2.1),
    "upper lip, side": Region((39, 40), (269, 270), 0.05, 2.6),
    "upper lip": Region((0, 37, 267), (), 0.05, 2.7),
    "mouth corner": Region((61,), (291,), 0.05, 2.7),
    "beside the corner": Region((212,), (432,), 0.06, 2.1),
    "below the corner": Region((202,), (422,), 0.06, 2.1),
    "lower lip, side": Region((91, 181), (321, 405), 0.05, 2.9),
    "lower lip": Region((17, 84, 314), (), 0.05, 2.9),
    "below the lip": Region((18,), (), 0.07, 2.3),
    "chin": Region((200, 199), (), 0.09, 2.2),
    "bridge of the nose": Region((6, 197), (), 0.05, 1.9),
    "back of the nose": Region((195, 5), (), 0.05, 1.5),
    "inner eye corner": Region((174, 122), (399, 351), 0.05, 1.7),
    "flank of the nose": Region((198,), (420,), 0.05, 1.8),
}
"""Name -> region. In the last four skin is tight on bone: they move with the head, and with AU9."""


def eye_centres(landmarks_xy: np.ndarray) -> np.ndarray:
    """Return the points midway between the corners of each eye, `(..., 2, 2)`, the right eye first."""
    return np.stack([landmarks_xy[..., list(eye), :].mean(-2) for eye in (RIGHT_EYE, LEFT_EYE)], axis=-2)


def interocular(landmarks_xy: np.ndarray) -> np.ndarray:
    """Return the distance between the eye centres of landmarks `(..., N, 2)`."""
    eyes = eye_centres(landmarks_xy)
    return np.hypot(*np.moveaxis(eyes[..., 1, :] - eyes[..., 0, :], -1, 0))
