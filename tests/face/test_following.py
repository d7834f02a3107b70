import math
import tracemalloc

import cv2
import numpy as np
import pytest

from mer_hf.face import tracking
from mer_hf.face.following import follow_face, follow_faces
from mer_hf.face.parts import FaceClip, FramePart
from mer_hf.face.registration import apply
from mer_hf.face.tracking import FaceError, track_face
from mer_hf.video.clip import Clip, windows
from mer_hf.video.container import Frame
from tests.face.test_tracking import on_canvas, residual_px
from tests.moving_face import BROWS_XY, drift, render

FPS = 30


def followed(frames, most_bytes=1e9, **options) -> list[FaceClip]:
    stream = (Frame(frame, i / FPS, None) for i, frame in enumerate(frames))
    return list(windows(follow_face(stream, most_bytes, **options), math.inf, 0.0, "a clip", 10**9))


@pytest.fixture(scope="module")
def moving():
    clip, photo_to_clip = render(drift(15, FPS, size_px=7.0), size_wh=(700, 560), noise=2.0)
    return clip, photo_to_clip


def test_a_part_is_cut_like_the_whole_frame():
    whole = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    part = FramePart(whole[10:30, 5:35], (10, 5), whole.shape)
    np.testing.assert_array_equal(part[12:20, 8:30], whole[12:20, 8:30])
    over = part[0:40, 0:50]
    np.testing.assert_array_equal(over[10:30, 5:35], part.pixels)
    assert over.shape == whole.shape and (over[0, 10] == part.pixels[0, 5]).all()


@pytest.mark.parametrize("quarters", [0, 2])
def test_a_face_is_aligned_from_what_is_kept_as_from_whole_frames(moving, quarters):
    clip, photo_to_clip = moving
    turned = Clip(np.rot90(clip.frames, quarters, (1, 2)), clip.timestamps_s)
    whole, (kept,) = track_face(turned), followed(turned.frames)
    assert kept.frames[0].nbytes < 0.5 * clip.frames[0].nbytes
    track = track_face(kept)
    assert (track.face, len(track.faces), track.warnings) == (1, 1, whole.warnings)
    nose = [apply(each.to_clip[9], each.landmarks_xy[9, 1]) for each in (whole, track)]
    np.testing.assert_allclose(*nose, atol=1.0)
    if not quarters:
        assert residual_px(track.to_clip, photo_to_clip, BROWS_XY) < 0.1


def test_blocks_of_a_large_face_are_averaged_and_memory_is_bounded(moving):
    clip, _ = moving
    large = [cv2.resize(frame, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC) for frame in clip.frames]
    tracemalloc.start()
    (kept,) = followed(large, most_bytes=120_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(part.nbytes <= 120_000 for part in kept.frames) and peak < 4 * large[0].nbytes
    track, whole = track_face(kept), track_face(clip)
    assert kept.block >= 3 and not any("small" in line for line in track.warnings)
    nose = [apply(each.to_clip[9], each.landmarks_xy[9, 1]) for each in (whole, track)]
    np.testing.assert_allclose(3 * nose[0] + 1, nose[1], atol=4)


def test_the_chosen_of_several_faces_is_followed():
    picture = on_canvas((1.2, 330, 40), (1.1, 40, 40))
    (largest,), (chosen,) = followed([picture] * 3), followed([picture] * 3, face=1)
    assert (largest.face, chosen.face) == (2, 1)
    (near,) = followed([picture] * 3, near=chosen.faces[0])
    assert near.face == 1
    assert apply(track_face(near).to_clip[0], np.array([[112.0, 112.0]]))[0, 0] < 320
    with pytest.raises(FaceError, match="face 3 was asked for"):
        followed([picture], face=3)


def test_a_face_that_comes_or_grows_begins_a_new_clip():
    blank, small, large = (on_canvas(*faces) for faces in ((), [(0.9, 200, 60)], [(1.4, 150, 20)]))
    empty, first, second = followed([blank] * 20 + [small] * 40 + [large] * 40)
    assert empty.box is None
    with pytest.raises(FaceError, match=r"no face was found in \d+ frames of 640x360"):
        track_face(empty)
    assert 40 <= len(empty) + len(first) - 20 + 10 <= 60 and len(second) > 30
    assert second.frames[-1].nbytes > 1.5 * first.frames[0].nbytes


def numbers(pictures, fps: float = FPS, **options) -> list[dict[int, int]]:
    """Number of each face in each frame -> where it lies, in pixels from the left."""
    stream = (Frame(frame, i / fps, None) for i, frame in enumerate(pictures))
    kept = follow_faces(stream, 1e9, **options)
    middles = lambda box: int(box[[0, 2]].mean())  # noqa: E731
    return [
        {number: middles(frame.image.face * frame.run.block) for number, frame in each.items() if number}
        for each in kept
    ]


def room(*faces) -> np.ndarray:
    """Faces before a wall that has light and shade, so that one of them is a small part of the picture."""
    picture = on_canvas(*faces)
    return np.where(picture == 120, np.linspace(0, 255, 640, dtype=np.uint8)[:, None], picture)


def test_each_face_keeps_its_number_while_it_moves():
    places = [(60 + 3 * k, 330 - 3 * k) for k in range(20)]
    seen = numbers([on_canvas((0.9, left, 60), (0.9, right, 60)) for left, right in places], fps=10)
    assert all(set(each) == {1, 2} for each in seen)
    moved = [seen[-1][number] - seen[0][number] for number in (1, 2)]
    assert 40 < moved[0] < 65 and -65 < moved[1] < -40


@pytest.mark.parametrize(("score", "people"), [(0.55, {1}), (0.65, {1, 2})])
def test_what_is_a_face_in_a_part_of_the_picture_only_must_be_one_surely(monkeypatch, score, people):
    found = np.array([[500.0, 400.0, 560.0, 460.0, score, 0.0]])
    monkeypatch.setattr(tracking, "detect_in_tiles", lambda *_: found)
    monkeypatch.setattr(tracking, "mesh_agrees", lambda *_: True)
    assert set(numbers([room((0.9, 40, 60))] * 2)[0]) == people


def test_one_who_comes_back_is_known_by_place_and_size():
    one = (0.9, 40, 60)
    both, left, moved = room(one, (0.9, 290, 60)), room(one), room(one, (1.1, 365, 40))
    seen = numbers([both] * 10 + [left] * 20 + [both] * 10 + [left] * 20 + [moved] * 10, fps=10)
    assert set(seen[0]) == {1, 2} and set(seen[25]) == {1}
    assert set(seen[38]) == {1, 2} and set(seen[-1]) == {1, 3}
    assert all(set(each) <= {2} for each in numbers([both] * 4 + [left] * 20, fps=10, face=2))


@pytest.mark.parametrize(("light", "after"), [(1.0, {3, 4}), (0.5, {1, 2})])
def test_a_cut_makes_faces_new_and_light_does_not(light, after):
    before = on_canvas((0.9, 40, 60), (0.9, 340, 60))
    now = on_canvas((0.9, 60, 90), (0.9, 400, 40)) if light == 1 else (light * before).astype(np.uint8)
    seen = numbers([before] * 8 + [now] * 12)
    assert set(seen[7]) == {1, 2} and set(seen[-1]) == after


def test_what_is_kept_of_several_faces_is_bounded():
    picture = cv2.resize(on_canvas((1.2, 330, 40), (1.1, 40, 40)), None, fx=4, fy=4)
    stream = (Frame(frame, i / FPS, None) for i, frame in enumerate([picture] * 3))
    kept = next(follow_faces(stream, 400_000))
    assert len(kept) == 2 and sum(frame.image.nbytes for frame in kept.values()) <= 400_000


def test_a_face_that_moves_at_once_stays_one():
    places = [40] * 11 + [111] * 10
    seen = numbers([room((0.9, left, 60), (0.9, 400, 60)) for left in places], fps=10)
    assert all(set(each) == {1, 2} for each in seen) and seen[-1][1] - seen[0][1] > 60
