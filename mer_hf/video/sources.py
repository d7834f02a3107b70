"""Open what is watched while it happens: a camera, a file at its own speed, a stream from the network."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

import av
import cv2
import numpy as np

from mer_hf.utils.files import replacing

from .clip import FrameSource
from .container import CONTAINERS, ClipError, Turn, upright

STREAMS = {
    "http": ("http,https,tls,tcp", f"{CONTAINERS},mpegts,mpjpeg,flv"),
    "https": ("http,https,tls,tcp", f"{CONTAINERS},mpegts,mpjpeg,flv"),
    "rtsp": ("rtsp,rtp,udp,tcp", "rtsp,rtp,sdp,mpegts"),
    "rtsps": ("rtsps,rtsp,rtp,udp,tcp,tls", "rtsp,rtp,sdp,mpegts"),
}
"""Kind of address -> what FFmpeg may open for it, and which containers: no playlist, and no file of ours."""
TIMEOUT_S = 10.0
_MOST_PIXELS = 8192 * 4320
_FARTHEST_S = 5.0
"""A stream whose times jump by more begins again."""
_OUT_OF_ORDER_S = 0.5
"""FFmpeg mixes up the times of neighbouring frames where a stream over rtsp has B-frames."""

Frames = Iterator[tuple[np.ndarray, float]]


def name_of(source: str) -> str:
    """Return a source as it may be shown and kept: an address without passwords and what follows a `?`."""
    if "://" not in source:
        return source
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def open_live(source: str) -> Frames:
    """Open a source and yield its frames when they are due, with seconds from the first one.

    Args:
        source (`str`): The number of a camera, a video file, or an address (rtsp, rtsps, http, https) of a
            video stream. Other protocols, and playlists, are not opened.

    Returns:
        `Iterator[tuple[np.ndarray, float]]`: Pictures `(H, W, 3)`, uint8, RGB, and their times.

    Raises:
        ClipError: If it cannot be opened, here; while it is read, if it breaks off.
    """
    if source.isdecimal():
        return _first_read(source, _camera(int(source)))
    if "://" in source:
        return _first_read(name_of(source), _paced(_stream(source)))
    if Path(source).is_dir():
        raise ClipError(f"{source} is a folder. Give a video, a camera's number or an address.")
    if not Path(source).is_file():
        raise ClipError(f"{source or 'SOURCE'}: no such file. Give a video, a camera's number or an address.")
    file = FrameSource(Path(source))
    return _first_read(source, _paced((frame.image, frame.time_s) for frame in file.frames()))


def _first_read(name: str, frames: Frames) -> Frames:
    """Read the first frame now, so that a source that does not open is refused before anything else."""
    first = next(frames, None)
    if first is None:
        raise ClipError(f"{name}: no picture came. Check that it is a video.")

    def checked() -> Frames:
        yield first
        for image, time_s in frames:
            if image.shape != first[0].shape:
                raise ClipError(f"{name}: the pictures changed their size. Start again.")
            yield image, time_s

    return checked()


def _camera(number: int) -> Frames:
    camera = cv2.VideoCapture(number)
    begun_s = None
    try:
        while True:
            there, picture = camera.read()
            now_s = time.monotonic()
            if not there:
                what = "could not be opened" if begun_s is None else "gives no more pictures"
                raise ClipError(f"camera {number} {what}. Check that it is plugged in and not in use.")
            begun_s = now_s if begun_s is None else begun_s
            yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), now_s - begun_s
    finally:
        camera.release()


def _stream(address: str) -> Frames:
    """Read a stream of the network, as fast as it comes."""
    name, scheme = name_of(address), urlsplit(address).scheme.lower()
    if scheme not in STREAMS:
        raise ClipError(f"{name}: only {', '.join(STREAMS)} are opened. Give the address of a video.")
    protocols, formats = STREAMS[scheme]
    options = {"protocol_whitelist": protocols, "format_whitelist": formats}
    if scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    try:
        with av.open(address, options=options, timeout=TIMEOUT_S, metadata_errors="ignore") as container:
            if not container.streams.video:
                raise ClipError(f"{name}: the stream holds no pictures. Give one of a video.")
            stream, turn = container.streams.video[0], Turn()
            stream.thread_type = "SLICE"  # threads by frame would hold some back
            if stream.codec_context.width * stream.codec_context.height > _MOST_PIXELS:
                raise ClipError(f"{name}: the pictures are larger than 8K. Make them smaller.")
            for frame in container.decode(stream):
                time_s = math.nan if frame.time is None else frame.time
                yield upright(frame, turn.of(frame)), time_s
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise ClipError(f"{name}: no video stream can be read ({reason}). Check the address.") from error


def _paced(frames: Frames) -> Frames:
    """Yield frames when they are due, with seconds since the first; where times jump, they go on from now.

    The clock stands still until the second frame is asked for: what comes before that is preparation.
    """
    begun_s = shift_s = last_s = None
    for number, (image, time_s) in enumerate(frames):
        begun_s = time.monotonic() if begun_s is None else begun_s
        now_s = time.monotonic() - begun_s
        due_s = now_s if shift_s is None or math.isnan(time_s) else time_s + shift_s
        if last_s is not None and not -_OUT_OF_ORDER_S <= due_s - last_s <= _FARTHEST_S:
            due_s, shift_s = now_s, None
        if shift_s is None and not math.isnan(time_s):
            shift_s = due_s - time_s
        due_s = due_s if last_s is None else max(due_s, last_s + 0.001)
        time.sleep(max(0.0, due_s - now_s))
        last_s = due_s
        yield image, due_s
        if number == 0:
            begun_s = time.monotonic() - due_s


@contextlib.contextmanager
def recording(path: Path) -> Iterator[Callable[[np.ndarray, float], None]]:
    """Write frames as they come to an mp4 (H.264), whole or not at all; yield a function that takes one.

    It takes a picture `(H, W, 3)` in uint8 RGB, and its seconds from the first one.
    """
    with replacing(path) as part, av.open(f"file:{part}", "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1000, options={"crf": "18", "preset": "veryfast"})
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        last_ms = -1

        def add(image: np.ndarray, time_s: float) -> None:
            nonlocal last_ms
            height, width = image.shape[:2]
            if last_ms < 0:
                stream.height, stream.width = height + height % 2, width + width % 2
            even = np.pad(image, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
            frame = av.VideoFrame.from_ndarray(even, format="rgb24")
            frame.time_base, frame.pts = Fraction(1, 1000), max(round(1000 * time_s), last_ms + 1)
            last_ms = frame.pts
            container.mux(stream.encode(frame))

        yield add
        container.mux(stream.encode())
