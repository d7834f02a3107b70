"""Draw the picture of a card: a network's answer on one clip of a person who does not exist.

The clip is the same for every network, whatever the answer is: nothing is chosen for looks.
"""

import json
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from mer_hf.face.flow import optical_flow
from mer_hf.inference.pipeline import MicroExpressionPipeline, Prediction
from mer_hf.synthetic.clips import EXAMPLES, Motion, render_clip
from mer_hf.utils.provenance import sha256_of
from mer_hf.visualization import figures

from .folder import MANIFEST, PICTURE

SHOWN = {"name": "person-0", "kind": "positive", "seed": 0}
"""The clip: the person, the key in `EXAMPLES`, and the seed of noise and head motion."""
WIDTH, MARGIN, TITLE = 1600, 24, 44
"""Pixels; a page shows the picture at half its width."""


def render_picture(checkpoint: Path, folder: Path) -> str:
    """Draw a checkpoint's answer, with the manifest that lets it leave, into `folder`; return the caption."""
    units = EXAMPLES[SHOWN["kind"]]
    sample = render_clip(Motion(units), name=SHOWN["name"], seed=SHOWN["seed"])
    prediction = MicroExpressionPipeline.from_pretrained(str(checkpoint))(sample.clip)
    Image.fromarray(prediction_picture(prediction)).save(folder / PICTURE)
    manifest = {"synthetic": {PICTURE: sha256_of(folder / PICTURE)}, "rendered_from": SHOWN}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    answer = prediction.label or prediction.outcome.replace("_", " ")
    return (
        f"A generated clip of a person who does not exist: {' and '.join(units)} move from frame "
        f"{sample.onset} to frame {sample.offset}, most at {sample.apex}, as in a {SHOWN['kind']} "
        f"expression. This checkpoint answers {answer}. The heat map shows where its answer comes from, not "
        "what is true."
    )


def prediction_picture(prediction: Prediction) -> np.ndarray:
    """Draw both faces, their motion, the heat map, the curve and the scores: uint8 `(H, WIDTH, 3)`."""
    side = (WIDTH - 5 * MARGIN) // 4
    onset, apex, phases = prediction.onset_face, prediction.apex_face, prediction.phases
    relevance = prediction.relevance
    relevance = relevance.max(axis=0) if relevance.ndim == 3 else relevance
    gray = [np.round(face.mean(axis=2)).astype(np.uint8) for face in (onset, apex)]
    panels = {
        f"onset, frame {phases.onset}": onset,
        f"apex, frame {phases.apex}": apex,
        "motion between them": figures.flow_picture(optical_flow(*gray), size=side),
        "where the network looked": figures.overlay_picture(apex, relevance),
    }
    wide = 3 * side + 2 * MARGIN - side // 2
    size_wh = (wide // 2, 140)
    curve = figures.curve_picture(phases.curve, phases.onset, phases.apex, phases.offset, size_wh=size_wh)
    size_wh = ((WIDTH - 3 * MARGIN - wide) // 2, 140)
    bars = figures.bars_picture(prediction.scores, prediction.label, size_wh=size_wh)
    canvas = Image.new("RGB", (WIDTH, TITLE + side + TITLE + 280 + MARGIN), "white")
    for column, (title, panel) in enumerate(panels.items()):
        _paste(canvas, figures.enlarge(panel, side), title, MARGIN + column * (side + MARGIN), 0)
    _paste(canvas, curve, "motion over the clip, by frame", MARGIN, TITLE + side)
    _paste(canvas, bars, "the network's scores", 2 * MARGIN + wide, TITLE + side)
    return np.asarray(canvas)


def _paste(canvas: Image.Image, picture: np.ndarray, title: str, left: int, top: int) -> None:
    """Put a picture with its title above it."""
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 24)
    ImageDraw.Draw(canvas).text((left, top + 8), title, fill="#111827", font=font)
    canvas.paste(Image.fromarray(picture), (left, top + TITLE))
