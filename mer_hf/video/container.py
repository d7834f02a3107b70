"""Say what is in a video file: its frames, their times, and whether it is all there.

Videos are read by PyAV, whose wheel brings its own decoders. A file that is cut short decodes without an
error in every reader, so what the container declares is compared with the packets in the file first.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from .tables import doubts_about

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".webm", ".mkv", ".avi", ".divx")
UNREAD_SUFFIXES = (
    ".mts", ".m2ts", ".m2t", ".ts", ".mpg", ".mpeg", ".m2v", ".mod", ".vob", ".wmv", ".asf", ".flv", ".ogv",
    ".ogm", ".mxf", ".dv", ".rm", ".rmvb", ".y4m", ".h264", ".264", ".hevc", ".265", ".ivf", ".gif",
)  # fmt: skip
"""Of videos in other containers, which are not read."""
# Only these demuxers are tried: FFmpeg would also take a playlist, a text file or a single picture for a
# video, and a playlist makes it open other files.
CONTAINERS = "mov,mp4,matroska,webm,avi"


_MOST_THREAD_BYTES = 100_000_000
"""Every thread of a decoder holds a frame."""
_AHEAD_BYTES, _MOST_AHEAD = 60_000_000, 32
"""Frames that are decoded before they are asked for."""


class ClipError(ValueError):
    """A clip that cannot be read; its one line says what was found and what to do."""


class CutShort(ClipError):
    """A video that ends or breaks before what its file declares."""


class VideoInfo(NamedTuple):
    """What is in a video file, found without decoding.

    Attributes:
        frames (`int`): Packets of pictures that are whole and shown.
        one_frame_each (`bool`): Whether each is one frame: VP8 stores frames that are never shown, old AVIs
            two in a packet.
        width, height (`int`): Of a frame as it is stored, before it is turned.
        duration_s (`float`): From the first frame to the end of the last, in seconds.
        timed (`bool`): Whether every packet of pictures has a time.
        damage (`CutShort` or `None`): Why less is in the file than it declares.
        times_s (`np.ndarray`): The times of the frames in order, as far as they are known.
        doubts (`tuple[str, ...]`): Where the tables of the file contradict each other or its frames.
    """

    frames: int
    one_frame_each: bool
    width: int = 0
    height: int = 0
    duration_s: float = 0.0
    damage: CutShort | None = None
    times_s: np.ndarray = np.empty(0)
    doubts: tuple[str, ...] = ()

    @property
    def timed(self) -> bool:
        """Return whether every picture has a time."""
        return len(self.times_s) == self.frames


class Frame(NamedTuple):
    """One frame of a clip, its time and the name of its file.

    Frames of which only a part is kept have a `run`: the object that makes a clip of those that share it.
    """

    image: Any
    time_s: float
    name: str | None
    run: Any = None


def open_video(path: Path) -> tuple[Any, Any]:
    """Return the container of a video file and its stream of pictures; the caller closes the container."""
    if not path.exists():
        raise ClipError(f"{path}: no such file or folder. Check the path.")
    if not path.is_file():
        raise ClipError(f"{path}: neither a file nor a folder. Pass a video file or a folder of frames.")
    if path.stat().st_size == 0:
        raise ClipError(f"{path}: the file is empty (0 bytes). Copy or record it again.")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise ClipError(f"{path}: a single picture. Pass the folder that holds the clip's frames.")
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path}", options=options, metadata_errors="ignore")
    except av.FFmpegError as error:
        raise ClipError(
            f"{path}: not a readable mp4, mov, webm, mkv or avi video: another kind of file, or one cut "
            "short before its first frame or its index. Convert it to mp4, or copy it again."
        ) from error
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams or streams[0].codec_context is None:
        kinds = sorted({s.type for s in container.streams})
        container.close()
        if not kinds:
            raise _no_frames(path)
        raise ClipError(
            f"{path}: no video stream that can be decoded (found: {', '.join(kinds)}). "
            "Pass a file with pictures in it."
        )
    context = streams[0].codec_context
    context.thread_type = "AUTO"
    frame_bytes = context.width * context.height * 3 // 2
    if frame_bytes * (os.cpu_count() or 1) > _MOST_THREAD_BYTES:
        context.thread_count = max(1, _MOST_THREAD_BYTES // frame_bytes)
    return container, streams[0]


def survey_video(path: str | os.PathLike, max_bytes: int | None = None) -> VideoInfo:
    """Compare what is in a video file with what its header declares, packet by packet, without decoding.

    Args:
        path (`str` or `os.PathLike`): A video file.
        max_bytes (`int`, *optional*): The most that its decoded frames may take.

    Returns:
        `VideoInfo`: A file that is cut short says so in `damage`.

    Raises:
        ClipError: If it is not a video, holds no frame, or would take more than `max_bytes`.
    """
    path = Path(path)
    container, stream = open_video(path)
    with container:
        indexed = container.format.name.startswith("mov")
        # The index of an mp4 leaves out what an edit list hides. A cut AVI has lost its index; Matroska's
        # holds key frames alone.
        declared = sum(not entry.is_discard for entry in stream.index_entries) if indexed else stream.frames
        width, height = stream.codec_context.width, stream.codec_context.height
        check = partial(check_bytes, frame_bytes=width * height * 3, source=str(path), max_bytes=max_bytes)
        check(declared)
        count, times_s, end_s, whole = _count_packets(container, stream, check)
        frame_s = float(1 / stream.average_rate) if stream.average_rate else 0.05
        text = f"{count} of {declared} frames"
        if indexed:
            whole = whole and count >= declared
        elif declared:  # AVI also counts frames dropped while recording: they are in the time, in no packet
            whole = whole and end_s > (declared - 1.5) * frame_s
        else:
            declared_s = (container.duration or 0) / av.time_base
            whole = whole and end_s > declared_s - max(0.1, 2 * frame_s)
            text = f"{count} frames, {end_s:.2f} of {declared_s:.2f} s,"
    damage = None if whole else _cut_short(path, text)
    if not count:
        raise damage or _no_frames(path)
    span_s = float(np.ptp(times_s)) if len(times_s) == count else (count - 1) * frame_s
    duration_s = span_s + frame_s  # the last frame lasts as the others do
    doubts = doubts_about(path, count) if indexed and not damage else ()
    return VideoInfo(count, indexed, width, height, duration_s, damage, np.sort(times_s), doubts)


def _count_packets(
    container: Any, stream: Any, check: Callable[[int], None]
) -> tuple[int, list[float], float, bool]:
    """Walk through the packets of a file.

    Returns:
        `tuple`: How many pictures of `stream` are whole and shown; their times, as far as they are known; the
        last time in the file, of sound too; and whether no packet is torn.
    """
    count, times_s, end_s, whole = 0, [], 0.0, True
    try:
        for packet in container.demux():
            if packet.is_corrupt:
                whole = False
            elif packet.size:
                time_s = _time_s(packet)
                if time_s is not None:
                    end_s = max(end_s, time_s + float((packet.duration or 0) * packet.time_base))
                if packet.stream is stream and not packet.is_discard:
                    count += 1
                    check(count)
                    if time_s is not None:
                        times_s.append(time_s)
    except av.FFmpegError:
        whole = False
    return count, times_s, end_s, whole


def _time_s(packet: Any) -> float | None:
    time = packet.dts if packet.pts is None else packet.pts
    return None if time is None else float(time * packet.time_base)


def _no_frames(path: Path) -> ClipError:
    return ClipError(f"{path}: the video holds no frames. Record or export it again.")


def _cut_short(path: Path, what: str) -> CutShort:
    return CutShort(f"{path}: cut short or damaged: {what} could be read. Copy or export the video again.")


def decode(
    path: Path,
    fps: float | None,
    survey: VideoInfo,
    start_s: float = -math.inf,
    end_s: float = math.inf,
) -> Iterator[Frame]:
    """Yield the frames of a video, upright; raise after them if some are missing.

    Of a stretch from `start_s` to `end_s`, nothing before its key frame is decoded where the file has times.
    Frames are decoded in a thread of their own, some ahead of the one that is asked for.
    """
    frame_bytes = max(1, survey.width * survey.height * 3)
    return _ahead(_decoded(path, fps, survey, start_s, end_s), min(_MOST_AHEAD, _AHEAD_BYTES // frame_bytes))


def _ahead(frames: Generator[Frame, None, None], count: int) -> Iterator[Frame]:
    with ThreadPoolExecutor(1) as reader:
        waiting = deque(reader.submit(next, frames, None) for _ in range(max(1, count)))
        try:
            while frame := waiting.popleft().result():
                waiting.append(reader.submit(next, frames, None))
                yield frame
        finally:
            reader.shutdown(cancel_futures=True)
            frames.close()


def _decoded(
    path: Path, fps: float | None, survey: VideoInfo, start_s: float, end_s: float
) -> Generator[Frame, None, None]:
    container, stream = open_video(path)
    whole = start_s == -math.inf and end_s == math.inf
    count, turn = 0, Turn()

    def what():
        return f"{count} of {survey.frames} frames" if whole else f"{count} frames from {start_s:.2f} s on"

    # An AVI holds no presentation times: where frames are reordered only their place tells the time. So it
    # does where some frames have no time: those of the others would not fit.
    by_place = not survey.timed or (container.format.name == "avi" and stream.codec_context.has_b_frames)
    rate = fps or (float(stream.average_rate) if by_place and stream.average_rate else None)
    try:
        with container:
            if start_s > 0 and rate is None:
                container.seek(int(start_s * av.time_base))
            for place, frame in enumerate(container.decode(stream)):
                seconds = frame.time if survey.timed and frame.time is not None else math.nan
                seconds = seconds if rate is None else place / rate
                if seconds < start_s:
                    continue
                if seconds > end_s:
                    return
                if frame.is_corrupt:
                    raise survey.damage or _cut_short(path, what())
                yield Frame(upright(frame, turn.of(frame)), seconds, None)
                count += 1
    except av.FFmpegError as error:
        raise (survey.damage or _cut_short(path, what())) from error
    if whole and survey.damage:
        raise survey.damage
    if whole and (count == 0 or (survey.one_frame_each and count < survey.frames)):
        raise _cut_short(path, what())


class Turn:
    """How the frames of a video are to be turned.

    Whoever looks at the side data of a frame keeps its memory until Python collects cycles: gigabytes in a
    large video. So it is looked at again only where the rotation, which can be asked for, has changed.
    """

    def __init__(self) -> None:
        self._rotation: int | None = None
        self._matrix: list[int] | None = None

    def of(self, frame: av.VideoFrame) -> list[int] | None:
        """Return the display matrix of a frame: its first five numbers."""
        if frame.rotation != self._rotation:
            data = frame.side_data.get("DISPLAYMATRIX")
            self._matrix = None if data is None else np.frombuffer(bytes(data), np.int32)[:5].tolist()
            self._rotation = frame.rotation
        return self._matrix


def upright(frame: av.VideoFrame, matrix: list[int] | None) -> np.ndarray:
    """Return RGB pixels, turned and mirrored as the frame's display matrix asks (quarter turns)."""
    image = frame.to_ndarray(format="rgb24")
    if matrix is None:
        return image
    # Rows (a, b, u), (c, d, v), (x, y, w): a stored point goes to (a x + c y, b x + d y).
    a, b, _, c, d = matrix
    if abs(c) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def check_bytes(count: int, frame_bytes: int, source: str, max_bytes: int | None) -> None:
    """Refuse frames that would take more memory than allowed."""
    if max_bytes is not None and count * frame_bytes > max_bytes:
        raise ClipError(
            f"{source}: its {count} frames (or more) decode to {size_text(count * frame_bytes)}, above the "
            f"limit of {size_text(max_bytes)}. Cut the clip, make its pictures smaller, or use iter_clips."
        )


def size_text(count: int) -> str:
    """Write a number of bytes for a reader."""
    return f"{count / 1e9:.2f} GB" if count >= 10_000_000 else f"{count:,} bytes"
