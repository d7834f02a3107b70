"""Draw labelled flow maps of expressions that nobody performed.

AUs move a mesh, and the mesh gives a field of true motion. A network sees a measurement of it, made in one of
two ways: a drawn face is moved, pictured twice with noise, and put through a real optical-flow method; or,
faster, the method is imitated: it holds on to contrast (brows, lids, lips, folds), fills the smooth skin
between from there, and adds noise and outliers.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator

from mer_hf.face.flow import flow_map, optical_flow, span_to_uint8
from mer_hf.face.landmarks import eye_centres

from .contraction import ACTIONS, contraction_field
from .expressions import Activations, Expression, begin_sample
from .identities import Canvas, draw_identity
from .muscles import PULLS, Basis, Pull, au_basis, side_field, vertex_displacement
from .pictures import LEFT, SIDE, SPAN, TOP, draw_face
from .template import FEATURE_LINES, Operator, carry, face_template, interpolation_operator
from .warp import carried_back, look_up, pixel_grid, rotation

FINE = 56
"""Side of the grid on which motion is drawn and measured before it is averaged down."""

STRONG_HEAD = 0.7
"""Spread of the head's motion, relative to the expression's peak, where the head moves much."""

LARGEST_TVL1_PX = 112
"""Largest picture measured with TV-L1, whose time grows with the picture."""


@dataclass(frozen=True)
class FlowMapSettings:
    """What is varied from map to map; each pair is the range of a uniform draw unless said otherwise.

    Rows and columns are in pixels of a 28 x 28 map; a share is a probability; "relative" means relative
    to the expression's peak.

    Attributes:
        class_shares (`tuple`): Of negative, positive, surprise. By default those of the MEGC2019 composite's
            public list: 250, 109 and 83 of 442 clips.
        muscle (`float`): Spread (log) of the muscles' reach, strength and direction from person to person.
        reach (`tuple`): How far a person's muscles reach, relative to `muscles.py`.
        contraction (`float`): Share of people whose skin moves as in `contraction.py`.
        person (`float`): Share of filmed maps that show a person of `identities.py`; the rest is a sketch.
        blink (`float`): Share of maps with a blink in progress.
        gaze (`float`): Share of maps in which the eyes move.
        eye_row (`tuple`): Row of the eyes in the crop.
        interocular_px (`tuple`): Columns between the eye centres.
        squash (`tuple`): Vertical over horizontal scale of the crop.
        roll_deg (`float`): Largest tilt of the crop.
        identity (`float`): Standard deviation of the smooth bending of the face, in interocular distances.
        head (`float`): Spread of the head's relative motion.
        strong_head (`float`): Share of maps in which that spread is `STRONG_HEAD`.
        filmed (`float`): Share of maps measured on a drawn face; the rest is imitated.
        picture_px (`tuple`): Sides of the filmed pictures, one of which is drawn.
        peak_px (`tuple`): Largest motion at the apex in pixels of a picture of 112, drawn log-uniformly.
        sensor_noise (`tuple`): Standard deviation in grey levels, drawn log-uniformly.
        blur_px (`float`): Largest blur of the camera, in pixels of a picture of 112.
        gain (`float`): Spread of the change of brightness from onset to apex.
        light_levels (`float`): Largest local change of light, in grey levels.
        tvl1 (`float`): Share of filmed maps measured with TV-L1; the rest, and every picture larger than 112,
            with DIS.
        noise (`tuple`): Relative noise of an imitated flow, drawn log-uniformly.
        noise_grain_px (`tuple`): Its grain on the imitation's 56 x 56 raster.
        light (`float`): Largest relative motion faked by changing light.
        grip (`tuple`): Weight of skin without contrast against brows, lids and lips.
        smoothing_px (`tuple`): Reach of the imitated method's smoothing on its raster.
        outliers (`float`): Mean number of small strong outliers.
        outlier_size (`float`): Their relative spread.
        outlier_at_border (`float`): Share of them at the border of the crop; the rest sits where there is
            contrast.
        medians (`int`): Most median filters passed over the imitated flow.
        shrink (`float`): Most that a total-variation prior takes from each vector, relative.
    """

    class_shares: tuple[float, float, float] = (0.566, 0.247, 0.187)
    muscle: float = 0.25
    reach: tuple[float, float] = (0.65, 0.95)
    contraction: float = 0.0
    person: float = 0.0
    blink: float = 0.12
    gaze: float = 0.15
    eye_row: tuple[float, float] = (6.0, 11.0)
    interocular_px: tuple[float, float] = (12.0, 16.5)
    squash: tuple[float, float] = (0.68, 1.08)
    roll_deg: float = 5.0
    identity: float = 0.045
    head: float = 0.15
    strong_head: float = 0.2
    filmed: float = 0.5
    picture_px: tuple[int, ...] = (84, 112, 224, 224)
    peak_px: tuple[float, float] = (0.4, 4.0)
    sensor_noise: tuple[float, float] = (0.2, 4.0)
    blur_px: float = 1.5
    gain: float = 0.015
    light_levels: float = 4.0
    tvl1: float = 0.5
    noise: tuple[float, float] = (0.01, 0.25)
    noise_grain_px: tuple[float, float] = (0.5, 5.0)
    light: float = 0.2
    grip: tuple[float, float] = (0.05, 0.5)
    smoothing_px: tuple[float, float] = (0.4, 2.5)
    outliers: float = 1.5
    outlier_size: float = 1.2
    outlier_at_border: float = 0.25
    medians: int = 2
    shrink: float = 0.3


@lru_cache(maxsize=1)
def _canvas() -> tuple[Operator, np.ndarray]:
    """Return what carries motion to a fixed raster; and contrast, outline and depth of the face on it."""
    side = 128
    axis = (np.arange(side) + 0.5) / side * SPAN
    vertices = face_template()[0]
    (index, weight), inside = interpolation_operator(vertices[:, :2], axis + LEFT, axis + TOP)
    contrast = np.zeros((side, side), np.uint8)
    for line in FEATURE_LINES.values():
        pixels = (vertices[list(line), :2] - (LEFT, TOP)) / SPAN * side
        cv2.polylines(contrast, [np.round(pixels).astype(np.int32)], False, 255, 3)
    contrast = cv2.GaussianBlur(contrast.astype(np.float32) / 255.0, (0, 0), 2.0)
    mask = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 2.0)
    depth = carry(vertices[:, 2:], (index, weight))[..., 0]
    depth = cv2.GaussianBlur(np.where(inside, depth, depth.max()), (0, 0), 3.0)
    layers = np.dstack([contrast / contrast.max(), mask, depth])
    return (index, weight.astype(np.float32)), layers


def smooth_noise(rng: Generator, grain_px: float, planes: int, size: int = FINE) -> np.ndarray:
    """Draw noise of unit variance with a given grain, `(size, size, planes)`."""
    noise = rng.standard_normal((size, size, planes)).astype(np.float32)
    if grain_px > 0.3:
        noise = cv2.GaussianBlur(noise, (0, 0), grain_px, borderType=cv2.BORDER_REFLECT)
    noise = noise.reshape(size, size, planes)
    return noise / (noise.std() + 1e-9)


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of `low` and `high`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@dataclass(eq=False)
class Stream:
    """An unlimited stream of samples, and a view of `size` of them from `start` on.

    Sample i is a pure function of (seed, start + i).
    """

    seed: int
    size: int

    def __post_init__(self):
        if self.size < 0 or self.seed < 0 or self.start < 0:
            got = f"{self.seed}, {self.size} and {self.start}"
            raise ValueError(f"seed, size and start must not be negative, got {got}.")

    def __len__(self) -> int:
        return self.size

    def begin(self, index: int) -> tuple[Generator, Expression]:
        """Return the random generator of a sample of the view, and the expression first drawn from it."""
        if not 0 <= index < self.size:
            raise IndexError(f"sample {index} of {self.size}")
        return begin_sample(self.seed, self.start + index, self.settings.class_shares)


@dataclass(eq=False)
class SyntheticFlowMaps(Stream):
    """An unlimited, labelled source of flow maps; sample i is a pure function of (seed, i).

    Args:
        seed (`int`): Chooses the stream.
        size (`int`): Number of samples in the view; sample i does not depend on it.
        settings ([`FlowMapSettings`], *optional*): What is varied.
        start (`int`, *optional*, defaults to 0): Index in the stream of sample 0 of the view.
        picture (`np.ndarray` of shape `(S, S)`, *optional*): A face on the raster of `pictures.py`, moved in
            place of drawn ones: a photograph, for testing what was learnt from drawings.

    Examples:
        >>> sample = SyntheticFlowMaps(seed=0, size=10)[3]
        >>> sample["flow"].shape, sample["flow"].dtype
        ((28, 28, 3), dtype('uint8'))
    """

    settings: FlowMapSettings = FlowMapSettings()
    start: int = 0
    picture: np.ndarray | None = None

    def __getitem__(self, index: int) -> dict:
        """Draw one flow map.

        Returns:
            `dict`: `flow` uint8 `(28, 28, 3)`, channels (u, v, strain), each spanning 0 to 255; `label` int
            in [0, 3); `action_units` the drawn strengths, AU -> (left, right).
        """
        rng, expression = self.begin(index)
        flow_xy = draw_flow(rng, expression.activations, self.settings, self.picture)
        flow = span_to_uint8(flow_map(flow_xy))
        return {"flow": flow, "label": expression.label, "action_units": expression.activations}


def draw_flow(
    rng: Generator, activations: Activations, settings: FlowMapSettings, picture: np.ndarray | None = None
) -> np.ndarray:
    """Draw the measured flow `(S, S, 2)` of one face that shows an expression; S and the unit vary."""
    moved = vertex_displacement(activations, personal_basis(rng, activations, settings))
    moved /= np.linalg.norm(moved, axis=1).max()
    moved += eye_motion(rng, settings)
    operator, layers = _canvas()
    layers = np.dstack([carry(moved, operator), layers])
    filmed = rng.random() < settings.filmed
    size = int(rng.choice(settings.picture_px)) if filmed else FINE
    face_xy, squash = _crop(rng, size, settings)
    seen = _look_up(layers, face_xy)
    true = seen[..., :2] * (1.0, squash) + _head(rng, face_xy, seen[..., 4], seen[..., 3], settings)
    if filmed:
        picture = _picture(rng, settings) if picture is None else picture
        return _film(rng, true, _look_up(picture[..., None], face_xy)[..., 0], settings)
    return _measure(rng, true, seen[..., 2], settings)


def _picture(rng, settings) -> np.ndarray:
    """Draw a gray face in the neutral proportions, which the crop bends later."""
    if not settings.person or rng.random() >= settings.person:
        return draw_face(rng)
    person = draw_identity(rng, Canvas(SIDE / SPAN, LEFT, TOP, SIDE, SIDE), proportions=0.0)
    return cv2.cvtColor(person.picture, cv2.COLOR_RGB2GRAY)


def personal_basis(rng, activations, settings) -> Basis:
    """Draw the muscles of a person: their reach, strength and direction vary."""
    if settings.muscle == 0:
        return au_basis()
    basis, reaches = {}, rng.uniform(*settings.reach)
    contracts = settings.contraction > 0 and rng.random() < settings.contraction
    for name in activations:
        if contracts and name in ACTIONS:
            basis[name] = contraction_field(ACTIONS[name], rng, settings.muscle, reaches)
            continue
        pulls = []
        for pull in PULLS[name]:
            reach = reaches * np.exp(settings.muscle * rng.standard_normal(2))
            gain = np.exp(settings.muscle * rng.standard_normal())
            turn = settings.muscle * rng.standard_normal()
            lateral = pull.lateral * np.cos(turn) - pull.down * np.sin(turn)
            down = pull.lateral * np.sin(turn) + pull.down * np.cos(turn)
            width, height = pull.width * reach[0], pull.height * reach[1]
            pulls.append(Pull(pull.vertex, lateral * gain, down * gain, width, height))
        basis[name] = side_field(tuple(pulls))
    return basis


def eye_motion(rng, settings) -> np.ndarray:
    """Draw lids in a blink or a moving gaze: common in every class, and not part of any."""
    moved = np.zeros((len(face_template()[0]), 2))
    if rng.random() < settings.blink:
        strength = rng.choice((-1.0, 1.0)) * rng.uniform(0.4, 2.0)
        moved += vertex_displacement({"AU45": (strength, strength)})
    if rng.random() < settings.gaze:
        moved += eye_field(rng)
    return moved


def eye_field(rng) -> np.ndarray:
    """Draw where the eyes and the skin around them go when they look elsewhere, `(468, 2)`."""
    vertices = face_template()[0]
    look = rng.normal(0.0, 0.7, 2) * (1.0, 0.5)
    moved = np.zeros((len(vertices), 2))
    for centre in eye_centres(vertices[:, :2]):
        offset = (vertices[:, :2] - centre) / (0.14, 0.07)
        moved += np.exp(-0.5 * np.square(offset).sum(axis=1))[:, None] * look
    return moved


def _crop(rng, size, settings) -> tuple[np.ndarray, float]:
    """Draw where a dataset's crop looks on the neutral face, `(size, size, 2)`, and its vertical squash.

    The person's features are a little elsewhere than the neutral face's: the lookup is bent smoothly.
    """
    scale = size / 28.0
    interocular = rng.uniform(*settings.interocular_px) * scale
    squash = rng.uniform(*settings.squash)
    roll = np.deg2rad(settings.roll_deg) * rng.uniform(-1, 1)
    centre = np.array([13.5 + rng.normal(0, 0.7), rng.uniform(*settings.eye_row)]) * scale
    grid = pixel_grid(size, size) - centre
    warp = smooth_noise(rng, size / 7, 2, size) * settings.identity
    if rng.random() < 0.5:  # faces are mostly symmetric in their oddities
        warp = (warp + warp[:, ::-1] * (-1.0, 1.0)) / np.sqrt(2)
    return (grid @ rotation(roll)) / interocular / (1.0, squash) + warp, squash


def _look_up(layers, face_xy) -> np.ndarray:
    """Return the values of a square raster of the neutral face at face coordinates, `(S, S, C)`."""
    pixels = ((face_xy - (LEFT, TOP)) / SPAN * layers.shape[0] - 0.5).astype(np.float32)
    parts = np.split(np.ascontiguousarray(layers, dtype=np.float32), range(4, layers.shape[2], 4), axis=2)
    seen = [cv2.remap(part, pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR) for part in parts]
    return np.concatenate([part.reshape(*face_xy.shape[:2], -1) for part in seen], axis=2)


def _film(rng, true, picture, settings) -> np.ndarray:
    """Move a drawn face by the true field, picture it before and after, and measure the flow between."""
    size = len(picture)
    true = (true * log_uniform(rng, *settings.peak_px) * size / 112).astype(np.float32)
    grid = pixel_grid(size, size)
    apex = look_up(picture, grid - carried_back(true, grid, true), cv2.INTER_CUBIC)
    light = smooth_noise(rng, size / 5, 1, size)[..., 0] * rng.uniform(0, settings.light_levels)
    apex = apex * (1 + rng.normal(0, settings.gain)) + light
    noise, blur_px = log_uniform(rng, *settings.sensor_noise), rng.uniform(0, settings.blur_px) * size / 112
    onset, apex = (expose(rng, frame, noise, blur_px) for frame in (picture, apex))
    if rng.random() < settings.tvl1 and size <= LARGEST_TVL1_PX:
        return cv2.optflow.DualTVL1OpticalFlow_create(warps=2).calc(onset, apex, None)
    return optical_flow(onset, apex)


def expose(rng, picture, noise, blur_px=0.0) -> np.ndarray:
    """Expose a picture to the sensor: blur, noise, 8 bits."""
    if blur_px > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), blur_px)
    noisy = picture + noise * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def head_spread(rng, settings) -> float:
    """Draw the spread of the head's motion, which is large in some samples."""
    return STRONG_HEAD if rng.random() < settings.strong_head else settings.head


def _head(rng, face_xy, depth, mask, settings) -> np.ndarray:
    """Draw what the head's own motion leaves: shift, roll, nearing and turns, which move near parts most."""
    size = head_spread(rng, settings) * abs(rng.standard_normal())
    shift, roll, nearing = rng.normal(0, 1, 2), rng.normal(0, 0.5), rng.normal(0, 0.3)
    yaw, pitch = rng.normal(0, 0.7, 2)
    x, y = face_xy[..., 0], face_xy[..., 1] - 0.5
    u = shift[0] - roll * y + nearing * x - yaw * depth
    v = shift[1] + roll * x + nearing * y - pitch * depth
    # Behind the face nothing moves, unless the crop shows neck and hair.
    background = float(rng.uniform() < 0.5)
    weight = background + (1 - background) * mask
    return (size * np.dstack([u, v]) * weight[..., None]).astype(np.float32)


def _measure(rng, true, contrast, settings) -> np.ndarray:
    """Imitate a flow method: smooth with more weight where there is contrast, noise where there is none."""
    grip = rng.uniform(*settings.grip)
    trust = (grip + contrast).astype(np.float32)
    noise = smooth_noise(rng, rng.uniform(*settings.noise_grain_px), 2)
    noise *= log_uniform(rng, *settings.noise) / np.sqrt(trust)[..., None]
    light = smooth_noise(rng, FINE / 5, 2) * settings.light * rng.uniform() ** 2
    raw = np.dstack([(true + noise + light) * trust[..., None], trust]).astype(np.float32)
    smooth = cv2.GaussianBlur(raw, (0, 0), rng.uniform(*settings.smoothing_px), borderType=cv2.BORDER_REFLECT)
    flow = smooth[..., :2] / smooth[..., 2:]
    for _ in range(rng.poisson(settings.outliers)):
        flow = flow + _outlier(rng, contrast, settings)
    flow = np.ascontiguousarray(flow, dtype=np.float32)
    for _ in range(rng.integers(settings.medians + 1)):
        flow = np.dstack([cv2.medianBlur(flow[..., 0], 5), cv2.medianBlur(flow[..., 1], 5)])
    return _shrink(flow, rng.uniform(0.0, settings.shrink))


def _shrink(flow, threshold) -> np.ndarray:
    """Take `threshold` from each vector: small differences vanish, as under a total-variation prior."""
    rest = np.median(flow, axis=(0, 1))
    length = np.linalg.norm(flow - rest, axis=-1, keepdims=True)
    return rest + (flow - rest) * np.maximum(0.0, 1.0 - threshold / (length + 1e-6))


def _outlier(rng, contrast, settings) -> np.ndarray:
    """Draw a small strong outlier: hair or clothes at the border, a glint or a lid at contrast."""
    spot = rng.uniform(0, FINE - 1, 2)
    if rng.random() < settings.outlier_at_border:
        spot[rng.integers(2)] = rng.choice((0.0, FINE - 1.0))
    else:
        weight = (contrast + 0.05).ravel().astype(np.float64)
        chosen = rng.choice(weight.size, p=weight / weight.sum())
        spot = np.array([chosen % FINE, chosen // FINE])
    reach = np.exp(rng.uniform(np.log(1.0), np.log(6.0), 2))
    fade = np.exp(-0.5 * np.square((pixel_grid(FINE, FINE) - spot) / reach).sum(axis=-1))
    return fade[..., None] * rng.normal(0, settings.outlier_size, 2)
