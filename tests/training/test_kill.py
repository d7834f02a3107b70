import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

FLAGS = [
    "--num-samples", "48", "--validation-samples", "4", "--num-workers", "0", "--epochs", "3",
    "--batch-size", "8", "--gradient-accumulation-steps", "2", "--ema-decay", "0.9", "--save-steps", "2",
    "--config", "hidden_size=12", "depths=[1,1,1]", "hidden_dropout_prob=0.1", "--log-every", "1",
]  # fmt: skip
"""Nine steps, with everything that has a state: dropout, average, schedule, accumulated gradients."""


def killed_and_resumed(tmp_path, moments, *flags):
    script = Path(__file__).with_name("kill.py")
    command = [sys.executable, script, tmp_path, json.dumps(moments), *FLAGS, "--cache-dir", tmp_path, *flags]
    environment = {**os.environ, "PYTHONPATH": str(script.parents[2]), "TQDM_DISABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr
    weights = json.loads(done.stdout)
    assert len(weights) == len(moments) + 1
    return weights


def test_a_run_killed_at_a_bad_moment_resumes_to_the_same_weights(tmp_path):
    moments = [["record", 1], ["forward", 11], ["save", 2], ["replace", 5]]
    weights = killed_and_resumed(tmp_path, moments)
    assert len(set(weights.values())) == 1, weights


@pytest.mark.slow
def test_a_run_killed_anywhere_resumes_to_the_same_weights(tmp_path):
    """At every step of writing a state or the checkpoint, and at moments by chance."""
    reached = {"forward": 18, "save": 16, "flush": 5, "rename": 4, "sweep": 4, "replace": 8}
    moments = [[place, number] for place, last in reached.items() for number in range(1, last + 1)]
    chance = random.Random(0)
    moments += [round(chance.uniform(0.0, 1.0), 3) for _ in range(8)]
    weights = killed_and_resumed(tmp_path, moments)
    assert len(set(weights.values())) == 1, weights


@pytest.mark.slow
def test_a_run_on_fresh_samples_killed_by_chance_resumes_to_the_same_weights(tmp_path):
    chance = random.Random(1)
    moments = [["forward", 11], *(round(chance.uniform(0.5, 3.0), 3) for _ in range(5))]
    weights = killed_and_resumed(tmp_path, moments, "--fresh-samples")
    assert len(set(weights.values())) == 1, weights
