"""Registers the video processors by themselves: their Auto class is loaded after that of image processors."""

from transformers.models.auto.video_processing_auto import AutoVideoProcessor

from . import classes

for _config, _class in zip(classes("configuration"), classes("video_processing"), strict=True):
    # Auto classes know video processors by the library they need; ours need none.
    AutoVideoProcessor.register(_config, video_processor_classes={"torchvision": _class})
