"""The tab of minutes of video: where a face moves briefly, on a time line; each moment opens in Analyse."""

from dataclasses import replace
from pathlib import Path

import gradio as gr

from mer_hf.inference.long_video import LongVideo, cut, spot_long
from mer_hf.inference.pipeline import MicroExpressionPipeline
from mer_hf.interchange.coding import Coding
from mer_hf.visualization.report import TITLES

from . import coding, view
from .analyse import Tab
from .files import new
from .uploads import LONG_VIDEO, Refusal, check, duration, one_line
from .visitors import NETWORK, Turns

EXPERIMENTAL = """**Experimental.** Finding micro-expressions in minutes of video is unsolved: on the
field's own benchmarks published methods reach an F1 between 0.01 and 0.29, and finding and naming together
between 0.01 and 0.20. Expect that most of this list is something else (speech, a blink, a turn of the head)
and that something is missing. Look at every moment yourself."""
LIMITS = f"""Up to {duration(LONG_VIDEO.duration_s)} and {LONG_VIDEO.size_bytes // 1_000_000} MB, of people
who agreed. The file is deleted within an hour."""
NOTHING_YET = '<p class="idle">A time line and a table of the motions will stand here.</p>'
MARGIN_S = 1.0
"""Seconds opened before and after an interval: the face at rest is needed for comparison."""
SCRIPT = """
element.addEventListener('click', (event) => {
  const chosen = event.target.closest('[data-open]');
  if (chosen) trigger('open', { at: Number(chosen.dataset.open) });
});
"""


TURNS = Turns(1)


def build(models: list[str], analyse_tab: Tab, tabs: gr.Tabs) -> None:
    """Lay the tab out and connect it; a moment opens in Analyse, and `tabs` changes to it."""
    with gr.Row(elem_classes="sides"):
        with gr.Column(scale=0, min_width=280, elem_classes="side"):
            gr.Markdown(LIMITS, elem_classes="note")
            video = gr.Video(label="Video", sources=["upload"], height=190, buttons=[], elem_id="long-video")
            model = gr.Dropdown(models, value=models[0], label="Network")
            everyone = gr.Checkbox(label="Follow every face", elem_id="every-face")
            button = gr.Button("Search", variant="primary")
        with gr.Column(elem_classes="result"):
            gr.Markdown(EXPERIMENTAL, elem_classes="note", elem_id="experimental")
            line = gr.HTML(NOTHING_YET, js_on_load=SCRIPT, elem_id="found", padding=False)
            editor = coding.build("long-coding")
    moments = gr.State([])

    def run(
        path: str | None,
        name: str,
        everyone: bool,
        held: str | None,
        progress=gr.Progress(),  # noqa: B008
    ) -> tuple:
        try:
            result = search(path, name, everyone, progress)
            coded = coding.begin(held, replace(Coding.of(result, path), video=Path(path).name))
        except Refusal as refusal:
            return view.refused(str(refusal)), [], gr.skip()
        moments_s = [(interval.onset_s, interval.offset_s) for interval in result.intervals]
        return time_line(result), moments_s, coded

    def open_moment(path: str | None, intervals: list, event: gr.EventData) -> tuple:
        onset_s, offset_s = intervals[int(event._data["at"])]
        clip = new(".mp4", f"{Path(path).stem}-{onset_s:.1f}s")
        cut(path, onset_s - MARGIN_S, offset_s + MARGIN_S, clip)
        return str(clip), gr.Tabs(selected="analyse")

    private = {"api_visibility": "private"}
    inputs, outputs = [video, model, everyone, editor.coding], [line, moments, editor.coding]
    gr.on([button.click, video.upload], run, inputs, outputs, show_progress_on=line, **NETWORK, **private)
    opened = line.open(open_moment, [video, moments], [analyse_tab.clip, tabs], **private)
    analyse_tab.connect(opened.success)
    video.clear(lambda: (NOTHING_YET, [], None), outputs=outputs, **private)


def search(path: str | None, model: str, everyone: bool, progress: gr.Progress) -> LongVideo:
    """Search an upload with a network of its own, so that nobody else waits; raise `Refusal` in one line."""
    face = "all" if everyone else None

    def report(done_s: float, all_s: float) -> None:
        progress(min(done_s / max(all_s, 1e-6), 1.0), f"{duration(done_s)} of {duration(all_s)} searched")

    with one_line(path):
        check(path, LONG_VIDEO)
        with TURNS.turn():
            return spot_long(path, MicroExpressionPipeline.from_pretrained(model), progress=report, face=face)


def time_line(result: LongVideo) -> str:
    """Draw the video as a bar for each person with a mark for each interval, and a table of the intervals."""
    lasts_s = max(result.duration_s, 1e-6)
    return view.render(
        "long_video.html",
        rows=[{**vars(interval), "at": at} for at, interval in enumerate(result.intervals)],
        titles=TITLES,
        signs=view.SIGNS,
        gaps=result.gaps,
        people=result.people or (1,),
        lasts_s=lasts_s,
        lasts=duration(result.duration_s),
        ticks=[duration(lasts_s * share / 4) for share in range(5)],
        warnings=result.warnings,
    )
