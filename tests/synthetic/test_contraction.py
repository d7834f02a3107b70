"""Muscles that shorten: the skin goes where anatomy says, and about where the other model says."""

import numpy as np
import pytest

from mer_hf.synthetic.contraction import ACTIONS, contraction_field
from mer_hf.synthetic.muscles import PULLS, side_field, vertex_displacement


def both_sides(name):
    return vertex_displacement({name: (1.0, 1.0)}, {name: contraction_field(ACTIONS[name])})


@pytest.mark.parametrize(
    ("name", "vertex", "lateral", "down"),
    [("AU1", 107, 0, -1), ("AU2", 70, 0, -1), ("AU4", 107, -1, 1), ("AU7", 145, 0, -1), ("AU9", 129, 0, -1),
     ("AU10", 39, 0, -1), ("AU12", 61, 1, -1), ("AU14", 61, 1, 0), ("AU15", 61, 0, 1), ("AU17", 199, 0, -1),
     ("AU18", 61, -1, 0), ("AU20", 61, 1, 0), ("AU24", 17, 0, -1), ("AU25", 17, 0, 1)],
)  # fmt: skip
def test_skin_goes_towards_where_the_muscle_is_fixed(name, vertex, lateral, down):
    x, y = both_sides(name)[vertex]
    assert np.linalg.norm((x, y)) > 0.2
    if lateral:
        assert np.sign(-x) == lateral and abs(x) > 0.05
    if down:
        assert np.sign(y) == down and abs(y) > 0.1


@pytest.mark.parametrize("name", ACTIONS)
def test_strength_is_one_and_both_models_broadly_agree(name):
    moved = both_sides(name)
    assert np.linalg.norm(moved, axis=1).max() == pytest.approx(1.0)
    other = vertex_displacement({name: (1.0, 1.0)}, {name: side_field(PULLS[name])})
    alike = (moved * other).sum() / np.linalg.norm(moved) / np.linalg.norm(other)
    assert 0.3 < alike < 0.99


def test_people_differ():
    rng = np.random.default_rng(0)
    first, second = (contraction_field(ACTIONS["AU12"], rng, 0.3) for _ in range(2))
    assert np.abs(first - second).max() > 0.05


def test_a_muscle_too_narrow_for_any_vertex_is_drawn_again():
    rng = np.random.default_rng(0)
    for name in ACTIONS:
        for _ in range(30):
            assert np.isfinite(contraction_field(ACTIONS[name], rng, spread=1.5)).all()
