"""What every injector promises."""

import pkgutil
from dataclasses import replace
from urllib.parse import urlparse

import numpy as np
import pytest

import tasks.injectors
from schemas.batch import PairBatch
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.injectors import INJECTORS

every_injector = pytest.mark.parametrize("name", INJECTORS)
every_rate = pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.8])


def units(name: str, pairs: PairBatch) -> int:
    return len(set(pairs.media_key.tolist())) if name == "image" else len(pairs)


def wrong_units(name: str, pairs: PairBatch, true: np.ndarray) -> int:
    return len(set(pairs.media_key[~true].tolist())) if name == "image" else int((~true).sum())


@every_injector
@every_rate
def test_exactly_the_share_of_units_is_wrong(name, rate, pairs, encode):
    injection = build(INJECTORS, MethodRef(name=name))(pairs, rate=rate, seed=1, encode=encode)
    assert wrong_units(name, pairs, injection.true) == round(rate * units(name, pairs))
    assert injection.true.dtype == bool
    assert injection.true.shape == injection.text_from.shape == (len(pairs),)


@every_injector
@every_rate
def test_nothing_wrong_is_right_by_chance(name, rate, pairs, encode):
    after = INJECTORS[name]()(pairs, rate=rate, seed=2, encode=encode)
    for row in np.flatnonzero(~after.true):
        for other in range(len(pairs)):
            if pairs.group[other] == pairs.group[row] or pairs.media_key[other] == pairs.media_key[row]:
                assert after.pairs.texts[row] != pairs.texts[other]
                assert after.pairs.text_key[row] != pairs.text_key[other]
                assert not np.array_equal(after.pairs.text_vec[row], pairs.text_vec[other])


@every_injector
def test_what_is_true_is_untouched_and_the_rest_comes_from_where_it_says(name, pairs, encode):
    after = INJECTORS[name]()(pairs, rate=0.4, seed=3, encode=encode)
    kept = after.true
    np.testing.assert_array_equal(after.pairs.media_vec, pairs.media_vec)
    np.testing.assert_array_equal(after.pairs.text_vec[kept], pairs.text_vec[kept])
    np.testing.assert_array_equal(after.text_from[kept], np.flatnonzero(kept))
    moved = after.text_from != np.arange(len(pairs))
    np.testing.assert_array_equal(after.pairs.text_vec[moved], pairs.text_vec[after.text_from[moved]])
    assert [after.pairs.texts[row] for row in np.flatnonzero(moved)] == [
        pairs.texts[row] for row in after.text_from[moved]
    ]
    assert after.pairs.verdict is None  # said of other pairs


@every_injector
def test_moves_texts_and_loses_none(name, pairs, encode):
    after = INJECTORS[name]()(pairs, rate=0.6, seed=4, encode=encode)
    np.testing.assert_array_equal(np.sort(after.text_from), np.arange(len(pairs)))


@every_injector
def test_a_rate_of_0_gives_the_pairs_back(name, pairs, encode):
    after = INJECTORS[name]()(pairs, rate=0, seed=0, encode=encode)
    assert after.pairs is pairs
    assert after.true.all()
    np.testing.assert_array_equal(after.text_from, np.arange(len(pairs)))


@every_injector
def test_a_seed_gives_the_same_and_another_seed_other_pairs(name, pairs, encode):
    one, again, other = (INJECTORS[name]()(pairs, rate=0.3, seed=seed, encode=encode) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.text_from, again.text_from)
    np.testing.assert_array_equal(one.pairs.text_vec, again.pairs.text_vec)
    assert (one.true != other.true).any()
    assert one.protocol == again.protocol != other.protocol


@every_injector
def test_the_protocol_names_unit_rate_and_seed(name, pairs, encode):
    protocol = INJECTORS[name]()(pairs, rate=0.4, seed=7, encode=encode).protocol
    assert protocol.startswith(f"{name}, 40 %, seed 7")


@every_injector
@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_refuses_a_rate_that_is_no_share(name, rate, pairs, encode):
    with pytest.raises(ValueError, match="rate"):
        INJECTORS[name]()(pairs, rate=rate, seed=0, encode=encode)


@every_injector
def test_no_pairs_stay_no_pairs(name, pairs, encode):
    none = pairs.take(np.arange(0))
    assert len(INJECTORS[name]()(none, rate=0.5, seed=0, encode=encode).pairs) == 0


@every_injector
def test_one_pair_alone_cannot_be_made_wrong(name, pairs, encode):
    with pytest.raises(DataError, match="1 of 1"):
        INJECTORS[name]()(pairs.take(np.arange(1)), rate=1.0, seed=0, encode=encode)


@every_injector
def test_pairs_of_one_and_the_same_text_cannot_be_made_wrong(name, pairs, encode):
    same = replace(
        pairs,
        text_vec=np.tile(pairs.text_vec[0], (len(pairs), 1)),
        text_key=np.zeros(len(pairs), np.int64),
        texts=[pairs.texts[0]] * len(pairs),
    )
    with pytest.raises(DataError, match="of .* could"):
        INJECTORS[name]()(same, rate=0.5, seed=0, encode=encode)


@every_injector
def test_cites_a_source(name):
    source = INJECTORS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.injectors.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in INJECTORS}


def test_the_list_is_sorted():
    assert list(INJECTORS) == sorted(INJECTORS)
