"""Makes `page` importable, as it is for `python space/app.py`."""

import sys
from pathlib import Path

SPACE = str(Path(__file__).parents[2] / "space")
if SPACE not in sys.path:
    sys.path.insert(0, SPACE)
