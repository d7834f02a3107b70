"""A second task in training: to tell how strongly each action unit moves, on both sides of the face.

A class is a coarse label of a motion; the action units say what moved. A linear layer on the features that
the classifier takes is trained beside it and thrown away: the published network stays as it is.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mer_hf.labels import ACTION_UNITS

UNITS = tuple(ACTION_UNITS)


def relative_strengths(activations: dict[str, tuple[float, float]]) -> np.ndarray:
    """Return strengths relative to the strongest, float32 `(2, 21)`: left and right, units as in `UNITS`."""
    strongest = max((max(sides) for sides in activations.values()), default=1.0)
    rows = [activations.get(name, (0.0, 0.0)) for name in UNITS]
    return np.float32(rows).T / np.float32(strongest)


class WithActionUnits(nn.Module):
    """A classifier and the head that is trained beside it.

    Args:
        network (`PreTrainedModel`): One of the four, with `base_model` and `classifier`.
    """

    def __init__(self, network: Any):
        super().__init__()
        self.network = network
        self.head = nn.Linear(network.classifier.in_features, 2 * len(UNITS))

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the class scores `(B, num_labels)` and those of the action units `(B, 2, 21)`."""
        features = self.network.base_model(**inputs, return_dict=True).pooler_output
        return self.network.classifier(features), self.head(features).unflatten(1, (2, len(UNITS)))


def action_unit_loss(scores: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross entropy of scores `(B, 2, 21)` against strengths of 0 to 1."""
    return binary_cross_entropy_with_logits(scores, strengths.clamp(0, 1))
