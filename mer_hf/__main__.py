"""Run the command line with `python -m mer_hf`, the same as `mer-hf`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
