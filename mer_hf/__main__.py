"""`python -m mer_hf` is `mer-hf`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
