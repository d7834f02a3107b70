"""People who do not exist: varied, repeatable, and found by the face mesh where they were drawn."""

import numpy as np
import pytest

from mer_hf.face.landmarks import eye_centres
from mer_hf.face.registration import apply
from mer_hf.face.tracking import track_face
from mer_hf.synthetic.identities import FURROWS, SKIN_TONES, Canvas, _Person, draw_identity
from mer_hf.video.clip import Clip

CANVAS = Canvas(60.0, -2.0, -2.0, 240, 260)


def person(seed, **options):
    return draw_identity(np.random.default_rng(seed), CANVAS, **options)


def test_the_same_seed_draws_the_same_person_and_another_seed_another():
    one, again, other = person(3), person(3), person(4)
    assert np.array_equal(one.picture, again.picture) and np.array_equal(one.points_xy, again.points_xy)
    assert np.abs(one.picture - other.picture).mean() > 5
    assert np.abs(one.points_xy - other.points_xy).max() > 1
    assert one.picture.dtype == np.float32 and one.picture.min() >= 0 and one.picture.max() <= 255


def test_skins_run_from_very_light_to_very_dark_and_are_seen_in_the_picture():
    people = [person(seed) for seed in range(24)]
    tones = np.array([_Person(np.random.default_rng(seed), 1.0).skin.mean() for seed in range(24)])
    assert tones.max() > SKIN_TONES[0].mean() * 0.85 and tones.min() < SKIN_TONES[-2].mean() * 1.15
    cheeks = [
        drawn.picture[tuple(np.round(drawn.points_xy[205][::-1]).astype(int))].mean() for drawn in people
    ]
    assert np.corrcoef(tones, cheeks)[0, 1] > 0.8


def test_without_proportions_of_their_own_people_have_the_neutral_face():
    points = person(1, proportions=0.0).points_xy
    assert np.allclose(points, person(2, proportions=0.0).points_xy)
    left, right = eye_centres(points)
    assert np.allclose((left + right) / 2, CANVAS.to_pixels([(0, 0)])[0], atol=1.0)
    assert np.linalg.norm(right - left) == pytest.approx(60, abs=1.0)


def test_the_face_mesh_finds_them_where_they_were_drawn():
    errors = []
    for seed in range(6):
        drawn = person([5, seed])
        track = track_face(Clip(np.round(drawn.picture).astype(np.uint8)[None], np.zeros(1)))
        tracked = apply(track.to_clip[0], track.landmarks_xy[0, :468])
        errors.append(np.linalg.norm(tracked - drawn.points_xy, axis=1).mean() / 60)
    assert np.mean(errors) < 0.06 and max(errors) < 0.1


def test_furrows_are_drawn_where_the_skin_is_pushed_together():
    drawn = person(0, furrows=("AU4", "AU12", "AU26"))
    assert set(drawn.furrows) == {"AU4", "AU12"}
    row, column = np.unravel_index(drawn.furrows["AU4"].argmax(), drawn.furrows["AU4"].shape)
    brows = drawn.points_xy[[55, 285, 107, 336, 168, 8]]
    assert np.linalg.norm(brows - (column, row), axis=1).min() < 8
    assert drawn.furrows["AU12"][: int(brows[:, 1].max())].max() < 0.05
    assert all(0 <= index < 468 for lines in FURROWS.values() for line, _ in lines for index in line)
