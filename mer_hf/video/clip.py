"""Read a video file, a folder of numbered frames, a list of pictures or an array as a `Clip`; write mp4."""

import math
import os
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import av
import httpx2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mer_hf.utils import bounds
from mer_hf.utils.files import replacing
from mer_hf.utils.untrusted import in_one_line, open_regular

from .container import (
    PICTURE_SUFFIXES,
    ClipError,
    CutShort,
    Frame,
    Turn,
    VideoInfo,
    check_bytes,
    decode,
    survey_video,
    upright,
)

MAX_BYTES = 1_000_000_000
MOST_BYTES = 600_000_000
"""The most that decoded frames take. Of larger ones only what lies around the face is kept, in a third."""
LEAST_STEP_S = 0.01
MOST_PIXELS = 40_000_000
"""Of one picture: 8K video has 33 million."""
PICTURE_FORMATS = ("JPEG", "PNG", "BMP")
IGNORED_FILES = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames in order, upright, with the time of each.

    Args:
        frames (`np.ndarray` of shape `(T, H, W, 3)`): uint8, RGB; T is at least 1.
        timestamps_s (`np.ndarray` of shape `(T,)`): float64, seconds; NaN where the source has no times.
        frame_names (`tuple[str, ...]`, *optional*, defaults to `()`): The names of a folder's files in order;
            otherwise empty.
        source (`str`, *optional*, defaults to `""`): Where the frames come from, for messages.
        warnings (`tuple[str, ...]`, *optional*, defaults to `()`): Reasons to doubt frames or times.

    Raises:
        ClipError: If a shape or type is wrong.
    """

    frames: np.ndarray
    timestamps_s: np.ndarray
    frame_names: tuple[str, ...] = ()
    source: str = ""
    warnings: tuple[str, ...] = ()

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


def read_clip(
    source: str | os.PathLike | np.ndarray | Sequence,
    fps: float | None = None,
    max_bytes: int = MAX_BYTES,
    survey: VideoInfo | None = None,
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
        survey (`VideoInfo`, *optional*): What `survey_video` found, if it was called already.

    Returns:
        `Clip`: Frames upright (turned and mirrored as the file asks), timestamps in seconds.

    Raises:
        ClipError: If nothing can be read, the source is cut short, damaged or of mixed sizes, or the frames
            would take more than `max_bytes`.
    """
    _check_fps(fps)
    if isinstance(source, (str, os.PathLike)):
        if "://" in str(source):
            raise ClipError(f"{source}: addresses are not fetched. Download it and give the file.")
        path = Path(source)
        if path.is_dir():
            return read_pictures(list(numbered_frames(path, alone=True).values()), fps, max_bytes)
        held = survey or survey_video(path, max_bytes)
        if held.damage:
            raise held.damage
        clip = _collect(decode(path, fps, held), held.frames, str(path), max_bytes)
        return replace(clip, warnings=held.doubts)
    name = "the array" if isinstance(source, np.ndarray) else "the list of pictures"
    _check_frames(source, name)
    pictures = (
        Frame(_to_rgb(item, f"{name}, frame {i}"), _time_s(i, fps), None) for i, item in enumerate(source)
    )
    return _collect(pictures, len(source), name, max_bytes)


def _check_frames(source: Any, name: str) -> None:
    if isinstance(source, np.ndarray):
        if source.ndim not in (3, 4) or (source.ndim, source.shape[-1]) == (3, 3):
            raise ClipError(
                f"the array has shape {source.shape}, not that of a clip. "
                "Pass (T, H, W, 3), or (T, H, W) for gray frames."
            )
    elif not isinstance(source, Sequence) or isinstance(source, (bytes, bytearray)):
        raise ClipError(
            f"cannot read a clip from a {type(source).__name__}. "
            "Pass a path, a list of pictures or an array of shape (T, H, W, 3)."
        )
    if len(source) == 0:
        raise ClipError(f"{name} holds no frames. Pass at least one.")


class FrameSource:
    """A video file, or a folder of numbered pictures, that is read frame by frame.

    Args:
        path (`str` or `os.PathLike`): The file or folder.
        fps (`float`, *optional*): Frames per second. Replaces the times of a video, gives those of a folder.
        survey (`VideoInfo`, *optional*): What `survey_video` found, if it was called already.

    Attributes:
        frame_names (`tuple[str, ...]`): The files of a folder; otherwise empty.
        times_s (`np.ndarray` of shape `(T,)`): Seconds of the frames; NaN where they are unknown.
        survey (`VideoInfo`): What is in it.

    Raises:
        ClipError: If there is nothing to read.
    """

    def __init__(
        self, path: str | os.PathLike, fps: float | None = None, survey: VideoInfo | None = None
    ) -> None:
        _check_fps(fps)
        self.path, self.fps, self.survey, self._files = Path(path), fps, survey, []
        if self.path.is_dir():
            self._files = list(numbered_frames(self.path, alone=True).values())
            height, width, _ = next(_frames_of(enumerate(self._files), fps)).image.shape
            unknown = np.full(len(self._files), np.nan)
            self.survey = VideoInfo(len(self._files), True, width=width, height=height, times_s=unknown)
        elif survey is None:
            self.survey = survey_video(self.path)
        self.frame_names = tuple(file.name for file in self._files)
        self.times_s = np.arange(len(self)) / fps if fps else self.survey.times_s

    def __len__(self) -> int:
        return self.survey.frames

    @property
    def frame_bytes(self) -> int:
        """Return how much a decoded frame takes."""
        return self.survey.width * self.survey.height * 3

    @property
    def duration_s(self) -> float:
        """Return the time from the first frame to the end of the last; 0 where it is unknown."""
        return len(self) / self.fps if self.fps else self.survey.duration_s

    def frames_in(self, span_s: float) -> int:
        """Return how many frames a stretch may have: rates are not always steady."""
        rate = len(self) / max(self.duration_s, 1e-3)
        return math.ceil(min(len(self), 1.25 * span_s * rate))

    def frames(self, start_s: float = -math.inf, end_s: float = math.inf) -> Iterator[Frame]:
        """Yield the frames of a stretch, or all; raise after all of them if the file is damaged."""
        if not self._files:
            return decode(self.path, self.fps, self.survey, start_s=start_s, end_s=end_s)
        outside = (self.times_s < start_s) | (self.times_s > end_s)
        return _frames_of(((i, file) for i, file in enumerate(self._files) if not outside[i]), self.fps)


def iter_clips(
    source: str | os.PathLike | FrameSource,
    window_s: float,
    overlap_s: float,
    fps: float | None = None,
    max_bytes: int = MAX_BYTES,
    until_damage: bool = False,
    through: Callable[[Iterator[Frame]], Iterator[Frame]] = iter,
) -> Iterator[Any]:
    """Read a long video as overlapping windows, in memory that does not grow with its length.

    Windows begin every `window_s - overlap_s` seconds from the first frame on; the last may be shorter, and
    one that would hold no frame beyond the one before it is skipped. After a pause longer than a window they
    begin with the first frame after it.

    Args:
        source (`str`, `os.PathLike` or [`FrameSource`]): A video file, or a folder of numbered pictures with
            `fps`.
        window_s (`float`): Length of a window in seconds.
        overlap_s (`float`): How much of a window the next one repeats, in seconds; less than `window_s`.
        fps (`float`, *optional*): Frames per second, as in `read_clip`.
        max_bytes (`int`, *optional*, defaults to 1,000,000,000): The most that one window's frames may take.
            A window that would take more ends earlier, and the next one does not overlap it.
        until_damage (`bool`, *optional*, defaults to `False`): Whether the windows before a damage are
            yielded, and `CutShort` is raised after them. Otherwise a video cut short is refused before its
            first window.
        through (`Callable`, *optional*): What happens to the frames between reading and windows.

    Returns:
        `Iterator[Clip]`: Clips whose timestamps count from the beginning of the video, not of the window.

    Raises:
        ClipError: As `read_clip`; or if windows overlap by less than 0 s or advance by less
            than 0.01 s, or a folder has no `fps`.
    """
    if not (math.isfinite(window_s) and 0 <= overlap_s <= window_s - LEAST_STEP_S):
        raise ClipError(
            f"windows of {window_s} s cannot overlap by {overlap_s} s. Pass 0 <= overlap_s and at least "
            f"{LEAST_STEP_S} s from one window to the next."
        )
    source = source if isinstance(source, FrameSource) else FrameSource(source, fps)
    if source.survey.damage and not until_damage:
        raise source.survey.damage
    expected = source.frames_in(window_s)
    return windows(through(source.frames()), window_s, overlap_s, str(source.path), max_bytes, expected)


def write_clip(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    fps: float,
    crf: int = 18,
    preset: str = "medium",
    threads: int | None = None,
) -> None:
    """Write an mp4 that browsers play (H.264, yuv420p, index at the front). An error leaves no file behind.

    Args:
        path (`str` or `os.PathLike`): Where to write, ending in `.mp4`.
        frames (`Iterable[np.ndarray]`): Pictures of shape `(H, W, 3)`, uint8, RGB, one size. H.264 needs even
            sides: the last row or column of an odd one is repeated.
        fps (`float`): Frames per second.
        crf (`int`, *optional*, defaults to 18): Strength of the compression, 0 to 51; 18 is hard to tell from
            the original.
        preset (`str`, *optional*, defaults to `"medium"`): Of the encoder: `"veryfast"` takes a third of the
            time and gives somewhat larger files.
        threads (`int`, *optional*): Of the encoder, which changes bits; by default as many as it likes.

    Raises:
        ClipError: If there is no frame, frames differ in size or type, or the path does not end in `.mp4`.
    """
    path = Path(path)
    _check_fps(fps)
    if path.suffix.lower() != ".mp4":
        raise ClipError(f"{path}: clips are written as mp4. Give a name that ends in .mp4.")
    with replacing(path) as part:
        options = f":threads={threads}" if threads else ""
        _encode(f"file:{part}", frames, fps, crf, str(path), options, preset)


def compressed(frames: np.ndarray, fps: float, crf: int) -> np.ndarray:
    """Return frames `(T, H, W, 3)` with even sides as they come back from an H.264 file.

    They are the same on every machine with the same encoder. A `crf` of 18 is hard to tell from the original,
    35 looks bad.
    """
    file = BytesIO()
    _encode(file, frames, fps, crf, "the frames", ":threads=1")  # the number of threads changes bits
    file.seek(0)
    with av.open(file) as container:
        turn = Turn()
        decoded = [upright(frame, turn.of(frame)) for frame in container.decode(video=0)]
    return np.stack(decoded)


def _encode(
    target: str | BytesIO, frames: Iterable[np.ndarray], fps, crf, label, options="", preset="medium"
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


# --- pictures -----------------------------------------------------------------------------------------------


def numbered_frames(folder: Path, alone: bool = False) -> dict[int, Path]:
    """Return the pictures of one clip by the last whole number in their names, in the order of the numbers.

    Annotation sheets count in these numbers: `img46.jpg`, `reg_img46.jpg` and `006_05562.jpg` are frames 46,
    46 and 5562. Hidden files and those of `IGNORED_FILES` are skipped.

    Args:
        folder (`Path`): Of one clip.
        alone (`bool`, *optional*, defaults to `False`): Whether the folder has to hold numbered pictures
            alone. Otherwise other files in it are skipped, and the result may be empty.

    Raises:
        ClipError: If two pictures have the same number, or something else is there in spite of `alone`.
    """
    frames: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name[0] == "." or path.name.lower() in IGNORED_FILES:
            continue
        is_picture = path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir()
        if alone and not is_picture:
            raise ClipError(
                f"{folder}: {path.name} is not a jpg, png or bmp picture. "
                "Pass a folder that holds one clip's frames alone."
            )
        numbers = re.findall(r"[0-9]+", path.stem)
        if alone and not numbers:
            raise ClipError(f"{folder}: {path.name} has no number. Number the frames, as in img1.jpg.")
        if is_picture and numbers:
            same = frames.setdefault(int(numbers[-1]), path)
            if same is not path:
                raise ClipError(
                    f"{folder}: {same.name} and {path.name} have the same number, so their order is unknown. "
                    "Keep one of them, or one clip to a folder."
                )
    if alone and not frames:
        raise ClipError(f"{folder}: the folder holds no frames. Put jpg, png or bmp pictures in it.")
    return dict(sorted(frames.items()))


def read_pictures(files: Sequence[Path], fps: float | None = None, max_bytes: int = MAX_BYTES) -> Clip:
    """Read picture files of one folder, which may repeat, as a clip."""
    return _collect(_frames_of(enumerate(files), fps), len(files), str(files[0].parent), max_bytes)


def _frames_of(files: Iterable[tuple[int, Path]], fps: float | None) -> Iterator[Frame]:
    for i, file in files:
        yield Frame(_to_rgb(read_picture(file), str(file)), _time_s(i, fps), file.name)


def read_picture(source: Path | bytes) -> Image.Image:
    """Read a picture file, or its bytes, upright; its content is of `PICTURE_FORMATS`, its size bounded."""
    label = "a picture" if isinstance(source, bytes) else str(source)
    try:
        with BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
            image = Image.open(file, formats=PICTURE_FORMATS)
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, at most {MOST_PIXELS:,} are read")
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow raises exceptions of every kind
        reason = in_one_line(error).removeprefix(f"{label} ").removesuffix(".")
        if isinstance(error, UnidentifiedImageError):
            reason = "not JPEG, PNG or BMP"
        raise ClipError(
            f"{label}: the picture cannot be read ({reason}). Copy it again or remove it."
        ) from error


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


# --- collecting ---------------------------------------------------------------------------------------------


def _collect(frames: Iterator[Frame], count: int, source: str, max_bytes: int) -> Clip:
    """Fill one array of `count` frames, or more, so that the frames are never held twice."""
    pixels, times, names = None, [], []
    for i, frame in enumerate(frames):
        if pixels is None:
            check_bytes(count, frame.image.nbytes, source, max_bytes)
            pixels = np.empty((count, *frame.image.shape), np.uint8)
        if frame.image.shape != pixels.shape[1:]:
            first, this = names[0] if names else "frame 0", frame.name or f"frame {i}"
            raise _mixed_sizes(source, pixels.shape[1:], first, frame.image.shape, this)
        if i == len(pixels):
            check_bytes(i + 1, frame.image.nbytes, source, max_bytes)
            room = min(i + i // 4 + 1, max_bytes // frame.image.nbytes)
            pixels.resize((room, *frame.image.shape), refcheck=False)
        pixels[i] = frame.image
        times.append(frame.time_s)
        names.extend([frame.name] if frame.name else [])
    if len(times) < len(pixels):
        pixels.resize((len(times), *pixels.shape[1:]), refcheck=False)
    return Clip(pixels, np.array(times, np.float64), tuple(names), source)


class Windows:
    """Overlapping windows of frames that come one by one; the frames of another `run` begin a new one.

    Without times there is one window of all frames, or as many as fit. A frame is copied into its window as
    it comes, so that its own memory serves the next one.
    """

    def __init__(
        self, window_s: float, overlap_s: float, source: str, max_bytes: int, expected: int = 1
    ) -> None:
        self.window_s, self.overlap_s, self.source, self.max_bytes = window_s, overlap_s, source, max_bytes
        self.held: deque[Frame] = deque()
        self.start_s, self.fresh = None, 0
        self.pixels, self.expected = None, expected

    def add(self, frame: Frame) -> Iterator[Any]:
        """Take a frame, and yield the windows that end before it."""
        held, eps_s = self.held, 1e-6
        if math.isnan(frame.time_s) and math.isfinite(self.window_s):
            raise ClipError(f"{self.source}: the frames have no times, so no windows. Pass fps.")
        self.start_s = frame.time_s if self.start_s is None else self.start_s
        while frame.time_s >= self.start_s + self.window_s - eps_s:
            yield from self.end()
            self.start_s += self.window_s - self.overlap_s
            while held and held[0].time_s < self.start_s - eps_s:
                held.popleft()
            if not held and frame.time_s >= self.start_s + self.window_s - eps_s:
                self.start_s = frame.time_s
        too_many = (len(held) + 1) * frame.image.nbytes > self.max_bytes
        if held and (held[-1].run is not frame.run or too_many):
            yield from self.end()
            held.clear()
            self.start_s = frame.time_s
        if held and held[0].image.shape != frame.image.shape:
            first, this = held[0].name or "one", frame.name or "a later one"
            raise _mixed_sizes(self.source, held[0].image.shape, first, frame.image.shape, this)
        held.append(frame)
        self.fresh += 1
        if frame.run is None:
            self._copy()

    def _copy(self) -> None:
        """Copy the last frame into the window, or all that are held into a new one."""
        held, first = self.held, len(self.held) - 1
        if self.pixels is None or first == len(self.pixels):
            most = max(1, self.max_bytes // held[0].image.nbytes)
            self.expected = min(most, self.expected if self.expected > first else 2 * len(held))
            self.pixels, first = np.empty((self.expected, *held[0].image.shape), np.uint8), 0
        for i in range(first, len(held)):
            self.pixels[i] = held[i].image
            held[i] = held[i]._replace(image=self.pixels[i])

    def end(self) -> Iterator[Any]:
        """Yield the window of the frames held, unless it was yielded before."""
        if self.fresh:
            self.fresh = 0
            names = tuple(frame.name for frame in self.held if frame.name)
            times = np.array([frame.time_s for frame in self.held], np.float64)
            if run := self.held[0].run:
                yield run.clip(tuple(frame.image for frame in self.held), times, names, self.source)
            else:
                pixels, self.pixels = self.pixels[: len(self.held)], None
                yield Clip(pixels, times, names, self.source)


def windows(
    frames: Iterator[Frame], window_s: float, overlap_s: float, source: str, max_bytes: int, expected: int = 1
) -> Iterator[Any]:
    """Yield overlapping windows of frames, as `iter_clips` does; an error of a damaged file comes last.

    Windows have room for as many frames as `expected`, and grow if there are more.
    """
    each = ({0: frame} for frame in frames)
    return windows_of_each(each, window_s, overlap_s, source, max_bytes, expected)


def windows_of_each(
    frames: Iterator[dict[int, Frame]],
    window_s: float,
    overlap_s: float,
    source: str,
    max_bytes: int,
    expected: int = 1,
) -> Iterator[Any]:
    """Yield the windows of several people, each of whose frames come with the person's number."""
    held: dict[int, Windows] = {}
    damage = None
    try:
        for present in frames:
            for person in held.keys() - present.keys():
                yield from held.pop(person).end()
            for person, frame in present.items():
                if person not in held:
                    held[person] = Windows(window_s, overlap_s, source, max_bytes, expected)
                yield from held[person].add(frame)
    except CutShort as error:
        damage = error
    for person in sorted(held):
        yield from held[person].end()
    if damage:
        raise damage


def _mixed_sizes(
    source: str, shape: tuple[int, ...], name: str, other_shape: tuple[int, ...], other: str
) -> ClipError:
    """Return the error of a clip whose frames differ in size."""
    return ClipError(
        f"{source}: frames differ in size: {name} is {shape[1]}x{shape[0]}, {other} is "
        f"{other_shape[1]}x{other_shape[0]}. Bring all frames to one size."
    )


def _time_s(i: int, fps: float | None) -> float:
    return math.nan if fps is None else i / fps


def fetch_clip(address: str, fps: float | None = None, max_bytes: int = MAX_BYTES) -> Clip:
    """Read a clip from the web (http, https). Its file is deleted when it has been read.

    Raises:
        ClipError: If it cannot be fetched, has more than `max_bytes`, or is not a clip.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, PurePosixPath(urlsplit(address).path).name or "clip")
        try:
            with path.open("wb") as file, httpx2.stream("GET", address, follow_redirects=True) as answer:
                answer.raise_for_status()
                for part in answer.iter_bytes():
                    file.write(part)
                    if file.tell() > max_bytes:
                        raise ClipError(f"{address} has over {max_bytes / 1e6:.0f} MB. Download it first.")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            reason = " ".join(str(error).split()[:30]) or type(error).__name__
            raise ClipError(f"{address} could not be fetched: {reason}.") from error
        return read_clip(path, fps)


def _check_fps(fps: float | None) -> None:
    least, most = bounds.FPS
    if fps is not None and not least <= fps <= most:
        raise ClipError(
            f"fps must be from {least} to {most}, got {fps}. Pass the frames per second of the recording."
        )
