"""Frequency scores: against counting loops, and what planted junk gets."""

from collections import defaultdict

import numpy as np
import pytest

from schemas.batch import PairBatch
from tasks.noise import Frequency


def written(texts, media_key=None, text_key=None):
    vectors = np.ones((len(texts), 1), np.float32)
    keys = {"media_key": media_key, "text_key": text_key}
    return PairBatch(
        vectors, vectors, texts=texts, **{k: None if v is None else np.array(v) for k, v in keys.items()}
    )


def scores_by_loops(texts, media, *, limits, common, lengths, vocabulary):
    media_of, texts_of = defaultdict(set), defaultdict(set)
    for text, medium in zip(texts, media, strict=True):
        media_of[text].add(medium)
        texts_of[medium].add(text)

    def limit(sets, most):
        counts = sorted(len(members) for members in sets.values())
        return min(most, next(c for i, c in enumerate(counts, 1) if i / len(counts) >= common))

    documents = defaultdict(int)
    for text in media_of:
        for word in set(text.split()):
            documents[word] += 1
    frequent, covered = set(), 0
    for count in sorted(set(documents.values()), reverse=True):
        if covered >= vocabulary * sum(documents.values()):
            break
        of_count = {word for word in documents if documents[word] == count}
        frequent |= of_count
        covered += count * len(of_count)
    scores = []
    for text, medium in zip(texts, media, strict=True):
        words = text.split()
        passes = [
            limit(media_of, limits[0]) / len(media_of[text]),
            limit(texts_of, limits[1]) / len(texts_of[medium]),
            len(words) / lengths[0],
            lengths[1] / len(words),
        ]
        score = np.prod([min(1, p) for p in passes])
        scores.append(score / (1 + len(set(words) - frequent)))
    return np.array(scores)


@pytest.mark.parametrize("common", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("vocabulary", [0.3, 0.8, 1.0])
def test_agrees_with_counting_loops(common, vocabulary):
    rng = np.random.default_rng(0)
    pool = [" ".join(f"w{int(40 * rng.random() ** 3)}" for _ in range(rng.integers(1, 9))) for _ in range(60)]
    texts = [pool[int(60 * rng.random() ** 2)] for _ in range(300)]
    media = (100 * rng.random(300) ** 2).astype(int)
    expected = scores_by_loops(
        texts, media, limits=(6, 8), common=common, lengths=(3, 6), vocabulary=vocabulary
    )
    found = Frequency(
        media_per_text=6, texts_per_media=8, common=common, min_words=3, max_words=6, vocabulary=vocabulary
    )(written(texts, media_key=media))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_each_rule_by_hand():
    good = [f"red house {i % 5}" for i in range(100)]
    method = Frequency(common=0.5)
    keys = np.arange(100)

    def score(text, times=1, media=None):
        texts = good + [text] * times
        media_key = np.r_[keys, np.arange(100, 100 + times)] if media is None else np.r_[keys, media]
        text_key = np.r_[keys, np.full(times, 100)]
        return method(written(texts, media_key, text_key))[-1]

    assert score("red house") == 1
    assert score("red house", times=4) == pytest.approx(1 / 4)
    assert score("red house", media=[3]) == pytest.approx(1 / 2)  # medium 3 has two texts
    assert score("xq7") == pytest.approx(1 / 2)
    assert score("xq7 zz9") == pytest.approx(1 / 3)
    assert score("red " * 40) == pytest.approx(1 / 2)
    assert score("?!") == 0


def test_planted_junk_falls_below_good_titles():
    rng = np.random.default_rng(1)
    nouns = [f"noun{i}" for i in range(40)]
    titles = [" ".join(rng.choice(nouns, 3, replace=False)) for _ in range(500)]
    junk = ["image"] * 30 + [f"img{rng.integers(10**9)} dsc{rng.integers(10**9)}" for _ in range(20)]
    junk += [" ".join(rng.choice(nouns, 60)) for _ in range(10)]
    scores = Frequency()(written(titles + junk))
    assert (scores[500:] < 0.5).mean() > 0.95
    assert (scores[:500] == 1).mean() > 0.9


def test_equal_strings_are_one_text_unless_keys_say_otherwise():
    texts = ["a house"] * 30
    np.testing.assert_allclose(Frequency(common=1.0)(written(texts)), 10 / 30, rtol=1e-6)
    assert (Frequency(common=1.0)(written(texts, text_key=range(30))) == 1).all()
    # One medium listed thirty times carries the text once.
    assert (Frequency()(written(texts, media_key=[7] * 30)) == 1).all()


def test_pairs_of_words_count_when_asked():
    texts = [f"{a} {b}" for a in ("red", "blue") for b in ("cat", "dog")] * 10 + ["dog red"]
    alone, asked = (Frequency(max_n=n, media_per_text=50, vocabulary=0.6)(written(texts)) for n in (1, 2))
    assert alone[-1] == 1
    assert asked[-1] == 0.5  # its words are common, the pair of them is not


@pytest.mark.parametrize(
    "wrong",
    [
        {"media_per_text": 0},
        {"texts_per_media": 0},
        {"common": 0.0},
        {"vocabulary": 1.1},
        {"min_words": 5, "max_words": 4},
        {"max_n": 3},
    ],
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        Frequency(**wrong)
