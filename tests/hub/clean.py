"""The environment of a process of its own: huggingface_hub reads HF_* once, when it is imported."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(url: str, home: Path, **more: str) -> dict[str, str]:
    """Of a process that knows the test's Hub and nothing of the user's cache, token or settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    hub = {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return kept | hub | more
