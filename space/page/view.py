"""What the page says and shows of a result."""

import html

import gradio as gr
import numpy as np

from mer_hf import draw
from mer_hf.action_units import PRESENT
from mer_hf.flow import optical_flow
from mer_hf.labels import ACTION_UNITS
from mer_hf.pipeline import Prediction

OUTCOMES = {
    "micro_expression": "Micro-expression",
    "no_micro_expression": "No micro-expression",
    "no_motion": "No motion",
    "blink": "Only a blink",
}

FAINT_PX = 0.5
"""Motion below this never gets the full colour: the noise of a still clip would look like a storm."""

FACE_LABELS = ("Onset", "Apex", "Motion, onset to apex", "Relevance")


def refusal(reason: str) -> tuple:
    """The values of a page that shows only why there is no answer."""
    card = (
        f'<div class="verdict refused"><strong>Not analysed</strong><span>{html.escape(reason)}</span></div>'
    )
    faces = (gr.Image(None, label=label) for label in FACE_LABELS)
    return (card, None, None, *faces, {"error": reason})


def verdict(prediction: Prediction) -> str:
    """The answer as a card."""
    title = OUTCOMES[prediction.outcome]
    if prediction.label:
        title += f": {prediction.label}, {prediction.scores[prediction.label]:.0%}"
    lines = [phases_line(prediction), action_units_line(prediction)]
    lines += [f'<span class="warning">⚠ {html.escape(warning)}</span>' for warning in prediction.warnings]
    kind = "found" if prediction.label else "open"
    return f'<div class="verdict {kind}"><strong>{html.escape(title)}</strong>{"".join(lines)}</div>'


def phases_line(prediction: Prediction) -> str:
    """Where in the clip it was found, and how long the answer took."""
    found = prediction.to_dict()["phases"]
    took = f"answered in {sum(prediction.timings_s.values()):.1f} s"
    frames = len(prediction.phases.curve)
    if found["apex"] is None:
        return f"<span>{frames} frames, {took}</span>"
    if found["onset_s"] is None:
        return f"<span>frames {found['onset']} to {found['offset']} of {frames}, {took}</span>"
    where = f"{found['onset_s']:.2f} to {found['offset_s']:.2f} s, strongest at {found['apex_s']:.2f} s"
    return f"<span>{where}; {took}</span>"


def action_units_line(prediction: Prediction) -> str:
    """The action units that motion shows, strongest first."""
    found = prediction.action_units
    present = [name for name, values in found.items() if values and values[2] >= PRESENT]
    shown = []
    for name in sorted(present, key=lambda name: -found[name][2]):
        left, right, _ = found[name]
        side = "" if min(left, right) >= PRESENT else " on the left" if left > right else " on the right"
        shown.append(f"{name} {ACTION_UNITS[name]}{side}")
    return f"<span>Action units: {html.escape(', '.join(shown[:4])) or 'none'}</span>"


def pictures(prediction: Prediction) -> tuple:
    """Curve, onset, apex, flow and overlay, each with its label; no overlay where nothing was classified."""
    phases = prediction.phases
    labels = ("First frame", "Middle frame", "Motion, first to middle")
    if phases.apex is not None:
        labels = (f"Onset, frame {phases.onset}", f"Apex, frame {phases.apex}", FACE_LABELS[2])
    flow_xy = optical_flow(prediction.onset_face, prediction.apex_face)
    flow = draw.flow_picture(flow_xy, max_px=max(draw.full_color_px(flow_xy), FAINT_PX))
    overlay = (
        draw.overlay_picture(prediction.apex_face, prediction.apex_relevance) if prediction.label else None
    )
    return (
        curve_of(prediction),
        gr.Image(prediction.onset_face, label=labels[0]),
        gr.Image(prediction.apex_face, label=labels[1]),
        gr.Image(flow, label=labels[2]),
        overlay,
    )


def curve_of(prediction: Prediction) -> np.ndarray:
    """The motion curve with its phases, the blinks shaded."""
    phases = prediction.phases
    blinking = np.zeros(len(phases.curve), dtype=bool)
    for first, last in phases.blinks:
        blinking[first : last + 1] = True
    return draw.curve_picture(
        phases.curve,
        phases.onset,
        phases.apex,
        phases.offset,
        times_s=prediction.timestamps_s,
        masked=blinking,
        threshold=phases.threshold,
        unit="pixels",
        size_wh=(900, 162),
    )
