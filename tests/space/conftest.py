"""The page's modules, found as they are where `app.py` is what Python runs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "space"))
