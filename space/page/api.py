"""The page's functions for programs: named endpoints that take files and give JSON."""

from pathlib import Path

import gradio as gr

from . import long_video
from .compare import agreement, common_scores, says
from .engine import Analysis, Engine, Refusal
from .exports import write_exports

NETWORK = {"concurrency_id": "network", "concurrency_limit": 2}
LONG = {"concurrency_id": "long", "concurrency_limit": 1}


def build(engine: Engine, models: list[str]) -> None:
    """Adds the endpoints; nothing of them is to be seen.

    Args:
        engine ([`Engine`]): Answers.
        models (`list[str]`): Those that `/compare` asks.
    """

    def analyse(clip: str, model: str = models[0]) -> dict:
        """One clip, one network: outcome, label, scores, phases, action units and warnings."""
        return _details(_answer(engine, clip, model))

    def classify(clip: str, model: str, onset: float, apex: float, offset: float) -> dict:
        """The same with phases that the caller gives, as 0-based frames."""
        return _details(_answer(engine, clip, model, (int(onset), int(apex), int(offset))))

    def compare(clip: str) -> dict:
        """One clip, all bundled networks: how far they agree, and each answer in the common classes."""
        try:
            answers = engine.compare(_given(clip), models)
        except Refusal as refusal:
            raise gr.Error(str(refusal)) from refusal
        word, votes, total = agreement(answers)
        return {
            "agreement": {"says": word or None, "votes": votes, "answers": total},
            "answers": {model: _compared(answer) for model, answer in answers.items()},
        }

    def export(clip: str, model: str = models[0]) -> tuple[str, str, str, str]:
        """Four files of a result: prediction (JSON), motion curve (CSV), replay (mp4) and report (HTML)."""
        analysis = _answer(engine, clip, model)
        return tuple(str(path) for path in write_exports(analysis, Path(clip).stem).files)

    def spot_long(video: str, model: str = models[0], progress=gr.Progress()) -> dict:  # noqa: B008
        """Minutes of video: every brief motion, and what it may be. Experimental."""
        try:
            return long_video.search(video, model, progress).to_dict()
        except Refusal as refusal:
            raise gr.Error(str(refusal)) from refusal

    with gr.Group(visible=False):
        clip, video = gr.Video(label="clip"), gr.Video(label="video")
        model = gr.Dropdown(models, value=models[0], label="model", allow_custom_value=True)
        bundled = gr.Dropdown(models, value=models[0], label="model")
        frames = [gr.Number(label=name, precision=0) for name in ("onset", "apex", "offset")]
        found = gr.JSON(label="result")
        files = [gr.File(label=name) for name in ("prediction", "curve", "replay", "report")]
        call = gr.Button()
    call.click(analyse, [clip, model], found, api_name="analyse", **NETWORK)
    call.click(classify, [clip, model, *frames], found, api_name="classify", **NETWORK)
    call.click(compare, clip, found, api_name="compare", **NETWORK)
    call.click(export, [clip, model], files, api_name="export", **NETWORK)
    call.click(spot_long, [video, bundled], found, api_name="spot_long", **LONG)


def _given(clip: str | None) -> str:
    if clip is None:
        raise Refusal("There is no clip. Give a video file.")
    return clip


def _answer(engine: Engine, clip: str | None, model: str, phases: tuple = (None, None, None)) -> Analysis:
    """The engine's answer; a refusal reaches the caller as the reason alone."""
    try:
        return engine.analyse(_given(clip), model, *phases)
    except Refusal as refusal:
        raise gr.Error(str(refusal)) from refusal


def _details(analysis: Analysis) -> dict:
    return analysis.prediction.to_dict() | {"clip_sha256": analysis.clip_sha256, "fps": analysis.clip_fps}


def _compared(answer: Analysis | Refusal) -> dict:
    if isinstance(answer, Refusal):
        return {"error": str(answer)}
    scores = common_scores(answer.prediction.scores)
    return {"says": says(answer), "outcome": answer.prediction.outcome, "scores": scores}
