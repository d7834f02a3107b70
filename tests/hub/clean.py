"""Commands in a process of its own: huggingface_hub reads HF_* once, when it is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

# Runs each command with files as its stdout and stderr, as a shell would, and tells code, output, and the
# seconds that it chose to wait, as the client does between retries.
RUN = """
import json, os, sys, time
from mer_hf.cli import main
told, waits, sleep = [], [], time.sleep
time.sleep = lambda seconds: waits.append(seconds) or sleep(seconds)
for command in json.loads(sys.argv[1]):
    names = ("out.txt", "err.txt")
    for descriptor, name in zip((1, 2), names):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    waits.clear()
    code = main(command)
    sys.stdout.flush(), sys.stderr.flush()
    told.append([code, *(open(name).read() for name in names), sum(waits)])
json.dump(told, open("told.json", "w"))
"""


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str
    waited_s: float


def environment(url: str, home: Path, **more: str) -> dict[str, str]:
    """Of a process that knows the test's Hub and nothing of the user's cache, token or settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    hub = {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return kept | hub | more


def run_clean(folder: Path, url: str, *commands: list[str], **more: str) -> list[Done]:
    """Runs commands of `mer-hf` one after another in a clean process.

    Args:
        folder (`Path`): Where it runs; its `home` is HF_HOME.
        url (`str`): Of the Hub.
        *commands (`list[str]`): Arguments of each.
        **more (`str`): More of the environment.

    Returns:
        `list[Done]`: One for each.
    """
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        cwd=folder, env=environment(url, folder / "home", **more), capture_output=True, text=True,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:] + (folder / "err.txt").read_text()[-2000:]
    return [Done(*each) for each in json.loads((folder / "told.json").read_text())]
