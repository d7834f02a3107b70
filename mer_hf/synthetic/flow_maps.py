"""Labelled motion maps of expressions that nobody performed.

AUs move a mesh, the mesh gives a field, and the field is measured badly. What an optical-flow method makes of a true motion field is imitated rather than computed: it holds on to
contrast (brows, lids, lips, folds), fills the smooth skin between from there, and adds noise where there is
none to hold on to.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ..flow import motion_map, span_to_uint8
from .expressions import CLASSES, draw_expression
from .muscles import PULLS, Pull, au_basis, side_field, vertex_displacement
from .template import FEATURE_LINES, face_template, interpolation_operator

FINE = 56
"""Side of the grid on which motion is drawn and measured before it is averaged down."""


@dataclass(frozen=True)
class FlowMapSettings:
    """What is varied from map to map; each pair is the range of a uniform draw unless said otherwise.

    Lengths are in inter-ocular distances, rows and columns in pixels of a 28 x 28 map.

    Attributes:
        class_shares (`tuple`): Shares of negative, positive, surprise.
        eye_row (`tuple`): Row of the eyes.
        interocular_px (`tuple`): Columns between the eye centres.
        squash (`tuple`): Vertical over horizontal scale of the crop.
        roll_deg (`float`): Largest tilt of the crop.
        identity (`float`): Standard deviation of the smooth deformation of the mesh.
        noise (`tuple`): Noise of the flow over the expression's peak, drawn log-uniformly.
        noise_grain_px (`tuple`): Grain of the noise on the fine grid.
        head (`float`): Largest head motion (standard deviation over the expression's peak).
        blink (`float`): Share of maps with a blink in progress.
        gaze (`float`): Share of maps in which the eyes move.
        smoothing_px (`tuple`): Reach of the flow method's smoothing on the fine grid.
        grip (`tuple`): Weight of skin without contrast against brows, lids and lips.
        outliers (`float`): Mean number of small strong disturbances.
        outlier_size (`float`): Their standard deviation over the expression's peak.
        outlier_at_border (`float`): Share of them at the border of the crop; the rest sits where there is
            contrast.
        medians (`int`): Most median filters passed over the flow.
        shrink (`float`): Most that a total-variation prior takes from each vector, over the expression's
            peak.
        light (`float`): Largest motion feigned by changing light, over the expression's peak.
        muscle (`float`): Spread (log) of the muscles' reach, and of their direction, from person to person.
    """

    class_shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    eye_row: tuple[float, float] = (6.0, 11.0)
    interocular_px: tuple[float, float] = (12.0, 16.5)
    squash: tuple[float, float] = (0.68, 1.08)
    roll_deg: float = 5.0
    identity: float = 0.045
    noise: tuple[float, float] = (0.01, 0.25)
    noise_grain_px: tuple[float, float] = (0.5, 5.0)
    head: float = 0.35
    blink: float = 0.12
    gaze: float = 0.15
    smoothing_px: tuple[float, float] = (0.6, 3.5)
    grip: tuple[float, float] = (0.05, 0.5)
    outliers: float = 3.0
    outlier_size: float = 1.2
    outlier_at_border: float = 0.5
    medians: int = 3
    shrink: float = 0.3
    light: float = 0.2
    muscle: float = 0.25


@lru_cache(maxsize=1)
def _canvas() -> dict[str, np.ndarray]:
    """The neutral face on a fixed raster: mesh weights, contrast, outline and depth."""
    side, left, top, span = 128, -1.6, -1.2, 3.2
    axis = (np.arange(side) + 0.5) / side * span
    query = np.stack(np.meshgrid(axis + left, axis + top), axis=-1).reshape(-1, 2)
    vertices = face_template()[0]
    index, weight, inside = interpolation_operator(vertices[:, :2], query)
    contrast = np.zeros((side, side), np.uint8)
    for line in FEATURE_LINES.values():
        pixels = (vertices[list(line), :2] - (left, top)) / span * side
        cv2.polylines(contrast, [np.round(pixels).astype(np.int32)], False, 255, 3)
    contrast = cv2.GaussianBlur(contrast.astype(np.float32) / 255.0, (0, 0), 2.0)
    mask = cv2.GaussianBlur(inside.reshape(side, side).astype(np.float32), (0, 0), 2.0)
    depth = (vertices[index, 2] * weight).sum(axis=1).reshape(side, side).astype(np.float32)
    depth = np.where(inside.reshape(side, side), depth, depth.max())
    return {
        "index": index,
        "weight": weight.astype(np.float32),
        "layers": np.dstack([contrast / contrast.max(), mask, cv2.GaussianBlur(depth, (0, 0), 3.0)]),
        "origin": np.array([left, top]),
        "scale": np.array(side / span),
    }


def _smooth_noise(rng: np.random.Generator, grain_px: float, planes: int, size: int = FINE) -> np.ndarray:
    """Noise of unit variance with a given grain, `(size, size, planes)`."""
    noise = rng.standard_normal((size, size, planes)).astype(np.float32)
    if grain_px > 0.3:
        noise = cv2.GaussianBlur(noise, (0, 0), grain_px, borderType=cv2.BORDER_REFLECT).reshape(
            size, size, planes
        )
    return noise / (noise.std() + 1e-9)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


class SyntheticFlowMaps:
    """An unlimited, labelled source of motion maps; sample i is a pure function of (seed, i).

    Args:
        seed (`int`): Chooses the stream.
        size (`int`): Number of samples in the view; sample i does not depend on it.
        settings ([`FlowMapSettings`], *optional*): What is varied.
        start (`int`, *optional*, defaults to 0): Index in the stream of sample 0 of the view.

    Examples:
        >>> sample = SyntheticFlowMaps(seed=0, size=10)[3]
        >>> sample["flow"].shape, sample["flow"].dtype
        ((28, 28, 3), dtype('uint8'))
    """

    def __init__(self, seed: int, size: int, settings: FlowMapSettings | None = None, start: int = 0):
        if size < 0 or seed < 0 or start < 0:
            raise ValueError(f"seed, size and start must not be negative, got {seed}, {size} and {start}.")
        self.seed, self.size, self.start = seed, size, start
        self.settings = settings or FlowMapSettings()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict:
        """One map.

        Returns:
            `dict`: `flow` uint8 `(28, 28, 3)`, channels (u, v, strain), each spanning 0 to 255; `label` int
            in [0, 3); `action_units` the drawn strengths, AU -> (left, right).
        """
        if not 0 <= index < self.size:
            raise IndexError(f"sample {index} of {self.size}")
        rng = np.random.default_rng([self.seed, self.start + index])
        label = int(rng.choice(len(CLASSES), p=self.settings.class_shares))
        expression = draw_expression(rng, label)
        flow_xy = draw_flow(rng, expression.drives, self.settings)
        return {"flow": span_to_uint8(motion_map(flow_xy)), "label": label, "action_units": expression.drives}


def draw_flow(
    rng: np.random.Generator, drives: dict[str, tuple[float, float]], settings: FlowMapSettings
) -> np.ndarray:
    """The measured flow of one face that shows an expression; the expression's peak is about 1.

    Args:
        rng (`np.random.Generator`): Source of chance.
        drives (`dict`): AU -> (left, right) strength.
        settings ([`FlowMapSettings`]): What is varied.

    Returns:
        `np.ndarray` of shape `(56, 56, 2)`: float32.
    """
    basis = _personal_basis(rng, drives, settings)
    moved = vertex_displacement(drives, basis)
    moved /= np.linalg.norm(moved, axis=1).max()
    moved += _eyes(rng, settings)
    canvas = _canvas()
    field_ = (moved[canvas["index"]] * canvas["weight"][..., None]).sum(axis=1).astype(np.float32)
    side = canvas["layers"].shape[0]
    layers = np.dstack([field_.reshape(side, side, 2), canvas["layers"]])
    seen, frame_xy = _look(rng, layers, settings)
    true, contrast, mask, depth = seen[..., :2], seen[..., 2], seen[..., 3], seen[..., 4]
    true = true + _head(rng, frame_xy, depth, mask, settings)
    return _measure(rng, true, contrast, mask, settings)


def _personal_basis(rng, drives, settings) -> dict[str, np.ndarray]:
    """Muscles reach further in one face than in another and pull in slightly other directions."""
    if settings.muscle == 0:
        return au_basis()
    basis = {}
    for name in drives:
        pulls = []
        for pull in PULLS[name]:
            reach = np.exp(settings.muscle * rng.standard_normal(2))
            gain = np.exp(settings.muscle * rng.standard_normal())
            turn = settings.muscle * rng.standard_normal()
            lateral = pull.lateral * np.cos(turn) - pull.down * np.sin(turn)
            down = pull.lateral * np.sin(turn) + pull.down * np.cos(turn)
            pulls.append(
                Pull(pull.vertex, lateral * gain, down * gain, pull.width * reach[0], pull.height * reach[1])
            )
        basis[name] = side_field(tuple(pulls))
    return basis


def _eyes(rng, settings) -> np.ndarray:
    """Lids in a blink or gaze that moves: common in every class, and no part of any."""
    moved = np.zeros((len(face_template()[0]), 2))
    if rng.random() < settings.blink:
        strength = rng.choice((-1.0, 1.0)) * rng.uniform(0.4, 2.0)
        moved += vertex_displacement({"AU45": (strength, strength)})
    if rng.random() < settings.gaze:
        vertices = face_template()[0]
        look = rng.normal(0.0, 0.7, 2) * (1.0, 0.5)
        for corner_a, corner_b in ((33, 133), (263, 362)):
            centre = (vertices[corner_a, :2] + vertices[corner_b, :2]) / 2
            offset = (vertices[:, :2] - centre) / (0.14, 0.07)
            moved += np.exp(-0.5 * np.square(offset).sum(axis=1))[:, None] * look
    return moved


def _look(rng, layers, settings) -> tuple[np.ndarray, np.ndarray]:
    """Cut the face out as a data set's crop would, for a person whose features are a little elsewhere."""
    to_fine = FINE / 28.0
    interocular = rng.uniform(*settings.interocular_px) * to_fine
    squash = rng.uniform(*settings.squash)
    roll = np.deg2rad(settings.roll_deg) * rng.uniform(-1, 1)
    centre = np.array([13.5 + rng.normal(0, 0.7), rng.uniform(*settings.eye_row)]) * to_fine
    grid = np.stack(np.meshgrid(np.arange(FINE), np.arange(FINE)), axis=-1) - centre
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    face_xy = (grid @ turn) / interocular / (1.0, squash)
    warp = _smooth_noise(rng, FINE / 7, 2) * settings.identity
    mirrored = rng.uniform() < 0.5  # faces are mostly symmetric in their oddities
    if mirrored:
        warp = (warp + warp[:, ::-1] * (-1.0, 1.0)) / np.sqrt(2)
    canvas = _canvas()
    pixels = ((face_xy + warp - canvas["origin"]) * canvas["scale"] - 0.5).astype(np.float32)
    seen = [
        cv2.remap(np.ascontiguousarray(layers[..., part]), pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR)
        for part in (slice(0, 2), slice(2, 5))
    ]
    seen = np.dstack(seen)
    flow = seen[..., :2] * (1.0, squash)
    if rng.random() < 0.5:
        return np.dstack([flow, seen[..., 2:]])[:, ::-1] * (-1.0, 1, 1, 1, 1), face_xy[:, ::-1]
    return np.dstack([flow, seen[..., 2:]]), face_xy


def _head(rng, face_xy, depth, mask, settings) -> np.ndarray:
    """What the head's own motion leaves: shift, roll, nearing and turns, which move near parts most."""
    size = settings.head * abs(rng.standard_normal()) if settings.head else 0.0
    shift, roll, nearing = rng.normal(0, 1, 2), rng.normal(0, 0.5), rng.normal(0, 0.3)
    yaw, pitch = rng.normal(0, 0.7, 2)
    x, y = face_xy[..., 0], face_xy[..., 1] - 0.5
    u = shift[0] - roll * y + nearing * x - yaw * depth
    v = shift[1] + roll * x + nearing * y - pitch * depth
    background = float(
        rng.uniform() < 0.5
    )  # behind the face nothing moves, unless the crop shows neck and hair
    weight = background + (1 - background) * mask
    return (size * np.dstack([u, v]) * weight[..., None]).astype(np.float32)


def _measure(rng, true, contrast, mask, settings) -> np.ndarray:
    """Imitate a flow method: smooth with more weight where there is contrast, noise where there is none."""
    grip = rng.uniform(*settings.grip)
    trust = (grip + contrast).astype(np.float32)
    noise = _smooth_noise(rng, rng.uniform(*settings.noise_grain_px), 2)
    noise *= _log_uniform(rng, *settings.noise) / np.sqrt(trust)[..., None]
    light = _smooth_noise(rng, FINE / 5, 2) * settings.light * rng.uniform() ** 2
    raw = np.dstack([(true + noise + light) * trust[..., None], trust]).astype(np.float32)
    smooth = cv2.GaussianBlur(raw, (0, 0), rng.uniform(*settings.smoothing_px), borderType=cv2.BORDER_REFLECT)
    flow = smooth[..., :2] / smooth[..., 2:]
    for _ in range(rng.poisson(settings.outliers)):
        flow = flow + _outlier(rng, contrast, settings)
    flow = np.ascontiguousarray(flow, dtype=np.float32)
    for _ in range(rng.integers(settings.medians + 1)):
        flow = cv2.medianBlur(flow[..., 0], 5), cv2.medianBlur(flow[..., 1], 5)
        flow = np.dstack(flow)
    return _shrink(flow, rng.uniform(0.0, settings.shrink))


def _shrink(flow, threshold) -> np.ndarray:
    """Small differences vanish, as under a total-variation prior: each vector loses `threshold`."""
    rest = np.median(flow, axis=(0, 1))
    length = np.linalg.norm(flow - rest, axis=-1, keepdims=True)
    return rest + (flow - rest) * np.maximum(0.0, 1.0 - threshold / (length + 1e-6))


def _outlier(rng, contrast, settings) -> np.ndarray:
    """A small strong disturbance: hair or clothes at the border, a glint or a lid where there is contrast."""
    spot = rng.uniform(0, FINE - 1, 2)
    if rng.random() < settings.outlier_at_border:
        spot[rng.integers(2)] = rng.choice((0.0, FINE - 1.0))
    else:
        weight = (contrast + 0.05).ravel().astype(np.float64)
        chosen = rng.choice(weight.size, p=weight / weight.sum())
        spot = np.array([chosen % FINE, chosen // FINE])
    grid = np.stack(np.meshgrid(np.arange(FINE), np.arange(FINE)), axis=-1)
    reach = np.exp(rng.uniform(np.log(1.0), np.log(6.0), 2))
    fade = np.exp(-0.5 * np.square((grid - spot) / reach).sum(axis=-1))
    return fade[..., None] * rng.normal(0, settings.outlier_size, 2)
