"""The exchange itself: as many as possible, checked against what can be counted."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.batch import PairBatch
from schemas.errors import DataError
from tasks.injectors import CaptionInjector, HardInjector, ImageInjector, PairInjector, WordsInjector
from tasks.injectors._exchange import same_text


def grouped(group) -> PairBatch:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(group), 8)).astype(np.float32)
    return PairBatch(vectors, vectors, group=np.array(group, np.int64), label=np.zeros(len(group), np.int64))


def test_one_text_is_one_by_key_by_wording_or_by_its_vector(monkeypatch):
    monkeypatch.setattr("schemas.batch._CHUNK", 3)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(10, 4)).astype(np.float32)
    vectors[9] = vectors[0]
    texts = [f"text {n}" for n in range(8)] + ["text 1", "text 9"]
    key = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 2])  # 9 is 0 by its vector and 2 by its key
    found = same_text(PairBatch(vectors, vectors, text_key=key, texts=texts))
    assert found.tolist() == [0, 1, 0, 2, 3, 4, 5, 6, 1, 0]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=24), st.integers(0, 99))
def test_all_pairs_can_be_wrong_exactly_if_no_group_has_more_than_half(group, seed):
    pairs = grouped(group)
    largest = max(group.count(g) for g in group)
    if 2 * largest > len(group):
        with pytest.raises(DataError, match=f"of {len(group)} pairs"):
            PairInjector()(pairs, rate=1.0, seed=seed)
        return
    giver = PairInjector()(pairs, rate=1.0, seed=seed).text_from
    assert sorted(giver) == list(range(len(group)))
    assert (pairs.group[giver] != pairs.group).all()


def test_a_group_of_most_pairs_gives_way_to_those_that_can_be_exchanged():
    pairs = grouped([0] * 90 + list(range(1, 11)))
    after = PairInjector()(pairs, rate=0.2, seed=0)  # 20: all ten others, and ten of the group
    assert (~after.true).sum() == 20
    assert (~after.true[90:]).all()


def test_every_pair_is_drawn_about_equally_often():
    pairs = grouped(range(20))
    times = np.mean([~PairInjector()(pairs, rate=0.3, seed=seed).true for seed in range(600)], axis=0)
    # 600 draws at 0.3: a standard deviation of 0.019
    np.testing.assert_allclose(times, 0.3, atol=0.08)


def test_every_giver_is_about_equally_likely():
    pairs = grouped(range(6))
    givers = np.array([PairInjector()(pairs, rate=1.0, seed=seed).text_from for seed in range(1500)])
    for row in range(6):
        share = np.bincount(givers[:, row], minlength=6) / 1500
        assert share[row] == 0
        np.testing.assert_allclose(np.delete(share, row), 0.2, atol=0.05)


def test_equal_vectors_are_one_text_though_no_key_says_so():
    vectors = np.repeat(np.eye(5, dtype=np.float32), 4, axis=0)
    giver = PairInjector()(
        PairBatch(np.random.rand(20, 5).astype(np.float32), vectors), rate=1, seed=0
    ).text_from
    assert (giver // 4 != np.arange(20) // 4).all()


def test_captions_of_a_medium_are_partly_right_and_images_wholly_wrong(make_pairs):
    pairs = make_pairs(400, seed=1, captions=5, alike=0)
    five = np.bincount(pairs.media_key)[pairs.media_key] == 5
    for injector, partly_expected in ((CaptionInjector(), True), (ImageInjector(), False)):
        true = injector(pairs, rate=0.2, seed=0).true
        share = [true[pairs.media_key == key].mean() for key in set(pairs.media_key[five].tolist())]
        partly = np.mean([0 < s < 1 for s in share])
        # Five captions, each wrong at 20 %: 1 - 0.8^5 - 0.2^5 = 67 % of media, as in NCR's files.
        assert abs(partly - (0.67 if partly_expected else 0)) < 0.15


def test_the_captions_of_an_image_all_come_from_one_other(make_pairs):
    pairs = make_pairs(200, seed=2)
    after = ImageInjector()(pairs, rate=0.5, seed=0)
    for key in set(pairs.media_key.tolist()):
        rows = np.flatnonzero(pairs.media_key == key)
        givers = pairs.media_key[after.text_from[rows]]
        assert len(set(givers.tolist())) == 1
        assert (givers[0] == key) == after.true[rows].all() == after.true[rows].any()


def test_an_image_whose_number_of_captions_nobody_has_stays():
    vectors = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    key = np.array([0, 1, 2, 3, 4, 4, 4, 4, 4])
    pairs = PairBatch(vectors, vectors, media_key=key)
    assert ImageInjector()(pairs, rate=0.8, seed=0).true[4:].all()
    with pytest.raises(DataError, match="1 of 5 media"):
        ImageInjector()(pairs, rate=1.0, seed=0)


def test_hard_texts_come_from_the_same_class(make_pairs):
    pairs = make_pairs(200, seed=3)
    pairs = replace(pairs, label=np.where(np.arange(len(pairs)) % 4 == 0, -1, pairs.label))
    after = HardInjector()(pairs, rate=0.5, seed=0)
    np.testing.assert_array_equal(pairs.label[after.text_from], pairs.label)
    assert after.true[pairs.label == -1].all()
    with pytest.raises(DataError, match="can take part"):
        HardInjector()(pairs, rate=0.9, seed=0)


def test_hard_leaves_classes_of_one_and_fills_up_elsewhere():
    pairs = replace(grouped(range(12)), label=np.array([0, 1, 2, 3, 4, 5, 6, 6, 6, 7, 7, 7]))
    after = HardInjector()(pairs, rate=0.5, seed=0)
    np.testing.assert_array_equal(np.flatnonzero(~after.true), np.arange(6, 12))


@pytest.mark.parametrize(
    ("injector", "lacks"),
    [(HardInjector, "label"), (ImageInjector, "media_key"), (CaptionInjector, "media_key")],
)
def test_says_what_the_protocol_lacks(injector, lacks, pairs):
    with pytest.raises(DataError, match=lacks):
        injector()(replace(pairs, **{lacks: None}), rate=0.1, seed=0)


def test_replaces_half_of_the_words_and_keeps_their_number(pairs, encode):
    after = WordsInjector()(pairs, rate=0.5, seed=0, encode=encode)
    pool = {word for text in pairs.texts for word in text.split()}
    for row in np.flatnonzero(~after.true):
        old, new = pairs.texts[row].split(), after.pairs.texts[row].split()
        assert sum(a != b for a, b in zip(old, new, strict=True)) == 3  # of six
        assert set(new) <= pool
    changed = ~after.true
    np.testing.assert_array_equal(
        after.pairs.text_vec[changed], encode([after.pairs.texts[row] for row in np.flatnonzero(changed)])
    )
    assert len(set(after.pairs.text_key[changed].tolist())) == changed.sum()


def test_words_says_what_it_lacks(pairs, encode):
    with pytest.raises(DataError, match="texts"):
        WordsInjector()(replace(pairs, texts=None), rate=0.1, seed=0, encode=encode)
    with pytest.raises(DataError, match="encode"):
        WordsInjector()(pairs, rate=0.1, seed=0)
    with pytest.raises(DataError, match="3 wide|64 wide"):
        WordsInjector()(pairs, rate=0.1, seed=0, encode=lambda texts: encode(texts)[:, :3])


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_words_refuses_a_share_out_of_range(share):
    with pytest.raises(ValueError, match="share"):
        WordsInjector(share=share)
