"""Tiny configurations and inputs of every architecture, for tests that sweep the registry."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from mer_hf.registry import ARCHITECTURES


@dataclass(frozen=True)
class Tiny:
    """Keyword arguments of a configuration and of a processor."""

    config: dict
    processor: dict = field(default_factory=dict)


TINY = {
    "htnet": Tiny(config={"hidden_size": 32, "num_attention_heads": 4, "depths": [1, 1, 2]}),
    "mmnet": Tiny(
        config={"image_size": 32, "stem_channels": [8, 8], "hidden_sizes": [8, 8, 16, 32]},
        processor={"size": 32},
    ),
    "hsta": Tiny(
        config={
            "image_size": 32,
            "patch_sizes": [12, 16],
            "num_frames": 4,
            "hidden_sizes": [16, 32],
            "num_attention_heads": [2, 4],
            "depths": [[1, 2], [1, 1]],
            "hidden_dropout_prob": 0.0,
            "drop_path_rate": 0.0,
        },
        processor={"size": 32, "num_frames": 4, "frame_sampling": "uniform"},
    ),
    "facesleuth": Tiny(
        config={
            "image_size": 64,
            "stem_channels": 8,
            "hidden_sizes": [16, 16, 32, 64],
            "fc_hidden_sizes": [32, 16],
            "swin_embed_dim": 16,
            "swin_depths": [1, 1, 2],
            "swin_num_heads": [1, 2, 4],
            "swin_window_size": 2,
            "drop_path_rate": 0.0,
        },
        processor={"size": 64},
    ),
}


def tiny_model(key: str):
    torch.manual_seed(0)
    architecture = ARCHITECTURES[key]
    return architecture.classifier_class(architecture.config_class(**TINY[key].config)).eval()


def tiny_processor(key: str):
    return ARCHITECTURES[key].processor_class(**TINY[key].processor)


def tiny_clip(frames: int = 5, size: int = 64, seed: int = 0) -> np.ndarray:
    """A smooth random picture whose middle grows from frame to frame, (T, S, S, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    row, column = np.mgrid[:size, :size].astype(np.float32)
    bump = np.exp(-((row - 0.4 * size) ** 2 + (column - 0.3 * size) ** 2) / (0.01 * size * size))
    shifted = [(column, (row - 0.5 * t * bump).astype(np.float32)) for t in range(frames)]
    return np.stack([cv2.remap(picture, x, y, cv2.INTER_LINEAR) for x, y in shifted])


def tiny_inputs(key: str) -> dict[str, torch.Tensor]:
    """Two clips, through the architecture's processor."""
    clips = [tiny_clip(seed=0), tiny_clip(seed=1)]
    return dict(tiny_processor(key)(images=clips, onset=0, apex=[3, 4], return_tensors="pt"))
