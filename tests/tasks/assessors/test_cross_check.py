"""Cross-check: distances by hand and by loops, and what it sees that a generator's own samples do not."""

from dataclasses import replace
from math import log

import numpy as np
import pytest

from tasks.assessors import CrossCheck, SelfCheck
from tasks.assessors._distances import surprisal
from tasks.assessors._words import sentences
from tasks.assessors.cross_check import rank_systems


def embedding_by_loops(drafts, row, phrase):
    """1 - highest cosine with a sentence, mean over passages, mean over generators."""
    voices = []
    for passages in drafts.evidence[row]:
        distances = []
        for passage in passages:
            best = max(
                float(drafts.encode([phrase])[0] @ drafts.encode([sentence + "."])[0])
                for sentence in passage.split(".")
                if sentence.strip()
            )
            distances.append(1 - min(max(best, 0), 1))
        voices.append(sum(distances) / len(distances))
    return sum(voices) / len(voices)


def about(drafts, take_rows, phrases, evidence):
    few = take_rows(drafts, [0])
    return replace(few, texts=[". ".join(phrases)], phrases=[phrases], evidence=[evidence])


def test_embedding_agrees_with_loops(drafts):
    evidence = [[[*one[0], "A drum. A red clock."], *one[1:]] for one in drafts.evidence]
    phrases = [[one[0], "blue drum"] for one in drafts.phrases]
    drafts = replace(drafts, evidence=evidence, phrases=phrases)
    expected = [
        [1 - embedding_by_loops(drafts, row, phrase) for phrase in said]
        for row, said in enumerate(drafts.phrases)
    ]
    found = CrossCheck(distances=("embedding",))(drafts)
    np.testing.assert_allclose(np.stack(found.per_phrase), expected, atol=1e-6)
    np.testing.assert_allclose(found.score, np.mean(expected, axis=1), atol=1e-6)


def test_surprisal_by_hand():
    # a red dog / a dog: T = 5, a and dog twice, red once, and the unknown: V = 4; k = 1/2
    passages = ["A red dog.", "a dog"]
    total = 5 + 0.5 * 4
    known, once, none = (-log((count + 0.5) / total) for count in (2, 1, 0))
    assert surprisal("dog", passages, 0.5) == pytest.approx(known / none)
    assert surprisal("A red cat!", passages, 0.5) == pytest.approx((known + once + none) / 3 / none)
    assert surprisal("green cat", passages, 0.5) == pytest.approx(1)
    assert np.isnan(surprisal("?!", passages, 0.5))


def test_surprisal_is_that_of_a_smoothed_unigram_model(drafts, take_rows):
    passages = ["a boat and a red house by a tree", "the house", "a red boat"]
    tokens = " ".join(passages).split()
    vocabulary = {*tokens, "<unk>"}
    phrase = ["a", "red", "house", "with", "a", "drum"]
    counts = {word: tokens.count(word) for word in vocabulary}
    probability = {word: (counts[word] + 0.1) / (len(tokens) + 0.1 * len(vocabulary)) for word in vocabulary}
    mean = -np.mean([np.log(probability.get(word, probability["<unk>"])) for word in phrase])
    expected = 1 - mean / -np.log(probability["<unk>"])
    one = about(drafts, take_rows, [" ".join(phrase)], [passages])
    assert CrossCheck(distances=("surprisal",), smoothing=0.1)(one).score[0] == pytest.approx(
        expected, abs=1e-6
    )


def test_nouns_by_hand(drafts, take_rows):
    phrases = ["a red dog", "two cats", "red"]
    evidence = [["A brown dog.", "A dog and a cat."], ["A house."]]
    found = CrossCheck(distances=("nouns",))(about(drafts, take_rows, phrases, evidence))
    # dog: in both passages of the first, in none of the second; cat: in one of two, in none; red is no noun
    np.testing.assert_allclose(found.per_phrase[0], [1 / 2, 1 / 4, np.nan], rtol=1e-6)
    assert found.score[0] == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_a_phrase_with_two_nouns_is_half_supported_by_one(drafts, take_rows):
    one = about(drafts, take_rows, ["a dog and a cat"], [["A dog."]])
    assert CrossCheck(distances=("nouns",))(one).score[0] == pytest.approx(1 / 2)


def test_nouns_are_read_in_english_only(drafts, take_rows):
    one = about(drafts, take_rows, ["roter Hund"], [["Ein roter Hund."]])
    for distances, known in ((("nouns",), False), (("nouns", "surprisal"), True)):
        found = CrossCheck(distances=distances)(replace(one, language=["de"]))
        assert np.isfinite(found.score[0]) == known


def test_a_phrase_gets_the_mean_of_its_distances(drafts):
    alone = [CrossCheck(distances=(name,))(drafts).score for name in ("embedding", "surprisal")]
    both = CrossCheck(distances=("embedding", "surprisal"))(drafts).score
    np.testing.assert_allclose(both, np.mean(alone, axis=0), atol=1e-6)


def test_generators_have_one_voice_each(drafts, take_rows):
    for_it, against = "A red dog.", "A blue clock."
    alike = about(drafts, take_rows, ["red dog"], [[for_it], [against]])
    louder = about(drafts, take_rows, ["red dog"], [[for_it], [against] * 9])
    for distance in ("embedding", "nouns"):
        method = CrossCheck(distances=(distance,))
        assert method(louder).score[0] == pytest.approx(method(alike).score[0])


def test_empty_passages_and_silent_generators_say_nothing(drafts, take_rows):
    plain = about(drafts, take_rows, ["red dog"], [["A red dog."]])
    padded = about(drafts, take_rows, ["red dog"], [["A red dog.", "", "?!"], [], [" "]])
    assert CrossCheck()(padded).score[0] == CrossCheck()(plain).score[0]
    silent = about(drafts, take_rows, ["red dog"], [[], [""]])
    assert np.isnan(CrossCheck()(silent).score).all()


def test_sees_an_error_that_a_generator_makes_every_time(make_world):
    """The painter says "clock" of whatever it sees, always; the others say what is there."""
    drafts, _ = make_world(80, wrong=0.0)
    stuck = drafts.own < 10
    texts = ["A clock." if wrong else text for text, wrong in zip(drafts.texts, stuck, strict=True)]
    phrases = [["clock"] if wrong else one for one, wrong in zip(drafts.phrases, stuck, strict=True)]
    drafts = replace(drafts, texts=texts, phrases=phrases)
    by_others, by_itself = CrossCheck()(drafts).score, SelfCheck()(drafts).score
    assert by_others[stuck].max() < by_others[~stuck].min()
    assert by_itself[stuck].min() > by_itself[~stuck].max() - 0.2


def test_sentences_end_at_stops_of_any_script():
    assert sentences("A frog. It sits! Where? 3.5 m\u3002\u732b\u3067\u3059\u3002") == [
        "A frog.", "It sits!", "Where?", "3.5 m\u3002", "\u732b\u3067\u3059\u3002",
    ]  # fmt: skip
    assert sentences(" ") == []


def test_systems_are_ranked_by_the_mean_over_all_their_phrases():
    scores = [np.array([1.0, 0.5]), np.array([0.0]), np.array([0.9]), np.array([np.nan]), np.array([np.nan])]
    found = rank_systems(scores, ["b", "b", "a", "a", "c"])
    assert list(found) == ["a", "b", "c"]
    assert found["a"] == pytest.approx(0.1)
    assert found["b"] == pytest.approx((0 + 0.5 + 1) / 3)
    assert np.isnan(found["c"])
    assert list(rank_systems(np.array([0.5, 0.5, 1.0]), ["z", "y", "x"])) == ["x", "y", "z"]
    assert rank_systems([], []) == {}


@pytest.mark.parametrize("method", [CrossCheck, SelfCheck])
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"distances": ()}, "each once; found"),
        ({"distances": ("nouns", "nouns")}, "each once; found"),
        ({"distances": ("verbs",)}, "some of embedding, surprisal, nouns"),
        ({"smoothing": 0}, "smoothing must be positive, found 0"),
    ],
)
def test_refuses_parameters_out_of_range(method, params, message):
    with pytest.raises(ValueError, match=message):
        method(**params)
