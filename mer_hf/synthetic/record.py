"""Tell versions of the generator apart: the same code draws the same samples."""

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CODE = ("synthetic/*.py", "synthetic/*.npz", "face/*.py", "video/*.py", "models/htnet/optical_flow.py")
"""Files of the package that a sample depends on."""


def fingerprint() -> str:
    """Return a hash of the generator's code."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in CODE for path in PACKAGE.glob(pattern)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
