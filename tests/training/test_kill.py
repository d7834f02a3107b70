"""Runs that are killed and resumed end in the same bits."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

TINY = ["--config", "hidden_size=12", "depths=[1,1,1]", "hidden_dropout_prob=0.1"]
RUN = [
    *TINY, "--num-samples", "48", "--validation-samples", "4", "--num-workers", "0", "--epochs", "3",
    "--batch-size", "8", "--gradient-accumulation-steps", "2", "--ema-decay", "0.9", "--save-steps", "2",
    "--log-every", "1", "--generator", "filmed=0",
]  # fmt: skip
"""Nine steps, with everything that has a state: dropout, average, schedule, accumulated gradients."""

PROTOCOL = [
    *TINY, "--protocol", "loso", "--epochs", "4", "--batch-size", "8", "--save-steps", "3", "--lr", "0.003",
    "--processor", "mosaic=corrected", "normalization=standardize", "--selection", "inner",
]  # fmt: skip


def killed_and_resumed(folder, result, moments, *flags):
    """Assert that a result has the same bits wherever the run was killed."""
    script = Path(__file__).with_name("kill.py")
    environment = {
        **os.environ,
        "PYTHONPATH": str(script.parents[2]),
        "TQDM_DISABLE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, script, folder, result, json.dumps(moments), *map(str, flags)],
        capture_output=True, text=True, timeout=900, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    hashes = json.loads(done.stdout.splitlines()[-1])
    assert len(hashes) == len(moments) + 1
    assert len(set(hashes.values())) == 1, hashes


def every(reached):
    return [[place, number] for place, last in reached.items() for number in range(1, last + 1)]


def by_chance(seed, count, *span):
    chance = random.Random(seed)
    return [round(chance.uniform(*span), 3) for _ in range(count)]


def test_a_run_killed_at_a_bad_moment_resumes_to_the_same_weights(tmp_path):
    moments = [["save", 4], ["replace", 5]]
    killed_and_resumed(tmp_path, "model.safetensors", moments, *RUN, "--cache-dir", tmp_path)


@pytest.mark.slow
def test_a_run_killed_anywhere_resumes_to_the_same_weights(tmp_path):
    """At every step of writing a state or the checkpoint, and at moments by chance."""
    moments = every(
        {"record": 1, "forward": 18, "save": 16, "flush": 5, "rename": 4, "sweep": 4, "replace": 8}
    )
    moments += by_chance(0, 8, 0.0, 1.0)
    killed_and_resumed(tmp_path, "model.safetensors", moments, *RUN, "--cache-dir", tmp_path)


@pytest.mark.slow
def test_a_run_on_fresh_samples_killed_by_chance_resumes_to_the_same_weights(tmp_path):
    moments = [["forward", 11], *by_chance(1, 5, 0.5, 3.0)]
    killed_and_resumed(tmp_path, "model.safetensors", moments, *RUN, "--fresh-samples")


@pytest.mark.slow
def test_a_protocol_killed_anywhere_ends_in_the_same_log(tmp_path, maps_file):
    reached = {"record": 4, "forward": 3, "save": 8, "rename": 6, "replace": 12, "claim": 6, "predictions": 7,
               "baselines": 1, "report": 1}  # fmt: skip
    moments = every(reached) + by_chance(0, 8, 0.2, 4.0)
    killed_and_resumed(tmp_path, "predictions.csv", moments, *PROTOCOL, "--data", f"flows:{maps_file}")
