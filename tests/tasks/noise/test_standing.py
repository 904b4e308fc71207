"""Where values stand in a column, against a comparison of every one with every other."""

import numpy as np
import pytest

from tasks.noise._groups import Standing


@pytest.mark.parametrize("kinds", [1, 3, 40, 10**12])
def test_cells_with_one_value_are_those_a_comparison_finds(kinds):
    rng = np.random.default_rng(kinds)
    column, values = rng.integers(-kinds, kinds, 30), rng.integers(-kinds, kinds, 20)
    column[:3], values[:2] = values[5], column[9]
    wanted = values[:, None] == column
    cells = np.zeros((20, 30), dtype=int)
    np.add.at(cells, Standing(column).cells(values), 1)
    np.testing.assert_array_equal(cells, wanted)
    block = rng.random((20, 30)).astype(np.float32)
    filled = block.copy()
    Standing(column).fill(filled, values, -np.inf)
    np.testing.assert_array_equal(filled, np.where(wanted, -np.inf, block))


def test_an_empty_column_or_nothing_asked_finds_nothing():
    none = np.empty(0, np.int64)
    assert [len(side) for side in Standing(none).cells(np.array([1, 2]))] == [0, 0]
    assert [len(side) for side in Standing(np.array([1, 2])).cells(none)] == [0, 0]
