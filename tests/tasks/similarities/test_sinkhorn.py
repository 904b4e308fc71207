"""Potentials of an even matching, against plain iterations and POT."""

import numpy as np
import ot
import pytest

from tasks.similarities import _bank
from tasks.similarities.bank_norm import BankNorm
from tasks.similarities.sinkhorn import Sinkhorn
from tests.tasks.similarities.conftest import as_candidates


def by_loops(in_bank, beta, iterations):
    """UCoFiA's scaling, entry by entry; the logarithm of the items' scale."""
    kernel = np.exp(beta * (in_bank - in_bank.max()))
    queries, items = kernel.shape
    b = [1 / sum(kernel[i][j] for i in range(queries)) for j in range(items)]
    for _ in range(iterations):
        a = [1 / sum(kernel[i][j] * b[j] for j in range(items)) for i in range(queries)]
        b = [1 / sum(kernel[i][j] * a[i] for i in range(queries)) for j in range(items)]
    return np.log(b)


@pytest.mark.parametrize("iterations", [0, 1, 4])
@pytest.mark.parametrize("entries", [1, 130, 1 << 22])
def test_adds_the_logarithm_of_the_scale_of_items(iterations, entries, space, monkeypatch):
    monkeypatch.setattr(_bank, "ENTRIES", entries)
    gallery, queries, _ = space
    found = Sinkhorn(beta=12.0, iterations=iterations).fit(gallery, queries)
    scale = by_loops((queries @ gallery.T).astype(np.float64), 12.0, iterations)
    similarity, rows = as_candidates(queries, gallery)
    expected = similarity + (scale - scale.mean()) / 12.0
    np.testing.assert_allclose(found(similarity, rows), expected, atol=2e-5)


@pytest.mark.parametrize("iterations", [4, 300])
def test_are_the_potentials_of_pot(iterations, space):
    gallery, queries, _ = space
    in_bank = (queries @ gallery.T).astype(np.float64)
    even = [np.full(n, 1 / n) for n in in_bank.shape]
    # POT begins with columns, as we do before the first iteration: one more of its own.
    *_, log = ot.sinkhorn(
        *even, -in_bank, 1 / 15.0, numItermax=iterations + 1, stopThr=0, log=True, warn=False
    )
    potential = np.log(log["v"]) / 15.0
    found = Sinkhorn(beta=15.0, iterations=iterations).fit(gallery, queries)
    np.testing.assert_allclose(-found.lowered, potential - potential.mean(), atol=2e-6)


def test_converged_each_item_gets_an_even_share_of_the_bank(space):
    gallery, queries, _ = space
    fitted = Sinkhorn(beta=5.0, iterations=500).fit(gallery, queries)
    similarity, rows = as_candidates(queries, gallery)
    logits = 5.0 * fitted(similarity, rows).astype(np.float64)
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(share.sum(axis=0), len(queries) / len(gallery), rtol=1e-3)


def test_without_iterations_it_is_the_inverted_softmax(space):
    gallery, queries, _ = space
    lowered = BankNorm(beta_queries=30.0).fit(gallery, queries).by_queries
    found = Sinkhorn(beta=30.0, iterations=0).fit(gallery, queries).lowered
    np.testing.assert_allclose(found, lowered - lowered.mean(), atol=1e-6)


@pytest.mark.parametrize("beta", [1.0, 100.0, 1000.0])
def test_large_betas_stay_finite(beta, space):
    assert np.isfinite(Sinkhorn(beta=beta, iterations=20).fit(*space).lowered).all()


def test_refuses_parameters_out_of_range():
    for wrong in ({"beta": 0}, {"beta": 2000.0}, {"beta": float("nan")}, {"iterations": -1}):
        with pytest.raises(ValueError, match="beta must be"):
            Sinkhorn(**wrong)
