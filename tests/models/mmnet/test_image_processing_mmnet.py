import numpy as np
import pytest
from PIL import Image

from mer_hf.models.mmnet import MMNetImageProcessor

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def random_clip(frames: int, size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (frames, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("side", [64, 112, 150])
def test_frames_are_resized_by_pillow_and_normalised(side):
    clip = random_clip(5, side)
    made = MMNetImageProcessor(size=112)(images=clip, onset=1, apex=3)["pixel_values"]
    assert made.shape == (1, 2, 3, 112, 112) and made.dtype == np.float32
    for frame, index in zip(made[0], (1, 3), strict=True):
        resized = np.asarray(Image.fromarray(clip[index]).resize((112, 112), Image.BILINEAR))
        expected = (resized / 255 - MEAN) / STD
        np.testing.assert_allclose(frame.transpose(1, 2, 0), expected, rtol=1e-5, atol=1e-6)


def test_omitted_frames_are_the_first_and_the_middle_one():
    clip, processor = random_clip(5, 64), MMNetImageProcessor(size=64)
    given = processor(images=clip, onset=0, apex=2)["pixel_values"]
    np.testing.assert_array_equal(processor(images=clip)["pixel_values"], given)
    late = processor(images=clip, onset=4)["pixel_values"]
    np.testing.assert_array_equal(late[0, 0], late[0, 1])


def test_pictures_and_lists_of_clips_are_taken():
    clips, processor = [random_clip(3, 64), random_clip(4, 80)], MMNetImageProcessor(size=64)
    both = processor(images=clips, onset=[0, 1], apex=2)["pixel_values"]
    for i, clip in enumerate(clips):
        pictures = [Image.fromarray(frame) for frame in clip]
        alone = processor(images=pictures, onset=i, apex=2)["pixel_values"]
        np.testing.assert_array_equal(both[i], alone[0])


def test_what_other_architectures_take_has_no_effect():
    clip, processor = random_clip(3, 64), MMNetImageProcessor(size=64)
    plain = processor(images=clip)["pixel_values"]
    more = processor(images=clip, offset=2, landmarks_xy=np.zeros((3, 478, 2)), action_units=["AU4"])
    np.testing.assert_array_equal(more["pixel_values"], plain)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"images": None}, "got none"),
        ({"images": np.zeros((2, 64, 32, 3), np.uint8)}, r"got uint8 \(64, 32, 3\)"),
        ({"images": random_clip(3, 64), "apex": 3}, "0 to 2, got 3"),
        ({"images": random_clip(3, 64), "onset": 2, "apex": 1}, "onset=2 and apex=1"),
    ],
)
def test_bad_calls_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        MMNetImageProcessor(size=64)(**call)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"size": 0}, "positive"), ({"size": 11.2}, "positive"), ({"image_mean": [0.5]}, "three numbers")],
)
def test_bad_settings_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        MMNetImageProcessor(**settings)


def test_a_map_is_enlarged_to_the_face():
    heat = np.zeros((1, 4, 4), np.float32)
    heat[0, 0, 3] = 1
    face = MMNetImageProcessor().to_face(heat, geometry={"size": 64})
    assert face.shape == (1, 64, 64) and face[0, 8, 56] > 0.9 and face[0, 40, 10] == 0
