"""Train a network on synthetic motion.

A smoke test on a laptop's CPU:

    accelerate launch train.py --model htnet --data synthetic --output-dir runs/smoke --max-steps 2

Two processes on a machine without a GPU: `torchrun --nproc_per_node 2 train.py ...`, because there
`accelerate launch --num_processes 2` starts only one.
"""

import sys

from mer_hf.training.cli import main

if __name__ == "__main__":
    sys.exit(main())
