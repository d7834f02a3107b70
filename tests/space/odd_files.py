"""Files that an upload can be: large or long by their own account, without a picture, a camera's pictures."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_packets(path: Path, size_wh: tuple[int, int], seconds: float, count: int) -> Path:
    """A small file that says it is large or long: empty pictures, far apart."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height = size_wh
        stream.pix_fmt, stream.options = "yuv420p", {"preset": "ultrafast", "g": "1"}
        picture = av.VideoFrame.from_ndarray(
            np.zeros((size_wh[1] * 3 // 2, size_wh[0]), np.uint8), format="yuv420p"
        )
        stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(count):
            picture.pts, picture.time_base = round(i * seconds / count * 1000), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """A second of silence and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    return path


def write_camera(path: Path, frames: np.ndarray) -> Path:
    """Pictures as Chromium's false camera shows them, over and over: `--use-file-for-fake-video-capture`."""
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=30, options={"qmin": "1", "qmax": "2"})
        stream.pix_fmt, (stream.height, stream.width) = "yuvj420p", frames.shape[1:3]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
