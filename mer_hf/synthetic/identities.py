"""Draw people who do not exist, in colour: a mesh of varied proportions, lit and painted.

A person is the neutral mesh bent into other proportions, a skin between very light and very dark, eyes,
brows, lips, nose, hair, now and then a beard, glasses or freckles, and light from somewhere. Everything is
drawn; no portrait is used. Unit: the interocular distance; origin: the point between the eye centres.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .template import FACE_OUTLINE, Operator, carry, face_template, interpolation_operator
from .warp import look_up

LIDS = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (133, 155, 154, 153, 145, 144, 163, 7, 33)),
    ((263, 466, 388, 387, 386, 385, 384, 398, 362), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
"""Upper and lower lid of each eye, image left first."""
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
UPPER_LIP = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78,
)  # fmt: skip
LOWER_LIP = (
    61, 78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
)  # fmt: skip
LIP_LINE = (61, 78, 81, 13, 311, 308, 291)
NOSE_SIDES = ((193, 122, 196, 3, 51, 45), (417, 351, 419, 248, 281, 275))
NOSE_WINGS = ((49, 48, 64, 98), (279, 278, 294, 327))
NOSTRILS = ((98, 97), (327, 326))
FOLDS = ((129, 206, 216, 212), (358, 426, 436, 432))
BAGS = ((243, 112, 26, 22, 23, 24, 110, 25), (463, 341, 256, 252, 253, 254, 339, 255))

SKIN_TONES = np.array(
    [(248, 220, 200), (233, 190, 160), (205, 158, 122), (168, 118, 84), (122, 82, 56), (78, 53, 40),
     (50, 36, 30)], np.float32,
)  # fmt: skip
"""From very light to very dark, sRGB."""
HAIR_TONES = np.array(
    [(22, 18, 17), (45, 32, 26), (86, 58, 38), (150, 110, 66), (110, 52, 30), (150, 148, 146)]
)
IRIS_TONES = np.array([(48, 30, 20), (84, 56, 34), (92, 96, 60), (84, 116, 140)])

FURROWS: dict[str, tuple[tuple[tuple[int, ...], float], ...]] = {
    "AU1": (((108, 151, 337), 1.0), ((69, 108, 151, 337, 299), 0.6)),
    "AU2": (((104, 69, 108), 0.7), ((333, 299, 337), 0.7)),
    "AU4": (((55, 107), 1.0), ((285, 336), 1.0), ((168, 8), 0.5)),
    "AU6": (((33, 226, 35), 0.8), ((263, 446, 265), 0.8), ((110, 25, 226), 0.5), ((339, 255, 446), 0.5)),
    "AU7": (((23, 24, 110), 0.5), ((253, 254, 339), 0.5)),
    "AU9": (((193, 6, 417), 0.9), ((122, 196), 0.8), ((351, 419), 0.8)),
    "AU10": (((129, 206), 1.0), ((358, 426), 1.0)),
    "AU12": (((129, 206, 216), 1.0), ((358, 426, 436), 1.0)),
    "AU14": (((61, 57, 43), 1.0), ((291, 287, 273), 1.0)),
    "AU15": (((61, 43, 106), 0.8), ((291, 273, 335), 0.8)),
    "AU17": (((83, 18, 313), 0.9), ((208, 199, 428), 0.6)),
    "AU24": (((40, 37, 0, 267, 270), 0.5), ((181, 17, 405), 0.5)),
}  # fmt: skip
"""AU -> lines of vertices along which skin that is pushed together gets darker, and how much."""


@dataclass(frozen=True)
class Canvas:
    """A picture in face coordinates.

    Attributes:
        px (`float`): Pixels per interocular distance.
        left, top (`float`): Face coordinates of the picture's corner.
        width, height (`int`): In pixels.
    """

    px: float
    left: float
    top: float
    width: int
    height: int

    def to_pixels(self, points_xy) -> np.ndarray:
        """Map face coordinates to pixels; pixel centres lie on whole numbers."""
        return (np.asarray(points_xy, np.float64) - (self.left, self.top)) * self.px - 0.5


@dataclass(frozen=True, eq=False)
class Identity:
    """A person at rest.

    Attributes:
        picture (`np.ndarray` of shape `(H, W, 3)`): float32 RGB, 0 to 255.
        points_xy (`np.ndarray` of shape `(468, 2)`): Landmarks in its pixels.
        furrows (`dict[str, np.ndarray]`): AU -> `(H, W)` float32, what the light loses at full strength;
            empty unless asked for.
    """

    picture: np.ndarray
    points_xy: np.ndarray
    furrows: dict[str, np.ndarray]


def draw_identity(
    rng: np.random.Generator, canvas: Canvas, furrows: tuple[str, ...] = (), proportions: float = 1.0
) -> Identity:
    """Draw one person.

    Args:
        rng (`np.random.Generator`): Source of chance.
        canvas ([`Canvas`]): What of the person is seen, and how large.
        furrows (`tuple[str, ...]`, *optional*): AUs whose furrows are drawn.
        proportions (`float`, *optional*, defaults to 1.0): How far they differ from the neutral face's.
    """
    person, brush = _Person(rng, proportions), _Brush(canvas)
    _background(rng, brush)
    for draw in (_body, _skin, _features, _hair_in_front, _extras):
        draw(rng, brush, person)
    drawn = {name: _furrow(brush, person.points, FURROWS[name]) for name in furrows if name in FURROWS}
    return Identity(np.clip(brush.picture, 0, 255), canvas.to_pixels(person.points), drawn)


def melanin_of(rng: np.random.Generator) -> float:
    """Return how dark the skin of the person is that `draw_identity` would draw, 0 to 1."""
    return _Person(rng, 1.0).melanin


class _Person:
    """Proportions and colours of one person."""

    def __init__(self, rng, proportions: float):
        vertices = face_template()[0]
        self.melanin = float(rng.uniform(0, 1))
        tint = np.exp(rng.normal(0, 0.04) + rng.normal(0, 0.02, 3))
        self.skin = (_between(SKIN_TONES, self.melanin) * tint).astype(np.float32)
        dark_haired = rng.random() < 0.35 + 0.65 * min(1.0, self.melanin * 1.6)
        choice = rng.integers(0, 2) if dark_haired else rng.integers(0, len(HAIR_TONES))
        self.hair = HAIR_TONES[choice] * np.exp(rng.normal(0, 0.15))
        if rng.random() < 0.12:  # grey
            self.hair = HAIR_TONES[-1] * rng.uniform(0.6, 1.2)
        self.age = float(rng.beta(1.3, 2.0))
        self.woman = bool(rng.random() < 0.5)
        iris = rng.integers(0, 2) if self.melanin > 0.35 else rng.integers(0, len(IRIS_TONES))
        self.iris = IRIS_TONES[iris] * np.exp(rng.normal(0, 0.15))
        self.points = vertices[:, :2] + proportions * _proportions(rng, vertices[:, :2])
        self.relief = float(rng.uniform(0.7, 1.2))


def _between(tones: np.ndarray, share: float) -> np.ndarray:
    place = share * (len(tones) - 1)
    first = min(int(place), len(tones) - 2)
    return tones[first] + (tones[first + 1] - tones[first]) * np.float32(place - first)


def _proportions(rng, points: np.ndarray) -> np.ndarray:
    """Draw how far a person's landmarks lie from the neutral mesh's, in interocular distances."""
    x, y = points.T

    def around(cx, cy, width, height):
        return np.exp(-0.5 * (((np.abs(x) - cx) / width) ** 2 + ((y - cy) / height) ** 2))

    moved = np.zeros_like(points)
    lower = 1 / (1 + np.exp(-(y - 0.75) / 0.2))
    moved[:, 0] += x * (rng.normal(0, 0.05) + rng.normal(0, 0.06) * lower)  # cheeks and jaw
    moved[:, 1] += np.maximum(y, 0) * rng.normal(0, 0.05) + np.minimum(y, 0) * rng.normal(0, 0.08)
    moved[:, 1] += rng.normal(0, 0.03) * np.clip((y - 1.05) / 0.6, 0, 1)  # chin
    open_ = rng.normal(0, 0.13)
    moved[:, 1] += open_ * (y + 0.02) * around(0.5, -0.02, 0.3, 0.12)  # how open the eyes are
    slant = rng.normal(0, 0.025) * np.where(x == 0, 0, 1)
    moved[:, 1] += slant * (np.abs(x) - 0.5) * around(0.5, 0, 0.3, 0.15)
    moved[:, 1] += rng.normal(0, 0.045) * around(0.55, -0.33, 0.45, 0.12)  # height of the brows
    moved[:, 0] += x * rng.normal(0, 0.12) * around(0.0, 0.5, 0.35, 0.2)  # width of the nose
    moved[:, 1] += rng.normal(0, 0.04) * around(0.0, 0.55, 0.35, 0.2)  # its length
    moved[:, 0] += x * rng.normal(0, 0.09) * around(0.0, 0.95, 0.5, 0.18)  # width of the mouth
    moved[:, 1] += (y - 0.93) * rng.normal(0, 0.2) * around(0.0, 0.93, 0.4, 0.16)  # fullness of the lips
    moved[:, 1] += rng.normal(0, 0.025) * around(0.45, 0.95, 0.12, 0.12)  # where the corners point
    moved += _wave(rng, points, 0.012)
    return moved


def _wave(rng, points, size: float) -> np.ndarray:
    """Draw a smooth random field: a few plane waves."""
    total = np.zeros_like(points)
    for _ in range(4):
        direction, phase = rng.normal(0, 1.6, 2), rng.uniform(0, 2 * np.pi)
        total += size * rng.normal(0, 1, 2) * np.sin(points @ direction + phase)[:, None]
    return total


class _Brush:
    """Soft areas and lines on a picture, each painted only where it is."""

    def __init__(self, canvas: Canvas):
        self.canvas = canvas
        self.picture = np.zeros((canvas.height, canvas.width, 3), np.float32)
        self.x = ((np.arange(canvas.width, dtype=np.float32) + 0.5) / canvas.px + canvas.left)[None]
        self.y = ((np.arange(canvas.height, dtype=np.float32) + 0.5) / canvas.px + canvas.top)[:, None]

    def mask(self, points_xy, soft: float, line: float = 0.0, closed: bool = False):
        """Return the slices around an area or line, and its share of each pixel there; in face units."""
        canvas, soft_px = self.canvas, max(soft * self.canvas.px, 0.4)
        points = canvas.to_pixels(points_xy)
        margin = int(3 * soft_px + line * canvas.px + 2)
        low = np.maximum(np.floor(points.min(axis=0)).astype(int) - margin, 0)
        high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + margin + 1, (canvas.width, canvas.height))
        if (high <= low).any():
            return (slice(0), slice(0)), np.zeros((0, 0), np.float32)
        layer = np.zeros((high[1] - low[1], high[0] - low[0]), np.float32)
        fixed = np.round((points - low) * 16).astype(np.int32)
        if line:
            cv2.polylines(layer, [fixed], closed, 1.0, max(1, round(line * canvas.px)), cv2.LINE_AA, 4)
        else:
            cv2.fillPoly(layer, [fixed], 1.0, cv2.LINE_AA, 4)
        return (slice(low[1], high[1]), slice(low[0], high[0])), cv2.GaussianBlur(layer, (0, 0), soft_px)

    def fill(self, points_xy, tone, soft, opacity=1.0, line=0.0, closed=False):
        """Paint an area or a line in a tone (3,) or with a picture `(H, W, 3)`."""
        place, share = self.mask(points_xy, soft, line, closed)
        tone = np.asarray(tone, np.float32)
        area = self.picture[place]
        area += (opacity * share)[..., None] * ((tone[place] if tone.ndim == 3 else tone) - area)

    def shade(self, points_xy, factor, soft, line=0.0):
        """Darken (below 1) or brighten an area or a line."""
        place, share = self.mask(points_xy, soft, line)
        self.picture[place] *= (1 + (factor - 1) * share)[..., None]


def _noise(rng, canvas: Canvas, grain: float) -> np.ndarray:
    """Draw noise of unit variance and a grain in face units, `(H, W)`."""
    sigma = max(grain * canvas.px, 0.3)
    shrink = max(1, int(sigma / 2))
    height, width = -(-canvas.height // shrink) + 1, -(-canvas.width // shrink) + 1
    noise = rng.standard_normal((height, width), dtype=np.float32)
    if sigma > 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), sigma / shrink)
    if shrink > 1:
        noise = cv2.resize(noise, (width * shrink, height * shrink), interpolation=cv2.INTER_LINEAR)
    noise = noise[: canvas.height, : canvas.width]
    return noise / (noise.std() + 1e-6)


def _background(rng, brush):
    first = rng.uniform(30, 225) * np.exp(rng.normal(0, 0.15, 3))
    second = rng.normal(0, 30) + rng.normal(0, 10, 3)
    slope = rng.normal(0, 0.3, 2)
    fade = np.clip(0.5 + np.float32(slope[0]) * brush.x + np.float32(slope[1]) * brush.y, 0, 1)[..., None]
    brush.picture[:] = first.astype(np.float32) + fade * second.astype(np.float32)
    if rng.random() < 0.5:
        brush.picture += (_noise(rng, brush.canvas, rng.uniform(0.1, 0.6)) * rng.uniform(2, 14))[..., None]


def _oval(cx, cy, rx, ry, count=40) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], axis=1)


def _body(rng, brush, person):
    """Paint what stands behind the face: shoulders, neck, hair, ears."""
    chin = person.points[152, 1]
    cloth = rng.uniform(15, 230, 3)
    shoulder = chin + rng.uniform(0.45, 0.8)
    slope = shoulder + 0.7
    brush.fill([(-4, 9), (-3.2, slope), (-1.0, shoulder), (1.0, shoulder), (3.2, slope), (4, 9)], cloth, 0.03)
    wide = rng.uniform(0.58, 0.78)
    low = shoulder + 0.3
    neck = [(-wide, 0.9), (wide, 0.9), (wide, shoulder), (0.3, low), (-0.3, low), (-wide, shoulder)]
    brush.fill(neck, person.skin * rng.uniform(0.62, 0.8), 0.04)
    brush.shade(_oval(0, chin + 0.1, 0.7, 0.3), 0.75, 0.12)
    person.style = rng.choice(["bald", "short", "long", "scarf"], p=[0.06, 0.52, 0.36, 0.06])
    person.skull = person.points[10, 1] - rng.uniform(0.35, 0.6)
    wide = person.points[454, 0] + rng.uniform(0.02, 0.15)
    tone = rng.uniform(20, 220, 3) if person.style == "scarf" else person.hair
    person.cover = tone
    if person.style in ("long", "scarf"):
        length = rng.uniform(1.0, 2.4)
        brush.fill(_oval(0, 0.25, wide + 0.22, 1.55), tone * 0.8, 0.04)
        long = [(-wide - 0.2, 0), (wide + 0.2, 0), (wide + 0.1, length), (-wide - 0.1, length)]
        brush.fill(long, tone * 0.75, 0.06)
    middle = (person.skull + 0.9) / 2
    if person.style == "bald":
        brush.fill(_oval(0, middle, wide, middle - person.skull), person.skin * 0.93, 0.03)
    else:
        brush.fill(_oval(0, middle, wide + 0.05, middle - person.skull), tone * 0.9, 0.03)
    if person.style in ("bald", "short"):
        for side in (-1, 1):
            x = side * (person.points[454, 0] + 0.06)
            brush.fill(_oval(x, 0.3, 0.13, 0.3), person.skin * 0.85, 0.015)
            brush.shade(_oval(x, 0.3, 0.06, 0.18), 0.8, 0.03)


@lru_cache(maxsize=1)
def _relief() -> tuple[np.ndarray, float, float, float]:
    """Return the depth of the neutral face on a fixed raster: map, left, top, pixels per unit."""
    px, left, top, width, height = 64.0, -1.4, -1.4, 180, 210
    vertices = face_template()[0]
    x, y = (np.arange(width) + 0.5) / px + left, (np.arange(height) + 0.5) / px + top
    operator, inside = interpolation_operator(vertices[:, :2], x, y)
    dome = 0.9 * (np.abs(x) / 1.1) ** 2 - 0.2 + 0.35 * np.maximum(0, -0.7 - y[:, None]) ** 2
    depth = np.where(inside, carry(vertices[:, 2:], operator)[..., 0], dome).astype(np.float32)
    return cv2.GaussianBlur(depth, (0, 0), 2.5), left, top, px


def _normals(brush, person) -> np.ndarray:
    """Return where the skin faces, `(H, W, 3)`: the neutral relief, carried to the person's proportions."""
    depth, left, top, px = _relief()
    moved = person.points - face_template()[0][:, :2]
    # Proportions change slowly: a coarse field of them is enough.
    field = cv2.GaussianBlur(carry(moved, _coarse()), (0, 0), 0.8)
    at = np.dstack(np.broadcast_arrays(brush.x, brush.y))
    cell = np.stack([(at[..., 0] + 1.5) / 3.0 * 24 - 0.5, (at[..., 1] + 1.2) / 3.2 * 24 - 0.5], axis=-1)
    at -= look_up(field, cell)
    z = look_up(depth, ((at - (left, top)) * px - 0.5).astype(np.float32))
    slope_x = cv2.Sobel(z, cv2.CV_32F, 1, 0, ksize=3) * (brush.canvas.px / 8 * person.relief)
    slope_y = cv2.Sobel(z, cv2.CV_32F, 0, 1, ksize=3) * (brush.canvas.px / 8 * person.relief)
    length = np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    return np.dstack([-slope_x, -slope_y, np.ones_like(z)]) / length[..., None]


@lru_cache(maxsize=1)
def _coarse() -> Operator:
    vertices = face_template()[0][:, :2]
    x = (np.arange(24) + 0.5) / 24 * 3.0 - 1.5
    y = (np.arange(24) + 0.5) / 24 * 3.2 - 1.2
    (index, weight), inside = interpolation_operator(vertices, x, y)
    query = np.stack(np.meshgrid(x, y), axis=-1)
    nearest = np.argmin(np.square(query[:, :, None] - vertices).sum(axis=-1), axis=-1)
    index[~inside] = nearest[~inside, None]
    weight[~inside] = (1.0, 0.0, 0.0)
    return index, weight


def _skin(rng, brush, person):
    """Paint the face's skin under its light."""
    canvas = brush.canvas
    red = np.exp(-0.5 * (((np.abs(brush.x) - 0.62) / 0.25) ** 2 + ((brush.y - 0.55) / 0.22) ** 2))
    red = red + np.exp(-0.5 * ((brush.x / 0.18) ** 2 + ((brush.y - 0.5) / 0.2) ** 2))
    flush = np.float32(rng.uniform(0, 0.09)) * np.array([0.4, -0.6, -0.5], np.float32)
    texture = _noise(rng, canvas, 0.35) * np.float32(rng.uniform(0.005, 0.025))
    fine = rng.uniform(0.004, 0.02 + 0.02 * person.age)
    texture += _noise(rng, canvas, rng.uniform(0.03, 0.08)) * np.float32(fine)
    texture += _noise(rng, canvas, 0.012) * np.float32(rng.uniform(0.006, 0.03))
    light = rng.normal(0, 0.45, 2)
    light = np.array([light[0], light[1] - 0.35, rng.uniform(0.8, 1.6)])
    light /= np.linalg.norm(light)
    ambient = rng.uniform(0.35, 0.7)
    lit = np.maximum(_normals(brush, person) @ light.astype(np.float32), 0)
    shade = (1 + texture) * (np.float32(ambient) + np.float32((1 - ambient) / max(light[2], 0.5)) * lit)
    shine = lit * lit
    shine = shine * shine * shine
    shine = shine * shine * shine * shine * np.float32(255 * rng.uniform(0, 0.16))
    tone = (1 + red[..., None] * flush) * person.skin * shade[..., None] + shine[..., None]
    outline = person.points[list(FACE_OUTLINE)]
    if person.style == "bald":  # no hairline: the forehead goes on
        outline = np.where(outline[:, 1:] < -0.45, outline - np.array([0, 0.05]), outline)
    brush.fill(outline, tone, rng.uniform(0.012, 0.04))


def _features(rng, brush, person):
    points, skin = person.points, person.skin
    for line in FOLDS:
        brush.shade(points[list(line)], 1 - rng.uniform(0.02, 0.1) - 0.16 * person.age, 0.03, line=0.03)
    for line in BAGS:
        brush.shade(points[list(line)], 1 - rng.uniform(0.0, 0.08) - 0.1 * person.age, 0.035, line=0.03)
    if person.age > 0.45:
        for height in np.arange(-0.72, -0.42, 0.1):
            wave = np.stack([np.linspace(-0.55, 0.55, 9), height + 0.03 * rng.standard_normal(9)], axis=1)
            brush.shade(wave, 1 - 0.14 * person.age, 0.02, line=0.015)
    _nose(rng, brush, person)
    _mouth(rng, brush, person)
    look = rng.normal(0, 0.03, 2) * (1, 0.4)
    lash, shadow = rng.uniform(0.012, 0.05 if person.woman else 0.03), rng.uniform(0.6, 0.95)
    for lids in LIDS:
        _eye(rng, brush, person, lids, look, lash, shadow)
    thick = rng.uniform(0.5, 1.25)
    tone = np.minimum(person.hair, skin * 0.75) * rng.uniform(0.7, 1.05)
    strong = rng.uniform(0.55, 0.95)
    for brow in BROWS:
        _brow(rng, brush, points[list(brow)], tone, thick, strong)


def _nose(rng, brush, person):
    points = person.points
    for line in NOSE_SIDES:
        brush.shade(points[list(line)], 1 - rng.uniform(0.0, 0.1), 0.05, line=0.05)
    for line in NOSE_WINGS:
        brush.shade(points[list(line)], 1 - rng.uniform(0.1, 0.28), 0.022, line=0.02)
    brush.shade(points[[98, 97, 2, 326, 327]], 1 - rng.uniform(0.1, 0.3), 0.03, line=0.035)
    brush.shade(_oval(*points[4], 0.07, 0.06), 1 + rng.uniform(0.0, 0.14), 0.04)
    dark = person.skin * rng.uniform(0.2, 0.4)
    for first, second in NOSTRILS:
        centre = points[first] * 0.45 + points[second] * 0.55
        brush.fill(_oval(*centre, rng.uniform(0.055, 0.085), rng.uniform(0.02, 0.04)), dark, 0.015, 0.85)


def _mouth(rng, brush, person):
    points = person.points
    light = 1 - person.melanin
    redness = np.array([1.0 + 0.02 * light, 0.68 + 0.08 * person.melanin, 0.68 + 0.08 * person.melanin])
    tone = person.skin * redness * rng.uniform(0.72, 0.98)
    if person.woman and rng.random() < 0.35:
        tone = rng.uniform((120, 20, 30), (210, 90, 100)) * (0.55 + 0.45 * light)
    shade = float(rng.uniform(0.8, 0.93))
    brush.fill(points[list(UPPER_LIP)], tone * shade, 0.012, 0.9)
    brush.fill(points[list(LOWER_LIP)], tone, 0.014, 0.9)
    middle = (points[14] + points[17]) / 2
    brush.shade(_oval(*middle, 0.16, 0.03), 1 + rng.uniform(0.03, 0.2), 0.03)
    dark, width = tone * rng.uniform(0.25, 0.5), rng.uniform(0.012, 0.03)
    brush.fill(points[list(LIP_LINE)], dark, 0.008, 0.9, line=width)
    brush.shade(points[[83, 18, 313]] + (0, 0.02), 1 - rng.uniform(0.08, 0.22), 0.04, line=0.05)
    brush.shade(points[[164, 0]], 1 - rng.uniform(0.02, 0.1), 0.02, line=0.05)


def _eye(rng, brush, person, lids, look, lash, shadow):
    points = person.points
    upper, lower = points[list(lids[0])], points[list(lids[1])]
    opening = np.concatenate([upper, lower[1:-1]])
    centre = opening.mean(axis=0) + look
    brush.shade(upper - (0, 0.07), shadow, 0.05, line=0.08)  # the socket
    white = np.array([236, 230, 224]) * (0.72 + 0.28 * float(np.clip(person.skin.mean() / 190, 0, 1)))
    area, share = brush.mask(opening, 0.006)
    inside = brush.picture[area]
    inside += share[..., None] * (white.astype(np.float32) * np.float32(rng.uniform(0.85, 1.0)) - inside)
    radius = 0.125
    distance = np.hypot(brush.x[:, area[1]] - centre[0], brush.y[area[0]] - centre[1] + 0.01)
    soft = 1.5 / brush.canvas.px
    for size, tone in ((radius, person.iris), (radius * 0.45, np.array([12, 10, 10]))):
        disc = np.clip((size - distance) / soft + 0.5, 0, 1) * share
        inside += disc[..., None] * (np.asarray(tone, np.float32) - inside)
    glint = np.hypot(brush.x[:, area[1]] - centre[0] - 0.035, brush.y[area[0]] - centre[1] + 0.05)
    inside += (np.clip((0.022 - glint) / soft + 0.5, 0, 1) * share * 0.85)[..., None] * (250 - inside)
    fall = np.clip(1 - (brush.y[area[0]] - upper[:, 1].min()) / 0.07, 0, 1) * share * 0.35
    inside *= 1 - fall[..., None]  # the upper lid's shadow
    dark = np.minimum(person.hair, person.skin * 0.4) * 0.7
    brush.fill(upper, dark, 0.008, 0.9, line=lash)
    brush.fill(lower, person.skin * 0.55, 0.008, rng.uniform(0.3, 0.8), line=0.012)
    if person.melanin < 0.97:
        crease = upper[1:] - (0, rng.uniform(0.03, 0.1))
        brush.fill(crease, person.skin * rng.uniform(0.5, 0.75), 0.01, rng.uniform(0.2, 0.9), line=0.012)
    brush.fill(_oval(*(opening[8] + (0.0, 0.005)), 0.025, 0.018), (190, 120, 110), 0.008, 0.5)


def _brow(rng, brush, outline, tone, thick, strong):
    middle = outline.mean(axis=0)
    spine = (outline[:5] + outline[9:4:-1]) / 2  # from the outer to the inner end
    upper, lower = (spine + (edge - spine) * thick for edge in (outline[:5], outline[9:4:-1]))
    brush.fill(np.concatenate([upper, lower[::-1]]), tone, 0.02, strong * 0.75)
    across = np.sign(-middle[0])
    for _ in range(30):  # hairs
        at = rng.uniform(0, 3.99)
        first = int(at)
        root = spine[first] + (spine[first + 1] - spine[first]) * (at - first)
        root = root + rng.normal(0, 0.03 * thick, 2) * (0.3, 1)
        tip = root + np.array([-across * rng.uniform(0.02, 0.09), -rng.uniform(-0.02, 0.06)])
        brush.fill([root, tip], tone * rng.uniform(0.6, 1.3), 0.006, strong, line=0.008)


def _hair_in_front(rng, brush, person):
    """Paint where hair or a scarf meets the forehead and the temples."""
    if person.style == "bald":
        return
    canvas, points = brush.canvas, person.points
    line = points[10, 1] + rng.uniform(-0.12, 0.22)
    bend = rng.uniform(0.15, 0.7)
    edge = line + bend * np.square(brush.x) + 0.03 * _noise(rng, canvas, 0.15)[:1]
    if person.style != "scarf" and rng.random() < 0.3:  # a fringe
        edge += rng.uniform(0.05, 0.25) * np.exp(-0.5 * ((brush.x - rng.normal(0, 0.3)) / 0.5) ** 2)
    edge = np.minimum(edge, points[105, 1] + 0.05 + 2.5 * np.maximum(0, np.abs(brush.x) - 0.75))
    cover = np.clip((edge - brush.y) / rng.uniform(0.03, 0.12) + 0.5, 0, 1)
    outline = _oval(0, (person.skull + 0.9) / 2, points[454, 0] + 0.13, (0.9 - person.skull) / 2)
    place, share = brush.mask(outline, 0.02)
    strands = _noise(rng, canvas, 0.01)[place]
    strands *= np.float32(0.0 if person.style == "scarf" else rng.uniform(0.06, 0.25))
    strands = cv2.GaussianBlur(strands, (0, 0), sigmaX=0.6, sigmaY=0.04 * canvas.px) * 2
    tone = person.cover.astype(np.float32) * (1 + strands[..., None])
    tone = tone * (1 + 0.25 * _noise(rng, canvas, 0.25)[place][..., None] * 0.4)
    area = brush.picture[place]
    area += (cover[place] * share)[..., None] * (tone - area)


def _extras(rng, brush, person):
    points, skin = person.points, person.skin
    if not person.woman and rng.random() < 0.3:
        _beard(rng, brush, person)
    for _ in range(rng.poisson(2.5)):  # moles
        centre = rng.uniform((-0.9, -0.6), (0.9, 1.4))
        spot = _oval(*centre, *rng.uniform(0.01, 0.03, 2), count=10)
        brush.fill(spot, skin * 0.5, 0.008, rng.uniform(0.2, 0.8))
    if rng.random() < 0.1:
        for _ in range(40):  # freckles
            centre = rng.normal((0, 0.4), (0.5, 0.15))
            brush.fill(_oval(*centre, *rng.uniform(0.006, 0.016, 2), count=8), skin * 0.72, 0.006, 0.6)
    if rng.random() < 0.08:
        tone, width = rng.uniform(10, 90, 3), rng.uniform(0.015, 0.05)
        size = rng.uniform((0.36, 0.24), (0.44, 0.34))
        for lids in LIDS:
            x, y = points[list(lids[0])].mean(axis=0)
            brush.fill(_oval(x, y + 0.06, *size), tone, 0.006, 0.95, line=width, closed=True)
        inner, outer = 0.5 - size[0], 0.5 + size[0]
        for ends in ([(-inner, 0), (inner, 0)], [(-outer, -0.03), (-1.08, 0)], [(outer, -0.03), (1.08, 0)]):
            brush.fill(ends, tone, 0.006, 0.95, line=width)


def _beard(rng, brush, person):
    canvas, points = brush.canvas, person.points
    top = rng.uniform(0.7, 0.95)
    reach = np.clip((brush.y - top - 0.1 * np.abs(brush.x)) / 0.2, 0, 1)
    cheeks = np.clip((np.abs(brush.x) - 0.55) / 0.2, 0, 1) * np.clip((brush.y - 0.35) / 0.3, 0, 1)
    share = np.maximum(reach, cheeks) * rng.uniform(0.15, 0.75)
    for lip_line in (UPPER_LIP, LOWER_LIP):
        place, lip = brush.mask(points[list(lip_line)], 0.02)
        share[place] *= 1 - np.minimum(lip * 1.3, 1)
    place, inside = brush.mask(points[list(FACE_OUTLINE)], 0.03)
    grain = 1 + 0.3 * _noise(rng, canvas, 0.01)[place][..., None]
    area = brush.picture[place]
    area += (share[place] * inside)[..., None] * (np.minimum(person.hair, person.skin * 0.7) * grain - area)


def _furrow(brush, points, lines) -> np.ndarray:
    """Return what the light loses along the lines of one AU, `(H, W)`, at most 1."""
    total = np.zeros((brush.canvas.height, brush.canvas.width), np.float32)
    for line, strength in lines:
        place, share = brush.mask(points[list(line)], 0.03, line=0.02)
        total[place] += strength * share
    return total / max(float(total.max()), 1e-6)
