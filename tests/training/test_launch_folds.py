"""Protocols in processes of their own: killed, resumed, shared out among several."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from mer_hf.evaluation.fold_log import read_log
from mer_hf.utils.provenance import sha256_of

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]
FLAGS = [
    "--protocol", "loso", "--epochs", "4", "--batch-size", "8", "--save-steps", "3", "--lr", "0.003",
    "--config", "hidden_size=12", "depths=[1,1,1]",
    "--processor", "mosaic=corrected", "normalization=standardize",
]  # fmt: skip


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def start(folder, maps_file, *flags, launcher=()):
    command = [sys.executable, *launcher, "train.py", "--output-dir", folder, "--data", f"flows:{maps_file}"]
    return subprocess.Popen(
        [*command, *FLAGS, *flags], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=environment(),
    )  # fmt: skip


def finished(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def logs_after(tmp_path, maps_file, moments):
    script = Path(__file__).with_name("kill_protocol.py")
    command = [sys.executable, script, tmp_path, json.dumps(moments), "--data", f"flows:{maps_file}", *FLAGS]
    done = subprocess.run(
        [*command, "--selection", "inner"], capture_output=True, text=True, timeout=900,
        env=environment() | {"TQDM_DISABLE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(moments) + 1
    return found


def test_a_protocol_killed_at_a_bad_moment_ends_in_the_same_log(tmp_path, maps_file):
    moments = [["forward", 9], ["predictions", 2]]
    found = logs_after(tmp_path, maps_file, moments)
    assert len(set(found.values())) == 1, found


@pytest.mark.slow
def test_a_protocol_killed_anywhere_ends_in_the_same_log(tmp_path, maps_file):
    reached = {
        "record": 4, "save": 8, "rename": 6, "replace": 12, "claim": 6, "predictions": 7, "baselines": 1,
        "report": 1,
    }  # fmt: skip
    moments = [[place, number] for place, last in reached.items() for number in range(1, last + 1)]
    chance = random.Random(0)
    moments += [round(chance.uniform(0.2, 4.0), 3) for _ in range(8)]
    found = logs_after(tmp_path, maps_file, moments)
    assert len(set(found.values())) == 1, found


@pytest.mark.slow
def test_two_processes_share_the_folds_and_any_number_ends_in_the_same_log(tmp_path, maps_file):
    finished(start(tmp_path / "one", maps_file))
    out = finished(start(tmp_path / "two", maps_file, launcher=TORCHRUN))
    assert "2 process(es), --parallel folds" in out
    workers = {path.read_text() for path in (tmp_path / "two" / "queue").glob("done-*")}
    assert len(workers) == 2
    expected = sha256_of(tmp_path / "one" / "predictions.csv")
    assert sha256_of(tmp_path / "two" / "predictions.csv") == expected

    process = start(tmp_path / "killed", maps_file, launcher=TORCHRUN)
    while not list((tmp_path / "killed" / "queue").glob("done-*")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    for worker in psutil.Process(process.pid).children(recursive=True):
        worker.kill()
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed" / "predictions.csv").exists()
    finished(start(tmp_path / "killed", maps_file, "--resume"))
    assert sha256_of(tmp_path / "killed" / "predictions.csv") == expected


@pytest.mark.slow
def test_a_batch_run_goes_on_with_another_number_of_processes_and_bounded_differences(tmp_path, maps_file):
    batch = ("--parallel", "batch")
    out = finished(start(tmp_path / "two", maps_file, *batch, launcher=TORCHRUN))
    assert "2 process(es), --parallel batch" in out
    record = json.loads((tmp_path / "two" / "folds" / "seed0-a-s0" / "train_config.json").read_text())
    assert record["num_processes"] == 2

    process = start(tmp_path / "killed", maps_file, *batch, launcher=TORCHRUN)
    states = tmp_path / "killed" / "folds"
    while not list(states.glob("seed0-a-s1/checkpoints/step-*")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    for worker in psutil.Process(process.pid).children(recursive=True):
        worker.kill()
    process.kill()
    process.communicate()
    out = finished(start(tmp_path / "killed", maps_file, *batch, "--resume"))
    assert "was started with 2 process(es) and goes on with 1" in out and "bits may differ" in out
    whole, resumed = (read_log(tmp_path / name / "predictions.csv") for name in ("two", "killed"))
    began = whole.folds <= "a-s1"
    # The same batches without dropout: sums in another order are all that differs.
    assert np.abs(whole.probabilities - resumed.probabilities)[began].max() < 1e-3
