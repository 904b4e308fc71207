"""Pushed vectors, against the formula in loops."""

import numpy as np
import pytest

from tasks.diagnostics.degeneration import Degeneration
from tasks.similarities import _bank
from tasks.similarities.inverse_convolution import InverseConvolution
from tests.tasks.similarities.conftest import unit


def pushed(gallery, bank, rate, local, own):
    """Convolution with the sign turned, item by item, member by member."""
    similarity = gallery.astype(np.float64) @ bank.T.astype(np.float64)
    out = np.empty(gallery.shape)
    for i, item in enumerate(gallery.astype(np.float64)):
        members = list(range(len(bank)))
        if local is not None:
            if own:
                members.remove(i)
            members = sorted(members, key=lambda b: -similarity[i, b])[: max(1, int(local * len(bank)))]
        total = np.zeros(len(item))
        for b in members:
            total += (similarity[i, b] - (0 if local is not None else similarity.mean())) * bank[b]
        moved = item - rate / len(members) * total
        out[i] = moved / np.linalg.norm(moved)
    return out


@pytest.mark.parametrize("local", [None, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("entries", [1, 1 << 22])
def test_is_the_half_sum_of_both_pushes(local, own, entries, space, monkeypatch):
    monkeypatch.setattr(_bank, "ENTRIES", entries)
    gallery, queries, bank = space
    bank = gallery if own else bank
    method = InverseConvolution(rate_gallery=2.0, rate_queries=0.7, local=local)
    found = method.fit(gallery, queries, None if own else bank).gallery(gallery)
    both = pushed(gallery, bank, 2.0, local, own) + pushed(gallery, queries, 0.7, local, False)
    np.testing.assert_allclose(found, both / np.linalg.norm(both, axis=1, keepdims=True), atol=2e-5)


@pytest.mark.parametrize("local", [None, 0.2])
def test_a_rate_of_0_leaves_vectors_where_they_are(local, space):
    fitted = InverseConvolution(rate_gallery=0.0, rate_queries=0.0, local=local).fit(*space)
    np.testing.assert_allclose(fitted.gallery(space[0]), space[0], atol=1e-7)


def test_scores_are_the_cosines_with_moved_vectors(space):
    fitted = InverseConvolution().fit(*space)
    similarity = np.array([[0.3, 0.1]], np.float32)
    np.testing.assert_array_equal(fitted(similarity, np.array([[1, 0]])), similarity)


def test_a_narrow_cone_opens_where_neighbours_push():
    # A whole bank need not open it: weights less their mean are as often negative, and draw items in.
    rng = np.random.default_rng(0)
    common = rng.normal(size=32)
    cone = unit(1.5 * common + rng.normal(size=(200, 32)))
    queries = unit(common + rng.normal(size=(150, 32)))
    before = Degeneration()(cone, queries)["media"]
    found = []
    for rate in (0.1, 0.3, 1.0):
        method = InverseConvolution(rate_gallery=rate, rate_queries=rate, local=0.05)
        moved = method.fit(cone, queries).gallery(cone)
        found.append(Degeneration()(moved, queries)["media"])
    assert before > found[0] > found[1] > found[2]
    assert found[2] < before - 0.2


def test_an_item_that_is_pushed_to_nothing_keeps_its_vector():
    one = np.eye(3, dtype=np.float32)[:1]
    fitted = InverseConvolution(rate_gallery=1.0, rate_queries=1.0, local=1.0).fit(one, one, one)
    np.testing.assert_array_equal(fitted.gallery(one), one)


def test_a_whole_bank_is_kept_as_a_matrix_whatever_its_size(space):
    gallery, queries, bank = space
    state = InverseConvolution().fit(gallery, np.repeat(queries, 50, axis=0), bank).state()
    assert max(array.size for array in state.values()) == 12 * 12


def test_refuses_parameters_out_of_range():
    for wrong in ({"rate_gallery": -1.0}, {"rate_queries": float("nan")}, {"rate_queries": float("inf")}):
        with pytest.raises(ValueError, match="rates"):
            InverseConvolution(**wrong)
    for share in (0.0, 1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match="local"):
            InverseConvolution(local=share)
