"""Geometry scores: against a naive double loop, and who may be a neighbour."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from schemas.batch import PairBatch
from tasks.noise import Geometry


def similarities_by_loops(vectors, chosen):
    """(N, R) cosines of standardised vectors, the statistics being those of the chosen rows."""
    x = vectors.astype(float)
    mean, variance = x[chosen].mean(axis=0), x[chosen].var(axis=0)
    x = (x - mean) / np.sqrt(variance + 0.01 * variance.mean())
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.array([[float(a @ b) for b in x[chosen]] for a in x])


def agreement_by_loops(pairs, chosen, relation, k, weight):
    media, text = (similarities_by_loops(v, chosen) for v in (pairs.media_vec, pairs.text_vec))
    keys = [np.arange(len(pairs))]
    keys += [c for c in (pairs.group, pairs.media_key, pairs.text_key) if c is not None]
    found = []
    for i in range(len(pairs)):
        others = [r for r, j in enumerate(chosen) if all(key[i] != key[j] for key in keys)]
        m, t, w = media[i, others], text[i, others], weight[others]
        if relation == "rows":
            a, b = np.where(m > 0, m, 0) ** 2, np.where(t > 0, t, 0) ** 2
            found.append((w * a * b).sum() / np.sqrt((w * a * a).sum() * (w * b * b).sum()))
        else:
            by_media = sorted(range(len(others)), key=lambda r: -m[r])[:k]
            by_text = sorted(range(len(others)), key=lambda r: -t[r])[:k]
            found.append(
                (w[by_media] * t[by_media]).sum() / w[by_media].sum()
                + (w[by_text] * m[by_text]).sum() / w[by_text].sum()
            )
    return np.array(found)


def scores_by_loops(pairs, chosen, relation, rounds, k):
    weight = np.ones(len(chosen))
    for _ in range(rounds - 1):
        weight = rankdata(agreement_by_loops(pairs, chosen, relation, k, weight)[chosen]) / len(chosen)
    found = agreement_by_loops(pairs, chosen, relation, k, weight)
    return 1 / (1 + np.exp(-(found - found.mean()) / found.std()))


@pytest.mark.parametrize("relation", ["rows", "nearest"])
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_agrees_with_a_double_loop(relation, rounds, make_noisy_pairs):
    pairs, _ = make_noisy_pairs(70, rate=0.3, seed=1, dim=10)
    pairs = replace(
        pairs, group=np.arange(70) // 2, text_key=np.arange(70) % 23, media_key=np.arange(70) % 31
    )
    expected = scores_by_loops(pairs, np.arange(70), relation, rounds, 7)
    found = Geometry(relation=relation, rounds=rounds, k=7)(pairs)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("k", [60, 500])
def test_a_pair_is_never_its_own_neighbour_though_k_reaches_all_others(k, make_noisy_pairs):
    pairs, _ = make_noisy_pairs(50, rate=0.3, seed=1, dim=10)
    pairs = replace(pairs, group=np.arange(50) // 5)
    expected = scores_by_loops(pairs, np.arange(50), "nearest", 2, k)
    np.testing.assert_allclose(Geometry(relation="nearest", k=k)(pairs), expected, atol=2e-4)


@pytest.mark.parametrize("relation", ["rows", "nearest"])
def test_agrees_with_a_loop_over_a_sample_of_candidates(relation, make_noisy_pairs):
    pairs, _ = make_noisy_pairs(70, rate=0.3, seed=1, dim=10)
    chosen = np.sort(np.random.default_rng(4).choice(70, 40, replace=False))
    expected = scores_by_loops(pairs, chosen, relation, 2, 7)
    found = Geometry(relation=relation, k=7, candidates=40, seed=4)(pairs)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("relation", ["rows", "nearest"])
def test_the_size_of_a_block_does_not_matter(relation, make_noisy_pairs, monkeypatch):
    pairs, _ = make_noisy_pairs(300, rate=0.3, seed=2)
    pairs = replace(pairs, group=np.arange(300) // 3)
    whole = Geometry(relation=relation)(pairs)
    monkeypatch.setattr("tasks.noise.geometry._CHUNK", 7)
    monkeypatch.setattr("tasks.noise.geometry._STANDARDISED", 7)
    np.testing.assert_allclose(Geometry(relation=relation)(pairs), whole, atol=1e-5)


@pytest.mark.parametrize("key", ["group", "media_key", "text_key"])
@pytest.mark.parametrize("relation", ["rows", "nearest"])
def test_pairs_that_share_a_medium_a_text_or_a_group_are_no_neighbours(key, relation, make_noisy_pairs):
    pairs, _ = make_noisy_pairs(60, rate=0.3, seed=3)
    # The wrong text under both copies of a medium: each would vouch for the other.
    media, text = pairs.media_vec.copy(), pairs.text_vec.copy()
    media[1], text[0], text[1] = media[0], text[30], text[30]
    shared = np.arange(60)
    shared[1] = 0
    twins = PairBatch(media, text)
    vouched = Geometry(relation=relation, k=3)(twins)
    parted = Geometry(relation=relation, k=3)(replace(twins, **{key: shared}))
    assert (parted[:2] < vouched[:2] - 0.1).all()


def test_knows_no_direction_that_all_vectors_share(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(400, rate=0.4, seed=5)
    shifted = pairs.media_vec + 3 * np.eye(48, dtype=np.float32)[0]
    shifted /= np.linalg.norm(shifted, axis=1, keepdims=True)
    assert roc_auc_score(clean, Geometry()(replace(pairs, media_vec=shifted))) > 0.9


def test_a_second_round_helps_where_most_pairs_are_wrong(make_topic_pairs):
    gains = []
    for seed in range(3):
        pairs, clean = make_topic_pairs(500, rate=0.6, seed=seed)
        once, twice = (roc_auc_score(clean, Geometry(rounds=rounds)(pairs)) for rounds in (1, 2))
        gains.append(twice - once)
    assert min(gains) > 0


def test_a_sample_of_candidates_orders_nearly_alike(make_noisy_pairs):
    pairs, clean = make_noisy_pairs(900, rate=0.3, seed=4)
    some, every = (roc_auc_score(clean, Geometry(candidates=c)(pairs)) for c in (300, 8192))
    assert some > every - 0.03


def test_a_pair_without_neighbours_cannot_be_told(make_noisy_pairs):
    pairs, _ = make_noisy_pairs(40, rate=0.2, seed=0)
    group = np.r_[np.zeros(40, np.int64)]
    for relation in ("rows", "nearest"):
        np.testing.assert_array_equal(Geometry(relation=relation)(replace(pairs, group=group)), 0.5)


@pytest.mark.parametrize(
    "wrong", [{"relation": "both"}, {"rounds": 0}, {"rounds": 6}, {"k": 0}, {"candidates": 1}]
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Geometry(**wrong)
