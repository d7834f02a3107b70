"""The page's functions for programs: named endpoints that take files and give JSON."""

from pathlib import Path

import gradio as gr

from . import coding, long_video
from .compare import agreement, common_scores, says
from .engine import Analysis, Engine, Refusal
from .exports import write_exports, write_openface
from .uploads import one_line
from .visitors import NETWORK


def build(engine: Engine, models: list[str]) -> None:
    """Add the endpoints, which nobody sees; `/compare` asks the `models`. A `Refusal` reaches the caller."""

    def analyse(clip: str, model: str = models[0]) -> dict:
        """One clip, one network: outcome, label, scores, phases, action units and warnings."""
        return _details(engine.analyse(clip, model))

    def classify(clip: str, model: str, onset: float, apex: float, offset: float) -> dict:
        """The same with phases that the caller gives, as 0-based frames."""
        if None in (onset, apex, offset):
            raise Refusal("onset, apex and offset must be frames from 0. /analyse finds them itself.")
        return _details(engine.analyse(clip, model, int(onset), int(apex), int(offset)))

    def compare(clip: str) -> dict:
        """One clip, all bundled networks: how far they agree, and each answer in the common classes."""
        answers = engine.compare(clip, models)
        word, votes, total = agreement(answers)
        return {
            "agreement": {"says": word or None, "votes": votes, "answers": total},
            "answers": {model: _compared(answer) for model, answer in answers.items()},
        }

    def export(clip: str, model: str = models[0]) -> tuple[str, str, str, str]:
        """Four files of a result: prediction (JSON), motion curve (CSV), replay (mp4) and report (HTML)."""
        analysis = engine.analyse(clip, model)
        return tuple(str(path) for path in write_exports(analysis, Path(clip).stem).values())

    def export_coding(clip: str, model: str = models[0], format: str = "coding") -> str:
        """The answer as a file: coding (JSON), eaf (ELAN), boris, facs or openface (a row per frame)."""
        analysis = engine.analyse(clip, model)
        if format == "openface":
            return write_openface(analysis, Path(clip).stem)
        with one_line(clip):
            return coding.write(format, coding.of_clip(analysis, clip))

    def spot_long(
        video: str,
        model: str = models[0],
        everyone: bool = False,
        progress=gr.Progress(),  # noqa: B008
    ) -> dict:
        """Minutes of video: every brief motion of a face, or of all, and what it may be. Experimental."""
        return long_video.search(video, model, everyone, progress).to_dict()

    with gr.Group(visible=False):
        clip, video = gr.Video(label="clip"), gr.Video(label="video")
        model = gr.Dropdown(models, value=models[0], label="model", allow_custom_value=True)
        bundled = gr.Dropdown(models, value=models[0], label="model")
        everyone = gr.Checkbox(label="everyone")
        frames = [gr.Number(label=name, precision=0) for name in ("onset", "apex", "offset")]
        format = gr.Dropdown([*coding.LABELS, "openface"], value="coding", label="format")
        result, coded = gr.JSON(label="result"), gr.File(label="coding")
        files = [gr.File(label=name) for name in ("prediction", "curve", "replay", "report")]
        call = gr.Button()
    call.click(analyse, [clip, model], result, api_name="analyse", **NETWORK)
    call.click(classify, [clip, model, *frames], result, api_name="classify", **NETWORK)
    call.click(compare, clip, result, api_name="compare", **NETWORK)
    call.click(export, [clip, model], files, api_name="export", **NETWORK)
    call.click(export_coding, [clip, model, format], coded, api_name="export_coding", **NETWORK)
    call.click(spot_long, [video, bundled, everyone], result, api_name="spot_long", **NETWORK)


def _details(analysis: Analysis) -> dict:
    times_s = analysis.prediction.timestamps_s
    lasts_s = float(times_s[-1] - times_s[0])
    fps = (len(times_s) - 1) / lasts_s if lasts_s > 0 else None
    return analysis.prediction.to_dict() | {"clip_sha256": analysis.clip_sha256, "fps": fps}


def _compared(answer: Analysis | Refusal) -> dict:
    if isinstance(answer, Refusal):
        return {"error": str(answer)}
    scores = common_scores(answer.prediction.scores)
    return {"says": says(answer), "outcome": answer.prediction.outcome, "scores": scores}
