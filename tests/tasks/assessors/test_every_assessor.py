"""What every assessor promises."""

import pkgutil
from dataclasses import replace
from urllib.parse import urlparse

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import tasks.assessors
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.assessors import ASSESSORS
from tasks.catalog import build

READS_MEDIA = {"flip", "round-trip", "support"}
ENCODES = READS_MEDIA | {"cross-check", "novelty", "self-check"}
BLIND_TO_TRUTH = {
    "diversity",
    "language-id",
    "novelty",
    "substance",
}  # look at the text, not at what it is about
FLOOR = {"self-check": 0.85}  # where a generator errs twice on one medium, its errors have some support

every_assessor = pytest.mark.parametrize("name", ASSESSORS)
every_scale = pytest.mark.parametrize("rows", [0, 1, 3])


def same(left, right):
    np.testing.assert_array_equal(left.score, right.score)
    assert (left.per_phrase is None) == (right.per_phrase is None)
    for one, other in zip(left.per_phrase or (), right.per_phrase or (), strict=True):
        np.testing.assert_array_equal(one, other)


def check_form(assessed, drafts):
    assert assessed.score.shape == (len(drafts),)
    assert assessed.score.dtype == np.float32
    columns = [assessed.score]
    if assessed.per_phrase is not None:
        assert [len(one) for one in assessed.per_phrase] == [len(one) for one in drafts.phrases]
        assert {one.dtype for one in assessed.per_phrase} <= {np.dtype(np.float32)}
        columns += assessed.per_phrase
    for column in columns:
        there = column[~np.isnan(column)]
        assert ((there >= 0) & (there <= 1)).all()


@every_assessor
def test_scores_every_text_in_float32_between_0_and_1(name, drafts):
    assessed = build(ASSESSORS, MethodRef(name=name))(drafts)
    check_form(assessed, drafts)
    if name != "language-id":  # three words are too few for it
        assert np.isfinite(assessed.score).all()


@every_assessor
def test_gives_the_same_scores_again(name, drafts):
    same(ASSESSORS[name]()(drafts), ASSESSORS[name]()(drafts))


@every_assessor
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ranks_true_texts_over_made_up_ones(name, seed, make_world):
    if name in BLIND_TO_TRUTH:
        pytest.skip("judges texts, not their truth")
    drafts, true = make_world(seed=seed)
    assert roc_auc_score(true, ASSESSORS[name]()(drafts).score) > FLOOR.get(name, 0.95)


@every_assessor
@every_scale
def test_takes_very_few_texts(name, rows, drafts, take_rows):
    few = take_rows(drafts, np.arange(rows))
    check_form(ASSESSORS[name]()(few), few)


@every_assessor
def test_takes_texts_that_are_all_equal(name, drafts, take_rows):
    same_row = take_rows(drafts, np.zeros(20, dtype=np.int64))
    score = ASSESSORS[name]()(same_row).score
    assert len(np.unique(score)) == 1  # NaN counts as one value too


@every_assessor
def test_takes_texts_of_which_nothing_else_is_known(name, drafts):
    n = len(drafts)
    bare = replace(
        drafts, negatives=[()] * n, evidence=[()] * n, raw=[()] * n, language=["und"] * n,
        generator=[f"painter {row}" for row in range(n)],
    )  # fmt: skip
    assessed = ASSESSORS[name]()(bare)
    check_form(assessed, bare)
    if name in ("cross-check", "flip", "language-id", "self-check"):
        assert np.isnan(assessed.score).all()


@every_assessor
def test_a_gallery_of_one_medium_says_nothing_wrong(name, drafts, take_rows):
    one = take_rows(drafts, [5])
    alone = replace(one, gallery_vec=drafts.gallery_vec[drafts.own[5]][None], own=np.zeros(1, dtype=np.int64))
    check_form(ASSESSORS[name]()(alone), alone)


@every_assessor
@pytest.mark.parametrize("side", ["media_vec", "gallery_vec"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_media_that_are_not_finite(name, side, value, drafts):
    if name not in READS_MEDIA:
        pytest.skip("does not look at media")
    broken = getattr(drafts, side).copy()
    broken[7, 0] = value
    with pytest.raises(DataError, match=f"{side} is not finite in row 7"):
        ASSESSORS[name]()(replace(drafts, **{side: broken}))


@every_assessor
def test_refuses_an_encoder_whose_vectors_are_not_finite(name, drafts):
    if name not in ENCODES:
        pytest.skip("encodes nothing")

    def broken(texts):
        vectors = drafts.encode(texts)
        vectors[[drafts.texts[11] in (text, f"A {text}.") for text in texts]] = np.nan
        return vectors

    row = next(row for row, text in enumerate(drafts.texts) if text == drafts.texts[11])
    with pytest.raises(DataError, match=f"{drafts.phrases[11][0]}.*row {row}.*not finite"):
        ASSESSORS[name]()(replace(drafts, encode=broken))


@every_assessor
def test_refuses_an_encoder_of_another_space(name, drafts):
    if name not in READS_MEDIA:
        pytest.skip("compares texts with texts")
    with pytest.raises(DataError, match="63 wide and media 64.*joint encoder"):
        ASSESSORS[name]()(replace(drafts, encode=lambda texts: drafts.encode(texts)[:, :63]))


@every_assessor
def test_refuses_an_encoder_that_loses_a_text(name, drafts):
    if name not in ENCODES:
        pytest.skip("encodes nothing")
    with pytest.raises(DataError, match=r"was given \d+ texts and returned an array of \(\d+, 64\)"):
        ASSESSORS[name]()(replace(drafts, encode=lambda texts: drafts.encode(texts)[1:]))


@every_assessor
def test_encodes_all_texts_in_few_calls(name, drafts):
    before = drafts.encode.calls
    ASSESSORS[name]()(drafts)
    assert drafts.encode.calls - before == (1 if name in ENCODES else 0)


@every_assessor
def test_an_assessor_of_rows_scores_a_text_alone_as_among_others(name, drafts, take_rows):
    if ASSESSORS[name].scope == "table":
        pytest.skip("sees the whole table")
    alone = ASSESSORS[name]()(take_rows(drafts, [5])).score
    np.testing.assert_allclose(alone, ASSESSORS[name]()(drafts).score[5:6], rtol=1e-6)


@every_assessor
def test_vectors_on_disk_score_as_those_in_memory(name, drafts, tmp_path):
    for side in ("media_vec", "gallery_vec"):
        np.save(tmp_path / f"{side}.npy", getattr(drafts, side))
    mapped = {side: np.load(tmp_path / f"{side}.npy", mmap_mode="r") for side in ("media_vec", "gallery_vec")}
    same(ASSESSORS[name]()(replace(drafts, **mapped)), ASSESSORS[name]()(drafts))


@every_assessor
def test_cites_a_source(name):
    source = ASSESSORS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"
    assert ASSESSORS[name].scope in ("row", "table")


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.assessors.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in ASSESSORS}


def test_the_list_is_sorted():
    assert list(ASSESSORS) == sorted(ASSESSORS)
