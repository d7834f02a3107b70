"""Things drawn over the photograph of `moving_face`, which keeps still or moves in a known way."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mer_hf.evaluation.clip_sets import TestClip, render_test_clip
from mer_hf.face import spotting
from mer_hf.face.covered import without_blinks
from mer_hf.face.landmarks import eye_centres
from mer_hf.face.spotting import spot
from mer_hf.face.tracking import track_face
from tests.moving_face import aligned, blink, brow_raise, raised_cosine, smile

WHITE = (255, 255, 255)


@pytest.fixture(scope="module")
def still():
    return aligned(seed=3)


def text(face, xy, words="oh? wow"):
    at = (int(xy[0]) - 62, int(xy[1]) + 6)
    for colour, thickness in (((0, 0, 0), 6), (WHITE, 2)):
        cv2.putText(face, words, at, cv2.FONT_HERSHEY_DUPLEX, 1.0, colour, thickness)


def caption(face, t, points):
    if 28 <= t < 38:
        text(face, points[13])


def caption_that_stays(face, t, points):
    if t >= 28:
        text(face, points[13])


def caption_from_the_start(face, t, points):
    if t < 20:
        text(face, points[13])


def pointer(face, t, points):
    x, y = (points[205] + [12 * (t - 28), 0]).astype(int)
    cv2.fillPoly(face, [np.array([(x, y), (x, y + 22), (x + 15, y + 15)], np.int32)], WHITE)


def hand(face, t, points):
    x, y = (points[425] + [8, 40 + 200 * (1 - np.clip(min(t - 20, 44 - t) / 6, 0, 1))]).astype(int)
    for finger in range(4):
        tip, root = (x - 24 + 16 * finger, y - 50), (x - 24 + 16 * finger, y + 120)
        cv2.line(face, root, tip, (150, 105, 85), 18)
        cv2.line(face, root, tip, (196, 140, 115), 12)


def reflection(face, t, points):
    if 25 <= t < 36:
        at = eye_centres(points)[0] + [t - 30, 0]
        shine = cv2.ellipse(np.zeros(face.shape[:2]), at.astype(int).tolist(), (22, 12), 20, 0, 360, 0.9, -1)
        face += ((255 - face) * cv2.GaussianBlur(shine, (0, 0), 2)[..., None]).astype(np.uint8)


def cut(face, t, points):
    if t >= 40:
        face[:] = 255 - face[::-1]


def flash(face, t, points):
    if t in (30, 31):
        face[:] = np.clip(face * 1.8 + 90.0, 0, 255)


def with_thing(clip, draw):
    track, times_s = clip
    frames, points = track.frames.copy(), track.landmarks_xy.mean(0)
    for t, face in enumerate(frames):
        draw(face, t, points)
    return replace(track, frames=frames), times_s


@pytest.mark.parametrize(
    "draw, what, first, last",
    [
        (caption, "mouth", 28, 37),
        (caption_that_stays, "mouth", 28, 59),
        (caption_from_the_start, "mouth", 0, 19),
        (pointer, "mouth", 24, 38),
        (hand, "left cheek", 25, 40),
        (reflection, "right eye", 25, 35),
        (cut, "whole face", 40, 59),
        (flash, "whole face", 30, 31),
    ],
)
def test_what_passes_in_front_of_a_still_face_is_named_and_is_no_motion(still, draw, what, first, last):
    phases = spot(*with_thing(still, draw))
    assert phases.outcome == "no_motion"
    ((parts, start, stop),) = phases.covered
    assert what in parts and abs(start - first) <= 4 and abs(stop - last) <= 4
    assert f"in frames {start} to {stop}: motion there was not looked at" in phases.warnings[0]


@pytest.mark.parametrize("move, size", [(blink, 1.0), (smile, 1.5), (brow_raise, 1.5)])
def test_a_face_that_moves_is_not_covered(move, size):
    phases = spot(*aligned((size * raised_cosine(60, 24, 29, 35), move), seed=4))
    assert phases.covered == () and phases.outcome != "no_motion"


def test_lids_that_close_quickly_cover_nothing_but_a_thing_beside_a_blink_does():
    clip = render_test_clip(TestClip("blink", fps=30.0), 2**31 + 5, 12)[0].clip
    track = track_face(clip)
    blinking, *rest = spot(track, clip.timestamps_s).blinks
    assert not rest and spot(track, clip.timestamps_s).covered == ()
    spans = (("left brow and left eye", *blinking), ("left eye and nose", *blinking), ("right eye", 1, 5))
    assert without_blinks(spans, (blinking,), 2) == spans[1:]


def test_light_that_flickers_covers_nothing(still):
    def flicker(face, t, points):
        face[:] = np.clip(face * (1 + 0.25 * np.sin(t)), 0, 255)

    assert spot(*with_thing(still, flicker)).covered == ()


def test_motion_beside_what_is_covered_is_still_found():
    raised = aligned((raised_cosine(60, 26, 32, 38), brow_raise), seed=3)
    phases = spot(*with_thing(raised, caption))
    assert phases.outcome == "micro_expression" and abs(phases.apex - 32) <= 2
    assert "brow" not in phases.covered[0][0]


def test_a_region_that_is_always_covered_rests(still):
    moved_xy, cover = spotting._region_motion(still[0], np.arange(60), 1 / 30)
    hidden = np.zeros_like(cover.regions)
    hidden[:, 0] = hidden[10:20, 1] = True
    bridged = replace(cover, regions=hidden).bridge(moved_xy)
    assert not bridged[:, 0].any()
    np.testing.assert_allclose(bridged[9:21, 1], np.linspace(moved_xy[9, 1], moved_xy[20, 1], 12), atol=1e-6)
    np.testing.assert_array_equal(bridged[:, 2:], moved_xy[:, 2:])
