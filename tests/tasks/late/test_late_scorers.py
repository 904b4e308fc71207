"""Late scorers against loops over tokens, and against one another where they must agree."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.late import FILIP, MaxSim, SoftMaxSim, Tokens


def cosine(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def max_sim(query, item):
    return sum(max(cosine(asked, told) for told in item) for asked in query)


def soft(asking, answering, temperature):
    """Mean over one side's tokens of the softmax-weighted cosine with the other's."""
    total = 0.0
    for one in asking:
        near = [cosine(one, other) for other in answering]
        shares = [math.exp((value - max(near)) / temperature) for value in near]
        total += sum(s * v for s, v in zip(shares, near, strict=True)) / sum(shares)
    return total / len(asking)


@st.composite
def compared(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dim, lengths = draw(st.integers(1, 4)), draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))

    def tokens(count):
        vectors = rng.normal(size=(count, dim))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    return tokens(draw(st.integers(1, 4))), [tokens(length) for length in lengths]


@settings(max_examples=40, deadline=None)
@given(compared())
def test_max_sim_is_the_sum_of_best_matches(drawn):
    query, items = drawn
    expected = [max_sim(query, item) for item in items]
    np.testing.assert_allclose(MaxSim()(query, Tokens.of(items)), expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(compared())
def test_filip_is_the_mean_of_best_matches_of_either_side(drawn):
    query, items = drawn
    of_query = np.array([max_sim(query, item) / len(query) for item in items])
    of_item = np.array([max_sim(item, query) / len(item) for item in items])
    tokens = Tokens.of(items)
    np.testing.assert_allclose(FILIP(direction="query")(query, tokens), of_query, atol=1e-6)
    np.testing.assert_allclose(FILIP(direction="item")(query, tokens), of_item, atol=1e-6)
    np.testing.assert_allclose(FILIP(direction="both")(query, tokens), (of_query + of_item) / 2, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(compared(), st.floats(0.01, 5), st.floats(0, 1))
def test_soft_max_sim_weighs_matches_by_their_softmax(drawn, temperature, balance):
    query, items = drawn
    expected = [
        balance * soft(query, item, temperature) + (1 - balance) * soft(item, query, temperature)
        for item in items
    ]
    found = SoftMaxSim(temperature=temperature, balance=balance)(query, Tokens.of(items))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(compared())
def test_a_cold_softmax_leaves_the_best_match(drawn):
    query, items = drawn
    tokens = Tokens.of(items)
    cold = SoftMaxSim(temperature=1e-6, balance=1.0)(query, tokens)
    np.testing.assert_allclose(cold * len(query), MaxSim()(query, tokens), atol=1e-4)
    both = SoftMaxSim(temperature=1e-6, balance=0.5)(query, tokens)
    np.testing.assert_allclose(both, FILIP(direction="both")(query, tokens), atol=1e-4)


def test_a_hot_softmax_leaves_the_mean():
    rng = np.random.default_rng(0)
    query, item = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    hot = SoftMaxSim(temperature=1e6)(query, Tokens.of([item]))
    np.testing.assert_allclose(hot, (item @ query.T).mean(), rtol=1e-4)


def test_by_hand():
    query = np.float32([[1, 0], [0, 1]])
    tokens = Tokens.of([np.float32([[1, 0], [0.6, 0.8], [-1, 0]])])
    assert MaxSim()(query, tokens)[0] == pytest.approx(1 + 0.8)
    assert FILIP(direction="query")(query, tokens)[0] == pytest.approx(0.9)
    assert FILIP(direction="item")(query, tokens)[0] == pytest.approx((1 + 0.8 + 0) / 3)


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"balance": -0.1}, {"balance": 1.1}])
def test_soft_max_sim_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        SoftMaxSim(**wrong)


def test_filip_refuses_another_direction():
    with pytest.raises(ValueError, match="direction"):
        FILIP(direction="text")
