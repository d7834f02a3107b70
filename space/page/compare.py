"""The tab of one clip and four networks: what each says, side by side, in the same classes."""

from collections import Counter

import gradio as gr

from mer_hf import registry
from mer_hf.labels import TO_COMPOSITE3
from mer_hf.visualization.report import TITLES, describe_motion

from . import view
from .analyse import Tab
from .engine import Analysis, Engine, Refusal
from .visitors import NETWORK

ABOUT = """Each network sees the same clip in its own way. Agreement proves nothing: all four were trained
on the same kind of synthetic motion, so they can be wrong together."""
NOTHING_YET = '<p class="idle">Four answers to one clip will stand here, side by side.</p>'


def build(engine: Engine, models: list[str], analyse_tab: Tab) -> None:
    """Lay the tab out and connect it; the clip of Analyse can be taken over."""
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
            return columns(engine.compare(path, models, progress=progress))
        except Refusal as refusal:
            return view.refused(str(refusal))

    gr.on([button.click, clip.upload], run, clip, answers, api_visibility="private", **NETWORK)
    taken = take.click(lambda path: path, analyse_tab.clip, clip, api_visibility="private")
    taken.success(run, clip, answers, api_visibility="private", **NETWORK)
    clip.clear(lambda: NOTHING_YET, outputs=answers, api_visibility="private")


def common_scores(scores: dict[str, float]) -> dict[str, float]:
    """Return probabilities in the classes that all networks share, and `others` for classes without one."""
    common = dict.fromkeys(("negative", "positive", "surprise"), 0.0)
    for name, share in scores.items():
        common_name = TO_COMPOSITE3.get(name) or "others"
        common[common_name] = common.get(common_name, 0.0) + share
    return common


def says(answer: Analysis | Refusal) -> str | None:
    """Return what an answer says in a word or two: a common class, or which outcome; None for a refusal."""
    if isinstance(answer, Refusal):
        return None
    label = answer.prediction.label
    if label is None:
        return view.KINDS[answer.prediction.outcome].title.lower()
    return TO_COMPOSITE3.get(label) or "others"


def agreement(answers: dict[str, Analysis | Refusal]) -> tuple[str, int, int]:
    """Return what most networks say (empty for a tie), how many of them, and how many answered."""
    votes = Counter(word for word in map(says, answers.values()) if word)
    ranked = votes.most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return "", ranked[0][1] if ranked else 0, votes.total()
    return *ranked[0], votes.total()


def columns(answers: dict[str, Analysis | Refusal]) -> str:
    """Draw a line that says how far the networks agree, and a column for each."""
    word, votes, total = agreement(answers)
    return view.render(
        "compare.html",
        word=word,
        votes=votes,
        total=total,
        tone="all" if word and votes == total else "some" if word else "none",
        columns=[_column(model, answer, word) for model, answer in answers.items()],
    )


def _column(model: str, answer: Analysis | Refusal, word: str) -> dict:
    if isinstance(answer, Refusal):
        return {"model": model, "agrees": False, "refusal": view.refused(str(answer))}
    prediction, answer_word = answer.prediction, says(answer)
    motion = describe_motion(prediction)
    return {
        "model": model,
        "refusal": "",
        "agrees": bool(word) and answer_word == word,
        "says": answer_word,
        "kind": view.KINDS[prediction.outcome],
        "over": ", ".join([TITLES[prediction.outcome], *motion[:1]]) if prediction.label else "",
        "looks_at": registry.ARCHITECTURES[answer.architecture].looks_at,
        "scores": common_scores(prediction.scores) if prediction.classified else {},
        "relevance": view.relevance(prediction, f"relevance-{answer.architecture}"),
    }
