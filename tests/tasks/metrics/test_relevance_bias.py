"""Bias between human and generated texts: ranks by a naive loop, differences by hand, controls by construction."""

import numpy as np
import pytest

from schemas.errors import DataError
from tasks.metrics.relevance_bias import bias, consistency, direction, pool_ranks, project_out, relative_delta


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def made(n, shift, seed=0, noise=0.6):
    """Media, human texts and generated ones that lie nearer to all media by `shift` along one direction."""
    rng = np.random.default_rng(seed)
    media = rng.normal(size=(n, 16))
    media[:, 0] = 3
    human, generated = (media + noise * rng.normal(size=media.shape) for _ in range(2))
    human[:, 0], generated[:, 0] = 1.0, 1.0 + shift
    return unit(media), unit(human), unit(generated)


def test_relative_difference_by_hand():
    assert relative_delta(0.6, 0.3) == pytest.approx(200 * 0.3 / 0.9)
    assert relative_delta(0.3, 0.6) == -relative_delta(0.6, 0.3)
    assert relative_delta(0.0, 0.0) == 0.0
    assert relative_delta(1.0, 0.0) == 200.0


def test_ranks_are_those_of_a_naive_loop():
    media, human, generated = made(30, 0.3)
    pool = np.concatenate([human, generated])
    for row in range(30):
        similarity = [float(media[row] @ one) for one in pool]
        order = sorted(range(60), key=lambda place: -similarity[place])
        expected = [order.index(row) + 1, order.index(30 + row) + 1]
        np.testing.assert_array_equal(pool_ranks(media, human, generated)[row], expected)


def test_six_texts_by_hand():
    """Ranks (1, 2), (3, 1), (2, 6): R@1 1/3 and 1/3; R@3 1 and 2/3; gain at 3 from 1, 1/2 and log2(3)."""
    ranks = np.array([[1, 2], [3, 1], [2, 6]])
    found = bias(ranks, draws=50)
    assert found.delta["R@1"] == 0
    assert found.delta["R@3"] == pytest.approx(200 * (1 - 2 / 3) / (1 + 2 / 3))
    human = (1 + 1 / 2 + 1 / np.log2(3)) / 3
    generated = (1 / np.log2(3) + 1) / 3
    assert found.delta["NDCG@3"] == pytest.approx(200 * (human - generated) / (human + generated))
    assert found.found == {"R@1": pytest.approx(200 / 3), "R@3": 100.0, "R@5": 100.0}


def test_the_sign_turns_with_the_sources():
    media, human, generated = made(60, 0.5)
    one, other = (
        bias(pool_ranks(media, a, b), draws=50) for a, b in ((human, generated), (generated, human))
    )
    for name, value in one.delta.items():
        assert other.delta[name] == pytest.approx(-value)


def test_equal_texts_show_no_bias_and_share_their_rank():
    media, human, _ = made(40, 0)
    ranks = pool_ranks(media, human, human)
    assert (ranks[:, 0] == ranks[:, 1]).all()
    assert set(bias(ranks, draws=50).delta.values()) == {0.0}


def test_a_shift_is_found_outside_the_control_and_projecting_it_out_mends_it():
    fit, test = made(300, 1.2, seed=1), made(300, 1.2, seed=2)
    before = bias(pool_ranks(*test), draws=300)
    assert before.interval["R@1"][1] < before.control["R@1"][0] < 0
    away = direction(*fit[1:])
    mended = tuple(project_out(part, [away]) for part in test)
    after = bias(pool_ranks(*mended), draws=300)
    assert abs(after.delta["R@1"]) < abs(before.delta["R@1"]) / 3
    assert consistency(*test[1:]).cosine > consistency(*test[1:]).null[1]


def test_without_a_shift_nothing_is_consistent():
    _, human, generated = made(300, 0.0, seed=3)
    found = consistency(human, generated)
    assert found.null[0] <= found.cosine <= found.null[1]


def test_mean_cosine_is_that_of_a_double_loop():
    _, human, generated = made(12, 0.4)
    rows = unit(generated.astype(np.float64) - human).astype(np.float64)
    pairs = [rows[i] @ rows[j] for i in range(12) for j in range(12) if i != j]
    assert consistency(human, generated).cosine == pytest.approx(np.mean(pairs), abs=1e-6)


def test_projected_vectors_are_unit_and_orthogonal():
    media, human, generated = made(20, 0.5)
    away = direction(human, generated)
    left = project_out(media, [away])
    np.testing.assert_allclose(np.linalg.norm(left, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(left @ away, 0, atol=1e-6)


def test_bad_input_is_named():
    media, human, generated = made(5, 0)
    with pytest.raises(DataError, match="at least 2"):
        pool_ranks(media[:1], human[:1], generated[:1])
    with pytest.raises(ValueError, match="alike"):
        pool_ranks(media, human[:4], generated)
    human[3, 0] = np.nan
    with pytest.raises(DataError, match="human vector 3"):
        pool_ranks(media, human, generated)
