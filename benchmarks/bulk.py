"""Measure clips an hour of `mer-hf predict FOLDER --out`, by resolution and number of processes.

    python -m benchmarks bulk
    python -m benchmarks.bulk --clips 2 --heights 360 --workers 1

Clips of two seconds at 30 frames a second. The seconds before the first clip, in which programs and weights
are loaded, do not count. Where the command has no `--workers`, torchrun starts the processes.
"""

import json
import shutil
import tempfile
from pathlib import Path

from benchmarks._clock import fresh, script
from benchmarks.floors import write_example
from mer_hf.cli import build_parser

WIDTHS = {360: 640, 720: 1280, 1080: 1920}
"""Height -> width."""
CLIPS = 20


def clips_per_hour(folder: Path, workers: int, model: str = "htnet") -> float:
    """Predict a folder of clips by several processes."""
    out = folder.with_suffix(".csv")
    command = ["predict", str(folder), "--out", str(out), "--overwrite", "--model", model, "--json"]
    start = ["-m", "mer_hf"]
    if not build_parser().parse_known_args([*command, "--workers", str(workers)])[1]:
        command += ["--workers", str(workers)]
    elif workers > 1:
        start = ["-m", "torch.distributed.run", "--nproc_per_node", str(workers), *start]
    lines = fresh(*start, *command).output.splitlines()
    summary = json.loads(next(line for line in lines if line.startswith("{")))
    if summary["failed"]:
        raise RuntimeError(f"{summary['failed']} clips failed: {summary['reasons']}")
    return summary["clips_per_s"] * 3600


def run(
    clips: int = CLIPS, heights: tuple[int, ...] = tuple(WIDTHS), workers: tuple[int, ...] = (1, 2)
) -> dict:
    """Return clips an hour by height of the picture and number of processes."""
    result: dict = {"clips": clips}
    for height in heights:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "clips")
            folder.mkdir()
            write_example(folder / "0.mp4", WIDTHS[height], height, 30)
            for number in range(1, clips):
                shutil.copyfile(folder / "0.mp4", folder / f"{number}.mp4")
            for count in workers:
                result[f"{height}p_workers_{count}_clips_per_h"] = round(clips_per_hour(folder, count))
    return result


if __name__ == "__main__":
    script(run)
