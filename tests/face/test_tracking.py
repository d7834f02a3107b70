import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from mer_hf.face import registration, tracking
from mer_hf.face.flow import optical_flow
from mer_hf.face.registration import apply, compose, invert
from mer_hf.face.tracking import FaceError, FaceGeometry, track_face
from mer_hf.video.clip import Clip
from tests.moving_face import (
    BROWS_XY,
    MOUTH_CORNERS_XY,
    NOSE_XY,
    blink,
    brow_raise,
    drift,
    raised_cosine,
    render,
)


def still_clip(picture: np.ndarray, count: int = 3) -> Clip:
    return Clip(np.stack([picture] * count), np.arange(count) / 30)


def on_canvas(*placed: tuple[float, int, int], size_wh=(640, 360)) -> np.ndarray:
    """A gray picture with the photograph's head pasted in, each (scale, x, y)."""
    head = data.astronaut()[20:240, 120:330]
    canvas = np.full((size_wh[1], size_wh[0], 3), 120, np.uint8)
    for scale, x, y in placed:
        pasted = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        canvas[y : y + pasted.shape[0], x : x + pasted.shape[1]] = pasted
    return canvas


def residual_px(to_clip: np.ndarray, photo_to_clip: np.ndarray, points_xy: np.ndarray) -> float:
    """RMS motion, in clip pixels, that is left at points of the face once the head is held still."""
    crops = [compose(invert(m), c.astype(np.float64)) for m, c in zip(photo_to_clip, to_clip, strict=True)]
    in_crop = apply(invert(np.mean(crops, axis=0)), points_xy)
    left = np.stack([apply(c, in_crop) for c in crops]) * np.hypot(*photo_to_clip[0, :, 0])
    return float(np.sqrt(((left - left.mean(0)) ** 2).sum(-1).mean()))


@pytest.fixture(scope="module")
def moving():
    clip, photo_to_clip = render(drift(20, 30, size_px=7.0), noise=4.0)
    return clip, photo_to_clip, track_face(clip)


def test_track_has_the_promised_shapes(moving):
    clip, _, track = moving
    assert track.frames.shape == (20, 224, 224, 3) and track.frames.dtype == np.uint8
    assert track.landmarks_xy.shape == (20, 478, 2) and track.landmarks_xy.dtype == np.float32
    assert track.to_clip.shape == (20, 2, 3) and track.to_clip.dtype == np.float32
    assert track.warnings == () and track.found.all()
    assert len(clip.frames) == 20


def test_head_motion_is_removed_to_less_than_a_tenth_of_a_pixel(moving):
    """Eyes 60 px apart, noise of 4 grey levels, several pixels of drift with rotation and zoom."""
    _, photo_to_clip, track = moving
    points = np.concatenate([BROWS_XY, MOUTH_CORNERS_XY, NOSE_XY[None]])
    assert residual_px(np.tile(track.to_clip[:1], (20, 1, 1)), photo_to_clip, points) > 1.5
    assert residual_px(track.to_clip, photo_to_clip, points) < 0.06


def test_head_motion_is_removed_from_a_small_face():
    """Eyes 34 px apart."""
    clip, photo_to_clip = render(drift(16, 30, seed=1), scale=0.8, noise=2.0, size_wh=(320, 240))
    track = track_face(clip)
    assert residual_px(track.to_clip, photo_to_clip, np.concatenate([BROWS_XY, NOSE_XY[None]])) < 0.10
    assert any("face is small" in line for line in track.warnings)


def test_geometry_places_the_eyes():
    clip, _ = render(drift(3, 30))
    track = track_face(clip, FaceGeometry(size=128, eye_row=0.4, interocular_fraction=0.3))
    corners = track.landmarks_xy.mean(0)
    eyes = np.stack([corners[[33, 133]].mean(0), corners[[263, 362]].mean(0)])
    middle, half = 63.5, 0.5 * 0.3 * 128
    np.testing.assert_allclose(eyes, [[middle - half, 50.7], [middle + half, 50.7]], atol=0.05)
    assert track.frames.shape == (3, 128, 128, 3)


def test_to_clip_maps_face_pixels_to_clip_pixels(moving):
    clip, _, track = moving
    x, y = 112, 100
    at = apply(track.to_clip[15], np.array([[x, y]], dtype=np.float64))[0]
    patch = cv2.getRectSubPix(clip.frames[15], (5, 5), tuple(at)).mean((0, 1))
    crop = track.frames[15, y - 4 : y + 5, x - 4 : x + 5].mean((0, 1))
    np.testing.assert_allclose(patch, crop, atol=6)


def test_brow_motion_of_one_pixel_survives_registration():
    amplitude = raised_cosine(18, 8, 15, 24)
    clip, photo_to_clip = render(drift(18, 30, seed=2), fields=[(amplitude, brow_raise)], noise=2.0)
    track = track_face(clip)
    onset, apex = (
        np.mean(track.frames[a:b].astype(np.float32), axis=0).round().astype(np.uint8)
        for a, b in ((6, 9), (14, 17))
    )
    flow_xy = optical_flow(onset, apex)
    crop_per_photo_px = 1 / np.hypot(*compose(invert(photo_to_clip[0]), track.to_clip[0])[:, 0])
    to_crop = invert(compose(invert(photo_to_clip[8]), track.to_clip[8].astype(np.float64)))

    def moved_photo_px(points_xy):
        at = apply(to_crop, np.atleast_2d(points_xy)).round().astype(int)
        windows = [flow_xy[y - 6 : y + 7, x - 6 : x + 7].reshape(-1, 2) for x, y in at]
        return np.mean(windows, axis=(0, 1)) / crop_per_photo_px

    truth = brow_raise(BROWS_XY).mean(0)[1]
    assert truth < -0.6  # about 0.9 px of the clip
    assert moved_photo_px(BROWS_XY)[1] / truth > 0.6
    assert np.abs(moved_photo_px(NOSE_XY)).max() < 0.12


def test_a_blink_does_not_shake_the_head():
    amplitude = raised_cosine(14, 4, 6, 9)
    clip, photo_to_clip = render(drift(14, 30, seed=3), fields=[(amplitude, blink)], noise=2.0)
    assert residual_px(track_face(clip).to_clip, photo_to_clip, BROWS_XY) < 0.10


def test_threads_that_track_at_the_same_time_give_the_same_bytes():
    clip, _ = render(drift(3, 30))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(track_face, [clip, clip])
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.landmarks_xy, second.landmarks_xy)


def test_no_face_is_refused_in_one_line():
    noise = np.random.default_rng(0).integers(0, 255, (2, 200, 320, 3), dtype=np.uint8)
    with pytest.raises(FaceError, match=r"no face was found in 2 frames of 320x200\. Give a clip") as error:
        track_face(Clip(noise, np.arange(2) / 30))
    assert "\n" not in str(error.value)


def test_largest_of_several_faces_is_taken_and_said():
    track = track_face(still_clip(on_canvas((1.0, 20, 120), (1.5, 300, 10))))
    assert any("2 faces were found; the largest" in line for line in track.warnings)
    assert apply(track.to_clip[0], np.array([[112.0, 112.0]]))[0, 0] > 320


def test_several_faces_are_numbered_from_the_left_and_one_can_be_chosen():
    picture = on_canvas((1.2, 330, 40), (1.1, 40, 40))
    picture[:60, :60] = np.random.default_rng(0).integers(0, 255, (60, 60, 3))
    largest, chosen = (track_face(still_clip(picture), face=face) for face in (None, 1))
    assert (largest.face, chosen.face) == (2, 1) and largest.faces == chosen.faces
    for track, (left, top, right, bottom) in zip((chosen, largest), largest.faces, strict=True):
        x, y = apply(track.to_clip[0], track.landmarks_xy[0, [1]].astype(np.float64))[0]  # the nose
        assert left < x < right and top < y < bottom
    upside_down = track_face(still_clip(picture[::-1, ::-1]), face=2)  # the one that was at the left
    np.testing.assert_array_equal(upside_down.frames, chosen.frames)
    with pytest.raises(FaceError, match="face 3 was asked for, and 2 faces were found"):
        track_face(still_clip(picture), face=3)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_face_that_is_not_upright_is_turned(quarters):
    """Its aligned face is that of the upright clip, and `to_clip` leads to pixels of the clip as it is."""
    clip, _ = render(drift(3, 30))
    turned = Clip(np.rot90(clip.frames, quarters, (1, 2)), clip.timestamps_s)
    upright, track = track_face(clip), track_face(turned)
    np.testing.assert_array_equal(track.frames, upright.frames)
    np.testing.assert_array_equal(track.landmarks_xy, upright.landmarks_xy)
    x, y = apply(track.to_clip[1], np.array([[112.0, 70.0]]))[0].round().astype(int)
    patch = turned.frames[1, y - 2 : y + 3, x - 2 : x + 3].mean((0, 1))
    np.testing.assert_allclose(patch, track.frames[1, 66:75, 108:117].mean((0, 1)), atol=6)
    assert "upside down" in track.warnings[0] if quarters == 2 else "on its side" in track.warnings[0]
    assert upright.warnings == ()


def test_a_second_face_that_the_mesh_does_not_see_does_not_count(monkeypatch):
    detect = tracking.detect
    hand = np.array([[20.0, 20.0, 90.0, 90.0, 0.6, 0.0]])
    monkeypatch.setattr(tracking, "detect", lambda *args: np.concatenate([detect(*args), hand]))
    assert len(track_face(still_clip(on_canvas((1.5, 300, 10)))).faces) == 1


def test_small_face_in_a_large_picture_is_found_on_the_second_look():
    picture = on_canvas((0.75, 400, 300), size_wh=(1280, 720))
    track = track_face(still_clip(picture))
    at = apply(track.to_clip[0], track.landmarks_xy[0, [1]].astype(np.float64))[0]
    np.testing.assert_allclose(at, (400 + 0.75 * (225 - 120), 300 + 0.75 * (125 - 20)), atol=6)


def test_gray_photograph_of_a_turned_face_is_tracked():
    gray = cv2.resize(data.camera(), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    track = track_face(still_clip(np.repeat(gray[..., None], 3, axis=2), 2))
    eyes = apply(track.to_clip[0], track.landmarks_xy[0, [33, 263]].astype(np.float64)) / 3
    # The mesh draws the far eye of a face turned this much too near.
    np.testing.assert_allclose(eyes, [[226, 147.5], [251, 148]], atol=4)


def test_too_small_a_face_is_refused_with_both_sizes():
    with pytest.raises(FaceError, match=r"eyes are 1\d px apart, at least 20 are needed"):
        track_face(still_clip(on_canvas((0.35, 100, 60), size_wh=(320, 180))))


def test_face_lost_for_a_while_is_named():
    clip, _ = render(drift(14, 30))
    frames = clip.frames.copy()
    frames[5:9] = 90
    track = track_face(Clip(frames, clip.timestamps_s))
    assert any("the face was lost in frames 5 to 8" in line for line in track.warnings)
    np.testing.assert_array_equal(np.flatnonzero(~track.found), np.arange(5, 9))
    assert track.steady[track.found].all() and not track.steady[5:9].any()
    assert np.isfinite(track.to_clip).all() and np.isfinite(track.landmarks_xy).all()


def test_face_lost_in_most_of_the_clip_is_refused():
    clip, _ = render(drift(8, 30))
    frames = clip.frames.copy()
    frames[3:] = 90
    with pytest.raises(FaceError, match="visible in only 3 of 8 frames") as error:
        track_face(Clip(frames, clip.timestamps_s))
    assert error.value.kind == "brief"


def test_falling_back_on_landmarks_is_reported(monkeypatch):
    clip, photo_to_clip = render(drift(5, 30))
    monkeypatch.setattr(registration, "MIN_CORNERS", 1000)
    track = track_face(clip)
    assert any("frames 0 to 4 was removed by landmarks only" in line for line in track.warnings)
    assert residual_px(track.to_clip, photo_to_clip, NOSE_XY[None]) < 1.0


def test_one_frame_and_unknown_times_are_tracked():
    clip, _ = render(drift(3, 30), noise=1.0)
    assert track_face(Clip(clip.frames[:1], np.array([np.nan]))).frames.shape[0] == 1
    assert track_face(Clip(clip.frames, np.full(3, np.nan))).landmarks_xy.shape[0] == 3


def test_mesh_runs_twelve_times_a_second_at_most_or_32_times_in_all():
    clip = Clip(np.zeros((200, 8, 8, 3), np.uint8), np.arange(200) / 200)
    sampled = tracking._mesh_frames(clip)
    assert sampled[0] == 0 and sampled[-1] == 199 and 12 <= len(sampled) <= 14
    assert len(tracking._mesh_frames(Clip(clip.frames, np.full(200, np.nan)))) == 32


@pytest.mark.parametrize(
    "mask, text",
    [
        ([0, 1, 0], "frame 1"),
        ([1, 1, 0, 1], "frames 0 to 1 and 3"),
        ([1, 0, 1, 0, 1], "frames 0, 2 and 4"),
    ],
)
def test_frames_are_named_in_words(mask, text):
    assert tracking._spans(np.array(mask, dtype=bool)) == text


@pytest.mark.parametrize("wrong", [{"size": 8}, {"eye_row": 1.2}, {"interocular_fraction": 0}])
def test_impossible_geometry_is_refused(wrong):
    with pytest.raises(ValueError, match="expected size"):
        FaceGeometry(**wrong)


def test_native_code_writes_nothing_and_no_python_warning_escapes(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        track_face(still_clip(on_canvas((1.0, 100, 60))))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_first_import_of_mediapipe_is_late_and_quiet():
    script = (
        "import sys\n"
        "from tests.moving_face import drift, render\n"
        "from mer_hf.face.tracking import track_face\n"
        "assert 'mediapipe' not in sys.modules  # importing stays quick\n"
        "track_face(render(drift(3, 30))[0])\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and done.stdout == ""


def test_a_face_that_is_lost_when_the_picture_is_turned_stays_as_it_was_found(monkeypatch):
    clip = still_clip(on_canvas((1.0, 200, 70)))
    searched = tracking._same_faces
    monkeypatch.setattr(tracking, "_quarters_to_original", lambda *_: 1)
    monkeypatch.setattr(
        tracking, "_same_faces", lambda *args, in_tiles=False: searched(*args) if in_tiles else []
    )
    assert tracking.find_faces(clip.frames, None)[0] == 0


def test_pyplot_is_loaded_when_somebody_draws():
    """MediaPipe imports it for pictures of landmarks, which nobody here asks for."""
    code = (
        "import sys; from mer_hf.face.tracking import started\n"
        "with started('FaceDetector', 'face_detector.tflite'): print('matplotlib.axes' in sys.modules)\n"
        "import matplotlib.pyplot; print(matplotlib.pyplot.figure() is not None)"
    )
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_threads_share_frames_in_their_order(monkeypatch):
    parts = []
    monkeypatch.setattr(cv2, "getNumThreads", lambda: 2)
    for count in (5, 40):
        shared = list(tracking.in_threads(lambda part: parts.append(len(part)) or part, np.arange(count)))
        assert np.array_equal(np.concatenate(shared), np.arange(count))
    assert sorted(parts) == [5, 20, 20]
    monkeypatch.setattr(cv2, "getNumThreads", lambda: 1)
    assert len(list(tracking.in_threads(list, np.arange(40)))) == 1
