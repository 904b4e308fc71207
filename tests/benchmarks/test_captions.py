"""The measurement behind the tables of captions: nothing hidden is read, drafts are judged as on the platform."""

import time
from types import ModuleType

import numpy as np
import pytest

from benchmarks.captions import (
    SHARES,
    Found,
    Stamps,
    Written,
    arms,
    batch,
    corpus_of,
    drawn,
    fate,
    likeness,
    numbered,
    plain,
    report,
    served,
    tied,
    timed,
    trained,
    written_by,
)
from tasks.captioners.contract import Known, Medium
from tasks.encoders.hashing import Hashing

THINGS = ("dog", "cat", "horse", "frog", "swan", "goat", "lion", "mouse", "truck", "train", "boat", "tram")
COLOURS = ("red", "green", "blue")
BLANK = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture
def stamps():
    """36 pictures whose vectors are those of their captions, so that neighbours show the same thing."""
    captions = [f"A {colour} {thing}." for thing in THINGS for colour in COLOURS]
    vectors = Hashing()(captions)
    rows = np.arange(len(captions))
    return Stamps(
        [Medium(f"m{row}", BLANK, vector) for row, vector in zip(rows, vectors, strict=True)],
        captions,
        [
            (Known(f"m{row}:de", f"Ein {caption[2:]}", "de"), Known(f"m{row}:fr", f"Un {caption[2:]}", "fr"))
            for row, caption in enumerate(captions)
        ],
        vectors,
        rows,
        rows,
    )


def test_rows_are_tied_through_others():
    assert tied(np.array([0, 0, 2, 3, 4]), np.array([5, 6, 6, 7, 8])).tolist() == [0, 0, 0, 1, 2]


def test_draws_whole_groups_and_no_more_than_asked():
    group = np.array([0, 0, 0, 1, 2, 2, 3, 4, 4])
    among = np.array([0, 1, 2, 4, 5, 6])
    for seed in range(20):
        rows = drawn(group, among, 4, np.random.default_rng(seed))
        assert len(rows) <= 4 and set(rows) <= set(among)
        for number in set(group[rows]):
            assert set(np.flatnonzero(group == number)) <= set(rows)
    assert drawn(group, among, 6, np.random.default_rng(0)).tolist() == among.tolist()


def test_learners_see_the_few_alone(stamps):
    few = np.array([3, 7])
    english = corpus_of(stamps, few, Hashing(), foreign=False)
    assert [text.text for text in english.texts] == [stamps.caption[3], stamps.caption[7]]
    both = corpus_of(stamps, few, Hashing(), foreign=True)
    said = [(both.media_ids[medium], both.texts[text].text) for medium, text in both.pairs]
    assert sorted(said) == sorted(
        (f"m{row}", text)
        for row in few
        for text in (stamps.caption[row], *(one.text for one in stamps.foreign[row]))
    )
    assert len(both.text_vec) == len(both.texts)


@pytest.mark.parametrize("name", ["retrieve", "translate"])
def test_what_is_written_does_not_depend_on_hidden_captions(stamps, name):
    few, pool = np.arange(0, 36, 2), np.arange(1, 36, 2)
    hidden = [
        caption if row in few else "A hidden thing nobody knows."
        for row, caption in enumerate(stamps.caption)
    ]
    known, unknown = (
        written_by(name, one, few, pool, Hashing())
        for one in (
            stamps,
            Stamps(stamps.media, hidden, stamps.foreign, stamps.pooled, stamps.alike, stamps.group),
        )
    )
    assert known.first and known.first == unknown.first and known.accepted == unknown.accepted
    assert set(known.accepted) <= set(known.first) <= set(pool.tolist())


def test_every_medium_of_the_pool_has_one_fate(stamps):
    few, pool = np.arange(0, 36, 2), np.arange(1, 36, 2)
    one = written_by("retrieve", stamps, few, pool, Hashing())
    assert one.accepted.keys().isdisjoint(one.refused)
    shares = {name: share for name, share in fate(one, len(pool)).items() if "second" not in name}
    shares.pop("share in the model")
    assert sum(shares.values()) == pytest.approx(1)


def test_the_text_that_gates_think_best_of_is_served():
    by = {
        "a": Written(accepted={1: "one", 2: "two"}, worth={1: 0.6, 2: 0.9}),
        "b": Written(accepted={1: "uno"}, worth={1: 0.7}),
    }
    assert served(by) == [(1, "uno"), (2, "two")]


def test_arms_differ_in_what_they_say_they_differ(stamps):
    pool = np.arange(20)
    by = {
        "a": Written({row: f"a {row}" for row in range(20)}, {row: f"a {row}" for row in range(8)}),
        "b": Written({row: f"b {row}" for row in range(10)}, {row: f"b {row}" for row in range(4)}),
    }
    for one in by.values():
        one.worth = dict.fromkeys(one.accepted, 1.0)
    found = arms(stamps, pool, by, np.random.default_rng(0))
    assert len(found["accepted"]) == len(found["unfiltered, as many"]) == 12
    assert len(found["unfiltered, all"]) == 30
    assert set(found["unfiltered, as many"]) < set(found["unfiltered, all"])
    shuffled = found["accepted, of other media"]
    assert sorted(text for _, text in shuffled) == sorted(text for _, text in found["accepted"])
    assert [row for row, _ in shuffled] == [row for row, _ in found["accepted"]] and shuffled != found[
        "accepted"
    ]
    inner: set[tuple[int, str]] = set()
    for share in SHARES:
        outer = set(found[f"{share:.0%} of accepted"])
        assert inner < outer <= set(found["accepted"]) and len(outer) == round(share * 12)
        inner = outer


def test_pairs_of_one_text_are_no_negatives(stamps):
    pairs = batch(stamps, [(0, "A dog."), (1, "a dog"), (2, "A cat!")], Hashing())
    assert pairs.text_key is not None and pairs.text_key[0] == pairs.text_key[1] != pairs.text_key[2]
    assert numbered(["b", "a", "b"]).tolist() == [1, 0, 1]


def test_human_captions_teach_a_head(stamps):
    rows = [(row, caption) for row, caption in enumerate(stamps.caption)]
    test = np.arange(36)
    right = trained(stamps, rows, test, Hashing(), 0)
    wrong = trained(stamps, [(row, stamps.caption[(row + 17) % 36]) for row in range(36)], test, Hashing(), 0)
    assert right.shape == (72,) and right.mean() > 0.9 > 0.6 > wrong.mean()


def test_metrics_of_captions_know_what_is_alike():
    truth = {
        0: "A small red dog on a mat.",
        1: "Two green cats in a tree.",
        2: "The old blue boat at sea.",
    }
    same = likeness(truth, truth)
    assert same["BLEU-4"] == pytest.approx(100)
    assert same["ROUGE-L"] == pytest.approx(1)
    assert same["CIDEr"] == pytest.approx(10)  # as the metric is scaled
    # Of "a dog", both words stand in the caption's seven in this order: F1 of 1 and 2 / 7.
    assert likeness({0: "a dog"}, truth)["ROUGE-L"] == pytest.approx(2 * (2 / 7) / (1 + 2 / 7))
    other = likeness({0: "Nothing whatever of this kind here."}, truth)
    assert other["ROUGE-L"] == other["CIDEr"] == 0
    assert all(np.isnan(value) for value in likeness({}, truth).values())
    assert plain("A red dog, on a mat!") == "a red dog on a mat"


def test_calls_are_timed_and_what_was_watched_is_put_back():
    where = ModuleType("where")
    where.nap = lambda: time.sleep(0.01)
    nap = where.nap
    with timed(where, "nap") as spent:
        where.nap()
        where.nap()
    assert len(spent) == 2 and min(spent) >= 0.01
    assert where.nap is nap


def test_the_report_shows_a_difference_that_is_there():
    rng = np.random.default_rng(0)
    names = [
        "few",
        "accepted",
        "unfiltered, as many",
        "unfiltered, all",
        "served",
        "accepted, of other media",
    ]
    names += [
        "human captions",
        "a, accepted",
        "a, unfiltered",
        *(f"{share:.0%} of accepted" for share in SHARES),
    ]
    found = Found()
    for name in names:
        rate = 0.9 if name == "human captions" else 0.5
        found.recall[name] = [(rng.random(300) < rate).astype(float) for _ in range(4)]
        found.size[name] = [10] * 4
    found.fate["a"] = [fate(Written(first={0: "x"}, accepted={0: "x"}, write_s=1.0), 2)] * 4
    found.metric["a", "accepted"] = [{"coverage": 0.5, "BLEU-4": 1.0, "ROUGE-L": 0.5, "CIDEr": 1.0}] * 4
    lines = report(found).splitlines()
    (human,) = [line for line in lines if line.startswith("| human captions | 10 |")]
    assert "larger than seed noise" in human
    (shuffled,) = [line for line in lines if line.startswith("| accepted, of other media | 10 |")]
    assert "no difference seen" in shuffled
