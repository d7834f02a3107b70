import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mer_hf.utils import work_queue
from mer_hf.utils.work_queue import WorkQueue

NAMES = ["a", "b", "c"]


def test_every_piece_is_handed_out_once(tmp_path):
    queue = WorkQueue(tmp_path / "queue", NAMES)
    queue.fill()
    assert queue.left() == NAMES and list(queue.claims()) == NAMES
    assert queue.left() == [] and list(queue.claims()) == []
    assert sorted(path.name for path in queue.folder.iterdir()) == ["done-a", "done-b", "done-c"]


def test_filling_again_changes_nothing(tmp_path):
    queue = WorkQueue(tmp_path / "queue", NAMES)
    queue.fill()
    next(queue.claims())
    queue.fill()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["queue"]
    assert queue.left() == NAMES and not (queue.folder / "todo-a").exists()


def test_a_piece_that_failed_is_left_for_the_next(tmp_path):
    queue = WorkQueue(tmp_path / "queue", NAMES)
    queue.fill()
    with pytest.raises(RuntimeError):
        for name in queue.claims():
            if name == "b":
                raise RuntimeError
    assert queue.left() == ["b", "c"] and list(queue.claims()) == ["b", "c"]


CLAIM = """
import sys, time
from pathlib import Path
from work_queue import WorkQueue
for name in WorkQueue(Path(sys.argv[1]), ["a", "b", "c"]).claims():
    print(name, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_taken_up_and_what_a_living_one_holds_is_not(tmp_path):
    queue = WorkQueue(tmp_path / "queue", NAMES)
    queue.fill()
    alone = {**os.environ, "PYTHONPATH": str(Path(work_queue.__file__).parent)}  # without importing mer_hf
    other = subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(queue.folder)], stdout=subprocess.PIPE, text=True, env=alone
    )
    try:
        assert other.stdout.readline() == "a\n"
        assert list(queue.claims()) == ["b", "c"]
        assert (queue.folder / "doing-a").read_text().split()[1] == str(other.pid)
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert list(queue.claims()) == ["a"] and queue.left() == []
