"""The demo: a clip of a face in, the answer and its reasons out.

    python space/app.py

serves it on http://127.0.0.1:7860 (`PORT` or `GRADIO_SERVER_PORT` choose another). It imports `mer_hf` and
keeps no copy of its code.
"""

import hashlib
import html
import os
import tempfile
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# For one small network a second thread costs more in waiting than it saves, above all on a shared machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gradio as gr
import numpy as np

from mer_hf import draw, registry
from mer_hf.action_units import PRESENT
from mer_hf.clip import write_clip
from mer_hf.flow import optical_flow
from mer_hf.labels import ACTION_UNITS
from mer_hf.pipeline import MicroExpressionPipeline, Prediction
from mer_hf.synthetic import clips as synthetic_clips

HEADER = """<h1>Micro-expression recognition</h1>
<p>Upload a short clip of one face. The page finds the moment of the strongest brief motion, shows it, and
lets a network name it. Everything runs on this machine.</p>"""

EMPTY = """<div class="verdict idle"><strong>No clip yet</strong>
<span>Upload one, or take one of the examples. Best: one to three seconds, one face, little
talking.</span></div>"""

NOTE = """**How to read it.** The dotted line is what counts as motion in this clip. Arrows in the motion
picture are drawn longer than the motion. In the relevance picture, {relevance_by}."""

INTENDED_USE = """**For research.** The bundled network was trained on synthetic motion only and is often
wrong. A facial movement is not a feeling: do not use this to detect lies, or to judge, screen or rate
people."""

OUTCOMES = {
    "micro_expression": "Micro-expression",
    "no_micro_expression": "No micro-expression",
    "no_motion": "No motion",
    "blink": "Only a blink",
}

FAINT_PX = 0.5
"""Motion below this never gets the full colour: the noise of a still clip would look like a storm."""

FACE_LABELS = ("Onset", "Apex", "Motion, onset to apex", "Relevance")

CSS = """
.gradio-container { max-width: 1400px; margin: 0 auto !important; padding: 0 !important; }
.gradio-container .main { padding: 12px 24px !important; }
#header h1 { font-size: 1.35rem; margin: 0; }
#header p { margin: 2px 0 0; opacity: 0.75; }
.verdict { box-sizing: border-box; height: 100%; padding: 14px 18px; display: flex; gap: 4px;
  flex-direction: column; border-left: 6px solid var(--border-color-primary); border-radius: 4px;
  background: var(--block-background-fill); }
#verdict .html-container, #header .html-container { padding: 0; }
#verdict .html-container, #verdict .prose { height: 100%; }
.verdict strong { font-size: 1.35rem; }
.verdict.found { border-color: #0072B2; }
.verdict.open { border-color: #E69F00; }
.verdict.refused { border-color: #D55E00; }
.verdict .warning { font-size: 0.85rem; opacity: 0.75; }
#clip video { max-height: 232px; }
.picture { display: flex; flex-direction: column; }
.picture > .image-container, .picture > .empty { flex: 1; min-height: 0; }
.picture > label { position: static !important; border: 0 !important; background: none !important;
  box-shadow: none !important; white-space: nowrap; }
.note p { font-size: 0.85rem; opacity: 0.75; }
footer { display: none !important; }
"""

LAUNCH = {
    "theme": gr.themes.Soft(
        primary_hue="blue",
        font=["system-ui", "sans-serif"],  # a web font would be fetched from elsewhere
        font_mono=["ui-monospace", "monospace"],
        spacing_size="sm",
        text_size="sm",
    ),
    "css": CSS,
    "max_file_size": "50mb",
    "show_error": True,
}
"""What `launch` is given, here and in the test."""


@lru_cache(maxsize=4)
def load_pipeline(model: str) -> MicroExpressionPipeline:
    """One pipeline per checkpoint, kept."""
    return MicroExpressionPipeline.from_pretrained(model)


def example_paths(folder: Path | None = None) -> dict[str, Path]:
    """The generated example clips by name, rendered once and kept.

    Args:
        folder (`Path`, *optional*): Where they are kept. Defaults to `examples` beside this file, or the
            system's temporary folder where that is not writable.

    Returns:
        `dict[str, Path]`: Kind -> mp4.
    """
    if folder is None:
        here = Path(__file__).resolve().parent
        folder = (here if os.access(here, os.W_OK) else Path(tempfile.gettempdir()) / "mer-hf") / "examples"
    # Clips that an earlier version of the generator made are not taken for this one's.
    generator = sorted(Path(synthetic_clips.__file__).parent.glob("*.py"))
    folder /= hashlib.sha256(b"".join(path.read_bytes() for path in generator)).hexdigest()[:10]
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / f"{kind}.mp4" for kind in synthetic_clips.EXAMPLE_KINDS}
    for kind, path in paths.items():
        if not path.exists():
            unfinished = path.with_suffix(f".{os.getpid()}.mp4")
            write_clip(unfinished, synthetic_clips.example_clip(kind).clip.frames, 30)
            unfinished.replace(path)
    return paths


def bundled_models() -> list[str]:
    """The names of the checkpoints that come with the package, in the registry's order."""
    names = sorted(path.parent.name for path in registry.CHECKPOINTS.glob("*/config.json"))
    keys = list(registry.ARCHITECTURES)
    return sorted(names, key=lambda name: keys.index(name.partition("-")[0]))


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


def refusal(reason: str) -> tuple:
    """The values of a page that shows only why there is no answer."""
    card = (
        f'<div class="verdict refused"><strong>Not analysed</strong><span>{html.escape(reason)}</span></div>'
    )
    faces = (gr.Image(None, label=label) for label in FACE_LABELS)
    return (card, None, None, *faces, {"error": reason})


def verdict(prediction: Prediction) -> str:
    """The answer as a card."""
    title = OUTCOMES[prediction.outcome]
    if prediction.label:
        title += f": {prediction.label}, {prediction.scores[prediction.label]:.0%}"
    lines = [phases_line(prediction), action_units_line(prediction)]
    lines += [f'<span class="warning">⚠ {html.escape(warning)}</span>' for warning in prediction.warnings]
    kind = "found" if prediction.label else "open"
    return f'<div class="verdict {kind}"><strong>{html.escape(title)}</strong>{"".join(lines)}</div>'


def phases_line(prediction: Prediction) -> str:
    """Where in the clip it was found, and how long the answer took."""
    found = prediction.to_dict()["phases"]
    took = f"answered in {sum(prediction.timings_s.values()):.1f} s"
    frames = len(prediction.phases.curve)
    if found["apex"] is None:
        return f"<span>{frames} frames, {took}</span>"
    if found["onset_s"] is None:
        return f"<span>frames {found['onset']} to {found['offset']} of {frames}, {took}</span>"
    where = f"{found['onset_s']:.2f} to {found['offset_s']:.2f} s, strongest at {found['apex_s']:.2f} s"
    return f"<span>{where}; {took}</span>"


def action_units_line(prediction: Prediction) -> str:
    """The action units that motion shows, strongest first."""
    found = prediction.action_units
    present = [name for name, values in found.items() if values and values[2] >= PRESENT]
    shown = []
    for name in sorted(present, key=lambda name: -found[name][2]):
        left, right, _ = found[name]
        side = "" if min(left, right) >= PRESENT else " on the left" if left > right else " on the right"
        shown.append(f"{name} {ACTION_UNITS[name]}{side}")
    return f"<span>Action units: {html.escape(', '.join(shown[:4])) or 'none'}</span>"


def pictures(prediction: Prediction) -> tuple:
    """Curve, onset, apex, flow and overlay, each with its label; no overlay where nothing was classified."""
    phases = prediction.phases
    labels = ("First frame", "Middle frame", "Motion, first to middle")
    if phases.apex is not None:
        labels = (f"Onset, frame {phases.onset}", f"Apex, frame {phases.apex}", FACE_LABELS[2])
    flow_xy = optical_flow(prediction.onset_face, prediction.apex_face)
    flow = draw.flow_picture(flow_xy, max_px=max(draw.full_color_px(flow_xy), FAINT_PX))
    overlay = (
        draw.overlay_picture(prediction.apex_face, prediction.apex_relevance) if prediction.label else None
    )
    return (
        curve_of(prediction),
        gr.Image(prediction.onset_face, label=labels[0]),
        gr.Image(prediction.apex_face, label=labels[1]),
        gr.Image(flow, label=labels[2]),
        overlay,
    )


def curve_of(prediction: Prediction) -> np.ndarray:
    """The motion curve with its phases, the blinks shaded."""
    phases = prediction.phases
    blinking = np.zeros(len(phases.curve), dtype=bool)
    for first, last in phases.blinks:
        blinking[first : last + 1] = True
    return draw.curve_picture(
        phases.curve,
        phases.onset,
        phases.apex,
        phases.offset,
        times_s=prediction.timestamps_s,
        masked=blinking,
        threshold=phases.threshold,
        unit="pixels",
        size_wh=(900, 162),
    )


def build_demo() -> gr.Blocks:
    """The page, ready for `launch(**LAUNCH)`."""
    models = bundled_models()
    paths = example_paths()
    with gr.Blocks(title="Micro-expression recognition", fill_width=True) as demo:
        gr.HTML(HEADER, elem_id="header", padding=False)
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
    return demo


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


def main() -> None:
    """Serves the page."""
    port = os.environ.get("PORT") or os.environ.get("GRADIO_SERVER_PORT")
    build_demo().queue(max_size=16).launch(server_port=int(port) if port else None, **LAUNCH)


if __name__ == "__main__":
    main()
