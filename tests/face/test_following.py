import math
import tracemalloc

import cv2
import numpy as np
import pytest

from mer_hf.face.following import follow_face
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
