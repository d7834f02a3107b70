"""The tab of one clip: its answer and the reasons."""

from functools import lru_cache
from pathlib import Path

import gradio as gr

from mer_hf import registry
from mer_hf.pipeline import MicroExpressionPipeline

from .view import FACE_LABELS, pictures, refusal, verdict

EMPTY = """<div class="verdict idle"><strong>No clip yet</strong>
<span>Upload one, or take one of the examples. Best: one to three seconds, one face, little
talking.</span></div>"""

NOTE = """**How to read it.** The dotted line is what counts as motion in this clip. Arrows in the motion
picture are drawn longer than the motion. In the relevance picture, {relevance_by}."""

INTENDED_USE = """**For research.** The bundled network was trained on synthetic motion only and is often
wrong. A facial movement is not a feeling: do not use this to detect lies, or to judge, screen or rate
people."""


@lru_cache(maxsize=4)
def load_pipeline(model: str) -> MicroExpressionPipeline:
    """One pipeline per checkpoint, kept."""
    return MicroExpressionPipeline.from_pretrained(model)


def note(model: str) -> str:
    """How to read the pictures of a network."""
    architecture = registry.ARCHITECTURES[model.partition("-")[0]]
    return NOTE.format(relevance_by=architecture.relevance_by)


def analyse(clip: str | None, model: str) -> tuple:
    """Analyses one clip; a clip that cannot be analysed gives the reason in the first and the last value.

    Args:
        clip (`str`): Path of a video file.
        model (`str`): Name of a bundled checkpoint.

    Returns:
        `tuple`: verdict (HTML), scores, motion curve, onset face, apex face, flow picture, overlay, and
        everything that was found as a dict.
    """
    if clip is None:
        return refusal("There is no clip yet. Upload one, or take an example.")
    try:
        prediction = load_pipeline(model)(clip)
    except (ValueError, OSError) as error:
        return refusal(str(error).replace(clip, Path(clip).name))  # not where the upload was put
    return (verdict(prediction), prediction.scores, *pictures(prediction), prediction.to_dict())


def build(models: list[str], paths: dict[str, Path]) -> None:
    """Lays the tab out and connects it."""
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            clip = gr.Video(label="Clip", sources=["upload", "webcam"], height=278, elem_id="clip")
            examples = gr.Examples(
                [[str(path)] for path in paths.values()],
                inputs=[clip],
                example_labels=list(paths),
                label="Generated examples",
            )
            model = gr.Dropdown(models, value=models[0], label="Network")
            button = gr.Button("Analyse", variant="primary")
            gr.Markdown(INTENDED_USE, elem_classes="note")
            with gr.Accordion("Everything as JSON", open=False):
                details = gr.JSON(show_label=False)
        with gr.Column(scale=9):
            with gr.Row(equal_height=True):
                card = gr.HTML(EMPTY, elem_id="verdict", padding=False)
                scores = gr.Label(label="Probabilities", show_heading=False, num_top_classes=7)
            curve = _picture("Motion over the clip", 188)
            with gr.Row():
                faces = [_picture(label, 220) for label in FACE_LABELS]
            how_to_read = gr.Markdown(note(models[0]), elem_classes="note")
    model.change(note, model, how_to_read, api_visibility="private")
    call = {"fn": analyse, "inputs": [clip, model], "outputs": [card, scores, curve, *faces, details]}
    call |= {"show_progress_on": card, "concurrency_id": "network", "concurrency_limit": 1}
    gr.on([button.click, clip.upload, clip.stop_recording], **call, api_name="analyse")
    examples.load_input_event.success(**call, api_visibility="private")


def _picture(label: str, height: int) -> gr.Image:
    return gr.Image(
        label=label,
        alt_text=label,
        height=height,
        interactive=False,
        buttons=["fullscreen"],
        format="png",
        elem_classes="picture",
    )
