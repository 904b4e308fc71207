"""The simulation behind the measurements of cross-check: errors at exactly their rates, and no word of them let out."""

import json

import numpy as np
import pytest

from benchmarks.hallucinations import (
    CELLS,
    COLOURS,
    KINDS,
    MANNERS,
    RATES,
    RETRIEVED,
    Error,
    Said,
    captioned,
    error,
    measured,
    mistaken,
    parsed,
    phrase,
    pictures,
)
from tasks.assessors.cross_check import CrossCheck
from tasks.assessors.self_check import SelfCheck
from tasks.encoders.hashing import Hashing

CAPTIONS = {
    "animals": ("dog", "cat", "horse", "red fox", "frog", "black swan", "goat", "lion", "pig", "mouse"),
    "vehicles": (
        "car",
        "blue truck",
        "boat with a sail",
        "train",
        "tractor",
        "bicycle",
        "bus",
        "tram",
        "ship",
        "raft",
    ),
}


@pytest.fixture
def manifest(tmp_path):
    rows = [
        {
            "media": f"{category}/{at}.png",
            "category": category,
            "texts": [{"text": f"A {caption}.", "language": "en", "role": "caption"}],
        }
        for category, captions in CAPTIONS.items()
        for at, caption in enumerate(captions)
    ]
    rows.append({"category": "animals", "texts": [{"text": "A text.", "language": "en", "role": "caption"}]})
    rows.append(rows[0] | {"texts": [{"text": "The letter q.", "language": "en", "role": "caption"}]})
    rows.append(rows[0] | {"texts": [{"text": "Hello? Who is there?", "language": "en", "role": "caption"}]})
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def encode():
    return Hashing()


def test_takes_a_caption_apart_and_puts_it_together():
    assert parsed("Two", "red apples on a plate") == Said(2, ("red",), "apples", "on a plate")
    assert phrase(parsed("Two", "red apples on a plate")) == "two red apples on a plate"
    assert phrase(parsed("An", "owl")) == "an owl"


def test_takes_pictures_with_one_plain_phrase(manifest):
    assert [picture.caption for picture in pictures(manifest)] == [
        f"A {caption}." for captions in CAPTIONS.values() for caption in captions
    ]


def test_an_error_changes_what_it_says_it_changes():
    said = Said(1, ("red",), "truck", "with a ladder")
    assert phrase(mistaken(said, Error("object", "cow"))) == "a red cow with a ladder"
    assert phrase(mistaken(said, Error("colour", "blue"))) == "a blue truck with a ladder"
    assert phrase(mistaken(said, Error("count", "3"))) == "three red trucks with a ladder"


def test_what_is_drawn_is_wrong(manifest):
    everything = pictures(manifest)
    rng = np.random.default_rng(0)
    for picture in everything * 5:
        wrong = error(picture, everything, rng)
        others = {one.said.noun for one in everything if one.category != picture.category}
        assert wrong.kind in KINDS
        assert {
            "object": wrong.value in others,
            "colour": wrong.value in COLOURS and wrong.value not in picture.said.details,
            "count": wrong.value in "23456",
        }[wrong.kind]


@pytest.mark.parametrize(("manners", "errors"), CELLS)
def test_each_captioner_errs_at_exactly_its_rate(manners, errors, manifest, encode):
    everything = pictures(manifest)
    one = captioned(everything, everything, encode, errors=errors, manners=manners, samples=3, seed=1)
    assert sorted(one.rates.values()) == list(RATES)
    generator = np.array(one.drafts.generator)
    for name, rate in one.rates.items():
        wrong = (one.kind != "")[generator == name].reshape(len(everything), 3)
        assert wrong.sum() == round(rate * len(everything)) * 3
        assert errors == "random" or (wrong.all(axis=1) | ~wrong.any(axis=1)).all()
    assert RETRIEVED not in generator


def test_evidence_is_what_all_others_said_of_the_picture(manifest, encode):
    everything = pictures(manifest)
    drafts = captioned(
        everything, everything, encode, errors="random", manners="own", samples=2, seed=0
    ).drafts
    for row in range(0, len(drafts), 7):
        same = drafts.own == drafts.own[row]
        others = {
            drafts.texts[at] for at in np.flatnonzero(same) if drafts.generator[at] != drafts.generator[row]
        }
        *ranked, retrieved = drafts.evidence[row]
        assert {text for passages in ranked for text in passages} == others
        assert len(ranked) == len(MANNERS) - 1
        assert everything[drafts.own[row]].caption not in retrieved


def test_cross_check_sees_systematic_errors_and_self_check_does_not(manifest, encode):
    everything = pictures(manifest)
    one = captioned(everything, everything, encode, errors="systematic", manners="any", samples=3, seed=0)
    by_others = measured(one, CrossCheck(distances=("surprisal",)))
    by_itself = measured(one, SelfCheck(distances=("surprisal",)))
    assert by_others["spearman"] > 0.9 > by_itself["spearman"]
    assert by_others["auroc"] > 0.85 > 0.7 > by_itself["auroc"]
