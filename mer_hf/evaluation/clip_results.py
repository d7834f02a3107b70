"""Results of checkpoints on test clips, each of which several processes render and track only once."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import cv2
import numpy as np
import torch

from mer_hf.face.evidence import facial_motion
from mer_hf.inference.calibration import features_of
from mer_hf.inference.pipeline import REPORTED, MicroExpressionPipeline, Prediction
from mer_hf.synthetic.clips import LabelledClip

from .clip_sets import TestClip, render_test_clip

Progress = Callable[[int, int], None]
"""Called with what is done and how much there is."""
WITHOUT = " without action units"
"""Follows the name of a network from which action units were hidden."""


@dataclass(frozen=True)
class ClipResult:
    """What one checkpoint answered about one test clip, and what is true.

    Attributes:
        test ([`TestClip`]): Which clip.
        label (`int`): True class index; -1 without an expression.
        activations (`dict`): AU -> (left, right).
        peak_px (`float`): Largest motion; 0 without an expression.
        face (`str`): Name of the face.
        outcome (`str`): The pipeline's.
        scores (`np.ndarray` of shape `(num_classes,)`): Probabilities as the pipeline gives them.
        logits (`np.ndarray` of shape `(num_classes,)`): The network's, up to a constant; all equal where it
            was not asked.
        features (`dict[str, float]` or None): Of the strongest motion; None where nothing was spotted.
    """

    test: TestClip
    label: int
    activations: dict[str, tuple[float, float]]
    peak_px: float
    face: str
    outcome: str
    scores: np.ndarray
    logits: np.ndarray
    features: dict[str, float] | None

    @property
    def reported(self) -> bool:
        """Return whether an expression was reported."""
        return self.outcome in REPORTED

    @property
    def recognised(self) -> bool:
        """Return whether an expression was reported, and as the right class."""
        return self.reported and int(self.logits.argmax()) == self.label


def evaluate_clip(
    pipelines: dict[str, MicroExpressionPipeline], test: TestClip, seed: int, index: int
) -> dict[str, ClipResult]:
    """Render a test clip and return the result of each checkpoint; it is tracked once for each crop.

    A network that takes action units is also asked without them, under its name and `WITHOUT`.
    """
    rendered, label = render_test_clip(test, seed, index)
    times_s, tracked, results = rendered.clip.timestamps_s, {}, {}
    for name, pipe in pipelines.items():
        if pipe.geometry not in tracked:
            track = pipe.track(rendered.clip)
            tracked[pipe.geometry] = track, pipe.spot(track, times_s)
        answers = {name: pipe.classify(*tracked[pipe.geometry], times_s)}
        if getattr(pipe.processor, "action_unit_names", None):
            answers[name + WITHOUT] = pipe.classify(*tracked[pipe.geometry], times_s, action_units=None)
        results |= {key: _result(test, rendered, label, pipe, answer) for key, answer in answers.items()}
    return results


def _result(
    test: TestClip, rendered: LabelledClip, label: int, pipe: MicroExpressionPipeline, answer: Prediction
) -> ClipResult:
    """Reduce an answer to what is counted."""
    scores = np.array(list(answer.scores.values()))
    temperature = pipe.calibration.temperature if pipe.calibration else 1.0
    logits = np.log(np.maximum(scores, 1e-12)) * temperature
    features = None
    if answer.phases.apex is not None:
        interocular_px = pipe.geometry.size * pipe.geometry.interocular_fraction
        features = features_of(facial_motion(answer.phases, answer.timestamps_s, interocular_px))
    motion = rendered.motion
    peak_px = motion.peak_px if motion.activations else 0.0
    face = rendered.clip.source.removeprefix("synthetic:")
    return ClipResult(
        test, label, motion.activations, peak_px, face, answer.outcome, scores, logits, features
    )


_pipelines: dict[str, MicroExpressionPipeline] = {}


def _load(names: list[str]) -> None:
    """Load the checkpoints in a process of its own."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    _pipelines.update({name: MicroExpressionPipeline.from_pretrained(name) for name in names})


def _evaluate(task: tuple[TestClip, int, int]) -> dict[str, ClipResult]:
    return evaluate_clip(_pipelines, *task)


def evaluate_clips(
    names: list[str], tests: list[TestClip], seed: int, workers: int = 1, progress: Progress | None = None
) -> dict[str, list[ClipResult]]:
    """Evaluate checkpoints on test clips.

    Args:
        names (`list[str]`): Checkpoints, as `from_pretrained` takes them.
        tests (`list[TestClip]`): The clips; clip i of the stream is rendered for the i-th.
        seed (`int`): Of the clips.
        workers (`int`, *optional*, defaults to 1): Processes; the results do not depend on it.
        progress (`Callable[[int, int], None]`, *optional*): Called with the clips done and their total.

    Returns:
        `dict[str, list[ClipResult]]`: Checkpoint -> results in the order of the clips; see [`evaluate_clip`].
    """
    results: dict[str, list[ClipResult]] = {}
    tasks = [(test, seed, index) for index, test in enumerate(tests)]
    with ProcessPoolExecutor(workers, get_context("spawn"), _load, (names,)) as pool:
        for done, by_name in enumerate(pool.map(_evaluate, tasks), start=1):
            for name, result in by_name.items():
                results.setdefault(name, []).append(result)
            if progress:
                progress(done, len(tasks))
    return results
