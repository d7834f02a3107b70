"""The page, put together."""

import gradio as gr

from . import analyse, examples

HEADER = """<h1>Micro-expression recognition</h1>
<p>Upload a short clip of one face. The page finds the moment of the strongest brief motion, shows it, and
lets a network name it. Everything runs on this machine.</p>"""


def build_demo() -> gr.Blocks:
    """The page, ready for `launch(**LAUNCH)`."""
    with gr.Blocks(title="Micro-expression recognition", fill_width=True) as demo:
        gr.HTML(HEADER, elem_id="header", padding=False)
        analyse.build(examples.bundled_models(), examples.example_paths())
    return demo
