"""Draw labelled aligned faces that move by action units: what the networks that look at pictures train on.

A person who does not exist is moved in face coordinates, as the pipeline would have aligned it: no clip is
written, no face is searched for. Skin that is pushed together gets darker. Light, noise, compression and what
registration leaves differ from frame to frame.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator

from mer_hf.face.landmarks import eye_centres
from mer_hf.face.tracking import FaceError, FaceGeometry, track_face
from mer_hf.video.clip import Clip, compressed

from .clips import PHOTOGRAPHS, Motion, photograph, render_frames
from .expressions import Activations
from .flow_maps import Stream, expose, eye_motion, head_spread, log_uniform, personal_basis, smooth_noise
from .identities import Canvas, Identity, draw_identity
from .muscles import Basis, vertex_displacement
from .template import carry, face_template, spread_operator
from .warp import carried_back, look_up, pixel_grid, rotation

FILM_CANVAS = Canvas(84.0, -2.0, -1.75, 336, 336)
"""What the camera sees of a person that is rendered and re-tracked."""

FILM_FPS = 60.0

GEOMETRY = {"size": 224, "eye_row": 0.32, "interocular_fraction": 0.45}
"""Where the eyes lie: as the pipeline aligns them by default."""

HEAD = (0.25, 0.25, 1.0, 1.0, 0.4, 0.4)
"""Shares of shifts, roll, nearing, and of turns to the side and up in what is left of the head's motion."""

BASE_INTEROCULAR_PX = 110.0
BASE_SIDE = 380
"""A face's own raster; larger than the crop, which is shifted and turned on it."""

STEP = 4
"""Pixels of a face at rest between two points at which motion is known."""

BASE_AXIS = np.arange(0, BASE_SIDE + STEP, STEP)
BASE_UNITS = BASE_SIDE / BASE_INTEROCULAR_PX
BASE_CANVAS = Canvas(BASE_INTEROCULAR_PX, -BASE_UNITS / 2, -0.42 * BASE_UNITS, BASE_SIDE, BASE_SIDE)


@dataclass(frozen=True)
class FaceSettings:
    """What is varied from sample to sample; pairs are ranges of uniform draws unless said otherwise.

    Pixels are those of a face whose eye centres lie 60 apart, shares are probabilities.

    Attributes:
        class_shares (`tuple`): Of negative, positive, surprise; by default more even than recorded sets are,
            or a network in doubt would call everything negative.
        photograph (`float`): Share of a photograph, bent and tinted, for testing; the rest is drawn.
        muscle (`float`): Spread (log) of the muscles' reach, strength and direction.
        reach (`tuple`): How far a person's muscles reach, relative to `muscles.py`.
        contraction (`float`): Share of people whose skin moves as in `contraction.py`.
        texture (`float`): Largest contrast of the skin's own texture, relative: pores, stubble, spots.
        relight (`float`): Largest change of light from one part of the face to another (log).
        gray (`float`): Share of gray pictures.
        soft (`float`): Share of pictures enlarged from a smaller one.
        furrow (`float`): Most that the light loses where skin is pushed together, relative, for each pixel
            of the motion.
        peak_px (`tuple`): Largest motion at the apex, drawn log-uniformly.
        blink (`float`): Share of samples with a blink in progress.
        gaze (`float`): Share of samples in which the eyes move.
        apex_at (`tuple`): Where the apex lies between onset and offset.
        ends (`float`): How far the first and the last of more than two frames lie from the true onset and
            offset at most, as a share of the expression's length: spotting is not exact.
        head (`float`): Spread of what registration leaves of the head's motion, relative to the peak.
        strong_head (`float`): Share of samples in which that spread is `STRONG_HEAD`.
        stray (`float`): Largest spread of smooth motion that belongs to no action unit, relative to the peak.
        identity (`float`): Standard deviation of the smooth bending of the face, in interocular distances.
        shift (`float`): Largest shift of the crop, as a share of its side.
        scale (`float`): Largest relative change of its scale.
        roll_deg (`float`): Largest tilt.
        residual_px (`float`): Standard deviation of what registration leaves between two frames.
        gain (`float`): Spread of the change of brightness between two frames.
        light_levels (`float`): Largest local change of light between two frames, in grey levels.
        noise (`tuple`): Standard deviation of the sensor's noise in grey levels, drawn log-uniformly.
        blur_px (`float`): Largest blur of the camera.
        compressed (`float`): Share of samples that are compressed, frame by frame.
        quality (`tuple`): Their JPEG quality.
        coded (`float`): Share of samples that come back from an H.264 file, which stores how a
            frame differs from those before it; needs av.
        crf (`tuple`): How strongly they are compressed.
        filmed (`float`): Share of samples that are clips with head motion, in which the face is searched for
            and aligned as in any other clip; needs mediapipe.
    """

    class_shares: tuple[float, float, float] = (0.4, 0.3, 0.3)
    photograph: float = 0.0
    muscle: float = 0.3
    reach: tuple[float, float] = (0.6, 1.2)
    contraction: float = 0.5
    texture: float = 0.12
    relight: float = 0.5
    gray: float = 0.25
    soft: float = 0.3
    furrow: float = 0.04
    peak_px: tuple[float, float] = (0.5, 4.0)
    blink: float = 0.1
    gaze: float = 0.1
    apex_at: tuple[float, float] = (0.35, 0.6)
    ends: float = 0.2
    head: float = 0.15
    strong_head: float = 0.1
    stray: float = 0.08
    identity: float = 0.04
    shift: float = 0.03
    scale: float = 0.05
    roll_deg: float = 3.0
    residual_px: float = 0.05
    gain: float = 0.01
    light_levels: float = 3.0
    noise: tuple[float, float] = (0.3, 4.0)
    blur_px: float = 0.8
    compressed: float = 0.3
    quality: tuple[int, int] = (60, 95)
    coded: float = 0.4
    crf: tuple[int, int] = (18, 36)
    filmed: float = 0.0


@dataclass(eq=False)
class SyntheticFaces(Stream):
    """An unlimited, labelled source of aligned faces in motion; sample i is a pure function of (seed, i).

    Args:
        seed (`int`): Chooses the stream.
        size (`int`): Number of samples in the view; sample i does not depend on it.
        settings ([`FaceSettings`], *optional*): What is varied.
        start (`int`, *optional*, defaults to 0): Index in the stream of sample 0 of the view.
        num_frames (`int`, *optional*, defaults to 2): Frames of a sample. With 2 they are onset and apex;
            with more they run evenly from onset to offset.
        geometry (`dict`, *optional*): `size`, `eye_row` and `interocular_fraction` of the crop; by default
            `GEOMETRY`.

    Examples:
        >>> sample = SyntheticFaces(seed=0, size=10)[3]
        >>> sample["frames"].shape, sample["onset"], sample["apex"]
        ((2, 224, 224, 3), 0, 1)
    """

    settings: FaceSettings = FaceSettings()
    start: int = 0
    num_frames: int = 2
    geometry: dict | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.num_frames < 2:
            raise ValueError(
                f"a sample needs at least 2 frames, onset and apex, got num_frames={self.num_frames}."
            )
        self.geometry = GEOMETRY | (self.geometry or {})

    def __getitem__(self, index: int) -> dict:
        """Draw one clip of a face.

        Returns:
            `dict`: `frames` uint8 `(T, S, S, 3)` RGB; `onset`, `apex`, `offset` frame indices; `label` int in
            [0, 3); `action_units` the drawn strengths, AU -> (left, right); `landmarks_xy` float32 `(468, 2)`
            of the onset, in pixels of the frames.
        """
        rng, (label, activations) = self.begin(index)
        strengths, apex = self._strengths(rng)
        filmed = self.settings.filmed and rng.random() < self.settings.filmed
        render = film_face if filmed else render_face
        frames, landmarks_xy = render(rng, activations, strengths, self.settings, self.geometry)
        phases = {"onset": 0, "apex": apex, "offset": len(frames) - 1}
        truth = {"label": label, "action_units": activations, "landmarks_xy": landmarks_xy}
        return {"frames": frames, **phases, **truth}

    def _strengths(self, rng) -> tuple[np.ndarray, int]:
        """Draw how far the expression is in each frame, and return that and the apex frame."""
        if self.num_frames == 2:
            return np.array([0.0, 1.0]), 1
        top = rng.uniform(*self.settings.apex_at)
        first, final = rng.uniform(-1, 1, 2) * self.settings.ends
        at = np.linspace(first, 1 + final, self.num_frames)  # 0 is the onset, 1 the offset
        phase = np.clip(np.where(at <= top, at / top, (1 - at) / (1 - top)), 0, 1)
        return 0.5 - 0.5 * np.cos(np.pi * phase), int(np.clip(phase.argmax(), 1, self.num_frames - 1))


def render_face(
    rng: Generator,
    activations: Activations,
    strengths: np.ndarray,
    settings: FaceSettings,
    geometry: dict,
    basis: Basis | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Render frames `(T, S, S, 3)` of one aligned face, and return them and its 468 landmarks at rest.

    Args:
        rng (`np.random.Generator`): Source of chance.
        activations (`dict`): AU -> (left, right) strength; {} for a face at rest.
        strengths (`np.ndarray` of shape `(T,)`): How far the expression is in each frame, 0 to 1.
        settings ([`FaceSettings`]): What is varied.
        geometry (`dict`): Of the crop, see `GEOMETRY`.
        basis (`dict`, *optional*): Muscles, AU -> image-left field; by default drawn around `PULLS`.
    """
    size, unit_px = geometry["size"], geometry["size"] * geometry["interocular_fraction"] / 60
    face = _base(rng, settings, tuple(activations))
    to_base = _crop(rng, face.points_xy, settings, geometry)
    peak_px = log_uniform(rng, *settings.peak_px)
    displacement = _displacement(rng, activations, peak_px, face, to_base, settings, unit_px, basis)
    furrows = _furrows(rng, activations, peak_px, face, settings)
    grid = pixel_grid(size, size)
    blur_px, noise = rng.uniform(0, settings.blur_px) * unit_px, log_uniform(rng, *settings.noise)
    crf = int(rng.integers(*settings.crf)) if rng.random() < settings.coded else None
    jpeg = crf is None and rng.random() < settings.compressed
    quality = int(rng.integers(*settings.quality)) if jpeg else None
    wanted = np.arange(len(strengths))
    if crf is not None:
        strengths, wanted = _as_in_a_file(strengths)
    frames = np.empty((len(strengths), size, size, 3), np.uint8)
    for frame, strength in zip(frames, strengths, strict=True):
        residual = rng.normal(0, settings.residual_px * unit_px, 2)
        moved = displacement * np.float32(strength)
        source = grid - carried_back(moved, grid, moved) - residual.astype(np.float32)
        at = look_up(to_base, source)
        seen = look_up(face.picture, at, cv2.INTER_CUBIC)
        if furrows is not None and strength:
            seen *= (1 - np.float32(strength) * look_up(furrows, at))[..., None]
        frame[:] = _expose(rng, seen, blur_px, noise, quality, settings)
    frames = frames if crf is None else compressed(frames, FILM_FPS, crf)[wanted]
    return frames, _places(face.points_xy, to_base)


def _as_in_a_file(strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put a frame of rest, which a file would hold whole, and frames between before the wanted ones.

    Returns:
        `tuple`: strengths of all frames, and which of them are wanted.
    """
    step = max(1, round(3 / max(len(strengths) - 1, 1)))
    wanted = np.arange(len(strengths)) * step
    filled = np.interp(np.arange(wanted[-1] + 1), wanted, strengths)
    return np.concatenate([strengths[:1], filled]), wanted + 1


def film_face(
    rng: Generator, activations: Activations, strengths: np.ndarray, settings: FaceSettings, geometry: dict
) -> tuple[np.ndarray, np.ndarray]:
    """Like `render_face`, but render a clip of a person, search it for the face, and align that."""
    between = 3  # frames of the clip from one that is wanted to the next
    count = between * (len(strengths) - 1) + 1
    over_time = np.interp(np.arange(count), np.arange(0, count, between), strengths)
    for _ in range(5):  # a face that is not found is drawn again
        motion = Motion(
            activations,
            log_uniform(rng, *settings.peak_px),
            drift_px=float(rng.uniform(0, 4)),
            turn_deg=float(rng.uniform(0, 2)),
            noise=log_uniform(rng, *settings.noise),
            flicker=float(abs(rng.normal(0, settings.gain))),
            basis=personal_basis(rng, activations, settings),
        )
        person = draw_identity(rng, FILM_CANVAS)
        picture = np.round(_pictured(rng, person.picture, settings)).astype(np.uint8)
        face = picture, person.points_xy.astype(np.float32)
        frames = render_frames(rng, motion, face, over_time, fps=FILM_FPS)
        if rng.random() < settings.coded:
            frames = compressed(frames, FILM_FPS, int(rng.integers(*settings.crf)))
        try:
            track = track_face(Clip(frames, np.arange(count) / FILM_FPS), FaceGeometry(**geometry))
        except FaceError:
            continue
        return track.frames[::between], track.landmarks_xy[0, :468].astype(np.float32)
    return render_face(rng, activations, strengths, settings, geometry)


def _furrows(rng, activations, peak_px, face, settings) -> np.ndarray | None:
    """Return what the light loses at the apex where skin is pushed together, on the base picture; or None."""
    strongest = max((max(sides) for sides in activations.values()), default=0.0)
    amount = settings.furrow * peak_px * rng.uniform(0, 1)
    if not face.furrows or not amount:
        return None
    parts = [sum(activations[name]) / 2 / strongest * layer for name, layer in face.furrows.items()]
    return np.float32(amount) * np.minimum(sum(parts), 1.5)


@lru_cache(maxsize=2)
def _photograph(flipped: bool) -> Identity:
    """Return a photograph on its own raster; flipped, each landmark keeps its meaning."""
    picture, landmarks = photograph(PHOTOGRAPHS[0], BASE_INTEROCULAR_PX, BASE_SIDE, BASE_SIDE)
    points = landmarks[:468].astype(np.float64)
    if flipped:
        picture = np.ascontiguousarray(picture[:, ::-1])
        points = np.stack([BASE_SIDE - 1 - points[:, 0], points[:, 1]], axis=1)[face_template()[1]]
    return Identity(picture, points, {})


def _base(rng, settings, names: tuple[str, ...]) -> Identity:
    """Draw a face at rest: a person, or a photograph in a tint of its own."""
    if rng.random() < settings.photograph:
        face = _photograph(bool(rng.random() < 0.5))
        tint, gamma = np.exp(rng.normal(0, 0.12, 3)), np.exp(rng.normal(0, 0.25))
        table = np.clip(255 * (np.arange(256)[:, None] / 255) ** gamma * tint, 0, 255).astype(np.float32)
        return replace(face, picture=np.dstack([table[:, c][face.picture[..., c]] for c in range(3)]))
    person = draw_identity(rng, BASE_CANVAS, names if settings.furrow else ())
    return replace(person, picture=_pictured(rng, person.picture, settings))


def _pictured(rng, picture: np.ndarray, settings) -> np.ndarray:
    """Draw what cameras make of a person: skin with texture, light from elsewhere, gray, a small picture."""
    height, width = picture.shape[:2]
    grains = np.exp(rng.uniform(np.log(0.6), np.log(8), 3))
    texture = sum(_coarse_noise(rng, grain_px, width) * rng.uniform(0, 1) for grain_px in grains)
    light = _coarse_noise(rng, width / rng.uniform(4, 10), width)
    change = settings.texture * rng.uniform() ** 2 * texture + settings.relight * rng.uniform(0, 0.5) * light
    seen = picture * np.exp(change)[:height, :width, None]
    if rng.random() < settings.gray:
        seen = np.repeat(seen.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < settings.soft:
        share = 1 / rng.uniform(1.2, 3.5)
        small = cv2.resize(seen, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        seen = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(seen, 0, 255).astype(np.float32)


def _coarse_noise(rng, grain_px: float, size: int) -> np.ndarray:
    """Draw noise of unit variance, `(size, size)`; coarse grains are drawn small and enlarged."""
    shrink = max(1, int(grain_px / 2))
    noise = smooth_noise(rng, grain_px / shrink, 1, -(-size // shrink))
    return cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)


def _crop(rng, points_xy, settings, geometry) -> np.ndarray:
    """Draw where each pixel of the crop lies in the base picture, `(S, S, 2)`: by the eyes, then bent."""
    size, left, right = geometry["size"], *eye_centres(points_xy)
    across = (right - left) / (geometry["interocular_fraction"] * size)
    across = across * np.exp(rng.uniform(-settings.scale, settings.scale))
    roll = np.deg2rad(rng.uniform(-settings.roll_deg, settings.roll_deg))
    turn = rotation(roll)
    axes = np.column_stack([turn @ across, turn @ (-across[1], across[0])])
    eyes = np.array([0.5, geometry["eye_row"]]) * size + rng.uniform(-1, 1, 2) * settings.shift * size - 0.5
    grid = pixel_grid(size, size) - eyes
    bend = cv2.resize(smooth_noise(rng, 4, 2, 28), (size, size), interpolation=cv2.INTER_CUBIC)
    bend *= settings.identity * float(np.linalg.norm(right - left))
    return (grid @ axes.T + (left + right) / 2 + bend).astype(np.float32)


def _displacement(rng, activations, peak_px, face, to_base, settings, unit_px, basis) -> np.ndarray:
    """Draw the motion of the expression at its apex, and of the eyes, float32 `(S, S, 2)` in crop pixels."""
    moved = np.zeros((len(face.points_xy), 2))
    if activations:
        moved = vertex_displacement(activations, basis or personal_basis(rng, activations, settings))
        moved *= peak_px / np.linalg.norm(moved, axis=1).max()
    if settings.head:
        moved += peak_px * _head(rng, settings)
    moved = (moved + eye_motion(rng, settings)) * unit_px
    spread = spread_operator(face.points_xy, BASE_AXIS, BASE_AXIS)
    field = look_up(cv2.GaussianBlur(carry(moved, spread), (0, 0), 1.0), to_base / STEP)
    if not settings.stray:
        return field
    stray = cv2.resize(smooth_noise(rng, 4, 2, 28), field.shape[:2], interpolation=cv2.INTER_CUBIC)
    return field + np.float32(rng.uniform(0, settings.stray) * peak_px * unit_px) * stray


def _head(rng, settings) -> np.ndarray:
    """Draw what registration leaves of the head's motion: shift, roll, nearing and turns, `(468, 2)`.

    On recorded motion (`benchmarks.recordings`, the dev part), roll and nearing are about a tenth of the
    expression's peak at an interocular distance from the middle of the face, the others less.
    """
    x, y, depth = face_template()[0].T
    size = head_spread(rng, settings) * abs(rng.standard_normal())
    right, down, roll, nearing, yaw, pitch = rng.normal(0, 1, 6) * size * HEAD
    u = right - roll * y + nearing * x - yaw * depth
    v = down + roll * x + nearing * y - pitch * depth
    return np.stack([u, v], axis=1)


def _places(points_xy: np.ndarray, to_base: np.ndarray) -> np.ndarray:
    """Return where landmarks of the base picture lie in the crop: the lookup turned around."""
    size = len(to_base)
    corners = to_base[[0, 0, -1], [0, -1, 0]].astype(np.float64)
    axes = np.column_stack([corners[1] - corners[0], corners[2] - corners[0]]) / (size - 1)
    inverse = np.linalg.inv(axes)
    places = (points_xy - corners[0]) @ inverse.T
    for _ in range(10):
        reached = look_up(to_base, places[None].astype(np.float32))[0]
        places = places + (points_xy - reached) @ inverse.T
    return places.astype(np.float32)


def _expose(rng, picture, blur_px, noise, quality, settings) -> np.ndarray:
    """Expose a frame to the camera: light, blur, noise, 8 bits, compression."""
    size = len(picture)
    light = cv2.resize(smooth_noise(rng, 4, 1, 28)[..., 0], (size, size), interpolation=cv2.INTER_CUBIC)
    picture = picture * np.float32(1 + rng.normal(0, settings.gain))
    picture += (light * rng.uniform(0, settings.light_levels))[..., None]
    frame = expose(rng, picture, noise, blur_px)
    if quality is not None:
        packed = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1]
    return frame
