"""What the page shows of a result: the card with the answer, action units, pictures.

It is HTML, so that it can be read aloud. The HTML itself is in `templates`; Jinja escapes every value in it.
"""

import base64
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from mer_hf.face.action_units import PRESENT
from mer_hf.face.flow import optical_flow
from mer_hf.inference.pipeline import PHASE_NAMES, UNSCORED, Prediction
from mer_hf.labels import ACTION_UNITS
from mer_hf.visualization import figures
from mer_hf.visualization.report import FAINT_PX, TITLES, describe_motion, split_warnings

MOST_BARS, LEAST = 8, 0.05
"""How many action units are shown, the strongest, and the least intensity of one; the others are counted."""
SEVERAL_FACES = re.compile(r"^\d+ faces were found")


class Kind(NamedTuple):
    """How a kind of result is shown: CSS class for its colour, a sign, a title, and what it means."""

    name: str
    icon: str
    title: str
    meaning: str = ""


SIGNS = {
    "micro_expression": ("found", "✓"),
    "expression": ("longer", "↔"),
    "other_motion": ("other", "≠"),
    "no_motion": ("still", "\N{EN DASH}"),
    "blink": ("blink", "◡"),
}
MEANINGS = {
    "micro_expression": "A short facial motion was found, and the network gave it a class.",
    "expression": "A longer facial motion was found, and the network gave it a class.",
    "other_motion": "Something moved, but not as in an expression: speech, the head, the eyes, or noise.",
    "no_motion": "Nothing moved more than the noise of the recording, so nothing was classified.",
    "blink": "Nothing moved but the eyelids, so nothing was classified.",
}
KINDS = {outcome: Kind(*sign, TITLES[outcome], MEANINGS[outcome]) for outcome, sign in SIGNS.items()}
IDLE = Kind("idle", "○", "No clip yet")
REFUSED = Kind("refused", "!", "Not analysed")


class Picture(NamedTuple):
    """A picture with its caption and what it shows in words, which stand in its place if there is none."""

    key: str
    caption: str
    alt: str
    source: str = ""


def percent(share: float) -> str:
    """Return a probability for people; it never reads 0 % or 100 %."""
    if 0.01 <= share <= 0.99:
        return f"{share:.0%}"
    return ">99%" if share > 0.5 else "<1%"


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["percent"] = percent


def render(template: str, **values: object) -> str:
    """Return a template of this page with values in it."""
    return _ENVIRONMENT.get_template(template).render(values)


def card(prediction: Prediction) -> str:
    """Draw the answer, its probabilities, when it was, and what to know before believing it."""
    kind, label = KINDS[prediction.outcome], prediction.label
    is_scored = prediction.classified
    note, warnings = split_warnings(prediction)
    warnings = [warning for warning in warnings if warning not in UNSCORED.values()]
    return _card(
        kind,
        note or ("" if label else kind.meaning),
        title=f"{label}, {percent(prediction.scores[label])}" if label else kind.title,
        over=kind.title if label else "",
        label=label,
        scores=prediction.scores if is_scored else {},
        when=when(prediction),
        several=[warning for warning in warnings if SEVERAL_FACES.match(warning)],
        warnings=[warning for warning in warnings if not SEVERAL_FACES.match(warning)],
    )


def refused(reason: str) -> str:
    """Draw why there is no answer."""
    return _card(REFUSED, reason)


def idle() -> str:
    """Draw what stands there before the first clip."""
    return _card(IDLE, "Upload one, record one, or take an example. Best: one to three seconds, one face.")


def _card(kind: Kind, text: str, **values: object) -> str:
    empty = dict.fromkeys(("title", "over", "label", "scores", "when", "several", "warnings"), "")
    return render("card.html", **{**empty, **values}, kind=kind, text=text)


def when(prediction: Prediction) -> str:
    """Say where in the clip the motion was, its size, how likely an expression is, and who answered."""
    phases = prediction.to_dict()["phases"]
    frames = len(prediction.phases.curve)
    parts = [f"{frames} frames"]
    if phases["onset_s"] is not None:
        onset_s, apex_s, offset_s = (phases[f"{name}_s"] for name in PHASE_NAMES)
        parts = [f"{onset_s:.2f} to {offset_s:.2f} s, strongest at {apex_s:.2f} s"]
    elif phases["apex"] is not None:
        parts = [f"frames {phases['onset']} to {phases['offset']} of {frames}"]
    parts += describe_motion(prediction)
    if prediction.expression_probability is not None:
        parts.append(f"an expression at all: {percent(prediction.expression_probability)}")
    if phases["source"] == "given":
        parts.append("phases set by hand")
    if prediction.classified:
        parts.append(re.sub(r"@([0-9a-f]{7})[0-9a-f]*$", r"@\1", prediction.model))
    return "; ".join(parts) + "."


def action_units(prediction: Prediction) -> str:
    """Draw the strongest action units as bars to both sides, as one looks at the face: right on the left."""
    visible = {name: values for name, values in prediction.action_units.items() if values}
    strongest = sorted(visible, key=lambda name: -max(visible[name]))[:MOST_BARS]
    units = [(name, values) for name, values in visible.items() if name in strongest and max(values) >= LEAST]
    return render(
        "units.html",
        units=units,
        names=ACTION_UNITS,
        present=PRESENT,
        weaker=len(visible) - len(units),
        hidden=len(prediction.action_units) - len(visible),
    )


def pictures(prediction: Prediction, faces: np.ndarray) -> str:
    """Draw onset, apex, offset, motion and relevance; a picture opens large when it is chosen."""
    phases, last = prediction.phases, len(faces) - 1
    names, frames = ("First", "Middle", "Last"), (0, (last + 1) // 2, last)
    if phases.apex is not None:
        names, frames = ("Onset", "Apex", "Offset"), (phases.onset, phases.apex, phases.offset)
    shown = [
        Picture(name.lower(), f"{name}, frame {at}", f"The face at frame {at}.", data_uri(faces[at]))
        for name, at in zip(names, frames, strict=True)
    ]
    flow_xy = optical_flow(prediction.onset_face, prediction.apex_face)
    flow = figures.flow_picture(flow_xy, max_px=max(figures.full_color_px(flow_xy), FAINT_PX))
    caption = f"Motion, to the {'middle' if phases.apex is None else 'apex'}"
    alt = "The direction of the motion as colour and arrows, with a wheel of directions as key."
    motion = Picture("motion", caption, alt, data_uri(flow, "PNG"))
    return render("figures.html", pictures=[*shown, motion, relevance(prediction)])


def relevance(prediction: Prediction, key: str = "relevance") -> Picture:
    """Draw the apex with the heat map over it, or say why there is none."""
    if not prediction.apex_relevance.any():
        return Picture(key, "Relevance", "no network was asked")
    overlay = figures.overlay_picture(prediction.apex_face, prediction.apex_relevance)
    alt = "The apex; bright regions mattered most to the network."
    return Picture(key, "Relevance", alt, data_uri(overlay))


def data_uri(picture: np.ndarray, kind: str = "JPEG") -> str:
    """Return a picture as text that a page can hold, so that no file is left anywhere."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, quality=90)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
