import numpy as np
import pytest

from mer_hf.face.flow import optical_flow
from mer_hf.synthetic.clips import (
    EXAMPLE_KINDS,
    Motion,
    example_clip,
    face_picture,
    photograph,
    render_clip,
)

QUIET = {"noise": 0.0, "flicker": 0.0, "drift_px": 0.0, "turn_deg": 0.0}
SMALL = {"fps": 10, "duration_s": 1.3, "height": 240, "width": 240}


def test_a_raised_brow_moves_up_by_the_asked_pixels_and_the_chin_stays():
    rendered = render_clip(Motion({"AU1": (1, 1), "AU2": (1, 1)}, peak_px=2.0, **QUIET), **SMALL)
    frames, landmarks = rendered.clip.frames, photograph("astronaut", 60.0, 240, 240)[1]
    flow_xy = optical_flow(frames[rendered.onset], frames[rendered.apex])
    brow, chin = (
        flow_xy[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].mean(axis=(0, 1))
        for x, y in landmarks[[107, 199]]
    )
    assert -2.6 < brow[1] < -1.0
    assert np.abs(chin).max() < 0.1


def test_before_the_onset_and_after_the_offset_nothing_moves():
    rendered = render_clip(Motion({"AU12": (1, 1)}, **QUIET), **SMALL)
    frames = rendered.clip.frames
    np.testing.assert_array_equal(frames[0], frames[rendered.onset])
    np.testing.assert_array_equal(frames[0], frames[-1])
    assert not np.array_equal(frames[0], frames[rendered.apex])


def test_the_same_seed_gives_the_same_clip_and_another_seed_another():
    first, again, other = (render_clip(Motion(), **SMALL, seed=seed).clip.frames for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_clip_has_the_asked_length_size_and_times():
    clip = render_clip(Motion(), fps=50, duration_s=0.4, height=180, width=200, interocular_px=40).clip
    assert clip.frames.shape == (20, 180, 200, 3)
    np.testing.assert_allclose(np.diff(clip.timestamps_s), 0.02)


def test_phases_out_of_order_are_refused():
    with pytest.raises(ValueError, match=r"0 <= onset < apex < offset <= 1.0 s, got 0.7, 0.9 and 1.15"):
        render_clip(Motion({"AU4": (1, 1)}), duration_s=1.0)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown face 'moon'\. Choose one of astronaut, camera, or person-N"
    ):
        photograph("moon", 60.0, 100, 100)
    with pytest.raises(ValueError, match=rf"Choose one of {', '.join(EXAMPLE_KINDS)}"):
        example_clip("anger")


def motion_of(rendered, landmarks, points):
    """Mean strength of motion around landmarks, in grey levels of change."""
    frames = rendered.clip.frames.astype(float)
    change = np.abs(frames - frames[0]).mean(axis=(0, 3))
    places = np.round(landmarks[list(points)]).astype(int)
    return np.mean([change[y - 3 : y + 4, x - 3 : x + 4].mean() for x, y in places])


def test_somebody_who_does_not_exist_talks_with_the_mouth_and_turns_with_the_nose():
    landmarks = face_picture("person-3", 60.0, 240, 240)[1]
    still = {"noise": 0, "flicker": 0, "drift_px": 0, "turn_deg": 0}
    options = {"name": "person-3", "duration_s": 0.5, "height": 240, "width": 240}
    talking = render_clip(Motion(talk_px=4.0, **still), **options)
    assert motion_of(talking, landmarks, (0, 17, 61, 291)) > 5 * motion_of(talking, landmarks, (105, 334))
    turning = render_clip(Motion(yaw_deg=3.0, **still), **options)
    assert motion_of(turning, landmarks, (1, 4, 98, 327)) > 1.0
    at_rest = render_clip(Motion(**still), **options)
    assert motion_of(at_rest, landmarks, range(0, 468, 20)) < 0.5
