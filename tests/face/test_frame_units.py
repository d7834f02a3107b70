from types import SimpleNamespace

import numpy as np
import pytest

from mer_hf.face import frame_units
from mer_hf.face.spotting import Phases

CURVE = np.array([2.0, 2.5, 1.0, 0.2, 0.1, 0.3, 1.5, 2.0, 0.4, 0.0], np.float32)
CUT_OFF, WHOLE = (0, 1, 3), (5, 7, 9)


@pytest.mark.parametrize(
    ("frames", "source", "candidates", "rest"),
    [
        (CUT_OFF, "spotted", (CUT_OFF, WHOLE), 4),  # the window begins within a movement; frame 9 is lost
        (WHOLE, "spotted", (WHOLE, CUT_OFF), 5),
        (CUT_OFF, "given", (CUT_OFF,), 0),
        ((None, None, None), "spotted", (), 4),
    ],
)
def test_each_frame_is_compared_with_the_face_at_rest(monkeypatch, frames, source, candidates, rest):
    lost = np.arange(10) == 9
    monkeypatch.setattr(frame_units, "unusable", lambda _: lost)
    monkeypatch.setattr(frame_units, "estimate_action_units", lambda pair, *_: pair[0, 0, 0, 0])
    track = SimpleNamespace(
        frames=np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 3), np.uint8),
        landmarks_xy=np.zeros((10, 468, 2)),
    )
    phases = Phases(*frames, CURVE, source, "expression", candidates=candidates)
    found = list(frame_units.units_of_frames(track, phases))
    assert found[:9] == [rest] * 9 and found[9] is None
