"""What the page takes: an upload is refused by its size, length, pixels and kind before it is decoded."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mer_hf.video.container import ClipError, VideoInfo, survey_video


class Refusal(ValueError):
    """Why there is no answer, in a line that may be shown: no path, no traceback."""


@dataclass(frozen=True)
class Limits:
    """The most that an upload may have.

    Attributes:
        size_bytes (`int`): Of the file.
        duration_s (`float`): Seconds of video.
        frames (`int`): All of them.
        size_wh (`tuple[int, int]`): Of a frame; a frame of another shape may have as many pixels.
        instead (`str`): What to do with a longer one.
    """

    size_bytes: int
    duration_s: float
    frames: int
    size_wh: tuple[int, int]
    instead: str


CLIP = Limits(50_000_000, 20.0, 1200, (3840, 2160), "Cut out the seconds around the expression.")
"""Of one clip that is analysed: 20 s at 60 frames per second, or 6 s at 200."""

LONG_VIDEO = Limits(200_000_000, 600.0, 40_000, (1920, 1080), "Cut it into pieces.")
"""Of a video that is searched for expressions: ten minutes at 60 frames per second."""


def check(path: str | os.PathLike, limits: Limits = CLIP) -> VideoInfo:
    """Refuse what the page does not take, before anything is decoded.

    Args:
        path (`str` or `os.PathLike`): Of the upload. Links and folders are refused.
        limits ([`Limits`], *optional*, defaults to `CLIP`): The most that it may have.

    Returns:
        [`VideoInfo`]: What is in it.

    Raises:
        Refusal: In one line that names what was found and the limit.
    """
    path = Path(path)
    _check_file(path, limits)
    try:
        survey = survey_video(path)
    except ClipError as error:
        raise Refusal(without_paths(str(error), path)) from error
    width, height = limits.size_wh
    if survey.width * survey.height > width * height:
        raise Refusal(
            f"{path.name}: its frames have {survey.width} x {survey.height} pixels; at most {width} x "
            f"{height} are taken. Export it smaller."
        )
    if survey.duration_s > limits.duration_s:
        raise Refusal(
            f"{path.name}: it lasts {duration(survey.duration_s)}; at most {duration(limits.duration_s)} are "
            f"taken. {limits.instead}"
        )
    if survey.frames > limits.frames:
        raise Refusal(
            f"{path.name}: it has {survey.frames:,} frames; at most {limits.frames:,} are taken. "
            f"{limits.instead}"
        )
    return survey


def _check_file(path: Path, limits: Limits) -> None:
    """A plain file of a size that is taken."""
    try:
        if not path.exists() and not path.is_symlink():
            raise Refusal(f"{path.name}: the upload is not there (any more). Upload it again.")
        if path.is_symlink() or not path.is_file():
            kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "no file"
            raise Refusal(f"{path.name}: {kind}, not a video. Upload one video file.")
        size = path.stat().st_size
    except (ValueError, OSError) as error:  # a null byte in the name, or nothing that may be looked at
        if isinstance(error, Refusal):
            raise
        raise Refusal("there is no such upload. Upload one video file.") from error
    if size == 0:
        raise Refusal(f"{path.name}: the file is empty (0 bytes). Copy or record it again.")
    if size > limits.size_bytes:
        raise Refusal(
            f"{path.name}: it has {size / 1e6:.1f} MB; at most {limits.size_bytes / 1e6:.0f} MB are taken. "
            f"{limits.instead}"
        )


def duration(seconds: float) -> str:
    """`8.4 s` or `12 min 3 s`."""
    if seconds < 100:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def without_paths(text: str, path: str | os.PathLike = "") -> str:
    """A message as the page may show it: a file is called by its name alone, and there is one line.

    Args:
        text (`str`): The message.
        path (`str` or `os.PathLike`, *optional*): A path that may stand in it, with spaces or other signs.

    Returns:
        `str`: Without the folders of absolute paths; addresses stay.
    """
    if str(path):
        text = text.replace(str(path), Path(path).name)
    text = re.sub(r"(?<![\w:/.<])/(?:[\w.@+-]+/)+", "", text)
    return " ".join(text.split())
