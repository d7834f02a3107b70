"""`train.py`, but no process begins a fold before all of the launch are ready to."""

import os
import sys
import time

from mer_hf.training.cli import main
from mer_hf.utils.work_queue import WorkQueue

claims, rank, world = WorkQueue.claims, os.environ["RANK"], int(os.environ["WORLD_SIZE"])


def together(queue):
    (queue.folder.parent / f"ready-{rank}").touch()
    while len(list(queue.folder.parent.glob("ready-*"))) < world:
        time.sleep(0.01)
    yield from claims(queue)


WorkQueue.claims = together
sys.exit(main())
