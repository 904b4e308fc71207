"""Composed query vectors, against the formulas entry by entry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from tasks.retrieval.compose import less, replaced, summed


def some(seed, count=3, dim=6):
    return list(np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32) * 3)


def unit_by_loops(entries):
    length = sum(float(x) ** 2 for x in entries) ** 0.5
    return [float(x) / length for x in entries]


@given(st.integers(0, 1000), st.floats(0.1, 3))
@settings(max_examples=30, deadline=None)
def test_each_equals_its_formula(seed, weight):
    a, b, c = (unit_by_loops(one) for one in some(seed))
    x, y, z = some(seed)
    for found, expected in (
        (
            summed([x, y, z], [1, weight, 2]),
            [i + weight * j + 2 * k for i, j, k in zip(a, b, c, strict=True)],
        ),
        (less(x, [y, z], weight), [i - weight * (j + k) / 2 for i, j, k in zip(a, b, c, strict=True)]),
        (replaced(x, y, z, weight), [i + weight * (k - j) for i, j, k in zip(a, b, c, strict=True)]),
    ):
        np.testing.assert_allclose(found, unit_by_loops(expected), atol=1e-5)
        assert found.dtype == np.float32
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


def test_one_wish_is_itself_however_long():
    x = some(0)[0]
    np.testing.assert_allclose(summed([x]), x / np.linalg.norm(x), atol=1e-6)
    np.testing.assert_allclose(summed([x, 50 * x]), x / np.linalg.norm(x), atol=1e-6)
    np.testing.assert_allclose(less(x, []), x / np.linalg.norm(x), atol=1e-6)
    np.testing.assert_allclose(less(x, [some(1)[0]], 0), x / np.linalg.norm(x), atol=1e-6)


def test_a_wish_of_weight_0_does_not_count():
    x, y, _ = some(0)
    np.testing.assert_array_equal(summed([x, y], [1, 0]), summed([x]))


def test_replacing_a_word_by_itself_changes_nothing():
    x, y, _ = some(0)
    np.testing.assert_allclose(replaced(x, y, y), summed([x]), atol=1e-6)


def test_a_replaced_word_moves_from_the_old_to_the_new():
    x, old, new = some(3)
    before, after = summed([x]), replaced(x, old, new)
    assert after @ new / np.linalg.norm(new) > before @ new / np.linalg.norm(new)
    assert after @ old / np.linalg.norm(old) < before @ old / np.linalg.norm(old)


def test_how_far_texts_lie_from_media_does_not_matter_to_a_replacement():
    rng = np.random.default_rng(0)
    side = 5 * np.eye(8)[7]  # all texts lie this way
    old, new = (
        one / np.linalg.norm(one) for one in np.concatenate([rng.normal(size=(2, 7)), [[0], [0]]], axis=1)
    )
    far = [(one + side) / np.linalg.norm(one + side) for one in (old, new)]
    x = np.eye(8)[0]
    assert abs(replaced(x, *far, weight=3)[7]) < 1e-6
    assert summed([x, far[1]])[7] > 0.5


@pytest.mark.parametrize(
    "compose", [lambda x: summed([x, x]), lambda x: less(x, [x]), lambda x: replaced(x, x, x)]
)
def test_refuses_vectors_that_say_nothing(compose):
    for x in (np.full(3, np.nan), np.zeros(3), np.ones((2, 3))):
        with pytest.raises(DataError, match="of the query"):
            compose(x.astype(np.float32))


def test_refuses_wishes_that_cancel_out_or_do_not_fit():
    x = np.ones(3, np.float32)
    with pytest.raises(DataError, match="cancel each other out"):
        less(x, [x], 1.0)
    with pytest.raises(DataError, match="cancel each other out"):
        summed([x, -x])
    with pytest.raises(DataError, match=r"widths \[2, 3\]"):
        summed([x, np.ones(2, np.float32)])
    with pytest.raises(ValueError, match="nothing to compose"):
        summed([])
    for weights in ([1], [1, -1], [1, np.nan]):
        with pytest.raises(ValueError, match="as many weights"):
            summed([x, x], weights)
    for weight in (-1, np.inf, np.nan):
        with pytest.raises(ValueError, match="weight must be finite"):
            less(x, [x], weight)
        with pytest.raises(ValueError, match="weight must be finite"):
            replaced(x, x, x, weight)
