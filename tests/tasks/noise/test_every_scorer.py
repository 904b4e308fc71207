"""What every noise scorer promises."""

import pkgutil
from dataclasses import replace
from urllib.parse import urlparse

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import tasks.noise
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.noise import NOISE_SCORERS

# What a scorer cannot do without, and what it cannot see.
NEEDS_A_COMMON_SPACE = {"cosine", "frozen-estimator"}
NEEDS = {"entangled": "label", "frequency": "texts"}
BLIND_TO_SWAPS = {"frequency"}  # a good text under the wrong medium is still a good text
FLOOR = {"entangled": 0.8}  # texts swapped within a class pass

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
    if name in BLIND_TO_SWAPS:
        pytest.skip("judges texts alone")
    pairs, clean = noisy_pairs
    assert roc_auc_score(clean, NOISE_SCORERS[name]()(pairs)) > FLOOR.get(name, 0.9)


@every_scorer
def test_takes_sides_of_different_widths_or_says_that_it_needs_a_common_space(name, make_noisy_pairs):
    pairs, clean = make_noisy_pairs(400, rate=0.3, seed=0)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(70, 70)))[0][:48]
    apart = replace(pairs, text_vec=(pairs.text_vec @ turn).astype(np.float32), common=False)
    if name in NEEDS_A_COMMON_SPACE:
        with pytest.raises(DataError, match="48 and 70 wide.*joint encoder"):
            NOISE_SCORERS[name]()(apart)
        return
    scores = NOISE_SCORERS[name]()(apart)
    assert scores.shape == (400,)
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    if name not in BLIND_TO_SWAPS:
        assert roc_auc_score(clean, scores) > FLOOR.get(name, 0.9)


@every_scorer
def test_says_what_it_lacks(name, noisy_pairs):
    pairs, _ = noisy_pairs
    bare = replace(pairs, label=None, media_key=None, text_key=None, texts=None)
    if name not in NEEDS:
        assert np.isfinite(NOISE_SCORERS[name]()(bare)).all()
        return
    for missing in (bare, replace(pairs, **{NEEDS[name]: None})):
        with pytest.raises(DataError, match=f"'{name}'.*{NEEDS[name]}.* or use"):
            NOISE_SCORERS[name]()(missing)


@every_scorer
def test_vectors_on_disk_score_as_those_in_memory(name, noisy_pairs, tmp_path):
    pairs, _ = noisy_pairs
    for side in ("media_vec", "text_vec"):
        np.save(tmp_path / f"{side}.npy", getattr(pairs, side))
    mapped = {s: np.load(tmp_path / f"{s}.npy", mmap_mode="r") for s in ("media_vec", "text_vec")}
    np.testing.assert_array_equal(
        NOISE_SCORERS[name]()(replace(pairs, **mapped)), NOISE_SCORERS[name]()(pairs)
    )


@every_scorer
def test_takes_pairs_that_are_all_equal(name, noisy_pairs):
    pairs, _ = noisy_pairs
    one = np.zeros(60, dtype=np.int64)
    scores = NOISE_SCORERS[name]()(pairs.take(one))
    assert scores.shape == (60,)
    assert np.ptp(scores) == 0


@every_scorer
@pytest.mark.parametrize("n", [0, 1, 3])
def test_takes_very_few_pairs(name, n, noisy_pairs):
    pairs, _ = noisy_pairs
    scores = NOISE_SCORERS[name]()(pairs.take(np.arange(n)))
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
    alone = NOISE_SCORERS[name]()(pairs.take(np.array([5])))
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
