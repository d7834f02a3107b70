"""A result as files: the motion curve as CSV, and a report that opens without a network.

from mer_hf.visualization.report import html_report, write_curve_csv

write_curve_csv("curve.csv", prediction)
html_report("report.html", prediction, replay="replay.mp4")

time_line_report("found.html", [SearchedVideo.of("interview.mp4", spot_long("interview.mp4", pipeline))])
"""

import base64
import io
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from mer_hf import __version__
from mer_hf.face.action_units import PRESENT, VOCABULARY, present_units
from mer_hf.face.flow import optical_flow
from mer_hf.face.spotting import LONGEST_S
from mer_hf.inference.long_video import LEVEL_OF_THE_ART, Gap, Interval, LongVideo
from mer_hf.inference.pipeline import PHASE_NAMES, Prediction, note_on
from mer_hf.interchange.coding import Coding
from mer_hf.interchange.rows import csv_text
from mer_hf.labels import ACTION_UNITS, TO_COMPOSITE3
from mer_hf.utils.files import replacing, write_text
from mer_hf.utils.rendering import render
from mer_hf.visualization import figures

CURVE_COLUMNS = ("frame", "time_s", "motion_px", "threshold", "blink", "phase")

FAINT_PX = 1.0
"""Motion of this length is in full colour at least: noise must not look like motion."""

TITLES = {
    "micro_expression": "Micro-expression",
    "expression": "Expression",
    "other_motion": "Other motion",
    "no_motion": "No motion",
    "blink": "Only a blink",
}
TEMPLATES = Path(__file__).parent / "templates"
LEAD_S = 1.0
"""A chosen moment opens so long before its onset: the face at rest is needed for comparison."""
PACKAGES = ("torch", "transformers", "opencv-contrib-python", "mediapipe")


def write_curve_csv(path: str | os.PathLike, prediction: Prediction) -> None:
    """Write the motion curve as a table, one row per frame of the clip.

    The columns: `frame` of the clip, from 0; `time_s`, empty where it is unknown; `motion_px`, motion of the
    face's region that moves most, in pixels of the aligned face; `threshold`, above which motion counts;
    `blink`, 0 or 1; `phase`: `onset`, `rising`, `apex`, `falling` or `offset`, empty outside the expression.

    Args:
        path (`str` or `os.PathLike`): The file to write; a failure leaves what was there.
        prediction ([`Prediction`]): A prediction of the pipeline.

    Raises:
        OSError: If the file cannot be written.
    """
    phases, times_s, blinking = prediction.phases, prediction.timestamps_s, _blinking(prediction)
    rows: list[tuple] = [CURVE_COLUMNS]
    for frame, motion_px in enumerate(phases.curve):
        time_s = f"{times_s[frame]:.6f}" if np.isfinite(times_s[frame]) else ""
        numbers = (f"{motion_px:.4f}", f"{phases.threshold:.4f}", int(blinking[frame]))
        rows.append((prediction.first_frame + frame, time_s, *numbers, _phase_of(frame, prediction)))
    write_text(path, csv_text(rows))


def html_report(
    path: str | os.PathLike,
    prediction: Prediction,
    replay: str | os.PathLike | bytes | None = None,
    source: str | None = None,
    sha256: str = "",
) -> None:
    """Write the result as one HTML file that holds its pictures and video and opens without a network.

    The answer can be corrected in it and saved as a coding, unless the times of the frames are unknown.

    Args:
        path (`str` or `os.PathLike`): The file to write; a failure leaves what was there.
        prediction ([`Prediction`]): A prediction of the pipeline.
        replay (`str`, `os.PathLike` or `bytes`, *optional*): The mp4 of
            [`~mer_hf.visualization.replay.write_replay`], or its bytes. Without it the report has no video.
        source (`str`, *optional*): Name of the clip, for the title and the coding.
        sha256 (`str`, *optional*): Of the clip's bytes, for the coding.

    Raises:
        OSError: If the replay cannot be read or the report cannot be written.
    """
    if replay is not None:
        video = replay if isinstance(replay, bytes) else Path(replay).read_bytes()
        replay = _data_uri("video/mp4", video)
    coding = None
    if np.isfinite(prediction.timestamps_s).all():
        coding = replace(Coding.of(prediction), video=source or "", sha256=sha256).to_dict()
    values = {"prediction": prediction, "source": source, "replay": replay, "coding": coding}
    _write_page(path, "prediction.html.j2", **values, **_report_values(prediction))


@dataclass(frozen=True)
class SearchedVideo:
    """A long video, and what was found in it, for a time line.

    Attributes:
        file (`Path`): The video.
        name (`str`): For the reader.
        duration_s (`float`): Its length.
        events (`Sequence[Interval]`, or `Sequence[Mapping]` with the fields of one): What was found.
        people (`Sequence[int]`): Numbers of the people, a line each.
        gaps (`Sequence[Gap]`): What could not be searched.
        warnings (`Sequence[str]`): One line each.
    """

    file: Path
    name: str
    duration_s: float
    events: Sequence[Interval] | Sequence[Mapping[str, Any]]
    people: Sequence[int] = (1,)
    gaps: Sequence[Gap] = ()
    warnings: Sequence[str] = ()

    @classmethod
    def of(cls, file: str | os.PathLike, video: LongVideo) -> "SearchedVideo":
        """Take the answer of `spot_long`."""
        name, people = Path(file).resolve().name, video.people or (1,)
        found = video.duration_s, video.intervals, people, video.gaps, video.warnings
        return cls(Path(file), name, *found)

    @classmethod
    def of_rows(cls, file: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> "SearchedVideo":
        """Take the rows that a table of a bulk search has for one video."""
        events = [row for row in rows if row["status"] == "ok"]
        people = sorted({row["person"] for row in events}) or (1,)
        notes = [str(note) for note in (rows[0].get("reason"), rows[0].get("warnings")) if note]
        return cls(file, name, rows[0].get("video_s") or 0.0, events, people, (), notes)


def time_line_report(path: str | os.PathLike, videos: Sequence[SearchedVideo]) -> None:
    """Write time lines and tables as one HTML file; a chosen moment opens in the video.

    The videos are not copied: the file refers to them, from where it lies.

    Args:
        path (`str` or `os.PathLike`): The file to write; a failure leaves what was there.
        videos (`Sequence[SearchedVideo]`): At least one.

    Raises:
        OSError: If the report cannot be written.
    """
    folder = Path(path).absolute().parent
    shown = [{**vars(video), "address": _address(video.file, folder)} for video in videos]
    values = {"videos": shown, "titles": TITLES | {"candidate": ""}, "lead_s": LEAD_S}
    _write_page(path, "time_line.html.j2", **values, level=LEVEL_OF_THE_ART)


def _address(file: Path, folder: Path) -> str:
    """Return the address of a file for a page that lies in a folder."""
    return quote(os.fsencode(Path(os.path.relpath(file.absolute(), folder)).as_posix()))


def _write_page(path: str | os.PathLike, template: str, **values: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(render(TEMPLATES / template, values), encoding="utf-8")


def editor_script() -> str:
    """Return the JavaScript of `codingEditor`, which corrects a coding in a browser."""
    settings = {"classes": list(TO_COMPOSITE3), "units": VOCABULARY, "longest_s": LONGEST_S}
    return f"const SETTINGS = {json.dumps(settings)};\n{(TEMPLATES / 'coding.js').read_text()}"


def split_warnings(prediction: Prediction) -> tuple[str, list[str]]:
    """Return why it is not a micro-expression, a sentence or `""`, and the other warnings."""
    longer_or_other = prediction.outcome in ("expression", "other_motion")
    note = note_on(prediction.outcome, prediction.reason, prediction.duration_s) if longer_or_other else ""
    others = [warning for warning in prediction.warnings if warning != note]
    return f"{note[0].upper()}{note[1:]}." if note else "", others


def describe_motion(prediction: Prediction) -> list[str]:
    """Say how long the movement lasts and how far it goes, where that is known."""
    lasts_s, size_px = prediction.duration_s, prediction.size_px
    parts = [] if lasts_s is None else [f"lasts {lasts_s:.2f} s"]
    return parts if size_px is None else [*parts, f"moves {size_px:.1f} px with the eyes 60 px apart"]


# --- what is in them ----------------------------------------------------------------------------------------


def _phase_of(frame: int, prediction: Prediction) -> str:
    onset, apex, offset = (getattr(prediction.phases, name) for name in PHASE_NAMES)
    if onset is None or not onset <= frame <= offset:
        return ""
    names = {offset: "offset", onset: "onset", apex: "apex"}  # where two fall on one frame, the last counts
    return names.get(frame, "rising" if frame < apex else "falling")


def _blinking(prediction: Prediction) -> np.ndarray:
    """Mark the frames in a blink."""
    blinking = np.zeros(len(prediction.phases.curve), dtype=bool)
    for first, last in prediction.phases.blinks:
        blinking[first : last + 1] = True
    return blinking


def _report_values(prediction: Prediction) -> dict:
    """Collect what the template reads beside the prediction."""
    phases, units = prediction.phases, prediction.action_units
    frames = (phases.onset, phases.apex, phases.offset)
    style = {"threshold": phases.threshold, "unit": "pixels", "size_wh": (920, 220)}
    style["averaged"] = prediction.apexes
    blinking = _blinking(prediction)
    curve = figures.curve_picture(phases.curve, *frames, prediction.timestamps_s, blinking, **style)
    bars = figures.action_unit_bars(units, size_wh=(620, 60 + 20 * len(units)))
    packages = {name: version(name) for name in PACKAGES}
    note, warnings = split_warnings(prediction)
    return {
        "title": TITLES[prediction.outcome],
        "note": note,
        "warnings": warnings,
        "motion_parts": describe_motion(prediction),
        "phases": prediction.to_dict()["phases"],
        "present": _present(prediction),
        "pictures": _pictures(prediction),
        "curve": _png(curve),
        "action_units": _png(bars),
        "versions": {"mer_hf": __version__, **packages, "Python": platform.python_version()},
        "editor": editor_script(),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _present(prediction: Prediction) -> list[tuple[str, str, str, float]]:
    """List the present action units, strongest first: name, what it does, side, intensity."""
    rows = []
    for name, (left, right) in present_units(prediction.action_units).items():
        both = min(left, right) >= PRESENT
        side = "both sides" if both else "person's left" if left > right else "person's right"
        rows.append((name, ACTION_UNITS[name], side, prediction.action_units[name][2]))
    return sorted(rows, key=lambda row: -row[3])


def _pictures(prediction: Prediction) -> list[dict[str, str]]:
    """Draw faces, flow and relevance, each with its caption and a text for those who cannot see it."""
    phases = prediction.phases
    flow_xy = optical_flow(prediction.onset_face, prediction.apex_face)
    most_px = max(figures.full_color_px(flow_xy), FAINT_PX)
    start, end = ("First frame", "The aligned face."), ("Middle frame", "The aligned face.")
    if phases.apex is not None:
        onset, apex = (prediction.first_frame + frame for frame in (phases.onset, phases.apex))
        start = f"Onset, frame {onset}", "The aligned face before the motion."
        end = f"Apex, frame {apex}", "The aligned face at the strongest motion."
    rim = f"full colour is {most_px:.2f} pixels of the aligned face."
    note = f"Optical flow: colour and arrows give the direction, {rim}"
    flow = figures.flow_picture(flow_xy, max_px=most_px)
    shown = [(prediction.onset_face, *start), (prediction.apex_face, *end)]
    shown.append((flow, "Motion between the two", note))
    if prediction.relevance.any():
        overlay = figures.overlay_picture(prediction.apex_face, prediction.apex_relevance)
        note = "Heat map over the apex face: the brighter and yellower, the more it mattered."
        shown.append((overlay, "What the network looked at", note))
    return [{"uri": _png(picture), "caption": caption, "note": note} for picture, caption, note in shown]


def _png(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return _data_uri("image/png", buffer.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
