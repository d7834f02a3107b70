"""What the estimate of action units is trained on, and that it answers what was trained."""

import numpy as np
import torch

from mer_hf.face import action_units
from mer_hf.face.action_units import VOCABULARY, features_of, likelihoods
from mer_hf.synthetic.muscles import vertex_displacement
from mer_hf.synthetic.template import face_template
from mer_hf.training.unit_estimator import Shown, _draw_units, is_shown, save, targets_of, train, varied

AU12 = VOCABULARY.index("AU12")


def test_a_sample_is_a_function_of_seed_and_index():
    one, again, other = Shown(3)[5], Shown(3)[5], Shown(4)[5]
    assert one["moved"].shape == (468, 2) and one["amounts"].shape == (2, 21)
    assert np.array_equal(one["moved"], again["moved"]) and not np.array_equal(one["moved"], other["moved"])
    counts = np.array([len(_draw_units(np.random.default_rng(i))) for i in range(300)])
    assert 0.08 < np.mean(counts == 0) < 0.22 and counts.max() > 2


def test_a_unit_is_shown_from_a_quarter_of_the_strongest_on_and_a_blink_hides_what_is_beside_it():
    amounts = np.zeros((1, 2, 21), np.float32)
    amounts[0, :, :4] = [(2.0, 0.6, 0.4, 0.0), (2.0, 0.4, 0.6, 0.0)]
    amounts[0, :, AU12] = 1.0
    shown = is_shown(amounts)[0]
    assert shown[:, :4].tolist() == [[True, True, False, False], [True, False, True, False]]
    assert shown[:, AU12].all() and not is_shown(amounts / 20).any()
    amounts[0, :, -1] = 9.0
    shown = is_shown(amounts)[0]
    assert shown[:, -1].all() and shown[:, AU12].all() and not shown[:, :4].any()
    assert targets_of(amounts)[0].tolist() == [*shown.ravel().tolist(), True]
    assert not targets_of(amounts / 20).any()


def test_some_faces_are_cut_off_and_the_head_moves_a_little():
    still, nothing = np.zeros((400, 468, 2), np.float32), np.zeros((400, 2, 21))
    moved = varied(np.random.default_rng(0), still, nothing)
    below = (moved[:, 152] == 0).all(axis=1)  # the chin
    assert 0.04 < below.mean() < 0.15
    assert 0.0005 < np.abs(moved[~below]).mean() < 0.005


def pure_motion(count: int) -> tuple[np.ndarray, np.ndarray]:
    """AU12 on the left, on the right, on both sides or not at all, of known strength."""
    rng = np.random.default_rng(1)
    amounts = np.zeros((count, 2, 21), np.float32)
    amounts[:, :, AU12] = rng.integers(0, 2, (count, 2)) * rng.uniform(1, 3, (count, 1))
    moved = [vertex_displacement({"AU12": tuple(sides[:, AU12])}) / 60 for sides in amounts]
    return np.stack(moved).astype(np.float32), amounts


def test_what_was_trained_is_answered_from_the_saved_file(tmp_path, monkeypatch):
    moved, amounts = pure_motion(400)
    network = train(moved, amounts, 12)
    save(network, tmp_path / action_units.WEIGHTS)
    monkeypatch.setattr(action_units.resources, "files", lambda _: tmp_path)
    action_units._weights.cache_clear()
    try:
        answers = np.stack([likelihoods(each) for each in moved[:60]])
        turned = likelihoods(moved[0][face_template()[1]] * (-1, 1))
    finally:
        action_units._weights.cache_clear()
    assert ((answers[:, :, AU12] > 0.5) == (amounts[:60, :, AU12] > 0)).mean() > 0.95
    assert np.allclose(turned[::-1], answers[0], atol=1e-6)  # left and right change places
    with torch.no_grad():
        own = network(torch.from_numpy(features_of(moved[:1]).astype(np.float32)))[0, :-1].view(2, 21)
    assert np.abs(torch.sigmoid(own).numpy() - answers[0])[:, AU12].max() < 0.3
