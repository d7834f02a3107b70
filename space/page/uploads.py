"""What the page takes: an upload is refused by its size, length, pixels and kind before it is decoded."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder, is_static_file

from mer_hf.utils.untrusted import shown
from mer_hf.video.container import ClipError, VideoInfo, survey_video

log = logging.getLogger(__name__)


class Refusal(gr.Error):
    """Why there is no answer, in one line that may be shown: it names no folder and has no traceback."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, print_exception=False)

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Limits:
    """The most that an upload may have; `instead` says what to do with a longer one.

    A frame of another shape may have as many pixels as one of `size_wh`.
    """

    size_bytes: int
    duration_s: float
    frames: int
    size_wh: tuple[int, int]
    instead: str


CLIP = Limits(50_000_000, 20.0, 1200, (3840, 2160), "Cut out the seconds around the expression.")
"""A clip to analyse: 20 s at 60 frames per second, or 6 s at 200."""
LONG_VIDEO = Limits(200_000_000, 600.0, 40_000, (1920, 1080), "Cut it into pieces.")
"""A video to search: ten minutes at 60 frames per second."""


@contextmanager
def one_line(path: str | os.PathLike | None = None) -> Iterator[None]:
    """Turn every error into a `Refusal`: the only place that does. Unforeseen ones are logged in full."""
    try:
        yield
        return
    except (ValueError, OSError) as error:
        reason, cause = str(error), error
    except MemoryError as error:
        reason, cause = "the clip takes more memory than there is. Cut it, or export it smaller.", error
    except Exception as error:
        log.exception("a clip could not be analysed")
        reason, cause = f"the clip could not be analysed: an unforeseen {type(error).__name__}.", error
    raise Refusal(without_paths(reason, path or "")) from cause


def check(path: str | os.PathLike | None, limits: Limits = CLIP) -> VideoInfo:
    """Return what is in an upload, without decoding it; raise `ClipError` if the page does not take it."""
    check_file(path, limits)
    survey, (width, height) = survey_video(path), limits.size_wh
    pixels = f"its frames have {survey.width} x {survey.height} pixels"
    lasts, frames = f"it lasts {duration(survey.duration_s)}", f"it has {survey.frames:,} frames"
    for exceeds, what, limit, advice in (
        (survey.width * survey.height > width * height, pixels, f"{width} x {height}", "Export it smaller."),
        (survey.duration_s > limits.duration_s, lasts, duration(limits.duration_s), limits.instead),
        (survey.frames > limits.frames, frames, f"{limits.frames:,}", limits.instead),
    ):
        if exceeds:
            raise ClipError(f"{Path(path).name}: {what}; the limit is {limit}. {advice}")
    return survey


def check_uploaded(file: dict) -> dict:
    """Return a file that a call names; raise `ValueError` unless it was uploaded, or is one of the page's."""
    path, folder = Path(file["path"]), Path(get_upload_folder())
    if not is_static_file(path) and not (path.is_file() and path.resolve().is_relative_to(folder.resolve())):
        raise ValueError(f"{shown(file['path'])} is no upload.")
    return file


def check_file(path: str | os.PathLike | None, limits: Limits) -> None:
    """Raise `ClipError` unless a path is a plain file within the limit of bytes."""
    if path is None:
        raise ClipError("There is no clip yet. Upload one, or take an example.")
    path = Path(path)
    if "\0" in str(path) or not os.path.lexists(path):
        raise ClipError(f"{path.name}: the upload is gone. Upload it again.")
    if path.is_symlink() or not path.is_file():
        kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "not a plain file"
        raise ClipError(f"{path.name}: this is {kind}. Upload one video file.")
    size = path.stat().st_size
    if size == 0:
        raise ClipError(f"{path.name}: the file is empty (0 bytes). Copy or record it again.")
    if size > limits.size_bytes:
        raise ClipError(
            f"{path.name}: it has {size / 1e6:.1f} MB; the limit is {limits.size_bytes / 1e6:.0f} MB. "
            f"{limits.instead}"
        )


def duration(seconds: float) -> str:
    """Return `8.4 s` or `12 min 3 s`."""
    if seconds < 100:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def without_paths(text: str, path: str | os.PathLike = "") -> str:
    """Return a message in one line that calls files by their names, without their folders; addresses stay.

    Pass as `path` one that may stand in the text and hold spaces or other signs.
    """
    if str(path):
        text = text.replace(str(path), Path(path).name)
    text = re.sub(r"(?<![\w:/.<])/(?:[\w.@+-]+/)+", "", text)
    return " ".join(text.split())
