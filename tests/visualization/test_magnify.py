import cv2
import numpy as np
import pytest

from mer_hf.visualization.magnify import exaggerate, measure_motion

SIZE = 224
COUNT, PEAK = 16, 8


def skin(seed: int = 0, contrast: float = 22.0) -> np.ndarray:
    """A picture with detail on every scale, as skin has."""
    rng = np.random.default_rng(seed)
    noise = sum(
        cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE), dtype=np.float32), (0, 0), sigma) * sigma
        for sigma in (2, 5, 12)
    )
    return np.repeat((128 + contrast * noise / noise.std())[..., None], 3, axis=2).clip(0, 255)


def moving(peak_px: float, noise: float = 1.5, seed: int = 0, contrast: float = 22.0) -> np.ndarray:
    """Skin around the middle goes up by `peak_px` in the frame `PEAK` and comes back."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    bump = np.exp(-((x - 112) ** 2 + (y - 112) ** 2) / (2 * 22.0**2)).astype(np.float32)
    frames = []
    for t in range(COUNT):
        amount = peak_px * 0.5 * (1 + np.cos(np.pi * min(1.0, abs(t - PEAK) / 6)))
        frame = cv2.remap(skin(seed, contrast), x, y + np.float32(amount) * bump, cv2.INTER_CUBIC)
        frames.append(frame + noise * rng.standard_normal(frame.shape))
    return np.clip(np.round(frames), 0, 255).astype(np.uint8)


def magnify(frames: np.ndarray, **options) -> np.ndarray:
    """Draw the motion since the first frame larger."""
    pairs = zip(frames, measure_motion(frames), strict=True)
    return np.stack([exaggerate(*pair, **options) for pair in pairs])


def shift_in_the_middle(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """How far the middle of one picture is from that of another, (x, y), found by matching."""
    patch = start[97:128, 97:128]
    score = cv2.matchTemplate(end[77:148, 77:148], patch, cv2.TM_CCOEFF_NORMED)
    return np.array(np.unravel_index(score.argmax(), score.shape))[::-1] - 20


def test_a_motion_of_seven_tenths_of_a_pixel_becomes_plainly_visible():
    frames = moving(0.7)
    assert np.abs(shift_in_the_middle(frames[0], frames[PEAK])).max() <= 1
    larger = magnify(frames, factor=8.0)
    assert larger.shape == frames.shape and larger.dtype == np.uint8
    x, y = shift_in_the_middle(larger[0], larger[PEAK])
    assert abs(x) <= 1 and -7 <= y <= -3


def test_it_is_over_when_the_motion_is_over():
    frames = moving(1.5)
    larger = magnify(frames)
    assert np.abs(larger[[0, 1, -1]].astype(int) - frames[[0, 1, -1]]).mean() < 0.5


@pytest.mark.parametrize(("noise", "contrast"), [(0.0, 22.0), (1.5, 22.0), (10.0, 22.0), (6.0, 6.0)])
def test_a_still_clip_stays_still(noise, contrast):
    frames = moving(0.0, noise, contrast=contrast)
    assert np.linalg.norm(measure_motion(frames), axis=-1).max() < 0.1
    assert np.abs(magnify(frames).astype(int) - frames).mean() < 0.3


def test_what_the_whole_head_did_is_not_enlarged():
    picture = skin()
    frames = []
    for t in range(COUNT):
        shift = np.float32([[1, 0, 0.05 * t], [0, 1, -0.04 * t]])
        frames.append(cv2.warpAffine(picture, shift, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT))
    assert np.linalg.norm(measure_motion(np.round(frames).astype(np.uint8)), axis=-1).max() < 0.15


def test_motion_is_measured_from_the_reference():
    frames = moving(1.5)
    moved = measure_motion(frames, reference=PEAK)
    scale = moved.shape[1] / SIZE
    middle = moved[:, int(112 * scale), int(112 * scale), 1]
    assert abs(middle[PEAK]) < 0.3
    assert 0.8 < middle[0] < 1.6  # dense flow falls short of small motions; it must not exceed them


def test_a_strong_motion_is_limited_and_does_not_tear():
    x, y = np.meshgrid(np.linspace(-1, 1, 112), np.linspace(-1, 1, 112))
    bump = np.exp(-(x**2 + y**2) / (2 * 0.25**2)).astype(np.float32)
    moved = np.stack([9.0 * bump, 0 * bump], axis=-1)  # 9 px, times 8: 63 px further if nothing held it
    ramp = np.tile(np.linspace(0, 250, SIZE)[None, :, None], (SIZE, 1, 3)).astype(np.uint8)
    larger = exaggerate(ramp, moved, factor=8.0).astype(int)
    went_px = (ramp.astype(int) - larger)[..., 0] * (SIZE - 1) / 250
    assert 6 < went_px.max() <= 11
    assert (np.diff(larger[..., 0], axis=1) >= -2).all()  # no fold: what was beside stays beside, in order


def test_what_is_plain_to_see_is_left_alone():
    """A hand that passes moves by half the face between two frames, and flow is rubbish around it."""
    moved = 60.0 * np.random.default_rng(0).standard_normal((112, 112, 2)).astype(np.float32)
    moved[np.linalg.norm(moved, axis=-1) < 40] = 40
    picture = np.round(skin()).astype(np.uint8)
    assert np.abs(exaggerate(picture, moved).astype(int) - picture).mean() < 6


def test_factor_one_changes_nothing():
    frames = moving(1.0)
    assert np.array_equal(magnify(frames, factor=1.0), frames)


def test_two_frames_are_enough():
    frames = moving(2.0, noise=0.0)[[0, PEAK]]
    assert shift_in_the_middle(*magnify(frames))[1] <= -5


def test_a_factor_below_one_is_refused():
    with pytest.raises(ValueError, match="factor of 1 or more"):
        magnify(moving(0.0)[:3], factor=0.5)


def test_brows_are_magnified_and_what_lies_beside_the_chin_is_not():
    """In an aligned face brows reach to a seventh of its height; behind the jaw there is background."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    frames = []
    for t in range(COUNT):
        amount = 1.5 * np.exp(-0.5 * ((t - PEAK) / 2) ** 2)
        places = ((24, 34), (200, 34), (30, 200), (194, 200))
        bump = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 16.0**2)) for px, py in places)
        frames.append(cv2.remap(skin(), x, y + np.float32(amount) * bump.astype(np.float32), cv2.INTER_CUBIC))
    length = np.linalg.norm(measure_motion(np.clip(np.round(frames), 0, 255).astype(np.uint8))[PEAK], axis=-1)
    length = cv2.resize(length, (SIZE, SIZE))
    assert min(length[34, 24], length[34, 200]) > 0.6
    assert max(length[200, 30], length[200, 194]) < 0.15
