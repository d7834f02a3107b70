from itertools import islice

import numpy as np
import pytest
import torch

from benchmarks import pointing as module
from benchmarks.pointing import moving_area, pointing_game, single_action_units
from tests.models.tiny import tiny_model, tiny_processor


def test_the_area_of_a_brow_is_above_the_eyes_and_that_of_a_lip_corner_below():
    name, sample = next(single_action_units(1, 2))
    landmarks, size = sample["landmarks_xy"], sample["frames"].shape[1]
    eyes = landmarks[[33, 133, 362, 263], 1].mean()
    for unit, above in (("AU2", True), ("AU12", False)):
        area, face = moving_area(unit, landmarks, size)
        rows = np.argwhere(area)[:, 0]
        assert bool(rows.mean() < eyes) is above and not (area & ~face).any()
        assert 0.03 < area.sum() / face.sum() < 0.4
    assert name == module.SINGLE[0] and sample["apex"] == 1


def test_samples_do_not_depend_on_what_else_is_drawn():
    first, again = ([s["frames"] for _, s in islice(single_action_units(2, 3), 3)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])


class Oracle(torch.nn.Module):
    """A network whose relevance is right by definition: where the picture changed."""

    def __init__(self, config):
        super().__init__()
        self.config = config

    def relevance(self, target=None, *, pixel_values):
        change = (pixel_values[:, 1] - pixel_values[:, 0]).abs().sum(1)
        return torch.nn.functional.avg_pool2d(change[:, None], 9, stride=1, padding=4)[:, 0]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(module, "SINGLE", ("AU2", "AU4", "AU12", "AU26"))


def test_a_network_that_looks_where_the_face_moves_hits():
    processor = type(tiny_processor("mmnet"))(size=112)
    shares = pointing_game(Oracle(tiny_model("mmnet").config), processor, count=5)
    assert shares["clips"] == 20 and shares["hits"] > 0.6 > 2 * shares["chance"]
    assert shares["similarity"] == pytest.approx(1)
    assert set(shares["per_action_unit"]) == {"AU2", "AU4", "AU12", "AU26"}


def test_an_untrained_network_does_not_hit():
    shares = pointing_game(tiny_model("mmnet"), tiny_processor("mmnet"), count=2)
    assert shares["hits"] <= 0.6 and 0 < shares["chance"] < 0.4
