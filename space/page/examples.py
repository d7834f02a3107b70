"""What can be chosen without an upload: generated clips, and the checkpoints of the package."""

import atexit
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from mer_hf import loading, registry
from mer_hf.synthetic import clips as synthetic_clips
from mer_hf.video.clip import Clip, write_clip

SPACE = Path(__file__).resolve().parents[1]
PEOPLE = {"negative": 4, "positive": 7, "surprise": 4, "still": 7, "blink": 4}
"""Kind of example -> the number of the person who shows it, who does not exist."""
INTEROCULAR_PX = 80.0


def example_paths(folder: Path | None = None) -> dict[str, Path]:
    """Return the generated example clips by kind, rendered once and kept in `folder`.

    By default that is `examples` beside `app.py`, or a private temporary folder if that is not writable.
    """
    if folder is None:
        folder = (SPACE if os.access(SPACE, os.W_OK) else _temporary()) / "examples"
    # Clips from an earlier version of the generator are not used.
    generator = [Path(__file__), *sorted(Path(synthetic_clips.__file__).parent.glob("*.py"))]
    folder /= hashlib.sha256(b"".join(path.read_bytes() for path in generator)).hexdigest()[:10]
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / f"{kind}.mp4" for kind in synthetic_clips.EXAMPLE_KINDS}
    for kind, path in paths.items():
        if not path.exists():
            write_clip(path, example_clip(kind).frames, 30)
    return paths


def _temporary() -> Path:
    """Make a folder that nobody else can prepare, deleted when Python ends."""
    folder = tempfile.mkdtemp(prefix="mer-hf-examples-", dir=tempfile.gettempdir())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def example_clip(kind: str) -> Clip:
    """Render two seconds of somebody who does not exist: an expression, a still face or a blink."""
    units, blink_s = synthetic_clips.EXAMPLES.get(kind, {}), 1.0 if kind == "blink" else None
    motion, name = synthetic_clips.Motion(units, blink_s=blink_s), f"person-{PEOPLE[kind]}"
    return synthetic_clips.render_clip(motion, name=name, interocular_px=INTEROCULAR_PX).clip


def bundled_models() -> list[str]:
    """List the bundled checkpoints in the order of the registry."""
    keys = list(registry.ARCHITECTURES)
    return sorted(loading.bundled_names(), key=lambda name: keys.index(name.partition("-")[0]))
