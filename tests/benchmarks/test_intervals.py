import pytest

from mer_hf.evaluation.spotting import interval_counts


@pytest.mark.parametrize(
    ("found", "truth", "counts"),
    [
        ([], [], (0, 0, 0)),
        ([], [(0, 1)], (0, 0, 1)),
        ([(0, 1)], [], (0, 1, 0)),
        ([(0, 1)], [(0, 2)], (1, 0, 0)),  # 1 of 2: just the half
        ([(0, 1)], [(0, 2.1)], (0, 1, 1)),
        ([(5, 6), (0, 1)], [(0, 1), (5, 6.5)], (2, 0, 0)),
        ([(0, 1), (0, 1.1)], [(0, 1)], (1, 1, 0)),  # no true one is found twice
        ([(0, 2), (0.9, 2.1)], [(0, 1.5), (0, 2)], (2, 0, 0)),  # the best pairing, not the first
        ([(1, 1)], [(1, 1)], (0, 1, 1)),  # without length nothing overlaps
    ],
)
def test_intervals_are_paired_by_half_of_their_union(found, truth, counts):
    assert tuple(interval_counts(found, truth)) == counts


def test_an_interval_that_ends_before_it_starts_is_refused():
    with pytest.raises(ValueError, match="start <= end"):
        interval_counts([(2, 1)], [])
