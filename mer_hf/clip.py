"""Reads a video file, a folder of numbered frames, a list of pictures or an array into a `Clip`.

Videos are read by PyAV, whose wheel brings its own decoders. A file that is cut short decodes without an
error in every reader, so what the container declares is compared with the packets in the file first.
"""

import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image, ImageOps

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")
# Only these demuxers are tried: FFmpeg would also take a playlist, a text file or a single picture for a
# video, and a playlist makes it open other files.
CONTAINERS = "mov,mp4,matroska,webm,avi"
MAX_BYTES = 1_000_000_000
IGNORED_FILES = {"thumbs.db", "desktop.ini"}


class ClipError(ValueError):
    """A clip that cannot be read; its one line says what was found and what to do."""


class CutShort(ClipError):
    """A video that ends or breaks before what its file declares."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames in order, upright, with the time of each.

    Args:
        frames (`np.ndarray` of shape `(T, H, W, 3)`): uint8, RGB; T is at least 1.
        timestamps_s (`np.ndarray` of shape `(T,)`): float64, seconds; NaN where the source has no times.
        frame_names (`tuple[str, ...]`, *optional*, defaults to `()`): The names of a folder's files in order;
            otherwise empty.
        source (`str`, *optional*, defaults to `""`): Where the frames come from, for messages.

    Raises:
        ClipError: If a shape or type is another.
    """

    frames: np.ndarray
    timestamps_s: np.ndarray
    frame_names: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        shape, dtype = np.shape(self.frames), getattr(self.frames, "dtype", None)
        if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            raise ClipError(f"a clip holds uint8 frames of shape (T, H, W, 3), got {dtype} {shape}.")
        if np.shape(self.timestamps_s) != shape[:1] or len(self.frame_names) not in (0, shape[0]):
            raise ClipError(
                f"a clip of {shape[0]} frames needs as many timestamps and no or as many frame names, "
                f"got {np.size(self.timestamps_s)} and {len(self.frame_names)}."
            )

    def __len__(self) -> int:
        return len(self.frames)


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


class _Frame(NamedTuple):
    image: np.ndarray
    time_s: float
    name: str | None


def read_clip(
    source: str | os.PathLike | np.ndarray | Sequence,
    fps: float | None = None,
    max_bytes: int = MAX_BYTES,
    shrink: bool = False,
) -> Clip:
    """Read a whole clip into memory.

    Args:
        source (`str`, `os.PathLike`, `np.ndarray` or `Sequence`): A video file (mp4, mov, webm, mkv, avi);
            a folder of numbered pictures (jpg, png, bmp), ordered by the last whole number in each name; an
            array of shape `(T, H, W, 3)` or, gray, `(T, H, W)`; or a list of PIL images or arrays of one
            size, uint8.
        fps (`float`, *optional*): Frames per second. Replaces the times of a video, gives those of the
            others, which are NaN without it.
        max_bytes (`int`, *optional*, defaults to 1,000,000,000): The most that the decoded frames may take.
        shrink (`bool`, *optional*, defaults to `False`): Whether the frames of a video that would take more
            than `max_bytes` are made smaller while they are decoded, so that they fit. Without it such a
            video is refused.

    Returns:
        `Clip`: Frames upright (turned and mirrored as the file asks), timestamps in seconds.

    Raises:
        ClipError: If nothing can be read, the source is cut short, damaged or of mixed sizes, or the frames
            would take more than `max_bytes`.
    """
    _check_fps(fps)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            files = _numbered_pictures(path)
            return _collect(_read_pictures(files, fps), len(files), str(path), max_bytes)
        held = _survey(path, None if shrink else max_bytes)
        size_wh = _fitting_wh(held, max_bytes) if shrink else None
        return _collect(_decode(path, fps, held, size_wh), held.frames, str(path), max_bytes)
    if isinstance(source, np.ndarray) and (
        source.ndim not in (3, 4) or (source.ndim, source.shape[-1]) == (3, 3)
    ):
        raise ClipError(
            f"the array has shape {source.shape}, not that of a clip. "
            "Pass (T, H, W, 3), or (T, H, W) for gray frames."
        )
    if not isinstance(source, (np.ndarray, Sequence)) or isinstance(source, (bytes, bytearray)):
        raise ClipError(
            f"cannot read a clip from a {type(source).__name__}. "
            "Pass a path, a list of pictures or an array of shape (T, H, W, 3)."
        )
    name = "the array" if isinstance(source, np.ndarray) else "the list of pictures"
    if len(source) == 0:
        raise ClipError(f"{name} holds no frames. Pass at least one.")
    pictures = (
        _Frame(_to_rgb(item, f"{name}, frame {i}"), _time(i, fps), None) for i, item in enumerate(source)
    )
    return _collect(pictures, len(source), name, max_bytes)


def iter_clips(
    path: str | os.PathLike,
    window_s: float,
    overlap_s: float,
    fps: float | None = None,
    max_bytes: int = MAX_BYTES,
    most_pixels: int | None = None,
    until_damage: bool = False,
) -> Iterator[Clip]:
    """Read a long video as overlapping windows, in memory that does not grow with its length.

    Windows begin every `window_s - overlap_s` seconds from the first frame on; the last may be shorter, and
    one that would hold no frame beyond the one before it is left out. After a pause longer than a window they
    begin anew.

    Args:
        path (`str` or `os.PathLike`): A video file, or a folder of numbered pictures with `fps`.
        window_s (`float`): Length of a window in seconds.
        overlap_s (`float`): How much of a window the next one repeats, in seconds; less than `window_s`.
        fps (`float`, *optional*): Frames per second, as in `read_clip`.
        max_bytes (`int`, *optional*, defaults to 1,000,000,000): The most that one window's frames may take.
        most_pixels (`int`, *optional*): The frames of a video that have more are made smaller, while they are
            decoded, to so many.
        until_damage (`bool`, *optional*, defaults to `False`): Whether the windows before a damage are given,
            and `CutShort` raised after them. Otherwise a video cut short is refused before its first window.

    Returns:
        `Iterator[Clip]`: Clips whose timestamps count from the beginning of the video, not of the window.

    Raises:
        ClipError: As `read_clip`; or if `overlap_s` is not in `[0, window_s)`, or a folder has no `fps`.
    """
    if not (math.isfinite(window_s) and 0 <= overlap_s < window_s):
        raise ClipError(
            f"windows of {window_s} s cannot overlap by {overlap_s} s. Pass 0 <= overlap_s < window_s."
        )
    _check_fps(fps)
    path = Path(path)
    if path.is_dir():
        if fps is None:
            raise ClipError(f"{path}: a folder of frames has no times, so no windows. Pass fps.")
        frames = _read_pictures(_numbered_pictures(path), fps)
    else:
        survey = _survey(path, refuse_damage=not until_damage)
        size_wh = _fitting_wh(survey, survey.frames * 3 * most_pixels) if most_pixels else None
        frames = _decode(path, fps, survey, size_wh)
    return _windows(frames, window_s, overlap_s, str(path), max_bytes)


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
    container, stream = _open(path)
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
    container, stream = _open(path)
    count, turn = 0, _Turn()
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
                yield _upright(frame, turn.of(frame))
                count += 1
        except av.FFmpegError as error:
            raise _cut_short(path, f"{count} frames from {start_s:.2f} s on") from error


def write_clip(
    path: str | os.PathLike, frames: Iterable[np.ndarray], fps: float, crf: int = 18, preset: str = "medium"
) -> None:
    """Write an mp4 that browsers play (H.264, yuv420p, index at the front). A failure leaves no file behind.

    Args:
        path (`str` or `os.PathLike`): Where to write, ending in `.mp4`.
        frames (`Iterable[np.ndarray]`): Pictures of shape `(H, W, 3)`, uint8, RGB, one size. H.264 needs even
            sides: the last row or column of an odd one is repeated.
        fps (`float`): Frames per second.
        crf (`int`, *optional*, defaults to 18): Strength of the compression, 0 to 51; 18 is hard to tell from
            the original.
        preset (`str`, *optional*, defaults to `"medium"`): Of the encoder: `"veryfast"` takes a third of the
            time and gives somewhat larger files.

    Raises:
        ClipError: If there is no frame, a frame has another size or type, or the path does not end in `.mp4`.
    """
    path = Path(path)
    _check_fps(fps)
    if path.suffix.lower() != ".mp4":
        raise ClipError(f"{path}: clips are written as mp4. Give a name that ends in .mp4.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _encode(f"file:{part}", frames, fps, crf, str(path), preset=preset)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def compressed(frames: np.ndarray, fps: float, crf: int) -> np.ndarray:
    """Frames as they come back from an H.264 file. The same on every machine with the same encoder.

    Args:
        frames (`np.ndarray` of shape `(T, H, W, 3)`): uint8, RGB, with even sides.
        fps (`float`): Frames per second.
        crf (`int`): Strength of the compression: 18 is hard to tell from the original, 35 looks bad.

    Returns:
        `np.ndarray` of shape `(T, H, W, 3)`: uint8.
    """
    file = BytesIO()
    _encode(file, frames, fps, crf, "the frames", ":threads=1")  # the number of threads changes bits
    file.seek(0)
    with av.open(file) as container:
        turn = _Turn()
        decoded = [_upright(frame, turn.of(frame)) for frame in container.decode(video=0)]
    return np.stack(decoded)


def _encode(
    target: str | BytesIO,
    frames: Iterable[np.ndarray],
    fps: float,
    crf: int,
    label: str,
    options: str = "",
    preset: str = "medium",
) -> None:
    shape, at_front = None, {"movflags": "+faststart"} if isinstance(target, str) else {}
    with av.open(target, "w", format="mp4", options=at_front) as container:
        stream = container.add_stream("libx264", rate=Fraction(float(fps)).limit_denominator(1001))
        # With macroblock trees x264 gives other bytes for the same frames from call to call.
        stream.options = {"crf": str(crf), "preset": preset, "x264-params": f"no-mbtree=1{options}"}
        stream.pix_fmt = "yuv420p"
        for i, frame in enumerate(frames):
            image = _to_rgb(frame, f"{label}, frame {i}")
            if shape is None:
                shape = image.shape
                stream.height, stream.width = (side + side % 2 for side in shape[:2])
            if image.shape != shape:
                raise _mixed_sizes(label, shape, "frame 0", image.shape, f"frame {i}")
            even = np.pad(image, [(0, shape[0] % 2), (0, shape[1] % 2), (0, 0)], mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        if shape is None:
            raise ClipError(f"{label}: there are no frames to write. Pass at least one.")
        container.mux(stream.encode())


# Videos


def _open(path: Path) -> tuple[Any, Any]:
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


def survey_video(path: str | os.PathLike) -> VideoInfo:
    """What a video file holds. Its packets are walked through, none is decoded.

    Args:
        path (`str` or `os.PathLike`): A video file.

    Returns:
        `VideoInfo`: A file that is cut short says so in `damage`.

    Raises:
        ClipError: If it is no video, or holds no frame.
    """
    return _survey(Path(path), refuse_damage=False)


def _survey(path: Path, max_bytes: int | None = None, refuse_damage: bool = True) -> VideoInfo:
    """Count the packets that are in the file and compare them with what its header declares."""
    container, stream = _open(path)
    with container:
        indexed = container.format.name.startswith("mov")
        # The index of an mp4 leaves out what an edit list hides. A cut AVI has lost its index; Matroska's
        # holds key frames alone.
        declared = sum(not entry.is_discard for entry in stream.index_entries) if indexed else stream.frames
        width, height = stream.codec_context.width, stream.codec_context.height
        frame_bytes = width * height * 3
        _check_bytes(declared, frame_bytes, str(path), max_bytes)
        found = _count_packets(
            container, stream, lambda count: _check_bytes(count, frame_bytes, str(path), max_bytes)
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


def _fitting_wh(survey: VideoInfo, max_bytes: int) -> tuple[int, int] | None:
    """The largest size of the same shape at which all frames fit; None where they fit as they are."""
    scale = math.sqrt(max_bytes / (survey.frames * survey.width * survey.height * 3))
    if scale >= 1:
        return None
    return max(1, math.floor(survey.width * scale)), max(1, math.floor(survey.height * scale))


def _decode(
    path: Path, fps: float | None, survey: VideoInfo, size_wh: tuple[int, int] | None = None
) -> Iterator[_Frame]:
    container, stream = _open(path)
    count, turn = 0, _Turn()
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
                    raise _mixed_sizes(str(path), stored, "the header", this, f"frame {count}")
                seconds = math.nan if frame.time is None else frame.time
                image = _upright(frame, turn.of(frame), size_wh)
                yield _Frame(image, seconds if rate is None else count / rate, None)
                count += 1
        except av.FFmpegError as error:
            raise _cut_short(path, f"{count} of {survey.frames} frames") from error
    if survey.damage:
        raise survey.damage
    if count == 0 or (survey.one_frame_each and count < survey.frames):
        raise _cut_short(path, f"{count} of {survey.frames} frames")


class _Turn:
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


def _upright(
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


# Pictures


def _numbered_pictures(folder: Path) -> list[Path]:
    names = sorted(
        entry
        for entry in folder.iterdir()
        if entry.name[0] != "." and entry.name.lower() not in IGNORED_FILES
    )
    others = [entry.name for entry in names if entry.suffix.lower() not in PICTURE_SUFFIXES or entry.is_dir()]
    if others:
        raise ClipError(
            f"{folder}: {others[0]} is not a jpg, png or bmp picture. "
            "Pass a folder that holds one clip's frames alone."
        )
    if not names:
        raise ClipError(f"{folder}: the folder holds no frames. Put jpg, png or bmp pictures in it.")
    numbers = {entry: [int(digits) for digits in re.findall(r"[0-9]+", entry.stem)] for entry in names}
    for entry, found in numbers.items():
        if not found:
            raise ClipError(f"{folder}: {entry.name} has no number. Number the frames, as in img1.jpg.")
    files = sorted(names, key=lambda entry: numbers[entry][-1])
    for one, other in pairwise(files):
        if numbers[one][-1] == numbers[other][-1]:
            raise ClipError(
                f"{folder}: {one.name} and {other.name} have the same number, so their order is unknown. "
                "Keep one of them, or one clip to a folder."
            )
    return files


def _read_pictures(files: list[Path], fps: float | None) -> Iterator[_Frame]:
    first: tuple[int, ...] | None = None
    for i, file in enumerate(files):
        try:
            with Image.open(file) as image:
                picture = ImageOps.exif_transpose(image)
                pixels = _to_rgb(picture, str(file))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ClipError(
                f"{file}: the picture cannot be read ({error}). Copy it again or remove it."
            ) from error
        first = first or pixels.shape
        if pixels.shape != first:
            raise _mixed_sizes(str(files[0].parent), first, files[0].name, pixels.shape, file.name)
        yield _Frame(pixels, _time(i, fps), file.name)


def _to_rgb(picture: Any, label: str) -> np.ndarray:
    if isinstance(picture, Image.Image):
        if picture.mode.startswith(("I", "F")):
            raise ClipError(f"{label}: mode {picture.mode} is not an 8-bit picture. Convert it to 8 bits.")
        return np.asarray(picture.convert("RGB"))
    image = np.asarray(picture)
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        image = np.broadcast_to(image.reshape(*image.shape[:2], 1), (*image.shape[:2], 3))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ClipError(
            f"{label}: expected a PIL image or a uint8 array of shape (H, W, 3) or (H, W), "
            f"got {image.dtype} {image.shape}. Convert it to 8-bit RGB."
        )
    return image


# Collecting


def _collect(frames: Iterator[_Frame], count: int, source: str, max_bytes: int) -> Clip:
    """Fill one array of `count` frames (more are made room for), so that the frames are never held twice."""
    pixels, times, names = None, [], []
    for i, frame in enumerate(frames):
        if pixels is None:
            _check_bytes(count, frame.image.nbytes, source, max_bytes)
            pixels = np.empty((count, *frame.image.shape), np.uint8)
        if frame.image.shape != pixels.shape[1:]:
            raise _mixed_sizes(source, pixels.shape[1:], "frame 0", frame.image.shape, f"frame {i}")
        if i == len(pixels):
            _check_bytes(i + 1, frame.image.nbytes, source, max_bytes)
            room = min(i + i // 4 + 1, max_bytes // frame.image.nbytes)
            pixels.resize((room, *frame.image.shape), refcheck=False)
        pixels[i] = frame.image
        times.append(frame.time_s)
        names.extend([frame.name] if frame.name else [])
    if len(times) < len(pixels):
        pixels.resize((len(times), *pixels.shape[1:]), refcheck=False)
    return Clip(pixels, np.array(times, np.float64), tuple(names), source)


def _windows(
    frames: Iterator[_Frame], window_s: float, overlap_s: float, source: str, max_bytes: int
) -> Iterator[Clip]:
    held: deque[_Frame] = deque()
    start_s, fresh, given, damage, eps_s = None, 0, False, None, 1e-6

    def until_damage() -> Iterator[_Frame]:
        nonlocal damage
        try:
            yield from frames
        except CutShort as error:
            damage = error

    for frame in until_damage():
        if math.isnan(frame.time_s):
            raise ClipError(f"{source}: the frames have no times, so no windows. Pass fps.")
        start_s = frame.time_s if start_s is None else start_s
        while frame.time_s >= start_s + window_s - eps_s:
            if fresh:
                yield _stack(held, source)
                given = True
            fresh, start_s = 0, start_s + window_s - overlap_s
            while held and held[0].time_s < start_s - eps_s:
                held.popleft()
            if not held and frame.time_s >= start_s + window_s - eps_s:
                start_s = frame.time_s
        if given:  # what is held are views of the window before: copied, so that the rest of it can go
            held, given = deque(each._replace(image=each.image.copy()) for each in held), False
        held.append(frame)
        fresh += 1
        if held[0].image.shape != frame.image.shape:
            raise _mixed_sizes(source, held[0].image.shape, "one", frame.image.shape, "a later one")
        if len(held) * frame.image.nbytes > max_bytes:
            raise ClipError(
                f"{source}: a window of {window_s} s takes more than {_size(max_bytes)}. "
                "Choose a shorter window_s."
            )
    if fresh:
        yield _stack(held, source)
    if damage:
        raise damage


def _stack(held: deque[_Frame], source: str) -> Clip:
    """A window; what was held of its frames becomes views of it, so that no frame is in memory twice."""
    names = tuple(frame.name for frame in held if frame.name)
    times = np.array([frame.time_s for frame in held], np.float64)
    pixels = np.empty((len(held), *held[0].image.shape), np.uint8)
    for i in range(len(held)):
        pixels[i] = held[i].image
        held[i] = held[i]._replace(image=pixels[i])
    return Clip(pixels, times, names, source)


def _time(i: int, fps: float | None) -> float:
    return math.nan if fps is None else i / fps


def _check_fps(fps: float | None) -> None:
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise ClipError(f"fps must be above 0, got {fps}. Pass the frames per second of the recording.")


def _check_bytes(count: int, frame_bytes: int, source: str, max_bytes: int | None) -> None:
    if max_bytes is not None and count * frame_bytes > max_bytes:
        raise ClipError(
            f"{source}: its {count} frames (or more) decode to {_size(count * frame_bytes)}, above the limit "
            f"of {_size(max_bytes)}. Cut the clip, make its pictures smaller, or use iter_clips."
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 10_000_000 else f"{count:,} bytes"


def _mixed_sizes(
    source: str, shape: tuple[int, ...], name: str, other_shape: tuple[int, ...], other: str
) -> ClipError:
    return ClipError(
        f"{source}: frames differ in size: {name} is {shape[1]}x{shape[0]}, {other} is "
        f"{other_shape[1]}x{other_shape[0]}. Bring all frames to one size."
    )
