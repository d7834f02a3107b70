"""Read a clip, track and spot in a process of its own, while this one imports torch and loads the network.

Both take a second or more, and neither needs the other.
"""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mer_hf.face.spotting import Phases
    from mer_hf.face.tracking import FaceGeometry, FaceTrack
    from mer_hf.video.clip import Clip


class TrackedClip(NamedTuple):
    """A clip whose face is tracked and whose motion is spotted.

    Only the corner of each frame is left: nobody looks at them again.
    """

    clip: "Clip"
    track: "FaceTrack"
    geometry: "FaceGeometry"
    phases: "Phases"
    timings_s: dict[str, float]


def tracked_ahead(
    source: Path, model: str, fps: float | None, face: int | None
) -> Callable[["FaceGeometry"], TrackedClip | None]:
    """Begin to track a face; return a function that waits for it and gives it in the geometry of a network.

    That is None where a clip is better tracked here: torch is loaded already, the clip is too large to
    keep, it cannot be read, or the checkpoint is not on this machine.
    """
    if "torch" in sys.modules:
        return lambda geometry: None
    context = get_context("spawn")
    mine, its = context.Pipe(duplex=False)
    # Not a pool: its process would outlive this one where this one is killed.
    context.Process(target=_send, args=(its, source, model, fps, face), daemon=True).start()
    its.close()

    def wait(geometry: "FaceGeometry") -> TrackedClip | None:
        try:
            tracked = mine.recv()
        except EOFError:  # it was killed, such as for want of memory
            return None
        return tracked if tracked and tracked.geometry == geometry else None

    return wait


def _send(connection: Connection, *args) -> None:
    with suppress(BrokenPipeError):
        connection.send(_track(*args))


def _track(source: Path, model: str, fps: float | None, face: int | None) -> TrackedClip | None:
    """Read, track and spot. What goes wrong here goes wrong again where it is told."""
    from mer_hf.face.spotting import spot
    from mer_hf.face.tracking import FaceGeometry, track_face
    from mer_hf.utils.settings import CHECKPOINTS, MOST_SETTINGS_BYTES, PROCESSOR, folder_of
    from mer_hf.utils.untrusted import read_json
    from mer_hf.video.clip import MOST_BYTES, FrameSource, read_clip

    try:
        settings = read_json(folder_of(model, CHECKPOINTS) / PROCESSOR, most_bytes=MOST_SETTINGS_BYTES)
        geometry, times_s = FaceGeometry(**settings.get("face_geometry") or {}), [time.perf_counter()]
        frames = FrameSource(source, fps)
        if len(frames) * frames.frame_bytes > MOST_BYTES:
            return None
        clip = read_clip(source, fps, survey=frames.survey)
        times_s.append(time.perf_counter())
        track = track_face(clip, geometry, face)
        times_s.append(time.perf_counter())
        phases = spot(track, clip.timestamps_s)
        times_s.append(time.perf_counter())
    except (ValueError, TypeError, OSError):
        return None
    spent_s = (end_s - start_s for start_s, end_s in pairwise(times_s))
    timings_s = dict(zip(("read", "track", "spot"), spent_s, strict=True))
    corners = clip.frames[:, :1, :1].copy()
    return TrackedClip(replace(clip, frames=corners), track, geometry, phases, timings_s)
