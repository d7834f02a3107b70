"""Train, kill (SIGKILL) and resume: for each moment in turn, in processes of their own.

    python tests/training/kill.py FOLDER model.safetensors '[["save", 2], 0.3]' FLAGS...

A moment is a place in the code and how often it has been reached, or seconds after the start. Prints a JSON
object: moment -> SHA-256 of the named file after the resumed run; "" is the run that was never killed.
"""

# ruff: noqa: E402

import importlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

# Networks and training are imported without the packages of video, faces, data sets and page, as if these
# were not installed.
ABSENT = ["av", "mediapipe", "datasets", "gradio"]
sys.modules |= dict.fromkeys(ABSENT)
for name in ("registry", "synthetic", "training", "evaluation"):
    importlib.import_module(f"mer_hf.{name}")
for name in ABSENT:
    del sys.modules[name]

from mer_hf.training import folds, loop, run_folder
from mer_hf.training.cli import main
from mer_hf.utils import work_queue
from mer_hf.utils.provenance import sha256_of

PLACES = {
    "record": (run_folder, "write_text"),  # the folder is there, the record of the run is not
    "forward": (loop.Trainer, "_backward"),  # in the middle of an optimizer step
    "save": (torch, "save"),  # some files of a state are there, others are not
    "flush": (run_folder, "_flush"),  # a state, or the checkpoint, is complete and has no name
    "rename": (Path, "rename"),
    "sweep": (shutil, "rmtree"),  # two states
    "replace": (Path, "replace"),  # some files of the checkpoint are in place
    "predictions": (folds, "write_rows"),  # a fold is trained, its predictions are not there
    "claim": (work_queue.WorkQueue, "_claimed"),
    "baselines": (folds, "baseline_rows"),  # all folds are done, the report is not
    "report": (folds, "write_report"),
}


def kill_at(place: str, times: int) -> None:
    """Have this process killed when it reaches a place for the n-th time."""
    owner, name = PLACES[place]
    original, count = getattr(owner, name), [0]

    def counted(*args, **kwargs):
        count[0] += 1
        if count[0] == times:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def start(flags: list[str], moment=None) -> int:
    """Train in a process of its own, and return its number."""
    child = os.fork()
    if child:
        return child
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    if isinstance(moment, list):
        kill_at(*moment)
    os._exit(main(flags))


def outcome(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def hash_after(result: str, flags: list[str], folder: Path, moment) -> str:
    """Return the SHA-256 of a result of a run that was killed at a moment, and resumed."""
    flags = ["--output-dir", str(folder), *flags]
    child = start(flags, moment)
    if isinstance(moment, float):
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    code = outcome(child)
    if moment is not None:
        assert code == -signal.SIGKILL or isinstance(moment, float), f"{moment} was never reached: {code}"
        code = outcome(start([*flags, "--resume"]))
    assert code == 0, f"{moment}: exit code {code}"
    left = {path.name for path in folder.iterdir()}
    assert left == {path.name for path in (folder.parent / "whole").iterdir()}, f"{moment}: {left}"
    return sha256_of(folder / result)


if __name__ == "__main__":
    top, file, moments, training = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), sys.argv[4:]
    hashes = {"": hash_after(file, training, top / "whole", None)}
    for number, moment in enumerate(moments):
        hashes[str(moment)] = hash_after(file, training, top / str(number), moment)
    print(json.dumps(hashes))
