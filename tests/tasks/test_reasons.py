"""What is said for and against a doubted pair."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import PairBatch
from tasks.reasons import CANDIDATES, _highest, _media_per_text, reasons


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def corpus(texts=None) -> PairBatch:
    """Forty pairs of eight kinds; the text of pair 0 is of another kind."""
    rng = np.random.default_rng(0)
    kind = np.arange(40) % 8
    eye = np.eye(8)
    said = kind.copy()
    said[0] = 5
    return PairBatch(
        unit(eye[kind] + 0.05 * rng.normal(size=(40, 8))),
        unit(eye[said] + 0.05 * rng.normal(size=(40, 8))),
        media_key=np.arange(40, dtype=np.int64),
        text_key=np.arange(40, dtype=np.int64),
        texts=texts or [f"kind {number}" for number in said],
    )


CLEAN = np.r_[0.01, np.ones(39)].astype(np.float32)
ROW = np.array([0])


def of_kind(found, kind):
    return [reason for reason in found if reason.kind == kind]


def test_better_texts_and_media_are_of_the_right_kind():
    found = list(reasons(corpus(), ROW, CLEAN, {}))
    assert [r.said for r in of_kind(found, "better-text")] == ["kind 0"] * 3
    assert all(r.ref % 8 == 5 for r in of_kind(found, "better-media"))
    assert all(r.value > r.own for r in found if r.kind.startswith("better"))


def test_a_pair_that_fits_has_no_better_text_far_above_it():
    found = list(reasons(corpus(), np.array([3]), CLEAN, {}))
    assert all(r.said == "kind 3" for r in of_kind(found, "better-text"))


def test_a_scorer_that_objects_says_how_many_score_higher():
    scores = np.linspace(0, 1, 40, dtype=np.float32)
    (low,) = of_kind(reasons(corpus(), np.array([4]), CLEAN, {"geometry": scores}), "scorer")
    assert low.said == "scores lower than 90 % of the pairs"  # 4 of 40 lie below
    (high,) = of_kind(reasons(corpus(), np.array([30]), CLEAN, {"geometry": scores}), "scorer")
    assert high.said == "does not object"


def test_rules_that_a_text_breaks_are_named():
    texts = [f"kind {number}" for number in range(40)]
    texts[0] = "IMG_0001.png"
    texts[1] = "a cat и собака"
    texts[2] = "created with Inkscape"
    rows = np.array([0, 1, 2, 3])
    found = of_kind(reasons(corpus(texts), rows, CLEAN, {}), "rule")
    said = {(r.row, r.method): r.said for r in found}
    assert said[0, "file-name-like"] == "100% of the text looks like a file name"
    assert said[1, "mixed-script"] == "written in Cyrillic and Latin"
    assert said[2, "boilerplate"] == "a template phrase makes up 100% of the text"
    assert not any(row == 3 for row, _ in said)


def test_a_text_under_many_media_is_said_to_be():
    pairs = corpus()
    same = np.arange(40, dtype=np.int64)
    same[:6] = 0
    pairs = PairBatch(
        pairs.media_vec, pairs.text_vec, media_key=pairs.media_key, text_key=same, texts=pairs.texts
    )
    found = of_kind(reasons(pairs, ROW, CLEAN, {}), "rule")
    assert [(r.method, r.value) for r in found] == [("shared-text", 6)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 2**40)), max_size=30))
def test_media_under_a_text_are_counted_once(keys):
    text, media = np.array(keys, np.int64).reshape(-1, 2).T
    vectors = np.ones((len(keys), 1), np.float32)
    counts = _media_per_text(PairBatch(vectors, vectors, media_key=media, text_key=text))
    assert counts.tolist() == [len({medium for one, medium in keys if one == its}) for its, _ in keys]
    alone = _media_per_text(PairBatch(vectors, vectors, media_key=media))
    assert alone.tolist() == [1] * len(keys)


def test_how_many_pairs_are_looked_at_at_once_does_not_matter(monkeypatch):
    texts = [f"kind {number} и thumbnail" if number % 3 else f"IMG_{number:04}.png" for number in range(40)]
    rows, members = np.arange(0, 40, 2), {"geometry": np.linspace(0, 1, 40, dtype=np.float32)}
    whole = list(reasons(corpus(texts), rows, CLEAN, members))
    monkeypatch.setattr("tasks.reasons._READ", 3)
    monkeypatch.setattr("tasks.reasons._CHUNK", 3)
    parts = list(reasons(corpus(texts), rows, CLEAN, members))

    def told(found):
        return sorted((r.row, r.kind, r.method, r.position, r.ref, r.said) for r in found)

    assert {r.kind for r in whole} == {"scorer", "better-text", "better-media", "rule"}
    assert told(parts) == told(whole)


def test_nothing_is_said_of_nobody():
    assert not list(reasons(corpus(), np.array([], dtype=np.int64), CLEAN, {"geometry": CLEAN}))


def test_what_matches_best_is_what_sorting_everything_gives():
    values = np.random.default_rng(1).normal(size=(50, 400)).astype(np.float32)
    values[:, ::7] = -np.inf  # the pair's own text
    values[:, 1::2] = values[:, 1::2].round(1)  # many are equal: the first counts
    by_sorting = np.array([sorted(range(400), key=lambda c: (-row[c], c))[:3] for row in values])  # noqa: B023
    wanted = np.take_along_axis(values, by_sorting, axis=1)
    columns, highest = _highest(values.copy(), 3)
    assert (columns == by_sorting).all() and (highest == wanted).all()


def test_of_a_large_corpus_a_pair_is_compared_with_a_part_and_what_is_named_matches_better():
    n = CANDIDATES + 500
    rng = np.random.default_rng(2)
    kind = np.arange(n) % 8
    said = kind.copy()
    said[0] = 5
    eye = np.eye(8)
    pairs = PairBatch(
        unit(eye[kind] + 0.05 * rng.normal(size=(n, 8))),
        unit(eye[said] + 0.05 * rng.normal(size=(n, 8))),
        texts=[f"kind {number}" for number in said],
    )
    clean = np.ones(n, np.float32)
    clean[0] = 0.01
    found = of_kind(reasons(pairs, ROW, clean, {}), "better-text")
    assert [r.said for r in found] == ["kind 0"] * 3
    assert all(r.value > r.own and r.ref != 0 for r in found)
