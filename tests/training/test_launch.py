import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mer_hf.utils.provenance import sha256_of

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]
FLAGS = [
    "--num-samples", "64", "--validation-samples", "5", "--num-workers", "1", "--epochs", "6",
    "--batch-size", "8", "--ema-decay", "0.9", "--save-steps", "2",
    "--config", "hidden_size=12", "depths=[1,1,1]", "hidden_dropout_prob=0.1",
]  # fmt: skip


def start(tmp_path, name, *flags, launcher=()):
    command = [sys.executable, *launcher, "train.py", "--output-dir", tmp_path / name, *FLAGS, *flags]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


def finished(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


@pytest.mark.slow
def test_accelerate_launches_one_process(tmp_path):
    launch = ["-m", "accelerate.commands.accelerate_cli", "launch"]
    out, err = finished(start(tmp_path, "run", "--model", "htnet", "--data", "synthetic", launcher=launch))
    assert "1 process(es) on cpu, 48 steps of 8 samples" in out
    assert "48/48" in err  # the progress bar


@pytest.mark.slow
def test_a_mistake_ends_with_code_2_and_one_line(tmp_path):
    process = start(tmp_path, "run", "--config", "depth=3")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 2 and not out
    assert (
        err.startswith("train.py: error: --config depth: HTNetConfig has no such field")
        and err.count("\n") == 1
    )


@pytest.mark.slow
def test_torchrun_trains_with_two_processes_that_resume_to_the_same_weights(tmp_path):
    out, _ = finished(start(tmp_path, "whole", launcher=TORCHRUN))
    # Two processes see 8 samples each; together they score all of the held-out ones.
    assert "2 process(es) on cpu, 24 steps of 16 samples" in out
    assert json.loads((tmp_path / "whole" / "train_config.json").read_text())["num_processes"] == 2
    last = json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["validation"]["samples"] == 5

    process = start(tmp_path, "killed", launcher=TORCHRUN)
    states = tmp_path / "killed" / "checkpoints"
    while not list(states.glob("step-*")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    for worker in psutil.Process(process.pid).children(recursive=True):
        worker.kill()
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    alone = start(tmp_path, "killed", "--resume")
    assert "has 2 process(es), this one 1" in alone.communicate(timeout=100)[1]
    out, _ = finished(start(tmp_path, "killed", "--resume", launcher=TORCHRUN))
    assert "from step" in out
    assert sha256_of(tmp_path / "killed" / "model.safetensors") == sha256_of(
        tmp_path / "whole" / "model.safetensors"
    )
