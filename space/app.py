"""The demo: a clip of a face goes in, the answer and its reasons come out.

    python space/app.py

serves it on http://127.0.0.1:7860 (`PORT` or `GRADIO_SERVER_PORT` choose another port, `--device` where the
networks run). It imports `mer_hf` and keeps no copy of its code; what it shows is in `page/`.
"""

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# For one small network a second thread costs more in waiting than it saves, above all on a shared machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gradio as gr
from page.demo import build_demo
from page.door import Door
from page.engine import Engine
from page.examples import example_paths
from page.files import open_folder
from page.networks import DEVICES
from page.uploads import LONG_VIDEO
from page.visitors import MOST_AT_WORK
from starlette.middleware import Middleware

from mer_hf.visualization.report import TEMPLATES

LAUNCH = {
    "theme": gr.themes.Soft(
        primary_hue="blue",
        font=["system-ui", "sans-serif"],  # a web font would be fetched from elsewhere
        font_mono=["ui-monospace", "monospace"],
        spacing_size="sm",
        text_size="sm",
    ),
    "css_paths": [Path(__file__).parent / "page" / "style.css", TEMPLATES / "coding.css"],
    "max_file_size": LONG_VIDEO.size_bytes,
    "max_threads": MOST_AT_WORK,
    "enable_monitoring": False,  # it shows everybody's requests to everybody
    "app_kwargs": {"middleware": [Middleware(Door)]},
    "show_error": False,  # of Gradio's own errors, which name folders of the server; gr.Error is shown
}
"""Arguments of `launch`, here and in the test."""

PROXIES = "127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
"""Who is believed on a Space when it tells whose request it passes on: the machines before the page."""


def give_memory_back() -> None:
    """Let glibc return what is freed to the system: each of many threads would keep some of it otherwise."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-8, 2)  # M_ARENA_MAX
        libc.mallopt(-3, 1_000_000)  # M_MMAP_THRESHOLD, in bytes


def main(argv: list[str] | None = None) -> None:
    """Serve the page."""
    parser = argparse.ArgumentParser(description="Serve the page.")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="where the networks run")
    args = parser.parse_args(argv)
    if "SPACE_ID" in os.environ:
        os.environ.setdefault("FORWARDED_ALLOW_IPS", PROXIES)
    give_memory_back()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the files of visitors go then too
    with open_folder():
        try:
            engine = Engine(args.device)
        except ValueError as error:
            parser.error(str(error))
        paths = example_paths()
        engine.warm_up(next(iter(paths.values())))
        port = os.environ.get("PORT")  # Gradio reads GRADIO_SERVER_PORT itself
        build_demo(engine, paths=paths).launch(server_port=int(port) if port else None, **LAUNCH)


if __name__ == "__main__":
    main()
