"""Windows: how arrays are cut, and what is taken of them."""

import numpy as np

from stages.pairing.windows import cut_windows, fill_from_neighbours, row_quantile, sample_windows


def test_windows_do_not_reach_across_starts():
    windows = cut_windows(np.array([0, 3, 4]), 20, 5)
    assert windows.first.tolist() == [0, 3, 4, 9, 14]
    assert windows.size.tolist() == [3, 1, 5, 5, 6]
    assert windows.block.tolist() == [0, 1, 2, 2, 2]


def test_samples_are_runs_that_are_spread_over_the_window():
    members, is_member = sample_windows(cut_windows(np.array([0, 2]), 42, 40), 16)
    assert members.tolist() == [[0] + [1] * 15, [*range(2, 10), *range(34, 42)]]
    assert is_member.tolist() == [[True, True] + [False] * 14, [True] * 16]


def test_a_window_that_is_no_longer_than_a_sample_is_all_of_it():
    members, is_member = sample_windows(cut_windows(np.array([0]), 11, 40), 16)
    assert members.tolist() == [list(range(11))]
    assert is_member.all()


def test_quantiles_are_of_the_values_that_count():
    ordered = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, np.inf, np.inf], [np.inf] * 4])
    count = np.array([4, 2, 0])
    assert row_quantile(ordered, count, 0.0).tolist() == [1.0, 5.0, np.inf]
    assert row_quantile(ordered, count, 0.5).tolist() == [2.0, 5.0, np.inf]
    assert row_quantile(ordered, count, 1.0).tolist() == [4.0, 6.0, np.inf]


def test_the_nearest_good_neighbour_of_the_block_fills_in():
    values = np.arange(8.0)
    good = np.array([0, 0, 1, 0, 0, 1, 0, 0], bool)
    block = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    assert fill_from_neighbours(values, good, block).tolist() == [2.0, 2.0, 2.0, 2.0, 5.0, 5.0, 6.0, 7.0]
    assert fill_from_neighbours(values, ~good & good, block).tolist() == values.tolist()
