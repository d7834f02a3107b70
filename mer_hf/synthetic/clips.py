"""Render short labelled clips: a person who does not exist, or a photograph, warped by action units.

The photographs are the two in scikit-image in which the face mesh finds a face; they serve examples and
tests. Networks train on flow maps and aligned faces instead (`flow_maps.py`, `faces.py`). These clips measure
the whole pipeline.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator

from mer_hf.face.landmarks import eye_centres
from mer_hf.face.tracking import track_face
from mer_hf.video.clip import Clip

from .expressions import Activations
from .flow_maps import expose, eye_field
from .identities import Canvas, draw_identity, melanin_of
from .muscles import Basis, au_basis, vertex_displacement
from .template import carry, face_template, spread_operator
from .warp import carried_back, look_up, pixel_grid, rotation

PHOTOGRAPHS = ("astronaut", "camera")

PERSON_SEED = 2**31 + 7
"""Seed of the people called `person-N`: above every training seed, so that no run trains on them."""

SPEECH = ("AU26", "AU18", "AU20", "AU25")
"""AUs that move the lips when somebody talks, each by itself."""
SYLLABLES_HZ = 4.0

EXAMPLES: dict[str, Activations] = {
    "negative": {"AU4": (1.0, 1.0), "AU7": (0.7, 0.7)},
    "positive": {"AU12": (1.0, 1.0), "AU6": (0.5, 0.5)},
    "surprise": {"AU1": (1.0, 1.0), "AU2": (1.0, 1.0)},
}
"""A plain expression of each class: AU -> (left, right) strength."""

Face = tuple[np.ndarray, np.ndarray]
"""A picture `(H, W, 3)` and its landmarks."""

EXAMPLE_KINDS = (*EXAMPLES, "still", "blink")


@dataclass(frozen=True)
class Motion:
    """What happens in a clip.

    Attributes:
        activations (`dict[str, tuple[float, float]]`): AU -> (left, right) strength; {} for a face at rest.
        peak_px (`float`): Largest displacement at the apex, in pixels at an interocular distance of 60.
        onset_s, apex_s, offset_s (`float`): Phases of the expression, in seconds from the start.
        blink_s (`float`, *optional*): Middle of a blink of 0.2 s; None for no blink.
        drift_px (`float`): Largest shift of the head over the clip, in pixels of the clip.
        turn_deg (`float`): Largest tilt of the head over the clip.
        noise (`float`): Standard deviation of the sensor's noise, in grey levels.
        flicker (`float`): Largest relative change of brightness.
        talk_px (`float`): How far the lips move in speech, in pixels at an interocular distance of 60.
        yaw_deg, pitch_deg (`float`): How far the head turns over the clip, sideways and up or down.
        gaze (`float`): How far the eyes wander.
        basis (`dict`, *optional*): Muscles, AU -> image-left field; by default those of `muscles.py`.
        hold_s (`float`): How long the apex is held, within `apex_s` and `offset_s`.
        restless_px (`float`): Size of small motions of single muscles that never stop, in pixels at an
            interocular distance of 60.
        posture_px (`float`): How far the head moves at one time in the clip, in pixels of the clip.
        exposure (`float`): Largest relative change of brightness within a second or two.
    """

    activations: Activations = field(default_factory=dict)
    peak_px: float = 2.5
    onset_s: float = 0.70
    apex_s: float = 0.90
    offset_s: float = 1.15
    blink_s: float | None = None
    drift_px: float = 1.5
    turn_deg: float = 0.4
    noise: float = 1.5
    flicker: float = 0.01
    talk_px: float = 0.0
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    gaze: float = 0.0
    basis: Basis | None = None
    hold_s: float = 0.0
    restless_px: float = 0.0
    posture_px: float = 0.0
    exposure: float = 0.0


@dataclass(frozen=True)
class LabelledClip:
    """A rendered clip and what is true of it.

    Attributes:
        clip ([`Clip`]): Frames and times.
        motion ([`Motion`]): What was rendered.
        onset, apex, offset (`int`, *optional*): Nearest frame indices; None without an expression.
    """

    clip: Clip
    motion: Motion
    onset: int | None
    apex: int | None
    offset: int | None


@lru_cache(maxsize=4)
def photograph(name: str, interocular_px: float, height: int, width: int) -> Face:
    """Return a photograph `(H, W, 3)` cut and scaled around its face, and the face's landmarks `(478, 2)`."""
    if name not in PHOTOGRAPHS:
        raise ValueError(f"unknown face {name!r}. Choose one of {', '.join(PHOTOGRAPHS)}, or person-N.")
    try:
        import skimage.data
    except ImportError as error:
        raise ImportError("rendering clips needs scikit-image. Run pip install scikit-image.") from error
    picture = getattr(skimage.data, name)()
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    landmarks = _find_landmarks(picture, enlarge=3 if name == "camera" else 1)  # its eyes are 17 px apart
    left, right = eye_centres(landmarks)
    scale = interocular_px / np.linalg.norm(right - left)
    # A little above the middle: room for the chin.
    to_clip = np.float32([[scale, 0, width / 2], [0, scale, 0.42 * height]])
    to_clip[:, 2] -= scale * (left + right) / 2
    options = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REFLECT}
    resized = cv2.warpAffine(picture, to_clip, (width, height), **options)
    return resized, (landmarks * scale + to_clip[:, 2]).astype(np.float32)


@lru_cache(maxsize=8)
def _person(number: int, interocular_px: float, height: int, width: int) -> Face:
    """Draw a person of `identities.py`; return the picture and the landmarks."""
    left, top = -width / 2 / interocular_px, -0.42 * height / interocular_px
    canvas = Canvas(interocular_px, left, top, width, height)
    person = draw_identity(np.random.default_rng([PERSON_SEED, number]), canvas)
    return np.round(person.picture).astype(np.uint8), person.points_xy.astype(np.float32)


def darkness(name: str) -> float | None:
    """Return how dark the skin of `person-N` is, 0 (very light) to 1 (very dark); None for a photograph."""
    kind, _, number = name.partition("-")
    return melanin_of(np.random.default_rng([PERSON_SEED, int(number)])) if kind == "person" else None


def face_picture(name: str, interocular_px: float, height: int, width: int) -> Face:
    """Return a face to move `(H, W, 3)` and its landmarks; `name` is one of `PHOTOGRAPHS`, or `person-N`."""
    kind, _, number = name.partition("-")
    if kind == "person" and number.isdecimal():
        return _person(int(number), interocular_px, height, width)
    return photograph(name, interocular_px, height, width)


def _find_landmarks(picture: np.ndarray, enlarge: int = 1) -> np.ndarray:
    """Return the face mesh in pixels of one picture, `(478, 2)`."""
    larger = cv2.resize(picture, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC)
    track = track_face(Clip(larger[None], np.zeros(1)))
    landmarks = track.landmarks_xy[0] @ track.to_clip[0, :, :2].T + track.to_clip[0, :, 2]
    return (landmarks + 0.5) / enlarge - 0.5


def _bump(time_s: np.ndarray, start_s: float, top_s: float, end_s: float, hold_s: float = 0.0) -> np.ndarray:
    """Return 0 before `start_s`, 1 at `top_s` and for `hold_s`, 0 after `end_s`, smooth in between."""
    up = np.clip((time_s - start_s) / max(top_s - start_s, 1e-6), 0, 1)
    down = np.clip((end_s - time_s) / max(end_s - top_s - hold_s, 1e-6), 0, 1)
    return 0.5 * (1 - np.cos(np.pi * np.minimum(up, down)))


def render_clip(
    motion: Motion,
    *,
    name: str = "astronaut",
    fps: float = 30.0,
    duration_s: float = 2.0,
    height: int = 360,
    width: int = 640,
    interocular_px: float = 60.0,
    seed: int = 0,
) -> LabelledClip:
    """Render a clip of a face that moves.

    Args:
        motion ([`Motion`]): What happens.
        name (`str`, *optional*, defaults to `"astronaut"`): One of `PHOTOGRAPHS`, or `person-N`.
        fps (`float`, *optional*, defaults to 30.0): Frames per second.
        duration_s (`float`, *optional*, defaults to 2.0): Length of the clip.
        height (`int`, *optional*, defaults to 360): Of a frame.
        width (`int`, *optional*, defaults to 640): Of a frame.
        interocular_px (`float`, *optional*, defaults to 60.0): Distance between the eye centres.
        seed (`int`, *optional*, defaults to 0): Of noise and head motion.

    Returns:
        [`LabelledClip`]

    Raises:
        ValueError: If the phases are out of order or outside the clip.
    """
    if motion.activations and not 0 <= motion.onset_s < motion.apex_s < motion.offset_s <= duration_s:
        raise ValueError(
            f"phases must satisfy 0 <= onset < apex < offset <= {duration_s} s, got {motion.onset_s}, "
            f"{motion.apex_s} and {motion.offset_s}."
        )
    rng = np.random.default_rng(seed)
    face = face_picture(name, interocular_px, height, width)
    time_s = np.arange(max(2, round(duration_s * fps))) / fps
    seconds = (motion.onset_s, motion.apex_s, motion.offset_s)
    strengths = _bump(time_s, *seconds, motion.hold_s)
    frames = render_frames(rng, motion, face, strengths, fps)
    phases = [min(round(t * fps), len(time_s) - 1) if motion.activations else None for t in seconds]
    return LabelledClip(Clip(frames, time_s, source=f"synthetic:{name}"), motion, *phases)


def render_frames(
    rng: Generator, motion: Motion, face: Face, strengths: np.ndarray, fps: float
) -> np.ndarray:
    """Render frames `(T, H, W, 3)` of a face; `strengths` replace the phases."""
    picture, landmarks = face
    height, width = picture.shape[:2]
    time_s = np.arange(len(strengths)) / fps
    moving = _moving_parts(rng, motion, time_s, strengths, landmarks, (height, width))
    head = _head_path(rng, time_s, motion, landmarks[:468].mean(axis=0))
    gains = np.ones(len(time_s))
    if motion.exposure:
        gains += motion.exposure * (_wander(rng, time_s, 0.7) - 0.5)
    frames = np.empty((len(time_s), *picture.shape), np.uint8)
    still = np.zeros((height, width, 2), np.float32)
    for i in range(len(time_s)):
        flow_xy = sum((strength[i] * part for strength, part in moving), still)
        frames[i] = _frame(rng, picture, flow_xy, head[i], motion, gains[i])
    return frames


def _moving_parts(rng, motion, time_s, strengths, landmarks, size_hw) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (strength over time, displacement field at strength 1) of each part that moves the skin."""
    left, right = eye_centres(landmarks)
    interocular_px = float(np.linalg.norm(right - left))
    across = (right - left) / interocular_px
    tilt = np.array([across, (-across[1], across[0])])  # rows: the face's own x and y axes in the picture
    step = max(1, int(interocular_px / 30))  # a vertex every few pixels needs no finer raster
    operator = spread_operator(landmarks[:468], *(np.arange(0, side, step) for side in size_hw[::-1]))
    raster = pixel_grid(*size_hw) / np.float32(step)
    parts = []

    def move(strength, moved_px):
        coarse = cv2.GaussianBlur(carry(moved_px @ tilt, operator), (0, 0), 1.0)
        parts.append((strength, look_up(coarse, raster)))

    def skin(activations, peak_px, basis=None):
        moved = vertex_displacement(activations, basis)
        return moved * (peak_px * interocular_px / 60 / np.linalg.norm(moved, axis=1).max())

    if motion.activations:
        move(strengths, skin(motion.activations, motion.peak_px, motion.basis))
    if motion.blink_s is not None:
        lids = np.linalg.norm(landmarks[159] - landmarks[145])
        blink = _bump(time_s, motion.blink_s - 0.1, motion.blink_s, motion.blink_s + 0.1)
        move(blink, vertex_displacement({"AU45": (lids, lids)}))
    if motion.talk_px:
        for name in SPEECH:
            move(_wander(rng, time_s, SYLLABLES_HZ), skin({name: (1.0, 1.0)}, motion.talk_px))
    if motion.restless_px:
        for name in rng.choice(sorted(au_basis()), 4, replace=False):
            moved = skin({str(name): (1.0, float(rng.uniform(0.3, 1.0)))}, motion.restless_px)
            move(_wander(rng, time_s, 1.0), moved)
    if motion.gaze:
        move(_wander(rng, time_s, 1.0), eye_field(rng) * motion.gaze * interocular_px * 0.03)
    for degrees, axis in ((motion.yaw_deg, 0), (motion.pitch_deg, 1)):
        if degrees:
            moved = np.zeros((468, 2))
            depth = face_template()[0][:, 2]
            moved[:, axis] = -np.deg2rad(degrees) * (depth - depth.mean()) * interocular_px
            move(np.sin(np.linspace(0, np.pi * rng.uniform(0.5, 1.5), len(time_s))), moved)
    return parts


def _wander(rng, time_s: np.ndarray, rate_hz: float) -> np.ndarray:
    """Return a strength between 0 and 1 that changes at a rate: smooth steps between random values."""
    count = int(np.ceil(time_s[-1] * rate_hz)) + 2
    knots = np.arange(count) / rate_hz - rng.uniform(0, 1 / rate_hz)
    values = rng.uniform(0, 1, count) * (rng.random(count) < 0.8)
    place = np.clip(np.searchsorted(knots, time_s, side="right") - 1, 0, count - 2)
    share = np.clip((time_s - knots[place]) * rate_hz, 0, 1)
    share = 0.5 - 0.5 * np.cos(np.pi * share)
    return values[place] * (1 - share) + values[place + 1] * share


def _head_path(rng, time_s, motion, centre) -> np.ndarray:
    """Draw slow head motion: a similarity per frame, `(T, 2, 3)`, the identity in the first frame."""
    phase, speed = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.5, 1.5, 3)
    path = np.sin(phase + speed * np.pi * time_s[:, None] / max(time_s[-1], 1e-6)) - np.sin(phase)
    shift, turn = motion.drift_px * path[:, :2] / 2, np.deg2rad(motion.turn_deg) * path[:, 2] / 2
    if motion.posture_px:
        begins_s, angle = rng.uniform(0, time_s[-1]), rng.uniform(0, 2 * np.pi)
        step = _bump(time_s, begins_s, begins_s + rng.uniform(0.4, 1.2), 1e6)
        shift = shift + motion.posture_px * np.outer(step, [np.cos(angle), np.sin(angle)])
    turns = zip(map(rotation, turn), shift, strict=True)
    return np.stack([np.column_stack([t, centre - t @ centre + s]) for t, s in turns])


def _frame(rng, picture, flow_xy, head, motion, gain) -> np.ndarray:
    """Render one frame: the skin moves, then the head, in one resampling; then light and noise."""
    back = cv2.invertAffineTransform(head)
    still = (pixel_grid(*picture.shape[:2]) @ back[:, :2].T + back[:, 2]).astype(np.float32)
    source = (still - carried_back(flow_xy, still, 0.0)).astype(np.float32)
    frame = cv2.remap(picture, source[..., 0], source[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    gain *= 1.0 + motion.flicker * rng.uniform(-1, 1)
    return expose(rng, frame * np.float32(gain), motion.noise)


def example_clip(kind: str, fps: float = 30.0, seed: int = 1) -> LabelledClip:
    """Render one of the five clips that the demo offers.

    Args:
        kind (`str`): `"negative"`, `"positive"`, `"surprise"`, `"still"` or `"blink"`.
        fps (`float`, *optional*, defaults to 30.0): Frames per second.
        seed (`int`, *optional*, defaults to 1): Of noise and head motion.

    Returns:
        [`LabelledClip`]: Two seconds, 640 x 360.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind not in EXAMPLE_KINDS:
        raise ValueError(f"unknown example {kind!r}. Choose one of {', '.join(EXAMPLE_KINDS)}.")
    blink_s = 1.0 if kind == "blink" else None
    return render_clip(Motion(EXAMPLES.get(kind, {}), blink_s=blink_s), fps=fps, seed=seed)
