"""Measure how many expressions `spot_long` finds in minutes of video, what else it reports, and its speed.

python -m benchmarks long_video

python -m benchmarks.long_video --seconds 60 --people 6 --windows 3/1 4/1 6/1.5     # other windows

People who do not exist sit in front of a camera: now and then a micro-expression of 0.2 to 0.5 s, blinks,
and stretches of speech, which cause the false intervals. An expression counts as found where the overlap with
an interval is at least half of their union, the field's rule. Real recordings are harder.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from mer_hf import MicroExpressionPipeline
from mer_hf.inference.long_video import OVERLAP_S, WINDOW_S, spot_long
from mer_hf.inference.pipeline import REPORTED
from mer_hf.synthetic.clips import EXAMPLES, Motion, render_clip
from mer_hf.video.clip import write_clip

SEED = 20_260_101
FPS = 30.0
HEIGHT, WIDTH, INTEROCULAR_PX = 240, 320, 60.0
NOISE, DRIFT_PX, TURN_DEG = 1.5, 2.0, 0.8
SPEECH_PX = 1.5
_FADE = 5


Intervals = Sequence[tuple[float, float]]


def interval_counts(spotted: Intervals, truth: Intervals, least_iou: float = 0.5) -> np.ndarray:
    """Count right, wrong and missed intervals of one video, by the rule of the MEGC challenges.

    An interval is right if its intersection with a true one is at least half of their union; no true interval
    counts twice. Add the counts of several videos before you compute precision, recall and F1.
    """
    ours, theirs = (np.asarray(spans, dtype=np.float64).reshape(-1, 2) for spans in (spotted, truth))
    low = np.maximum(ours[:, None, 0], theirs[None, :, 0])
    high = np.minimum(ours[:, None, 1], theirs[None, :, 1])
    common = np.clip(high - low, 0, None)
    union = np.diff(ours, axis=1) + np.diff(theirs, axis=1).T - common
    same = common / np.maximum(union, 1e-12) >= least_iou
    right = int(same[linear_sum_assignment(same, maximize=True)].sum())
    return np.array([right, len(ours) - right, len(theirs) - right])


@dataclass
class Scene:
    """The events of a video.

    Attributes:
        segments (`list[tuple[float, Motion]]`): Length in seconds and motion, one after the other.
        truth_s (`list[tuple[float, float]]`): Onset and offset of every expression, from the beginning.
    """

    segments: list[tuple[float, Motion]] = field(default_factory=list)
    truth_s: list[tuple[float, float]] = field(default_factory=list)


def draw_scene(rng: np.random.Generator, seconds: float) -> Scene:
    """Draw a scene: half of the time micro-expressions, else speech, or rest with blinks."""
    scene, at_s = Scene(), 0.0
    still = {"noise": 0.0, "drift_px": 0.0, "turn_deg": 0.0}  # head and camera come later, without seams
    while at_s < seconds:
        kind = rng.choice(["expression", "expression", "rest", "talk"])
        lasts_s = round(float(rng.uniform(2.0, 3.5)) * FPS) / FPS
        if kind == "expression":
            onset_s = float(rng.uniform(0.4, lasts_s - 1.0))
            rise_s, fall_s = rng.uniform(0.1, 0.25, 2)
            apex_s, offset_s = onset_s + rise_s, onset_s + rise_s + fall_s
            activations = EXAMPLES[str(rng.choice(sorted(EXAMPLES)))]
            motion = Motion(activations, float(rng.uniform(1.0, 3.0)), onset_s, apex_s, offset_s, **still)
            scene.truth_s.append((at_s + onset_s, at_s + offset_s))
        elif kind == "rest":
            motion = Motion(blink_s=float(rng.uniform(0.3, lasts_s - 0.3)), **still)
        else:
            motion = Motion(talk_px=float(rng.uniform(0.5, 1.0)) * SPEECH_PX, **still)
        scene.segments.append((lasts_s, motion))
        at_s += lasts_s
    return scene


def frames_of(scene: Scene, name: str, seed: int) -> Iterator[np.ndarray]:
    """Render the frames of a scene: skin first, then the head's slow path, then the sensor's noise."""
    rng = np.random.default_rng([SEED, seed])
    speed, phase = rng.uniform(0.05, 0.25, 3), rng.uniform(0, 2 * np.pi, 3)
    at = 0
    for number, (lasts_s, motion) in enumerate(scene.segments):
        size = {"height": HEIGHT, "width": WIDTH, "interocular_px": INTEROCULAR_PX}
        labelled = render_clip(motion, name=name, fps=FPS, duration_s=lasts_s, seed=seed + number, **size)
        frames = labelled.clip.frames
        if motion.talk_px:
            still = Motion(noise=0.0, drift_px=0.0, turn_deg=0.0, flicker=0.0)
            rest = render_clip(still, name=name, fps=FPS, duration_s=2 / FPS, **size).clip.frames[0]
            for k in range(_FADE):  # the mouth of one who talks is not at rest when a segment begins or ends
                share = (k + 1) / (_FADE + 1)
                frames[k] = cv2.addWeighted(frames[k], share, rest, 1 - share, 0)
                frames[-1 - k] = cv2.addWeighted(frames[-1 - k], share, rest, 1 - share, 0)
        for frame in frames:
            wave = np.sin(2 * np.pi * speed * at / FPS + phase) - np.sin(phase)
            head = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), TURN_DEG * wave[2], 1.0)
            head[:, 2] += DRIFT_PX * wave[:2]
            moved = cv2.warpAffine(
                frame, head, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
            )
            noisy = moved + NOISE * rng.standard_normal(moved.shape, dtype=np.float32)
            yield np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
            at += 1


def write_videos(folder: Path, people: int, seconds: float) -> list[tuple[Path, Scene]]:
    """Write one video for each person."""
    videos = []
    for person in range(people):
        scene = draw_scene(np.random.default_rng([SEED, person]), seconds)
        path = folder / f"person-{person}.mp4"
        write_clip(path, frames_of(scene, f"person-{person}", person), FPS)
        videos.append((path, scene))
    return videos


def measure(
    videos: list[tuple[Path, Scene]], pipeline: MicroExpressionPipeline, window_s: float, overlap_s: float
) -> dict[str, float]:
    """Return recall, false intervals and time, for all motion and for what is reported as an expression."""
    counts, seconds = {"any": np.zeros(3), "believed": np.zeros(3)}, 0.0
    started, worked = time.perf_counter(), time.process_time()
    for path, scene in videos:
        video = spot_long(path, pipeline, window_s, overlap_s)
        seconds += video.duration_s
        for name in counts:
            intervals = [i for i in video.intervals if name == "any" or i.outcome in REPORTED]
            spans = [(i.onset_s, i.offset_s) for i in intervals]
            counts[name] += interval_counts(spans, scene.truth_s)
    result = {
        "wall_s_per_s": (time.perf_counter() - started) / seconds,
        "cpu_s_per_s": (time.process_time() - worked) / seconds,
        "minutes": seconds / 60,
    }
    for name, (right, wrong, missed) in counts.items():
        result[f"{name}_recall"] = right / max(right + missed, 1)
        result[f"{name}_false_per_min"] = wrong / (seconds / 60)
        result[f"{name}_f1"] = 2 * right / max(2 * right + wrong + missed, 1)
    return result


def run(
    people: int = 3,
    seconds: float = 40.0,
    windows: tuple[tuple[float, float], ...] = ((WINDOW_S, OVERLAP_S),),
    model: str = "htnet",
) -> dict:
    """Measure what `make bench` records.

    Args:
        people (`int`, *optional*, defaults to 3): Videos, of one person each.
        seconds (`float`, *optional*, defaults to 40.0): Length of a video.
        windows (`tuple`, *optional*): Pairs of window and overlap, in seconds.
        model (`str`, *optional*, defaults to `"htnet"`): The checkpoint that classifies.

    Returns:
        `dict`: `<window>/<overlap> s: <figure>` -> number.
    """
    pipeline = MicroExpressionPipeline.from_pretrained(model)
    with tempfile.TemporaryDirectory() as folder:
        videos = write_videos(Path(folder), people, seconds)
        result: dict = {"model": model, "expressions": sum(len(scene.truth_s) for _, scene in videos)}
        for window_s, overlap_s in windows:
            figures = measure(videos, pipeline, window_s, overlap_s)
            result |= {f"{window_s:g}/{overlap_s:g} s: {k}": round(v, 3) for k, v in figures.items()}
    return result


def main() -> None:
    """Print a table of windows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--model", default="htnet")
    parser.add_argument("--windows", nargs="+", default=[f"{WINDOW_S:g}/{OVERLAP_S:g}"], metavar="S/S")
    args = parser.parse_args()
    windows = tuple(tuple(float(part) for part in text.split("/")) for text in args.windows)
    for name, value in run(args.people, args.seconds, windows, args.model).items():
        print(f"{name:<36}{value}", flush=True)


if __name__ == "__main__":
    main()
