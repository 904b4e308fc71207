"""Searches with slots on them, against loops over what passes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from schemas.ranking import Query
from storage.fulltext import match
from storage.gazetteer import gazetteer_of
from storage.search import dense
from tasks.retrieval.find import find
from tasks.search import search
from tasks.slots import narrowed, understood
from tests.storage.slot_lakes import ENCODER, TABLE, drawn, filled, medium, name


def has(one, kind, value):
    """Whether a drawn medium has a value, by plain Python."""
    texts = [(role, text) for role, text, *more in one["texts"] if not more or all(more[1:])]
    if kind == "keyword":
        return any(
            part.strip().lower().replace("_", " ") in (value, f"{value}s")  # either number is the same name
            for r, t in texts
            if r == "keywords"
            for part in t.split(",")
        )
    if kind == "licence":
        return one["licence"] is not None and one["licence"] == value
    if kind == "modality":
        return one["modality"] == value
    if kind == "wide":
        return one["width_px"] is not None and one["width_px"] / one["height_px"] >= 4 / 3 - 1e-9
    raise AssertionError(kind)


def stands(one):
    return one["present"] and one["kept"] is not False


def by_loops(media, passes, words, k):
    query = ENCODER([words])[0]
    scored = []
    for one in media:
        if stands(one) and one["shows"] and passes(one):
            score = sum(float(a) * float(b) for a, b in zip(ENCODER([one["shows"]])[0], query, strict=True))
            scored.append((-float(np.float32(score)), one["media_id"]))
    return sorted(scored)[:k]


ASKED = [
    ("church keyword:dog", "church dog", [("keyword", "dog")]),
    ("wide church licence:cc0", "church", [("wide", ""), ("licence", "CC0-1.0")]),
    ('red licence:"it\'s mine"', "red", [("licence", "it's mine")]),
    ("keyword:orange sounds", "orange", [("keyword", "orange"), ("modality", "audio")]),
]


@given(seed=st.integers(0, 10_000), which=st.integers(0, len(ASKED) - 1), k=st.integers(1, 12))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_results_are_those_that_pass_in_the_order_of_the_vectors(tmp_path_factory, seed, which, k):
    media = drawn(seed)
    lake, _ = filled(str(tmp_path_factory.mktemp("lake")), media)
    text, words, wanted = ASKED[which]
    kept = [one for one in media if stands(one)]
    if any(not any(has(one, *value) for one in kept) for value in wanted):
        return  # a name the snapshot has not is another test's
    expected = by_loops(media, lambda one: all(has(one, *value) for value in wanted), words, k)
    found = find(lake, Query(text=text, k=k, by="media"), slots=("size", "modality"))
    if expected:
        assert [
            (-float(score), item)
            for item, score in zip(found.candidates.item_ids, found.candidates.scores, strict=True)
        ] == [(pytest.approx(score, abs=1e-5), item) for score, item in expected]
        assert not any("given up" in note for note in found.candidates.notes)
    else:
        assert not len(found.candidates) or any("given up" in note for note in found.candidates.notes)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_listed_items_are_found_whatever_finds_them(tmp_path_factory, seed):
    media = drawn(seed)
    lake, snapshot = filled(str(tmp_path_factory.mktemp("lake")), media)
    draw = np.random.default_rng(seed)
    among = frozenset([one["media_id"] for one in media if draw.random() < 0.4] + ["f" * 64])
    vector = ENCODER(["dog"])
    for where in (None, "width_px > 100"):
        (everything,) = dense(lake, snapshot, TABLE, vector, 100, where=where)
        (found,) = dense(lake, snapshot, TABLE, vector, 3, where=where, among=among)
        assert found.item_ids == tuple(item for item in everything.item_ids if item in among)[:3]
        matched = match(lake, snapshot, "red dog", 100, where=where)
        assert (
            match(lake, snapshot, "red dog", 3, where=where, among=among).item_ids
            == tuple(item for item in matched.item_ids if item in among)[:3]
        )
        for by in ("texts", "both"):
            of_all = find(lake, Query(text="red dog", k=100, by=by, where=where)).candidates.item_ids
            own = find(
                lake, Query(text="red dog", k=100, by=by, where=where, among=among)
            ).candidates.item_ids
            assert set(own) == {item for item in of_all if item in among}
    assert dense(lake, snapshot, TABLE, vector, 3, among=frozenset())[0].item_ids == ()


@pytest.mark.parametrize("seed", [3, 14, 159])
def test_texts_of_few_media_and_texts_in_turn_find_the_same(tmp_path, monkeypatch, seed):
    media = drawn(seed, count=40)
    lake, _ = filled(str(tmp_path), media)
    among = frozenset(one["media_id"] for one in media[::3])
    for k in (1, 4, 50):
        for where in (None, "width_px > 100"):
            query = Query(text="red dog", k=k, by="texts", where=where, among=among)
            found = []
            for few in (2000, 0):
                monkeypatch.setattr("tasks.retrieval.first.FEW", few)
                found.append(find(lake, query).candidates)
            assert found[0].item_ids == found[1].item_ids
            assert found[0].scores.tolist() == found[1].scores.tolist()


@pytest.fixture
def animals(tmp_path):
    """A large and a small dog, a large cat, all of the same look but for what they show."""
    media = [
        medium(0, texts=[("keywords", "dog")], width_px=900, height_px=900, shows="dog"),
        medium(1, texts=[("keywords", "dog")], width_px=50, height_px=50, shows="dog"),
        medium(
            2, texts=[("keywords", "cat")], width_px=900, height_px=900, licence="GPL-2.0-only", shows="cat"
        ),
        medium(3, texts=[("keywords", "bird")], width_px=400, height_px=400, shows="bird"),
    ]
    return filled(str(tmp_path), media)[0]


def test_the_words_that_narrow_are_said_and_can_be_taken_away(animals):
    results = search(animals, "large dog pictures, small images", slots="none")
    assert results.notes == () and len(results.hits) == 4
    results = search(animals, "large dogs", slots="all")
    assert [hit.media_id for hit in results.hits] == [name("a", 0)]
    assert (
        results.notes[0]
        == "large -> width_px >= 900 OR height_px >= 900 (2 media); without it: --without size"
    )
    assert results.notes[1] == "dogs -> keyword 'dog' (2 media); without it: --without keyword"
    assert {hit.media_id for hit in search(animals, "large dogs", slots="all", without=["size"]).hits} == {
        name("a", 0), name("a", 1)
    }  # fmt: skip
    assert len(search(animals, "large dogs", slots="auto").hits) == 4


def test_where_nothing_passes_the_narrowest_is_given_up_first(animals):
    found = find(animals, Query(text="gpl small dog", by="media"), slots="all")
    # gpl leaves one medium, small one, dog two; of equals the first goes first
    assert found.candidates.item_ids == (name("a", 1),)
    assert (
        found.candidates.notes[-1]
        == "nothing passed everything that was asked, so gpl (licence) was given up"
    )
    assert [slot.words for slot in found.slots] == ["small", "dog"]


def test_words_given_up_are_encoded_again(animals):
    kept = narrowed(animals, animals.head(), Query(text="gpl small dog"), "all")
    assert kept.query.text == "dog" and "licence" in kept.query.where
    less = kept.relaxed()
    assert less.query.text == "gpl dog" and "licence" not in less.query.where
    assert [slot.words for slot in less.dropped] == ["gpl"]


def test_what_is_written_out_is_never_given_up(animals):
    found = find(animals, Query(text="licence:gpl keyword:bird"), slots="auto")
    assert not len(found.candidates) and len(found.slots) == 2
    found = find(animals, Query(text="keyword:bird large", by="media"), slots="all")
    assert (
        found.candidates.item_ids == (name("a", 3),)
        and "large (size) was given up" in found.candidates.notes[-1]
    )


def test_nothing_is_given_up_where_that_does_not_help(animals):
    found = find(animals, Query(text="small dog", where="width_px > 5000"), slots="all")
    assert not len(found.candidates) and [slot.words for slot in found.slots] == ["small", "dog"]
    assert not any("given up" in note for note in found.candidates.notes)


def test_paging_past_the_end_gives_nothing_up(animals):
    found = find(animals, Query(text="large dog", offset=5, by="media"), slots="all")
    assert not len(found.candidates) and len(found.slots) == 2


def test_conditions_of_the_caller_stay_what_they_were(animals):
    found = find(
        animals, Query(text="dog", where="width_px < 100 OR height_px > 5000", by="media"), slots="all"
    )
    assert found.candidates.item_ids == (name("a", 1),)
    with pytest.raises(DataError, match="cannot read"):
        find(animals, Query(text="large dog", where="width_px < 0) OR (1 = 1"), slots="all")
    among = frozenset({name("a", 1), name("a", 2)})
    found = find(animals, Query(text="dog", among=among, by="media"), slots="all")
    assert found.candidates.item_ids == (name("a", 1),)
    long = " OR ".join(["width_px < 100"] * 220)  # leaves no room for another condition
    found = find(animals, Query(text="small pictures", where=long, by="media"), slots="auto")
    assert found.candidates.item_ids == (name("a", 1),)


@pytest.mark.parametrize("first", ["dense", "match", "hybrid"])
def test_whatever_finds_candidates_is_narrowed(animals, first):
    found = find(animals, Query(text="small dog", first=first), slots="all")
    assert found.candidates.item_ids == (name("a", 1),)


def test_texts_and_pictures_have_no_slots(animals):
    assert find(animals, Query(text="small dog", side="text"), slots="all").slots == ()
    assert find(animals, Query(like=(name("a", 0),)), slots="all").slots == ()
    with pytest.raises(DataError, match="auto, all, none"):
        find(animals, Query(text="dog"), slots="some")


def test_a_query_is_understood_the_same_each_time(animals):
    names = gazetteer_of(animals, animals.head())
    assert understood(names, "large dog", kinds="all") == understood(names, "large dog", kinds="all")
