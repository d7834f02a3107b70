import numpy as np
import pytest

from mer_hf.face.flow import optical_flow
from mer_hf.face.landmarks import eye_centres
from mer_hf.synthetic import faces
from mer_hf.synthetic.faces import GEOMETRY, FaceSettings, SyntheticFaces, render_face

QUIET = FaceSettings(
    muscle=0, blink=0, gaze=0, peak_px=(3.0, 3.0), identity=0, shift=0, scale=0, roll_deg=0,
    residual_px=0, gain=0, light_levels=0, noise=(0.2, 0.2), blur_px=0, compressed=0, coded=0,
    texture=0, relight=0, gray=0, soft=0, head=0, strong_head=0, stray=0,
)  # fmt: skip
"""Nothing but the expression."""


def rendered(activations, strengths=(0.0, 1.0), settings=QUIET, seed=0):
    return render_face(np.random.default_rng(seed), activations, np.array(strengths), settings, GEOMETRY)


def quiet(photograph: bool) -> FaceSettings:
    return faces.replace(QUIET, photograph=float(photograph))


def test_a_sample_is_a_function_of_seed_and_index():
    one, other = SyntheticFaces(7, 10)[3], SyntheticFaces(7, 4, start=1)[2]
    assert np.array_equal(one["frames"], other["frames"]) and one["action_units"] == other["action_units"]
    assert not np.array_equal(one["frames"], SyntheticFaces(8, 10)[3]["frames"])
    assert not np.array_equal(one["frames"], SyntheticFaces(7, 10)[4]["frames"])


@pytest.mark.parametrize("photograph", [False, True])
def test_eyes_lie_where_the_geometry_says(photograph):
    geometry = {"size": 112, "eye_row": 0.3, "interocular_fraction": 0.4}
    rng = np.random.default_rng(0)
    frames, landmarks = render_face(rng, {}, np.zeros(1), quiet(photograph), geometry)
    assert frames.shape == (1, 112, 112, 3) and landmarks.shape == (468, 2)
    left, right = eye_centres(landmarks)
    assert np.allclose(right - left, (0.4 * 112, 0), atol=0.2)
    assert np.allclose((left + right) / 2, (55.5, 0.3 * 112 - 0.5), atol=0.2)


@pytest.mark.parametrize("photograph", [False, True])
@pytest.mark.parametrize(
    ("activations", "where", "direction"),
    [
        ({"AU2": (1.0, 1.0)}, 105, (0, -1)),  # the person's right brow, on the image's left, goes up
        ({"AU12": (0.0, 1.0)}, 61, (-0.65, -0.75)),  # the right mouth corner goes out and up
        ({"AU12": (1.0, 0.0)}, 291, (0.65, -0.75)),
    ],
)
def test_skin_moves_where_and_as_the_muscle_pulls(photograph, activations, where, direction):
    frames, landmarks = rendered(activations, settings=quiet(photograph))
    flow = optical_flow(frames[0], frames[1])
    x, y = np.round(landmarks[where]).astype(int)
    moved = flow[y - 4 : y + 5, x - 4 : x + 5].reshape(-1, 2)
    moved = moved[np.linalg.norm(moved, axis=1).argmax()]
    peak = 3.0 * GEOMETRY["size"] * GEOMETRY["interocular_fraction"] / 60
    assert 0.5 * peak < np.linalg.norm(moved) < 1.5 * peak
    assert moved @ direction / np.linalg.norm(moved) / np.linalg.norm(direction) > 0.8


def test_a_mirrored_photograph_keeps_the_person_s_sides():
    sides = set()
    for seed in range(8):
        frames, _ = rendered({"AU12": (1.0, 0.0)}, settings=quiet(True), seed=seed)
        flow = np.linalg.norm(optical_flow(frames[0], frames[1]), axis=-1)
        assert flow[:, 112:].max() > 3 * flow[:, :100].max()  # the person's left is on the image's right
        sides.add(frames[0][150, 60].tobytes())
    assert len(sides) > 1


def test_more_frames_run_from_onset_over_apex_to_offset():
    sample = SyntheticFaces(0, 5, faces.replace(QUIET, peak_px=(4.0, 4.0)), num_frames=9)[1]
    assert sample["frames"].shape[0] == 9 and sample["onset"] == 0 and sample["offset"] == 8
    first = sample["frames"][0].astype(int)
    change = [np.abs(frame - first).mean() for frame in sample["frames"].astype(int)]
    assert np.argmax(change) == sample["apex"] and change[8] < 0.3 * max(change)
    assert all(np.diff(change[: sample["apex"] + 1]) > 0)


def test_classes_come_in_their_shares_and_drawn_faces_differ():
    faces = SyntheticFaces(0, 400)
    drawn = np.bincount([faces.begin(i)[1].label for i in range(400)], minlength=3)
    assert np.allclose(drawn / 400, faces.settings.class_shares, atol=0.06)
    samples = [faces[i] for i in range(6)]
    assert len({sample["frames"].tobytes() for sample in samples}) == 6
    for i, sample in enumerate(samples):
        assert (sample["label"], sample["action_units"]) == tuple(faces.begin(i)[1])
        assert all(0 <= strength < 8 for pair in sample["action_units"].values() for strength in pair)


def contrast(picture) -> float:
    """Return how much neighbouring pixels differ on the skin between nose and ear."""
    return float(np.abs(np.diff(picture[110:140, 40:80].astype(float).mean(axis=2), axis=1)).mean())


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"texture": 0.3}, lambda plain, changed: contrast(changed) > 1.5 * contrast(plain)),
        ({"soft": 1.0}, lambda plain, changed: contrast(changed) < 0.9 * contrast(plain)),
        ({"gray": 1.0}, lambda plain, changed: np.ptp(changed.astype(int), axis=2).max() <= 2),
        ({"relight": 1.5}, lambda plain, changed: np.abs(changed.astype(int) - plain)[100:200].mean() > 8),
    ],
)
def test_a_person_is_pictured_as_other_cameras_would(changes, seen):
    """The same person in the same place: only what a setting names differs, the same in all frames."""
    first, second = (
        rendered({}, (0.0, 0.0), faces.replace(QUIET, noise=(0.01, 0.01), **each), seed=12)[0]
        for each in (dict.fromkeys(changes, 1e-9), changes)
    )
    assert seen(first[0], second[0]) and np.abs(second[0].astype(int) - second[1]).max() <= 1


@pytest.mark.parametrize("setting", ["head", "stray"])
def test_the_head_and_stray_motion_move_a_face_without_an_expression(setting):
    """By something like a share of the peak, which is 3 px at an interocular distance of 60."""
    moved = []
    for amount in (0.0, 0.5):
        settings = faces.replace(QUIET, contraction=0.0, **{setting: amount})
        flows = [optical_flow(*rendered({}, settings=settings, seed=seed)[0]) for seed in range(4)]
        moved.append(np.mean([np.linalg.norm(flow[60:180, 50:174], axis=2).mean() for flow in flows]))
    peak = 3.0 * GEOMETRY["size"] * GEOMETRY["interocular_fraction"] / 60
    assert moved[0] < 0.02 * peak and 0.05 * peak < moved[1] < peak


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"size": -1}, {"start": -1}, {"num_frames": 1}])
def test_impossible_sets_are_refused(wrong):
    with pytest.raises(ValueError, match=f"got.*{next(iter(wrong.values()))}"):
        SyntheticFaces(**{"seed": 0, "size": 3, **wrong})


def test_a_filmed_sample_is_aligned_like_a_drawn_one_and_is_repeatable():
    settings = faces.replace(QUIET, filmed=1.0, peak_px=(3.0, 3.0))
    sample, again = (SyntheticFaces(3, 4, settings)[2] for _ in range(2))
    assert np.array_equal(sample["frames"], again["frames"]) and sample["frames"].shape == (2, 224, 224, 3)
    left, right = eye_centres(sample["landmarks_xy"])
    assert np.linalg.norm(right - left) == pytest.approx(0.45 * 224, rel=0.05)
    assert (left + right)[1] / 2 == pytest.approx(0.32 * 224, abs=5)


def test_furrows_darken_the_skin_between_brows_that_are_drawn_together():
    rows = []
    for furrow in (0.0, 0.1):
        settings = faces.replace(QUIET, furrow=furrow, contraction=0.0, peak_px=(4.0, 4.0))
        rng = np.random.default_rng(6)
        frames, landmarks = render_face(rng, {"AU4": (1, 1)}, np.array([0.0, 1.0]), settings, GEOMETRY)
        x, y = np.round(landmarks[[55, 107, 285, 336]].mean(axis=0)).astype(int)
        rows.append(frames[1, y - 8 : y + 8, x - 25 : x + 26].astype(float).mean(axis=2))
    darker = rows[0] - rows[1]
    assert darker.max() > 8 and darker.mean() > 0.3


def test_a_coded_sample_is_what_a_file_gives_back(monkeypatch):
    """Whole frame first, then onset to apex; what the file holds of the motion is what is left of it."""
    seen = []

    def compressed(frames, fps, crf):
        seen.append((len(frames), crf))
        return real(frames, fps, crf)

    real = faces.compressed
    monkeypatch.setattr(faces, "compressed", compressed)
    activations = {"AU12": (1.0, 1.0)}
    plain, _ = rendered(activations)
    coded, landmarks = rendered(activations, settings=faces.replace(QUIET, coded=1.0, crf=(24, 25)))
    again, _ = rendered(activations, settings=faces.replace(QUIET, coded=1.0, crf=(24, 25)))
    assert seen == [(5, 24)] * 2 and coded.shape == plain.shape and np.array_equal(coded, again)
    assert 0.3 < np.abs(coded.astype(float) - plain).mean() < 6
    x, y = np.round(landmarks[61]).astype(int)
    moved = [optical_flow(*pair)[y - 4 : y + 5, x - 4 : x + 5].min(axis=(0, 1)) for pair in (plain, coded)]
    assert np.all(moved[1] < 0.4 * moved[0])  # both negative: out and up
    assert rendered({}, (0.0,), faces.replace(QUIET, coded=1.0))[0].shape[0] == 1
    assert rendered({}, (0, 0.5, 1, 0), faces.replace(QUIET, coded=1.0))[0].shape[0] == 4


def test_the_first_and_the_last_of_many_frames_lie_near_onset_and_offset():
    shown = [
        SyntheticFaces(0, 1, num_frames=6)._strengths(np.random.default_rng(seed)) for seed in range(200)
    ]
    strengths, apexes = np.stack([row for row, _ in shown]), np.array([apex for _, apex in shown])
    assert 0.3 < np.mean(strengths[:, 0] == 0) < 0.7 and 0 < strengths[:, 0].max() < 0.7  # before, or late
    assert 0.3 < np.mean(strengths[:, -1] == 0) < 0.7 and 0 < strengths[:, -1].max() < 0.7
    assert (apexes == np.maximum(strengths.argmax(axis=1), 1)).all() and strengths.max(axis=1).min() > 0.7
