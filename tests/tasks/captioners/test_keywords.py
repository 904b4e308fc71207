"""Terms that the picture bears out, by hand."""

import numpy as np
import pytest

from schemas.errors import DataError
from tasks.captioners.contract import Corpus, Draft, Failure, Known, Medium
from tasks.captioners.keywords import Keywords

WORDS = ("cat", "dog", "tree", "car", "sun")


def encode(texts):
    """Each known word lies on an axis of its own; others between all of them."""
    rows = [np.eye(5)[WORDS.index(text)] if text in WORDS else np.full(5, 5**-0.5) for text in texts]
    return np.array(rows, np.float32).reshape(-1, 5)


def vector(**parts):
    made = np.array([parts.get(word, 0.0) for word in WORDS], np.float32)
    return made / np.linalg.norm(made)


@pytest.fixture
def learned():
    """Ten media: three cats, two dogs, five cars."""
    media = (
        [vector(cat=1, sun=0.1 * n) for n in range(3)] + [vector(dog=1)] * 2 + [vector(car=1, sun=0.2)] * 5
    )
    texts = tuple(Known(str(n), word) for n, word in enumerate(WORDS))
    pairs = np.array([[0, 0]], np.int64)
    ids = tuple(f"{n:02d}" for n in range(10))
    return Keywords().learn(Corpus(ids, np.stack(media), texts, encode(WORDS), pairs, encode))


def medium(terms, role="keywords", **parts):
    return Medium(
        "m",
        np.zeros((4, 4, 3), np.uint8),
        vector(**parts) if parts else None,
        (Known("k", terms, role=role),),
    )


def test_support_is_the_share_of_media_a_term_fits_worse(learned):
    (draft,) = learned([medium("Cat, tree, car", cat=1, car=0.2)])
    # cat: 0.98, above the seven that are no cats and below the three that are. car: 0.196, above five, below five.
    # tree: 0 like all others.
    assert draft.facts["terms"] == {"cat": 0.7, "tree": 0.0, "car": 0.5}
    assert draft.text == "cat"
    assert (draft.statements[0].confidence, draft.statements[0].parents, draft.parents) == (
        0.7,
        ("k",),
        ("k",),
    )


def test_the_best_borne_out_terms_come_first_and_no_more_than_asked(learned):
    (draft,) = learned([medium("sun; dog; tree", dog=1, sun=1, tree=0.5)])
    assert isinstance(draft, Draft) and set(draft.text.split(", ")) == {"sun", "dog", "tree"}
    assert [s.confidence for s in draft.statements] == sorted(
        (s.confidence for s in draft.statements), reverse=True
    )
    (one,) = Keywords(most=1).learn(
        Corpus(
            ("a", "b"),
            np.stack([vector(cat=1), vector(car=1)]),
            (),
            encode([]),
            np.empty((0, 2), np.int64),
            encode,
        )
    )([medium("sun; dog", dog=1, sun=1)])
    assert len(one.statements) == 1


@pytest.mark.parametrize(
    "terms", ["", "clip art, icon", "IMG_2031, 20231105", "a b c d e f g cat", "<b>cat</b>"]
)
def test_packing_names_nothing(learned, terms):
    (said,) = learned([medium(terms, cat=1)])
    assert said.reason == "nothing-to-say"


def test_other_roles_are_not_read_and_what_is_not_borne_out_is_not_said(learned):
    (other, wrong, blind) = learned(
        [
            medium("cat", role="title", cat=1),
            medium("tree", cat=1),
            Medium("m", np.zeros((1, 1, 3), np.uint8)),
        ]
    )
    assert [said.reason for said in (other, wrong, blind)] == [
        "nothing-to-say",
        "nothing-to-say",
        "no-vector",
    ]
    assert "the highest is 0.00" in wrong.message
    assert all(isinstance(said, Failure) for said in (other, wrong, blind))


def test_it_must_learn_first_and_from_enough(learned):
    with pytest.raises(DataError, match="learn"):
        Keywords()([medium("cat", cat=1)])
    with pytest.raises(DataError, match="has 0 media"):
        Keywords().learn(
            Corpus((), np.empty((0, 5), np.float32), (), encode([]), np.empty((0, 2), np.int64), encode)
        )
    with pytest.raises(ValueError, match="least"):
        Keywords(least=2)
