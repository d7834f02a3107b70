import cv2
import numpy as np
import pytest

from mer_hf.face import landmarks, registration
from mer_hf.face.registration import (
    apply,
    compose,
    fit_similarity,
    follow,
    invert,
    make_reference,
    measure_motion,
    over_time,
    remove_similarity,
    rigid_motion,
    runs,
    sample,
    smooth_motion,
)
from tests.moving_face import drift, photograph_landmarks, render

STILL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
EYES_XY = np.array([[40.0, 50.0], [100.0, 50.0]])
NOSE_HULL_XY = np.array([[60.0, 50.0], [80.0, 50.0], [85.0, 80.0], [55.0, 80.0]])


def similarity(turn_deg: float, scale: float, shift_xy: tuple[float, float]) -> np.ndarray:
    angle = np.deg2rad(turn_deg)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, shift_xy])


def test_similarities_fit_compose_and_lead_back():
    wanted = similarity(12.0, 1.3, (4.0, -7.0))
    points = np.random.default_rng(0).uniform(0, 100, (5, 2))
    np.testing.assert_allclose(fit_similarity(points, apply(wanted, points)), wanted, atol=1e-9)
    np.testing.assert_allclose(compose(invert(wanted), wanted), STILL, atol=1e-12)
    other = similarity(-3.0, 0.9, (1.0, 2.0))
    np.testing.assert_allclose(apply(compose(other, wanted), points), apply(other, apply(wanted, points)))


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 3.3, 6.0])
def test_sample_reads_the_place_it_is_told_whatever_the_scale(scale):
    """On a plane of gray the value says which place was read; averaging blocks must not move it."""
    y, x = np.mgrid[:400, :400].astype(np.float64)
    frame = np.repeat((0.3 * x + 0.2 * y)[..., None], 3, axis=2).round().astype(np.uint8)
    to_frame = similarity(10.0, scale, (120.0, 60.0))
    square = sample(frame, to_frame, 40)
    at = apply(to_frame, np.array([[20.0, 20.0], [5.0, 30.0]]))
    np.testing.assert_allclose(square[[20, 30], [20, 5], 0], at @ [0.3, 0.2], atol=1.0)


def test_sample_averages_noise_where_the_frame_is_finer_than_the_square():
    noise = np.random.default_rng(0).normal(128, 20, (600, 600, 3)).clip(0, 255).astype(np.uint8)
    assert sample(noise, similarity(0, 5.0, (20, 20)), 100).std() < 6


def test_skin_without_texture_gives_no_motion():
    noise = np.random.default_rng(0).normal(128, 5, (2, 140, 140, 3)).clip(0, 255).astype(np.uint8)
    reference = make_reference(noise[0], EYES_XY, NOSE_HULL_XY, STILL)
    assert follow(reference, noise[1], STILL) is None
    eyes, hull = np.stack([EYES_XY] * 2), np.stack([NOSE_HULL_XY] * 2)
    motion, registered = measure_motion(noise, eyes, hull, np.ones(2, dtype=bool))
    assert not registered[1]
    np.testing.assert_allclose(motion[1], STILL, atol=1e-9)


def test_a_new_reference_is_taken_when_the_old_one_no_longer_matches(monkeypatch):
    """One skin texture fades into another while the face moves half a pixel a frame."""
    taken = []
    monkeypatch.setattr(
        registration, "make_reference", lambda *a: taken.append(make_reference(*a)) or taken[-1]
    )
    rng = np.random.default_rng(0)
    first, last = (cv2.GaussianBlur(rng.uniform(0, 255, (140, 160, 3)), (0, 0), 2) * 4 - 382 for _ in "ab")
    count = 13
    shifts = [similarity(0, 1, (0.5 * t, -0.2 * t)) for t in range(count)]
    mixed = [first * (1 - t / (count - 1)) + last * t / (count - 1) for t in range(count)]
    frames = np.stack(
        [
            cv2.warpAffine(np.clip(m, 0, 255).astype(np.uint8), s, (160, 140))
            for m, s in zip(mixed, shifts, strict=True)
        ]
    )
    eyes = np.stack([apply(s, EYES_XY) for s in shifts])
    hull = np.stack([apply(s, NOSE_HULL_XY) for s in shifts]) + rng.normal(0, 0.7, (count, 4, 2))
    motion, registered = measure_motion(frames, eyes, hull, np.ones(count, dtype=bool))
    assert registered.all() and 2 <= len(taken) <= 6
    assert follow(taken[0], frames[-1], shifts[-1]) is None
    # The fading itself pulls at the corners; six pixels were to be followed.
    np.testing.assert_allclose(apply(motion[-1], NOSE_HULL_XY), apply(shifts[-1], NOSE_HULL_XY), atol=1.5)


def test_a_frame_of_something_else_gets_the_motion_of_the_landmarks():
    clip, photo_to_clip = render(drift(2, 30), noise=1.0)
    eyes = apply(photo_to_clip[0], np.array([[204.0, 102.0], [246.0, 104.5]]))
    hull = apply(photo_to_clip[0], np.array([[218.0, 108.0], [232.0, 108.0], [236.0, 128.0], [214.0, 128.0]]))
    frames = np.stack([clip.frames[0], 255 - clip.frames[0]])
    moved = similarity(0, 1, (3.0, 1.0))
    motion, registered = measure_motion(
        frames, np.stack([eyes] * 2), np.stack([hull, apply(moved, hull)]), np.ones(2, dtype=bool)
    )
    assert registered.tolist() == [True, False]
    np.testing.assert_allclose(motion[1], moved, atol=1e-9)


def test_new_corners_are_taken_after_three_frames_that_match_nothing():
    """A hand comes before the face at frame 4 and stays: its texture is followed from frame 7."""
    rng = np.random.default_rng(0)
    skin, hand = (cv2.GaussianBlur(rng.uniform(0, 255, (140, 160, 3)), (0, 0), 2) * 4 - 382 for _ in "ab")
    shifts = [similarity(0, 1, (0.3 * t, 0.0)) for t in range(10)]
    pictures = [np.clip(skin if t < 4 else hand, 0, 255).astype(np.uint8) for t in range(10)]
    frames = np.stack([cv2.warpAffine(p, s, (160, 140)) for p, s in zip(pictures, shifts, strict=True)])
    eyes, hull = (np.stack([apply(s, points) for s in shifts]) for points in (EYES_XY, NOSE_HULL_XY))
    hull += rng.normal(0, 0.5, hull.shape)
    motion, registered = measure_motion(frames, eyes, hull, np.ones(10, dtype=bool))
    assert registered.tolist() == [True] * 4 + [False] * 3 + [True] * 3
    np.testing.assert_allclose(np.diff(motion[6:, :, 2], axis=0), [[0.3, 0.0]] * 3, atol=0.05)


def test_noise_is_smoothed_and_a_jerk_is_kept():
    rng = np.random.default_rng(0)
    motion = np.stack([similarity(0, 1, (0.02 * t, 0.0)) for t in range(60)])
    truth = motion.copy()
    motion[:, :, 2] += rng.normal(0, 0.1, (60, 2))
    motion[30:, 0, 2] += 5.0
    truth[30:, 0, 2] += 5.0
    smoothed = smooth_motion(motion, np.ones(60, dtype=bool), np.array([[50.0, 50.0]]), window=5)
    before, after = (np.abs(m[:, :, 2] - truth[:, :, 2]).mean() for m in (motion, smoothed))
    assert after < 0.8 * before
    assert np.abs(smoothed[28:32, 0, 2] - truth[28:32, 0, 2]).max() < 0.5


@pytest.mark.parametrize(
    "values, at, count, expected",
    [
        ([0.0, 10.0], [0, 2], 3, [0, 5, 10]),
        ([1.0, 3.0], [1, 2], 5, [1, 1, 3, 3, 3]),  # held before the first and after the last
        ([7.0], [1], 3, [7, 7, 7]),
        ([0.0, 4.0, 2.0], [0, 1, 3], 4, [0, 4, 3, 2]),
    ],
)
def test_values_are_interpolated_over_time(values, at, count, expected):
    np.testing.assert_allclose(over_time(np.array(values), np.array(at), count), expected)


def test_the_crop_follows_the_head_and_keeps_the_eyes_in_place():
    clip, photo_to_clip = render(drift(8, 30, size_px=6.0), noise=1.0, size_wh=(320, 300))
    points = photograph_landmarks()
    in_clip = np.stack([apply(matrix, points) for matrix in photo_to_clip])
    eyes = np.array([[60.0, 70.0], [160.0, 70.0]])
    found = np.ones(8, dtype=bool)
    to_clip, steady = rigid_motion(clip.frames, in_clip, np.array([0, 3, 7]), found, eyes, 5)
    assert steady.all()
    in_crop = [
        apply(invert(matrix), landmarks.eye_centres(xy)) for matrix, xy in zip(to_clip, in_clip, strict=True)
    ]
    np.testing.assert_allclose(in_crop, np.stack([eyes] * 8), atol=0.3)
    np.testing.assert_allclose(np.mean([in_crop[t] for t in (0, 3, 7)], axis=0), eyes, atol=0.01)


def test_a_similarity_is_taken_out_that_most_points_agree_on():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (40, 2))
    head = points @ np.array([[0.3, 0.2], [-0.2, 0.3]]) + [0.5, -0.4]
    own = np.zeros((40, 2))
    own[:6] = [0.0, -1.0]
    left = remove_similarity(np.stack([head, head + own]), points, near_px=0.02)
    np.testing.assert_allclose(left, [0 * own, own], atol=0.01)
    trust = np.ones(40)
    trust[6:] = 0
    left = remove_similarity((head + own)[None], points, near_px=0.02, trust=trust)
    np.testing.assert_allclose(left[0, :6], 0, atol=0.01)  # only the six were asked


def test_runs_of_true_are_found_at_both_ends():
    assert runs(np.array([1, 1, 0, 1, 0, 0, 1], dtype=bool)).tolist() == [[0, 2], [3, 4], [6, 7]]
    assert runs(np.zeros(3, dtype=bool)).tolist() == []
