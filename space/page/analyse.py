"""The tab of one clip: its answer, the reasons, and the phases to be moved by hand."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from mer_hf import registry
from mer_hf.inference.pipeline import PHASE_NAMES, Prediction

from . import coding, motion, view
from .engine import SPOTTED, Analysis, Engine, Refusal
from .exports import LABELS, write_exports, write_openface
from .visitors import NETWORK

CONSENT = """A face is biometric data. Upload only clips of yourself or of people who agreed. A clip goes
to the computer that serves this page and to no other, only for your answer. It is deleted within an hour."""

RELEVANCE = "**Relevance** (with {model}): {relevance_by}."
READ = """**Motion** is drawn larger than it is. The dotted line of the curve is what counts as motion in this
clip; gray stretches are blinks. The network is asked with each of the small dots as apex, and its answers are
averaged. **Action units** are estimates from the same motion. **Probabilities** are calibrated on synthetic
clips only. OpenFace's table here is motion against the same face at rest in this clip."""


class Tab(NamedTuple):
    """The clip of this tab, and `connect(listener)`: after that event the clip is analysed."""

    clip: gr.Video
    connect: Callable


def build(engine: Engine, models: list[str], paths: dict[str, Path]) -> Tab:
    """Lay the tab out and connect it; the first of the `models` is chosen, `paths` are the examples."""
    with gr.Row(elem_classes="sides"):
        with gr.Column(scale=0, min_width=280, elem_classes="side"):
            gr.Markdown(CONSENT, elem_classes="note")
            sources = ["upload", "webcam"]
            clip = gr.Video(label="Clip", sources=sources, height=190, elem_id="clip", buttons=[])
            gr.set_static_paths(list(paths.values()))  # not copied to the visitors' files
            clips = [[str(path)] for path in paths.values()]
            examples = gr.Examples(clips, [clip], example_labels=list(paths), label="Generated examples")
            model = gr.Dropdown(
                models,
                value=models[0],
                label="Network",
                info="bundled, or owner/name from the Hub",
                allow_custom_value=True,
                elem_id="network",
            )
            face = gr.Radio(label="Face", info="from the left", visible=False, elem_id="face")
            button = gr.Button("Analyse", variant="primary")
            with gr.Row(elem_classes="downloads"):
                downloads = [
                    gr.DownloadButton(label, interactive=False, size="sm", min_width=60) for label in LABELS
                ]
            correct = gr.Button("Correct, save for ELAN, BORIS, FACS", size="sm")
            with gr.Accordion("How to read it", open=False):
                how_to_read = gr.Markdown(READ, elem_classes="note")
        with gr.Column(elem_classes="result"):
            with gr.Row(elem_classes="top"):
                card = gr.HTML(view.idle(), elem_id="verdict", padding=False)
                units = gr.HTML("", elem_id="units", padding=False)
                replay = gr.Video(
                    label="Replay, slowed, beside its motion magnified",
                    show_label=False,
                    interactive=False,
                    autoplay=True,
                    loop=True,
                    buttons=[],
                    elem_id="replay",
                )
            faces = gr.HTML("", elem_id="faces", padding=False)
            curve = gr.HTML(motion.NOTHING_YET, js_on_load=motion.SCRIPT, elem_id="motion", padding=False)
            editor = coding.build("coding", has_curve=True)
    correct.click(None, js=coding.SHOW, api_visibility="private")
    answers = [card, units, faces, curve, how_to_read, face]
    kept = [replay, *downloads]
    phases = gr.State(None)  # as set for the clip that has an answer; None where there is none

    def answer(
        path: str | None, name: str, number: int | None, frames: tuple, progress: gr.Progress
    ) -> tuple:
        """Return the answer, with the old replay and files taken away: the new ones follow."""
        try:
            analysis = engine.analyse(path, name, *frames, face=number, progress=progress)
            return (*_shown(analysis), frames, *_nothing_kept())
        except Refusal as refusal:
            return (view.refused(str(refusal)), *_nothing_shown(), None, *_nothing_kept())

    def run(path: str | None, name: str, number: int | None, progress=gr.Progress()) -> tuple:  # noqa: B008
        return answer(path, name, number, SPOTTED, progress)

    def run_anew(path: str | None, name: str, number: int | None, progress=gr.Progress()) -> tuple:  # noqa: B008
        return answer(path, name, None, SPOTTED, progress)

    def run_with_phases(
        path: str | None,
        name: str,
        number: int | None,
        event: gr.EventData,
        progress=gr.Progress(),  # noqa: B008
    ) -> tuple:
        frames = tuple(int(event._data[phase]) for phase in PHASE_NAMES)
        return answer(path, name, number, frames, progress)

    def keep(path: str | None, name: str, number: int | None, frames: tuple | None) -> tuple:
        """Return the replay and the files, which take longer than the answer; it is still in memory."""
        if frames is None or path is None:
            return _nothing_kept()
        try:
            files = write_exports(engine.analyse(path, name, *frames, face=number), Path(path).stem)
        except Refusal:  # the clip was changed meanwhile: its own answer says why
            return _nothing_kept()
        ready = (gr.DownloadButton(value=str(files[label]), interactive=True) for label in LABELS)
        return (str(files["Replay"]), *ready)

    def frame_table(path: str | None, name: str, number: int | None, frames: tuple | None) -> str:
        """Write the action units of each frame, for pipelines that read OpenFace's table."""
        return write_openface(engine.analyse(path, name, *(frames or SPOTTED), face=number), Path(path).stem)

    editor.add_file("OpenFace (.csv)", frame_table, [clip, model, face, phases])

    def code(
        path: str | None, name: str, number: int | None, frames: tuple | None, held: str | None
    ) -> str | dict | None:
        """Return what is to be corrected: the network's answer, or the corrections of this clip so far."""
        if frames is None or path is None:
            return coding.unanswered(path, held)
        try:
            return coding.begin(held, coding.of_clip(engine.analyse(path, name, face=number), path))
        except Refusal:
            return gr.skip()

    def connect(listener: Callable, function: Callable = run_anew) -> None:
        """Let an event give an answer; then come the replay, the files and what can be corrected."""
        private = {"api_visibility": "private", "trigger_mode": "always_last"}
        outputs = [*answers, phases, *kept]
        answered = listener(
            function, [clip, model, face], outputs, show_progress_on=card, **NETWORK, **private
        )
        inputs = [clip, model, face, phases]
        answered.success(code, [*inputs, editor.coding], editor.coding, **NETWORK, **private)
        answered.success(keep, inputs, kept, show_progress_on=replay, **NETWORK, **private)

    connect(partial(gr.on, [clip.upload, clip.stop_recording]))
    connect(examples.load_input_event.success)
    connect(partial(gr.on, [button.click, model.input, face.input]), run)
    connect(curve.spotted, run)
    connect(curve.release, run_with_phases)

    def clear() -> tuple:
        return (view.idle(), *_nothing_shown(), None, *_nothing_kept(), None)

    clip.clear(clear, outputs=[*answers, phases, *kept, editor.coding], api_visibility="private", queue=False)
    return Tab(clip, connect)


def _nothing_shown() -> tuple:
    """Return action units, pictures, curve, how to read them and faces, where there is no answer."""
    return ("", "", motion.NOTHING_YET, READ, gr.Radio(value=None, visible=False))


def _nothing_kept() -> tuple:
    return (None, *(gr.DownloadButton(interactive=False) for _ in LABELS))


def _shown(analysis: Analysis) -> tuple:
    """Return card, action units, pictures, curve, how to read them, and the choice of a face."""
    prediction = analysis.prediction
    relevance_by = registry.ARCHITECTURES[analysis.architecture].relevance_by
    return (
        view.card(prediction),
        view.action_units(prediction),
        view.pictures(prediction, analysis.track.frames),
        motion.curve_and_sliders(prediction),
        f"{READ}\n\n{RELEVANCE.format(model=analysis.model, relevance_by=relevance_by)}",
        _which_face(prediction),
    )


def _which_face(prediction: Prediction) -> gr.Radio:
    """Return a choice where the clip shows several faces."""
    numbers = list(range(1, len(prediction.faces) + 1))
    several = len(numbers) > 1
    return gr.Radio(numbers, value=prediction.face if several else None, visible=several)
