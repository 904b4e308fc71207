"""What every repair promises."""

import pkgutil
from dataclasses import replace
from urllib.parse import urlparse

import numpy as np
import pytest

import tasks.repairs
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.repairs import REPAIRS

every_repair = pytest.mark.parametrize("name", REPAIRS)


def repair(name, case, **params):
    method = build(REPAIRS, MethodRef(name=name, params=params))
    return method(case.pairs, case.clean, case.pairs.media_vec, case.pairs.text_vec)


@every_repair
def test_proposes_for_noisy_pairs_only_in_order_and_once_each(name, make_exchanged):
    case = make_exchanged(200, rate=0.4, seed=0)
    proposals = repair(name, case)
    assert len(proposals.row) > 0
    assert (np.diff(proposals.row) > 0).all()
    assert (case.clean[proposals.row] < 0.5).all()
    assert proposals.row.shape == proposals.text_from.shape == proposals.confidence.shape
    assert proposals.row.dtype == proposals.text_from.dtype == np.int64
    assert proposals.confidence.dtype == np.float32
    assert ((proposals.confidence >= 0) & (proposals.confidence <= 1)).all()


@every_repair
def test_proposes_texts_of_the_right_topic(name, make_exchanged):
    case = make_exchanged(400, rate=0.4, seed=1)
    proposals = repair(name, case)
    right = case.topic_of_text[proposals.text_from] == case.pairs.label[proposals.row]
    assert right.mean() > 0.9  # an eighth by chance


@every_repair
def test_never_proposes_what_the_medium_came_with(name, make_exchanged):
    case = make_exchanged(200, rate=0.5, seed=2)
    n = len(case.pairs)
    pairs = replace(
        case.pairs,
        group=np.arange(n) // 3,
        media_key=np.arange(n) // 2,
        text_key=np.arange(n) % 150,
    )
    proposals = repair(name, replace(case, pairs=pairs))
    assert len(proposals.row) > 0
    assert (proposals.row != proposals.text_from).all()
    for key in (pairs.group, pairs.media_key, pairs.text_key):
        assert (key[proposals.row] != key[proposals.text_from]).all()


@every_repair
def test_gives_the_same_proposals_again(name, make_exchanged):
    case = make_exchanged(200, rate=0.4, seed=3)
    one, again = repair(name, case), repair(name, case)
    for field in ("row", "text_from", "confidence"):
        np.testing.assert_array_equal(getattr(one, field), getattr(again, field))


@every_repair
@pytest.mark.parametrize(("n", "clean"), [(0, 0.1), (1, 0.1), (1, 0.9), (2, 0.1), (50, 0.9), (50, 0.1)])
def test_takes_few_pairs_all_noisy_or_all_clean(name, n, clean, make_exchanged):
    case = make_exchanged(n, rate=0, seed=0)
    proposals = repair(name, replace(case, clean=np.full(n, clean, np.float32)))
    assert proposals.row.dtype == np.int64
    if n < 2 or clean > 0.5:
        assert len(proposals.row) == 0


@every_repair
def test_equal_vectors_give_finite_confidence(name, make_exchanged):
    case = make_exchanged(40, rate=0.5, seed=0)
    same = np.tile(np.float32([0.6, 0.8]), (40, 1))
    proposals = REPAIRS[name]()(case.pairs, case.clean, same, same)
    assert np.isfinite(proposals.confidence).all()


@every_repair
def test_proposes_nothing_where_all_pairs_are_of_one_group(name, make_exchanged):
    case = make_exchanged(40, rate=0.5, seed=0)
    one = replace(case.pairs, group=np.zeros(40, np.int64))
    assert len(repair(name, replace(case, pairs=one)).row) == 0


@every_repair
def test_refuses_what_is_not_of_these_pairs(name, make_exchanged):
    case = make_exchanged(20, rate=0.5, seed=0)
    media, text = case.pairs.media_vec, case.pairs.text_vec
    with pytest.raises(DataError, match="there are 20 pairs"):
        REPAIRS[name]()(case.pairs, case.clean[:19], media, text)
    with pytest.raises(DataError, match="there are 20 pairs"):
        REPAIRS[name]()(case.pairs, case.clean, media[:, :3], text)
    for value in (np.nan, 1.5):
        broken = case.clean.copy()
        broken[7] = value
        with pytest.raises(DataError, match="row 7"):
            REPAIRS[name]()(case.pairs, broken, media, text)
    broken = text.copy()
    broken[7, 0] = np.nan
    with pytest.raises(DataError, match="text vectors are not finite, first in row 7"):
        REPAIRS[name]()(case.pairs, case.clean, media, broken)


@every_repair
@pytest.mark.parametrize("noisy_below", [0, 1.5])
def test_refuses_thresholds_out_of_range(name, noisy_below):
    with pytest.raises(ValueError, match="noisy_below"):
        REPAIRS[name](noisy_below=noisy_below)


@every_repair
def test_cites_a_source(name):
    source = REPAIRS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.repairs.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in REPAIRS}


def test_the_list_is_sorted():
    assert list(REPAIRS) == sorted(REPAIRS)
