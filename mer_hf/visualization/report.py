"""A result as files for others: the motion curve as CSV, and a report that opens without a network.

from mer_hf.export import html_report, write_curve_csv

write_curve_csv("curve.csv", prediction)
html_report("report.html", prediction, replay="replay.mp4")
"""

import base64
import csv
import io
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from mer_hf import __version__
from mer_hf.face.action_units import PRESENT
from mer_hf.face.flow import optical_flow
from mer_hf.inference.pipeline import PHASE_NAMES, Prediction
from mer_hf.labels import ACTION_UNITS
from mer_hf.visualization import figures

CURVE_COLUMNS = ("frame", "time_s", "motion_px", "threshold", "blink", "phase")

FAINT_PX = 1.0
"""Motion of this length is in full colour at least: noise must not look like motion."""

TITLES = {
    "micro_expression": "Micro-expression",
    "no_micro_expression": "No micro-expression",
    "no_motion": "No motion",
    "blink": "Only a blink",
}
MEANINGS = {
    "micro_expression": "A short facial motion was found, and the network gave it a class.",
    "no_micro_expression": "Something moved, but more like a blink, speech, a turn of the head or noise "
    "than like a micro-expression. The probabilities say what it would be if it were one.",
    "no_motion": "Nothing moved more than the noise of the recording, so nothing was classified.",
    "blink": "Nothing moved but the eyelids, so nothing was classified.",
}
PHASE_SOURCES = {
    "annotated": "from a data set's annotation",
    "given": "given by a person",
    "spotted": "found in the motion",
    "midpoint": "apex put midway, as nothing stood out",
}
AU_SOURCES = {
    "estimated": "estimated from the motion",
    "given": "given by a person",
    "withheld": "estimated from the motion; the network was not told",
}


def write_curve_csv(path: str | os.PathLike, prediction: Prediction) -> None:
    """Write the motion curve as a table, one row per frame of the clip.

    The columns: `frame` from 0; `time_s`, empty where it is not known; `motion_px`, motion of the face's
    region that moves most, in pixels of the aligned face; `threshold`, what the motion has to pass; `blink`,
    0 or 1; `phase`: `onset`, `rising`, `apex`, `falling` or `offset`, empty outside the expression.

    Args:
        path (`str` or `os.PathLike`): Where to write; a failure leaves what was there.
        prediction ([`Prediction`]): What was found.

    Raises:
        OSError: If the file cannot be written.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(CURVE_COLUMNS)
    writer.writerows(_curve_rows(prediction))
    _write(Path(path), table.getvalue())


def html_report(
    path: str | os.PathLike,
    prediction: Prediction,
    replay: str | os.PathLike | bytes | None = None,
    source: str | None = None,
) -> None:
    """Write the result as one HTML file: pictures and video are inside, and nothing is fetched.

    Args:
        path (`str` or `os.PathLike`): Where to write; a failure leaves what was there.
        prediction ([`Prediction`]): What was found.
        replay (`str`, `os.PathLike` or `bytes`, *optional*): The mp4 of
            [`~mer_hf.visualization.replay.write_replay`], or its bytes. Left out where it is None.
        source (`str`, *optional*): Name of the clip, for the title.

    Raises:
        OSError: If the replay cannot be read or the report cannot be written.
    """
    video = replay if isinstance(replay, bytes) or replay is None else Path(replay).read_bytes()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    values = _report_values(prediction) | {
        "source": source,
        "replay": None if video is None else _data_uri("video/mp4", video),
    }
    _write(Path(path), environment.get_template("prediction.html.j2").render(values))


# --- what is in them ----------------------------------------------------------------------------------------


def _curve_rows(prediction: Prediction) -> list[tuple]:
    phases, times_s = prediction.phases, prediction.timestamps_s
    blinking = _blinking(prediction)
    return [
        (
            frame,
            f"{times_s[frame]:.6f}" if np.isfinite(times_s[frame]) else "",
            f"{moved:.4f}",
            f"{phases.threshold:.4f}",
            int(blinking[frame]),
            _phase_of(frame, prediction),
        )
        for frame, moved in enumerate(phases.curve)
    ]


def _phase_of(frame: int, prediction: Prediction) -> str:
    onset, apex, offset = (getattr(prediction.phases, name) for name in PHASE_NAMES)
    if onset is None or not onset <= frame <= offset:
        return ""
    named = {offset: "offset", onset: "onset", apex: "apex"}  # where two fall on one frame, the last counts
    return named.get(frame, "rising" if frame < apex else "falling")


def _blinking(prediction: Prediction) -> np.ndarray:
    blinking = np.zeros(len(prediction.phases.curve), dtype=bool)
    for first, last in prediction.phases.blinks:
        blinking[first : last + 1] = True
    return blinking


def _report_values(prediction: Prediction) -> dict:
    """What the template reads."""
    answer = prediction.to_dict()
    found = answer["phases"]
    scores = sorted(answer["scores"].items(), key=lambda each: -each[1])
    return {
        "title": TITLES[prediction.outcome],
        "meaning": MEANINGS[prediction.outcome],
        "outcome": prediction.outcome,
        "label": prediction.label,
        "scores": scores,
        "classified": prediction.outcome in ("micro_expression", "no_micro_expression"),
        "expression_probability": prediction.expression_probability,
        "phases": [
            (name, found[name], found[f"{name}_s"]) for name in PHASE_NAMES if found[name] is not None
        ],
        "duration_ms": _duration_ms(found),
        "phase_source": PHASE_SOURCES.get(found["source"], found["source"]),
        "others": len(found["candidates"]) - 1,
        "blinks": found["blinks"],
        "frames": len(prediction.phases.curve),
        "present": _present(prediction),
        "action_units_source": AU_SOURCES.get(prediction.action_units_source, prediction.action_units_source),
        "pictures": _pictures(prediction),
        "curve": _png(_curve_picture(prediction)),
        "curve_alt": _curve_alt(prediction),
        "action_units": _action_units_picture(prediction),
        "warnings": prediction.warnings,
        "model": prediction.model,
        "versions": _versions(),
        "took_s": sum(prediction.timings_s.values()),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _duration_ms(found: dict) -> int | None:
    if found["onset_s"] is None or found["offset_s"] is None:
        return None
    return round(1000 * (found["offset_s"] - found["onset_s"]))


def _present(prediction: Prediction) -> list[tuple[str, str, str, float]]:
    """Action units from `PRESENT` on, strongest first: name, what it does, side, intensity."""
    rows = []
    for name, values in prediction.action_units.items():
        if values is None or values[2] < PRESENT:
            continue
        left, right, intensity = values
        both = min(left, right) >= PRESENT
        side = "both sides" if both else "person's left" if left > right else "person's right"
        rows.append((name, ACTION_UNITS.get(name, ""), side, intensity))
    return sorted(rows, key=lambda row: -row[3])


def _pictures(prediction: Prediction) -> list[dict[str, str]]:
    """Faces, flow and relevance, each with its caption and a text for those who cannot see it."""
    phases = prediction.phases
    names, notes = ("First frame", "Middle frame"), ("The aligned face.", "The aligned face.")
    if phases.apex is not None:
        names = (f"Onset, frame {phases.onset}", f"Apex, frame {phases.apex}")
        notes = ("The aligned face before the motion.", "The aligned face at the strongest motion.")
    flow_xy = optical_flow(prediction.onset_face, prediction.apex_face)
    most_px = max(figures.full_color_px(flow_xy), FAINT_PX)
    size = 448
    shown = [
        (prediction.onset_face, names[0], notes[0]),
        (prediction.apex_face, names[1], notes[1]),
        (
            figures.flow_picture(flow_xy, max_px=most_px, size=size),
            "Motion between the two",
            f"Optical flow: colour and arrows give the direction, full colour is {most_px:.2f} pixels of the "
            "aligned face.",
        ),
    ]
    if prediction.relevance.any():
        shown.append(
            (
                figures.overlay_picture(prediction.apex_face, prediction.apex_relevance),
                "What the network looked at",
                "Heat map over the apex face: the brighter and yellower, the more it mattered.",
            )
        )
    return [
        {"uri": _png(picture), "caption": caption, "alt": f"{caption}. {alt}", "note": alt}
        for picture, caption, alt in shown
    ]


def _curve_picture(prediction: Prediction) -> np.ndarray:
    phases = prediction.phases
    return figures.curve_picture(
        phases.curve,
        phases.onset,
        phases.apex,
        phases.offset,
        times_s=prediction.timestamps_s,
        masked=_blinking(prediction),
        threshold=phases.threshold,
        unit="pixels",
        size_wh=(920, 220),
    )


def _curve_alt(prediction: Prediction) -> str:
    curve, phases = prediction.phases.curve, prediction.phases
    where = (
        "" if phases.apex is None else f", onset {phases.onset}, apex {phases.apex}, offset {phases.offset}"
    )
    return (
        f"Motion over {len(curve)} frames, at most {float(curve.max()):.2f} pixels in frame "
        f"{int(curve.argmax())}; the threshold is {phases.threshold:.2f}{where}."
    )


def _action_units_picture(prediction: Prediction) -> str | None:
    if not prediction.action_units:
        return None
    height = 60 + 20 * len(prediction.action_units)
    return _png(figures.action_unit_bars(prediction.action_units, size_wh=(620, height)))


def _versions() -> list[tuple[str, str]]:
    others = [
        (name, version(name)) for name in ("torch", "transformers", "opencv-contrib-python", "mediapipe")
    ]
    return [("mer_hf", __version__), *others, ("Python", platform.python_version())]


# --- how they are written -----------------------------------------------------------------------------------


def _png(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return _data_uri("image/png", buffer.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


__all__ = ["CURVE_COLUMNS", "html_report", "write_curve_csv"]
