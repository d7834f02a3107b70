"""Measure the seconds from a file to an answer, stage by stage, warm.

Two clips of 2 seconds, 640 x 360: one at 30 frames per second, one at 200. They are generated (a
photograph whose mouth corners are pulled up), written as H.264 and read back. The pipeline has answered once
before the clock starts; each number is the median of the repeats.
"""

import tempfile
from pathlib import Path
from statistics import median

from mer_hf import MicroExpressionPipeline
from mer_hf.synthetic.clips import example_clip
from mer_hf.video.clip import write_clip

STAGES = ("read", "track", "spot", "classify", "relevance")


def measure(pipeline: MicroExpressionPipeline, path: Path, repeats: int) -> dict[str, float]:
    """Return the median seconds of each stage and of their sum."""
    pipeline(path)
    runs = [pipeline(path).timings_s for _ in range(repeats)]
    seconds = {stage: median(run[stage] for run in runs) for stage in STAGES}
    return seconds | {"total": median(sum(run.values()) for run in runs)}


def run(model: str = "htnet", repeats: int = 5) -> dict:
    pipeline = MicroExpressionPipeline.from_pretrained(model)
    result: dict = {"model": model, "repeats": repeats}
    with tempfile.TemporaryDirectory() as folder:
        for fps in (30, 200):
            clip = example_clip("positive", fps=fps).clip
            path = Path(folder) / f"{fps}.mp4"
            write_clip(path, clip.frames, fps)
            seconds = measure(pipeline, path, repeats)
            result[f"frames_{fps}fps"] = len(clip.frames)
            result |= {f"{stage}_{fps}fps_s": value for stage, value in seconds.items()}
            result[f"seconds_per_second_of_clip_{fps}fps"] = seconds["total"] / (len(clip.frames) / fps)
    return result
