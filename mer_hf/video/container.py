"""What is in a video file: its frames, their times, and whether it is all there.

Videos are read by PyAV, whose wheel brings its own decoders. A file that is cut short decodes without an
error in every reader, so what the container declares is compared with the packets in the file first.
"""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")
# Only these demuxers are tried: FFmpeg would also take a playlist, a text file or a single picture for a
# video, and a playlist makes it open other files.
CONTAINERS = "mov,mp4,matroska,webm,avi"


class ClipError(ValueError):
    """A clip that cannot be read; its one line says what was found and what to do."""


class CutShort(ClipError):
    """A video that ends or breaks before what its file declares."""


class VideoInfo(NamedTuple):
    """What is in a video file, found without decoding.

    Args:
        frames (`int`): Packets of pictures that are whole and shown.
        one_frame_each (`bool`): Whether each is one frame: VP8 stores frames that are never shown, old AVIs
            two in a packet.
        end_s (`float`): The last time of any stream in it.
        width (`int`): Of a frame as it is stored, before it is turned.
        height (`int`): As `width`.
        duration_s (`float`): From the first frame to the end of the last, in seconds.
        damage (`CutShort` or `None`): Why less is in the file than it declares.
    """

    frames: int
    one_frame_each: bool
    end_s: float = 0.0
    width: int = 0
    height: int = 0
    duration_s: float = 0.0
    damage: CutShort | None = None


class Frame(NamedTuple):
    """One frame of a clip, its time and the name of its file."""

    image: np.ndarray
    time_s: float
    name: str | None


def open_video(path: Path) -> tuple[Any, Any]:
    """The container of a video file and its stream of pictures; the caller closes the container."""
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
    streams[0].thread_type = "AUTO"
    return container, streams[0]


def survey_video(
    path: str | os.PathLike, max_bytes: int | None = None, refuse_damage: bool = False
) -> VideoInfo:
    """What a video file holds. Its packets are walked through, none is decoded.

    What is in the file is compared with what its header declares.

    Args:
        path (`str` or `os.PathLike`): A video file.
        max_bytes (`int`, *optional*): The most that its decoded frames may take.
        refuse_damage (`bool`, *optional*, defaults to `False`): Whether a file that is cut short is an error.

    Returns:
        `VideoInfo`: A file that is cut short says so in `damage`.

    Raises:
        ClipError: If it is no video, holds no frame, or would take more than `max_bytes`.
    """
    path = Path(path)
    container, stream = open_video(path)
    with container:
        indexed = container.format.name.startswith("mov")
        # The index of an mp4 leaves out what an edit list hides. A cut AVI has lost its index; Matroska's
        # holds key frames alone.
        declared = sum(not entry.is_discard for entry in stream.index_entries) if indexed else stream.frames
        width, height = stream.codec_context.width, stream.codec_context.height
        frame_bytes = width * height * 3
        check_bytes(declared, frame_bytes, str(path), max_bytes)
        found = _count_packets(
            container, stream, lambda count: check_bytes(count, frame_bytes, str(path), max_bytes)
        )
        present, end_s, whole = found.present, found.end_s, found.whole
        frame_s = float(1 / stream.average_rate) if stream.average_rate else 0.05
        held = f"{present} of {declared} frames"
        if indexed:
            whole = whole and present >= declared
        elif (
            declared
        ):  # AVI counts the frames it dropped while recording, which are in no packet but in the time
            whole = whole and end_s > (declared - 1.5) * frame_s
        else:
            declared_s = (container.duration or 0) / av.time_base
            whole = whole and end_s > declared_s - max(0.1, 2 * frame_s)
            held = f"{present} frames, {end_s:.2f} of {declared_s:.2f} s,"
    damage = None if whole else _cut_short(path, held)
    if damage and refuse_damage:
        raise damage
    if present == 0:
        raise damage or _no_frames(path)
    return VideoInfo(present, indexed, end_s, width, height, found.pictures_s(frame_s), damage)


class _Packets(NamedTuple):
    present: int  # pictures that are whole and shown
    end_s: float  # the last time in the file, of sound too
    whole: bool  # no packet is torn
    first_s: float  # of the pictures
    last_s: float

    def pictures_s(self, frame_s: float) -> float:
        """How long the pictures last; the last one as long as the others do."""
        return max(self.last_s - self.first_s, 0.0) + frame_s


def _count_packets(container: Any, stream: Any, check: Callable[[int], None]) -> _Packets:
    """The packets of a file, those of `stream` counted."""
    present, end_s, whole = 0, 0.0, True
    first_s, last_s = math.inf, 0.0
    try:
        for packet in container.demux():
            if packet.is_corrupt:
                whole = False
            elif packet.size:
                time = packet.dts if packet.pts is None else packet.pts
                if time is not None:
                    end_s = max(end_s, float((time + (packet.duration or 0)) * packet.time_base))
                if packet.stream is stream and not packet.is_discard:
                    present += 1
                    check(present)
                    if time is not None:
                        first_s = min(first_s, float(time * packet.time_base))
                        last_s = max(last_s, float(time * packet.time_base))
    except av.FFmpegError:
        whole = False
    return _Packets(present, end_s, whole, first_s, last_s)


def _no_frames(path: Path) -> ClipError:
    return ClipError(f"{path}: the video holds no frames. Record or export it again.")


def _cut_short(path: Path, what: str) -> CutShort:
    return CutShort(f"{path}: cut short or damaged: {what} could be read. Copy or export the video again.")


def fitting_wh(survey: VideoInfo, max_bytes: int) -> tuple[int, int] | None:
    """The largest size of the same shape at which all frames fit; None where they fit as they are."""
    scale = math.sqrt(max_bytes / (survey.frames * survey.width * survey.height * 3))
    if scale >= 1:
        return None
    return max(1, math.floor(survey.width * scale)), max(1, math.floor(survey.height * scale))


def decode(
    path: Path, fps: float | None, survey: VideoInfo, size_wh: tuple[int, int] | None = None
) -> Iterator[Frame]:
    """The frames of a video in order, upright, smaller on request; raises at the end if some are missing."""
    container, stream = open_video(path)
    count, turn = 0, Turn()
    with container:
        # An AVI holds no presentation times: where frames are reordered only their place tells the time.
        by_place = container.format.name == "avi" and stream.codec_context.has_b_frames
        rate = fps or (float(stream.average_rate) if by_place and stream.average_rate else None)
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise _cut_short(path, f"{count} of {survey.frames} frames")
                if size_wh and (frame.width, frame.height) != (survey.width, survey.height):
                    stored, this = (survey.height, survey.width), (frame.height, frame.width)
                    raise mixed_sizes(str(path), stored, "the header", this, f"frame {count}")
                seconds = math.nan if frame.time is None else frame.time
                image = upright(frame, turn.of(frame), size_wh)
                yield Frame(image, seconds if rate is None else count / rate, None)
                count += 1
        except av.FFmpegError as error:
            raise _cut_short(path, f"{count} of {survey.frames} frames") from error
    if survey.damage:
        raise survey.damage
    if count == 0 or (survey.one_frame_each and count < survey.frames):
        raise _cut_short(path, f"{count} of {survey.frames} frames")


class Turn:
    """How the frames of a video are to be turned.

    Whoever looks at the side data of a frame keeps its memory until Python collects cycles: gigabytes in a
    large video. So it is looked at anew only where the rotation, which can be asked for, has changed.
    """

    def __init__(self) -> None:
        self._rotation: int | None = None
        self._matrix: list[int] | None = None

    def of(self, frame: av.VideoFrame) -> list[int] | None:
        """The display matrix of a frame: its first five numbers."""
        if frame.rotation != self._rotation:
            data = frame.side_data.get("DISPLAYMATRIX")
            self._matrix = None if data is None else np.frombuffer(bytes(data), np.int32)[:5].tolist()
            self._rotation = frame.rotation
        return self._matrix


def upright(
    frame: av.VideoFrame, matrix: list[int] | None, size_wh: tuple[int, int] | None = None
) -> np.ndarray:
    """RGB pixels, turned and mirrored as the frame's display matrix asks (quarter turns)."""
    if size_wh:
        # Of every stored size the mean over what falls into a pixel: other filters would let motion shimmer.
        frame_rgb = frame.reformat(*size_wh, format="rgb24", interpolation="AREA")
        image = frame_rgb.to_ndarray()
    else:
        image = frame.to_ndarray(format="rgb24")
    if matrix is None:
        return image
    # Rows (a, b, u), (c, d, v), (x, y, w): a stored point goes to (a x + c y, b x + d y).
    a, b, _, c, d = matrix
    if abs(c) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def frames_between(
    path: str | os.PathLike, start_s: float, end_s: float
) -> tuple[float, Iterator[np.ndarray]]:
    """The frames of a stretch of a video, one after the other; nothing before its key frame is decoded.

    Args:
        path (`str` or `os.PathLike`): A video file.
        start_s (`float`): Seconds from the beginning of the video.
        end_s (`float`): As `start_s`; frames from `start_s` to `end_s` belong to the stretch.

    Returns:
        `tuple`: The mean frames per second of the stretch, and its frames `(H, W, 3)` in uint8 RGB, upright.

    Raises:
        ClipError: If no frame lies there, or the video cannot be read or breaks before `end_s`.
    """
    path = Path(path)
    if not (math.isfinite(start_s) and math.isfinite(end_s) and start_s < end_s):
        raise ClipError(f"{path}: {start_s} s to {end_s} s is no stretch. Pass start_s < end_s.")
    container, stream = open_video(path)
    with container:
        container.seek(max(0, int(start_s * av.time_base)))
        times = []
        try:
            for packet in container.demux(stream):
                time = packet.dts if packet.pts is None else packet.pts
                if packet.dts is not None and float(packet.dts * packet.time_base) > end_s:
                    break
                if time is not None and start_s <= float(time * packet.time_base) <= end_s:
                    times.append(float(time * packet.time_base))
        except av.FFmpegError as error:
            raise _cut_short(path, f"{len(times)} frames from {start_s:.2f} s on") from error
        rate = stream.average_rate
    if not times:
        raise ClipError(f"{path}: no frames from {start_s:.2f} to {end_s:.2f} s. Choose another stretch.")
    lasts_s = max(times) - min(times)
    fps = (len(times) - 1) / lasts_s if lasts_s > 0 else float(rate or 30)
    return fps, _decode_between(path, start_s, end_s)


def _decode_between(path: Path, start_s: float, end_s: float) -> Iterator[np.ndarray]:
    container, stream = open_video(path)
    count, turn = 0, Turn()
    with container:
        container.seek(max(0, int(start_s * av.time_base)))
        try:
            for frame in container.decode(stream):
                if frame.time is None or frame.time < start_s:
                    continue
                if frame.time > end_s:
                    break
                if frame.is_corrupt:
                    raise _cut_short(path, f"{count} frames from {start_s:.2f} s on")
                yield upright(frame, turn.of(frame))
                count += 1
        except av.FFmpegError as error:
            raise _cut_short(path, f"{count} frames from {start_s:.2f} s on") from error


def check_bytes(count: int, frame_bytes: int, source: str, max_bytes: int | None) -> None:
    """Refuse frames that would take more memory than allowed."""
    if max_bytes is not None and count * frame_bytes > max_bytes:
        raise ClipError(
            f"{source}: its {count} frames (or more) decode to {size_text(count * frame_bytes)}, above the "
            f"limit of {size_text(max_bytes)}. Cut the clip, make its pictures smaller, or use iter_clips."
        )


def size_text(count: int) -> str:
    """Bytes for a reader."""
    return f"{count / 1e9:.2f} GB" if count >= 10_000_000 else f"{count:,} bytes"


def mixed_sizes(
    source: str, shape: tuple[int, ...], name: str, other_shape: tuple[int, ...], other: str
) -> ClipError:
    """The error of a clip whose frames differ in size."""
    return ClipError(
        f"{source}: frames differ in size: {name} is {shape[1]}x{shape[0]}, {other} is "
        f"{other_shape[1]}x{other_shape[0]}. Bring all frames to one size."
    )
