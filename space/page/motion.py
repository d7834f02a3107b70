"""The motion curve of a clip, with a slider for each phase exactly under it."""

import html
from pathlib import Path

import gradio as gr
import numpy as np

from mer_hf.face.spotting import Phases
from mer_hf.inference.pipeline import PHASE_NAMES, Prediction

ROOM = 1.5
"""The curve's highest value times this is the top of the drawing: names stand above it."""
SCRIPT = Path(__file__).with_suffix(".js").read_text()
NOTHING_YET = (
    '<p class="idle">The motion of the face over the clip, and its three phases, will stand here.</p>'
)


def component() -> gr.HTML:
    """The curve and its sliders.

    Returns:
        `gr.HTML`: Its event `release` tells the three frames after a slider is let go, `spotted` that the
            spotted ones are wanted again.
    """
    return gr.HTML(NOTHING_YET, js_on_load=SCRIPT, elem_id="motion", padding=False)


def curve_and_sliders(prediction: Prediction) -> str:
    """Both as HTML: whatever stands at x per cent of the curve stands at x per cent of each slider.

    Args:
        prediction (`Prediction`): With the curve. Where no phases were found the sliders stand at the first,
            middle and last frame.

    Returns:
        `str`: HTML.
    """
    phases = prediction.phases
    last = len(phases.curve) - 1
    if last < 1:
        return '<p class="idle">One frame has no motion.</p>'
    found = phases.apex is not None
    at = [getattr(phases, name) for name in PHASE_NAMES] if found else [0, last // 2, last]
    seconds = prediction.timestamps_s if np.isfinite(prediction.timestamps_s).all() else None
    rows = "".join(_slider(name, frame, last, seconds) for name, frame in zip(PHASE_NAMES, at, strict=True))
    marks = "".join(
        f'<i class="mark {name}" style="left:{_percent(frame, last)}"><b>{name}</b></i>'
        for name, frame in zip(PHASE_NAMES, at, strict=True)
    )
    span = f"left:{_percent(at[0], last)};width:{_percent(at[2] - at[0], last)}"
    times = "" if seconds is None else " ".join(f"{each:.3f}" for each in seconds)
    return (
        f'<div class="motion {"found" if found else "open"}" data-last="{last}" data-seconds="{times}">'
        f'<div class="graph">{_axis(phases)}<div class="plot">'
        f'<div class="span" style="{span}"></div>{_drawing(prediction)}{marks}</div></div>'
        f'<div class="ticks">{_ticks(last, seconds)}</div>{rows}</div>'
    )


def _percent(frame: float, last: int) -> str:
    return f"{100 * frame / last:.3f}%"


def _top(curve: np.ndarray, threshold: float) -> float:
    return ROOM * max(float(np.nanmax(np.nan_to_num(curve))), 1.1 * threshold, 1e-6)


def _axis(phases: Phases) -> str:
    """What the heights mean, and the way back from phases that were set by hand."""
    lines = [
        f"<span>Motion of the face, <br>strongest: {float(np.nan_to_num(phases.curve).max()):.2f} px</span>"
    ]
    if phases.threshold:
        lines.append('<span class="key">counts as motion</span>')
    if phases.source != "spotted":
        lines.append('<button type="button" class="back">Back to spotted</button>')
    return f'<div class="axis">{"".join(lines)}</div>'


def _drawing(prediction: Prediction) -> str:
    """The curve as an SVG that is stretched to its place; alternative text says what it shows."""
    phases = prediction.phases
    curve, last = np.nan_to_num(phases.curve), len(phases.curve) - 1
    top = _top(curve, phases.threshold)
    points = " ".join(
        f"{1000 * x / last:.1f},{100 - 100 * y / top:.2f}" for x, y in enumerate(curve.tolist())
    )
    blinks = "".join(
        f'<rect class="blink" x="{1000 * a / last:.1f}" width="{1000 * max(b - a, 0.4) / last:.1f}" '
        'y="0" height="100"><title>blink</title></rect>'
        for a, b in phases.blinks
    )
    limit = f'<path class="limit" d="M0 {100 - 100 * phases.threshold / top:.2f}H1000"/>'
    said = (
        f"Motion over {last + 1} frames, strongest {curve.max():.2f} pixels at frame {int(curve.argmax())}."
    )
    return (
        f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{html.escape(said)}">'
        f'{blinks}{limit}<polyline points="{points}"/></svg>'
    )


def _ticks(last: int, seconds: np.ndarray | None) -> str:
    """Five places on the axis, in seconds where they are known."""
    frames = sorted({round(last * share / 4) for share in range(5)})
    shown = [f"frame {frame}" if seconds is None else f"{seconds[frame]:.2f} s" for frame in frames]
    return "".join(
        f'<span style="left:{_percent(frame, last)}">{text}</span>'
        for frame, text in zip(frames, shown, strict=True)
    )


def _slider(name: str, frame: int, last: int, seconds: np.ndarray | None) -> str:
    said = f"frame {frame}" + ("" if seconds is None else f", {seconds[frame]:.2f} s")
    return (
        f'<label class="phase {name}"><span class="name">{name}</span><output>{said}</output>'
        f'<input type="range" name="{name}" aria-label="{name} frame" aria-valuetext="{said}" min="0" '
        f'max="{last}" step="1" value="{frame}"></label>'
    )
