"""Measure the bundled networks and simple ones on the fixed evaluation set, and write docs/leaderboard.md.

    python -m benchmarks.leaderboard                  # everything, then the page: `make leaderboard`
    python -m benchmarks.leaderboard --samples 1000   # the small networks on fewer maps
    python -m benchmarks.leaderboard --only-page      # the page from the newest result file

`mer_hf/evaluation/benchmark_set.py` is the set; `mer-hf push-synthetic --evaluation` publishes it.
"""

import argparse

import numpy as np
import torch
from torch import nn

from benchmarks.__main__ import FOLDER, keep, newest, show
from mer_hf.evaluation.benchmark_set import CLIPS, LEVELS, MAPS, level_clips, level_maps, seed_of
from mer_hf.evaluation.clip_results import evaluate_clips
from mer_hf.evaluation.evaluate import predict_flow_maps
from mer_hf.evaluation.metrics import uf1
from mer_hf.loading import bundled_names, load
from mer_hf.synthetic import CLASSES, FlowMapSettings, SyntheticFlowMaps
from mer_hf.training.baselines import normalized, small_flow_cnn, train_small_cnn
from mer_hf.utils.provenance import git_commit

TEMPLATE = FOLDER / "leaderboard.md.txt"
PAGE = FOLDER.parent / "docs" / "leaderboard.md"
SAMPLES, EPOCHS, SEED = 16_000, 12, 0


class Streams(nn.Module):
    """Networks side by side, each on one channel of a map, and a classifier of their features together."""

    def __init__(self, streams: list[nn.Module], head: nn.Module):
        super().__init__()
        self.streams, self.head = nn.ModuleList(streams), head

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return class scores of maps `(B, 3, 28, 28)`; stream i sees channel i."""
        parts = [stream(maps[:, i : i + 1]).flatten(1) for i, stream in enumerate(self.streams)]
        return self.head(torch.cat(parts, dim=1))


def off_apexnet_sized(num_classes: int) -> nn.Module:
    """Return two streams of 6 and 16 filters on horizontal and vertical flow, and two wide linear layers.

    The sizes of Off-ApexNet (Gan et al. 2019), 2.7 M parameters.
    """

    def stream() -> nn.Module:
        first = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*first, nn.Conv2d(6, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))

    wide = [nn.Linear(2 * 16 * 49, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU()]
    return Streams([stream(), stream()], nn.Sequential(*wide, nn.Linear(1024, num_classes)))


def sssnet_sized(num_classes: int) -> nn.Module:
    """Return one stream of 96 and 256 filters, the first two layers of an AlexNet, and a linear layer.

    The size of the single-stream shallow network (Khor et al. 2019), 0.6 M parameters.
    """
    first = [nn.Conv2d(3, 96, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(256 * 9, num_classes))


SMALL = {
    "STSTNet-sized": small_flow_cnn,
    "Off-ApexNet-sized": off_apexnet_sized,
    "SSSNet-sized": sssnet_sized,
}


def of_nobody(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the answers of two that look at nothing."""
    rng = np.random.default_rng(SEED)
    return {
        "majority": np.full(len(labels), np.bincount(labels).argmax()),
        "random": rng.integers(len(CLASSES), size=len(labels)),
    }


def train_small(samples: int) -> dict[str, nn.Module]:
    """Train the small networks on the same synthetic maps."""
    data = SyntheticFlowMaps(SEED, samples, FlowMapSettings())
    rows = [data[index] for index in range(samples)]
    maps = normalized(np.stack([row["flow"] for row in rows]))
    labels = torch.tensor([int(row["label"]) for row in rows])
    return {
        name: train_small_cnn(maps, labels, len(CLASSES), SEED, build, EPOCHS)
        for name, build in SMALL.items()
    }


def on_maps(samples: int, count: int) -> dict[str, float]:
    """Return UF1 on the flow maps, by level and network."""
    small, (htnet, processor), result = train_small(samples), load("htnet"), {}
    for level in LEVELS:
        drawn = level_maps(level, count)
        flow, labels = drawn["flow"], drawn["label"].astype(int)
        answers = {"htnet-synthetic": predict_flow_maps(htnet, processor, flow).argmax(1)}
        with torch.no_grad():
            maps = normalized(flow)
            answers |= {name: model(maps).argmax(1).numpy() for name, model in small.items()}
        for name, predictions in (answers | of_nobody(labels)).items():
            result[f"maps: {name}: {level}"] = round(float(uf1(predictions, labels, len(CLASSES))), 3)
    return result


def on_clips(count: int, workers: int) -> dict[str, float]:
    """Return the share of clips in which an expression was reported with its class, by level and network."""
    names, result = bundled_names(), {}
    for level in LEVELS:
        by_name = evaluate_clips(names, level_clips(level, count), seed_of(level), workers)
        labels = np.array([each.label for each in by_name[names[0]]])
        shares = {name: np.mean([each.recognised for each in by_name[name]]) for name in names}
        shares |= {name: np.mean(answer == labels) for name, answer in of_nobody(labels).items()}
        result |= {f"clips: {name}: {level}": round(float(share), 3) for name, share in shares.items()}
    return result


def run(samples: int = SAMPLES, maps: int = MAPS, clips: int = CLIPS, workers: int = 1) -> dict:
    """Return every number of the page."""
    counts = {"samples": samples, "epochs": EPOCHS, "maps": maps, "clips": clips}
    return counts | on_maps(samples, maps) | on_clips(clips, workers)


def table(result: dict, kind: str) -> str:
    """Return the rows of one kind in Markdown, the best mean first."""
    rows: dict[str, list[float]] = {}
    for key, value in result.items():
        if key.startswith(f"{kind}: "):
            rows.setdefault(key.split(": ")[1], []).append(value)
    ordered = sorted(rows.items(), key=lambda row: -sum(row[1]))
    lines = [["", *LEVELS], ["---"] * (1 + len(LEVELS))]
    lines += [[name, *(f"{value:.3f}" for value in values)] for name, values in ordered]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(kept: dict | None) -> str:
    """Return docs/leaderboard.md; without a result file it says that nothing was measured."""
    head, measured, tail = TEMPLATE.read_text().split("<!-- measured -->\n")
    if kept is None:
        return f"{head}**Nothing has been measured yet:** no result file is there.\n{tail}"
    result = kept["result"]
    values = {f"num_{kind}": result[kind] for kind in ("maps", "clips")}
    values |= {f"{kind}_table": table(result, kind) for kind in ("maps", "clips")}
    values |= {"date": kept["date"][:10], "commit": kept["commit"][:10], "whole": SAMPLES}
    return head + measured.format(samples=result["samples"], epochs=result["epochs"], **values) + tail


def main(argv: list[str] | None = None) -> None:
    """Measure, keep the numbers, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.leaderboard", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--samples", type=int, default=SAMPLES, help="maps the small networks learn from")
    parser.add_argument("--maps", type=int, default=MAPS, help="tested maps of a level")
    parser.add_argument("--clips", type=int, default=CLIPS, help="tested clips of a level")
    parser.add_argument("--workers", type=int, default=2, help="processes for the clips")
    parser.add_argument("--only-page", action="store_true", help="only write the page again")
    args = parser.parse_args(argv)
    if not args.only_page:
        commit = git_commit() or "unknown"
        result = run(args.samples, args.maps, args.clips, args.workers)
        show("leaderboard", result)
        keep("leaderboard", result, FOLDER / "results", commit)
    PAGE.write_text(page(newest("leaderboard")))


if __name__ == "__main__":
    main()
