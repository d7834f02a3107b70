"""The pictures of a result: three faces, the motion between two of them, and where the network looked."""

import base64
import html
import io

import numpy as np
from PIL import Image

from mer_hf.face.flow import optical_flow
from mer_hf.visualization import figures as draw
from mer_hf.visualization.report import FAINT_PX

from .engine import Analysis


def figures(analysis: Analysis) -> str:
    """Onset, apex, offset, motion and relevance, each with its caption and what it shows in words.

    Args:
        analysis ([`Analysis`]): Of one clip.

    Returns:
        `str`: HTML that holds the pictures, so that no file is left anywhere. A picture opens large when it
        is chosen.
    """
    prediction, faces = analysis.prediction, analysis.track.frames
    at, names = _frames(analysis)
    flow_xy = optical_flow(prediction.onset_face, prediction.apex_face)
    flow = draw.flow_picture(flow_xy, max_px=max(draw.full_color_px(flow_xy), FAINT_PX))
    shown = [
        figure(name.lower(), faces[frame], f"{name}, frame {frame}", f"The face at frame {frame}.")
        for name, frame in zip(names, at, strict=True)
    ]
    shown.append(
        figure(
            "motion",
            flow,
            "Motion, to the apex" if prediction.phases.apex is not None else "Motion, to the middle",
            "The direction of the motion as colour and arrows, with a wheel of directions as key.",
            "PNG",
        )
    )
    shown.append(relevance(analysis))
    return f'<div class="figures">{"".join(shown)}</div>'


def relevance(analysis: Analysis, key: str = "relevance") -> str:
    """The apex with the heat map over it, or why there is none."""
    prediction = analysis.prediction
    if not prediction.apex_relevance.any():
        return (
            '<figure class="none"><div>no network was asked</div><figcaption>Relevance</figcaption></figure>'
        )
    return figure(
        key,
        draw.overlay_picture(prediction.apex_face, prediction.apex_relevance),
        "Relevance",
        "The apex; bright regions mattered most to the network.",
    )


def _frames(analysis: Analysis) -> tuple[list[int], list[str]]:
    phases = analysis.prediction.phases
    if phases.apex is not None:
        return [phases.onset, phases.apex, phases.offset], ["Onset", "Apex", "Offset"]
    last = len(analysis.track.frames) - 1
    return [0, (last + 1) // 2, last], ["First", "Middle", "Last"]


def figure(key: str, picture: np.ndarray, caption: str, alt: str, kind: str = "JPEG") -> str:
    """A picture that opens large: a button and a popover, which the browser brings with keys and all."""
    source, caption, alt = data_uri(picture, kind), html.escape(caption), html.escape(alt)
    return (
        f'<figure><button type="button" popovertarget="large-{key}" aria-label="Enlarge: {caption}">'
        f'<img src="{source}" alt="{alt}"></button><figcaption>{caption}</figcaption>'
        f'<div popover id="large-{key}"><img src="{source}" alt="{alt}"><p>{caption}. {alt}</p></div>'
        "</figure>"
    )


def data_uri(picture: np.ndarray, kind: str = "JPEG") -> str:
    """A picture as text that a page can hold."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
