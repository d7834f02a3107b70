"""Action units of every frame of a clip, against the same face at rest."""

from collections.abc import Iterator

import numpy as np

from .action_units import Intensities, estimate_action_units
from .spotting import Phases, unusable
from .tracking import FaceTrack


def units_of_frames(track: FaceTrack, phases: Phases) -> Iterator[Intensities | None]:
    """Yield the action units of each frame; None where there is no usable face."""
    without = unusable(track)
    rest = track.frames[_rest(phases, without)]
    for picture, lost in zip(track.frames, without, strict=True):
        pair = np.stack([rest, picture])
        yield None if lost else estimate_action_units(pair, 0, 1, track.landmarks_xy)


def _rest(phases: Phases, lost: np.ndarray) -> int:
    """Return the frame at rest: the onset or, where a movement may have begun before, the calmest frame."""
    if phases.onset is not None and (phases.onset > 0 or phases.source == "given"):
        return phases.onset
    moving = lost.copy()
    for onset, _, offset in phases.candidates:
        moving[onset + (onset > 0) : offset] = True
    return int(np.where(moving & ~moving.all(), np.inf, phases.curve).argmin())
