"""The picture of a card: what a network answers on a clip of a person who does not exist.

It is always the same clip, whatever the network makes of it: nothing is chosen for looks.
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

from .folder import MANIFEST

NAME = "prediction.png"
SHOWN = {"name": "person-0", "kind": "positive", "seed": 0}
"""The clip: who, which of `EXAMPLES`, and the seed of noise and head motion."""
WIDTH, MARGIN, TITLE = 1600, 24, 44
"""Pixels; a page shows it at half its width."""


def render_picture(checkpoint: Path, folder: Path) -> str:
    """Show a checkpoint a generated clip, and draw its answer beside the manifest that lets it leave.

    Args:
        checkpoint (`Path`): Folder of a checkpoint.
        folder (`Path`): Receives prediction.png and pictures.json.

    Returns:
        `str`: What is to be seen, for the card.

    Raises:
        ValueError: If the checkpoint cannot be loaded.
    """
    motion = Motion(EXAMPLES[SHOWN["kind"]])
    shown = render_clip(motion, name=SHOWN["name"], seed=SHOWN["seed"])
    prediction = MicroExpressionPipeline.from_pretrained(str(checkpoint))(shown.clip)
    Image.fromarray(prediction_picture(prediction)).save(folder / NAME)
    (folder / MANIFEST).write_text(
        json.dumps({"synthetic": {NAME: sha256_of(folder / NAME)}, "rendered_from": SHOWN}, indent=1) + "\n"
    )
    units = " and ".join(EXAMPLES[SHOWN["kind"]])
    answer = prediction.label or prediction.outcome.replace("_", " ")
    return (
        f"A generated clip of a person who does not exist: {units} move from frame {shown.onset}, most at "
        f"{shown.apex}, until {shown.offset}, as in a {SHOWN['kind']} expression. This checkpoint answers "
        f"{answer}. The heat map shows where its answer comes from, not what is true."
    )


def prediction_picture(prediction: Prediction) -> np.ndarray:
    """One wide picture: both faces, the motion between them, the heat map, the curve and the scores.

    Args:
        prediction (`Prediction`): Of any clip.

    Returns:
        `np.ndarray` of shape `(H, WIDTH, 3)`: uint8, RGB.
    """
    side = (WIDTH - 5 * MARGIN) // 4
    onset, apex = prediction.onset_face, prediction.apex_face
    relevance = prediction.relevance
    relevance = relevance.max(axis=0) if relevance.ndim == 3 else relevance
    gray = [np.round(face.mean(axis=2)).astype(np.uint8) for face in (onset, apex)]
    panels = {
        f"onset, frame {prediction.phases.onset}": onset,
        f"apex, frame {prediction.phases.apex}": apex,
        "motion between them": figures.flow_picture(optical_flow(*gray), size=side),
        "where the network looked": figures.overlay_picture(apex, relevance),
    }
    scores = prediction.scores
    wide = 3 * side + 2 * MARGIN - side // 2
    curve = figures.curve_picture(
        prediction.phases.curve,
        *(getattr(prediction.phases, name) for name in ("onset", "apex", "offset")),
        size_wh=(wide // 2, 140),
    )
    bars = figures.bars_picture(scores, prediction.label, size_wh=((WIDTH - 3 * MARGIN - wide) // 2, 140))
    height = TITLE + side + TITLE + 280 + MARGIN
    canvas = Image.new("RGB", (WIDTH, height), "white")
    for column, (title, panel) in enumerate(panels.items()):
        at = MARGIN + column * (side + MARGIN)
        _put(canvas, figures.enlarge(panel, side), title, at, 0)
    _put(canvas, curve, "motion over the clip, by frame", MARGIN, TITLE + side)
    _put(canvas, bars, "the network's scores", 2 * MARGIN + wide, TITLE + side)
    return np.asarray(canvas)


def _put(canvas: Image.Image, picture: np.ndarray, title: str, left: int, top: int) -> None:
    """A picture with its title above it."""
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 24)
    ImageDraw.Draw(canvas).text((left, top + 8), title, fill="#111827", font=font)
    canvas.paste(Image.fromarray(picture), (left, top + TITLE))
