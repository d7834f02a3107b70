"""Time calls in turns, and fresh processes; and run a benchmark with other settings from the command line."""

import argparse
import inspect
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

TURNS = 30
"""The most turns of one comparison."""


class Child(NamedTuple):
    """A finished process: wall and processor seconds, and what it printed."""

    wall_s: float
    cpu_s: float
    output: str
    errors: str


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def in_turns(calls: Mapping[str, Callable[[], object]], within_s: float, least: int = 3) -> dict[str, float]:
    """Return the median seconds of each call; all are called once before, then in turns for `within_s`."""
    once_s = sum(seconds(call) for call in calls.values())
    count = int(min(TURNS, max(least, within_s / once_s)))
    turns = [{name: seconds(call) for name, call in calls.items()} for _ in range(count)]
    return {name: statistics.median(turn[name] for turn in turns) for name in calls}


def fresh(*arguments: str) -> Child:
    """Run Python in a fresh process, from the folder above this one; raise a RuntimeError if it fails."""
    root, started, before = Path(__file__).resolve().parents[1], time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=root)
    wall_s, after = time.perf_counter() - started, os.times()
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:80]} failed: {done.stderr.strip()[-300:]}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Child(wall_s, cpu_s, done.stdout, done.stderr)


def rounded(values: Mapping[str, object]) -> dict:
    """Return the values with four digits each."""
    return {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in values.items()}


def script(run: Callable[..., dict]) -> None:
    """Call a benchmark's `run` with its parameters as flags, and print its numbers; nothing is kept."""
    parser = argparse.ArgumentParser(description=sys.modules[run.__module__].__doc__.splitlines()[0])
    for name, parameter in inspect.signature(run).parameters.items():
        default, flag = parameter.default, f"--{name.replace('_', '-')}"
        if default is False:
            parser.add_argument(flag, action="store_true")
        else:
            options = {"type": type(default)}
            if isinstance(default, tuple):
                options = {"type": type(default[0]), "nargs": "+"}
            parser.add_argument(flag, default=default, help="default: %(default)s", **options)
    for name, value in run(**vars(parser.parse_args())).items():
        print(f"{name:<56}{value}")
