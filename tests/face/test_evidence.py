"""Movements are drawn on regions, in pixels at an interocular distance of 60."""

import numpy as np
import pytest

from mer_hf.face.evidence import WEAK, facial_motion
from mer_hf.face.spotting import REGIONS, Phases
from tests.moving_face import raised_cosine

NAMES = list(REGIONS)
TIMES_S = np.arange(90) / 30
BUMP = raised_cosine(90, 30, 40, 52)
SYLLABLES = np.abs(np.sin(np.arange(90) * 0.5)) * (np.arange(90) > 15)


def moved(times_s=TIMES_S, turn=None, interocular_px=60.0, **amounts):
    """Return evidence of regions that move down by amounts over time."""
    scale = interocular_px / 60
    regions_xy = np.zeros((90, len(NAMES), 2), np.float32)
    for word, amount in amounts.items():
        for region, name in enumerate(NAMES):
            if word in name:
                regions_xy[:, region, 1] = scale * amount
    turn_xy = np.zeros((90, 2), np.float32) if turn is None else scale * turn
    curve = np.zeros(90, np.float32)
    phases = Phases(20, 40, 70, curve, "spotted", "expression", regions_xy=regions_xy, turn_xy=turn_xy)
    return facial_motion(phases, times_s, interocular_px)


@pytest.mark.parametrize("interocular_px", [60.0, 100.8])
def test_a_movement_there_and_back_is_facial_in_every_pixel_of_it(interocular_px):
    evidence = moved(brow=2 * BUMP, interocular_px=interocular_px)
    assert evidence.motion_px == pytest.approx(2.0, abs=0.1) == pytest.approx(evidence.size_px, abs=0.1)
    assert moved(brow=2 * BUMP, times_s=None).motion_px == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("shape", [BUMP, SYLLABLES, np.minimum(BUMP, 0.5)])
@pytest.mark.parametrize("word", ["brow", "mouth", "lid"])
def test_more_motion_is_never_less_facial(word, shape):
    turn = np.outer(np.linspace(0, 1, 90), [1.0, 0.3])
    sizes = [moved(turn=turn, **{word: size * shape}).motion_px for size in (0.3, 0.5, 1.0, 3.0, 9.0)]
    assert sizes == sorted(sizes)
    assert moved(turn=turn, **{word: 0.1 * shape}).motion_px < 0.1


def test_what_goes_along_with_a_turn_of_the_head_is_not_facial():
    turn = np.outer(3 * BUMP, [1.0, 0.0])
    along = moved(turn=turn, cheek=1.5 * BUMP)
    assert along.motion_px < 0.15 * 1.5
    still_head, turning = (
        moved(brow=2 * BUMP),
        moved(brow=2 * BUMP, turn=np.outer(np.linspace(0, 3, 90), [1, 0])),
    )
    assert turning.motion_px < 0.6 * still_head.motion_px
    assert turning.reason(1.5) == "turn"


def test_a_mouth_that_goes_to_and_fro_alone_speaks_and_a_smile_does_not():
    speech, smile = moved(mouth=3 * SYLLABLES), moved(mouth=3 * BUMP, cheek=1.5 * BUMP)
    assert speech.motion_px < 0.2 and speech.reason(0.5) in ("speech", "restless")
    assert smile.motion_px > 2.5


def test_restless_brows_and_moving_eyes_count_less():
    assert moved(brow=2 * SYLLABLES).motion_px < 0.7
    assert moved(brow=2 * SYLLABLES).reason(1.0) == "restless"
    eyes = moved(lid=2 * BUMP)
    assert eyes.motion_px == pytest.approx(1.0, abs=0.1) and eyes.reason(1.5) == "eyes"


def test_a_small_movement_is_weak():
    assert moved(brow=0.1 * BUMP).reason(0.3) == WEAK
