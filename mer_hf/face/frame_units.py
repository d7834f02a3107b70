"""Action units of every frame of a clip, against the same face at rest."""

from collections.abc import Iterator

import numpy as np

from .action_units import Intensities, estimate_action_units
from .spotting import Phases, unusable
from .tracking import FaceTrack


def units_of_frames(track: FaceTrack, phases: Phases) -> Iterator[Intensities | None]:
    """Yield the action units of each frame; None where there is no usable face.

    At rest is the onset, or the frame that moved least where nothing was spotted.
    """
    rest = int(phases.curve.argmin()) if phases.onset is None else phases.onset
    for picture, lost in zip(track.frames, unusable(track), strict=True):
        pair = np.stack([track.frames[rest], picture])
        yield None if lost else estimate_action_units(pair, 0, 1, track.landmarks_xy)
