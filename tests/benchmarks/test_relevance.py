"""What the bench of reranking counts, on cases small enough to count by hand."""

import numpy as np

from benchmarks.relevance import Judged, contexts, swaps
from tasks.rerankers import Asked, Found, Lesson


def lesson(scores, right):
    vectors = np.ones((len(scores), 2), np.float32)
    found = Found(tuple("abcdefgh"[: len(scores)]), vectors, np.array(scores, np.float32))
    return Lesson(Asked(vectors[0]), found, np.array(right, bool))


def test_contexts_by_hand():
    judged = Judged(
        [
            lesson([0.9, 0.8, 0.3], [True, False, True]),  # keeps a right and a wrong one of 4 right ones
            lesson([0.4, 0.3, 0.2], [True, False, False]),  # keeps nothing, wrongly
            lesson([0.9, 0.2, 0.1], [False, False, False]),  # keeps one, though there is no answer
            lesson([0.4, 0.2, 0.1], [False, False, False]),  # keeps nothing, rightly
        ],
        np.array([4, 1, 0, 0]),
    )
    found = contexts([one.candidates.scores for one in judged.lessons], judged, at_least=0.5, k=10)
    assert {name: values.tolist() for name, values in found.items()} == {
        "precision": [0.5, 0],
        "recall": [0.25, 0],
        "empty": [0, 1],
        "size": [2, 0, 1, 0],
        "spoilt": [1, 0, 1, 0],
        "silent": [0, 1],
        "right": [1],
        "kept": [3],
    }


def test_names_that_differ_in_one_word_ask_for_each_other():
    assert sorted(swaps(["man farmer", "woman farmer", "man", "woman farmer at work"])) == [
        (0, 1, "man", "woman"),
        (1, 0, "woman", "man"),
    ]
