"""The generator's record: what a file of generated samples says about how it was drawn.

It lies in the file itself, as JSON in the array `record`. With it anybody can draw the samples again and see
that they are the generator's, which is what lets them be published.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mer_hf.utils.provenance import git_commit

FOLDER = Path(__file__).parent
BESIDE = ("face/*.py", "video/*.py", "models/htnet/optical_flow.py")
"""The package's other files that a sample depends on."""


def fingerprint() -> str:
    """Hash of the generator's code: the same code draws the same samples."""
    digest = hashlib.sha256()
    beside = [path for pattern in BESIDE for path in FOLDER.parent.glob(pattern)]
    for path in sorted([*FOLDER.glob("*.py"), *FOLDER.glob("*.npz"), *beside]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def content_sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """Hash of the columns of a file, whatever their order.

    Args:
        arrays (`Mapping[str, np.ndarray]`): Name -> values.

    Returns:
        `str`: SHA-256.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()


def make_record(kind: str, arrays: Mapping[str, np.ndarray], **settings: Any) -> str:
    """The record of a file.

    Args:
        kind (`str`): `"people"`, `"maps"` or `"faces"`: what was drawn.
        arrays (`Mapping[str, np.ndarray]`): The file's columns.
        **settings (`Any`): What the samples can be drawn again from; JSON.

    Returns:
        `str`: JSON with `generator`, `kind`, `fingerprint`, `commit`, `content_sha256` and the settings.
    """
    about = {"generator": "mer_hf.synthetic", "kind": kind, "fingerprint": fingerprint()}
    about |= {"commit": git_commit(), "content_sha256": content_sha256(arrays)}
    return json.dumps(about | settings, sort_keys=True)
