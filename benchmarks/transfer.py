"""Score checkpoints on synthetic maps that no run trains on, and name the best.

    python -m benchmarks.transfer runs/seed0 runs/seed1

HTNet's shipped training seed is the one with the best mean UF1 over the settings; `--keep FOLDER` copies it.
`--shifted` scores checkpoints on settings further from training. A gain that does not carry over to them
means overfitting to the generator.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np


def score(names: list[str], size: int, shifted: bool = False) -> dict:
    """Return scores per setting and checkpoint, the mean of each checkpoint, and the best one."""
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
    """Return UF1 and UAR of the bundled checkpoint on every held-out setting, for `make bench`."""
    result = score(["htnet-synthetic"], 300)
    rows = ((name, scores["htnet-synthetic"]) for name, scores in result["settings"].items())
    return {f"{name}: {metric}": round(value, 4) for name, row in rows for metric, value in row.items()}


def keep(run: Path, folder: Path) -> None:
    """Copy a run's checkpoint to a folder, in place of an earlier choice."""
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
