import importlib
import sys

import numpy as np
import pytest

from mer_hf.visualization import figures


def one_vector(x: float, y: float) -> np.ndarray:
    return np.full((2, 2, 2), (x, y), dtype=np.float32)


def blob(height: int = 64, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.exp(-((rows - 20) ** 2 + (columns - 40) ** 2) / 50.0)


def differing(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.abs(first.astype(int) - second.astype(int)).max(axis=-1) > 40


def test_curve_picture_has_the_size_it_was_laid_out_for():
    picture = figures.curve_picture(np.arange(9.0), size_wh=(400, 200), scale=1.5)
    assert picture.shape == (300, 600, 3)
    assert picture.dtype == np.uint8


def test_phases_are_marked_at_their_frames():
    curve = np.sin(np.linspace(0, np.pi, 61))
    picture = figures.curve_picture(curve, onset=0, apex=45, offset=60, scale=1.0)

    def column_of(color):
        """The column with most pixels of a colour: the phase's line."""
        rgb = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
        return (np.abs(picture.astype(int) - rgb).max(axis=-1) < 60).sum(axis=0).argmax()

    onset, apex, offset = map(column_of, (figures.BLUE, figures.VERMILION, figures.GREEN))
    assert (apex - onset) / (offset - onset) == pytest.approx(45 / 60, abs=0.01)


def test_seconds_replace_frames_only_where_every_time_is_known():
    curve = np.ones(5)
    by_frame = figures.curve_picture(curve)
    unknown = figures.curve_picture(curve, times_s=np.full(5, np.nan))
    by_second = figures.curve_picture(curve, times_s=np.arange(5) / 30)
    assert np.array_equal(by_frame, unknown)
    assert not np.array_equal(by_frame, by_second)


def test_a_still_clip_shows_how_far_it_stays_below_the_threshold():
    still = np.full(20, 0.1)

    def height(picture):
        """The row of the curve, which is the darkest line."""
        return (picture < 60).all(axis=-1).sum(axis=1).argmax()

    assert height(figures.curve_picture(still, threshold=1.0)) > height(figures.curve_picture(still)) + 50


@pytest.mark.parametrize(
    "curve",
    [
        pytest.param(np.zeros(10), id="still"),
        pytest.param(np.array([0.3]), id="one frame"),
        pytest.param(np.full(4, np.nan), id="nothing measured"),
        pytest.param(np.array([0.1, np.nan, 0.2]), id="gap at a phase"),
    ],
)
def test_odd_curves_are_drawn(curve):
    last = len(curve) - 1
    picture = figures.curve_picture(
        curve, onset=0, apex=last // 2, offset=last, masked=np.ones(len(curve), bool)
    )
    assert picture.std() > 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"curve": np.zeros(0)}, "at least one frame"),
        ({"curve": np.zeros((2, 2))}, "shape"),
        ({"curve": np.zeros(3), "apex": 3}, "apex is frame 3, the curve has frames 0 to 2"),
        ({"curve": np.zeros(3), "onset": -1}, "onset is frame -1"),
        ({"curve": np.zeros(3), "times_s": np.zeros(2)}, "times_s has 2 entries, the curve 3"),
        ({"curve": np.zeros(3), "masked": np.zeros(4)}, "masked has 4 entries, the curve 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        figures.curve_picture(**arguments)


@pytest.mark.parametrize(
    "vector, color",
    [
        ((1, 0), figures.ORANGE),  # to the right
        ((0, 1), figures.GREEN),  # down
        ((-1, 0), figures.BLUE),  # to the left
        ((0, -1), figures.PURPLE),  # up
        ((0, 0), "#FFFFFF"),  # no motion
        ((3, 0), figures.ORANGE),  # longer than the full colour
    ],
)
def test_direction_chooses_the_color(vector, color):
    expected = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    assert (
        np.abs(figures.flow_colors(one_vector(*vector), max_px=1.0)[0, 0].astype(int) - expected).max() <= 1
    )


def test_half_the_length_is_half_way_to_white():
    full, half = (figures.flow_colors(one_vector(x, 0), max_px=1.0)[0, 0].astype(float) for x in (1.0, 0.5))
    assert half == pytest.approx((255 + full) / 2, abs=1)


def test_full_color_follows_the_motion_and_is_never_zero():
    flow_xy = np.zeros((10, 10, 2))
    assert figures.full_color_px(flow_xy) > 0
    flow_xy[:5, :, 0] = 2.0
    assert figures.full_color_px(flow_xy) == pytest.approx(2.0)


def test_flow_picture_shows_motion_where_it_is():
    flow_xy = np.dstack([np.zeros((64, 64)), blob()])
    picture = figures.flow_picture(flow_xy, size=256)
    assert picture.shape == (256, 256, 3)
    moved = differing(picture, np.full_like(picture, 255))
    assert moved[48:112, 128:192].mean() > 0.5
    assert moved[128:200, :64].mean() == 0


def test_flow_of_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="flow of shape"):
        figures.flow_colors(np.zeros((4, 4, 3)))


def test_overlay_leaves_the_face_where_nothing_mattered():
    face = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    relevance = np.zeros((64, 64))
    assert np.array_equal(figures.overlay_picture(face, relevance), face)
    relevance[30:40, 30:40] = 1.0
    changed = np.any(figures.overlay_picture(face, relevance, smoothing=0.0) != face, axis=2)
    assert changed[30:40, 30:40].all()
    assert changed.sum() == 100
    spread = np.any(figures.overlay_picture(face, relevance) != face, axis=2)
    assert spread[:20].sum() == 0 and spread.sum() > 100


def test_overlay_is_brighter_where_it_mattered_more():
    face = np.full((8, 3, 3), 60, dtype=np.uint8)
    relevance = np.tile([0.2, 0.6, 1.0], (8, 1))
    assert np.all(np.diff(figures.overlay_picture(face, relevance, smoothing=0.0)[0].mean(axis=1)) > 0)


@pytest.mark.parametrize(
    "relevance, message",
    [
        (np.zeros((4, 5)), "same size"),
        (np.full((4, 4), 1.5), r"in \[0, 1\]"),
        (np.full((4, 4), np.nan), r"in \[0, 1\]"),
    ],
)
def test_overlay_refuses_maps_that_do_not_fit(relevance, message):
    with pytest.raises(ValueError, match=message):
        figures.overlay_picture(np.zeros((4, 4, 3), np.uint8), relevance)


def test_bars_bring_out_the_chosen_class():
    scores = {"negative": 0.2, "positive": 0.7, "surprise": 0.1}
    blue = np.array([0x00, 0x72, 0xB2])

    def bluish(chosen):
        return (np.abs(figures.bars_picture(scores, chosen).astype(int) - blue).max(axis=-1) < 8).sum()

    assert bluish(None) == 0
    assert bluish("positive") > 3 * bluish("negative") > 0


@pytest.mark.parametrize("scores, chosen", [({}, None), ({"negative": 1.0}, "positive")])
def test_bars_refuse_an_answer_that_is_not_there(scores, chosen):
    with pytest.raises(ValueError, match="chosen class"):
        figures.bars_picture(scores, chosen)


def color_of(picture: np.ndarray, color: str) -> np.ndarray:
    rgb = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
    return np.abs(picture.astype(int) - rgb).max(axis=-1) < 8


def test_action_units_show_the_persons_right_on_the_left_and_what_is_not_seen():
    values = {"AU12": (0.2, 0.9, 0.9), "AU23": None, "AU45": (0.7, 0.7, 0.7)}
    picture = figures.action_unit_bars(values, size_wh=(400, 160), scale=1.0)
    assert picture.shape == (160, 400, 3)
    right, left = color_of(picture, figures.VERMILION), color_of(picture, figures.BLUE)
    rows = slice(10, 70)  # the first bar
    assert right[rows].sum() > 200 and left[rows].sum() < 60  # only its right side is present
    assert np.flatnonzero(right[rows].any(axis=0)).max() < np.flatnonzero(left.any(axis=0)).max()
    assert (picture != figures.action_unit_bars(values | {"AU23": (0.0, 0.0, 0.0)}, (400, 160), 1.0)).any()


@pytest.mark.parametrize("values", [{}, {"AU12": (0.1, 1.2, 1.2)}, {"AU12": (float("nan"), 0.0, 0.0)}])
def test_action_units_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=r"intensities in \[0, 1\]"):
        figures.action_unit_bars(values)


def test_enlarge_keeps_proportions():
    assert figures.enlarge(np.zeros((10, 20, 3), np.uint8), 35).shape == (35, 70, 3)


def test_drawing_needs_no_pyplot(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would fail
    assert importlib.reload(figures).flow_picture(np.ones((16, 16, 2))).std() > 0


def test_a_confusion_picture_is_shaded_by_the_share_of_the_row_and_carries_its_mark():
    counts = np.array([[9, 1], [5, 5]])
    plain, marked = (
        figures.confusion_picture(counts, ("calm", "moved"), mark) for mark in ("", "TEST-SELECTED")
    )
    assert plain.dtype == np.uint8 and plain.shape == marked.shape
    assert (plain != marked).any(axis=-1).mean() > 0.005
    dark = figures.confusion_picture(np.array([[10, 0], [5, 5]]), ("calm", "moved"))
    assert dark.astype(int).sum() != plain.astype(int).sum()
