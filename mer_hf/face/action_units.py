"""Action units (AUs) of one expression, from the motion between its onset and its apex.

from mer_hf.face.action_units import estimate_action_units

values = estimate_action_units(track.frames, phases.onset, phases.apex, track.landmarks_xy)
values["AU12"]    # (left, right, intensity): the person's own sides, in [0, 1]; from 0.5 on present
values["AU23"]    # None: motion in a picture does not show it

Flow is averaged in small regions that the face mesh places. An AU is a few regions that move together, in the
directions by which a coder of the Facial Action Coding System knows it (`TABLE`). A sparse non-negative fit
shares the measured motion out among AUs and the head, so that AUs that move the same skin do not all answer.
`docs/action-units.md` says how well that works, and where it does not.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.optimize import nnls

from mer_hf.labels import ACTION_UNITS

from .flow import optical_flow
from .landmarks import REGIONS, interocular
from .registration import similarity_basis

VOCABULARY: tuple[str, ...] = tuple(ACTION_UNITS)
"""The 21 AUs, in the order in which networks take them."""

PRESENT = 0.5
"""Intensity from which an AU counts as present."""

Intensities = dict[str, tuple[float, float, float] | None]

_INTEROCULAR_PX = 100.0
_MOST_FRAMES = 4


@dataclass(frozen=True)
class ActionUnit:
    """How an AU moves the skin, and when it counts as present.

    Attributes:
        name (`str`): FACS code.
        moves (`dict[str, tuple[float, float]]`): Region -> mean motion (outwards, downwards) in its window,
            relative to the point of the face that the AU moves most; outwards is away from the midline.
        least (`float`): Motion of that point at which the AU counts as present in a noiseless flow, in
            thousandths of the interocular distance; of no use for a hidden one.
        midline (`bool`): Both sides move as one: left and right are equal.
        hidden (`str`): Why motion in a picture does not show the AU. If it has moves, it is fitted all the
            same, so that they are not taken for another AU.
    """

    name: str
    moves: dict[str, tuple[float, float]]
    least: float = 4.0
    midline: bool = False
    hidden: str = ""


# fmt: off
TABLE: tuple[ActionUnit, ...] = (
    ActionUnit("AU1", {
        "forehead, inner": (0, -0.4), "brow, inner": (0, -0.55), "brow, middle": (0, -0.05),
        "between the brows": (0, -0.55), "root of the nose": (0, -0.25)}),
    ActionUnit("AU2", {
        "forehead, inner": (0, -0.1), "forehead, outer": (0, -0.5), "brow, inner": (0, -0.1),
        "brow, middle": (0.1, -0.55), "brow, outer": (0.05, -0.55), "fold of the upper lid": (0, -0.45),
        "upper lid": (0, -0.2), "outer eye corner": (0, -0.2)}),
    ActionUnit("AU4", {
        "forehead, inner": (-0.1, 0.25), "forehead, outer": (0, 0.2), "brow, inner": (-0.15, 0.55),
        "brow, middle": (-0.1, 0.4), "brow, outer": (-0.05, 0.15), "between the brows": (0, 0.55),
        "root of the nose": (0, 0.25), "fold of the upper lid": (-0.1, 0.35), "upper lid": (0, 0.25)}),
    ActionUnit("AU5", {
        "brow, middle": (0, -0.1), "fold of the upper lid": (0, -0.35), "upper lid": (0, -0.45)}),
    ActionUnit("AU6", {
        "brow, outer": (-0.1, 0), "lower lid": (0, -0.25), "outer eye corner": (-0.25, -0.25),
        "below the eye": (-0.1, -0.45), "cheek": (0, -0.5), "cheek, lower": (0, -0.35),
        "nose wing": (0, -0.15), "nose-lip fold": (0, -0.1)}),
    ActionUnit("AU7", {
        "lower lid": (-0.15, -0.35), "outer eye corner": (-0.15, 0), "below the eye": (0, -0.1)}),
    ActionUnit("AU9", {
        "brow, inner": (-0.1, 0.15), "brow, middle": (0, 0.1), "between the brows": (0, 0.15),
        "root of the nose": (0, -0.25), "nose wing": (0.1, -0.5), "nose-lip fold": (0, -0.25),
        "upper lip, side": (0, -0.3), "bridge of the nose": (0, -0.35), "back of the nose": (0, -0.3),
        "inner eye corner": (0, -0.35), "flank of the nose": (0, -0.4)}),
    ActionUnit("AU10", {
        "cheek, lower": (0, -0.2), "nose wing": (0.1, -0.35), "nose-lip fold": (0.05, -0.45),
        "upper lip, side": (0.05, -0.5), "upper lip": (0, -0.35), "mouth corner": (0, -0.4),
        "beside the corner": (0, -0.2)}),
    ActionUnit("AU12", {
        "below the eye": (0, -0.15), "cheek": (0.1, -0.25), "cheek, lower": (0.2, -0.3),
        "nose wing": (0.1, -0.15), "nose-lip fold": (0.25, -0.35), "upper lip, side": (0.35, -0.4),
        "mouth corner": (0.45, -0.5), "beside the corner": (0.3, -0.35), "below the corner": (0.25, -0.25),
        "lower lip, side": (0.3, -0.3)}),
    ActionUnit("AU14", {
        "nose-lip fold": (0.1, 0), "upper lip, side": (0.3, 0), "mouth corner": (0.4, 0),
        "beside the corner": (0.1, 0), "below the corner": (0.15, 0),
        "lower lip, side": (0.35, 0)}, least=5.0),
    ActionUnit("AU15", {
        "nose-lip fold": (0, 0.15), "upper lip, side": (0, 0.4), "mouth corner": (0.05, 0.55),
        "beside the corner": (0.05, 0.4), "below the corner": (0.05, 0.4), "lower lip, side": (0, 0.4),
        "lower lip": (0, 0.15)}),
    ActionUnit("AU16", {}, midline=True,
        hidden="the lower lip goes down as in AU25 and AU26; only its shape sets it apart"),
    ActionUnit("AU17", {
        "upper lip": (0, -0.15), "below the corner": (0, -0.1), "lower lip, side": (0, -0.25),
        "lower lip": (0, -0.45), "below the lip": (0, -0.5), "chin": (0, -0.6)}, midline=True),
    ActionUnit("AU18", {
        "nose-lip fold": (-0.2, 0), "upper lip, side": (-0.45, 0), "mouth corner": (-0.55, 0),
        "beside the corner": (-0.35, 0), "below the corner": (-0.3, 0),
        "lower lip, side": (-0.4, 0)}, midline=True,
        hidden="lips narrow in AU18 and AU23; pushed forward and rolled in look the same in the picture"),
    ActionUnit("AU20", {
        "nose-lip fold": (0.2, 0), "upper lip, side": (0.4, 0.1), "mouth corner": (0.6, 0.15),
        "beside the corner": (0.45, 0.15), "below the corner": (0.5, 0.15), "lower lip, side": (0.45, 0.1)}),
    ActionUnit("AU23", {}, midline=True,
        hidden="lips narrow as in AU18; what sets it apart is the red of the lips, which vanishes"),
    ActionUnit("AU24", {
        "upper lip, side": (0, 0.05), "upper lip": (0, 0.2), "below the corner": (0, -0.1),
        "lower lip, side": (0, -0.3), "lower lip": (0, -0.4), "below the lip": (0, -0.35),
        "chin": (0, -0.15)}, midline=True,
        hidden="lips and chin move as in AU17 and AU28; what sets it apart is the red, which narrows"),
    ActionUnit("AU25", {
        "upper lip, side": (0, 0.05), "lower lip, side": (0, 0.3), "lower lip": (0, 0.45),
        "below the lip": (0, 0.35), "chin": (0, 0.2)}, least=4.5, midline=True),
    ActionUnit("AU26", {
        "upper lip, side": (0, 0.3), "upper lip": (0, 0.25), "mouth corner": (0, 0.3),
        "beside the corner": (0, 0.25), "below the corner": (0, 0.4), "lower lip, side": (0, 0.55),
        "lower lip": (0, 0.65), "below the lip": (0, 0.6), "chin": (0, 0.5)}, midline=True),
    ActionUnit("AU28", {}, midline=True,
        hidden="the lips vanish into the mouth: skin that is gone has no motion; the rest is AU24's"),
    ActionUnit("AU45", {
        "fold of the upper lid": (0, 0.35), "upper lid": (0, 0.45),
        "lower lid": (0, 0.1)}, least=34.0, midline=True),
)
# fmt: on
"""What each AU moves. Regions and directions follow FACS. The sizes are means over one setting of the
synthetic faces, measured through optical flow, which blurs and shrinks (`docs/action-units.md`)."""

_SHARE, _RESIDUAL = 0.2, 2.0
"""Detection margin: an AU counts as present only above its `least`, plus `_SHARE` times the strongest AU,
plus `_RESIDUAL` times the residual of the fit."""
_AROUND_THE_EYES = ("AU1", "AU2", "AU4", "AU5", "AU6", "AU7")
"""For these alone a blink counts as the strongest AU: it moves many times further than any expression."""
_HEAD_PRIOR = (2.0, 2.0, 4.0, 4.0)
"""Standard deviations, in thousandths, of what registration leaves of the head's growth, turn and shifts."""
_RIDGE = 0.1
_SPARSITY, _SPARSE_BELOW, _ROUNDS = 1.0, 0.03, 5


def estimate_action_units(frames: np.ndarray, onset: int, apex: int, landmarks_xy: np.ndarray) -> Intensities:
    """Estimate every AU of the vocabulary from the motion between onset and apex.

    A few frames around each are averaged against noise, and DIS flow is measured between them.

    Args:
        frames (`np.ndarray` of shape `(T, S, S, 3)`): uint8, RGB, aligned: the head holds still in them.
        onset (`int`): Frame at rest, before the motion.
        apex (`int`): Frame of the strongest motion.
        landmarks_xy (`np.ndarray` of shape `(T, N, 2)` or `(N, 2)`): Face mesh (N 468 or 478) in pixels of
            the frames; averaged over the clip, because it jitters.

    Returns:
        `dict[str, tuple[float, float, float] | None]`: AU -> (left, right, intensity), each in [0, 1], left
        and right the person's own; the intensity is the larger of the two. From 0.5 on the AU counts as
        present. None where motion in a picture does not show the AU, or the crop leaves it out.

    Raises:
        ValueError: If shapes or types do not fit, or onset and apex are not two frames in order.
    """
    frames, landmarks_xy = np.asarray(frames), _mean_landmarks(landmarks_xy)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 frames of shape (T, S, S, 3), got {frames.dtype} {frames.shape}. "
            "Pass the frames of a FaceTrack."
        )
    if not 0 <= onset <= apex < len(frames):
        raise ValueError(
            f"expected 0 <= onset <= apex < {len(frames)} frames, got {onset} and {apex}. Spot them first."
        )
    return _intensities(_flow_between(frames, onset, apex, landmarks_xy), landmarks_xy)


def _intensities(flow_xy: np.ndarray, landmarks_xy: np.ndarray) -> Intensities:
    """Estimate AU intensities from a flow field `(H, W, 2)`, in a few milliseconds."""
    moved, inside, centres = _measure(flow_xy, landmarks_xy)
    columns, owners = _columns()
    amounts, residual = _share_out(moved, inside, centres)
    squares = np.square(columns)  # most of what an AU moves has to lie in the picture
    seen = squares[np.repeat(inside, 2)].sum(axis=0) > 0.5 * squares.sum(axis=0)
    blinks = np.array([unit.name == "AU45" for unit, _ in owners])
    strongest = amounts[~blinks].max()
    sides: dict[str, dict[int, float]] = {name: {} for name in VOCABULARY}
    for (unit, side), amount, shown in zip(owners, amounts, seen, strict=True):
        if not unit.hidden and shown:
            rival = amounts.max() if unit.name in _AROUND_THE_EYES else strongest
            needed = unit.least / 1000 + _RESIDUAL * residual + _SHARE * rival
            sides[unit.name][side] = float(1 - 0.5 ** (amount / needed) ** 2)
    return {name: _intensity(by_side) for name, by_side in sides.items()}


def _intensity(by_side: dict[int, float]) -> tuple[float, float, float] | None:
    """Return (left, right, larger) from the sides (1, -1, or 0 for both); None where one is missing."""
    left, right = (by_side.get(side, by_side.get(0)) for side in (1, -1))
    return None if left is None or right is None else (left, right, max(left, right))


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
    reach = min((apex - onset) // 6, _MOST_FRAMES)
    pictures = [frames[max(0, at - reach) : at + reach + 1].mean(axis=0) for at in (onset, apex)]
    pictures = [picture.round().astype(np.uint8) for picture in pictures]
    height, width = frames.shape[1:3]
    shrink = min(1.0, 1.3 * _INTEROCULAR_PX / max(interocular(landmarks_xy), 1.0))
    if shrink == 1.0:
        return optical_flow(*pictures)
    size = round(width * shrink), round(height * shrink)
    flow_xy = optical_flow(*(cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures))
    return cv2.resize(flow_xy, (width, height), interpolation=cv2.INTER_LINEAR) / np.float32(shrink)


@lru_cache(maxsize=1)
def _windows() -> tuple[list[tuple[str, int]], np.ndarray, np.ndarray, np.ndarray]:
    """Return name and side of every window, its landmarks `(R, 478)`, reach `(R,)` and trust `(R,)`.

    Side is -1 for the person's right, 1 for the left and 0 on the midline: where x points outwards.
    """
    windows = [
        (name, side, np.bincount(points, minlength=478) / len(points), region.reach, 2.0 / region.noise)
        for name, region in REGIONS.items()
        for points, side in ((region.right, -1 if region.left else 0), (region.left, 1))
        if points
    ]
    names, sides, rows, reach, trust = zip(*windows, strict=True)
    return list(zip(names, sides, strict=True)), np.array(rows), np.array(reach), np.array(trust)


def _measure(flow_xy: np.ndarray, landmarks_xy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure mean motion `(R, 2)` of every window and its centre `(R, 2)`, in interocular distances.

    In between: whether at least half of the window lies in the picture, `(R,)`.
    """
    _, rows, reach, _ = _windows()
    unit = interocular(landmarks_xy)
    centres = rows[:, : len(landmarks_xy)] @ landmarks_xy
    height, width = flow_xy.shape[:2]
    wide = reach[:, None] * unit
    across = np.exp(-0.5 * np.square((np.arange(width) - centres[:, :1]) / wide)).astype(np.float32)
    down = np.exp(-0.5 * np.square((np.arange(height) - centres[:, 1:]) / wide)).astype(np.float32)
    weight = across.sum(axis=1) * down.sum(axis=1)
    summed = (down @ flow_xy.reshape(height, -1).astype(np.float32)).reshape(len(down), width, 2)
    moved = np.einsum("rw,rwc->rc", across, summed) / np.maximum(weight, 1e-9)[:, None]
    inside = weight > 0.5 * 2 * np.pi * np.square(reach * unit)
    return moved.astype(np.float64) / unit, inside, centres / unit


# --- sharing out --------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _columns() -> tuple[np.ndarray, list[tuple[ActionUnit, int]]]:
    """Return the motion of every window by each side of each AU, `(2 R, K)`, and these AUs and sides."""
    owners = [(unit, side) for unit in TABLE if unit.moves for side in ((0,) if unit.midline else (-1, 1))]
    columns = [[_motion(unit, side, *window) for window in _windows()[0]] for unit, side in owners]
    return np.array(columns).reshape(len(columns), -1).T, owners


def _motion(unit: ActionUnit, side: int, name: str, where: int) -> tuple[float, float]:
    """Return (x, y) of a window: one side of an AU moves the midline half as far, the other side not."""
    out, down = unit.moves.get(name, (0.0, 0.0))
    if side == 0 or where == side:
        return out * where, down
    return (0.0, down / 2) if where == 0 else (0.0, 0.0)


def _share_out(moved: np.ndarray, inside: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit how far each AU and side moves its strongest point `(K,)`; also return the residual.

    Both are in interocular distances. The fit is non-negative least squares with a penalty that is renewed
    from the last answer: an AU that explains little pays more, so that a few AUs explain the motion rather
    than all of them a little. The two sides of an AU pay together.
    """
    columns, owners = _columns()
    count = len(owners)
    trust = np.repeat(_windows()[3] * inside, 2)
    head = similarity_basis(centres - centres.mean(axis=0)).reshape(-1, 4)
    prior = np.diag(2.0 / np.array(_HEAD_PRIOR))
    fitted = np.hstack([columns, head, -head]) * trust[:, None]
    left = np.vstack([fitted, np.hstack([np.zeros((4, count)), prior, -prior])])
    right = np.concatenate([moved.ravel() * trust, np.zeros(4)])
    square = left.T @ left + _RIDGE * np.eye(left.shape[1])
    factor = np.linalg.cholesky(square)
    target = left.T @ right
    penalty = np.zeros(len(target))
    units = np.unique([unit.name for unit, _ in owners], return_inverse=True)[1]
    for _ in range(_ROUNDS):
        amounts, _ = nnls(factor.T, np.linalg.solve(factor, target - penalty))
        both = (np.bincount(units, amounts[:count]) / np.bincount(units))[units]
        most = both.max() + 1e-9
        penalty[:count] = _SPARSITY * most * np.diag(square)[:count] / (1 + both / (_SPARSE_BELOW * most))
    return amounts[:count], float(np.sqrt(np.mean(np.square(left @ amounts - right))))


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
