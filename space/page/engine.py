"""What the page does with a clip: one `Engine` for all visitors, safe under threads.

engine = Engine()
analysis = engine.analyse("clip.mp4", "htnet-synthetic")
analysis = engine.analyse("clip.mp4", "htnet-synthetic", onset=3, apex=9)   # only the classification reruns
answers = engine.compare("clip.mp4", ["htnet-synthetic", "mmnet-synthetic"])

The clips used last stay in memory with their tracked faces and answers, within a bound in bytes. They are
known by their content. Asking again for an answer that is in memory reads nothing and runs no network.
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mer_hf.face.spotting import Phases, spot
from mer_hf.face.tracking import FaceGeometry, FaceTrack, track_face
from mer_hf.inference.long_video import read_stretch
from mer_hf.inference.pipeline import Prediction
from mer_hf.utils.provenance import sha256_of
from mer_hf.video.clip import FrameSource, read_clip
from mer_hf.video.container import VideoInfo

from .examples import bundled_models
from .memory import Memory
from .networks import Network, Networks, on_gpu, on_zero_gpu
from .uploads import CLIP, Refusal, check, check_file, one_line
from .visitors import Turns

Progress = Callable[[float, str], None]
"""Called with the share of the work that is done, in [0, 1], and with what comes next."""

MOST_DECODED_BYTES = 600_000_000
"""Limit of a clip's decoded frames; of larger ones only what lies around the face is kept."""
MOST_TRACKED_BYTES = 300_000_000
SHORT_FRAMES, SHORT_BYTES = 150, 250_000_000
"""A clip of no more frames and decoded bytes is short: there is a place for it beside the long ones."""
MOST_ANSWERS = 8
"""Answers kept for each clip."""
SPOTTED = (None, None, None)
"""Onset, apex and offset that nobody set."""


View = tuple[FaceGeometry, int | None]
"""A geometry, and which face of the clip."""


class Tracked(NamedTuple):
    """A face of a clip in one geometry, the times of its frames and its motion."""

    track: FaceTrack
    timestamps_s: np.ndarray
    phases: Phases


@dataclass(frozen=True, eq=False)
class Analysis:
    """The answer of one network to one clip.

    Attributes:
        prediction (`Prediction`): What was found.
        track (`FaceTrack`): The aligned faces.
        clip_sha256 (`str`): SHA-256 of the file.
        model (`str`): A bundled name, or `owner/name@commit`.
        architecture (`str`): Key of the registry.
    """

    prediction: Prediction
    track: FaceTrack
    clip_sha256: str
    model: str
    architecture: str


@dataclass(eq=False)
class RememberedClip:
    """A clip in memory: views of its faces, and the last answers to it."""

    sha256: str
    tracked: dict[View, Tracked] = field(default_factory=dict)
    answers: Memory = field(default_factory=lambda: Memory(MOST_ANSWERS))
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def size_bytes(self) -> int:
        """What it takes; a little even if it holds nothing, so that the number of clips is bounded too."""
        arrays = [answer.prediction.relevance for answer in self.answers.values()]
        for track, timestamps_s, _ in list(self.tracked.values()):
            arrays += [track.frames, track.landmarks_xy, track.to_clip, timestamps_s]
        return 10_000 + sum(array.nbytes for array in arrays)


class Engine:
    """Networks and clips in memory, for all visitors of a page.

    Args:
        device (`str`, *optional*, defaults to `"auto"`): `"auto"`, `"cpu"`, `"cuda"` or `"mps"`.
        most_tracked_bytes (`int`, *optional*): Limit of the clips in memory; the least recently used go
            first.
        at_once (`int`, *optional*, defaults to 2): How many clips are read and tracked at one time. All but
            one may be long and take `MOST_DECODED_BYTES`.

    Raises:
        ValueError: If this machine does not have the device.
    """

    def __init__(
        self,
        device: str = "auto",
        most_tracked_bytes: int = MOST_TRACKED_BYTES,
        at_once: int = 2,
    ) -> None:
        self.networks = Networks(device)
        self.clips = Memory(most_tracked_bytes, lambda clip: clip.size_bytes)
        self._reading = Turns(at_once)
        self._classify = on_gpu(self._classify_here)

    def warm_up(self, path: str | Path) -> None:
        """Load what the first visitor would wait for; where a GPU is lent for each call, every network."""
        models = bundled_models()
        if not on_zero_gpu():
            self.analyse(path, models[0])
            return
        for model in models:  # the process that is lent the GPU is a copy of this one, made later
            self.networks.get(model)

    def analyse(
        self,
        path: str | Path | None,
        model: str,
        onset: int | None = None,
        apex: int | None = None,
        offset: int | None = None,
        face: int | None = None,
        progress: Progress | None = None,
    ) -> Analysis:
        """Return the answer of one network to one clip; `no_motion` and `blink` are answers too.

        Args:
            path (`str` or `Path`): An uploaded video.
            model (`str`): A bundled name, or `owner/name` or `owner/name@revision` from the Hub.
            onset (`int`, *optional*): 0-based frame, used in place of the spotted one.
            apex (`int`, *optional*): As `onset`.
            offset (`int`, *optional*): As `onset`.
            face (`int`, *optional*): Which face, from 1, counted from the left; by default the largest.
            progress (`Callable[[float, str], None]`, *optional*): Called when a stage begins.

        Returns:
            [`Analysis`]

        Raises:
            Refusal: If there is no answer; its text may be shown.
        """
        answer = self.compare(path, [model], progress, (onset, apex, offset), face)[model]
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def compare(
        self,
        path: str | Path | None,
        models: Sequence[str],
        progress: Progress | None = None,
        frames: tuple[int | None, int | None, int | None] = SPOTTED,
        face: int | None = None,
    ) -> dict[str, Analysis | Refusal]:
        """Return the answers of several networks to one clip, which is read once.

        Args:
            path (`str` or `Path`): An uploaded video.
            models (`Sequence[str]`): Names as in [`analyse`][Engine.analyse].
            progress (`Callable[[float, str], None]`, *optional*): Called when a stage begins.
            frames (`tuple`, *optional*): Onset, apex and offset as in `analyse`.
            face (`int`, *optional*): As in `analyse`.

        Returns:
            `dict[str, Analysis | Refusal]`: Name of a model -> its answer, or why there is none.

        Raises:
            Refusal: If the clip itself cannot be analysed.
        """
        progress = progress or (lambda *_: None)
        with one_line(path):
            progress(0.0, "Checking the file")
            check_file(path, CLIP)
            if not all(isinstance(model, str) for model in models):  # a program may send anything
                raise ValueError("a network is asked for by its name, as text.")
            status = os.stat(path)
            sha256, survey = _look_once(str(path), status.st_mtime_ns, status.st_size)
            progress(0.1, "Loading the networks")
            networks = {model: _or_refusal(path, self.networks.get, model) for model in dict.fromkeys(models)}
            loaded = [network for network in networks.values() if isinstance(network, Network)]
            geometries = list(dict.fromkeys(network.pipeline.geometry for network in loaded))
            clip = self._track(path, sha256, survey, [(each, face) for each in geometries], progress)
        answers: dict[str, Analysis | Refusal] = {}
        for done, (model, network) in enumerate(networks.items()):
            answers[model] = network
            if isinstance(network, Network):
                progress(0.7 + 0.3 * done / len(networks), "Asking the network")
                ask = partial(self._ask, clip, model, network, frames, face)
                answers[model] = _or_refusal(path, clip.answers.get, (network.name, frames, face), ask)
        progress(1.0, "Done")
        return answers

    def _track(
        self, path: Path, sha256: str, survey: VideoInfo, views: list[View], progress: Progress
    ) -> RememberedClip:
        """Return the clip with each view of it, from memory or read once for all requests."""
        clip = self.clips.get(sha256, partial(RememberedClip, sha256))
        with clip.lock:
            missing = [view for view in views if view not in clip.tracked]
            for geometry, _ in missing:
                _check_room(survey.frames, geometry.size)
            if missing:
                progress(0.2, "Waiting for other clips")
                with self._reading.turn(_is_long(survey)):
                    clip.tracked |= _read_and_track(path, survey, missing, progress)
        self.clips.trim()
        return clip

    def _ask(
        self, clip: RememberedClip, model: str, network: Network, frames: tuple, face: int | None
    ) -> Analysis:
        track, timestamps_s, spotted = clip.tracked[network.pipeline.geometry, face]
        phases = spotted if frames == SPOTTED else spot(track, timestamps_s, *frames)
        prediction = self._classify(model, track, phases, timestamps_s)
        return Analysis(prediction, track, clip.sha256, network.name, network.architecture)

    def _classify_here(
        self, model: str, track: FaceTrack, phases: Phases, timestamps_s: np.ndarray
    ) -> Prediction:
        network = self.networks.get(model)
        with network.lock:
            return network.pipeline.classify(track, phases, timestamps_s)


@lru_cache(maxsize=256)
def _look_once(path: str, _mtime_ns: int, _size: int) -> tuple[str, VideoInfo]:
    """Return the SHA-256 and the survey of a file that is taken; a file that has changed is read again."""
    survey = check(path)
    return sha256_of(path), survey


def _is_long(survey: VideoInfo) -> bool:
    decoded_bytes = survey.frames * survey.width * survey.height * 3
    return survey.frames > SHORT_FRAMES or decoded_bytes > SHORT_BYTES


def _check_room(frames: int, size: int) -> None:
    """Raise `ValueError` if the faces of a clip, as large as a network wants them, take too much memory."""
    most = MOST_TRACKED_BYTES // (3 * size**2)
    if frames > most:
        raise ValueError(
            f"the network takes faces of {size} x {size} pixels, of which the page holds {most}; this clip "
            f"has {frames} frames. Cut it, or choose a network that takes smaller ones."
        )


def _read_and_track(
    path: Path, survey: VideoInfo, views: list[View], progress: Progress
) -> dict[View, Tracked]:
    progress(0.2, "Reading the clip")
    source = FrameSource(path, survey=survey)
    if len(source) * source.frame_bytes <= MOST_DECODED_BYTES:
        clip, notes = read_clip(path, survey=survey), ()
    else:
        clip, _, notes = read_stretch(source, max_bytes=MOST_DECODED_BYTES, face=views[0][1])
    tracked = {}
    for done, (geometry, face) in enumerate(views):
        progress(0.3 + 0.4 * done / len(views), "Tracking the face")
        track = track_face(clip, geometry, face)
        track = replace(track, warnings=(*notes, *track.warnings))
        tracked[geometry, face] = Tracked(track, clip.timestamps_s, spot(track, clip.timestamps_s))
    return tracked


def _or_refusal(path: str | Path, function: Callable, *args):
    """Return what a function returns, or the `Refusal` of its error."""
    try:
        with one_line(path):
            return function(*args)
    except Refusal as refusal:
        return refusal
