"""Two processes of a launch of `train.py`, forked from one; both are ready before either begins a fold.

    python tests/training/meet.py FLAGS...     # as train.py

They find each other as torchrun's would, by RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
"""

import os
import socket
import sys
import time

from mer_hf.training.cli import main
from mer_hf.utils.work_queue import WorkQueue

PROCESSES = 2
claims = WorkQueue.claims


def together(queue):
    (queue.folder.parent / f"ready-{os.getpid()}").touch()
    while len(list(queue.folder.parent.glob("ready-*"))) < PROCESSES:
        time.sleep(0.01)
    yield from claims(queue)


def start(rank: int) -> int:
    """Train as one of the processes, and return its number."""
    child = os.fork()
    if not child:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        os._exit(main())
    return child


if __name__ == "__main__":
    WorkQueue.claims = together
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ |= {"WORLD_SIZE": str(PROCESSES), "LOCAL_WORLD_SIZE": str(PROCESSES)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = [start(rank) for rank in range(PROCESSES)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max(map(abs, codes)))
