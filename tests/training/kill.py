"""Trains, is killed (SIGKILL), resumes: for each moment in turn, in processes of their own.

    python tests/training/kill.py FOLDER '[["save", 2], 0.3]' FLAGS...

A moment is a place in the code and the how-manieth time it is reached, or seconds after the start. Prints a
JSON object: moment -> SHA-256 of the weights that the resumed run ended in; "" is the run never killed.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from mer_hf.training import loop, run_folder
from mer_hf.training.cli import main
from mer_hf.utils.provenance import sha256_of

PLACES = {
    "record": (run_folder, "write_text"),  # the folder is there, the record of the run is not
    "forward": (loop.Trainer, "_backward"),  # in the middle of an optimizer step
    "save": (torch, "save"),  # some files of a state are there, others are not
    "flush": (run_folder, "_flush"),  # a state, or the checkpoint, is complete and has no name
    "rename": (Path, "rename"),
    "sweep": (shutil, "rmtree"),  # two states
    "replace": (Path, "replace"),  # some files of the checkpoint are in place
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
    """Train in a process of its own, and give its number back."""
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


def weights_after(flags: list[str], folder: Path, moment) -> str:
    """SHA-256 of the weights of a run that was killed at a moment, and resumed."""
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
    return sha256_of(folder / "model.safetensors")


if __name__ == "__main__":
    top, moments, given = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    found = {"": weights_after(given, top / "whole", None)}
    for number, each in enumerate(moments):
        found[str(each)] = weights_after(given, top / str(number), each)
    print(json.dumps(found))
