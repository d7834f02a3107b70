"""Compare the tables of an mp4 with each other and with what was read: no decoder says that they disagree."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

Box = tuple[int, int]
"""The first byte of a box's contents, and the one behind the last."""

_RUN = np.dtype([("frames", ">u4"), ("each", ">u4")])
_EDIT = [[("lasts", f">u{size}"), ("at", f">i{size}"), ("rate", ">u4")] for size in (4, 8)]
_MOST_TABLE_BYTES = 16_000_000
_UNKNOWN = (0, 2**32 - 1, 2**64 - 1)
"""Durations that say nothing."""


def doubts_about(path: Path, frames: int) -> tuple[str, ...]:
    """Say where the tables of an mp4 or mov do not fit the number of frames that were read, or each other."""
    try:
        with open(path, "rb") as file:
            return tuple(_doubts(file, frames))
    except struct.error:  # a table ends too early
        return ("the tables of the video are damaged: frames or times may be wrong. Export it again.",)


def _doubts(file: BinaryIO, frames: int) -> Iterator[str]:
    movie = _find(file, (0, os.fstat(file.fileno()).st_size), "moov")
    tracks = _boxes(file, movie, "trak") if movie else ()
    track = next((track for track in tracks if _is_video(file, track)), None)
    media = track and _find(file, track, "mdia")
    table = media and _find(file, media, "minf", "stbl")
    sizes, times = (table and _find(file, table, kind) for kind in ("stsz", "stts"))
    if not sizes or not times:
        return
    (declared,) = _unpack(file, sizes, 8, ">I")
    runs = _entries(file, times, _RUN)
    timed, units = int(runs["frames"].sum()), int(runs["frames"].astype(float) @ runs["each"])
    if not declared and not timed:  # the frames are in fragments
        return
    if {declared, timed} != {frames}:
        counts = " and ".join(f"{count}" for count in sorted({declared, timed}))
        yield (
            f"the tables of the video declare {counts} frames, and {frames} were read: an edit hides frames, "
            "or the tables are damaged."
        )
    scale, lasts = _lasts(file, _find(file, media, "mdhd"))
    lengths_s = [units / scale if scale else 0.0]
    lengths_s += [] if lasts in _UNKNOWN or not scale else [lasts / scale]
    lengths_s += [] if frames < declared else _track_lengths_s(file, movie, track)
    most_s, least_s = max(lengths_s), min(lengths_s)
    if most_s - least_s > 1.5 * least_s / max(timed, 1) + 0.02 * least_s:
        yield (
            f"the tables of the video give {least_s:.3f} s and {most_s:.3f} s as its length: its frame rate "
            "may be wrong. Export it again, or give the frames per second."
        )


def _is_video(file: BinaryIO, track: Box) -> bool:
    handler = _find(file, track, "mdia", "hdlr")
    return handler is not None and _unpack(file, handler, 8, ">4s") == (b"vide",)


def _track_lengths_s(file: BinaryIO, movie: Box, track: Box) -> list[float]:
    """Return the length of the track by its header and by its edits, where these say one."""
    head, header = _find(file, movie, "mvhd"), _find(file, track, "tkhd")
    scale = _lasts(file, head)[0] if head else 0
    if not scale or not header:
        return []
    wide = _unpack(file, header, 0, ">B") == (1,)
    (lasts,) = _unpack(file, header, 28, ">Q") if wide else _unpack(file, header, 20, ">I")
    if edits := _find(file, track, "edts", "elst"):
        wide = _unpack(file, edits, 0, ">B") == (1,)
        rows = _entries(file, edits, np.dtype(_EDIT[wide]))
        lasts = int(rows["lasts"][rows["at"] != -1].sum())  # without the time before the first frame
    return [] if lasts in _UNKNOWN else [lasts / scale]


def _lasts(file: BinaryIO, header: Box) -> tuple[int, int]:
    """Return units per second and units in all, of a movie or a medium."""
    wide = _unpack(file, header, 0, ">B") == (1,)
    return _unpack(file, header, 20, ">IQ") if wide else _unpack(file, header, 12, ">II")


def _find(file: BinaryIO, place: Box, *kinds: str) -> Box | None:
    """Return the first box of a kind in the first box of a kind, and so on."""
    for kind in kinds:
        place = next(_boxes(file, place, kind), None)
        if place is None:
            return None
    return place


def _boxes(file: BinaryIO, place: Box, kind: str) -> Iterator[Box]:
    """Yield the boxes of a kind that lie directly in a place."""
    start, end = place
    while start + 8 <= end:
        size, name = _unpack(file, (start, end), 0, ">I4s")
        first = start + 8
        if size == 1:
            (size,), first = _unpack(file, (first, end), 0, ">Q"), start + 16
        stop = start + (size or end - start)
        if not first <= stop <= end:
            return
        if name == kind.encode():
            yield first, stop
        start = stop


def _unpack(file: BinaryIO, place: Box, at: int, form: str) -> tuple:
    file.seek(place[0] + at)
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _entries(file: BinaryIO, box: Box, form: np.dtype) -> np.ndarray:
    """Return the rows of a table that begins with its number of rows."""
    (count,) = _unpack(file, box, 4, ">I")
    count = max(0, min(count, (box[1] - box[0] - 8) // form.itemsize, _MOST_TABLE_BYTES // form.itemsize))
    return np.frombuffer(file.read(count * form.itemsize), form)
