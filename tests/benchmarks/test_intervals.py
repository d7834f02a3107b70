import pytest

from benchmarks.long_video import interval_counts


@pytest.mark.parametrize(
    ("spotted", "truth", "counts"),
    [
        ([], [], (0, 0, 0)),
        ([], [(0, 1)], (0, 0, 1)),
        ([(0, 1)], [], (0, 1, 0)),
        ([(0, 1)], [(0, 2)], (1, 0, 0)),  # 1 of 2: just the half
        ([(0, 1)], [(0, 2.1)], (0, 1, 1)),
        ([(5, 6), (0, 1)], [(0, 1), (5, 6.5)], (2, 0, 0)),
        ([(0, 1), (0, 1.1)], [(0, 1)], (1, 1, 0)),  # no true interval counts twice
        ([(0, 2), (0.9, 2.1)], [(0, 1.5), (0, 2)], (2, 0, 0)),  # the best pairing, not the first
        ([(1, 1)], [(1, 1)], (0, 1, 1)),  # without length nothing overlaps
    ],
)
def test_intervals_are_paired_by_half_of_their_union(spotted, truth, counts):
    assert tuple(interval_counts(spotted, truth)) == counts
