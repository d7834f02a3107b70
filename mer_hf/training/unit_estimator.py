"""Train the estimate of action units on synthetic motion, the same bits each time.

    python -m mer_hf.training.unit_estimator OUT.safetensors

People who do not exist show what the coding sheets of recorded expressions list, other mixtures, a blink, or
nothing; the flow between rest and apex is measured as it is on recordings. No recorded motion is used.
"""

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.special import expit
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm.auto import tqdm

from mer_hf.face.action_units import TABLE, VOCABULARY, features_of, measured_motion
from mer_hf.synthetic.expressions import CLASSES, draw_expression, draw_sides
from mer_hf.synthetic.faces import GEOMETRY, FaceSettings, render_face
from mer_hf.synthetic.flow_maps import STRONG_HEAD, FlowMapSettings, log_uniform, personal_basis
from mer_hf.synthetic.muscles import vertex_displacement
from mer_hf.synthetic.template import face_template
from mer_hf.utils.files import replacing

from .data import draw

SETTINGS = FaceSettings(blink=0.0, reach=FlowMapSettings.reach, head=0.0, strong_head=0.0, stray=0.0)
"""Blinks are drawn here, because the estimate has to name them."""
CODED, MIXED, BLINKS = 0.5, 0.35, (0.5, 0.15)
"""Shares of faces that show what is coded for a class, and any one to three units; the rest shows nothing.
Lids close in half of the rest, so that a blink alone is known, and in some of the others."""
LEAST_SHARE, LEAST_PX, PLAIN_PX = 0.25, 0.2, 0.7
"""A unit counts as shown from this share of the strongest one on, and from this motion at an interocular
distance of 60 on; from the last one on, that anything moves cannot be noise."""
HEAD = (1.0, 1.0, 0.5, 0.3, 0.7, 0.7)
"""Shares of shifts, roll, nearing, and of turns to the side and up."""
BESIDE_LIDS = np.array([name in ("AU1", "AU2", "AU4", "AU5", "AU6", "AU7") for name in VOCABULARY])
HALVES = 0.3
"""Share of faces whose halves come from two."""
MIDLINE = np.array([unit.midline for unit in TABLE])
CUT = 0.1
"""Share of faces of which the picture leaves out a part."""
SIZES = (256, 128)


class Shown:
    """Motion of the mesh `(468, 2)` and what moves it, `(2, 21)` in pixels; sample i depends on (seed, i)."""

    def __init__(self, seed: int):
        self.seed = seed

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, index])
        units = _draw_units(rng)
        basis = personal_basis(rng, units, SETTINGS)
        px = log_uniform(rng, 0.35, 5.0)
        if units:
            px /= _largest(units, basis)
            units = {name: (px * left, px * right) for name, (left, right) in units.items()}
        moving = dict(units)
        if rng.random() < BLINKS[bool(units)]:
            px = float(rng.uniform(2, 11))
            moving["AU45"] = (px, px)
            basis |= personal_basis(rng, {"AU45": (1, 1)}, SETTINGS)
        peak = _largest(moving, basis) if moving else 1.0
        settings = replace(SETTINGS, peak_px=(peak, peak))
        strengths = np.array([0.0, 1.0])
        frames, landmarks_xy = render_face(rng, moving, strengths, settings, GEOMETRY, basis or None)
        amounts = np.zeros((2, len(VOCABULARY)), np.float32)
        for name, sides in moving.items():
            amounts[:, VOCABULARY.index(name)] = sides
        return {"moved": measured_motion(frames, 0, 1, landmarks_xy)[0], "amounts": amounts}


def _draw_units(rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    kind = rng.random()
    if kind < CODED:
        return draw_expression(rng, int(rng.integers(len(CLASSES)))).activations
    if kind > CODED + MIXED:
        return {}
    names = rng.choice(VOCABULARY[:-1], rng.choice((1, 2, 3), p=(0.4, 0.35, 0.25)), replace=False)
    return {str(n): draw_sides(rng, str(n), float(np.exp(0.35 * rng.standard_normal()))) for n in names}


def _largest(units, basis) -> float:
    return float(np.linalg.norm(vertex_displacement(units, basis), axis=1).max())


def targets_of(amounts: np.ndarray) -> np.ndarray:
    """Return what the network learns, `(N, 43)`: which units are shown, and if anything plainly moves."""
    plainly = amounts.max(axis=(1, 2)) >= PLAIN_PX
    return np.concatenate([is_shown(amounts).reshape(len(amounts), -1), plainly[:, None]], axis=1)


def is_shown(amounts: np.ndarray) -> np.ndarray:
    """Return which units count as shown, for amounts `(N, 2, 21)` in pixels; a blink hides some."""
    strongest = amounts[..., :-1].max(axis=(1, 2), keepdims=True)
    strongest = np.where(BESIDE_LIDS, np.maximum(strongest, amounts[:, :1, -1:]), strongest)
    shown = (amounts >= LEAST_SHARE * strongest) & (amounts >= LEAST_PX)
    shown[..., -1] = amounts[..., -1] > 1
    return shown


def with_other_halves(
    rng: np.random.Generator, moved_xy: np.ndarray, amounts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give some faces the right half of another one: that both sides do the same is not for granted."""
    count = len(moved_xy)
    other = np.where(rng.random(count) < HALVES, rng.permutation(count), np.arange(count))
    left = expit(face_template()[0][:, 0] / 0.08)[:, None]  # x grows to the right of the picture
    halves = np.stack([amounts[:, 0], amounts[other, 1]], axis=1)
    halves[..., MIDLINE] = halves[..., MIDLINE].mean(axis=1, keepdims=True)
    return left * moved_xy + (1 - left) * moved_xy[other], halves


def varied(rng: np.random.Generator, moved_xy: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Add what registration leaves of the head to motion `(N, 468, 2)`, and cut a part of some faces off.

    The head shifts, rolls, nears and turns as in flow maps, relative to the strongest motion.
    """
    count, (x, y, depth) = len(moved_xy), face_template()[0].T
    nil, one = np.zeros(468), np.ones(468)
    u, v = np.array([[one, nil, -y, x, -depth, nil], [nil, one, x, y, nil, -depth]])
    spread = np.where(rng.random(count) < FlowMapSettings.strong_head, STRONG_HEAD, FlowMapSettings.head)
    size = spread * np.abs(rng.standard_normal(count)) * np.maximum(amounts.max(axis=(1, 2)), PLAIN_PX) / 60
    motions = size[:, None] * rng.standard_normal((count, 6)) * HEAD
    cut = np.quantile(y, rng.uniform(0.3, 1, count))
    kept = (y < cut[:, None]) | (rng.random(count) >= CUT)[:, None]
    return (moved_xy + np.stack([motions @ u, motions @ v], axis=-1)) * kept[..., None]


def train(moved_xy: np.ndarray, amounts: np.ndarray, epochs: int, batch_size: int = 128) -> nn.Sequential:
    """Train the network on motion `(N, 468, 2)` and what moves it, `(N, 2, 21)` in pixels."""
    rng, mirror = np.random.default_rng(0), face_template()[1]
    torch.manual_seed(0)
    sizes = (features_of(moved_xy[:1]).shape[-1], *SIZES, 2 * len(VOCABULARY) + 1)
    layers = [nn.Linear(*pair) for pair in pairwise(sizes)]
    hidden = (each for layer in layers[:-1] for each in (layer, nn.ReLU(), nn.Dropout(0.1)))
    network = nn.Sequential(*hidden, layers[-1])
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    steps = len(moved_xy) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps * epochs, pct_start=0.1)
    for _ in tqdm(range(epochs), "training", unit="epoch"):
        order = rng.permutation(len(moved_xy))
        for chosen in np.array_split(order[: steps * batch_size], steps):
            moved, shown = with_other_halves(rng, moved_xy[chosen], amounts[chosen])
            moved = varied(rng, moved, shown)
            turned = rng.random(len(chosen)) < 0.5
            moved[turned] = moved[turned][:, mirror] * (-1, 1)
            shown[turned] = shown[turned][:, ::-1]
            scores = network(torch.from_numpy(features_of(moved).astype(np.float32)))
            loss = binary_cross_entropy_with_logits(scores, torch.from_numpy(targets_of(shown)).float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def save(network: nn.Sequential, path: Path) -> None:
    """Write the weights as `mer_hf.face.action_units` reads them."""
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    tensors = {f"weight_{i}": layer.weight.detach().T.half().contiguous() for i, layer in enumerate(linear)}
    tensors |= {f"bias_{i}": layer.bias.detach().half() for i, layer in enumerate(linear)}
    tensors["mirror"] = torch.tensor(np.asarray(face_template()[1]), dtype=torch.int16)
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def main() -> None:
    """Draw, train and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # small products: a second thread only waits, and sums would change with it
    drawn = draw(Shown(77), range(arguments.samples), 50, arguments.workers)
    batches = list(tqdm(drawn, "drawing faces", total=arguments.samples // 50, unit="batch"))
    moved_xy, amounts = (np.concatenate([batch[name] for batch in batches]) for name in ("moved", "amounts"))
    save(train(moved_xy, amounts, arguments.epochs), arguments.out)


if __name__ == "__main__":
    main()
