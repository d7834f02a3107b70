"""The tab of one clip and four networks: what each says, side by side, in the same classes."""

import html
from collections import Counter
from pathlib import Path

import gradio as gr

from mer_hf import registry
from mer_hf.labels import TO_COMPOSITE3

from . import pictures, view
from .analyse import Tab
from .engine import Analysis, Engine, Refusal

ABOUT = """Each network sees the same clip in the way it was made for. Agreement is no proof: all four learnt
from the same kind of synthetic motion, so they can be wrong together."""
NOTHING_YET = '<p class="idle">Four answers to one clip will stand here, side by side.</p>'


def build(engine: Engine, models: list[str], analyse_tab: Tab) -> gr.Video:
    """Lays the tab out and connects it.

    Args:
        engine ([`Engine`]): Answers.
        models (`list[str]`): Bundled checkpoints, one column for each.
        analyse_tab ([`Tab`]): Whose clip is taken over.

    Returns:
        `gr.Video`: The clip.
    """
    with gr.Row(elem_classes="sides"):
        with gr.Column(scale=0, min_width=280, elem_classes="side"):
            clip = gr.Video(label="Clip", sources=["upload"], height=190, buttons=[], elem_id="compared-clip")
            take = gr.Button("Take the clip of Analyse", size="sm")
            button = gr.Button("Compare", variant="primary")
            gr.Markdown(ABOUT, elem_classes="note")
        with gr.Column(elem_classes="result"):
            answers = gr.HTML(NOTHING_YET, elem_id="compared", padding=False)

    def run(path: str | None, progress=gr.Progress()) -> str:  # noqa: B008
        try:
            if path is None:
                raise Refusal("There is no clip yet. Upload one, or take the one of Analyse.")
            return columns(engine.compare(path, models, progress=progress))
        except Refusal as refusal:
            return view.refused(str(refusal))

    common = {"concurrency_id": "network", "concurrency_limit": 2, "api_visibility": "private"}
    gr.on([button.click, clip.upload], run, clip, answers, **common)
    taken = take.click(_same, analyse_tab.clip, clip, api_visibility="private")
    taken.success(run, clip, answers, **common)
    clip.clear(lambda: NOTHING_YET, outputs=answers, api_visibility="private")
    return clip


def _same(path: str | None) -> str | None:
    return path


def common_scores(scores: dict[str, float]) -> dict[str, float]:
    """Probabilities in the classes that all networks share.

    Args:
        scores (`dict[str, float]`): Class of any scheme -> probability.

    Returns:
        `dict[str, float]`: `negative`, `positive`, `surprise`, and `others` where a class has no such place;
            they sum to what the scores sum to.
    """
    common = dict.fromkeys(("negative", "positive", "surprise"), 0.0)
    for name, value in scores.items():
        place = TO_COMPOSITE3.get(name) or "others"
        common[place] = common.get(place, 0.0) + value
    return common


def says(answer: Analysis | Refusal) -> str | None:
    """What an answer says in a word or two: a common class, or which outcome; None for a refusal."""
    if isinstance(answer, Refusal):
        return None
    label = answer.prediction.label
    if label is None:
        return view.KINDS[answer.prediction.outcome].title.lower()
    return TO_COMPOSITE3.get(label) or "others"


def agreement(answers: dict[str, Analysis | Refusal]) -> tuple[str, int, int]:
    """What most networks say, how many of them, and how many answered.

    Args:
        answers (`dict[str, Analysis | Refusal]`): Of `Engine.compare`.

    Returns:
        `tuple[str, int, int]`: Empty where two answers are equally frequent, or there is none.
    """
    votes = Counter(word for word in map(says, answers.values()) if word)
    ranked = votes.most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return "", ranked[0][1] if ranked else 0, votes.total()
    return *ranked[0], votes.total()


def columns(answers: dict[str, Analysis | Refusal]) -> str:
    """A line that says how far they agree, and a column per network.

    Args:
        answers (`dict[str, Analysis | Refusal]`): Of `Engine.compare`.

    Returns:
        `str`: HTML.
    """
    word, votes, total = agreement(answers)
    if word:
        line = f"{votes} of {total} say <strong>{html.escape(word)}</strong>"
    else:
        line = "They do not agree" if total else "None of them answered"
    each = "".join(_column(model, answer, word) for model, answer in answers.items())
    tone = "all" if word and votes == total else "some" if word else "none"
    return f'<p class="agreement {tone}" role="status">{line}.</p><div class="columns">{each}</div>'


def _column(model: str, answer: Analysis | Refusal, word: str) -> str:
    key = model.partition("-")[0]
    title = f"<h3>{html.escape(model)}</h3>"
    if isinstance(answer, Refusal):
        return f"<section>{title}{view.refused(str(answer))}</section>"
    architecture = registry.ARCHITECTURES[answer.architecture]
    said, prediction = says(answer), answer.prediction
    kind = view.KINDS[prediction.outcome]
    mark = (
        "<span class='mark'>agrees</span>"
        if said == word
        else "<span class='mark other'>differs</span>"
        if word
        else ""
    )
    scores = common_scores(prediction.scores)
    bars = (
        view.probabilities(scores, said)
        if prediction.outcome.endswith("expression")
        else f"<p>{kind.meaning}</p>"
    )
    return (
        f'<section class="{"agrees" if word and said == word else ""}">{title}<p class="looks">looks at '
        f"{html.escape(architecture.looks_at)}</p>"
        f'<div class="verdict {kind.name}"><header><span class="icon" aria-hidden="true">{kind.icon}</span>'
        f"<strong>{html.escape(said)}</strong>{mark}</header>{bars}</div>"
        f"{pictures.relevance(answer, f'relevance-{Path(key).name}')}</section>"
    )
