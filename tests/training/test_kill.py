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
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(script.parents[2])},
    )
    assert done.returncode == 0, done.stderr
    weights = json.loads(done.stdout)
    assert len(weights) == len(moments) + 1
    return weights


def test_a_run_killed_at_a_bad_moment_resumes_to_the_same_weights(tmp_path):
    moments = [["record", 1], ["forward", 11], ["save", 2], ["replace", 5]]
    weights = killed_and_resumed(tmp_path, moments)
    assert len(set(weights.values())) == 1, weights


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_killed_at_any_moment_resumes_to_the_same_weights(tmp_path, fresh):
    """Every call of every place a state or the checkpoint passes through, and moments by chance."""
    moments = [["flush", times] for times in range(1, 6)] + [["save", times] for times in range(1, 22, 3)]
    moments += [["replace", times] for times in range(1, 12)] + [["sweep", times] for times in range(1, 5)]
    moments += [round(random.Random(fresh).uniform(0.0, 1.5), 3) for _ in range(12)]
    weights = killed_and_resumed(tmp_path, moments, *(["--fresh-samples"] if fresh else []))
    assert len(set(weights.values())) == 1, weights
