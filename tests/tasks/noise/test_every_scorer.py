"""What every noise scorer promises."""

import pkgutil
from dataclasses import replace
from urllib.parse import urlparse

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import tasks.noise
from schemas.batch import PairBatch
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.noise import NOISE_SCORERS

every_scorer = pytest.mark.parametrize("name", NOISE_SCORERS)


@every_scorer
def test_scores_every_pair_in_float32_between_0_and_1(name, noisy_pairs):
    pairs, _ = noisy_pairs
    scores = build(NOISE_SCORERS, MethodRef(name=name))(pairs)
    assert scores.shape == (len(pairs),)
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()


@every_scorer
def test_gives_the_same_scores_again(name, noisy_pairs):
    pairs, _ = noisy_pairs
    np.testing.assert_array_equal(NOISE_SCORERS[name]()(pairs), NOISE_SCORERS[name]()(pairs))


@every_scorer
def test_ranks_true_pairs_over_mismatched_ones(name, noisy_pairs):
    pairs, clean = noisy_pairs
    assert roc_auc_score(clean, NOISE_SCORERS[name]()(pairs)) > 0.9


@every_scorer
@pytest.mark.parametrize("n", [0, 1, 3])
def test_takes_very_few_pairs(name, n, noisy_pairs):
    pairs, _ = noisy_pairs
    scores = NOISE_SCORERS[name]()(PairBatch(pairs.media_vec[:n], pairs.text_vec[:n]))
    assert scores.shape == (n,)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


@every_scorer
@pytest.mark.parametrize("side", ["media_vec", "text_vec"])
def test_refuses_vectors_that_are_not_finite(name, side, noisy_pairs):
    pairs, _ = noisy_pairs
    broken = getattr(pairs, side).copy()
    broken[7, 0] = np.nan
    with pytest.raises(DataError, match="row 7"):
        NOISE_SCORERS[name]()(replace(pairs, **{side: broken}))


@every_scorer
def test_a_shard_scorer_scores_a_pair_alone_as_among_others(name, noisy_pairs):
    if NOISE_SCORERS[name].scope == "table":
        pytest.skip("sees the whole table")
    pairs, _ = noisy_pairs
    alone = NOISE_SCORERS[name]()(PairBatch(pairs.media_vec[5:6], pairs.text_vec[5:6]))
    np.testing.assert_allclose(alone, NOISE_SCORERS[name]()(pairs)[5:6], rtol=1e-6)


@every_scorer
def test_cites_a_source(name):
    source = NOISE_SCORERS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"
    assert NOISE_SCORERS[name].scope in ("shard", "table")


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.noise.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in NOISE_SCORERS}


def test_the_list_is_sorted():
    assert list(NOISE_SCORERS) == sorted(NOISE_SCORERS)
