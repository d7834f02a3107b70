"""Synthetic clips with a known answer, for everything that only the whole pipeline can show.

People who are in no training run do something: show an expression of a given size, keep still, blink, talk,
turn the head, look elsewhere. Clip i of a set is a pure function of (set, seed, i).
"""

from dataclasses import dataclass, replace

import numpy as np

from mer_hf.synthetic.clips import Motion, render_clip
from mer_hf.synthetic.expressions import CLASSES, draw_expression
from mer_hf.synthetic.flow_maps import FlowMapSettings, log_uniform, personal_basis
from mer_hf.video.clip import Clip, compressed

MUSCLES = FlowMapSettings(muscle=0.3, contraction=0.5)
DURATION_S = 1.6
FRAME_RATES = (25.0, 30.0, 30.0, 50.0, 60.0, 100.0)
PEOPLE = 100_000
"""Numbers of people that belong to one seed."""

SILENT = ("still", "blink", "talk", "head turn", "gaze")
"""What is no expression."""


@dataclass(frozen=True)
class Case:
    """A kind of clip.

    Attributes:
        kind (`str`): `expression`, or one of `SILENT`.
        peak_px (`float`, *optional*): Largest motion of an expression, in pixels at an inter-ocular distance
            of 60; None draws it between 0.5 and 4, evenly in its logarithm.
        fps (`float`, *optional*): None draws one of `FRAME_RATES`.
        interocular_px (`float`, *optional*): None draws it between 50 and 90.
        noise (`float`, *optional*): Of the sensor, in grey levels; None draws it between 0.5 and 3.
        crf (`int`, *optional*): The clip is compressed as H.264 with this quality; None leaves it as it is.
        one_sided (`bool`): Whether one side alone moves.
        name (`str`, *optional*): The face, see `render_clip`; None draws a person.
    """

    kind: str = "expression"
    peak_px: float | None = None
    fps: float | None = None
    interocular_px: float | None = None
    noise: float | None = None
    crf: int | None = None
    one_sided: bool = False
    name: str | None = None


@dataclass(frozen=True)
class KnownClip:
    """A clip and its answer.

    Attributes:
        clip ([`Clip`]): Frames and times.
        label (`int`): Class index; -1 where there is no expression.
        activations (`dict`): AU -> (left, right).
        peak_px (`float`): Largest motion; 0 where there is no expression.
        person (`str`): Whose face it is.
        onset, apex, offset (`int`, *optional*): Frames; None where there is no expression.
    """

    clip: Clip
    label: int
    activations: dict[str, tuple[float, float]]
    peak_px: float
    person: str
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None


def known_clip(case: Case, seed: int, index: int) -> KnownClip:
    """Clip `index` of a kind.

    Args:
        case ([`Case`]): The kind.
        seed (`int`): Chooses the stream; sets with different seeds share no person.
        index (`int`): In the stream.

    Returns:
        [`KnownClip`]

    Raises:
        ValueError: If the kind is unknown.
    """
    if case.kind not in ("expression", *SILENT):
        raise ValueError(f"unknown kind {case.kind!r}. Choose expression, {', '.join(SILENT)}.")
    kinds = ("expression", *SILENT).index(case.kind)
    rng = np.random.default_rng([seed, kinds, index])
    person = case.name or f"person-{(seed % 1000) * PEOPLE + int(rng.integers(PEOPLE))}"
    motion, label = _motion(rng, case)
    interocular_px = case.interocular_px or float(rng.uniform(50, 90))
    side = 2 * round(2.1 * interocular_px)
    rendered = render_clip(
        motion,
        name=person,
        fps=case.fps or float(rng.choice(FRAME_RATES)),
        duration_s=DURATION_S,
        height=side,
        width=side,
        interocular_px=interocular_px,
        seed=int(rng.integers(2**31)),
    )
    clip = rendered.clip if case.crf is None else _compressed(rendered.clip, case.crf)
    phases = rendered.onset, rendered.apex, rendered.offset
    return KnownClip(
        clip, label, motion.activations, motion.peak_px if motion.activations else 0.0, person, *phases
    )


def _motion(rng, case: Case) -> tuple[Motion, int]:
    camera = Motion(
        noise=case.noise if case.noise is not None else log_uniform(rng, 0.5, 3.0),
        flicker=float(rng.uniform(0, 0.02)),
        drift_px=float(rng.uniform(0, 3)),
        turn_deg=float(rng.uniform(0, 1)),
    )
    if case.kind == "expression":
        return _expression(rng, case, camera)
    if case.kind == "blink":
        return replace(camera, blink_s=float(rng.uniform(0.4, DURATION_S - 0.4))), -1
    if case.kind == "talk":
        return replace(camera, talk_px=log_uniform(rng, 2.0, 6.0)), -1
    if case.kind == "head turn":
        return replace(camera, yaw_deg=float(rng.uniform(2, 8)), pitch_deg=float(rng.uniform(0, 4))), -1
    if case.kind == "gaze":
        return replace(camera, gaze=float(rng.uniform(0.5, 1.5))), -1
    return camera, -1


def _expression(rng, case: Case, camera: Motion) -> tuple[Motion, int]:
    label = int(rng.integers(len(CLASSES)))
    activations = draw_expression(rng, label).activations
    if case.one_sided:
        left = rng.random() < 0.5
        activations = {
            name: (max(pair), 0.0) if left else (0.0, max(pair)) for name, pair in activations.items()
        }
    rise_s, fall_s = rng.uniform(0.08, 0.22), rng.uniform(0.1, 0.25)
    onset_s = float(rng.uniform(0.4, DURATION_S - 0.9))
    motion = replace(
        camera,
        activations=activations,
        basis=personal_basis(rng, activations, MUSCLES),
        peak_px=case.peak_px or log_uniform(rng, 0.5, 4.0),
        onset_s=onset_s,
        apex_s=onset_s + float(rise_s),
        offset_s=onset_s + float(rise_s + fall_s),
    )
    return motion, label


def _compressed(clip: Clip, crf: int) -> Clip:
    fps = 1 / float(np.diff(clip.timestamps_s).mean())
    return replace(clip, frames=compressed(clip.frames, fps, crf))
