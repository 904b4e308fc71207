"""What is read out of a query, against examples worked by hand, and against loops over spans."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from storage.gazetteer import gazetteer_of
from tasks.slots import understood
from tests.storage.slot_lakes import filled, medium


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    media = [
        medium(0, width_px=900, height_px=300, licence="CC0-1.0", texts=[("keywords", "dog, orange"), ("folder", "animals")]),
        medium(1, width_px=100, height_px=300, licence="Apache-2.0", texts=[("keywords", "traffic light")]),
        medium(2, licence="GPL-2.0-only", texts=[("keywords", "light, children"), ("title", "orange 1999")]),
        medium(3, texts=[("title", "il cane", "it"), ("keywords", "the, a, big ben")]),
        medium(4, media_type="image/svg+xml", modality="image", texts=[("keywords", "cats, übung")]),
        medium(5, media_type="audio/mpeg", modality="audio", width_px=None, height_px=None),
    ]  # fmt: skip
    return gazetteer_of(*filled(str(tmp_path_factory.mktemp("lake")), media))


def read(names, text, kinds="all", **options):
    found = understood(names, text, kinds=kinds, **options)
    return found.text, [
        (slot.words, sorted((one.kind, one.value) for one in slot.readings)) for slot in found.slots
    ]


@pytest.mark.parametrize(
    ("text", "left", "slots"),
    [
        ("large pictures of dogs", "pictures of dogs", ["large", "pictures"]),
        ("a large dog", "a large dog", []),
        ("Big Ben", "Big Ben", []),
        ("public domain cat", "cat", ["public domain"]),
        ("under the apache", "under the apache", []),
        ("apache camp", "apache camp", []),
        ("cat under apache", "cat", ["apache"]),
        ("cat, apache licence", "cat", ["apache"]),
        ("a cat in Italian", "a cat", ["Italian"]),
        ("an Italian flag", "an Italian flag", []),
        ("Italian captions", "captions", ["Italian"]),
        ("sounds of the sea", "the sea", ["sounds"]),
        ("svg cat", "cat", ["svg"]),
        ("large", "large", []),
        ("cc0", "cc0", ["cc0"]),
        ("dog orange 1999", "dog orange 1999", []),
        ("", "", []),
        ("  ?! ", "  ?! ", []),
    ],
)
def test_auto_takes_what_cannot_be_meant_otherwise(names, text, left, slots):
    found = understood(names, text)
    assert [slot.words for slot in found.slots] == slots
    if "pictures" not in slots:
        assert found.text == left


def test_bare_names_count_when_all_are_asked_for(names):
    assert read(names, "large dogs") == (
        "dogs",
        [("large", [("size", "large")]), ("dogs", [("keyword", "dog")])],
    )
    assert read(names, "a child") == ("a child", [("child", [("keyword", "children")])])
    assert read(names, "Übung") == ("Übung", [("Übung", [("keyword", "übung")])])
    assert read(names, "cat") == ("cat", [("cat", [("keyword", "cats")])])


def test_the_longest_phrase_wins_and_no_word_is_used_twice(names):
    assert read(names, "a Traffic_Light") == (
        "a Traffic_Light",
        [("Traffic_Light", [("keyword", "traffic light")])],
    )
    assert read(names, "traffic, light")[1] == [("traffic, light", [("keyword", "traffic light")])]
    assert read(names, "light traffic")[1] == [("light", [("keyword", "light")])]
    assert read(names, "big ben")[1] == [("big ben", [("keyword", "big ben")])]


def test_readings_of_the_same_words_are_alternatives(names):
    found = understood(names, "orange", kinds="all")
    (slot,) = found.slots
    assert {(one.kind, one.media) for one in slot.readings} == {("keyword", 1), ("colour", 2)}
    assert slot.media == 2 and slot.where is None and found.text == "orange"
    assert "--without keyword --without colour" in str(slot)


def test_common_words_and_single_letters_are_no_slots(names):
    assert read(names, "the a of 1 x") == ("the a of 1 x", [])
    assert read(names, "keyword:the")[1] == [("keyword:the", [("keyword", "the")])]


@pytest.mark.parametrize("kinds", ["auto", "all"])
def test_what_is_written_out_counts(names, kinds):
    text, slots = read(
        names, 'dogs licence:cc0 folder:animals license:"public domain" keyword:"Traffic Light"', kinds
    )
    assert [slot for slot in slots if ":" in slot[0]] == [
        ("licence:cc0", [("licence", "CC0-1.0")]),
        ("folder:animals", [("folder", "animals")]),
        ('license:"public domain"', [("licence", "CC0-1.0")]),
        ('keyword:"Traffic Light"', [("keyword", "traffic light")]),
    ]
    assert text == "dogs animals Traffic Light"


def test_what_is_written_out_and_unknown_is_refused(names):
    with pytest.raises(DataError, match=r"no medium has licence:mit; it has: "):
        understood(names, "dog licence:mit")
    with pytest.raises(DataError, match="near it: dog"):
        understood(names, "keyword:dogg")
    assert understood(names, "http://x title:y time 12:30").slots == ()


def test_a_kind_can_be_taken_away(names):
    assert read(names, "large dogs", without=["size"]) == ("large dogs", [("dogs", [("keyword", "dog")])])
    assert read(names, "orange", without=["colours"])[1] == [("orange", [("keyword", "orange")])]
    assert read(names, "dog licence:cc0", without=["licence", "keyword"]) == ("dog licence:cc0", [])
    assert read(names, "dog licence:cc0", kinds="none") == ("dog licence:cc0", [])
    assert read(names, "large dog", kinds=["size"]) == ("dog", [("large", [("size", "large")])])
    with pytest.raises(DataError, match="'weight' is no kind of slot; known: keyword, folder"):
        understood(names, "dog", without=["weight"])


def test_what_every_medium_has_is_no_slot(tmp_path):
    names = gazetteer_of(*filled(str(tmp_path), [medium(n, licence="CC0-1.0") for n in range(3)]))
    assert understood(names, "cc0 png picture, large", kinds="all").slots == ()
    assert understood(names, "licence:cc0 x").slots[0].media == 3


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE media; --", "licence:\"' OR 1=1 --\"", "dog' OR '1'='1", "licence:'", 'licence:"', "a" * 100_000,
        "dog " * 25_000, "licence:cc0 " * 9_000, "\x00\ud7ff\u202e dog", "(" * 5_000, "size:" * 20_000, "é" * 50_000,
    ],
)  # fmt: skip
def test_hostile_words_are_words(names, text):
    start = time.perf_counter()
    try:
        found = understood(names, text, kinds="all")
    except DataError as error:
        assert "no medium has" in str(error) and len(str(error)) < 500
    else:
        assert all(slot.words in text for slot in found.slots)
        assert all(one in names.all_readings for slot in found.slots for one in slot.readings)
    assert time.perf_counter() - start < 20


VOCABULARY = [
    "dog",
    "dogs",
    "large",
    "traffic",
    "light",
    "orange",
    "1999",
    "cc0",
    "in",
    "italian",
    "the",
    "big",
    "ben",
]


@given(st.lists(st.sampled_from(VOCABULARY), max_size=7), st.sampled_from(["auto", "all"]))
@settings(max_examples=60, deadline=None)
def test_slots_are_longest_first_by_loops(names, words, kinds):
    text = " ".join(words)
    found = understood(names, text, kinds=kinds)
    spans = [(slot.start, slot.end) for slot in found.slots]
    assert spans == sorted(spans) and all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    for slot in found.slots:
        assert text[slot.start : slot.end] == slot.words
    if kinds == "all":  # what is free holds no name of more words than one that was taken over it
        named = [
            word
            for word in ("dog", "dogs", "large", "orange", "1999", "cc0", "italian", "light")
            if word in words
        ]
        taken = " ".join(slot.words for slot in found.slots).split()
        assert sorted(word for word in words if word in named) == sorted(
            word for word in taken if word in named
        )
