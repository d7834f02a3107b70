"""What the page says of a result: the card with the verdict, and bars. HTML, so that it can be read aloud."""

import html
import re
from dataclasses import dataclass

from mer_hf.face.action_units import PRESENT
from mer_hf.inference.pipeline import NOT_AN_EXPRESSION, UNSCORED, Prediction
from mer_hf.labels import ACTION_UNITS
from mer_hf.visualization.report import TITLES

MOST_BARS, LEAST = 8, 0.05
"""So many action units are shown, the strongest that reach this intensity; the others are counted."""
SEVERAL = re.compile(r"^(\d+) faces were found")


@dataclass(frozen=True)
class Kind:
    """How a kind of result is shown.

    Attributes:
        name (`str`): CSS class, which chooses the colour.
        icon (`str`): A sign that says the same as the colour.
        title (`str`): In words.
        meaning (`str`): What it means, in a sentence.
    """

    name: str
    icon: str
    title: str
    meaning: str


KINDS = {
    "micro_expression": Kind("found", "✓", TITLES["micro_expression"], ""),
    "no_micro_expression": Kind(
        "other",
        "≠",
        TITLES["no_micro_expression"],
        "Something moved, but more like a blink, speech, a turn of the head or noise. "
        "The bars say what it would be if it were one.",
    ),
    "no_motion": Kind(
        "still",
        "\N{EN DASH}",
        TITLES["no_motion"],
        "The face stays still, so nothing was classified.",
    ),
    "blink": Kind(
        "blink", "◡", TITLES["blink"], "The lids closed and nothing else moved: nothing to classify."
    ),
}
IDLE = Kind("idle", "○", "No clip yet", "Upload one, record one, or take an example.")
REFUSED = Kind("refused", "!", "Not analysed", "")


def card(prediction: Prediction) -> str:
    """The verdict, its probabilities, when it was, and what to know before believing it."""
    kind = KINDS[prediction.outcome]
    title = kind.title
    if prediction.label:
        title = f"{prediction.label}, {percent(prediction.scores[prediction.label])}"
    parts = [_head(kind, title, kind.title if prediction.label else "")]
    parts += [f"<p>{html.escape(kind.meaning)}</p>"] if kind.meaning else []
    if prediction.outcome in ("micro_expression", "no_micro_expression"):
        parts.append(probabilities(prediction.scores, prediction.label))
    parts.append(f"<p class='when'>{html.escape(when(prediction))}</p>")
    return _card(kind, "".join([*parts, *_warnings(prediction)]))


def refused(reason: str) -> str:
    """Why there is no answer."""
    return _card(REFUSED, _head(REFUSED, REFUSED.title) + f"<p>{html.escape(reason)}</p>")


def idle() -> str:
    """What stands there before the first clip."""
    return _card(
        IDLE, _head(IDLE, IDLE.title) + f"<p>{IDLE.meaning} Best: one to three seconds, one face.</p>"
    )


def _card(kind: Kind, inside: str) -> str:
    return f'<div class="verdict {kind.name}" role="status">{inside}</div>'


def _head(kind: Kind, title: str, over: str = "") -> str:
    small = f"<small>{html.escape(over)}</small>" if over else ""
    return (
        f'<header><span class="icon" aria-hidden="true">{kind.icon}</span>'
        f"<div>{small}<strong>{html.escape(title)}</strong></div></header>"
    )


def percent(share: float) -> str:
    """A probability for people; none is ever 0 or 100 %."""
    if 0.01 <= share <= 0.99:
        return f"{share:.0%}"
    return ">99%" if share > 0.5 else "<1%"


def probabilities(scores: dict[str, float], chosen: str | None) -> str:
    """A bar per class, with its number; the chosen one stands out."""
    rows = []
    for name, value in scores.items():
        strong = " class='chosen'" if name == chosen else ""
        rows.append(
            f"<tr{strong}><th scope='row'>{html.escape(name)}</th>"
            f"<td><i style='width:{value:.1%}'></i></td><td>{html.escape(percent(value))}</td></tr>"
        )
    return f"<table class='bars' aria-label='Probabilities'>{''.join(rows)}</table>"


def when(prediction: Prediction) -> str:
    """Where in the clip it was found, how sure it is, and which network says so."""
    found = prediction.to_dict()["phases"]
    frames = len(prediction.phases.curve)
    said = [f"{frames} frames"]
    if found["onset_s"] is not None:
        said = [f"{found['onset_s']:.2f} to {found['offset_s']:.2f} s, strongest at {found['apex_s']:.2f} s"]
    elif found["apex"] is not None:
        said = [f"frames {found['onset']} to {found['offset']} of {frames}"]
    if prediction.expression_probability is not None:
        said.append(f"an expression at all: {percent(prediction.expression_probability)}")
    if found["source"] == "given":
        said.append("phases set by hand")
    if prediction.outcome not in UNSCORED:
        said.append(re.sub(r"@([0-9a-f]{7})[0-9a-f]*$", r"@\1", prediction.model))
    return "; ".join(said) + "."


def _warnings(prediction: Prediction) -> list[str]:
    """Several faces first and in a colour of its own; what the card says already is not repeated."""
    lines = []
    for text in prediction.warnings:
        if SEVERAL.match(text):
            lines.insert(0, f'<p class="several"><b aria-hidden="true">⚇</b> {html.escape(text)}</p>')
        elif text not in (NOT_AN_EXPRESSION, *UNSCORED.values()):
            lines.append(f'<p class="warning">⚠ {html.escape(text)}</p>')
    return lines


def action_units(prediction: Prediction) -> str:
    """The strongest action units as bars to both sides, as one looks at the face: right on the left."""
    seen = {name: values for name, values in prediction.action_units.items() if values}
    strongest = sorted(seen, key=lambda name: -max(seen[name]))[:MOST_BARS]
    strongest = [name for name in strongest if max(seen[name]) >= LEAST]
    shown = [name for name in seen if name in strongest]  # in the order of their numbers
    rows = []
    for name in shown:
        left, right, intensity = seen[name]
        said = f"{name} {ACTION_UNITS[name]}: right {right:.2f}, left {left:.2f}"
        rows.append(
            f"<tr{' class=present' if intensity >= PRESENT else ''} title='{said}'>"
            f"<td class='right'><i style='width:{right:.0%}'></i></td>"
            f"<th scope='row'><b>{name}</b> {ACTION_UNITS[name]}</th>"
            f"<td class='left'><i style='width:{left:.0%}'></i></td>"
            f"<td class='number'>{intensity:.2f}</td></tr>"
        )
    hidden = len(prediction.action_units) - len(seen)
    weaker = f"{len(seen) - len(shown)} {'others are weaker' if shown else 'are at rest'}"
    rest = f"{weaker}; {hidden} cannot be seen in a picture's motion."
    return (
        "<div class='units'><table><caption>Action units, on the person's</caption>"
        "<thead><tr><th scope='col'>right</th><th></th><th scope='col'>left</th><th></th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table><p>{rest}</p></div>"
    )
