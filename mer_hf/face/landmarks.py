"""Names of the points of MediaPipe's face mesh; left and right are the person's own."""

import numpy as np

RIGHT_EYE, LEFT_EYE = (33, 133), (263, 362)
"""Outer and inner corner of each eye. Gaze leaves them still."""
NOSE_TIP = (1, 4)
RIGHT_LIDS, LEFT_LIDS = ((160, 159, 158), (144, 145, 153)), ((387, 386, 385), (373, 374, 380))
"""Three points on the upper lid of each eye, and those below them on the lower lid."""
RIGID = (6, 197, 195, 5, 4, 1, 45, 275, 198, 420, 174, 399, 112, 341)
"""Nose bridge to tip, and below the inner eye corners, where skin is tight on bone. They end under the root
of the nose, which brows pull at."""


def eye_centres(landmarks_xy: np.ndarray) -> np.ndarray:
    """Return the points midway between the corners of each eye, `(..., 2, 2)`, the right eye first."""
    return np.stack([landmarks_xy[..., list(eye), :].mean(-2) for eye in (RIGHT_EYE, LEFT_EYE)], axis=-2)


def interocular(landmarks_xy: np.ndarray) -> np.ndarray:
    """Return the distance between the eye centres of landmarks `(..., N, 2)`."""
    eyes = eye_centres(landmarks_xy)
    return np.hypot(*np.moveaxis(eyes[..., 1, :] - eyes[..., 0, :], -1, 0))
