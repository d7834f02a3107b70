"""A coding of a clip or video: corrected in the browser, written for other programs, and loaded again."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import gradio as gr

from mer_hf.interchange.coding import Coding, joined
from mer_hf.interchange.formats import READERS, SUFFIXES, WRITERS, read_coding
from mer_hf.utils.provenance import sha256_of
from mer_hf.utils.untrusted import parse_json, shown
from mer_hf.visualization.report import editor_script

from .engine import Analysis
from .files import new
from .uploads import Limits, check_file, one_line
from .visitors import NETWORK

LABELS = {"coding": "Coding (.json)", "eaf": "ELAN (.eaf)", "boris": "BORIS (.boris)", "facs": "FACS (.csv)"}
SHOW = """() => {
  const coding = document.getElementById('coding');
  if (coding.classList.toggle('open')) coding.scrollIntoView({ block: 'end', behavior: 'smooth' });
}"""
"""Shows or hides the editor under the curve, which takes note of moved phases all the time."""
CODING = Limits(5_000_000, 0.0, 0, (0, 0), "Split the coding.")


class Editor(NamedTuple):
    """A coding as JSON, or None, and `add_file(label, function, inputs)`, which adds a button for a file."""

    coding: gr.HTML
    add_file: Callable


def build(elem_id: str, has_curve: bool = False) -> Editor:
    """Lay out the editor.

    With `has_curve` the sliders of the curve move its phases, and it is hidden until `SHOW` is run.
    """
    script = editor_script() + Path(__file__).with_suffix(".js").read_text()
    private = {"api_visibility": "private"}
    with gr.Column(elem_id=elem_id, elem_classes="correct"):
        coding = gr.HTML(
            None, html_template="", js_on_load=script, apply_default_css=False, has_curve=has_curve
        )
        with gr.Row(elem_classes="downloads") as row:
            upload = gr.UploadButton("Load a coding", file_types=list(READERS), size="sm", min_width=60)
            file = gr.DownloadButton(visible="hidden", elem_id=f"{elem_id}-file")
    upload.upload(load, [upload, coding], coding, **private)

    def add_file(label: str, function: Callable, inputs: list) -> None:
        """Add a button; `function` returns the path of a file, which the browser then fetches."""
        with row:
            button = gr.Button(label, size="sm", min_width=60)
        written = button.click(function, inputs, file, show_progress_on=coding, **NETWORK, **private)
        written.success(None, js=f"() => document.getElementById('{elem_id}-file').click()")

    for name, label in LABELS.items():
        add_file(label, partial(save, name), [coding])
    return Editor(coding, add_file)


def as_text(coding: Coding) -> str:
    """Return a coding as the editor's value."""
    return json.dumps(coding.to_dict(), ensure_ascii=False)


def held(value: str | None) -> Coding:
    """Read the editor's value, which comes from a browser; raise `ValueError` if there is no coding in it."""
    if not value:
        raise ValueError("There is no coding yet. Analyse the clip first.")
    coding = Coding.from_dict(parse_json(value, "the coding"))
    return replace(coding, video=Path(coding.video).name)


def of_clip(analysis: Analysis, path: str) -> Coding:
    """Take the answer to a clip."""
    return replace(Coding.of(analysis.prediction), video=Path(path).name, sha256=analysis.clip_sha256)


def unanswered(path: str | None, value: str | None) -> dict | None:
    """Leave the editor as it is where only the network was refused; empty it for a clip without an answer."""
    with one_line(path):
        same = value and path and Path(path).is_file() and held(value).sha256 == sha256_of(path)
        return gr.skip() if same else None


def begin(value: str | None, coding: Coding) -> str | dict:
    """Put a new answer into the editor. Corrections stay as long as it is of the same video.

    A further face of the video is put behind the others.
    """
    with one_line():
        before = held(value) if value else Coding()
        is_corrected = before.changes or before.events != before.answers
        if before.sha256 != coding.sha256 or not is_corrected:
            return as_text(coding)
        faces = {each.person for each in (*before.events, *before.answers, *before.blinks)}
        if faces >= {each.person for each in (*coding.events, *coding.blinks)}:
            return gr.skip()
        return as_text(joined([before, coding]))


def write(name: str, coding: Coding) -> str:
    """Write a coding in one of the formats; return the path of the file."""
    if name not in list(WRITERS):  # a program may send anything, also what has no hash
        raise ValueError(f"format must be one of {', '.join(WRITERS)}, got {shown(name)}.")
    path = new(SUFFIXES[name], Path(coding.video).stem)
    WRITERS[name](path, coding)
    return str(path)


def save(name: str, value: str | None) -> str:
    """Write the editor's coding as it stands."""
    with one_line():
        return write(name, held(value))


def load(path: str | None, value: str | None) -> str:
    """Read a coding of the clip that is in the editor; raise `Refusal` if it is of another."""
    with one_line(path):
        check_file(path, CODING)
        before, coding, name = held(value), read_coding(path), Path(path).name
        return as_text(_of_same_video(before, coding, name))


def _of_same_video(before: Coding, coding: Coding, name: str) -> Coding:
    video = unquote(coding.video).replace("\\", "/").rpartition("/")[2]
    if coding.sha256 and coding.sha256 != before.sha256:
        raise ValueError(f"{name} is of another video ({video}). Analyse that one, then load it.")
    last_s = max((event.offset_s for event in coding.events), default=0.0)
    if before.duration_s and last_s > before.duration_s + 0.05:
        raise ValueError(
            f"{name} has an event at {last_s:.2f} s, and {before.video} ends before. Load its own."
        )
    if not coding.sha256 and video != before.video:
        gr.Warning(f"{name} names {video or 'no video'}. It was taken for {before.video}.")
    known = {"fps": before.fps, "duration_s": before.duration_s, "answers": coding.answers or before.answers}
    return replace(coding, video=before.video, sha256=before.sha256, **known)
