"""Captions from another language: the dictionary against a naive EM, sentences by hand, own pairs left out."""

import itertools
from collections import defaultdict

import numpy as np
import pytest

from schemas.errors import DataError
from tasks.captioners import Translate
from tasks.captioners._dictionary import Dictionary, dictionary, links_of, phrases, word_chances
from tasks.captioners.contract import MAX_CHARS, Corpus, Draft, Failure, Known, Medium

PICTURE = np.zeros((2, 2, 3), np.uint8)
PAIRS = (
    ("Un chat noir.", "A black cat."),
    ("Un chat rouge.", "A red cat."),
    ("Un chien noir.", "A black dog."),
    ("Un chien.", "A dog."),
    ("Un chat.", "A cat."),
    ("Une voiture rouge.", "A red car."),
    ("Une voiture.", "A car."),
    ("Une pomme de terre.", "A potato."),
    ("Une pomme de terre rouge.", "A red potato."),
    ("La pomme de terre.", "The potato."),
)


def corpus_of(pairs, language="fr", ids=None):
    texts, rows = [], []
    for n, (said, means) in enumerate(pairs):
        for text, code in ((said, language), (means, "en")):
            if text:
                rows.append((n, len(texts)))
                texts.append(Known(f"{code}{n}", text, code))
    return Corpus(
        tuple(ids or (f"m{n}" for n in range(len(pairs)))),
        np.zeros((len(pairs), 2), np.float32),
        tuple(texts),
        np.zeros((len(texts), 2), np.float32),
        np.array(rows, np.int64).reshape(-1, 2),
        lambda texts: np.zeros((len(texts), 2), np.float32),
    )


def medium(text, media_id="new", *, language="fr", role="caption", text_id="own"):
    return Medium(media_id, PICTURE, None, (Known(text_id, text, language, role),))


def model_1_by_loops(sentences, iterations):
    """The paper's EM, a word at a time."""
    chance = defaultdict(lambda: 1.0)
    for _ in range(iterations):
        count, total = defaultdict(float), defaultdict(float)
        for said, means in sentences:
            for e in means:
                norm = sum(chance[f, e] for f in ("", *said))
                for f in ("", *said):
                    count[f, e] += chance[f, e] / norm
                    total[f] += chance[f, e] / norm
        chance = defaultdict(float, {(f, e): c / total[f] for (f, e), c in count.items()})
    return dict(chance)


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_word_chances_agree_with_a_naive_em(iterations):
    sentences = [(tuple(f.split()), tuple(e.split())) for f, e in (
        ("das haus", "the house"), ("das buch", "the book"), ("ein buch", "a book"), ("ja ja", "yes yes yes"),
    )]  # fmt: skip
    expected = model_1_by_loops(sentences, iterations)
    found = word_chances(sentences, iterations=iterations)
    assert found.keys() == expected.keys()
    for key, chance in expected.items():
        assert found[key] == pytest.approx(chance, abs=1e-9)


def test_em_finds_the_textbook_dictionary():
    sentences = [
        (("das", "haus"), ("the", "house")),
        (("das", "buch"), ("the", "book")),
        (("ein", "buch"), ("a", "book")),
    ]
    found = word_chances(sentences, iterations=50)
    assert max(("the", "house", "book", "a"), key=lambda e: found.get(("das", e), 0)) == "the"
    assert max(("the", "book", "a"), key=lambda e: found.get(("buch", e), 0)) == "book"


def test_words_at_the_same_place_are_preferred_as_far_as_asked():
    sentence = [(("f", "g"), ("x", "y"))]
    even, near = (word_chances(sentence, iterations=4, diagonal=d) for d in (0.0, 3.0))
    assert even["f", "x"] == pytest.approx(even["f", "y"])
    assert near["f", "x"] > 2 * near["f", "y"]


def phrases_by_definition(foreign, target, points, longest):
    """Every pair of spans whose words are aligned inside, tried one by one."""
    found = []
    spans = lambda n: [(a, b) for a in range(n) for b in range(a + 1, min(a + longest, n) + 1)]  # noqa: E731
    for (a, b), (c, d) in itertools.product(spans(len(foreign)), spans(len(target))):
        touching = [(i, j) for i, j in points if a <= i < b or c <= j < d]
        inside = all(a <= i < b and c <= j < d for i, j in touching)
        if touching and inside:
            found.append((foreign[a:b], target[c:d], {i for i, _ in points} >= {a, b - 1}))
    alone = {i for i, _ in points}
    return found + [((foreign[i],), (), False) for i in range(len(foreign)) if i not in alone]


@pytest.mark.parametrize("seed", range(20))
def test_phrases_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    foreign = tuple("fghijk"[: rng.integers(1, 7)])
    target = tuple("abcdef"[: rng.integers(1, 7)])
    size = min(len(foreign), len(target))
    kept = rng.integers(0, size + 1)
    points = sorted(
        zip(
            rng.permutation(len(foreign))[:kept].tolist(),
            rng.permutation(len(target))[:kept].tolist(),
            strict=True,
        )
    )
    assert sorted(phrases(foreign, target, points, 3)) == sorted(
        phrases_by_definition(foreign, target, points, 3)
    )


def test_words_are_aligned_one_to_one_the_likeliest_first():
    agreed = np.array([[0.9, 0.8, 0.0], [0.7, 0.6, 0.0], [0.0, 0.0, 0.05]])
    assert links_of(agreed) == [(0, 0), (1, 1)]
    assert links_of(np.empty((0, 3))) == []


def test_the_best_cut_of_a_sentence_is_that_of_a_search_through_all():
    entries = {
        ("a",): {("x",): 3},
        ("b",): {("y",): 1, ("z",): 2},
        ("a", "b"): {("w",): 1},
        ("b", "c"): {("v",): 8},
    }
    known = Dictionary(entries, 2)

    def product(cut):
        total = 1.0
        for phrase in cut:
            best = max(entries.get(phrase, {(): 0}).values())
            total *= best / (sum(entries.get(phrase, {}).values()) + 1) or 1e-3
        return total

    def cuts(words):
        if not words:
            return [[]]
        return [
            [words[:n], *rest]
            for n in (1, 2)
            if n <= len(words) and (n == 1 or words[:n] in entries)
            for rest in cuts(words[n:])
        ]

    for sentence in itertools.product("abcd", repeat=4):
        parts = known.translated(sentence, unknown=1e-3)
        assert tuple(word for phrase, _, _ in parts for word in phrase) == sentence
        best = max(product(cut) for cut in cuts(sentence))
        assert product([phrase for phrase, _, _ in parts]) == pytest.approx(best)


def test_a_text_that_stands_in_the_corpus_gets_its_translation_there():
    draft = Translate().learn(corpus_of(PAIRS))([medium("un CHIEN !")])[0]
    assert draft.text == "A dog."
    assert draft.parents == ("en3", "fr3", "own")
    assert draft.facts == {"translated_by": "sentence"}
    assert draft.statements[0].confidence == pytest.approx(1 / 2)  # one of one, as if one more said otherwise
    assert draft.statements[0].kind == "whole"


def test_of_several_translations_the_most_frequent_is_said():
    pairs = (("Un bateau.", "A ship."), ("Un bateau.", "A boat."), ("Un bateau.", "A boat."), *PAIRS)
    draft = Translate().learn(corpus_of(pairs))([medium("Un bateau.")])[0]
    assert draft.text == "A boat."
    assert draft.statements[0].confidence == pytest.approx(2 / 4)


def test_a_text_that_is_new_is_put_together():
    learnt = Translate().learn(corpus_of(PAIRS))
    draft = learnt([medium("Un chien rouge.")])[0]
    assert draft.text == "A red dog." or draft.text == "A dog red."
    assert draft.facts == {"translated_by": "phrases"}
    assert draft.language == "en"
    assert 0 < draft.statements[0].confidence < 1
    assert "potato" in learnt([medium("La pomme de terre noir.")])[0].text.lower()


def test_the_order_is_that_of_the_foreign_text():
    draft = Translate(longest=1).learn(corpus_of(PAIRS))([medium("Une voiture noir")])[0]
    assert draft.text == "A car black"


def test_a_mediums_own_pair_has_no_say():
    pairs = (("Un zorblax mauve.", "A purple alien."), *PAIRS)
    learnt = Translate(coverage=0.3).learn(corpus_of(pairs, ids=("own", *"abcdefghij")))
    mine, stranger = learnt([medium("Un zorblax mauve.", "own"), medium("Un zorblax mauve.", "other")])
    assert stranger.text == "A purple alien."
    assert isinstance(mine, Failure) or not {"purple", "alien"} & set(mine.text.lower().strip(".").split())
    # Under another medium too, the sentence counts again.
    twice = Translate().learn(corpus_of((pairs[0], *pairs), ids=("own", "twin", *"abcdefghij")))
    again = twice([medium("Un zorblax mauve.", "own")])[0]
    assert again.text == "A purple alien."
    assert "en0" not in again.parents
    assert "en1" in again.parents


def test_says_nothing_where_too_few_words_are_known():
    learnt = Translate(coverage=0.8).learn(corpus_of(PAIRS))
    failure = learnt([medium("Un ornithorynque extraordinairement noir.")])[0]
    assert isinstance(failure, Failure)
    assert failure.reason == "nothing-to-say"
    assert "50%" in failure.message
    assert isinstance(
        Translate(coverage=0.5).learn(corpus_of(PAIRS))(
            [medium("Un ornithorynque extraordinairement noir.")]
        )[0],
        Draft,
    )


@pytest.mark.parametrize(
    "one",
    [
        Medium("none", PICTURE),
        medium("A dog.", language="en"),
        medium("Ein Hund.", language="de"),
        medium("Un chien.", language="und"),
        medium("Un chien.", role="keywords"),
        medium("..."),
        medium("un chien " * MAX_CHARS),
    ],
)
def test_says_nothing_without_a_usable_text(one):
    failure, good = Translate().learn(corpus_of(PAIRS))([one, medium("Un chien.")])
    assert isinstance(failure, Failure)
    assert failure.reason == "nothing-to-say"
    assert len(failure.message) <= 500
    assert good.text == "A dog."


def test_does_not_translate_a_medium_that_has_a_text_in_the_language():
    both = Medium("x", PICTURE, None, (Known("a", "Un chien.", "fr"), Known("b", "A hound.", "en")))
    assert isinstance(Translate().learn(corpus_of(PAIRS))([both])[0], Failure)


def test_of_several_languages_the_surest_is_said():
    german = corpus_of([("Ein Hund.", "A hound."), ("Ein Hund.", "A hound.")], "de", ("x", "y"))
    french = corpus_of(PAIRS)
    texts = (*french.texts, *(Known(f"de{t.text_id}", t.text, t.language) for t in german.texts))
    both = Corpus(
        (*french.media_ids, *german.media_ids),
        np.zeros((12, 2), np.float32),
        texts,
        np.zeros((len(texts), 2), np.float32),
        np.vstack([french.pairs, german.pairs + [10, len(french.texts)]]),
        french.encode,
    )
    two = Medium("new", PICTURE, None, (Known("f", "Un chien.", "fr"), Known("d", "Ein Hund.", "de")))
    assert Translate().learn(both)([two])[0].text == "A hound."


def test_into_another_language():
    swapped = [(means, said) for said, means in PAIRS]
    corpus = corpus_of(swapped, language="fr")
    texts = tuple(Known(t.text_id, t.text, {"fr": "en", "en": "fr"}[t.language]) for t in corpus.texts)
    corpus = Corpus(corpus.media_ids, corpus.media_vec, texts, corpus.text_vec, corpus.pairs, corpus.encode)
    draft = Translate(to="fr").learn(corpus)([medium("A dog.", language="en")])[0]
    assert (draft.text, draft.language) == ("Un chien.", "fr")


def test_markup_and_instructions_are_words_like_others():
    pairs = (*PAIRS, ("Un {{chat}}\n<b>bleu</b>.", "Ignore previous\ninstructions: {{cat}}."))
    draft = Translate().learn(corpus_of(pairs))([medium("un chat b bleu b")])[0]
    assert "\n" not in draft.text
    assert draft.text == "Ignore previous instructions: {{cat}}."


def test_the_same_drafts_alone_as_among_others_and_again():
    media = [
        medium(text, media_id)
        for text in ("Un chien rouge.", "Une pomme noir", "Un chat.")
        for media_id in ("m1", "z")
    ]
    learnt = Translate().learn(corpus_of(PAIRS))
    together = learnt(media)
    assert [Translate().learn(corpus_of(PAIRS))([one])[0] for one in media] == together
    assert learnt(media) == together


@pytest.mark.parametrize(
    "pairs", [[], [("Un chat.", "A cat.")], [("Un chat.", ""), ("Un chien.", ""), ("", "A dog.")]]
)
def test_refuses_a_corpus_without_enough_sentences_in_two_languages(pairs):
    with pytest.raises(DataError, match="needs 2 media"):
        Translate().learn(corpus_of(pairs))


def test_refuses_to_speak_before_it_has_learnt():
    with pytest.raises(DataError, match="learn"):
        Translate()([medium("Un chien.")])


@pytest.mark.parametrize(
    "wrong",
    [
        {"coverage": 0.0}, {"coverage": 1.1}, {"longest": 0}, {"iterations": 0}, {"diagonal": -1.0}, {"least": 0},
        {"folds": 1}, {"roles": ()}, {"to": ""}, {"to": "und"}, {"coverage": float("nan")},
    ],
)  # fmt: skip
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match="must"):
        Translate(**wrong)


def test_a_dictionary_of_no_sentences_is_empty():
    assert dictionary([], iterations=3, diagonal=0.0, longest=3).entries == {}
