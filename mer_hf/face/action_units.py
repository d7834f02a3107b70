"""Action units (AUs) of one expression, from the motion between its onset and its apex.

from mer_hf.face.action_units import estimate_action_units

values = estimate_action_units(track.frames, phases.onset, phases.apex, track.landmarks_xy)
values["AU12"]    # (left, right, intensity): the person's own sides, in [0, 1]; from 0.5 on present
values["AU23"]    # None: motion in a picture does not show it

Flow is read at the vertices of the face mesh. A small network, trained on synthetic motion alone
(`mer_hf.training.unit_estimator`), says how likely each AU is on each side. `docs/action-units.md` says how
well that works, and where it does not.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import cv2
import numpy as np
from scipy.special import expit

from mer_hf.labels import ACTION_UNITS

from .flow import optical_flow
from .landmarks import interocular

VOCABULARY: tuple[str, ...] = tuple(ACTION_UNITS)
"""The 21 AUs, in the order in which networks take them."""

PRESENT = 0.5
"""Intensity from which an AU counts as present."""

Intensities = dict[str, tuple[float, float, float] | None]

WEIGHTS = "action_units.safetensors"
"""File beside this module: layers `weight_i` and `bias_i`, and `mirror`, the index of each vertex's image."""

_INTEROCULAR_PX = 100.0
_MOST_FRAMES = 4
_SMOOTH, _STILL = 0.03, 0.002
"""Reach of the window in which flow is averaged, and motion of a face at rest, in interocular distances."""


@dataclass(frozen=True)
class ActionUnit:
    """What is said of an AU.

    Attributes:
        name (`str`): FACS code.
        around (`tuple[int, ...]`): Vertices of the face mesh, most of which have to lie in the picture.
        midline (`bool`): Both sides move as one: left and right are equal.
        hidden (`bool`): Motion in a picture does not show the AU.
    """

    name: str
    around: tuple[int, ...]
    midline: bool = False
    hidden: bool = False


_BROWS, _LIDS = (70, 105, 107, 336, 334, 300), (33, 145, 159, 263, 374, 386)
_NOSE, _MOUTH, _CHIN = (129, 206, 358, 426), (0, 17, 61, 291), (17, 61, 291, 199)

TABLE: tuple[ActionUnit, ...] = (
    ActionUnit("AU1", _BROWS),
    ActionUnit("AU2", _BROWS),
    ActionUnit("AU4", _BROWS),
    ActionUnit("AU5", _LIDS),
    ActionUnit("AU6", _LIDS),
    ActionUnit("AU7", _LIDS),
    ActionUnit("AU9", _NOSE),
    ActionUnit("AU10", _NOSE),
    ActionUnit("AU12", _MOUTH),
    ActionUnit("AU14", _MOUTH),
    ActionUnit("AU15", _MOUTH),
    # The lower lip goes down as in AU25 and AU26; only its shape sets it apart.
    ActionUnit("AU16", _CHIN, midline=True, hidden=True),
    ActionUnit("AU17", _CHIN, midline=True),
    # Lips narrow as in AU23; forward and rolled in look the same in the picture.
    ActionUnit("AU18", _MOUTH, midline=True, hidden=True),
    ActionUnit("AU20", _MOUTH),
    # Lips narrow as in AU18; what sets it apart is their red, which vanishes.
    ActionUnit("AU23", _MOUTH, midline=True, hidden=True),
    # Lips and chin move as in AU17 and AU28; what sets it apart is the red.
    ActionUnit("AU24", _MOUTH, midline=True, hidden=True),
    ActionUnit("AU25", _CHIN, midline=True),
    ActionUnit("AU26", _CHIN, midline=True),
    # The lips vanish into the mouth: skin that is gone has no motion.
    ActionUnit("AU28", _MOUTH, midline=True, hidden=True),
    ActionUnit("AU45", _LIDS, midline=True),
)


_OF_LIDS = np.array([unit.around == _LIDS for unit in TABLE])
"""Units that only the rise tells: after it people blink."""


def estimate_action_units(
    frames: np.ndarray, onset: int, apex: int, landmarks_xy: np.ndarray, offset: int | None = None
) -> Intensities:
    """Estimate every AU of the vocabulary from the motion between onset and apex, and from apex to offset.

    A few frames around each are averaged against noise, and DIS flow is measured between them. The way back
    says once more what moved, so both are asked; each counts as much as it is likely that anything moved.
    Lids are told by the rise alone.

    Args:
        frames (`np.ndarray` of shape `(T, S, S, 3)`): uint8, RGB, aligned: the head holds still in them.
        onset (`int`): Frame at rest, before the motion.
        apex (`int`): Frame of the strongest motion.
        landmarks_xy (`np.ndarray` of shape `(T, N, 2)` or `(N, 2)`): Face mesh (N 468 or 478) in pixels of
            the frames; averaged over the clip, because it jitters.
        offset (`int`, *optional*): Frame at which the motion has gone; without it only its rise counts.

    Returns:
        `dict[str, tuple[float, float, float] | None]`: AU -> (left, right, intensity), each in [0, 1], left
        and right the person's own; the intensity is the larger of the two. From 0.5 on the AU counts as
        present. None where motion in a picture does not show the AU, or the crop leaves it out.

    Raises:
        ValueError: If shapes or types do not fit, or onset, apex and offset are not frames in order.
    """
    frames, landmarks_xy = np.asarray(frames), _mean_landmarks(landmarks_xy)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 frames of shape (T, S, S, 3), got {frames.dtype} {frames.shape}. "
            "Pass the frames of a FaceTrack."
        )
    end = apex if offset is None else offset
    if not 0 <= onset <= apex <= end < len(frames):
        raise ValueError(
            f"expected 0 <= onset <= apex <= offset < {len(frames)} frames, got {onset}, {apex} and "
            f"{offset}. Spot them first."
        )
    starts = (onset, end) if end > apex else (onset,)
    ways = [measured_motion(frames, start, apex, landmarks_xy) for start in starts]
    result: Intensities = {}
    for unit, (left, right) in zip(TABLE, likelihoods(*(way for way, _ in ways)).T.tolist(), strict=True):
        if unit.midline:
            left = right = (left + right) / 2
        shown = not unit.hidden and ways[0][1][list(unit.around)].mean() > 0.5
        result[unit.name] = (left, right, max(left, right)) if shown else None
    return result


# --- measuring ----------------------------------------------------------------------------------------------


def _mean_landmarks(landmarks_xy: np.ndarray) -> np.ndarray:
    landmarks_xy = np.asarray(landmarks_xy, dtype=np.float64)
    shape = landmarks_xy.shape
    if landmarks_xy.ndim not in (2, 3) or shape[-2] not in (468, 478) or shape[-1] != 2:
        raise ValueError(
            f"expected landmarks of shape (T, 478, 2) or (478, 2), or 468 of them, got {shape}. "
            "Pass the landmarks of a FaceTrack."
        )
    return landmarks_xy if landmarks_xy.ndim == 2 else landmarks_xy.mean(axis=0)


def _flow_between(frames: np.ndarray, onset: int, apex: int, landmarks_xy: np.ndarray) -> np.ndarray:
    """Measure flow between the means of the frames around onset and apex, in pixels of the frames."""
    reach = min(abs(apex - onset) // 6, _MOST_FRAMES)
    pictures = [frames[max(0, at - reach) : at + reach + 1].mean(axis=0) for at in (onset, apex)]
    pictures = [picture.round().astype(np.uint8) for picture in pictures]
    height, width = frames.shape[1:3]
    shrink = min(1.0, 1.3 * _INTEROCULAR_PX / max(interocular(landmarks_xy), 1.0))
    if shrink == 1.0:
        return optical_flow(*pictures)
    size = round(width * shrink), round(height * shrink)
    flow_xy = optical_flow(*(cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures))
    return cv2.resize(flow_xy, (width, height), interpolation=cv2.INTER_LINEAR) / np.float32(shrink)


def measured_motion(
    frames: np.ndarray, onset: int, apex: int, landmarks_xy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the motion of the face mesh from onset (or an offset) to apex; `landmarks_xy` `(N, 2)`.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: motion `(468, 2)` in interocular distances, float32, 0 outside the
        picture; and which vertices lie inside, `(468,)`.
    """
    flow_xy = _flow_between(frames, onset, apex, landmarks_xy)
    unit, points = np.maximum(interocular(landmarks_xy), 1.0), landmarks_xy[:468]
    smooth = cv2.GaussianBlur(np.asarray(flow_xy, np.float32), (0, 0), _SMOOTH * unit)
    at = points.astype(np.float32)[None]
    moved_xy = cv2.remap(smooth, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    inside = ((points >= 0) & (points <= np.array(flow_xy.shape[1::-1]) - 1)).all(axis=1)
    return (moved_xy / unit * inside[:, None]).astype(np.float32), inside


def features_of(moved_xy: np.ndarray) -> np.ndarray:
    """Return what the network takes, `(..., 937)`: motion `(..., 468, 2)` relative to its size, and that."""
    size = np.sqrt(np.square(moved_xy).sum(axis=-1).mean(axis=-1)) + _STILL
    relative = moved_xy / size[..., None, None]
    return np.concatenate([relative.reshape(*size.shape, -1), np.log(size / _STILL)[..., None]], axis=-1)


@lru_cache(maxsize=1)
def _weights() -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    arrays = load((resources.files(__package__) / WEIGHTS).read_bytes())
    return {name: each if name == "mirror" else each.astype(np.float32) for name, each in arrays.items()}


def likelihoods(*ways_xy: np.ndarray) -> np.ndarray:
    """Return how likely each AU is, `(2, 21)`: left and right, for motions of the mesh `(468, 2)` alike.

    The mirrored face is asked too, and both answers are averaged: the sides are treated alike. The network's
    last answer is how likely anything moves at all, and weighs the motions. Lids are told by the first one.
    """
    weights = _weights()
    moved_xy = np.stack(ways_xy)
    values = features_of(np.stack([moved_xy, moved_xy[:, weights["mirror"]] * np.float32((-1, 1))]))
    layers = sum(name.startswith("weight") for name in weights)
    for i in range(layers):
        values = values @ weights[f"weight_{i}"] + weights[f"bias_{i}"]
        values = np.maximum(values, 0) if i < layers - 1 else values
    own, mirrored = values[..., :-1].reshape(2, len(ways_xy), 2, len(VOCABULARY))
    moving = expit(values[..., -1].mean(axis=0))  # (ways,)
    shown = expit((own + mirrored[:, ::-1]) / 2)
    joined = np.average(shown, axis=0, weights=np.maximum(moving, 1e-6)) * moving.max()
    return np.where(_OF_LIDS | (len(shown) == 1), shown[0] * moving[0], joined)


# --- what a person annotated, and faces at rest -------------------------------------------------------------


def given_action_units(values: Mapping | Collection[str]) -> Intensities:
    """Bring a person's annotation into the form of an estimate.

    Args:
        values (`Mapping` or `Collection[str]`): Names of the AUs that are present (`"AU4"`, `"4"`; `"L12"` or
            `"R12"` for one of the person's sides), or AU -> intensity, or AU -> (left, right, intensity) or
            None.

    Returns:
        `dict[str, tuple[float, float, float] | None]`: Every AU of the vocabulary; 0 for those not named.

    Raises:
        ValueError: If a name is not in the vocabulary, or an intensity not in [0, 1].
    """
    values = [values] if isinstance(values, str) else values
    result: Intensities = dict.fromkeys(VOCABULARY, (0.0, 0.0, 0.0))
    for text, value in values.items() if isinstance(values, Mapping) else dict.fromkeys(values, 1.0).items():
        name, side = _parse(text)
        if value is None:
            result[name] = None
            continue
        sides = value if isinstance(value, tuple | list) else (value, value, value)
        if len(sides) != 3 or not all(0 <= number <= 1 for number in sides):
            raise ValueError(f"{name} must be a number in [0, 1] or (left, right, intensity), got {value!r}.")
        left, right, whole = (float(number) for number in sides)
        left, right = (0.0 if side == "R" else left), (0.0 if side == "L" else right)
        before = result[name] or (0.0, 0.0, 0.0)  # L12 and R12 together are both sides
        result[name] = tuple(map(max, (left, right, whole), before))
    return result


def _parse(text: str) -> tuple[str, str]:
    """Split a name into AU and side: `"L12"` -> `("AU12", "L")`."""
    match = re.fullmatch(r"([LR]?)(?:AU)?0*(\d+)", str(text).strip().upper())
    name = f"AU{match[2]}" if match else ""
    if name not in VOCABULARY:
        raise ValueError(
            f"unknown action unit {text!r}. Known: {', '.join(VOCABULARY)}, with L or R for a side."
        )
    return name, match[1]


def present_units(values: Intensities) -> dict[str, tuple[float, float]]:
    """Return the AUs that are present, as (left, right)."""
    return {name: sides[:2] for name, sides in values.items() if sides and sides[2] >= PRESENT}


def resting_action_units(blink: bool = False) -> Intensities:
    """Return the estimate for a face that does not move, or only blinks: 0 for all that motion can show."""
    rest = {unit.name: None if unit.hidden else (0.0, 0.0, 0.0) for unit in TABLE}
    return rest | ({"AU45": (1.0, 1.0, 1.0)} if blink else {})
