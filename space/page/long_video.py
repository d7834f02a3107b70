"""The tab of minutes of video: where a face moves briefly, on a time line; each moment opens in Analyse."""

import html
from pathlib import Path

import gradio as gr

from mer_hf.inference.long_video import LongVideo, cut, spot_long
from mer_hf.inference.pipeline import MicroExpressionPipeline
from mer_hf.video.container import ClipError

from . import view
from .analyse import Tab
from .engine import Refusal
from .files import new
from .uploads import LONG_VIDEO, check, duration, without_paths

EXPERIMENTAL = """**Experimental.** Finding micro-expressions in minutes of video is unsolved: on the
field's own benchmarks published methods reach an F1 between 0.01 and 0.29, and finding and naming together
between 0.01 and 0.20. Expect most of what is listed here to be something else (speech, a blink, a turn of the
head), and something to be missed. Look at every moment yourself."""
LIMITS = f"""Up to {duration(LONG_VIDEO.duration_s)} and {LONG_VIDEO.size_bytes // 1_000_000} MB, of people
who agreed; the file is deleted after about an hour."""
NOTHING_YET = '<p class="idle">A time line of what was found, and a table, will stand here.</p>'
MARGIN_S = 1.0
"""So much before and after an interval is opened with it: the face at rest is needed for comparison."""
SCRIPT = """
element.addEventListener('click', (event) => {
  const chosen = event.target.closest('[data-open]');
  if (chosen) trigger('open', { at: Number(chosen.dataset.open) });
});
"""


def build(models: list[str], analyse_tab: Tab, tabs: gr.Tabs) -> gr.Video:
    """Lays the tab out and connects it.

    Args:
        models (`list[str]`): Bundled checkpoints to choose from.
        analyse_tab ([`Tab`]): Where a moment opens.
        tabs (`gr.Tabs`): To change to it.

    Returns:
        `gr.Video`: The video.
    """
    with gr.Row(elem_classes="sides"):
        with gr.Column(scale=0, min_width=280, elem_classes="side"):
            gr.Markdown(LIMITS, elem_classes="note")
            video = gr.Video(label="Video", sources=["upload"], height=190, buttons=[], elem_id="long-video")
            model = gr.Dropdown(models, value=models[0], label="Network")
            button = gr.Button("Search", variant="primary")
        with gr.Column(elem_classes="result"):
            gr.Markdown(EXPERIMENTAL, elem_classes="note", elem_id="experimental")
            found = gr.HTML(NOTHING_YET, js_on_load=SCRIPT, elem_id="found", padding=False)
    moments = gr.State([])

    def run(path: str | None, name: str, progress=gr.Progress()) -> tuple:  # noqa: B008
        try:
            result = search(path, name, progress)
        except Refusal as refusal:
            return view.refused(str(refusal)), []
        return time_line(result), [(each.onset_s, each.offset_s) for each in result.intervals]

    def open_moment(path: str | None, intervals: list, event: gr.EventData) -> tuple:
        onset_s, offset_s = intervals[int(event._data["at"])]
        clip = new(".mp4", f"{Path(path).stem}-{onset_s:.1f}s")
        cut(path, onset_s - MARGIN_S, offset_s + MARGIN_S, clip)
        return str(clip), gr.Tabs(selected="analyse")

    private = {"api_visibility": "private"}
    gr.on(
        [button.click, video.upload],
        run,
        [video, model],
        [found, moments],
        show_progress_on=found,
        concurrency_id="long",
        concurrency_limit=1,
        **private,
    )
    opened = found.open(open_moment, [video, moments], [analyse_tab.clip, tabs], **private)
    analyse_tab.connect(opened.success)
    video.clear(lambda: (NOTHING_YET, []), outputs=[found, moments], **private)
    return video


def search(path: str | None, model: str, progress: gr.Progress) -> LongVideo:
    """Searches an upload with a network of its own, so that nobody waits for it.

    Args:
        path (`str` or `None`): Of the upload.
        model (`str`): A bundled checkpoint.
        progress (`gr.Progress`): Is told how far the search is.

    Returns:
        [`LongVideo`]

    Raises:
        Refusal: In a line that may be shown.
    """
    if path is None:
        raise Refusal("There is no video yet. Upload one.")
    check(path, LONG_VIDEO)

    def tell(done_s: float, all_s: float) -> None:
        progress(min(done_s / max(all_s, 1e-6), 1.0), f"{duration(done_s)} of {duration(all_s)} searched")

    try:
        return spot_long(path, MicroExpressionPipeline.from_pretrained(model), progress=tell)
    except ClipError as error:
        raise Refusal(without_paths(str(error), path)) from error


def time_line(result: LongVideo) -> str:
    """The whole video as a bar with a mark per interval, and the same as a table.

    Args:
        result ([`LongVideo`]): What was found.

    Returns:
        `str`: HTML; whatever has `data-open` opens the interval of that number.
    """
    lasts_s = max(result.duration_s, 1e-6)
    marks = "".join(
        f'<button type="button" class="{_kind(each)}" data-open="{at}" title="{_said(each)}" '
        f'aria-label="Open {_said(each)}" style="{_place(each.onset_s, each.offset_s, lasts_s)}"></button>'
        for at, each in enumerate(result.intervals)
    )
    gaps = "".join(
        f'<i class="gap" title="{html.escape(each.reason)}" '
        f'style="{_place(each.start_s, each.end_s, lasts_s)}"></i>'
        for each in result.gaps
    )
    ticks = "".join(
        f'<span style="left:{25 * share}%">{duration(lasts_s * share / 4)}</span>' for share in range(5)
    )
    notes = "".join(f'<p class="warning">⚠ {html.escape(each)}</p>' for each in result.warnings)
    likely = [at for at, each in enumerate(result.intervals) if each.label]
    others = [at for at, each in enumerate(result.intervals) if not each.label]
    found = _count(likely, "possible micro-expression") if likely else "No micro-expression found"
    said = f"{found} in {duration(result.duration_s)}"
    key = '<span class="key gap"></span> no face to judge' if result.gaps else ""
    return (
        f'<p class="agreement" role="status"><strong>{said}</strong> {key}</p>'
        f'<div class="line"><div class="bar">{gaps}{marks}</div><div class="ticks">{ticks}</div></div>'
        f"{_table(result, likely)}{_folded(result, others)}{notes}"
    )


def _count(found: list, name: str) -> str:
    return f"{len(found)} {name}{'s' if len(found) != 1 else ''}"


def _folded(result: LongVideo, chosen: list[int]) -> str:
    """The table of what is probably something else, to be unfolded."""
    if not chosen:
        return ""
    said = f"{_count(chosen, 'other brief motion')}, more like speech, a blink, a turn of the head or noise"
    return f"<details class='others'><summary>{said}</summary>{_table(result, chosen)}</details>"


def _table(result: LongVideo, chosen: list[int]) -> str:
    rows = "".join(
        f'<tr class="{_kind(each)}"><td>{each.onset_s:.2f}</td><td>{each.apex_s:.2f}</td>'
        f"<td>{each.offset_s:.2f}</td><td>{each.peak_px:.2f}</td><td>{html.escape(_verdict(each))}</td>"
        f"<td>{_sure(each)}</td>"
        f'<td><button type="button" data-open="{at}" aria-label="Open {_said(each)}">Open</button></td></tr>'
        for at in chosen
        for each in [result.intervals[at]]
    )
    heads = ("onset, s", "apex, s", "offset, s", "motion, px", "what it may be", "an expression at all", "")
    head = "".join(f"<th scope='col'>{text}</th>" for text in heads)
    return (
        f"<table class='intervals'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        if rows
        else ""
    )


def _kind(interval) -> str:
    return "found" if interval.label else "other"


def _verdict(interval) -> str:
    if interval.label:
        return f"{interval.label}, {view.percent(interval.scores[interval.label])}"
    return view.KINDS[interval.outcome].title.lower() if interval.outcome in view.KINDS else "a motion"


def _sure(interval) -> str:
    likely = interval.expression_probability
    return "" if likely is None else html.escape(view.percent(likely))


def _said(interval) -> str:
    return html.escape(f"{interval.apex_s:.2f} s: {_verdict(interval)}")


def _place(start_s: float, end_s: float, lasts_s: float) -> str:
    return f"left:{100 * start_s / lasts_s:.3f}%;width:{100 * (end_s - start_s) / lasts_s:.3f}%"
