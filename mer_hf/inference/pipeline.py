"""The whole path in one call, or stage by stage: a clip of a face goes in, a `Prediction` comes out.

from mer_hf import MicroExpressionPipeline

pipe = MicroExpressionPipeline.from_pretrained("htnet")
prediction = pipe("clip.mp4")
print(prediction.outcome, prediction.label, prediction.scores)
"""

import json
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BaseImageProcessor, BatchFeature, PreTrainedModel
from transformers.utils import logging

from mer_hf import loading
from mer_hf.face.action_units import (
    Intensities,
    estimate_action_units,
    given_action_units,
    resting_action_units,
)
from mer_hf.face.evidence import WEAK, facial_motion
from mer_hf.face.parts import FaceClip
from mer_hf.face.spotting import Phases, lasting_s, spot
from mer_hf.face.tracking import FaceGeometry, FaceTrack, track_face
from mer_hf.video.clip import MOST_BYTES, Clip, FrameSource, fetch_clip, read_clip
from mer_hf.video.container import ClipError

from .ahead import TrackedClip
from .calibration import FILE as CALIBRATION_FILE
from .calibration import Calibration, features_of, softmax
from .long_video import Stretch, strongest_stretch
from .optimize import optimize_for_inference

logger = logging.get_logger(__name__)

PHASE_NAMES = ("onset", "apex", "offset")
ESTIMATED = "estimated"

NOT_CLASSIFIED = "so nothing was classified: the scores are equal by definition"
UNSCORED = {
    "no_motion": f"no motion stands out, {NOT_CLASSIFIED}",
    "blink": f"only a blink was found, {NOT_CLASSIFIED}",
}
"""Outcome without a classification -> why its scores say nothing."""

SLOW_MOTION = "if this is slow motion, give the rate at which it was recorded, as in --fps 240"
SLOW_MOTION_S, SLOW_MOTION_HZ = 4.0, 100.0
"""A clip in slow motion is at least so long and has fewer frames per second."""

REPORTED = ("micro_expression", "expression")
"""Outcomes that report an expression."""
LONGER = "lasts {:.1f} s: longer than a micro-expression"
REASONS = {
    "turn": "it goes along with a turn of the head",
    "speech": "the mouth moves to and fro by itself, as in speech",
    "restless": "it goes to and fro",
    "eyes": "it is mostly the lids, as when the eyes move",
    "weak": "it is hardly more than what a face does at rest",
}
NOT_AN_EXPRESSION = "something moved, but {}: the scores say what it would be if it were an expression"
"""What is said of other motion, with one of `REASONS`."""
COVERED = "covered"
ONLY_COVERED = f"something passed in front of the face, and nothing else moved, {NOT_CLASSIFIED}"

BLINK_REACH_S = 0.25
"""What moves within this time of a blink may belong to it."""

ClipSource = str | Path | Clip | TrackedClip | np.ndarray | Sequence[Image.Image]
AnnotatedUnits = Collection[str] | Mapping | str | None


@dataclass(frozen=True)
class Prediction:
    """The answer of the pipeline to one clip.

    Attributes:
        outcome (`str`): `micro_expression` (up to half a second), `expression` (longer), `other_motion`,
            `blink` or `no_motion`.
        label (`str` or `None`): The class with the highest score; None unless an expression is reported.
        scores (`dict[str, float]`): Class -> probability; they sum to 1. All equal where nothing was
            classified.
        phases (`Phases`): Onset, apex and offset as frame indices, the motion curve, and their source.
        timestamps_s (`np.ndarray` of shape `(T,)`): Seconds of the clip's frames; NaN where they are unknown.
        action_units (`dict`): Action unit -> (left, right, intensity), each in [0, 1], or None where 2-D
            motion cannot show it.
        action_units_source (`str`): `estimated` from the motion, `annotated` by a person, or `hidden`:
            estimated, but not shown to the network.
        relevance (`np.ndarray` of shape `(S, S)` or `(T, S, S)`): Where the network looked, float32 in
            [0, 1], in the aligned face's pixels; zeros where nothing was classified.
        relevance_frames (`tuple[int, ...]`): The frame that each map of `relevance` belongs to, the apex
            last.
        onset_face (`np.ndarray` of shape `(S, S, 3)`): The aligned face at the onset, or the first frame;
            uint8, RGB.
        apex_face (`np.ndarray` of shape `(S, S, 3)`): The aligned face at the apex, or the middle frame;
            uint8, RGB.
        warnings (`tuple[str, ...]`): Reasons to doubt the answer, one line each.
        model (`str`): Name of the checkpoint, or its folder; `owner/name@commit` where it is from the Hub.
        timings_s (`dict[str, float]`): Stage -> seconds: `read`, `track`, `spot`, `action_units`, `classify`
            and `relevance`.
        expression_probability (`float`, *optional*): Probability that the motion is an expression, by the
            checkpoint's calibration; None without a calibration, without motion, and for known phases.
        apexes (`tuple[int, ...]`): Frames that served as the apex; the logits were averaged over them.
        duration_s (`float`, *optional*): How long the movement lasts; None without one or without times.
        size_px (`float`, *optional*): How far it carries the region that moves most, in pixels at an
            interocular distance of 60; None without a movement.
        reason (`str`, *optional*): Why it is `other_motion`: one of `REASONS`, or `covered` where something
            passed in front of a face that did not move.
        faces (`tuple[tuple[int, int, int, int], ...]`): Left, top, right and bottom of each face that was
            found, in pixels of the clip, from the left of the picture to the right.
        face (`int`, *optional*, defaults to 1): The number of the analysed face among them, from 1.
        first_frame (`int`, *optional*, defaults to 0): Frame of the clip that index 0 means in `phases` and
            arrays: above 0 where only a stretch of a long clip was analysed. `to_dict` counts in frames of
            the clip.
    """

    outcome: str
    label: str | None
    scores: dict[str, float]
    phases: Phases
    timestamps_s: np.ndarray
    action_units: Intensities
    action_units_source: str
    relevance: np.ndarray
    relevance_frames: tuple[int, ...]
    onset_face: np.ndarray
    apex_face: np.ndarray
    warnings: tuple[str, ...]
    model: str
    timings_s: dict[str, float]
    expression_probability: float | None = None
    apexes: tuple[int, ...] = ()
    duration_s: float | None = None
    size_px: float | None = None
    reason: str | None = None
    faces: tuple[tuple[int, int, int, int], ...] = ()
    face: int = 1
    first_frame: int = 0

    @property
    def classified(self) -> bool:
        """Return whether the network was asked: there is a movement."""
        return self.phases.apex is not None

    def to_dict(self) -> dict:
        """Return everything but the arrays, as values that JSON has; an unknown time is None."""
        first, phases = self.first_frame, self.phases
        frames = {name: getattr(phases, name) for name in PHASE_NAMES}
        verdict = ("outcome", "label", "scores", "expression_probability", "reason", "duration_s", "size_px")
        return {
            **{name: getattr(self, name) for name in verdict},
            "phases": {
                **{name: None if frame is None else first + frame for name, frame in frames.items()},
                **{f"{name}_s": self._seconds(frame) for name, frame in frames.items()},
                "source": phases.source,
                "averaged": [first + frame for frame in self.apexes],
                "candidates": [[first + frame for frame in interval] for interval in phases.candidates],
                "blinks": [[first + frame for frame in span] for span in phases.blinks],
            },
            "action_units": {
                name: sides if sides is None else [round(value, 4) for value in sides]
                for name, sides in self.action_units.items()
            },
            "action_units_source": self.action_units_source,
            "face": self.face,
            "faces": [list(box) for box in self.faces],
            "warnings": list(self.warnings),
            "model": self.model,
            "timings_s": {stage: round(seconds, 4) for stage, seconds in self.timings_s.items()},
        }

    def to_json(self, indent: int | None = None) -> str:
        """Return `to_dict` as one JSON object."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)

    @property
    def apex_relevance(self) -> np.ndarray:
        """Return the relevance map that belongs to `apex_face`, `(S, S)`."""
        return self.relevance if self.relevance.ndim == 2 else self.relevance[-1]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that `to_dict` leaves out: curve, times, relevance and its frames, both faces."""
        names = ("timestamps_s", "relevance", "relevance_frames", "onset_face", "apex_face")
        return {"curve": self.phases.curve} | {name: np.asarray(getattr(self, name)) for name in names}

    def _seconds(self, frame: int | None) -> float | None:
        if frame is None or not np.isfinite(self.timestamps_s[frame]):
            return None
        return round(float(self.timestamps_s[frame]), 6)


class MicroExpressionPipeline:
    """Turn a clip into a `Prediction` with one network.

    Args:
        model (`PreTrainedModel`): A registered network with its classifier.
        processor (`BaseImageProcessor`): The image processor saved with it.
        name (`str`): The text of `Prediction.model`.
        calibration ([`Calibration`], *optional*): Turns logits into probabilities and decides whether a
            motion is an expression; without it every motion counts as an expression.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: BaseImageProcessor,
        name: str,
        calibration: Calibration | None = None,
    ) -> None:
        self.model = model.eval()
        self._network = optimize_for_inference(self.model)
        self.processor = processor
        self.name = name
        self.calibration = calibration
        self.geometry = FaceGeometry(**(processor.face_geometry or {}))
        self.classes = [name for _, name in sorted(model.config.id2label.items())]

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "htnet",
        device: str | torch.device = "cpu",
        revision: str | None = None,
        trust_remote_code: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> "MicroExpressionPipeline":
        """Load a checkpoint: safetensors only and, unless code is trusted, classes of this package only.

        Args:
            name_or_path (`str` or `Path`, *optional*, defaults to `"htnet"`): A bundled checkpoint
                (`"htnet-synthetic"`, or `"htnet"` for short), a folder, or a Hub repository (`"owner/name"`,
                `"owner/name@revision"`).
            device (`str`, *optional*, defaults to `"cpu"`): The device the network runs on.
            revision (`str`, *optional*): A branch, tag or full commit hash of a Hub repository.
            trust_remote_code (`bool`, *optional*, defaults to `False`): Whether to run code that comes with
                the checkpoint, for an architecture that this package does not have.
            dtype (`torch.dtype`, *optional*, defaults to `torch.float32`): Number format of the network.
                `torch.bfloat16` is quicker where the device computes with it; scores then differ by up to
                .02.

        Returns:
            `MicroExpressionPipeline`: Ready to be called.

        Raises:
            ValueError: If no such checkpoint is found, or its files are damaged.
        """
        model, processor = loading.load(name_or_path, revision, trust_remote_code)
        return cls.of(model.to(device, dtype), processor)

    @classmethod
    def of(cls, model: PreTrainedModel, processor: BaseImageProcessor) -> "MicroExpressionPipeline":
        """Take a loaded model and its processor, with the calibration beside their files if there is one."""
        path = loading.file_beside(model, CALIBRATION_FILE)
        calibration = Calibration.read(path) if path else None
        return cls(model, processor, loading.name_of(model), calibration)

    def __call__(
        self,
        clip: ClipSource,
        onset: int | str | None = None,
        apex: int | str | None = None,
        offset: int | str | None = None,
        fps: float | None = None,
        action_units: AnnotatedUnits = ESTIMATED,
        face: int | None = None,
        average: bool = True,
    ) -> Prediction:
        """Read, track, spot and classify one clip.

        Args:
            clip (`str`, `Path`, `Clip`, `np.ndarray` or `list`): A video file, a folder of numbered
                frames, frames of shape `(T, H, W, 3)` in uint8 RGB, a list of pictures, or a `Clip`.
            onset (`int` or `str`, *optional*): The onset frame, where it is known: a 0-based index, or the
                name of a frame's file. Known frames are kept, the others are spotted.
            apex (`int` or `str`, *optional*): The apex frame, where it is known.
            offset (`int` or `str`, *optional*): The offset frame, where it is known.
            fps (`float`, *optional*): Frames per second, for clips that do not carry their times.
            action_units (*optional*, defaults to `"estimated"`): See `classify`.
            face (`int`, *optional*): Which face, counted from the left of the picture, from 1. By default the
                largest.
            average (`bool`, *optional*, defaults to `True`): Whether the network is asked with several
                apexes of the movement; otherwise with the one apex alone, known or spotted.

        Returns:
            `Prediction`: With the seconds of every stage.

        Raises:
            ClipError: If the clip cannot be read, or does not have a known frame.
            FaceError: If no usable face is in it, or not as many as asked for.
            ValueError: If the known frames contradict each other, or an action unit is unknown.
        """
        return self.with_track(clip, onset, apex, offset, fps, action_units, face, average)[0]

    def with_track(
        self,
        clip: ClipSource,
        onset: int | str | None = None,
        apex: int | str | None = None,
        offset: int | str | None = None,
        fps: float | None = None,
        action_units: AnnotatedUnits = ESTIMATED,
        face: int | None = None,
        average: bool = True,
        progress: Callable[[float, float], object] | None = None,
    ) -> tuple[Prediction, FaceTrack]:
        """Like `__call__`, but also return the aligned faces, as a replay needs them.

        `progress` is called with the seconds searched and those in the file, while a clip is searched that is
        too large to keep.

        Returns:
            `tuple`: The [`Prediction`] and the [`FaceTrack`].
        """
        timings_s: dict[str, float] = {}
        if action_units not in (None, ESTIMATED):
            action_units = given_action_units(action_units)  # refused before the work starts
        ahead = clip if isinstance(clip, TrackedClip) else None
        with _timed(timings_s, "read"):
            known = {"onset": onset, "apex": apex, "offset": offset}
            stretch, known = _read(ahead.clip if ahead else clip, fps, known, face, progress)
        clip = stretch.clip
        with _timed(timings_s, "track"):
            track = ahead.track if ahead else self.track(clip, face)
            track = replace(track, warnings=(*stretch.notes, *track.warnings))
        with _timed(timings_s, "spot"):
            spotted = ahead and not any(frame is not None for frame in known.values())
            phases = ahead.phases if spotted else self.spot(track, clip.timestamps_s, **known)
        timings_s |= ahead.timings_s if ahead else {}
        prediction = self.classify(track, phases, clip.timestamps_s, action_units, average=average)
        timings_s |= prediction.timings_s
        return replace(prediction, timings_s=timings_s, first_frame=stretch.first_frame), track

    def track(self, clip: Clip | FaceClip, face: int | None = None) -> FaceTrack:
        """Find a face and cut it out aligned, in the geometry that this network was trained with."""
        return track_face(clip, self.geometry, face)

    def spot(self, track: FaceTrack, timestamps_s: np.ndarray | None = None, **known: int | None) -> Phases:
        """Measure the motion curve and find the phases; a known `onset`, `apex` or `offset` is kept."""
        return spot(track, timestamps_s, **known)

    def classify(
        self,
        track: FaceTrack,
        phases: Phases,
        timestamps_s: np.ndarray | None = None,
        action_units: AnnotatedUnits = ESTIMATED,
        explain: bool = True,
        average: bool = True,
    ) -> Prediction:
        """Ask the network for the class, and for where it looked.

        No single frame decides: the network is asked with several apexes, see `apexes_of`, and its logits are
        averaged.

        Where the phases say `no_motion` or `blink` the network is not asked: on a flow map that holds only
        noise its answer would be confident and meaningless. All scores are then equal, and a warning says so.
        A movement beside a blink that is hardly one counts as part of the blink.

        Args:
            track (`FaceTrack`): Aligned faces.
            phases (`Phases`): From `spot`.
            timestamps_s (`np.ndarray` of shape `(T,)`, *optional*): Seconds of the frames.
            action_units (*optional*, defaults to `"estimated"`): The input of a network that takes action
                units: those estimated from the motion, a person's annotation (names such as `"AU4"`, or
                `"L12"` for the left side, or a dict of intensities), or None to hide them.
            explain (`bool`, *optional*, defaults to `True`): Whether to ask where it looked; otherwise the
                relevance is all zeros.
            average (`bool`, *optional*, defaults to `True`): Whether to average over several apexes;
                otherwise the network is asked with the apex of `phases` alone.

        Returns:
            `Prediction`: `timings_s` holds `action_units`, `classify` and `relevance`.

        Raises:
            ValueError: If an action unit is unknown.
        """
        count = len(track.frames)
        timestamps_s = np.full(count, np.nan) if timestamps_s is None else np.asarray(timestamps_s)
        decision = self._decide(phases, timestamps_s)
        if decision.get("reason") == WEAK and _beside_a_blink(phases, timestamps_s):
            phases = replace(phases, onset=None, apex=None, offset=None, outcome="blink", candidates=())
            decision = self._decide(phases, timestamps_s)
        classified = phases.outcome not in UNSCORED
        onset, apex = (phases.onset, phases.apex) if classified else (0, count // 2)
        apexes = () if not classified else apexes_of(phases) if average else (apex,)
        timings_s = dict.fromkeys(("action_units", "classify", "relevance"), 0.0)
        with _timed(timings_s, "action_units"):
            intensities, source = _action_units(track, phases, action_units)
        if classified:
            shown = None if source == "hidden" else intensities
            scores, relevance = self._ask(track, phases, apexes, shown, timings_s, explain)
        else:
            scores = dict.fromkeys(self.classes, 1.0 / len(self.classes))
            relevance = np.zeros(track.frames.shape[1:3], dtype=np.float32)
        return Prediction(
            label=max(scores, key=scores.get) if decision["outcome"] in REPORTED else None,
            scores=scores,
            phases=phases,
            timestamps_s=timestamps_s,
            action_units=intensities,
            action_units_source=source,
            relevance=relevance,
            relevance_frames=(apex,) if relevance.ndim == 2 else self._sampled_frames(count, phases),
            onset_face=track.frames[onset],
            apex_face=track.frames[apex],
            warnings=(*track.warnings, *phases.warnings, *_doubts(decision, timestamps_s)),
            model=self.name,
            timings_s=timings_s,
            apexes=apexes,
            faces=track.faces,
            face=track.face,
            **decision,
        )

    def _decide(self, phases: Phases, timestamps_s: np.ndarray) -> dict[str, Any]:
        """Return outcome, probability of an expression, reason, duration and size of the movement.

        Known phases are not doubted.
        """
        outcome, probability, reason = phases.outcome, None, None
        if outcome in UNSCORED:
            covered = outcome == "no_motion" and phases.covered
            return {"outcome": "other_motion", "reason": COVERED} if covered else {"outcome": outcome}
        interocular_px = self.geometry.size * self.geometry.interocular_fraction
        evidence = facial_motion(phases, timestamps_s, interocular_px)
        if self.calibration is not None and phases.source == "spotted":
            probability = self.calibration.expression_probability(features_of(evidence))
            if probability < self.calibration.threshold:
                outcome, reason = "other_motion", evidence.reason(self.calibration.least_motion_px)
        lasts_s = lasting_s((phases.onset, phases.apex, phases.offset), timestamps_s)
        return {
            "outcome": outcome,
            "expression_probability": None if probability is None else round(probability, 4),
            "reason": reason,
            "duration_s": None if lasts_s is None else round(lasts_s, 3),
            "size_px": round(evidence.size_px, 2),
        }

    def _sampled_frames(self, count: int, phases: Phases) -> tuple[int, ...]:
        """Return the frames that a network of several frames looks at; -1 for one that is missing."""
        frames = self.processor.frame_indices(count, phases.onset, phases.apex, phases.offset)
        return tuple(-1 if frame is None else frame for frame in frames)

    def _ask(
        self,
        track: FaceTrack,
        phases: Phases,
        apexes: tuple[int, ...],
        action_units: Intensities | None,
        timings_s: dict[str, float],
        explain: bool,
    ) -> tuple[dict[str, float], np.ndarray]:
        """Return the network's scores, averaged over apexes, and its relevance map for the apex."""
        with _timed(timings_s, "classify"):
            each = {
                apex: self._inputs(track, replace(phases, apex=apex), action_units) for apex in set(apexes)
            }
            with torch.inference_mode():
                batch = {name: torch.cat([each[apex][name] for apex in apexes]) for name in each[apexes[0]]}
                logits = self._network(**batch).logits.mean(0).cpu().double().numpy()  # mps has no float64
            if not np.isfinite(logits).all():
                raise ValueError(f"{self.name} answered NaN or infinity: its weights are damaged.")
            probabilities = (self.calibration.probabilities if self.calibration else softmax)(logits)
        scores = dict(zip(self.classes, probabilities.tolist(), strict=True))
        if not explain:
            return scores, np.zeros(track.frames.shape[1:3], dtype=np.float32)
        with _timed(timings_s, "relevance"):
            places = {"geometry": self.geometry, "landmarks_xy": track.landmarks_xy}
            inputs = each.get(phases.apex) or self._inputs(track, phases, action_units)
            relevance = face_relevance(self._network, self.processor, inputs, **places)
        return scores, relevance

    def _inputs(self, track: FaceTrack, phases: Phases, action_units: Intensities | None) -> BatchFeature:
        """Return the network's tensors."""
        inputs = self.processor(**_shown_to_network(track, phases, action_units), return_tensors="pt")
        return inputs.to(self.model.device, self.model.dtype)


def apexes_of(phases: Phases) -> tuple[int, ...]:
    """Return five frames at 30 to 60 % of the movement, in which a face shows the most.

    An expression rises faster than it falls. Where nothing is known after the apex, it counts as the middle.
    The range was chosen on recordings, see `docs/evaluation.md`.
    """
    onset, apex, offset = phases.onset, phases.apex, phases.offset
    if offset <= apex:
        places = np.linspace(onset + 0.6 * (apex - onset), apex, 5)
    else:
        places = onset + np.linspace(0.3, 0.6, 5) * (offset - onset)
    return tuple(int(max(min(onset + 1, apex), round(place))) for place in places)


def _beside_a_blink(phases: Phases, timestamps_s: np.ndarray) -> bool:
    """Return whether the movement begins or ends close to a blink; no if the times are NaN."""
    begins_s, ends_s = timestamps_s[phases.onset] - BLINK_REACH_S, timestamps_s[phases.offset] + BLINK_REACH_S
    return any(timestamps_s[a] <= ends_s and timestamps_s[b] >= begins_s for a, b in phases.blinks)


def _may_be_slow_motion(timestamps_s: np.ndarray | None) -> bool:
    lasts_s = 0.0 if timestamps_s is None else float(timestamps_s[-1] - timestamps_s[0])
    return lasts_s >= SLOW_MOTION_S and len(timestamps_s) < SLOW_MOTION_HZ * lasts_s


def note_on(outcome: str, reason: str | None, lasts_s: float | None) -> str:
    """Return why an outcome is not a micro-expression, in a line; `""` for one that is."""
    if outcome == "expression":
        return LONGER.format(lasts_s or 0.0)
    if outcome == "other_motion":
        return ONLY_COVERED if reason == COVERED else NOT_AN_EXPRESSION.format(REASONS[reason or "weak"])
    return UNSCORED.get(outcome, "")


def _doubts(decision: Mapping[str, Any], timestamps_s: np.ndarray | None) -> tuple[str, ...]:
    """Return what the reader should know about an outcome, one line each."""
    outcome, lasts_s = decision["outcome"], decision.get("duration_s") or 0.0
    slow = outcome == "no_motion" or lasts_s > SLOW_MOTION_S / 2
    note = note_on(outcome, decision.get("reason"), lasts_s)
    return tuple(filter(None, (note, SLOW_MOTION if slow and _may_be_slow_motion(timestamps_s) else "")))


def _read(
    source: ClipSource,
    fps: float | None,
    frames: Mapping[str, int | str | None],
    face: int | None = None,
    progress: Callable[[float, float], object] | None = None,
) -> tuple[Stretch, dict[str, int | None]]:
    """Read a clip, or what is analysed of one that is too large to keep, and find the known frames in it."""
    clip = source
    if isinstance(source, (str, os.PathLike)):
        clip = FrameSource(source, fps)
    if isinstance(clip, FrameSource) and len(clip) * clip.frame_bytes <= MOST_BYTES:
        clip = read_clip(source, fps, survey=clip.survey)
    elif not isinstance(clip, (Clip, FrameSource)):
        clip = read_clip(source, fps)
    known = {name: frame_index(clip, frame, name) for name, frame in frames.items()}
    if isinstance(clip, Clip):
        return Stretch(clip), known
    given = [frame for frame in known.values() if frame is not None]
    stretch = strongest_stretch(clip, face, given, progress)
    return stretch, {
        name: None if frame is None else frame - stretch.first_frame for name, frame in known.items()
    }


def _shown_to_network(track: FaceTrack, phases: Phases, action_units: Intensities | None) -> dict[str, Any]:
    """Return the arguments of an image processor."""
    frames = {name: getattr(phases, name) for name in PHASE_NAMES}
    return frames | {"images": track.frames, "landmarks_xy": track.landmarks_xy, "action_units": action_units}


def face_of_video(
    video: str | Path | np.ndarray | Sequence[Image.Image],
    geometry: Mapping[str, float],
    fps: float | None = None,
    **known: int | None,
) -> dict[str, Any]:
    """Read, track and spot a video for a video processor.

    Args:
        video (`str`, `Path`, `np.ndarray` or `Sequence`): As for `read_clip`, or an address (http, https).
        geometry (`Mapping`): `face_geometry` of the processor.
        fps (`float`, *optional*): Frames per second, for videos that do not carry their times.
        **known (`int`, *optional*): `onset`, `apex` and `offset`, where they are known.

    Returns:
        `dict`: `images`, `onset`, `apex`, `offset`, `landmarks_xy` and `action_units` for the image
        processor. The phases are None where nothing moved but the lids; a warning then says so.
    """
    video = fetch_clip(video, fps) if str(video).startswith(("http://", "https://")) else video
    (clip, _, _), known = _read(video, fps, known)
    track = track_face(clip, FaceGeometry(**geometry))
    phases = spot(track, clip.timestamps_s, **known)
    if phases.outcome in UNSCORED:
        logger.warning(f"{UNSCORED[phases.outcome].split(',')[0]}: the class says nothing.")
    return _shown_to_network(track, phases, _action_units(track, phases, ESTIMATED)[0])


def _action_units(track: FaceTrack, phases: Phases, action_units: AnnotatedUnits) -> tuple[Intensities, str]:
    """Return the action units and their source."""
    if action_units is not None and action_units != ESTIMATED:
        return given_action_units(action_units), "annotated"
    source = ESTIMATED if action_units else "hidden"
    if phases.outcome in UNSCORED:
        return resting_action_units(blink=phases.outcome == "blink"), source
    found = phases.onset, phases.apex, track.landmarks_xy, phases.offset
    return estimate_action_units(track.frames, *found), source


def face_relevance(
    model: PreTrainedModel,
    processor: BaseImageProcessor,
    inputs: Mapping,
    target: int | None = None,
    geometry: FaceGeometry | None = None,
    landmarks_xy: np.ndarray | None = None,
) -> np.ndarray:
    """Return a registered model's relevance for one clip, on the face and with a maximum of 1.

    Args:
        model (`PreTrainedModel`): A classifier of the registry.
        processor (`BaseImageProcessor`): Its processor.
        inputs (`Mapping`): The processor's tensors for one clip; `labels` are ignored.
        target (`int`, *optional*): Class index; by default the model's own answer.
        geometry (`FaceGeometry`, *optional*): Geometry of the aligned faces; by default the processor's.
        landmarks_xy (`np.ndarray`, *optional*): The landmarks that the processor received for this clip.

    Returns:
        `np.ndarray` of shape `(S, S)` or `(T, S, S)`: float32 in [0, 1]; zeros where nothing speaks for the
        class.
    """
    inputs = {name: value for name, value in inputs.items() if name != "labels"}
    landmarks = {} if landmarks_xy is None else {"landmarks_xy": landmarks_xy}
    relevance = processor.to_face(model.relevance(target=target, **inputs).float(), geometry, **landmarks)[0]
    relevance = np.clip(np.asarray(relevance, dtype=np.float32), 0, None)
    peak = relevance.max()
    return relevance / peak if peak > 0 else relevance


def frame_index(clip: Clip | FrameSource, frame: int | str | None, phase: str) -> int | None:
    """Return the 0-based index of a frame that is named by its index or its file.

    Digits alone are always an index, so that a name such as `0046.jpg` needs its ending.

    Args:
        clip (`Clip` or `FrameSource`): The clip.
        frame (`int`, `str` or `None`): An index, a frame's file name with or without its ending, or None.
        phase (`str`): What the message calls the frame.

    Returns:
        `int` or `None`: The index; None for None.

    Raises:
        ClipError: If the clip has no such frame.
    """
    if frame is None:
        return None
    count = len(clip)
    if not isinstance(frame, str) or frame.lstrip("-").isdigit():
        if not 0 <= int(frame) < count:
            raise ClipError(f"{phase} {frame} is outside the clip, which has frames 0 to {count - 1}.")
        return int(frame)
    names = list(clip.frame_names or ())
    for candidates in (names, [Path(name).stem for name in names]):
        if frame in candidates:
            return candidates.index(frame)
    known = f"its frames are {names[0]} to {names[-1]}" if names else "it has no frame names"
    raise ClipError(f"{phase} {frame!r} is not a frame of the clip: {known}. Give a name or an index from 0.")


@contextmanager
def _timed(timings_s: dict[str, float], stage: str):
    """Write the seconds of the block under `stage`."""
    started = time.perf_counter()
    yield
    timings_s[stage] = time.perf_counter() - started
