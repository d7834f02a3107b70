"""The demo: a clip of a face in, the answer and its reasons out.

    python space/app.py

serves it on http://127.0.0.1:7860 (`PORT` or `GRADIO_SERVER_PORT` choose another port, `--device cuda` where
the networks run). It imports `mer_hf` and keeps no copy of its code; what it shows is in `page/`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# For one small network a second thread costs more in waiting than it saves, above all on a shared machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gradio as gr
from page.demo import build_demo
from page.engine import Engine
from page.uploads import LONG_VIDEO

LAUNCH = {
    "theme": gr.themes.Soft(
        primary_hue="blue",
        font=["system-ui", "sans-serif"],  # a web font would be fetched from elsewhere
        font_mono=["ui-monospace", "monospace"],
        spacing_size="sm",
        text_size="sm",
    ),
    "css_paths": [Path(__file__).parent / "page" / "style.css"],
    "max_file_size": LONG_VIDEO.size_bytes,
    "show_error": False,  # of Gradio's own errors, which name folders of the server; gr.Error is shown
}
"""What `launch` is given, here and in the test."""


def main() -> None:
    """Serves the page."""
    parser = argparse.ArgumentParser(description="Serves the page.")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    device = parser.parse_args().device
    port = os.environ.get("PORT") or os.environ.get("GRADIO_SERVER_PORT")
    build_demo(Engine(device)).queue(max_size=16).launch(server_port=int(port) if port else None, **LAUNCH)


if __name__ == "__main__":
    main()
