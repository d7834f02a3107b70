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


def color_of(picture: np.ndarray, color: str, tolerance: int = 8) -> np.ndarray:
    """Where a picture has a colour."""
    rgb = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
    return np.abs(picture.astype(int) - rgb).max(axis=-1) < tolerance


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
        return color_of(picture, color, 60).sum(axis=0).argmax()

    onset, apex, offset = map(column_of, (figures.BLUE, figures.VERMILION, figures.GREEN))
    assert (apex - onset) / (offset - onset) == pytest.approx(45 / 60, abs=0.01)


def test_averaged_frames_are_dots_on_the_curve():
    curve = np.sin(np.linspace(0, np.pi, 61))
    dots = color_of(figures.curve_picture(curve, averaged=(15, 20)), figures.VERMILION, 60)
    assert 20 < dots.sum() < 300 and not color_of(figures.curve_picture(curve), figures.VERMILION, 60).any()


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


def test_bars_bring_out_the_chosen_class():
    scores = {"negative": 0.2, "positive": 0.7, "surprise": 0.1}

    def bluish(chosen):
        return color_of(figures.bars_picture(scores, chosen), figures.BLUE).sum()

    assert bluish(None) == 0
    assert bluish("positive") > 3 * bluish("negative") > 0


def test_action_units_show_the_persons_right_on_the_left_and_what_is_not_seen():
    values = {"AU12": (0.2, 0.9, 0.9), "AU23": None, "AU45": (0.7, 0.7, 0.7)}
    picture = figures.action_unit_bars(values, size_wh=(400, 160))
    assert picture.shape == (320, 800, 3)
    right, left = color_of(picture, figures.VERMILION), color_of(picture, figures.BLUE)
    rows = slice(20, 140)  # the first bar
    assert right[rows].sum() > 800 and left[rows].sum() < 240  # only its right side is present
    assert np.flatnonzero(right[rows].any(axis=0)).max() < np.flatnonzero(left.any(axis=0)).max()
    assert (picture != figures.action_unit_bars(values | {"AU23": (0.0, 0.0, 0.0)}, (400, 160))).any()


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


# --- the time line ---

LABELS = ("negative", "positive", "surprise")


def draw(intervals=(), gaps=(), blinks=(), duration_s=300.0, people=(1,)) -> np.ndarray:
    times_s = np.linspace(0, duration_s, 600)
    intervals = [(*each, 1) if len(each) == 3 else each for each in intervals]
    curve = np.ones((len(people), 600)) * np.arange(1, len(people) + 1)[:, None]
    rest = (intervals, LABELS, duration_s, gaps, [(*blink, 1) for blink in blinks], people)
    return figures.timeline_picture(times_s, curve, *rest)


def test_a_short_interval_in_a_long_video_is_seen_in_the_row_and_at_the_time_of_its_own():
    picture = draw([(75.0, 75.3, "negative"), (225.0, 225.3, "surprise")])
    negative, _, surprise = (color_of(picture, color) for color in figures.CLASS_COLORS[:3])
    assert negative.sum() >= 20 and surprise.sum() >= 20
    assert np.argwhere(negative)[:, 0].max() < np.argwhere(surprise)[:, 0].min()
    left, right = (np.argwhere(mask)[:, 1].mean() for mask in (negative, surprise))
    everything = draw([(0.0, 300.0, "negative")])
    line = np.argwhere(color_of(everything, figures.CLASS_COLORS[0]))[:, 1]
    share = (np.array([left, right]) - line.min()) / (line.max() - line.min())
    np.testing.assert_allclose(share, [0.25, 0.75], atol=0.01)


def test_each_person_has_a_colour_and_a_part_of_the_row():
    both = [(75.0, 95.0, "negative", 1), (225.0, 245.0, "negative", 4)]
    first, second = (color_of(draw(both, people=(1, 4)), color) for color in figures.CLASS_COLORS[:2])
    bars = [np.argwhere(each[270:]) for each in (first, second)]  # below the curves
    assert bars[0][:, 0].max() < bars[1][:, 0].min() and bars[0][:, 1].max() < bars[1][:, 1].min()
    assert first[:270].sum() > 500 and second[:270].sum() > 500


def test_gaps_and_blinks_change_the_picture_where_they_are():
    plain = draw()
    for changed in (draw(gaps=[(150.0, 180.0)]), draw(blinks=[(150.0, 150.2)])):
        columns = np.flatnonzero((plain != changed).any(axis=(0, 2)))
        assert 1000 < np.median(columns) < 2200


@pytest.mark.parametrize("duration_s", [0.0, 0.4, 8.0, 5400.0])
def test_a_time_line_of_any_length_is_drawn(duration_s):
    picture = figures.timeline_picture(np.empty(0), np.empty(0), [], (), duration_s)
    assert picture.shape == (600, 2200, 3)


@pytest.mark.parametrize(
    ("at_s", "duration_s", "text"),
    [(0, 300, "0:00"), (61, 300, "1:01"), (59.99, 300, "1:00"), (3725, 4000, "62:05"), (2.5, 8, "0:02.5")],
)
def test_times_are_written_as_a_clock(at_s, duration_s, text):
    assert figures.clock(at_s, duration_s) == text
