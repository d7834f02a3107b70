"""Measure how long fresh processes take: to import, and from the command to the answer, files in the cache.

    python -m benchmarks cold_start
    python -m benchmarks.cold_start --repeats 1

Each number is the median of processes that take turns. `python` is Python alone, and is part of all others.
The floor is what nobody can save who uses transformers: to import it, without looking for garbage meanwhile
and at the end. The packages are those whose
modules take the longest to import for `mer-hf predict`, each without the modules that it imports in turn.
"""

import re
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median

from benchmarks._clock import fresh, rounded, script
from mer_hf.synthetic.clips import example_clip
from mer_hf.video.clip import write_clip

IMPORTS = {
    "python": "pass",
    "import_mer_hf": "import mer_hf",
    "import_torch": "import torch",
    "import_transformers": "import transformers.modeling_utils",
    "floor": "import gc; gc.disable(); import transformers.modeling_utils; gc.freeze()",
}
WATCHED = """
import contextlib, sys
sys.argv = ["mer-hf", "predict", sys.argv[1], "--json"]
import mer_hf.cli, mer_hf.face.tracking
mer_hf.cli.quiet = mer_hf.face.tracking._quiet_stderr = contextlib.nullcontext
mer_hf.cli.main()
"""
"""`mer-hf predict` that leaves stderr open, to which Python writes what it imports."""
MOST_PACKAGES = 10


def packages(clip: Path) -> dict[str, float]:
    """Return the packages that take the longest to import, and their seconds."""
    lines = fresh("-X", "importtime", "-c", WATCHED, str(clip)).errors
    spent: Counter = Counter()
    for own_us, name in re.findall(r"^import time: +(\d+) \| +\d+ \| +([\w.]+)$", lines, re.MULTILINE):
        spent[name.split(".")[0]] += int(own_us) / 1e6
    return dict(spent.most_common(MOST_PACKAGES))


def run(repeats: int = 5) -> dict:
    """Return wall and processor seconds of each process, and of the packages it imports."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "clip.mp4")
        write_clip(clip, example_clip("positive").clip.frames, 30)
        commands = {name: ("-c", code) for name, code in IMPORTS.items()}
        commands["predict"] = ("-m", "mer_hf", "predict", str(clip), "--json")
        fresh(*commands["predict"])  # brings the files into the cache
        turns = [{name: fresh(*command) for name, command in commands.items()} for _ in range(repeats)]
        slowest = packages(clip)
    result: dict = {"repeats": repeats}
    for name in commands:
        result[f"{name}_wall_s"] = median(turn[name].wall_s for turn in turns)
        result[f"{name}_cpu_s"] = median(turn[name].cpu_s for turn in turns)
    result["import_mer_hf_alone_wall_s"] = median(
        t["import_mer_hf"].wall_s - t["python"].wall_s for t in turns
    )
    result["predict_to_floor"] = median(turn["predict"].wall_s / turn["floor"].wall_s for turn in turns)
    return rounded(result | {f"{name}_package_s": spent_s for name, spent_s in slowest.items()})


if __name__ == "__main__":
    script(run)
