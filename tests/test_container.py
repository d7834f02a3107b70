"""The container: its file is sound, and what it does to a machine works in an empty environment.

No container is built here; the steps of the file are taken in their order in a copy of what it would hold.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).resolve().parents[1]


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and line[0] != "#"]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def all_of(name: str) -> list[str]:
    return [text for kind, text in instructions() if kind == name]


def test_it_runs_as_a_user_without_rights_and_says_whether_it_is_well():
    kinds = [kind for kind, _ in instructions()]
    assert kinds[0] == "FROM" and kinds[-1] == "CMD" and kinds.index("USER") > kinds.index("COPY")
    assert all_of("USER") != ["root"] and f"--uid 1000 {all_of('USER')[0]}" in " ".join(all_of("RUN"))
    assert all_of("EXPOSE") == ["7860"] and "127.0.0.1:7860" in all_of("HEALTHCHECK")[0]
    assert json.loads(all_of("CMD")[0]) == ["python", "space/app.py"]


def test_its_libraries_are_those_that_the_readme_names_and_its_python_is_tested():
    readme = re.search(r"apt-get install python3-venv make (.*)`", (ROOT / "README.md").read_text())[1]
    assert readme in all_of("RUN")[0]
    version = re.fullmatch(r"python:(3\.\d+)-slim", all_of("FROM")[0])[1]
    assert f'"Programming Language :: Python :: {version}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.slow
def test_its_steps_serve_the_page_and_it_answers(tmp_path, example_file):
    client = pytest.importorskip("gradio_client", reason="the page needs mer-hf[space]")
    ignored = [line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().split()]
    shutil.copytree(ROOT, tmp_path / "mer_hf", ignore=shutil.ignore_patterns(*ignored))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    path = f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}"
    (install,) = (text for text in all_of("RUN") if text.startswith("pip "))
    index = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]  # not reached everywhere
    words = [word for word in shlex.split(install) if word not in index]
    subprocess.run(words, cwd=tmp_path / "mer_hf", env=os.environ | {"PATH": path}, check=True)
    port = free_port()
    settings = dict(word.split("=") for word in shlex.split(all_of("ENV")[0]))
    settings |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "PATH": path}
    command = json.loads(all_of("CMD")[0])
    page = subprocess.Popen(command, cwd=tmp_path / "mer_hf", env=os.environ | settings)
    try:
        address = f"http://127.0.0.1:{port}"
        assert answers(address, 120) and page.poll() is None
        clip = client.handle_file(example_file("positive"))
        found = client.Client(address, verbose=False).predict(clip, "htnet-synthetic", api_name="/analyse")
        assert (found["outcome"], found["label"]) == ("micro_expression", "positive")
    finally:
        page.terminate()
        page.wait(30)


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


def answers(address: str, seconds: float) -> bool:
    for _ in range(int(seconds)):
        try:
            with urlopen(address, timeout=5) as page:
                return page.status == 200
        except OSError:
            time.sleep(1)
    return False
