"""The tab of one clip: its answer, the reasons, and the phases to be moved by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr

from mer_hf import registry
from mer_hf.inference.pipeline import PHASE_NAMES

from . import motion, pictures, view
from .engine import Analysis, Engine, Refusal
from .exports import Exports, write_exports

CONSENT = """A face is biometric data. Upload only clips of yourself or of people who agreed. A clip goes
to the computer that serves this page and to no other, for your answer alone; it is deleted after about an
hour."""

RELEVANCE = "**Relevance** (with {model}): {relevance_by}."
READ = """**Motion** is drawn larger than it is. The dotted line of the curve is what counts as motion in this
clip; hatched stretches are blinks. **Action units** are estimates from the same motion. **Probabilities** are
calibrated on synthetic clips only."""

NOTHING = (None, None, None)
"""Phases that nobody gave."""


@dataclass(frozen=True)
class Tab:
    """What other tabs need of this one.

    Attributes:
        clip (`gr.Video`): The clip.
        connect (`Callable`): Takes an event's listener; after that event the clip is analysed.
    """

    clip: gr.Video
    connect: Callable


def build(engine: Engine, models: list[str], paths: dict[str, Path]) -> Tab:
    """Lays the tab out and connects it.

    Args:
        engine ([`Engine`]): Answers.
        models (`list[str]`): Bundled checkpoints, the first one chosen.
        paths (`dict[str, Path]`): Name -> generated example.

    Returns:
        [`Tab`]
    """
    with gr.Row(elem_classes="sides"):
        with gr.Column(scale=0, min_width=280, elem_classes="side"):
            gr.Markdown(CONSENT, elem_classes="note")
            clip = gr.Video(
                label="Clip",
                sources=["upload", "webcam"],
                height=190,
                elem_id="clip",
                buttons=[],
            )
            examples = gr.Examples(
                [[str(path)] for path in paths.values()],
                inputs=[clip],
                example_labels=list(paths),
                label="Generated examples",
            )
            model = gr.Dropdown(
                models,
                value=models[0],
                label="Network",
                info="bundled, or owner/name of the Hub",
                allow_custom_value=True,
                elem_id="network",
            )
            button = gr.Button("Analyse", variant="primary")
            with gr.Row(elem_classes="downloads"):
                downloads = [
                    gr.DownloadButton(label, interactive=False, size="sm", min_width=60)
                    for label in Exports.LABELS
                ]
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
            curve = motion.component()
    first = [card, units, faces, curve, how_to_read]
    kept = [replay, *downloads]
    phases = gr.State(None)  # as given, of the clip that has an answer; None where there is none

    def answer(path: str | None, name: str, given: tuple, progress: gr.Progress) -> tuple:
        """The answer, with the old replay and files taken away: the new ones follow."""
        try:
            if path is None:
                raise Refusal("There is no clip yet. Upload one, or take an example.")
            analysis = engine.analyse(path, name, *given, progress=progress)
        except Refusal as refusal:
            return (*_refused(str(refusal)), None, *_nothing_kept())
        return (*_shown(analysis), given, *_nothing_kept())

    def run(path: str | None, name: str, progress=gr.Progress()) -> tuple:  # noqa: B008
        return answer(path, name, NOTHING, progress)

    def run_with_phases(path: str | None, name: str, event: gr.EventData, progress=gr.Progress()) -> tuple:  # noqa: B008
        return answer(path, name, tuple(int(event._data[each]) for each in PHASE_NAMES), progress)

    def keep(path: str | None, name: str, given: tuple | None) -> tuple:
        """The replay and the files take longer than the answer. The clip is still in memory for them."""
        if given is None or path is None:
            return _nothing_kept()
        try:
            exports = write_exports(engine.analyse(path, name, *given), Path(path).stem)
        except Refusal:  # the clip was changed meanwhile: its own answer says why
            return _nothing_kept()
        ready = (gr.DownloadButton(value=str(file), interactive=True) for file in exports.files)
        return (str(exports.replay), *ready)

    def connect(listener: Callable, function: Callable = run) -> None:
        """An event gives an answer; then come the replay and the files."""
        private = {"api_visibility": "private", "trigger_mode": "always_last"}
        network = {"concurrency_id": "network", "concurrency_limit": 2}
        replays = {"concurrency_id": "replay", "concurrency_limit": 1}
        outputs = [*first, phases, *kept]
        answered = listener(function, [clip, model], outputs, show_progress_on=card, **network, **private)
        answered.success(keep, [clip, model, phases], kept, show_progress_on=replay, **replays, **private)

    def clear() -> tuple:
        return (view.idle(), "", "", motion.NOTHING_YET, READ, None, *_nothing_kept())

    connect(partial(gr.on, [button.click, clip.upload, clip.stop_recording, model.input]))
    connect(examples.load_input_event.success)
    connect(curve.spotted)
    connect(curve.release, run_with_phases)
    clip.clear(clear, outputs=[*first, phases, *kept], api_visibility="private", queue=False)
    return Tab(clip, connect)


def _nothing_kept() -> tuple:
    return (None, *(gr.DownloadButton(interactive=False) for _ in Exports.LABELS))


def _shown(analysis: Analysis) -> tuple:
    """Card, action units, pictures, curve and how to read them."""
    architecture = registry.ARCHITECTURES[analysis.architecture]
    said = RELEVANCE.format(model=analysis.model, relevance_by=architecture.relevance_by)
    return (
        view.card(analysis.prediction),
        view.action_units(analysis.prediction),
        pictures.figures(analysis),
        motion.curve_and_sliders(analysis.prediction),
        f"{READ}\n\n{said}",
    )


def _refused(reason: str) -> tuple:
    return view.refused(reason), "", "", motion.NOTHING_YET, READ
