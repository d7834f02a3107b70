"""Scores on synthetic maps that no run trains on: other seeds, other settings, and a real photograph's skin.

Choices (settings of the generator, training seeds) are made on these maps, so that real recordings serve only
for measuring.
"""

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np

from mer_hf.evaluation.evaluate import predict_flow_maps
from mer_hf.evaluation.metrics import uar, uf1
from mer_hf.face.landmarks import eye_centres
from mer_hf.synthetic import CLASSES, FlowMapSettings, SyntheticFlowMaps
from mer_hf.synthetic.clips import photograph
from mer_hf.synthetic.pictures import LEFT, SIDE, SPAN, TOP

HELD_OUT_SEED = 2**31 + 1
"""Above every training seed, and different from the seed that runs validate on."""

BASE = FlowMapSettings(muscle=0.35, reach=(0.55, 1.0), picture_px=(112,))
SETTINGS: dict[str, FlowMapSettings] = {
    "imitated flow": replace(BASE, filmed=0.0),
    "drawn faces, DIS": replace(BASE, filmed=1.0, tvl1=0.0),
    "photograph, DIS": replace(BASE, filmed=1.0, tvl1=0.0, picture_px=(224,)),
    "photograph, TV-L1": replace(BASE, filmed=1.0, tvl1=1.0, picture_px=(84,)),
    "photograph, DIS, motion under 1 px": replace(BASE, filmed=1.0, tvl1=0.0, peak_px=(0.3, 1.0)),
    "photograph, DIS, strong head motion": replace(BASE, filmed=1.0, tvl1=0.0, head=1.0),
}
"""Name -> settings; muscles vary more and reach further or less far than in training. `photograph...` moves
one instead of drawings."""

_OTHER = replace(BASE, reach=(0.45, 0.8), contraction=1.0, person=1.0, filmed=1.0, tvl1=0.0)
_LOW_CROP = {"eye_row": (7.5, 8.5), "interocular_px": (14.5, 15.5), "squash": (0.70, 0.80)}
_HIGH_CROP = {"eye_row": (8.0, 9.0), "interocular_px": (12.0, 13.2), "squash": (0.95, 1.05)}
SHIFTED: dict[str, FlowMapSettings] = {
    "TV-L1, loud noise": replace(_OTHER, tvl1=1.0, sensor_noise=(2.0, 6.0), picture_px=(84,)),
    "people at odds": replace(_OTHER, muscle=0.5, **_HIGH_CROP),
    "strong head motion": replace(_OTHER, head=1.0, **_LOW_CROP),
    "TV-L1, motion under 1 px": replace(
        _OTHER, tvl1=1.0, peak_px=(0.3, 1.0), sensor_noise=(1.0, 4.0), **_LOW_CROP
    ),
    "photograph, contraction, TV-L1": replace(_OTHER, person=0.0, tvl1=1.0, **_LOW_CROP),
}
"""Name -> settings further from training: skin that contracts, people in place of sketches.

A gain on `SETTINGS` that does not carry over here means overfitting to the generator.
"""


def photograph_raster() -> np.ndarray:
    """Return a gray photograph `(SIDE, SIDE)` on the raster of `pictures.py`, placed by its eye centres."""
    side = 4 * SIDE
    picture, landmarks = photograph("astronaut", side / SPAN, side, side)
    left, right = eye_centres(landmarks)
    across = (right - left) / side * SPAN
    turn = np.array([across, (-across[1], across[0])])
    to_raster = np.hstack([turn, (-turn @ (left + right) / 2)[:, None]]) * SIDE / side
    to_raster[:, 2] -= np.array([LEFT, TOP]) / SPAN * SIDE + 0.5
    gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 1.5)
    return cv2.warpAffine(gray, to_raster, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT).astype(np.float32)


def held_out_maps(name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw `size` maps of one of `SETTINGS` or `SHIFTED`: uint8 `(size, 28, 28, 3)`, and their labels."""
    picture = photograph_raster() if name.startswith("photograph") else None
    data = SyntheticFlowMaps(HELD_OUT_SEED, size, (SETTINGS | SHIFTED)[name], picture=picture)
    samples = [data[i] for i in range(size)]
    return np.stack([s["flow"] for s in samples]), np.array([s["label"] for s in samples])


def evaluate_synthetic(
    models: dict, size: int = 300, settings: Iterable[str] | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """Score classifiers (name -> model and processor) on held-out settings, by default all of `SETTINGS`.

    Returns setting -> model's name -> `{"uf1": float, "uar": float}`.
    """
    result: dict[str, dict[str, dict[str, float]]] = {}
    for setting in SETTINGS if settings is None else settings:
        flow, labels = held_out_maps(setting, size)
        result[setting] = {}
        for name, (model, processor) in models.items():
            predictions = predict_flow_maps(model, processor, flow).argmax(axis=1)
            result[setting][name] = {
                "uf1": uf1(predictions, labels, len(CLASSES)),
                "uar": uar(predictions, labels, len(CLASSES)),
            }
    return result
