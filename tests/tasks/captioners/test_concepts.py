"""Words that stand out, against loops over the formula."""

import math

import numpy as np
import pytest

from schemas.errors import DataError, InvalidParameter
from schemas.recipes import MethodRef
from tasks.captioners import CAPTIONERS
from tasks.captioners.concepts import Concepts, shipped
from tasks.captioners.contract import Corpus, Draft, Failure, Known, Medium
from tasks.catalog import build

BLANK = np.zeros((4, 4, 3), np.uint8)
WORDS = ("cat", "dog", "boat", "house", "tree")


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def space():
    """Vectors of words and of 60 media, each near one word's; all media lean towards `cat`."""
    draw = np.random.default_rng(3)
    words = unit(draw.normal(size=(len(WORDS), 12)))
    shows = draw.integers(len(WORDS), size=60)
    media = unit(words[shows] + 0.8 * words[0] + 0.3 * draw.normal(size=(60, 12)))
    return words, shows, media


def corpus_of(space, texts=True):
    words, shows, media = space
    known = tuple(Known(f"t{n}", WORDS[shown], "en") for n, shown in enumerate(shows)) if texts else ()
    lie = dict(zip(WORDS, words, strict=True))
    return Corpus(
        tuple(f"m{n:02d}" for n in range(len(media))),
        media,
        known,
        words[shows] if texts else np.zeros((0, words.shape[1]), np.float32),
        np.array([(n, n) for n in range(len(known))], np.int64).reshape(-1, 2),
        lambda asked: np.stack([lie[one] for one in asked]),
    )


def by_loops(space, vector):
    """How many deviations each word stands out by, from the definition."""
    words, _, media = space
    found = []
    for word in words.astype(np.float64):
        cosines = [sum(a * b for a, b in zip(row, word, strict=True)) for row in media.astype(np.float64)]
        mean = sum(cosines) / len(cosines)
        deviation = math.sqrt(sum((one - mean) ** 2 for one in cosines) / len(cosines))
        own = sum(float(a) * float(b) for a, b in zip(vector, word, strict=True))
        found.append((own - mean) / deviation)
    return found


def test_says_what_stands_out_by_the_formula(space):
    writer = Concepts(vocabulary=WORDS, stands_out=1.0, most=2).learn(corpus_of(space))
    for vector in space[2][:20]:
        (draft,) = writer([Medium("x", BLANK, vector)])
        far = by_loops(space, vector)
        order = sorted(range(len(WORDS)), key=lambda n: -far[n])
        expected = [WORDS[n] for n in order[:2] if far[n] >= 1.0]
        if not expected:
            assert isinstance(draft, Failure) and draft.reason == "nothing-to-say"
            assert WORDS[order[0]] in draft.message
            continue
        assert isinstance(draft, Draft)
        assert draft.text == ", ".join(expected)
        assert draft.facts["stands out"] == {WORDS[n]: round(far[n], 2) for n in order[:2]}


def test_a_word_that_fits_everything_does_not_win_everywhere(space):
    """All media lean towards `cat`; by cosine alone it is the first of most."""
    words, shows, media = space
    writer = Concepts(vocabulary=WORDS, stands_out=-9.0, most=1).learn(corpus_of(space))
    said = [draft.text for draft in writer([Medium("x", BLANK, vector) for vector in media])]
    plainly = [WORDS[int(np.argmax(words @ vector))] for vector in media]
    right = [np.mean([a == WORDS[b] for a, b in zip(one, shows, strict=True)]) for one in (said, plainly)]
    assert right[0] >= 0.85 and right[0] > right[1] + 0.2


def test_confidence_is_how_often_such_a_word_was_right(space):
    """Five words, all of them among the ten nearest to any text: every word is right."""
    writer = Concepts(vocabulary=WORDS, stands_out=0.0).learn(corpus_of(space))
    (draft,) = writer([Medium("x", BLANK, space[2][0])])
    assert [statement.confidence for statement in draft.statements] == [1.0] * len(draft.statements)


def test_without_texts_the_share_of_media_is_the_confidence(space):
    writer = Concepts(vocabulary=WORDS, stands_out=0.0, most=1).learn(corpus_of(space, texts=False))
    (draft,) = writer([Medium("x", BLANK, space[2][0])])
    far = max(by_loops(space, space[2][0]))
    assert draft.statements[0].confidence == pytest.approx((1 + math.erf(far / math.sqrt(2))) / 2, abs=1e-4)


def test_words_that_mean_the_same_are_said_once(space):
    words = np.concatenate([space[0], space[0][:1]])
    corpus = corpus_of(space)
    lie = dict(zip((*WORDS, "kitty"), words, strict=True))
    corpus = Corpus(
        corpus.media_ids, corpus.media_vec, corpus.texts, corpus.text_vec, corpus.pairs,
        lambda asked: np.stack([lie[one] for one in asked]),
    )  # fmt: skip
    writer = Concepts(vocabulary=(*WORDS, "kitty"), stands_out=-9.0, most=5).learn(corpus)
    for draft in writer([Medium("x", BLANK, vector) for vector in space[2]]):
        assert not {"cat", "kitty"} <= set(draft.text.split(", "))


def test_media_without_vectors_get_nothing(space):
    writer = Concepts(vocabulary=WORDS).learn(corpus_of(space))
    nan = np.full(12, np.nan, np.float32)
    assert [one.reason for one in writer([Medium("x", BLANK), Medium("y", BLANK, nan)])] == ["no-vector"] * 2


def test_what_is_wrong_is_said(space):
    with pytest.raises(DataError, match="at least 2"):
        one = corpus_of((space[0], space[1][:1], space[2][:1]))
        Concepts(vocabulary=WORDS).learn(one)
    for wrong in ({"most": 0}, {"against": 1}, {"stands_out": float("nan")}, {"vocabulary": [" "]}):
        with pytest.raises(InvalidParameter):
            build(CAPTIONERS, MethodRef(name="concepts", params=wrong))


def test_the_vocabulary_that_ships_names_things():
    words = shipped()
    assert len(words) > 2000 and {"dog", "balloon", "strawberry"} <= set(words)
    assert len(set(words)) == len(words) and not [w for w in words if "flag" in w.split() or ":" in w]
