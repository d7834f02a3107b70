"""Measure what matters for an HTNet that learns from synthetic flow maps: one thing changed at a time.

    python -m benchmarks.studies.ablation --out ablation.json
    python -m benchmarks.studies.ablation --flows FLOWS.npz --log LOG.jsonl    # logs every evaluation

Every row trains the bundled configuration on fewer maps. It is scored on the held-out synthetic settings and
on those further from training. About an hour on one core.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers.modeling_outputs import ImageClassifierOutput

from benchmarks.held_out import SETTINGS, SHIFTED, held_out_maps
from mer_hf.data.flow_files import read_flow_maps
from mer_hf.evaluation.evaluate import append_log, evaluate_flow_maps, look_record, predict_flow_maps
from mer_hf.evaluation.metrics import uf1
from mer_hf.loading import CHECKPOINTS, load
from mer_hf.synthetic import CLASSES, expressions
from mer_hf.training.config import TrainingConfig, read_stored
from mer_hf.training.loop import train

MAPS, EPOCHS, SEEDS = 6000, 8, 5
HELD_OUT_MAPS = 300

TEXTBOOK = {
    "negative": {"AU4": 0.8, "AU7": 0.5, "AU9": 0.3, "AU10": 0.3, "AU15": 0.4, "AU17": 0.4, "AU20": 0.2},
    "positive": {"AU6": 0.8, "AU12": 1.0},
    "surprise": {"AU1": 1.0, "AU2": 1.0, "AU5": 0.8, "AU26": 0.6},
}
"""AUs of the emotions' prototypes, in place of their coded frequencies."""

CLEAN = {
    "sensor_noise": (0.01, 0.02),
    "noise": (0.001, 0.002),
    "light": 0.0,
    "light_levels": 0.0,
    "gain": 0.0,
    "outliers": 0.0,
    "blur_px": 0.0,
}
ONE_CROP = {
    "eye_row": (8.5, 8.5),
    "interocular_px": (14.0, 14.0),
    "squash": (0.9, 0.9),
    "roll_deg": 0.0,
    "identity": 0.0,
}


@dataclass(frozen=True)
class Row:
    """One thing changed: settings of the generator, the network or its processor, AUs, number of maps, ...

    `shares` are AUs of the classes in place of both coding sheets; several `seeds` answer together.
    """

    generator: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    processor: dict = field(default_factory=dict)
    shares: dict | None = None
    maps: int = MAPS
    augment_noise: float | None = None
    seeds: int = 1


ROWS: dict[str, Row] = {
    "as bundled": Row(),
    "five seeds together": Row(seeds=SEEDS),
    "number of maps: a quarter": Row(maps=MAPS // 4),
    "number of maps: twice as many": Row(maps=2 * MAPS),
    "size: hidden_size 24": Row(config={"hidden_size": 24}),
    "size: hidden_size 96": Row(config={"hidden_size": 96}),
    "normalisation: none": Row(processor={"normalization": "none"}),
    "normalisation: with strain": Row(processor={"use_strain": True}),
    "augmentation noise in each epoch: none": Row(augment_noise=0.0),
    "AU frequencies: textbook": Row(shares={"casme2": TEXTBOOK, "samm": TEXTBOOK}),
    "class shares: even": Row(generator={"class_shares": (1 / 3, 1 / 3, 1 / 3)}),
    "noise: none": Row(generator=CLEAN),
    "geometry: one crop": Row(generator=ONE_CROP),
    "geometry: muscles alike": Row(generator={"muscle": 0.0}),
    "flow: imitated": Row(generator={"filmed": 0.0}),
    "flow: DIS": Row(generator={"filmed": 1.0, "tvl1": 0.0}),
    "flow: TV-L1": Row(generator={"filmed": 1.0, "tvl1": 1.0}),
}


class Together(torch.nn.Module):
    """Several networks that answer by the mean of their probabilities."""

    def __init__(self, models: list):
        super().__init__()
        self.models = torch.nn.ModuleList(models)
        self.config, self.device = models[0].config, models[0].device

    def forward(self, pixel_values: torch.Tensor) -> ImageClassifierOutput:
        """Return the log of the mean probabilities, `logits` float32 `(B, num_labels)`."""
        parts = torch.stack(
            [model(pixel_values=pixel_values).logits.softmax(dim=-1) for model in self.models]
        )
        return ImageClassifierOutput(logits=parts.mean(dim=0).log())


def run_of(row: Row, seed: int, folder: Path, maps: Path, workers: int) -> TrainingConfig:
    """Return the bundled checkpoint's training run with the row's change, on fewer maps kept in `maps`."""
    flags = read_stored(CHECKPOINTS / "htnet-synthetic")
    flags["config"] = flags["config"] | row.config
    flags["processor"] = flags["processor"] | row.processor
    if row.augment_noise is not None:
        flags["augment_noise"] = row.augment_noise
    flags |= {"generator": row.generator, "num_samples": row.maps, "epochs": EPOCHS, "validation_samples": 0}
    flags |= {"seed": seed, "data_seed": 0, "num_workers": workers, "cache_dir": str(maps)}
    return TrainingConfig(output_dir=str(folder / f"seed{seed}"), **flags)


def trained(row: Row, maps: Path, workers: int) -> tuple[Together, object]:
    """Train the row's networks and return them with their processor; `maps` keeps what other rows use."""
    pairs = []
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(expressions.AU_SHARES, row.shares or {}):
        own = Path(folder) / "maps"  # the name of a kept set does not tell the AUs of its classes
        for seed in range(row.seeds):
            run = run_of(row, seed, Path(folder), own if row.shares else maps, workers)
            train(run)
            pairs.append(load(run.output_dir))
    for model, _ in pairs:
        model.config._name_or_path = ""  # the folder is gone, and several networks answer together
    return Together([model.eval() for model, _ in pairs]), pairs[0][1]


def score(model, processor, held_out: dict[str, tuple]) -> dict[str, float]:
    """Return UF1 on each held-out setting."""
    return {
        name: uf1(predict_flow_maps(model, processor, flow).argmax(1), labels, len(CLASSES))
        for name, (flow, labels) in held_out.items()
    }


def main() -> None:
    """Train and score every row, and write the scores after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON of all rows; rows in it are not run again")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw (default: 1)")
    parser.add_argument("--flows", help="real flow maps to score as well; needs --log")
    parser.add_argument("--log", type=Path, help="file that logs every evaluation")
    args = parser.parse_args()
    if bool(args.flows) != bool(args.log):
        parser.error("--flows and --log go together: every evaluation on real maps is logged")
    real = read_flow_maps(args.flows) if args.flows else None
    scores = json.loads(args.out.read_text()) if args.out and args.out.is_file() else {}
    held_out = {name: held_out_maps(name, HELD_OUT_MAPS) for name in SETTINGS | SHIFTED}
    with tempfile.TemporaryDirectory() as maps:
        for name in tqdm([name for name in args.rows if name not in scores], desc="rows", unit="row"):
            model, processor = trained(ROWS[name], Path(maps), args.workers)
            by_setting = score(model, processor, held_out)
            scores[name] = {
                "uf1": float(np.mean([by_setting[setting] for setting in SETTINGS])),
                "uf1_shifted": float(np.mean([by_setting[setting] for setting in SHIFTED])),
                "settings": by_setting,
            }
            if real is not None:
                result = evaluate_flow_maps(model, processor, real, name=f"ablation: {name}")
                append_log(args.log, look_record(model, real, result))
                scores[name] |= {"real_uf1": result["uf1"], "real_uar": result["uar"]}
            line = " ".join(f"{key} {value:.3f}" for key, value in scores[name].items() if key != "settings")
            tqdm.write(f"{name:34} {line}")
            if args.out:
                args.out.write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
