"""The whole path in one call, or stage by stage: a clip of a face goes in, a `Prediction` comes out.

from mer_hf.pipeline import MicroExpressionPipeline

pipe = MicroExpressionPipeline.from_pretrained("htnet")
prediction = pipe("clip.mp4")
print(prediction.outcome, prediction.label, prediction.scores)
"""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel

from mer_hf import loading
from mer_hf.face.action_units import (
    Intensities,
    estimate_action_units,
    given_action_units,
    resting_action_units,
)
from mer_hf.face.spotting import Phases, spot
from mer_hf.face.tracking import FaceGeometry, FaceTrack, track_face
from mer_hf.video.clip import Clip, read_clip
from mer_hf.video.container import ClipError

from .calibration import FILE as CALIBRATION_FILE
from .calibration import Calibration, features_of, softmax
from .optimize import optimize_for_inference
from .relevance import face_relevance

PHASE_NAMES = ("onset", "apex", "offset")
ESTIMATED = "estimated"

UNSCORED = {
    "no_motion": "no motion stands out, so nothing was classified: the scores are equal by definition",
    "blink": "only a blink was found, so nothing was classified: the scores are equal by definition",
}
"""Outcome without an answer -> why its scores say nothing."""

NOT_AN_EXPRESSION = (
    "something moved, but more like a blink, speech, a turn of the head or noise than like a "
    "micro-expression: the scores say what it would be if it were one"
)


@dataclass(frozen=True)
class Prediction:
    """What was found in one clip.

    Attributes:
        outcome (`str`): `micro_expression`, `no_micro_expression` (something moved that is none),
            `no_motion` or `blink`.
        label (`str` or `None`): The class with the highest score; None unless the outcome is
            `micro_expression`.
        scores (`dict[str, float]`): Class -> probability; they sum to 1. All equal where nothing was
            classified.
        phases (`Phases`): Onset, apex and offset as frame indices, the motion curve, and where they come
            from.
        timestamps_s (`np.ndarray` of shape `(T,)`): Seconds of the clip's frames; NaN where they are unknown.
        action_units (`dict`): Action unit -> (left, right, intensity), each in [0, 1], or None where motion
            in the picture cannot show it.
        action_units_source (`str`): `estimated` from the motion, `given` by the caller, or `withheld`:
            estimated, but kept from the network.
        relevance (`np.ndarray` of shape `(S, S)` or `(T, S, S)`): What the network looked at, float32 in
            [0, 1], in the aligned face's pixels; zeros where nothing was classified.
        relevance_frames (`tuple[int, ...]`): The frame that each map of `relevance` belongs to, the apex
            last.
        onset_face (`np.ndarray` of shape `(S, S, 3)`): The aligned face at the onset, or the first frame;
            uint8, RGB.
        apex_face (`np.ndarray` of shape `(S, S, 3)`): At the apex, or the middle frame; uint8, RGB.
        warnings (`tuple[str, ...]`): What to know before believing the answer.
        model (`str`): Name of the checkpoint, or its folder; `owner/name@commit` where it is of the Hub.
        timings_s (`dict[str, float]`): Stage -> seconds: `read`, `track`, `spot`, `action_units`, `classify`
            and `relevance`.
        expression_probability (`float`, *optional*): How likely the motion is a micro-expression, by the
            checkpoint's calibration; None where it has none, nothing moved, or the phases were given.
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

    def to_dict(self) -> dict:
        """Everything but the arrays, as values that JSON has; a time that is not known is None."""
        frames = {name: getattr(self.phases, name) for name in PHASE_NAMES}
        return {
            "outcome": self.outcome,
            "label": self.label,
            "scores": dict(self.scores),
            "expression_probability": self.expression_probability,
            "phases": {
                **frames,
                **{f"{name}_s": self._seconds(at) for name, at in frames.items()},
                "source": self.phases.source,
                "candidates": [list(interval) for interval in self.phases.candidates],
                "blinks": [list(span) for span in self.phases.blinks],
            },
            "action_units": {
                name: found if found is None else [round(value, 4) for value in found]
                for name, found in self.action_units.items()
            },
            "action_units_source": self.action_units_source,
            "warnings": list(self.warnings),
            "model": self.model,
            "timings_s": {stage: round(seconds, 4) for stage, seconds in self.timings_s.items()},
        }

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as one JSON object."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)

    @property
    def apex_relevance(self) -> np.ndarray:
        """The relevance map that belongs to `apex_face`, `(S, S)`."""
        return self.relevance if self.relevance.ndim == 2 else self.relevance[-1]

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that `to_dict` leaves out: curve, times, relevance and its frames, and the two faces."""
        return {
            "curve": self.phases.curve,
            "timestamps_s": self.timestamps_s,
            "relevance": self.relevance,
            "relevance_frames": np.array(self.relevance_frames),
            "onset_face": self.onset_face,
            "apex_face": self.apex_face,
        }

    def _seconds(self, frame: int | None) -> float | None:
        if frame is None or not np.isfinite(self.timestamps_s[frame]):
            return None
        return round(float(self.timestamps_s[frame]), 6)


class MicroExpressionPipeline:
    """From a clip to a `Prediction` with one network.

    Args:
        model (`PreTrainedModel`): A registered network with its classifier.
        processor (`BaseImageProcessor`): The image processor saved with it.
        name (`str`): What `Prediction.model` says.
        calibration ([`Calibration`], *optional*): Turns logits into probabilities and decides whether a
            motion is an expression; without it every motion is taken as one.
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

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "htnet",
        device: str | torch.device = "cpu",
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> "MicroExpressionPipeline":
        """Loads a checkpoint: safetensors and, unless code is trusted, classes of this package only.

        Args:
            name_or_path (`str` or `Path`, *optional*, defaults to `"htnet"`): A bundled checkpoint
                (`"htnet-synthetic"`, or `"htnet"` for short), a folder, or a Hub repository (`"owner/name"`,
                `"owner/name@revision"`).
            device (`str`, *optional*, defaults to `"cpu"`): Where the network runs.
            revision (`str`, *optional*): A branch, tag or full commit hash of a Hub repository.
            trust_remote_code (`bool`, *optional*, defaults to `False`): Whether code that comes with the
                checkpoint may be run, where its architecture is not one of this package's.

        Returns:
            `MicroExpressionPipeline`: Ready to be called.

        Raises:
            ValueError: If no such checkpoint is found, or its files are damaged.
        """
        model, processor = loading.load(name_or_path, revision, trust_remote_code)
        path = loading.file_beside(model, CALIBRATION_FILE)
        calibration = Calibration.read(path) if path else None
        return cls(model.to(device), processor, loading.name_of(model), calibration)

    def __call__(
        self,
        clip: str | Path | Clip | np.ndarray | Sequence[Image.Image],
        onset: int | str | None = None,
        apex: int | str | None = None,
        offset: int | str | None = None,
        fps: float | None = None,
        action_units: Collection[str] | Mapping | str | None = "estimated",
    ) -> Prediction:
        """Reads, tracks, spots and classifies one clip.

        Args:
            clip (`str`, `Path`, `Clip`, `np.ndarray` or `list`): A video file, a folder of numbered
                frames, frames of shape `(T, H, W, 3)` in uint8 RGB, a list of pictures, or a `Clip`.
            onset (`int` or `str`, *optional*): 0-based frame index, or a frame's file name. Given frames
                win over spotting.
            apex (`int` or `str`, *optional*): As `onset`.
            offset (`int` or `str`, *optional*): As `onset`.
            fps (`float`, *optional*): Frames per second, for clips that do not carry their times.
            action_units (*optional*, defaults to `"estimated"`): See `classify`.

        Returns:
            `Prediction`: With the seconds of every stage.

        Raises:
            ClipError: If the clip cannot be read, or a given frame is not in it.
            FaceError: If no usable face is in it.
            ValueError: If the given frames contradict each other, or an action unit is unknown.
        """
        return self.with_track(clip, onset, apex, offset, fps, action_units)[0]

    def with_track(
        self,
        clip: str | Path | Clip | np.ndarray | Sequence[Image.Image],
        onset: int | str | None = None,
        apex: int | str | None = None,
        offset: int | str | None = None,
        fps: float | None = None,
        action_units: Collection[str] | Mapping | str | None = "estimated",
    ) -> tuple[Prediction, FaceTrack]:
        """As a call of the pipeline, which see; also gives the aligned faces, as a replay needs them.

        Returns:
            `tuple`: The [`Prediction`] and the [`FaceTrack`].
        """
        timings_s: dict[str, float] = {}
        if action_units not in (None, ESTIMATED):
            action_units = given_action_units(action_units)
        with _timed(timings_s, "read"):
            clip = clip if isinstance(clip, Clip) else read_clip(clip, fps=fps)
        given = {
            name: frame_index(clip, value, name)
            for name, value in zip(PHASE_NAMES, (onset, apex, offset), strict=True)
        }
        with _timed(timings_s, "track"):
            track = self.track(clip)
        with _timed(timings_s, "spot"):
            phases = self.spot(track, clip.timestamps_s, **given)
        prediction = self.classify(track, phases, clip.timestamps_s, action_units)
        return replace(prediction, timings_s=timings_s | prediction.timings_s), track

    def track(self, clip: Clip) -> FaceTrack:
        """Finds the face and cuts it out aligned, in the geometry that this network was trained with."""
        return track_face(clip, self.geometry)

    def spot(
        self,
        track: FaceTrack,
        timestamps_s: np.ndarray | None = None,
        onset: int | None = None,
        apex: int | None = None,
        offset: int | None = None,
    ) -> Phases:
        """The motion curve and the phases; frames that are given are taken as they are."""
        return spot(track, timestamps_s, onset=onset, apex=apex, offset=offset)

    def classify(
        self,
        track: FaceTrack,
        phases: Phases,
        timestamps_s: np.ndarray | None = None,
        action_units: Collection[str] | Mapping | str | None = "estimated",
    ) -> Prediction:
        """The network's answer, and where it looked.

        Where the phases say `no_motion` or `blink` the network is not asked: on a map that holds only
        noise its answer would be confident and meaningless. All scores are then equal, and a warning says so.

        Args:
            track (`FaceTrack`): Aligned faces.
            phases (`Phases`): From `spot`.
            timestamps_s (`np.ndarray` of shape `(T,)`, *optional*): Seconds of the frames.
            action_units (*optional*, defaults to `"estimated"`): What a network that takes action units is
                given: those estimated from the motion, or a person's annotation (names such as `"AU4"`, or
                `"L12"` for the left side, or a dict of intensities), or None.

        Returns:
            `Prediction`: `timings_s` holds `action_units`, `classify` and `relevance`.

        Raises:
            ValueError: If an action unit is unknown.
        """
        frames = len(track.frames)
        asked = phases.outcome not in UNSCORED
        onset, apex = (phases.onset, phases.apex) if asked else (0, frames // 2)
        timings_s: dict[str, float] = {}
        with _timed(timings_s, "action_units"):
            found, source = self._action_units(track, phases, action_units)
        scores, relevance = (
            self._ask(track, phases, None if source == "withheld" else found, timings_s)
            if asked
            else self._leave_open(track, timings_s)
        )
        outcome, likely = self._decide(phases, timestamps_s, max(scores.values()))
        why = UNSCORED.get(outcome, NOT_AN_EXPRESSION)
        return Prediction(
            outcome=outcome,
            label=max(scores, key=scores.get) if outcome == "micro_expression" else None,
            scores=scores,
            phases=phases,
            timestamps_s=np.full(frames, np.nan) if timestamps_s is None else np.asarray(timestamps_s),
            action_units=found,
            action_units_source=source,
            relevance=relevance,
            relevance_frames=self._relevance_frames(relevance, frames, phases),
            onset_face=track.frames[onset],
            apex_face=track.frames[apex],
            warnings=(*track.warnings, *phases.warnings, *(() if outcome == "micro_expression" else (why,))),
            model=self.name,
            timings_s=timings_s,
            expression_probability=likely,
        )

    def _decide(
        self, phases: Phases, timestamps_s: np.ndarray | None, confidence: float
    ) -> tuple[str, float | None]:
        """The outcome, and how likely an expression is; phases that somebody gave are not doubted."""
        spotted = phases.outcome == "micro_expression" and phases.source == "spotted"
        if self.calibration is None or not spotted:
            return phases.outcome, None
        interocular_px = self.geometry.size * self.geometry.interocular_fraction
        features = features_of(phases, timestamps_s, interocular_px, confidence)
        likely = self.calibration.expression_probability(features)
        is_one = likely >= self.calibration.threshold
        return "micro_expression" if is_one else "no_micro_expression", round(likely, 4)

    def _relevance_frames(self, relevance: np.ndarray, frames: int, phases: Phases) -> tuple[int, ...]:
        """A network that looks at single frames has a map for each of them, all others one for the apex."""
        if relevance.ndim == 3:
            seen = self.processor.frame_indices(frames, phases.onset, phases.apex, phases.offset)
            return tuple(-1 if index is None else index for index in seen)
        return (frames // 2 if phases.apex is None else phases.apex,)

    @staticmethod
    def _action_units(track: FaceTrack, phases: Phases, wanted) -> tuple[Intensities, str]:
        """What to show, and where it comes from."""
        if wanted is not None and wanted != ESTIMATED:
            return given_action_units(wanted), "given"
        source = ESTIMATED if wanted else "withheld"
        if phases.outcome in UNSCORED:
            return resting_action_units(blink=phases.outcome == "blink"), source
        return estimate_action_units(track.frames, phases.onset, phases.apex, track.landmarks_xy), source

    def _ask(
        self,
        track: FaceTrack,
        phases: Phases,
        action_units: Intensities | None,
        timings_s: dict[str, float],
    ) -> tuple[dict[str, float], np.ndarray]:
        """The network's scores and its relevance map."""
        with _timed(timings_s, "classify"):
            inputs = self.processor(
                track.frames,
                onset=phases.onset,
                apex=phases.apex,
                offset=phases.offset,
                landmarks_xy=track.landmarks_xy,
                action_units=action_units,
                return_tensors="pt",
            ).to(self.model.device)
            with torch.inference_mode():
                logits = self._network(**inputs).logits[0].cpu().double().numpy()  # mps has no float64
            probabilities = (self.calibration.probabilities if self.calibration else softmax)(logits).tolist()
        names = self.model.config.id2label
        scores = {names[index]: probability for index, probability in enumerate(probabilities)}
        with _timed(timings_s, "relevance"):
            relevance = face_relevance(
                self._network,
                self.processor,
                inputs,
                geometry=self.geometry,
                landmarks_xy=track.landmarks_xy,
            )
        return scores, relevance

    def _leave_open(
        self, track: FaceTrack, timings_s: dict[str, float]
    ) -> tuple[dict[str, float], np.ndarray]:
        """Equal scores and an empty map, for a clip with nothing to classify."""
        timings_s |= {"classify": 0.0, "relevance": 0.0}
        names = self.model.config.id2label
        scores = {names[index]: 1.0 / len(names) for index in range(len(names))}
        return scores, np.zeros(track.frames.shape[1:3], dtype=np.float32)


def frame_index(clip: Clip, value: int | str | None, phase: str) -> int | None:
    """The 0-based index of a frame that was given by its index or its file's name.

    Digits alone are always an index, so that a name such as `0046.jpg` needs its ending.

    Args:
        clip (`Clip`): The clip.
        value (`int`, `str` or `None`): An index, a frame's file name with or without its ending, or None.
        phase (`str`): What the frame is, for the message.

    Returns:
        `int` or `None`: The index; None where nothing was given.

    Raises:
        ClipError: If the clip has no such frame.
    """
    if value is None:
        return None
    frames = len(clip.frames)
    if isinstance(value, str) and not value.lstrip("-").isdigit():
        names = {name: at for at, name in reversed(list(enumerate(clip.frame_names or ())))}
        stems = {Path(name).stem: at for name, at in names.items()}
        if value in names or value in stems:
            return names.get(value, stems.get(value))
        known = (
            f"its frames are {next(iter(reversed(names)))} to {next(iter(names))}"
            if names
            else "it has no frame names"
        )
        raise ClipError(
            f"{phase} {value!r} is not a frame of the clip: {known}. Give a name or an index from 0."
        )
    if not 0 <= int(value) < frames:
        raise ClipError(f"{phase} {value} is outside the clip, which has frames 0 to {frames - 1}.")
    return int(value)


@contextmanager
def _timed(timings_s: dict[str, float], stage: str):
    """Writes the seconds of the block under `stage`."""
    started = time.perf_counter()
    yield
    timings_s[stage] = time.perf_counter() - started
