"""The score that chooses an epoch, against loops over all pairs."""

from dataclasses import dataclass

import numpy as np
import pytest

from schemas.batch import PairBatch
from tasks.training import _trusted
from tasks.training._trusted import margin, recall


@dataclass(frozen=True)
class AsTheyAre:
    """Towers that leave vectors alone."""

    def media(self, vectors):
        return vectors

    def text(self, vectors):
        return vectors


def by_loops(pairs):
    """(recall@1, margin) by their definitions."""
    similarity = pairs.media_vec.astype(float) @ pairs.text_vec.T.astype(float)
    hits, leads = [], []
    for one_way in (similarity, similarity.T):
        for i, row in enumerate(one_way):
            right = [row[j] for j in range(len(row)) if pairs.group[j] == pairs.group[i]]
            wrong = [row[j] for j in range(len(row)) if pairs.group[j] != pairs.group[i]]
            hits.append(not wrong or max(right) > max(wrong))
            leads.append(max(right) - max(wrong) if wrong else 0)
    return np.mean(hits), np.mean(leads)


@pytest.mark.parametrize("chunk", [1024, 7])
def test_agrees_with_a_loop(chunk, monkeypatch):
    monkeypatch.setattr(_trusted, "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    media = rng.normal(size=(30, 5)).astype(np.float32)
    text = (media + 0.7 * rng.normal(size=(30, 5))).astype(np.float32)
    pairs = PairBatch(media, text, group=rng.integers(0, 22, 30))
    expected_recall, expected_margin = by_loops(pairs)
    assert 0.1 < expected_recall < 0.9
    assert recall(AsTheyAre(), pairs) == pytest.approx(expected_recall)
    assert margin(AsTheyAre(), pairs) == pytest.approx(expected_margin, abs=1e-6)


def test_a_tie_is_a_miss():
    same = np.ones((4, 3), np.float32)
    assert recall(AsTheyAre(), PairBatch(same, same)) == 0
    assert margin(AsTheyAre(), PairBatch(same, same)) == 0


def test_one_pair_is_found_and_has_no_margin():
    one = np.ones((1, 3), np.float32)
    assert recall(AsTheyAre(), PairBatch(one, one)) == 1
    assert margin(AsTheyAre(), PairBatch(one, one)) == 0
