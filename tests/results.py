"""Results made by hand, for what draws and writes them."""

from dataclasses import replace

import cv2
import numpy as np

from mer_hf.face.spotting import Phases
from mer_hf.face.tracking import FaceTrack
from mer_hf.inference.pipeline import REPORTED, Prediction

SIZE = 64
CLASSES = ("negative", "positive", "surprise")


def faces(count: int, apex: int, size: int = SIZE) -> np.ndarray:
    """A textured square whose middle goes up around a frame."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.standard_normal((size, size, 3), dtype=np.float32), (0, 0), 2)
    texture = np.clip(128 + 140 * texture, 0, 255)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    bump = np.exp(-((x - size / 2) ** 2 + (y - size / 2) ** 2) / (2 * (0.12 * size) ** 2)).astype(np.float32)
    amounts = 1.2 * np.exp(-0.5 * ((np.arange(count) - apex) / 2.0) ** 2)
    moved = [cv2.remap(texture, x, y + np.float32(amount) * bump, cv2.INTER_CUBIC) for amount in amounts]
    return np.clip(np.round(moved), 0, 255).astype(np.uint8)


def result(
    outcome: str = "micro_expression",
    count: int = 40,
    fps: float | None = 30.0,
    phases: tuple[int, int, int] | None = (14, 19, 25),
    relevance_frames: tuple[int, ...] | None = None,
    **changes,
) -> tuple[FaceTrack, Prediction]:
    """A track and what was found in it."""
    onset, apex, offset = phases or (None, None, None)
    middle = count // 2 if apex is None else apex
    frames = faces(count, middle)
    curve = np.exp(-0.5 * ((np.arange(count) - middle) / 2.0) ** 2).astype(np.float32)
    heat = np.zeros((SIZE, SIZE), np.float32)
    heat[8:24, 8:24] = 1.0
    maps = (
        heat
        if relevance_frames is None
        else np.stack([np.roll(heat, 8 * i, 1) for i in range(len(relevance_frames))])
    )
    found, moved = outcome in REPORTED, phases is not None
    prediction = Prediction(
        outcome=outcome,
        label="positive" if found else None,
        scores={"negative": 0.2, "positive": 0.7, "surprise": 0.1}
        if found
        else dict.fromkeys(CLASSES, 1 / 3),
        phases=Phases(onset, apex, offset, curve, "spotted", outcome, threshold=0.3),
        timestamps_s=np.full(count, np.nan) if fps is None else np.arange(count) / fps,
        action_units={"AU4": (0.1, 0.2, 0.2), "AU12": (0.9, 0.7, 0.9), "AU24": None},
        action_units_source="estimated",
        relevance=maps if found else np.zeros_like(heat),
        relevance_frames=relevance_frames or (middle,),
        onset_face=frames[onset or 0],
        apex_face=frames[middle],
        warnings=(),
        model="htnet-synthetic",
        timings_s={"read": 0.1, "track": 0.5},
        expression_probability=0.93 if found else None,
        apexes=(onset + 1, apex, apex) if moved else (),
        duration_s=(offset - onset - 1) / fps if moved and fps else None,
        size_px=1.46 if moved else None,
        reason="speech" if outcome == "other_motion" else None,
    )
    landmarks = np.zeros((count, 478, 2), np.float32)
    to_clip = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
    return FaceTrack(frames, landmarks, to_clip), replace(prediction, **changes)
