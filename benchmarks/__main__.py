"""Run every benchmark of this folder, print its numbers and keep them.

    python -m benchmarks              # all of them
    python -m benchmarks networks     # one

Each module offers `run() -> dict`, a flat dict of numbers (or short strings) whose names carry their unit.
The results go to `benchmarks/results/<date>-<commit>-<name>.json` with the date, the commit and the machine,
and from the newest of them docs/speed.md is written.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from mer_hf.utils.provenance import git_commit

FOLDER = Path(__file__).resolve().parent
BY_THEMSELVES = ("leaderboard", "peers", "recordings", "speed_page")
"""Not among those of `make bench`: minutes long, with a page of its own; given recordings; and the page."""


def names() -> list[str]:
    """Return the names of the benchmarks of this folder."""
    modules = (path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    return sorted(name for name in modules if name not in BY_THEMSELVES)


def machine() -> dict:
    """Describe the machine on which the numbers are measured."""
    import torch

    cpu = platform.processor() or "unknown"
    if Path("/proc/cpuinfo").exists():
        models = [
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
        ]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def show(name: str, result: dict) -> None:
    """Print the numbers of one benchmark, one a line."""
    width = max(map(len, result))
    print(f"\n{name}")
    for key, value in result.items():
        text = f"{value:12.4g}" if isinstance(value, int | float) else f"{value!s:>12}"
        print(f"  {key:<{width}}  {text}")


def keep(name: str, result: dict, folder: Path, commit: str) -> Path:
    """Write the numbers of one benchmark with date, commit and machine."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    short = commit[:10] + ("-dirty" if commit.endswith("-dirty") else "")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{date[:10]}-{short}-{name}.json"
    head = {"name": name, "date": date, "commit": commit, "machine": machine()}
    path.write_text(json.dumps(head | {"result": result}, indent=1) + "\n")
    return path


def newest(name: str, folder: Path = FOLDER / "results") -> dict | None:
    """Return the newest result file of a benchmark, if there is one."""
    files = [json.loads(path.read_text()) for path in folder.glob(f"*-{name}.json")]
    return max(files, key=lambda each: each["date"], default=None)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks that are named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, print and keep.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names()))
    parser.add_argument("--results", type=Path, default=FOLDER / "results", metavar="DIR")
    args = parser.parse_args(argv)
    unknown = sorted(set(args.names) - set(names()))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(names())}")
    commit = git_commit() or "unknown"  # the first result that is written changes the tree
    for name in args.names or names():
        result = importlib.import_module(f"benchmarks.{name}").run()
        show(name, result)
        keep(name, result, args.results, commit)
    importlib.import_module("benchmarks.speed_page").write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
