"""Mean Rank Variance, against numpy target by target."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from tasks.metrics import NOWHERE, rank_spread


@given(st.lists(st.tuples(st.integers(1, 2000), st.integers(-3, 5)), min_size=2, max_size=60))
@settings(max_examples=50, deadline=None)
def test_is_numpys_spread_of_each_targets_ranks(rows):
    rank, target = np.array(rows, dtype=np.int64).T
    ranks_of = {t: rank[target == t] for t in sorted(set(target.tolist()))}
    several = {t: ranks for t, ranks in ranks_of.items() if len(ranks) > 1}
    if not several:
        with pytest.raises(DataError, match="nothing to compare"):
            rank_spread(rank, target)
        return
    found = rank_spread(rank, target)
    assert found.target.tolist() == list(several)
    assert found.single == len(ranks_of) - len(several)
    np.testing.assert_allclose(found.variance, [np.var(r) for r in several.values()], atol=1e-8)
    assert found.rank_std == pytest.approx(np.mean([np.std(r) for r in several.values()]))
    assert found.rank_var == pytest.approx(np.mean([np.var(r) for r in several.values()]))


def test_is_0_where_all_languages_give_one_rank():
    found = rank_spread(np.array([7, 7, 7, 2, 2]), np.array([0, 0, 0, 1, 1]))
    assert (found.rank_var, found.rank_std) == (0, 0)


def test_the_two_forms_by_hand():
    # Ranks 1 and 5 of one target, 2 and 2 of another: variances 4 and 0, deviations 2 and 0.
    found = rank_spread(np.array([1, 2, 5, 2]), np.array([4, 9, 4, 9]))
    assert (found.rank_var, found.rank_std) == (2.0, 1.0)


def test_ranks_from_0_spread_as_ranks_from_1():
    rank, target = np.array([3, 8, 1, 1]), np.array([0, 0, 1, 1])
    np.testing.assert_array_equal(rank_spread(rank, target).variance, rank_spread(rank - 1, target).variance)


def test_refuses_what_was_not_found_and_shapes_that_differ():
    with pytest.raises(DataError, match="query 1 did not find"):
        rank_spread(np.array([1, NOWHERE]), np.array([0, 0]))
    with pytest.raises(ValueError, match="both must be"):
        rank_spread(np.array([1, 2]), np.array([0]))
