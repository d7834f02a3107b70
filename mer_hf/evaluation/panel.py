"""Checkpoints that look at the same synthetic clips, each drawn and tracked once, by several processes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import cv2
import numpy as np
import torch

from mer_hf.inference.calibration import features_of, softmax
from mer_hf.inference.pipeline import MicroExpressionPipeline, Prediction

from .clip_sets import Case, KnownClip, known_clip

WITHOUT = " without action units"
"""Behind the name of a network from which action units were hidden."""

Task = tuple[Any, Case]
"""A key that says what a clip is for, and its kind."""


@dataclass(frozen=True)
class Answer:
    """What one checkpoint said about one clip.

    Attributes:
        kind (`str`): Of the clip.
        label (`int`): Right class; -1 for none.
        outcome (`str`): The pipeline's.
        scores (`np.ndarray` of shape `(num_classes,)`): Probabilities as the pipeline gives them.
        logits (`np.ndarray` of shape `(num_classes,)`): The network's, up to a constant; all alike where it
            was not asked.
        features (`dict[str, float]` or `None`): Of the strongest motion; None where nothing was spotted.
        known ([`KnownClip`]): The clip's truth; its frames are not kept.
    """

    kind: str
    label: int
    outcome: str
    scores: np.ndarray
    logits: np.ndarray
    features: dict[str, float] | None
    known: KnownClip


class Panel:
    """Several checkpoints that look at the same clips; each clip is tracked once for each crop.

    Args:
        pipelines (`dict[str, MicroExpressionPipeline]`): Name -> pipeline.
    """

    def __init__(self, pipelines: dict[str, MicroExpressionPipeline]):
        self.pipelines = pipelines

    def answers(
        self, kind: str, known: KnownClip, action_units: str | None = "estimated"
    ) -> dict[str, Answer]:
        """What each says about a clip.

        Args:
            kind (`str`): Of the clip.
            known ([`KnownClip`]): The clip.
            action_units (`str`, *optional*): See `MicroExpressionPipeline.classify`.

        Returns:
            `dict[str, Answer]`: By name.
        """
        tracked: dict = {}
        found = {}
        for name, pipe in self.pipelines.items():
            if pipe.geometry not in tracked:
                track = pipe.track(known.clip)
                tracked[pipe.geometry] = track, pipe.spot(track, known.clip.timestamps_s)
            track, phases = tracked[pipe.geometry]
            said = pipe.classify(track, phases, known.clip.timestamps_s)
            found[name] = _answer(kind, known, said, pipe)
            if getattr(pipe.processor, "action_unit_names", None):
                said = pipe.classify(track, phases, known.clip.timestamps_s, action_units=None)
                found[name + WITHOUT] = _answer(kind, known, said, pipe)
        return found


def _answer(kind: str, known: KnownClip, said: Prediction, pipe: MicroExpressionPipeline) -> Answer:
    truth = KnownClip(known.clip.source, known.label, known.activations, known.peak_px, known.person)
    temperature = pipe.calibration.temperature if pipe.calibration else 1.0
    scores = np.array(list(said.scores.values()))
    logits = np.log(np.maximum(scores, 1e-12)) * temperature
    features = None
    if said.phases.apex is not None:
        unit = pipe.geometry.size * pipe.geometry.interocular_fraction
        confidence = float(softmax(logits).max())
        features = features_of(said.phases, said.timestamps_s, unit, confidence)
    return Answer(kind, known.label, said.outcome, scores, logits, features, truth)


_panel: Panel | None = None


def _begin(names: Sequence[str]) -> None:
    global _panel
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    _panel = Panel({name: MicroExpressionPipeline.from_pretrained(name) for name in names})


def _one(task: tuple[int, Case, int]) -> dict[str, Answer]:
    index, case, seed = task
    return _panel.answers(case.kind, known_clip(case, seed, index))


def look(
    names: Sequence[str],
    tasks: Sequence[Task],
    seed: int,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[tuple[Any, Answer]]]:
    """Draw clips and let checkpoints answer.

    Args:
        names (`Sequence[str]`): Checkpoints, as `from_pretrained` takes them.
        tasks (`Sequence[Task]`): (key, case) of every clip; clip i of the stream is drawn for task i.
        seed (`int`): Of the clips.
        workers (`int`, *optional*, defaults to 1): Processes; the answers do not depend on it.
        progress (`Callable[[int, int], None]`, *optional*): Called with clips done and in all.

    Returns:
        `dict[str, list]`: Checkpoint -> (key, answer) of every clip, in order; see [`Panel.answers`].
    """
    found: dict[str, list[tuple[Any, Answer]]] = {}
    todo = [(index, case, seed) for index, (_, case) in enumerate(tasks)]
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (list(names),)) as pool:
        for done, ((key, _), answers) in enumerate(zip(tasks, pool.map(_one, todo), strict=True)):
            for name, answer in answers.items():
                found.setdefault(name, []).append((key, answer))
            if progress:
                progress(done + 1, len(tasks))
    return found
