"""`train.py` as users launch it: one process, two, killed and resumed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from mer_hf.evaluation.fold_log import read_log
from mer_hf.training.config import parse_args
from mer_hf.training.folds import run_protocol
from mer_hf.utils.provenance import sha256_of

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]
SYNTHETIC = [
    "--num-samples", "64", "--validation-samples", "5", "--num-workers", "1", "--epochs", "6",
    "--batch-size", "8", "--ema-decay", "0.9", "--save-steps", "2", "--generator", "filmed=0",
    "--config", "hidden_size=12", "depths=[1,1,1]", "hidden_dropout_prob=0.1",
]  # fmt: skip
FOLDS = [
    "--protocol", "loso", "--epochs", "4", "--batch-size", "8", "--save-steps", "3", "--lr", "0.003",
    "--config", "hidden_size=12", "depths=[1,1,1]",
    "--processor", "mosaic=corrected", "normalization=standardize",
]  # fmt: skip


def start(folder, *flags, launcher=(), script="train.py"):
    command = [sys.executable, *launcher, script, "--output-dir", folder, *flags]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


def finished(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def kill_once(process, folder, pattern):
    """Kill a launch and its processes as soon as a file is there."""
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    for worker in psutil.Process(process.pid).children(recursive=True):
        worker.kill()
    process.kill()
    process.communicate()


def test_two_processes_share_the_folds_and_end_in_the_log_of_one(tmp_path, maps_file):
    data = ["--data", f"flows:{maps_file}", *FOLDS, "--baselines", "no"]
    script = "tests/training/meet.py"  # else the first may be done with every fold before the second starts
    out, _ = finished(start(tmp_path / "two", *data, script=script))
    assert "2 process(es), --parallel folds" in out
    workers = {path.read_text() for path in (tmp_path / "two" / "queue").glob("done-*")}
    assert len(workers) == 2
    run_protocol(parse_args(["--output-dir", str(tmp_path / "one"), *data]))
    log = sha256_of(tmp_path / "one" / "predictions.csv")
    assert sha256_of(tmp_path / "two" / "predictions.csv") == log


@pytest.mark.slow
def test_two_processes_that_were_killed_are_resumed_by_one(tmp_path, maps_file):
    data = ["--data", f"flows:{maps_file}", *FOLDS]
    finished(start(tmp_path / "one", *data))
    process = start(tmp_path / "killed", *data, launcher=TORCHRUN)
    kill_once(process, tmp_path / "killed" / "queue", "done-*")
    assert not (tmp_path / "killed" / "predictions.csv").exists()
    finished(start(tmp_path / "killed", *data, "--resume"))
    log = sha256_of(tmp_path / "one" / "predictions.csv")
    assert sha256_of(tmp_path / "killed" / "predictions.csv") == log


@pytest.mark.slow
def test_accelerate_launches_one_process(tmp_path):
    launch = ["-m", "accelerate.commands.accelerate_cli", "launch"]
    run = start(tmp_path / "run", "--model", "htnet", "--data", "synthetic", *SYNTHETIC, launcher=launch)
    out, err = finished(run)
    assert "1 process(es) on cpu, 48 steps of 8 samples" in out
    assert "48/48" in err  # the progress bar


@pytest.mark.slow
def test_a_mistake_ends_with_code_2_and_one_line(tmp_path):
    process = start(tmp_path / "run", *SYNTHETIC, "--config", "depth=3")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 2 and not out
    assert err.startswith("train.py: error: --config depth: HTNetConfig has no such field")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_torchrun_trains_with_two_processes_that_resume_to_the_same_weights(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    out, _ = finished(start(whole, *SYNTHETIC, launcher=TORCHRUN))
    # Two processes see 8 samples each; together they score all of the held-out ones.
    assert "2 process(es) on cpu, 24 steps of 16 samples" in out
    assert json.loads((whole / "train_config.json").read_text())["num_processes"] == 2
    last = json.loads((whole / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["validation"]["samples"] == 5

    kill_once(start(killed, *SYNTHETIC, launcher=TORCHRUN), killed, "checkpoints/step-*")
    assert not (killed / "model.safetensors").exists()
    alone = start(killed, *SYNTHETIC, "--resume")
    assert "has 2 process(es), this one 1" in alone.communicate(timeout=100)[1]
    out, _ = finished(start(killed, *SYNTHETIC, "--resume", launcher=TORCHRUN))
    assert "from step" in out
    assert sha256_of(killed / "model.safetensors") == sha256_of(whole / "model.safetensors")


@pytest.mark.slow
def test_a_batch_run_continues_with_another_number_of_processes_and_bounded_differences(tmp_path, maps_file):
    flags = ["--data", f"flows:{maps_file}", *FOLDS, "--parallel", "batch"]
    out, _ = finished(start(tmp_path / "two", *flags, launcher=TORCHRUN))
    assert "2 process(es), --parallel batch" in out
    record = json.loads((tmp_path / "two" / "folds" / "seed0-a-s0" / "train_config.json").read_text())
    assert record["num_processes"] == 2

    process = start(tmp_path / "killed", *flags, launcher=TORCHRUN)
    kill_once(process, tmp_path / "killed" / "folds", "seed0-a-s1/checkpoints/step-*")
    out, _ = finished(start(tmp_path / "killed", *flags, "--resume"))
    assert "was started with 2 process(es) and continues with 1" in out and "bits may differ" in out
    whole, resumed = (read_log(tmp_path / name / "predictions.csv") for name in ("two", "killed"))
    began = whole.folds <= "a-s1"
    # The same batches without dropout: sums in another order are all that differs.
    assert np.abs(whole.probabilities - resumed.probabilities)[began].max() < 1e-3
