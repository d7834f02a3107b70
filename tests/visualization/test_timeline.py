import numpy as np
import pytest

from mer_hf.visualization.timeline import CLASS_COLORS, DARK, DARK_COLORS, LIGHT, clock, timeline_picture

LABELS = ("negative", "positive", "surprise")


def rgb(color: str) -> np.ndarray:
    return np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])


def where(picture: np.ndarray, color: str) -> np.ndarray:
    return np.abs(picture.astype(int) - rgb(color)).max(axis=-1) < 12


def draw(intervals=(), gaps=(), blinks=(), duration_s=300.0, **options) -> np.ndarray:
    times_s = np.linspace(0, duration_s, 600)
    return timeline_picture(times_s, np.ones(600), intervals, LABELS, duration_s, gaps, blinks, **options)


def luminance(color) -> float:
    share = np.asarray(color) / 255
    linear = np.where(share <= 0.03928, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(rgb(one)), luminance(rgb(other))))
    return (high + 0.05) / (low + 0.05)


def test_the_picture_has_the_size_it_was_laid_out_for():
    assert draw(scale=1.0).shape == (300, 1100, 3)
    assert draw(size_wh=(600, 200), scale=2.0).shape == (400, 1200, 3)


def test_a_short_interval_in_a_long_video_is_seen_in_the_row_and_at_the_time_of_its_own():
    picture = draw([(75.0, 75.3, "negative"), (225.0, 225.3, "surprise")], scale=1.0)
    negative, surprise = where(picture, CLASS_COLORS[0]), where(picture, CLASS_COLORS[2])
    assert negative.sum() >= 20 and surprise.sum() >= 20
    assert np.argwhere(negative)[:, 0].max() < np.argwhere(surprise)[:, 0].min()
    left, right = (np.argwhere(mask)[:, 1].mean() for mask in (negative, surprise))
    everything = draw([(0.0, 300.0, "negative")], scale=1.0)
    line = np.argwhere(where(everything, CLASS_COLORS[0]))[:, 1]
    share = (np.array([left, right]) - line.min()) / (line.max() - line.min())
    np.testing.assert_allclose(share, [0.25, 0.75], atol=0.01)


def test_gaps_and_blinks_change_the_picture_where_they_are():
    plain = draw(scale=1.0)
    for changed in (draw(gaps=[(150.0, 180.0)], scale=1.0), draw(blinks=[(150.0, 150.2)], scale=1.0)):
        columns = np.flatnonzero((plain != changed).any(axis=(0, 2)))
        assert 500 < np.median(columns) < 1100


def test_dark_is_light_on_dark():
    picture = draw([(75.0, 80.0, "negative")], dark=True, scale=1.0)
    assert where(picture, DARK["paper"]).mean() > 0.5
    assert where(picture, DARK_COLORS[0]).any()


@pytest.mark.parametrize(("colors", "tones"), [(CLASS_COLORS[:4], LIGHT), (DARK_COLORS[:4], DARK)])
def test_bars_and_words_stand_out_from_the_paper(colors, tones):
    assert all(contrast(color, tones["paper"]) >= 2.2 for color in (*colors, tones["other"]))
    assert all(contrast(tones[name], tones["paper"]) >= 4.5 for name in ("ink", "muted"))


@pytest.mark.parametrize("duration_s", [0.0, 0.4, 8.0, 5400.0])
def test_any_length_is_drawn(duration_s):
    assert timeline_picture(np.empty(0), np.empty(0), [], (), duration_s, scale=1.0).shape == (300, 1100, 3)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="anger"):
        draw([(1.0, 2.0, "anger")])
    with pytest.raises(ValueError, match="at most 7"):
        timeline_picture(np.empty(0), np.empty(0), [], [str(i) for i in range(8)], 1.0)
    with pytest.raises(ValueError, match="2 entries"):
        timeline_picture(np.zeros(2), np.zeros(3), [], (), 1.0)


@pytest.mark.parametrize(
    ("at_s", "duration_s", "text"),
    [(0, 300, "0:00"), (61, 300, "1:01"), (59.99, 300, "1:00"), (3725, 4000, "62:05"), (2.5, 8, "0:02.5")],
)
def test_times_are_written_as_a_clock(at_s, duration_s, text):
    assert clock(at_s, duration_s) == text
