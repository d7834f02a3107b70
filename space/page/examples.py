"""What can be chosen without uploading anything: generated clips, and the checkpoints of the package."""

import hashlib
import os
import tempfile
from pathlib import Path

from mer_hf import loading, registry
from mer_hf.synthetic import clips as synthetic_clips
from mer_hf.video.clip import Clip, write_clip

SPACE = Path(__file__).resolve().parents[1]
PEOPLE = {
    "negative": "person-4",
    "positive": "person-7",
    "surprise": "person-4",
    "still": "person-7",
    "blink": "person-4",
}
"""Kind of example -> who shows it: people who do not exist."""
INTEROCULAR_PX = 80.0


def example_paths(folder: Path | None = None) -> dict[str, Path]:
    """The generated example clips by name, rendered once and kept.

    Args:
        folder (`Path`, *optional*): Where they are kept. Defaults to `examples` beside `app.py`, or the
            system's temporary folder where that is not writable.

    Returns:
        `dict[str, Path]`: Kind -> mp4.
    """
    if folder is None:
        folder = (SPACE if os.access(SPACE, os.W_OK) else Path(tempfile.gettempdir()) / "mer-hf") / "examples"
    # Clips that an earlier version of the generator made are not taken for this one's.
    generator = [Path(__file__), *sorted(Path(synthetic_clips.__file__).parent.glob("*.py"))]
    folder /= hashlib.sha256(b"".join(path.read_bytes() for path in generator)).hexdigest()[:10]
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / f"{kind}.mp4" for kind in synthetic_clips.EXAMPLE_KINDS}
    for kind, path in paths.items():
        if not path.exists():
            unfinished = path.with_suffix(f".{os.getpid()}.mp4")
            write_clip(unfinished, example_clip(kind).frames, 30)
            unfinished.replace(path)
    return paths


def example_clip(kind: str) -> Clip:
    """A clip of two seconds of somebody who does not exist: an expression, a still face or a blink."""
    motion = synthetic_clips.Motion(
        synthetic_clips.EXAMPLES.get(kind, {}), blink_s=1.0 if kind == "blink" else None
    )
    return synthetic_clips.render_clip(motion, name=PEOPLE[kind], interocular_px=INTEROCULAR_PX).clip


def bundled_models() -> list[str]:
    """The names of the checkpoints that come with the package, in the registry's order."""
    names = sorted(path.parent.name for path in loading.CHECKPOINTS.glob("*/config.json"))
    keys = list(registry.ARCHITECTURES)
    return sorted(names, key=lambda name: keys.index(name.partition("-")[0]))
