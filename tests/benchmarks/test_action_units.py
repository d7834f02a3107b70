from functools import partial

import numpy as np
import pytest

from benchmarks.action_units import (
    HIDDEN,
    SETTINGS,
    SHOWN,
    Clip,
    alarms,
    draw_units,
    moved_muscles,
    render_and_estimate,
    score,
)
from mer_hf.face.action_units import VOCABULARY
from mer_hf.synthetic.muscles import au_basis


def answer(**found) -> dict:
    return {name: found.get(name, (0.1, 0.1, 0.1)) for name in VOCABULARY}


def test_precision_recall_and_side_of_hand_made_answers():
    clips = [
        Clip({"AU12": (2.0, 2.0)}, answer(AU12=(0.8, 0.7, 0.8))),  # found, both sides
        Clip({"AU12": (1.5, 0.0)}, answer(AU12=(0.1, 0.7, 0.7))),  # found on the wrong side
        Clip({"AU12": (1.2, 1.2)}, answer()),  # missed
        Clip({"AU12": (0.6, 0.6)}, answer()),  # too weak to count as missed
        Clip({"AU12": (0.3, 0.3)}, answer(AU12=(0.9, 0.9, 0.9))),  # so weak that finding it is not wrong
        Clip({"AU15": (2.0, 2.0)}, answer(AU12=(0.6, 0.6, 0.6), AU15=None)),  # a false alarm; out of the crop
    ]
    row = score(clips)["AU12"]
    assert row["precision"] == pytest.approx(2 / 3)
    assert row["recall"] == pytest.approx(2 / 3) and row["f1"] == pytest.approx(2 / 3)
    assert (row["recall_0.5_px"], row["recall_1_px"], row["recall_2_px"]) == (0.0, 0.5, 1.0)
    assert row["side"] == pytest.approx(2 / 3) and row["shown"] == 3
    assert score(clips)["AU15"]["recall"] == 0.0
    assert np.isnan(score(clips)["AU4"]["recall"])


def test_alarms_count_clips_and_leave_out_what_is_ignored():
    clips = [
        Clip({}, answer()),
        Clip({}, answer(AU45=(0.9, 0.9, 0.9))),
        Clip({}, answer(AU4=(0.5, 0.0, 0.5))),
    ]
    assert alarms(clips)["any"] == pytest.approx(2 / 3)
    counted = alarms(clips, ignored=("AU45",))
    assert counted["any"] == counted["AU4"] == counted["AU45"] == pytest.approx(1 / 3)


def test_a_clip_depends_on_seed_and_index_alone():
    render = partial(render_and_estimate, 3, setting=SETTINGS["drawn faces, muscles elsewhere"])
    assert render(5) == render(5) != render(6)


def test_muscles_elsewhere_move_another_part_of_the_skin_but_as_far():
    rng = np.random.default_rng(0)
    for name, field in moved_muscles(rng, list(SHOWN)).items():
        usual = au_basis()[name]
        cosine = (field * usual).sum() / np.linalg.norm(field) / np.linalg.norm(usual)
        assert 0.3 < cosine < 0.995, name


def test_every_unit_is_drawn_and_hidden_ones_in_about_a_tenth():
    rng = np.random.default_rng(0)
    drawn = [draw_units(rng, SETTINGS["photograph"]) for _ in range(600)]
    assert {name for activations in drawn for name in activations} == {*SHOWN, *HIDDEN} - {"AU45"}
    assert 0.05 < np.mean([any(name in HIDDEN for name in activations) for activations in drawn]) < 0.15
    assert {len(activations) for activations in drawn} <= {1, 2, 3}
