"""Save the processors of a checkpoint."""

import sys
from pathlib import Path

from transformers.image_processing_utils import BaseImageProcessor


def save_processors(processor: BaseImageProcessor, folder: str | Path) -> None:
    """Save an image processor, and beside it the video processor with the same settings."""
    processor.save_pretrained(folder)
    package = sys.modules[type(processor).__module__.rpartition(".")[0]]
    kind = getattr(package, type(processor).__name__.replace("ImageProcessor", "VideoProcessor"))
    settings = {name: value for name, value in processor.to_dict().items() if name != "auto_map"}
    kind.from_dict(settings).save_pretrained(folder)
