"""The pointing game: does a network's relevance fall where the face moved?

    python -m benchmarks pointing

A single action unit moves a synthetic face, so the area that moved is known. A map hits if its highest point
lies in that area. Chance is the area's share of the face: what a random point on the face would hit. Every
bundled network is compared with the same network with random weights.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from scipy.stats import spearmanr

from mer_hf.inference.pipeline import face_relevance
from mer_hf.loading import CHECKPOINTS, load
from mer_hf.registry import ARCHITECTURES
from mer_hf.synthetic.faces import GEOMETRY, FaceSettings, render_face
from mer_hf.synthetic.muscles import PULLS, vertex_displacement
from mer_hf.synthetic.template import interpolation_operator

SEED = 2**31 + 2
"""Above every training seed, and other than those of the held-out sets."""

COUNT = 20
"""Samples of each action unit."""

SINGLE = tuple(name for name in PULLS if name != "AU45")
"""Action units that move alone: all that have a muscle model, except the blink."""


def moving_area(
    name: str, landmarks_xy: np.ndarray, size: int, reach: float = 0.5, margin: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the area that an action unit moves most and the area of the face, bool `(size, size)`.

    The face at rest is given by its landmarks `(468, 2)` in pixels. The area is where the skin moves at least
    `reach` times as far as at its strongest point, with a rim of `margin` interocular distances: the map's
    own raster is not finer.
    """
    (index, weight), face = interpolation_operator(landmarks_xy[:468], np.arange(size), np.arange(size))
    strength = np.linalg.norm(vertex_displacement({name: (1.0, 1.0)}), axis=1)
    moved = (strength[index] * weight).sum(axis=-1)
    area = (moved >= reach * strength.max()).astype(np.uint8)
    eyes = landmarks_xy[[33, 133, 362, 263]].reshape(2, 2, 2).mean(axis=1)
    rim = max(1, round(margin * float(np.linalg.norm(eyes[1] - eyes[0]))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1))
    return (cv2.dilate(area, disc) > 0) & face, face


def single_action_units(
    count: int, num_frames: int, geometry: dict | None = None
) -> Iterator[tuple[str, dict]]:
    """Yield `count` synthetic faces for each action unit, which moves both sides.

    A sample is the action unit, and `frames`, `onset`, `apex`, `offset`, `landmarks_xy`. Two frames are onset
    and apex; more rise and fall in between.
    """
    settings = FaceSettings(peak_px=(1.5, 3.5), blink=0.0, gaze=0.0, head=0.0, strong_head=0.0, stray=0.0)
    apex = 1 if num_frames == 2 else num_frames // 2
    frames_at = np.arange(num_frames)
    phase = np.where(frames_at <= apex, frames_at / apex, 2 - frames_at / apex).clip(0)
    for number, name in enumerate(SINGLE):
        for i in range(count):
            rng = np.random.default_rng([SEED, number, i])
            strengths = 0.5 - 0.5 * np.cos(np.pi * phase)
            frames, landmarks = render_face(
                rng, {name: (1.0, 1.0)}, strengths, settings, GEOMETRY | (geometry or {})
            )
            places = {"onset": 0, "apex": apex, "offset": num_frames - 1, "landmarks_xy": landmarks}
            yield name, {"frames": frames, **places}


def _maps(model, processor, sample: dict) -> np.ndarray:
    """Return the relevance of the network's own answer at the apex, `(S, S)`."""
    landmarks = np.repeat(sample["landmarks_xy"][None], len(sample["frames"]), axis=0)
    phases = {name: sample[name] for name in ("onset", "apex", "offset")}
    inputs = processor(images=sample["frames"], **phases, landmarks_xy=landmarks, return_tensors="pt")
    heat = face_relevance(model, processor, inputs, landmarks_xy=landmarks)
    return heat if heat.ndim == 2 else heat[-1]


def pointing_game(model, processor, count: int = 10) -> dict:
    """Play the pointing game with a network and with the same network with random weights.

    Returns `hits`, `chance` and `hits_randomised` (shares in [0, 1]), `similarity` (mean rank correlation of
    the network's maps with those of random weights), `clips`, and `per_action_unit`, name -> (hits, chance).
    """
    torch.manual_seed(0)
    random = type(model)(model.config).eval()
    num_frames = getattr(processor, "num_frames", None)
    rows: dict[str, list[tuple]] = {name: [] for name in SINGLE}
    frames = 2 if num_frames is None else 2 * num_frames - 1
    for name, sample in single_action_units(count, frames, processor.face_geometry):
        size = sample["frames"].shape[1]
        area, face = moving_area(name, sample["landmarks_xy"], size)
        own, other = (_maps(each, processor, sample) for each in (model, random))
        constant = own.min() == own.max() or other.min() == other.max()
        similarity = np.nan if constant else spearmanr(own[::8, ::8], other[::8, ::8], axis=None).statistic
        rows[name].append((_hit(own, area), _hit(other, area), area.sum() / face.sum(), similarity))
    table = np.array([row for each in rows.values() for row in each], dtype=float)
    return {
        "clips": len(table),
        "hits": float(table[:, 0].mean()),
        "hits_randomised": float(table[:, 1].mean()),
        "chance": float(table[:, 2].mean()),
        "similarity": float(np.nanmean(table[:, 3])) if np.isfinite(table[:, 3]).any() else 0.0,
        "per_action_unit": {
            name: tuple(float(value) for value in np.array(each, dtype=float)[:, [0, 2]].mean(axis=0))
            for name, each in rows.items()
        },
    }


def _hit(heat: np.ndarray, area: np.ndarray) -> bool:
    """Return whether the highest point, or the centre of a plateau, lies in the area; an empty map misses."""
    if heat.max() <= 0:
        return False
    row, column = np.argwhere(heat >= heat.max() * (1 - 1e-6)).mean(axis=0).round().astype(int)
    return bool(area[row, column])


def run() -> dict:
    """Return the hits of every bundled checkpoint, in all and for each action unit."""
    result: dict = {"samples_per_action_unit": COUNT}
    for key in ARCHITECTURES:
        name = f"{key}-synthetic"
        if not (CHECKPOINTS / name / "config.json").is_file():
            continue
        shares = pointing_game(*load(name), count=COUNT)
        units = shares.pop("per_action_unit")
        result |= {f"{key}_{field}": round(value, 3) for field, value in shares.items()}
        result |= {f"{key}_{unit}_hits": round(hits, 3) for unit, (hits, _) in units.items()}
    return result
