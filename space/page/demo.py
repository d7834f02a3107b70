"""The page, put together."""

from pathlib import Path

import gradio as gr
from gradio_client.utils import is_file_obj_with_meta, traverse

from . import analyse, api, compare, examples, explain, live, long_video
from .engine import Engine, Refusal
from .files import DELETE_CACHE
from .uploads import check_uploaded
from .visitors import MOST_WAITING, SharedQueue

TITLE = "Micro-expression recognition"
HEADER = f"""<h1>{TITLE}</h1>
<p>The strongest brief motion of a face, shown and named. For research: often wrong, never a lie
detector.</p>"""


WRONG_INPUT = (
    "The inputs of this call are not what the page takes. Give a clip as an uploaded file (handle_file of "
    "gradio_client), the network as text and the frames as whole numbers."
)


class Page(gr.Blocks):
    """Blocks that give a program the reason why its inputs are refused, and each visitor a share."""

    def queue(self, **settings):
        """Set the queue up: nobody gets past it, and it is a [`SharedQueue`]."""
        super().queue(**{"api_open": False, "max_size": MOST_WAITING, **settings})
        self._queue.__class__ = SharedQueue
        return self

    async def preprocess_data(self, block_fn, inputs, *args, **kwargs):
        """Check and convert the inputs of an event."""
        try:
            traverse(inputs, check_uploaded, is_file_obj_with_meta)
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise Refusal(WRONG_INPUT) from error


def build_demo(
    engine: Engine | None = None, models: list[str] | None = None, paths: dict[str, Path] | None = None
) -> gr.Blocks:
    """Return the page, ready for `launch(**LAUNCH)`.

    Args:
        engine ([`Engine`], *optional*): Answers; by default a new one.
        models (`list[str]`, *optional*): Checkpoints to choose from, by default the bundled ones.
        paths (`dict[str, Path]`, *optional*): Name -> example clip, by default the generated ones.

    Returns:
        `gr.Blocks`
    """
    engine, models = engine or Engine(), models or examples.bundled_models()
    paths = paths or examples.example_paths()
    with Page(title=TITLE, fill_width=True, delete_cache=DELETE_CACHE) as demo:
        gr.HTML(HEADER, elem_id="header", padding=False)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Analyse", id="analyse"):
                analyse_tab = analyse.build(engine, models, paths)
            with gr.Tab("Compare", id="compare"):
                compare.build(engine, models, analyse_tab)
            with gr.Tab("Long video", id="long-video"):
                long_video.build(models, analyse_tab, tabs)
            with gr.Tab("Live", id="live"):
                live.build(models)
            with gr.Tab("About", id="about"):
                gr.Markdown(explain.text(models), elem_id="explain")
        api.build(engine, models)
    return demo
