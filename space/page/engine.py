"""What the page does with a clip: one `Engine` for all visitors, safe under threads.

engine = Engine()
analysis = engine.analyse("clip.mp4", "htnet-synthetic")
analysis = engine.analyse("clip.mp4", "htnet-synthetic", onset=3, apex=9)   # only the classification reruns
answers = engine.compare("clip.mp4", ["htnet-synthetic", "mmnet-synthetic"])

Clips that were followed stay in memory, the last ones, within a bound in bytes. They are known by their
content, so that the same clip uploaded again is not followed again.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mer_hf.face.spotting import Phases, spot
from mer_hf.face.tracking import FaceGeometry, FaceTrack, track_face
from mer_hf.inference.pipeline import Prediction
from mer_hf.utils.provenance import sha256_of
from mer_hf.video.clip import read_clip
from mer_hf.video.container import survey_video

from .examples import bundled_models
from .networks import MOST_HUB_BYTES, Network, Networks, on_gpu, on_zero_gpu
from .uploads import CLIP, Limits, Refusal, check, without_paths

__all__ = ["Analysis", "Engine", "Progress", "Refusal"]

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
"""Is told the share of the work that is done, in [0, 1], and what is done next."""

MOST_DECODED_BYTES = 600_000_000
"""The most that a clip's frames take while it is followed; larger frames are read smaller. The longest clip
that is taken still has 540 x 300 pixels."""
MOST_TRACKED_BYTES = 300_000_000


@dataclass(frozen=True, eq=False)
class Tracked:
    """A clip that was followed, in one geometry.

    Attributes:
        track (`FaceTrack`): T aligned faces.
        timestamps_s (`np.ndarray` of shape `(T,)`): Seconds of its frames.
        phases (`Phases`): As spotted.
        notes (`tuple[str, ...]`): What the reader should know of how it was read.
    """

    track: FaceTrack
    timestamps_s: np.ndarray
    phases: Phases
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """What its arrays take."""
        arrays = (self.track.frames, self.track.landmarks_xy, self.track.to_clip, self.timestamps_s)
        return sum(array.nbytes for array in arrays)


@dataclass(frozen=True, eq=False)
class Analysis:
    """The answer of one network to one clip.

    Attributes:
        prediction (`Prediction`): What was found.
        track (`FaceTrack`): The aligned faces.
        spotted (`Phases`): What was spotted before anybody gave phases.
        clip_fps (`float`, *optional*): Frames per second; None where the clip has no times.
        clip_sha256 (`str`): Of the file.
        model (`str`): Which network answered: a bundled name, or `owner/name@commit`.
        architecture (`str`): Key of the registry.
    """

    prediction: Prediction
    track: FaceTrack
    spotted: Phases
    clip_fps: float | None
    clip_sha256: str
    model: str
    architecture: str


class Engine:
    """Networks and clips in memory, for all visitors of a page.

    Args:
        device (`str`, *optional*, defaults to `"auto"`): `"auto"`, `"cpu"`, `"cuda"` or `"mps"`.
        most_tracked_bytes (`int`, *optional*): What the clips in memory may take; the ones not looked at for
            longest go first.
        at_once (`int`, *optional*, defaults to 1): So many clips are read and followed at one time; each may
            take `MOST_DECODED_BYTES`.
        limits ([`Limits`], *optional*): Of an upload.
        most_hub_bytes (`int`, *optional*): Of a checkpoint of the Hub; 0 refuses them all.

    Raises:
        ValueError: If the device is not there.
    """

    def __init__(
        self,
        device: str = "auto",
        most_tracked_bytes: int = MOST_TRACKED_BYTES,
        at_once: int = 1,
        limits: Limits = CLIP,
        most_hub_bytes: int = MOST_HUB_BYTES,
    ) -> None:
        self.networks = Networks(device, most_hub_bytes)
        self.limits = limits
        self._tracked = _Kept(most_tracked_bytes)
        self._following = threading.BoundedSemaphore(at_once)
        self._same_clip = _OneAtATime()
        self._classify = on_gpu(self._classify_here)

    def warm_up(self, path: str | Path) -> None:
        """Loads what the first visitor would wait for; where a GPU is lent for each call, every network.

        Args:
            path (`str` or `Path`): A clip to be analysed.

        Raises:
            Refusal: If it cannot be analysed.
        """
        models = bundled_models()
        if not on_zero_gpu():
            self.analyse(path, models[0])
            return
        for model in models:  # the process that is lent the GPU is a copy of this one, made later
            self.networks.get(model)

    def analyse(
        self,
        path: str | Path,
        model: str,
        onset: int | None = None,
        apex: int | None = None,
        offset: int | None = None,
        progress: Progress | None = None,
    ) -> Analysis:
        """The answer of one network to one clip. `no_motion`, `blink` and several faces are answers too.

        Args:
            path (`str` or `Path`): Of an uploaded video.
            model (`str`): A bundled name, or `owner/name` or `owner/name@revision` of the Hub.
            onset (`int`, *optional*): 0-based frame; frames that are given win over spotting.
            apex (`int`, *optional*): As `onset`.
            offset (`int`, *optional*): As `onset`.
            progress (`Callable[[float, str], None]`, *optional*): Is told each stage as it begins.

        Returns:
            [`Analysis`]

        Raises:
            Refusal: If there is no answer; its text may be shown.
        """
        progress = progress or _silent
        with _one_line(path):
            digest = self._check(path, progress)
            progress(0.1, "Loading the network")
            network = self.networks.get(model)
            geometry = network.pipeline.geometry
            found = self._follow(path, digest, [geometry], _part(progress, 0.2, 0.8))[geometry]
            analysis = self._ask(network, found, digest, (onset, apex, offset), _part(progress, 0.8, 1.0))
        progress(1.0, "Done")
        return analysis

    def compare(
        self, path: str | Path, models: Sequence[str], progress: Progress | None = None
    ) -> dict[str, Analysis | Refusal]:
        """The answers of several networks to one clip, which is read once.

        Args:
            path (`str` or `Path`): Of an uploaded video.
            models (`Sequence[str]`): As `model` of [`analyse`][Engine.analyse].
            progress (`Callable[[float, str], None]`, *optional*): As in `analyse`.

        Returns:
            `dict[str, Analysis | Refusal]`: Model, as it was named -> its answer, or why it has none.

        Raises:
            Refusal: If the clip itself cannot be analysed.
        """
        progress = progress or _silent
        with _one_line(path):
            digest = self._check(path, progress)
            progress(0.1, "Loading the networks")
            networks = {model: self._network_or_refusal(model) for model in dict.fromkeys(models)}
            loaded = [each for each in networks.values() if isinstance(each, Network)]
            geometries = list(dict.fromkeys(each.pipeline.geometry for each in loaded))
            found = self._follow(path, digest, geometries, _part(progress, 0.2, 0.7)) if loaded else {}
        answers: dict[str, Analysis | Refusal] = {}
        for at, (model, network) in enumerate(networks.items()):
            begin = 0.7 + 0.3 * at / len(networks)
            answers[model] = network
            if isinstance(network, Network):
                stage = _part(progress, begin, begin + 0.3 / len(networks))
                answers[model] = self._ask_or_refusal(
                    path, network, found[network.pipeline.geometry], digest, stage
                )
        progress(1.0, "Done")
        return answers

    def _network_or_refusal(self, model: str) -> Network | Refusal:
        try:
            return self.networks.get(model)
        except Refusal as refusal:
            return refusal

    def _ask_or_refusal(self, path, network, found, digest, progress) -> Analysis | Refusal:
        try:
            with _one_line(path):
                return self._ask(network, found, digest, (None, None, None), progress)
        except Refusal as refusal:
            return refusal

    def _check(self, path: str | Path, progress: Progress) -> str:
        """SHA-256 of an upload that is taken."""
        progress(0.0, "Checking the file")
        check(path, self.limits)
        return sha256_of(path)

    def _follow(
        self, path: str | Path, digest: str, geometries: list[FaceGeometry], progress: Progress
    ) -> dict[FaceGeometry, Tracked]:
        """The clip in each geometry, from memory or read once; two requests for one clip do it once."""
        with self._same_clip(digest):
            found = {geometry: self._tracked.get((digest, geometry)) for geometry in geometries}
            missing = [geometry for geometry, tracked in found.items() if tracked is None]
            if missing:
                progress(0.0, "Waiting for other clips")
                with self._following:
                    new = _read_and_follow(path, missing, progress)
                for geometry, tracked in new.items():
                    self._tracked.put((digest, geometry), tracked, tracked.size_bytes)
                found |= new
        return found

    def _ask(
        self,
        network: Network,
        found: Tracked,
        digest: str,
        given: tuple[int | None, int | None, int | None],
        progress: Progress,
    ) -> Analysis:
        progress(0.0, "Asking the network")
        phases = found.phases
        if any(frame is not None for frame in given):
            phases = spot(found.track, found.timestamps_s, *given)
        prediction = self._classify(network.name, found.track, phases, found.timestamps_s)
        prediction = replace(prediction, warnings=(*found.notes, *prediction.warnings))
        return Analysis(
            prediction=prediction,
            track=found.track,
            spotted=found.phases,
            clip_fps=_fps(found.timestamps_s),
            clip_sha256=digest,
            model=network.name,
            architecture=network.architecture,
        )

    def _classify_here(
        self, name: str, track: FaceTrack, phases: Phases, timestamps_s: np.ndarray
    ) -> Prediction:
        network = self.networks.get(name)
        with network.lock:
            return network.pipeline.classify(track, phases, timestamps_s)


def _read_and_follow(
    path: str | Path, geometries: list[FaceGeometry], progress: Progress
) -> dict[FaceGeometry, Tracked]:
    progress(0.0, "Reading the clip")
    survey = survey_video(path)
    clip = read_clip(path, max_bytes=MOST_DECODED_BYTES, shrink=True)
    read, stored = sorted(clip.frames.shape[1:3]), sorted((survey.height, survey.width))
    notes = ()
    if read != stored:
        sizes = f"{stored[1]} x {stored[0]} pixels were read at {read[1]} x {read[0]}"
        notes = (f"the frames of {sizes}, to fit into memory: a small face loses detail.",)
    tracked = {}
    for at, geometry in enumerate(geometries):
        progress((1 + 3 * at / len(geometries)) / 4, "Following the face")
        track = track_face(clip, geometry)
        progress((1 + 3 * (at + 0.9) / len(geometries)) / 4, "Looking for motion")
        tracked[geometry] = Tracked(track, clip.timestamps_s, spot(track, clip.timestamps_s), notes)
    return tracked


def _fps(timestamps_s: np.ndarray) -> float | None:
    """Frames per second on average."""
    lasts_s = float(timestamps_s[-1] - timestamps_s[0]) if len(timestamps_s) > 1 else float("nan")
    return (len(timestamps_s) - 1) / lasts_s if lasts_s > 0 else None


def _silent(_fraction: float, _description: str) -> None:
    """Nobody watches."""


def _part(progress: Progress, begin: float, end: float) -> Progress:
    """The progress of a part of the work, from 0 to 1 between two shares of the whole."""
    return lambda fraction, description: progress(begin + (end - begin) * fraction, description)


@contextmanager
def _one_line(path: str | Path) -> Iterator[None]:
    """Turns every failure into a line that may be shown; what was not foreseen is logged in full."""
    try:
        yield
    except Refusal:
        raise
    except (ValueError, OSError) as error:
        raise Refusal(without_paths(str(error), path)) from error
    except MemoryError as error:
        raise Refusal(
            "the clip takes more memory than there is. Cut it, or make its pictures smaller."
        ) from error
    except Exception as error:
        log.exception("a clip could not be analysed")
        raise Refusal(
            f"the clip could not be analysed, for a reason that was not foreseen ({type(error).__name__})."
        ) from error


class _Kept:
    """The last values by key, within a bound in bytes; one that is larger than the bound is not kept."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self._values: OrderedDict = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key):
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key, value, size_bytes: int) -> None:
        with self._lock:
            _, old_bytes = self._values.pop(key, (None, 0))
            self._values[key] = (value, size_bytes)
            self.held_bytes += size_bytes - old_bytes
            while self.held_bytes > self.most_bytes:
                _, (_, freed_bytes) = self._values.popitem(last=False)
                self.held_bytes -= freed_bytes


class _OneAtATime:
    """A lock per key, forgotten when nobody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[str, list] = {}  # key -> [lock, how many hold or await it]
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, key: str) -> Iterator[None]:
        with self._lock:
            entry = self._locks.setdefault(key, [threading.Lock(), 0])
            entry[1] += 1
        try:
            with entry[0]:
                yield
        finally:
            with self._lock:
                entry[1] -= 1
                if not entry[1]:
                    del self._locks[key]
