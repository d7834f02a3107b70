"""Whole or not at all, on a disk that takes no more."""

import json
import os
import resource
import signal
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mer_hf.training import cli
from mer_hf.utils.files import append_line, replacing, write_text


@pytest.fixture
def full_after():
    """Lets no file of this process grow beyond some bytes: what a full disk does, with EFBIG for ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def wrapped(path):
    try:
        path.write_text("new" * 10_000)
    except OSError as error:  # as datasets does
        raise RuntimeError("an error occurred") from error


WAYS = {
    "wrapped": wrapped,
    "text": lambda path: path.write_text("new" * 10_000),
    "numpy": lambda path: np.savez(path.with_suffix(".npz"), np.zeros(10_000)),
    "safetensors": lambda path: save_file({"a": torch.zeros(10_000)}, path),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_leaves_the_old_file_and_names_it(way, tmp_path, full_after):
    path = tmp_path / "result.bin"
    write_text(path, "old")
    full_after(1000)
    with pytest.raises(OSError) as caught, replacing(path) as temporary:
        WAYS[way](temporary)
    full_after(resource.RLIM_INFINITY)
    assert caught.value.filename == str(path) and "File too large" in str(caught.value)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["result.bin"]


def test_a_line_is_appended_whole_or_not_at_all(tmp_path, full_after):
    path = tmp_path / "log.jsonl"
    append_line(path, "first")
    full_after(20)
    with pytest.raises(OSError, match=r"log\.jsonl"):
        append_line(path, "a line that does not fit")
    assert path.read_text() == "first\n"
    full_after(resource.RLIM_INFINITY)
    append_line(path, "second")
    assert path.read_text() == "first\nsecond\n"


def test_a_line_does_not_join_one_that_was_cut_off(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n{"a"')
    append_line(path, '{"a": 2}')
    assert path.read_text() == '{"a": 1}\n{"a"\n{"a": 2}\n'


def test_lines_of_several_threads_do_not_mix(tmp_path):
    path = tmp_path / "log.jsonl"
    threads = [threading.Thread(target=append_line, args=[path, json.dumps([n] * 2000)]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(json.loads(line)[0] for line in path.read_text().splitlines()) == list(range(8))


def test_training_on_a_full_disk_ends_in_one_line(tmp_path, full_after, capfd):
    flags = (
        f"--output-dir {tmp_path}/run --num-samples 8 --validation-samples 0 --num-workers 0 --epochs 3 "
        "--batch-size 4 --save-steps 2 --generator filmed=0 --config hidden_size=12 depths=[1,1,1]"
    ).split()
    full_after(30_000)
    assert cli.main(flags) == 2
    full_after(resource.RLIM_INFINITY)
    errors = capfd.readouterr().err
    assert "Traceback" not in errors and errors.splitlines()[-1].startswith("train.py: error: [Errno 27]")
    assert "add --resume" in errors.splitlines()[-1]
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert cli.main([*flags, "--resume"]) == 0
    assert (tmp_path / "run" / "model.safetensors").is_file()
