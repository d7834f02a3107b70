"""The motion curve of a clip, with a slider for each phase exactly under it."""

from pathlib import Path

import numpy as np

from mer_hf.inference.pipeline import PHASE_NAMES, Prediction

from .view import render

ROOM = 1.5
"""The top of the drawing, in units of the highest value of the curve: names stand above the curve."""
SCRIPT = Path(__file__).with_suffix(".js").read_text()
"""Its event `release` passes three frames once a slider is let go, `spotted` asks for the spotted ones."""
NOTHING_YET = '<p class="idle">The motion of the face over the clip and its three phases will stand here.</p>'


def curve_and_sliders(prediction: Prediction) -> str:
    """Draw the curve and its sliders, at the first, middle and last frame where no phases were found."""
    phases = prediction.phases
    curve, last = np.nan_to_num(phases.curve), len(phases.curve) - 1
    if last < 1:
        return '<p class="idle">A single frame has no motion.</p>'
    is_spotted = phases.apex is not None
    frames = [getattr(phases, name) for name in PHASE_NAMES] if is_spotted else [0, last // 2, last]
    return render(
        "motion.html",
        found=is_spotted,
        last=last,
        at=dict(zip(PHASE_NAMES, frames, strict=True)),
        curve=curve.tolist(),
        strongest=int(curve.argmax()),
        top=ROOM * max(float(curve.max()), 1.1 * phases.threshold, 1e-6),
        threshold=float(phases.threshold),
        seconds=prediction.timestamps_s if np.isfinite(prediction.timestamps_s).all() else None,
        blinks=phases.blinks,
        averaged=sorted(set(prediction.apexes)),
        ticks=sorted({round(last * share / 4) for share in range(5)}),
        set_by_hand=phases.source != "spotted",
    )
