"""Synthetic test clips with a known answer, for everything that only the whole pipeline can show.

People on whom no run trains do something: show an expression of a given size, keep still, blink, talk, turn
the head, look elsewhere. Clip i of a set is a pure function of (kind, seed, i).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mer_hf.synthetic.clips import LabelledClip, Motion, render_clip
from mer_hf.synthetic.expressions import CLASSES, draw_expression
from mer_hf.synthetic.faces import FaceSettings
from mer_hf.synthetic.flow_maps import FlowMapSettings, log_uniform, personal_basis
from mer_hf.video.clip import compressed

MUSCLES = FlowMapSettings(muscle=0.3, contraction=0.5, reach=FaceSettings.reach)
DURATION_S = 1.6
FRAME_RATES = (25.0, 30.0, 30.0, 50.0, 60.0, 100.0)
ORDINARY_RATES = (15.0, 24.0, 25.0, 30.0, 30.0, 60.0)
PEOPLE = 100_000
"""Number of people that belong to one seed."""

OTHER_MOTION: dict[str, Callable[[np.random.Generator], dict[str, float]]] = {
    "still": lambda rng: {},
    "blink": lambda rng: {"blink_s": float(rng.uniform(0.4, DURATION_S - 0.4))},
    "talk": lambda rng: {"talk_px": log_uniform(rng, 2.0, 6.0)},
    "head turn": lambda rng: {"yaw_deg": float(rng.uniform(2, 8)), "pitch_deg": float(rng.uniform(0, 4))},
    "gaze": lambda rng: {"gaze": float(rng.uniform(0.5, 1.5))},
    "restless": lambda rng: {"restless_px": log_uniform(rng, 0.2, 0.7)},
}
"""Kind of clip without an expression -> what happens in it."""
SILENT = tuple(OTHER_MOTION)


@dataclass(frozen=True)
class TestClip:
    """Description of a test clip; None for what is drawn.

    Attributes:
        kind (`str`): `expression`, or one of `SILENT`.
        peak_px (`float`, *optional*): Largest motion of an expression, in pixels at an interocular distance
            of 60; None draws it between 0.5 and 4, evenly in its logarithm.
        fps (`float`, *optional*): None draws one of `FRAME_RATES`.
        interocular_px (`float`, *optional*): None draws it between 50 and 90.
        noise (`float`, *optional*): Sensor noise in grey levels; None draws it between 0.5 and 3.
        crf (`int`, *optional*): Quality of H.264 compression; None leaves the clip as it is.
        one_sided (`bool`): Whether only one side of the face moves.
        face (`str`, *optional*): The face, see `render_clip`; None draws a person.
        ordinary (`bool`): Whether the clip is like ordinary video: of 0.6 to 5 s, mostly compressed, of a
            person who moves, blinks and looks elsewhere. Expressions then last 0.1 to 4 s and reach 0.7 to
            6 px; the clip may begin or end within one.
        row (`tuple[str, str]`): Table and row in which its result is counted.
    """

    __test__ = False  # pytest takes classes named Test... for tests

    kind: str = "expression"
    peak_px: float | None = None
    fps: float | None = None
    interocular_px: float | None = None
    noise: float | None = None
    crf: int | None = None
    one_sided: bool = False
    face: str | None = None
    ordinary: bool = False
    row: tuple[str, str] = ("", "")


def render_test_clip(test: TestClip, seed: int, index: int) -> tuple[LabelledClip, int]:
    """Render clip `index` of a kind, and return it with its class index (-1 without an expression).

    Sets with different seeds share no person.
    """
    kinds = ("expression", *SILENT)
    rng = np.random.default_rng([seed, kinds.index(test.kind), index])
    face = test.face or f"person-{(seed % 1000) * PEOPLE + int(rng.integers(PEOPLE))}"
    motion, label = _draw_motion(rng, test)
    interocular_px = test.interocular_px or float(rng.uniform(50, 90))
    side = 2 * round(2.1 * interocular_px)
    fps = test.fps or float(rng.choice(FRAME_RATES))
    crf, duration_s, kept_s = test.crf, DURATION_S, None
    if test.ordinary:
        fps, duration_s = float(rng.choice(ORDINARY_RATES)), log_uniform(rng, 0.6, 5.0)
        crf = int(rng.integers(18, 35)) if rng.random() < 0.8 else None
        motion, kept_s = _like_ordinary_video(rng, motion, duration_s)
        duration_s = max(duration_s, kept_s[1])
    size = {"height": side, "width": side, "interocular_px": interocular_px}
    own_seed = int(rng.integers(2**31))
    rendered = render_clip(motion, name=face, fps=fps, duration_s=duration_s, seed=own_seed, **size)
    if kept_s:
        rendered = _cut(rendered, kept_s)
    if crf is not None:
        fps = 1 / float(np.diff(rendered.clip.timestamps_s).mean())
        frames = compressed(rendered.clip.frames, fps, crf)
        rendered = replace(rendered, clip=replace(rendered.clip, frames=frames))
    return rendered, label


def _like_ordinary_video(
    rng: np.random.Generator, motion: Motion, duration_s: float
) -> tuple[Motion, tuple[float, float]]:
    """Return what happens in a clip like ordinary video, and from when to when the clip shows it."""
    changes = {
        "restless_px": motion.restless_px or log_uniform(rng, 0.05, 0.4),
        "posture_px": float(rng.uniform(0, 8)) * (rng.random() < 0.4),
        "exposure": float(rng.uniform(0, 0.2)) * (rng.random() < 0.5),
        "drift_px": float(rng.uniform(0, 5)),
        "turn_deg": float(rng.uniform(0, 2)),
        "yaw_deg": motion.yaw_deg or float(rng.uniform(0, 6)) * (rng.random() < 0.4),
        "pitch_deg": motion.pitch_deg or float(rng.uniform(0, 4)) * (rng.random() < 0.4),
        "gaze": motion.gaze or float(rng.uniform(0, 1)) * (rng.random() < 0.4),
    }
    if motion.blink_s is not None or rng.random() < 0.4:
        changes["blink_s"] = float(rng.uniform(0, duration_s))
    if not motion.activations:
        return replace(motion, **changes), (0.0, duration_s)
    lasts_s = min(log_uniform(rng, 0.1, 4.0), 0.95 * duration_s)
    onset_s = float(rng.uniform(0, duration_s - lasts_s))
    rise_s, fall_s = (min(float(rng.uniform(0.2, 0.5)) * lasts_s, 0.7) for _ in range(2))
    changes |= {
        "peak_px": log_uniform(rng, 0.7, 6.0),
        "onset_s": onset_s,
        "apex_s": onset_s + rise_s,
        "offset_s": onset_s + lasts_s,
        "hold_s": lasts_s - rise_s - fall_s,
    }
    begins_s = onset_s if rng.random() < 0.25 else 0.0
    ends_s = onset_s + lasts_s * float(rng.uniform(0.6, 1)) if rng.random() < 0.25 else duration_s
    kept_s = (begins_s, ends_s) if ends_s - begins_s > 0.3 else (0.0, duration_s)
    return replace(motion, **changes), kept_s


def _cut(rendered: LabelledClip, kept_s: tuple[float, float]) -> LabelledClip:
    """Keep a part of a clip."""
    times_s = rendered.clip.timestamps_s
    kept = np.flatnonzero((times_s >= kept_s[0] - 1e-6) & (times_s <= kept_s[1] + 1e-6))
    frames, times_s = rendered.clip.frames[kept], times_s[kept] - times_s[kept[0]]
    rendered = replace(rendered, clip=replace(rendered.clip, frames=frames, timestamps_s=times_s))
    if rendered.onset is None:
        return rendered
    phases = np.array([rendered.onset, rendered.apex, rendered.offset]) - kept[0]
    onset, apex, offset = phases.clip(0, len(kept) - 1).tolist()
    return replace(rendered, onset=onset, apex=apex, offset=offset)


def _draw_motion(rng: np.random.Generator, test: TestClip) -> tuple[Motion, int]:
    """Draw what happens in a clip, and its class index."""
    camera = Motion(
        noise=test.noise if test.noise is not None else log_uniform(rng, 0.5, 3.0),
        flicker=float(rng.uniform(0, 0.02)),
        drift_px=float(rng.uniform(0, 3)),
        turn_deg=float(rng.uniform(0, 1)),
    )
    if test.kind == "expression":
        return _draw_expression(rng, test, camera)
    return replace(camera, **OTHER_MOTION[test.kind](rng)), -1


def _draw_expression(rng: np.random.Generator, test: TestClip, camera: Motion) -> tuple[Motion, int]:
    """Add an expression to a motion."""
    label = int(rng.integers(len(CLASSES)))
    activations = draw_expression(rng, label).activations
    if test.one_sided:
        left, right = (1, 0) if rng.random() < 0.5 else (0, 1)
        activations = {name: (left * max(pair), right * max(pair)) for name, pair in activations.items()}
    rise_s, fall_s = float(rng.uniform(0.08, 0.22)), float(rng.uniform(0.1, 0.25))
    onset_s = float(rng.uniform(0.4, DURATION_S - 0.9))
    motion = replace(
        camera,
        activations=activations,
        basis=personal_basis(rng, activations, MUSCLES),
        peak_px=test.peak_px or log_uniform(rng, 0.5, 4.0),
        onset_s=onset_s,
        apex_s=onset_s + rise_s,
        offset_s=onset_s + (rise_s + fall_s),
    )
    return motion, label
