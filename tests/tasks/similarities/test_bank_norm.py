"""Inverted softmax over banks, against the formula in loops."""

import itertools

import numpy as np
import pytest

from tasks.similarities import _bank
from tasks.similarities.bank_norm import BankNorm
from tests.tasks.similarities.conftest import as_candidates


def by_loops(similarity, in_queries, in_gallery, method, own):
    """The paper's products of exponentials, query by query, item by item."""

    def active(bank, own_bank):
        got = set()
        for number, row in enumerate(bank):
            others = [j for j in range(len(row)) if not (own_bank and j == number)]
            got |= set(sorted(others, key=lambda j: -row[j])[: method.activated_by])
        return got

    out = np.empty(similarity.shape)
    for i, row in enumerate(similarity):
        best = int(np.argmax(row))
        for j, s in enumerate(row):
            score = 1.0
            for side, bank, beta, own_bank in (
                ("queries", in_queries, method.beta_queries, False),
                ("gallery", in_gallery, method.beta_gallery, own),
            ):
                if method.banks not in (side, "both"):
                    continue
                rows = [q for q in range(len(bank)) if not (own_bank and q == j)]
                total = sum(np.exp(beta * float(bank[q][j])) for q in rows) / len(rows)
                if method.dynamic and best not in active(bank, own_bank):
                    total = 1.0
                score *= np.exp(beta * float(s)) / total
            out[i, j] = score
    return out


@pytest.mark.parametrize(
    ("banks", "dynamic", "own"),
    list(itertools.product(["queries", "gallery", "both"], [False, True], [False, True])),
)
def test_is_the_product_of_exponentials_over_their_sums(banks, dynamic, own, space):
    gallery, queries, bank = space
    bank = gallery if own else bank
    method = BankNorm(banks=banks, beta_queries=7.0, beta_gallery=3.0, dynamic=dynamic, activated_by=2)
    fitted = method.fit(gallery, queries[:12], None if own else bank)
    similarity, rows = as_candidates(queries[12:], gallery)
    expected = by_loops(similarity, queries[:12] @ gallery.T, bank @ gallery.T, method, own)
    beta = {"queries": 7.0, "gallery": 3.0, "both": 10.0}[banks]
    np.testing.assert_allclose(np.exp(beta * fitted(similarity, rows)), expected, rtol=2e-4)


def test_some_queries_are_dynamic_and_some_are_not(space):
    gallery, queries, _ = space
    fitted = BankNorm(dynamic=True).fit(gallery, queries[:6])
    similarity, rows = as_candidates(queries[6:], gallery)
    touched = (fitted(similarity, rows) != similarity).any(axis=1)
    assert touched.any()
    assert not touched.all()
    np.testing.assert_array_equal(touched, fitted.active_queries[similarity.argmax(axis=1)])


def test_of_equal_best_candidates_the_smallest_row_decides(space):
    fitted = BankNorm(dynamic=True).fit(space[0], space[1])
    on, off = int(np.flatnonzero(fitted.active_queries)[0]), int(np.flatnonzero(~fitted.active_queries)[0])
    similarity = np.full((2, 2), 0.5, np.float32)
    touched = fitted(similarity, np.array([[on, off], [off, on]])) != similarity
    assert touched.any(axis=1).tolist() == [on < off, on < off]


@pytest.mark.parametrize("beta", [1e-3, 1.0, 20.0, 100.0, 1000.0])
def test_what_is_taken_off_lies_between_mean_and_maximum_of_the_bank(beta, space):
    gallery, queries, _ = space
    in_bank = (queries @ gallery.T).astype(np.float64)
    lowered = BankNorm(beta_queries=beta).fit(gallery, queries).by_queries
    assert (lowered >= in_bank.mean(axis=0) - 1e-5).all()
    assert (lowered <= in_bank.max(axis=0) + 1e-6).all()


def test_a_beta_near_0_takes_off_the_bank_s_mean_and_a_large_one_its_maximum(space):
    # exp(b s) / sum exp(b s_q) is 1 / B at b = 0, and its slope there is s less the mean: not the raw order.
    gallery, queries, _ = space
    in_bank = queries @ gallery.T
    np.testing.assert_allclose(
        BankNorm(beta_queries=1e-3).fit(gallery, queries).by_queries, in_bank.mean(axis=0), atol=1e-3
    )
    np.testing.assert_allclose(
        BankNorm(beta_queries=1000.0).fit(gallery, queries).by_queries, in_bank.max(axis=0), atol=5e-3
    )


def test_with_a_bank_that_sees_all_items_alike_the_order_is_the_raw_one():
    gallery = np.eye(6, dtype=np.float32)
    even = np.full((3, 6), 6**-0.5, np.float32)
    query = np.array([[0.1, 0.9, 0.3, 0.2, 0.2, 0.05]], np.float32)
    query /= np.linalg.norm(query)
    similarity, rows = as_candidates(query, gallery)
    for beta in (1.0, 20.0, 100.0):
        found = BankNorm(beta_queries=beta).fit(gallery, even)(similarity, rows)
        np.testing.assert_allclose(found, similarity - np.float32(6**-0.5), atol=1e-5)


def test_a_beta_near_0_takes_a_bank_out_of_both(space):
    gallery, queries, bank = space
    similarity, rows = as_candidates(queries, gallery)
    both = BankNorm(banks="both", beta_queries=20.0, beta_gallery=1e-4).fit(gallery, queries, bank)
    alone = BankNorm(beta_queries=20.0).fit(gallery, queries, bank)
    np.testing.assert_allclose(both(similarity, rows), alone(similarity, rows), atol=1e-4)


def test_an_item_is_no_evidence_about_itself(space):
    gallery, queries, _ = space
    others = [np.delete(gallery, j, axis=0) @ gallery[j] for j in range(len(gallery))]
    expected = [np.log(np.exp(5.0 * row.astype(np.float64)).mean()) / 5.0 for row in others]
    found = BankNorm(banks="gallery", beta_gallery=5.0).fit(gallery, queries)
    np.testing.assert_allclose(found.by_gallery, expected, rtol=1e-5)


def test_hubs_lose_and_retrieval_gains(hubby):
    gallery, bank, asked = hubby
    similarity, rows = as_candidates(asked, gallery)
    adjusted = BankNorm(beta_queries=10.0).fit(gallery, bank)(similarity, rows)
    own = np.arange(300)
    before, after = (similarity.argmax(axis=1) == own).mean(), (adjusted.argmax(axis=1) == own).mean()
    assert after > 1.2 * before
    hubs_before, hubs_after = ((s.argmax(axis=1) < 5).mean() for s in (similarity, adjusted))
    assert hubs_after < hubs_before / 3


@pytest.mark.parametrize("entries", [1, 100, 10_000])
@pytest.mark.parametrize("own", [True, False])
def test_blocks_change_nothing_but_the_last_bits(entries, own, space, monkeypatch):
    gallery, queries, bank = space
    method = BankNorm(banks="both", dynamic=True)
    whole = method.fit(gallery, queries, None if own else bank).state()
    monkeypatch.setattr(_bank, "ENTRIES", entries)
    for name, array in method.fit(gallery, queries, None if own else bank).state().items():
        np.testing.assert_allclose(array, whole[name], atol=1e-6)


def test_refuses_parameters_out_of_range():
    with pytest.raises(ValueError, match="banks"):
        BankNorm(banks="neither")
    for beta in (0, -1, 1001, float("nan")):
        with pytest.raises(ValueError, match="betas"):
            BankNorm(beta_queries=beta)
        with pytest.raises(ValueError, match="betas"):
            BankNorm(beta_gallery=beta)
    with pytest.raises(ValueError, match="activated_by"):
        BankNorm(activated_by=0)
