"""Score checkpoints on synthetic maps that no run trains on, and name the best.

    python -m benchmarks.transfer runs/seed0 runs/seed1

With several checkpoints this is how the shipped training seed is chosen: by the mean UF1 over the settings.
`--shifted` scores them on settings further from training: what gains on the first and not on these has learnt
the generator better.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np


def score(names: list[str], size: int, shifted: bool = False) -> dict:
    """Scores per setting and checkpoint, the mean of each checkpoint, and the best one."""
    from benchmarks.held_out import SETTINGS, SHIFTED, evaluate_synthetic
    from mer_hf.loading import load

    chosen = SHIFTED if shifted else SETTINGS
    settings = evaluate_synthetic({name: load(name) for name in names}, size, chosen)
    means = {name: float(np.mean([row[name]["uf1"] for row in settings.values()])) for name in names}
    return {
        "maps_per_setting": size,
        "settings": settings,
        "mean_uf1": means,
        "best": max(means, key=means.get),
    }


def run() -> dict:
    """What `make bench` records: UF1 and UAR of the bundled checkpoint on every held-out setting."""
    result = score(["htnet-synthetic"], 300)
    rows = ((name, scores["htnet-synthetic"]) for name, scores in result["settings"].items())
    return {f"{name}: {metric}": round(value, 4) for name, row in rows for metric, value in row.items()}


def keep(run: Path, folder: Path) -> None:
    """Put a run's checkpoint in a folder, in place of what an earlier choice put there."""
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name in ("config.json", "preprocessor_config.json", "train_config.json", "model.safetensors"):
        shutil.copyfile(run / name, unfinished / name)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def main() -> None:
    """Print the scores as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--size", type=int, default=300, help="maps per setting (default: 300)")
    parser.add_argument("--shifted", action="store_true", help="score on settings further from training")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy the best checkpoint to FOLDER")
    arguments = parser.parse_args()
    if arguments.shifted and arguments.keep:
        parser.error("--keep goes by the settings that are not shifted")
    result = score(arguments.checkpoints, arguments.size, arguments.shifted)
    if arguments.keep:
        keep(Path(result["best"]), arguments.keep)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
