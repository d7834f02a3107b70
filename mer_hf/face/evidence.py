"""Say how much of a movement is facial: what the head, speech and restlessness explain is taken out.

Everything is measured in the clip itself, in pixels at an interocular distance of 60, so that a number means
the same in every recording. More facial motion never makes an expression less likely.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .spotting import IS_LID, IS_MOUTH, REGIONS, Phases

SIZE_PX = 60.0
"""Interocular distance at which motion is given in pixels."""

WEAK = "weak"
"""Name of the reason where nothing explains a movement but it is hardly one."""

_IS_LOWER = IS_MOUTH | np.array(["cheek" in name for name in REGIONS])
_MARGIN_S = 2.0
_SMOOTHING_S = 0.022
_TURN_NOISE_PX = 0.6
"""How far the landmarks of the nose stray while the head holds still."""
_FARTHEST_BEHIND = 0.6
"""No region moves further in a turn of the head than this share of what the tip of the nose does."""
_LID_WEIGHT = 0.5
_JITTER_PX = 0.05
"""Motion to and fro within this is noise of the measurement."""
_BRIEF_S, _SHORT_S = 1.0, 1.0
"""A movement, and a clip, that is shorter leaves a face less time to stray."""
_WITH_BROWS, _SPEECH_LEFT = 1.6, 0.15


class Evidence(NamedTuple):
    """How much of a movement is facial.

    Attributes:
        motion_px (`float`): Motion that nothing else explains, in pixels at an interocular distance of 60.
        size_px (`float`): Motion of the region that moves most, in the same pixels.
        kept (`dict[str, float]`): Reason (`turn`, `speech`, `restless`, `eyes`) -> share of the motion of
            that region that it leaves.
    """

    motion_px: float
    size_px: float
    kept: dict[str, float]

    def reason(self, least_px: float) -> str:
        """Return what mostly makes the motion less than `least_px`; `WEAK` where it is small by itself."""
        name = min(self.kept, key=self.kept.get)
        return name if self.size_px >= least_px and self.kept[name] < 0.75 else WEAK


def facial_motion(phases: Phases, times_s: np.ndarray | None, interocular_px: float) -> Evidence:
    """Measure how much of the movement from onset to offset is facial.

    What is left of a region's motion is lowered by four shares. A head that turns carries the face, and who
    turns it does more. An expression goes there and back: where the way is longer than that, the face is
    restless, and a mouth that does this alone speaks. Lids also move as the eyes do. What a face does without
    meaning to grows with the time it has for it, so that motion counts more in a movement, and in a clip, of
    less than a second.

    Args:
        phases (`Phases`): With an interval.
        times_s (`np.ndarray` of shape `(T,)`, *optional*): Seconds of the frames.
        interocular_px (`float`): Interocular distance of the aligned face, in pixels.

    Returns:
        [`Evidence`]
    """
    moved_xy, turn_xy, within, brief = _around(phases, times_s, SIZE_PX / interocular_px)
    moved_xy = _without_turn(moved_xy, turn_xy)
    size = np.linalg.norm(moved_xy[within], axis=-1).max(0)
    rounds = np.maximum(_way(moved_xy) / np.maximum(2 * size, 1e-6), 1.0)
    turn = 1 / (1 + np.linalg.norm(turn_xy, axis=-1).max() / 2)
    shares = {
        "turn": np.full(len(REGIONS), turn),
        "speech": _but_speech(size, rounds),
        "restless": 1 / rounds,
        "eyes": np.where(IS_LID, _LID_WEIGHT, 1.0),
    }
    left = brief * size * np.prod(list(shares.values()), axis=0)
    most = int(size.argmax())
    kept = {name: float(share[most]) for name, share in shares.items()}
    return Evidence(float(left.max()), float(size[most]), kept)


def _around(
    phases: Phases, times_s: np.ndarray | None, scale: float
) -> tuple[np.ndarray, np.ndarray, slice, float]:
    """Cut out the movement and two seconds on both sides.

    Returns regions, turn, the movement's place, and by how much motion counts more for being brief.
    """
    onset, offset, count = phases.onset, phases.offset, len(phases.curve)
    first, last, step_s, brief = 0, count - 1, None, 1.0
    if times_s is not None and np.isfinite(times_s).all() and count > 1:
        first = int(np.searchsorted(times_s, times_s[onset] - _MARGIN_S))
        last = int(np.searchsorted(times_s, times_s[offset] + _MARGIN_S, side="right")) - 1
        step_s = float(times_s[-1] - times_s[0]) / (count - 1)
        lasts_s, seen_s = (float(times_s[b] - times_s[a]) for a, b in ((onset, offset), (first, last)))
        brief = max(1.0, _BRIEF_S / max(lasts_s, 0.1)) ** 0.25 * max(1.0, _SHORT_S / max(seen_s, 0.2)) ** 0.5
    moved_xy = phases.regions_xy * scale
    sigma = max(0.3, _SMOOTHING_S / step_s) if step_s else 0.3
    moved_xy = gaussian_filter1d(moved_xy, sigma, axis=0, mode="nearest")[first : last + 1]
    turn_xy = phases.turn_xy[first : last + 1] * scale
    return moved_xy, turn_xy - turn_xy[0], slice(onset - first, offset - first + 1), brief


def _way(moved_xy: np.ndarray) -> np.ndarray:
    """Return how far each region of `(T, R, 2)` went in all, `(R,)`, without its jitter.

    A point follows the region on a leash of `_JITTER_PX`.
    """
    point, way = moved_xy[0], np.zeros(moved_xy.shape[1])
    for place in moved_xy[1:]:
        pull = place - point
        far = np.linalg.norm(pull, axis=-1)
        step = np.maximum(far - _JITTER_PX, 0.0)
        point = point + pull * (step / np.maximum(far, 1e-9))[:, None]
        way += step
    return way + 2 * _JITTER_PX


def _without_turn(moved_xy: np.ndarray, turn_xy: np.ndarray) -> np.ndarray:
    """Take out of `(T, R, 2)` what goes along with the tip of the nose `(T, 2)`, as far as depth allows."""
    nose = turn_xy - turn_xy.mean(0)
    moved = moved_xy.reshape(len(moved_xy), -1)
    noise = len(nose) * _TURN_NOISE_PX**2 * np.eye(2)
    along = np.linalg.solve(nose.T @ nose + noise, nose.T @ (moved - moved.mean(0)))
    along = np.clip(along, -_FARTHEST_BEHIND, _FARTHEST_BEHIND)
    return (moved - turn_xy @ along).reshape(moved_xy.shape)


def _but_speech(size: np.ndarray, rounds: np.ndarray) -> np.ndarray:
    """Return what share of each region's motion is left when speech is taken out, `(R,)`.

    Where the lower face goes to and fro, motion counts up to what brows and nose move; of more than that,
    little is left.
    """
    lower = int(np.where(_IS_LOWER, size, 0.0).argmax())
    to_and_fro = float(np.clip((rounds[lower] - 1.25) / 0.3, 0, 1))
    upper = float(size[~_IS_LOWER & ~IS_LID].max())
    counted = np.maximum(np.minimum(size, _WITH_BROWS * upper), _SPEECH_LEFT * size) / np.maximum(size, 1e-6)
    return np.where(_IS_LOWER, 1 - to_and_fro * (1 - counted), 1.0)
