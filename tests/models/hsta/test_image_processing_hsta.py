import cv2
import numpy as np
import pytest
from PIL import Image

from mer_hf.models.hsta import HSTAImageProcessor
from mer_hf.models.hsta import image_processing_hsta as module

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def clip_of(frames: int, size: int = 32) -> np.ndarray:
    """Frame t is gray t."""
    return np.repeat(np.arange(frames, dtype=np.uint8), size * size * 3).reshape(frames, size, size, 3)


def grays(pixel_values: np.ndarray) -> list[int]:
    """Which frame each of the result's frames shows."""
    red = pixel_values[0, :, 0, 0, 0] * STD[0] + MEAN[0]
    return np.round(red * 255).astype(int).tolist()


def test_frames_are_resized_by_opencv_or_pillow(monkeypatch):
    clip = np.random.default_rng(0).integers(0, 256, (2, 45, 45, 3), dtype=np.uint8)
    expected = {
        "opencv": cv2.resize(clip[1], (32, 32), interpolation=cv2.INTER_LINEAR),
        "pillow": np.asarray(Image.fromarray(clip[1]).resize((32, 32), Image.BILINEAR)),
    }
    for name, frame in expected.items():
        apex = HSTAImageProcessor(size=32, resize=name)(images=clip, apex=1)["pixel_values"][0, -1]
        np.testing.assert_allclose(apex, ((frame / 255 - MEAN) / STD).transpose(2, 0, 1), atol=1e-5)
    monkeypatch.setattr(module, "cv2", None)
    HSTAImageProcessor(size=32, resize="pillow")(images=clip)
    with pytest.raises(ImportError, match="pip install opencv-contrib-python"):
        HSTAImageProcessor(size=32)(images=clip)


def test_values_are_scaled_and_normalised_by_channel():
    frame = np.full((32, 32, 3), (10, 100, 250), np.uint8)
    made = HSTAImageProcessor(size=16)(images=[Image.fromarray(frame)] * 3)["pixel_values"]
    assert made.shape == (1, 8, 3, 16, 16) and made.dtype == np.float32
    expected = (np.array([10, 100, 250]) / 255 - MEAN) / STD
    np.testing.assert_allclose(made[0, 3, :, 5, 5], expected, rtol=1e-6)


def test_sampled_frames_are_distinct_in_order_and_between_the_phases():
    processor = HSTAImageProcessor(size=32)
    shown = grays(processor(images=clip_of(60), onset=10, apex=15, offset=30)["pixel_values"])
    sampled, key_frames = shown[:6], shown[6:]
    assert sampled == sorted(set(sampled)) and sampled[0] >= 10 and sampled[-1] <= 30
    assert key_frames == [10, 15]
    assert processor.frame_indices(60, 10, 15, 30) == shown
    others = {tuple(HSTAImageProcessor(seed=seed).frame_indices(60, 10, 15, 30)[:6]) for seed in range(20)}
    assert len(others) > 15 and {index for each in others for index in each} == set(range(10, 31))
    fresh = HSTAImageProcessor(seed=None)
    assert len({tuple(fresh.frame_indices(60, 0, 5, 50)) for _ in range(5)}) > 1


@pytest.mark.parametrize(
    ("settings", "phases", "expected"),
    [
        # four frames for six: one more in front, one more behind
        ({}, (3, 4, 6), [3, 3, 4, 5, 6, 6, 3, 4]),
        # three frames for six: one in front, the odd one behind
        ({}, (3, 4, 5), [3, 3, 4, 5, 5, 5, 3, 4]),
        ({"fill": "zeros"}, (3, 4, 6), [3, 4, 5, 6, None, None, 3, 4]),
        ({"frame_sampling": "uniform"}, (0, 4, 10), [0, 2, 4, 6, 8, 10, 0, 4]),
        ({"frame_sampling": "uniform"}, (5, 5, 5), [5, 5, 5, 5, 5, 5, 5, 5]),
        # an apex before the onset becomes the onset
        ({"frame_sampling": "uniform"}, (5, 2, 10), [5, 6, 7, 8, 9, 10, 5, 5]),
        # an offset before the onset becomes the onset, and the apex lies then behind it
        ({"frame_sampling": "uniform"}, (5, 8, 3), [5, 5, 5, 5, 5, 5, 5, 5]),
        # an apex behind the offset becomes the middle, rounded down
        ({"frame_sampling": "uniform"}, (0, 20, 5), [0, 1, 2, 3, 4, 5, 0, 2]),
        # the offset is cut at 50 frames, the apex is not
        ({"frame_sampling": "uniform"}, (0, 70, 90), [0, 10, 20, 30, 40, 50, 0, 70]),
        ({"frame_sampling": "uniform", "max_frames": None}, (0, 70, 90), [0, 18, 36, 54, 72, 90, 0, 70]),
        # nothing given: first, middle, last
        ({"frame_sampling": "uniform"}, (None, None, None), [0, 10, 20, 30, 40, 50, 0, 50]),
    ],
)
def test_which_frames_are_taken(settings, phases, expected):
    assert HSTAImageProcessor(**settings).frame_indices(100, *phases) == expected


def test_a_black_frame_is_black():
    processor = HSTAImageProcessor(size=32, fill="zeros")
    made = processor(images=clip_of(9) + np.uint8(5), onset=0, apex=2, offset=3)["pixel_values"]
    assert grays(made) == [5, 6, 7, 8, 0, 0, 5, 7]


def test_motion_takes_the_place_of_all_frames_but_the_onset():
    clip = clip_of(9)
    plain = HSTAImageProcessor(size=32)(images=clip, onset=1, apex=4)["pixel_values"]
    moving = HSTAImageProcessor(size=32, motion_gain=3.0)(images=clip, onset=1, apex=4)["pixel_values"]
    np.testing.assert_array_equal(moving[:, -2], plain[:, -2])
    np.testing.assert_allclose(moving[:, -1], 3 * (plain[:, -1] - plain[:, -2]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moving[:, :-2], 3 * (plain[:, :-2] - plain[:, -2:-1]), rtol=1e-5, atol=1e-6)


def test_maps_are_enlarged_to_the_face():
    maps = np.zeros((1, 8, 14, 14), np.float32)
    maps[0, 7, 3, 10] = 1
    face = HSTAImageProcessor().to_face(maps)
    assert face.shape == (1, 8, 224, 224) and face.dtype == np.float32
    row, column = np.unravel_index(face[0, 7].argmax(), (224, 224))
    assert abs(row - 55.5) <= 1 and abs(column - 167.5) <= 1 and not face[0, :7].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"images": np.zeros((3, 32, 32, 3), np.float32)}, "uint8 RGB, got float32"),
        ({"images": []}, "got none"),
        ({"images": clip_of(3), "onset": 3}, "0 to 2, got 3"),
        ({"images": clip_of(3), "offset": -1}, "0 to 2, got -1"),
        ({"images": [clip_of(3)] * 2, "apex": [1, 2, 2]}, "one apex for each of 2 clips, got 3"),
        ({"images": clip_of(3), "apex": 1.5}, "whole number"),
    ],
)
def test_bad_calls_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        HSTAImageProcessor(size=32)(**call)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame_sampling": "all"}, "random, uniform"),
        ({"fill": "mirror"}, "repeat, zeros"),
        ({"resize": "bicubic"}, "opencv, pillow"),
        ({"num_frames": 0}, "num_frames must be a positive"),
        ({"max_frames": 2.5}, "max_frames must be a positive"),
        ({"motion_gain": 0}, "motion_gain must be"),
        ({"image_std": [1, 1, 0]}, "std above 0"),
    ],
)
def test_bad_settings_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        HSTAImageProcessor(**settings)


def test_phases_out_of_order_are_refused_where_that_is_asked_for():
    with pytest.raises(ValueError, match="onset=5, apex=2 and offset=9"):
        HSTAImageProcessor(correct_phases=False).frame_indices(10, 5, 2, None)
