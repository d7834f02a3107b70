"""Action units (AUs) of one expression, from the motion between its onset and its apex.

from mer_hf.action_units import estimate_action_units

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

VOCABULARY: tuple[str, ...] = tuple(ACTION_UNITS)
"""The 21 AUs, in the order in which networks take them."""

PRESENT = 0.5
"""Intensity from which an AU counts as present."""

Intensities = dict[str, tuple[float, float, float] | None]

EYE_CORNERS = ((33, 133), (263, 362))
_INTEROCULAR_PX = 100.0
_MOST_FRAMES = 4


@dataclass(frozen=True)
class Region:
    """A window in which motion is averaged.

    Attributes:
        right (`tuple[int, ...]`): Landmarks whose mean is its centre, on the person's right or the midline.
        left (`tuple[int, ...]`): Their mirror images; empty on the midline.
        reach (`float`): Standard deviation of the Gaussian window, in inter-ocular distances.
        noise (`float`): Motion that AUs leave unexplained there, in thousandths of that distance: how little
            the fit trusts the region.
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
"""Name -> where. On the last four skin is tight on bone: they move with the head, and with AU9."""


@dataclass(frozen=True)
class ActionUnit:
    """How an AU moves the skin, and when it counts as present.

    Attributes:
        name (`str`): FACS code.
        moves (`dict[str, tuple[float, float]]`): Region -> mean motion (outwards, downwards) in its window,
            relative to the point of the face that the AU moves most; outwards is away from the midline.
        least (`float`): Motion of that point at which the AU counts as present in a noiseless flow, in
            thousandths of the inter-ocular distance.
        midline (`bool`): Both sides move as one: left and right are equal.
        hidden (`str`): Why motion in a picture does not show the AU. If it has moves, it is fitted all the
            same, so that they are not taken for another AU.
    """

    name: str
    moves: dict[str, tuple[float, float]]
    least: float = 0.0
    midline: bool = False
    hidden: str = ""


# fmt: off
TABLE: tuple[ActionUnit, ...] = (
    ActionUnit("AU1", {
        "forehead, inner": (0, -0.4), "brow, inner": (0, -0.55), "brow, middle": (0, -0.05),
        "between the brows": (0, -0.55), "root of the nose": (0, -0.25),
    }, least=4.0),
    ActionUnit("AU2", {
        "forehead, inner": (0, -0.1), "forehead, outer": (0, -0.5), "brow, inner": (0, -0.1),
        "brow, middle": (0.1, -0.55), "brow, outer": (0.05, -0.55), "fold of the upper lid": (0, -0.45),
        "upper lid": (0, -0.2), "outer eye corner": (0, -0.2),
    }, least=4.0),
    ActionUnit("AU4", {
        "forehead, inner": (-0.1, 0.25), "forehead, outer": (0, 0.2), "brow, inner": (-0.15, 0.55),
        "brow, middle": (-0.1, 0.4), "brow, outer": (-0.05, 0.15), "between the brows": (0, 0.55),
        "root of the nose": (0, 0.25), "fold of the upper lid": (-0.1, 0.35), "upper lid": (0, 0.25),
    }, least=4.0),
    ActionUnit("AU5", {
        "brow, middle": (0, -0.1), "fold of the upper lid": (0, -0.35), "upper lid": (0, -0.45),
    }, least=4.0),
    ActionUnit("AU6", {
        "brow, outer": (-0.1, 0), "lower lid": (0, -0.25), "outer eye corner": (-0.25, -0.25),
        "below the eye": (-0.1, -0.45), "cheek": (0, -0.5), "cheek, lower": (0, -0.35),
        "nose wing": (0, -0.15), "nose-lip fold": (0, -0.1),
    }, least=4.0),
    ActionUnit("AU7", {
        "lower lid": (-0.15, -0.35), "outer eye corner": (-0.15, 0), "below the eye": (0, -0.1),
    }, least=4.0),
    ActionUnit("AU9", {
        "brow, inner": (-0.1, 0.15), "brow, middle": (0, 0.1), "between the brows": (0, 0.15),
        "root of the nose": (0, -0.25), "nose wing": (0.1, -0.5), "nose-lip fold": (0, -0.25),
        "upper lip, side": (0, -0.3), "bridge of the nose": (0, -0.35), "back of the nose": (0, -0.3),
        "inner eye corner": (0, -0.35), "flank of the nose": (0, -0.4),
    }, least=4.0),
    ActionUnit("AU10", {
        "cheek, lower": (0, -0.2), "nose wing": (0.1, -0.35), "nose-lip fold": (0.05, -0.45),
        "upper lip, side": (0.05, -0.5), "upper lip": (0, -0.35), "mouth corner": (0, -0.4),
        "beside the corner": (0, -0.2),
    }, least=4.0),
    ActionUnit("AU12", {
        "below the eye": (0, -0.15), "cheek": (0.1, -0.25), "cheek, lower": (0.2, -0.3),
        "nose wing": (0.1, -0.15), "nose-lip fold": (0.25, -0.35), "upper lip, side": (0.35, -0.4),
        "mouth corner": (0.45, -0.5), "beside the corner": (0.3, -0.35),
        "below the corner": (0.25, -0.25), "lower lip, side": (0.3, -0.3),
    }, least=4.0),
    ActionUnit("AU14", {
        "nose-lip fold": (0.1, 0), "upper lip, side": (0.3, 0), "mouth corner": (0.4, 0),
        "beside the corner": (0.1, 0), "below the corner": (0.15, 0), "lower lip, side": (0.35, 0),
    }, least=5.0),
    ActionUnit("AU15", {
        "nose-lip fold": (0, 0.15), "upper lip, side": (0, 0.4), "mouth corner": (0.05, 0.55),
        "beside the corner": (0.05, 0.4), "below the corner": (0.05, 0.4), "lower lip, side": (0, 0.4),
        "lower lip": (0, 0.15),
    }, least=4.0),
    ActionUnit("AU16", {}, midline=True,
        hidden="the lower lip goes down as in AU25 and AU26; only its shape sets it apart"),
    ActionUnit("AU17", {
        "upper lip": (0, -0.15), "below the corner": (0, -0.1), "lower lip, side": (0, -0.25),
        "lower lip": (0, -0.45), "below the lip": (0, -0.5), "chin": (0, -0.6),
    }, least=4.0, midline=True),
    ActionUnit("AU18", {
        "nose-lip fold": (-0.2, 0), "upper lip, side": (-0.45, 0), "mouth corner": (-0.55, 0),
        "beside the corner": (-0.35, 0), "below the corner": (-0.3, 0), "lower lip, side": (-0.4, 0),
    }, midline=True,
        hidden="lips narrow in AU18 and AU23; pushed forward or rolled in is no motion in the picture"),
    ActionUnit("AU20", {
        "nose-lip fold": (0.2, 0), "upper lip, side": (0.4, 0.1), "mouth corner": (0.6, 0.15),
        "beside the corner": (0.45, 0.15), "below the corner": (0.5, 0.15),
        "lower lip, side": (0.45, 0.1),
    }, least=4.0),
    ActionUnit("AU23", {}, midline=True,
        hidden="lips narrow as in AU18; what sets it apart is the red of the lips, which vanishes"),
    ActionUnit("AU24", {
        "upper lip, side": (0, 0.05), "upper lip": (0, 0.2), "below the corner": (0, -0.1),
        "lower lip, side": (0, -0.3), "lower lip": (0, -0.4), "below the lip": (0, -0.35),
        "chin": (0, -0.15),
    }, midline=True,
        hidden="lips and chin move as in AU17 and AU28; what sets it apart is the red, which narrows"),
    ActionUnit("AU25", {
        "upper lip, side": (0, 0.05), "lower lip, side": (0, 0.3), "lower lip": (0, 0.45),
        "below the lip": (0, 0.35), "chin": (0, 0.2),
    }, least=4.5, midline=True),
    ActionUnit("AU26", {
        "upper lip, side": (0, 0.3), "upper lip": (0, 0.25), "mouth corner": (0, 0.3),
        "beside the corner": (0, 0.25), "below the corner": (0, 0.4), "lower lip, side": (0, 0.55),
        "lower lip": (0, 0.65), "below the lip": (0, 0.6), "chin": (0, 0.5),
    }, least=4.0, midline=True),
    ActionUnit("AU28", {}, midline=True,
        hidden="the lips vanish into the mouth: skin that is gone has no motion; the rest is AU24's"),
    ActionUnit("AU45", {
        "fold of the upper lid": (0, 0.35), "upper lid": (0, 0.45), "lower lid": (0, 0.1),
    }, least=34.0, midline=True),
)
# fmt: on
"""What FACS says of each AU. Regions and directions are its; the sizes are means over one setting of the
synthetic faces, through optical flow, which blurs and shrinks (`docs/action-units.md`)."""

_SHARE = 0.2
"""Of the strongest AU, and `_RESIDUAL` of what the fit leaves: so much more must an AU move to be present."""
_RESIDUAL = 2.0
_AROUND_THE_EYES = ("AU1", "AU2", "AU4", "AU5", "AU6", "AU7")
"""A blink, many times larger than any expression, counts as the strongest for these alone."""
_HEAD_PRIOR = (4.0, 4.0, 2.0, 2.0)
"""Standard deviations of what registration leaves of the head's shift, turn and scale, in thousandths."""
_RIDGE = 0.1
_SPARSITY, _SPARSE_BELOW, _ROUNDS = 1.0, 0.03, 5


def estimate_action_units(
    frames: np.ndarray,
    onset: int,
    apex: int,
    landmarks_xy: np.ndarray,
    flow_xy: np.ndarray | None = None,
) -> Intensities:
    """Estimate every AU of the vocabulary from the motion between onset and apex.

    A few frames around each are averaged against noise, DIS flow is measured between them, and
    `intensities_from_flow` does the rest.

    Args:
        frames (`np.ndarray` of shape `(T, S, S, 3)`): uint8, RGB, aligned: the head holds still in them.
        onset (`int`): Frame at rest, before the motion.
        apex (`int`): Frame of the strongest motion.
        landmarks_xy (`np.ndarray` of shape `(T, N, 2)` or `(N, 2)`): Face mesh (N 468 or 478) in pixels of
            the frames; averaged over the clip, because it jitters.
        flow_xy (`np.ndarray` of shape `(S, S, 2)`, *optional*): Flow from onset to apex in pixels of the
            frames, where it is already known; the frames are then not looked at.

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
    if flow_xy is None:
        flow_xy = _flow_between(frames, onset, apex, landmarks_xy)
    return intensities_from_flow(flow_xy, landmarks_xy)


def intensities_from_flow(flow_xy: np.ndarray, landmarks_xy: np.ndarray) -> Intensities:
    """The same from a flow that is already there: a few milliseconds.

    Args:
        flow_xy (`np.ndarray` of shape `(H, W, 2)`): Motion from onset to apex in pixels, positive right and
            down.
        landmarks_xy (`np.ndarray` of shape `(N, 2)` or `(T, N, 2)`): Face mesh (N 468 or 478) in the same
            pixels.

    Returns:
        `dict[str, tuple[float, float, float] | None]`: As `estimate_action_units`.

    Raises:
        ValueError: If the shapes do not fit.
    """
    flow_xy, landmarks_xy = np.asarray(flow_xy), _mean_landmarks(landmarks_xy)
    if flow_xy.ndim != 3 or flow_xy.shape[2] != 2 or not np.isfinite(flow_xy).all():
        raise ValueError(f"expected finite flow of shape (H, W, 2), got {flow_xy.shape}. Measure it again.")
    moved, inside, centres = _measure(flow_xy, landmarks_xy)
    columns, owners = _columns()
    amounts, residual = _share_out(moved, inside, centres)
    seen = _seen(columns, inside)
    names = [TABLE[i].name for i, _ in owners]
    blink = amounts[names.index("AU45")]
    strongest = max(amount for amount, name in zip(amounts, names, strict=True) if name != "AU45")
    found: dict[str, dict[int, float]] = {}
    for k, (i, side) in enumerate(owners):
        unit = TABLE[i]
        if not unit.hidden and seen[k]:
            rival = max(strongest, blink) if unit.name in _AROUND_THE_EYES else strongest
            needed = unit.least / 1000 + _RESIDUAL * residual + _SHARE * rival
            found.setdefault(unit.name, {})[side] = float(1 - 0.5 ** (amounts[k] / needed) ** 2)
    return {name: _sides(found.get(name)) for name in VOCABULARY}


def _sides(by_side: dict[int, float] | None) -> tuple[float, float, float] | None:
    if by_side is None or (0 not in by_side and len(by_side) < 2):
        return None
    left, right = (by_side.get(side, by_side.get(0)) for side in (1, -1))
    return left, right, max(left, right)


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


def _interocular(landmarks_xy: np.ndarray) -> float:
    right, left = (landmarks_xy[list(corners)].mean(axis=0) for corners in EYE_CORNERS)
    return float(np.hypot(*(left - right)))


def _flow_between(frames: np.ndarray, onset: int, apex: int, landmarks_xy: np.ndarray) -> np.ndarray:
    """Flow between the means of the frames around onset and apex, in pixels of the frames."""
    reach = min((apex - onset) // 6, _MOST_FRAMES)
    pictures = [frames[max(0, at - reach) : at + reach + 1].mean(axis=0) for at in (onset, apex)]
    pictures = [picture.round().astype(np.uint8) for picture in pictures]
    height, width = frames.shape[1:3]
    shrink = min(1.0, 1.3 * _INTEROCULAR_PX / max(_interocular(landmarks_xy), 1.0))
    if shrink == 1.0:
        return optical_flow(*pictures)
    size = round(width * shrink), round(height * shrink)
    flow_xy = optical_flow(*(cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures))
    return cv2.resize(flow_xy, (width, height), interpolation=cv2.INTER_LINEAR) / np.float32(shrink)


@lru_cache(maxsize=1)
def _windows() -> tuple[list[tuple[str, int]], np.ndarray, np.ndarray, np.ndarray]:
    """Name and side of every window, its landmarks `(R, 478)`, reach `(R,)` and trust `(R,)`.

    Side is -1 for the person's right, 1 for the left and 0 on the midline: where x points outwards.
    """
    names, rows = [], []
    for name, region in REGIONS.items():
        for landmarks, side in ((region.right, -1 if region.left else 0), (region.left, 1)):
            if landmarks:
                names.append((name, side))
                rows.append(np.bincount(landmarks, minlength=478) / len(landmarks))
    reach, noise = (
        np.array([getattr(REGIONS[name], key) for name, _ in names]) for key in ("reach", "noise")
    )
    return names, np.array(rows), reach, 2.0 / noise


def _measure(flow_xy: np.ndarray, landmarks_xy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean motion `(R, 2)` of every window and its centre `(R, 2)`, in inter-ocular distances.

    In between: whether at least half of the window lies in the picture, `(R,)`.
    """
    _, rows, reach, _ = _windows()
    unit = _interocular(landmarks_xy)
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
def _columns() -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Motion of every window by each side of each AU `(2 R, K)`; which that is: (index in `TABLE`, side)."""
    names = _windows()[0]
    columns, owners = [], []
    for i, unit in enumerate(TABLE):
        for side in (0,) if unit.midline else (-1, 1):
            if unit.moves:
                columns.append([_motion(unit, side, name, where) for name, where in names])
                owners.append((i, side))
    return np.array(columns).reshape(len(columns), -1).T, owners


def _motion(unit: ActionUnit, side: int, name: str, where: int) -> tuple[float, float]:
    """(x, y) of one window. Each side of an AU moves the midline half as far, and the other side not."""
    out, down = unit.moves.get(name, (0.0, 0.0))
    if side == 0 or where == side:
        return out * where, down
    return (0.0, down / 2) if where == 0 else (0.0, 0.0)


def _seen(columns: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Whether most of what an AU moves lies in the picture, `(K,)`."""
    squares = np.square(columns)
    return squares[np.repeat(inside, 2)].sum(axis=0) > 0.5 * squares.sum(axis=0)


def _head(centres: np.ndarray) -> np.ndarray:
    """Motion of every window by a shift right, a shift down, a turn and a growth of the head, `(2 R, 4)`."""
    x, y = (centres - centres.mean(axis=0)).T
    one, nil = np.ones_like(x), np.zeros_like(x)
    return (
        np.stack([one, nil, nil, one, -y, x, x, y], axis=1)
        .reshape(len(x), 4, 2)
        .swapaxes(1, 2)
        .reshape(-1, 4)
    )


def _share_out(moved: np.ndarray, inside: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, float]:
    """How far each AU and side moves its strongest point `(K,)`, and the residual; inter-ocular distances.

    Non-negative least squares with a penalty that is renewed from the last answer: an AU that explains little
    pays more, so that a few AUs explain the motion rather than all of them a little. The two sides of an AU
    pay together.
    """
    columns, owners = _columns()
    trust = np.repeat(_windows()[3] * inside, 2)
    head = _head(centres)
    prior = np.diag(2.0 / np.array(_HEAD_PRIOR))
    left = np.vstack(
        [
            np.hstack([columns, head, -head]) * trust[:, None],
            np.hstack([np.zeros((4, len(owners))), prior, -prior]),
        ]
    )
    right = np.concatenate([moved.ravel() * trust, np.zeros(4)])
    square = left.T @ left + _RIDGE * np.eye(left.shape[1])
    factor = np.linalg.cholesky(square)
    target, count = left.T @ right, len(owners)
    penalty = np.zeros(len(target))
    for _ in range(_ROUNDS):
        amounts, _ = nnls(factor.T, np.linalg.solve(factor, target - penalty))
        both = _of_both_sides(amounts[:count], owners)
        most = both.max() + 1e-9
        penalty[:count] = _SPARSITY * most * np.diag(square)[:count] / (1 + both / (_SPARSE_BELOW * most))
    return amounts[:count], float(np.sqrt(np.mean(np.square(left @ amounts - right))))


def _of_both_sides(amounts: np.ndarray, owners: list[tuple[int, int]]) -> np.ndarray:
    units = np.array([i for i, _ in owners])
    return (np.bincount(units, amounts) / np.maximum(np.bincount(units), 1))[units]


# --- what a person annotated, and faces at rest -------------------------------------------------------------


def given_action_units(values: Mapping | Collection[str]) -> Intensities:
    """A person's annotation in the form of an estimate.

    Args:
        values (`Mapping` or `Collection[str]`): Names of the AUs that are present (`"AU4"`, `"4"`; `"L12"` or
            `"R12"` for one of the person's sides), or AU -> intensity, or AU -> (left, right, intensity) or
            None.

    Returns:
        `dict[str, tuple[float, float, float] | None]`: Every AU of the vocabulary; 0 for those not named.

    Raises:
        ValueError: If a name is not in the vocabulary, or an intensity not in [0, 1].
    """
    if isinstance(values, str):
        values = [values]
    found: Intensities = dict.fromkeys(VOCABULARY, (0.0, 0.0, 0.0))
    entries = values.items() if isinstance(values, Mapping) else [(name, 1.0) for name in values]
    for text, value in entries:
        name, side = _parse(text)
        if value is None:
            found[name] = None
            continue
        sides = value if isinstance(value, tuple | list) else (value, value, value)
        if len(sides) != 3 or not all(0 <= each <= 1 for each in sides):
            raise ValueError(f"{name} must be a number in [0, 1] or (left, right, intensity), got {value!r}.")
        left, right, whole = (float(each) for each in sides)
        before = found[name] or (0.0, 0.0, 0.0)  # L12 and R12 together are both sides
        left, right = (0.0 if side == "R" else left), (0.0 if side == "L" else right)
        found[name] = (max(left, before[0]), max(right, before[1]), max(whole, before[2]))
    return found


def _parse(text: str) -> tuple[str, str]:
    """`"L12"` -> `("AU12", "L")`."""
    match = re.fullmatch(r"([LR]?)(?:AU)?0*(\d+)", str(text).strip().upper())
    name = f"AU{match[2]}" if match else ""
    if name not in VOCABULARY:
        raise ValueError(
            f"unknown action unit {text!r}. Known: {', '.join(VOCABULARY)}, with L or R for a side."
        )
    return name, match[1]


def resting_action_units(blink: bool = False) -> Intensities:
    """The estimate for a face that does not move, or only blinks.

    Args:
        blink (`bool`, *optional*, defaults to `False`): Whether the face blinks.

    Returns:
        `dict[str, tuple[float, float, float] | None]`: 0 for all that motion can show, but for a blink's
        AU45.
    """
    rest = {unit.name: None if unit.hidden else (0.0, 0.0, 0.0) for unit in TABLE}
    return rest | ({"AU45": (1.0, 1.0, 1.0)} if blink else {})
