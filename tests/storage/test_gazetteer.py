"""Names of values: each value's media against SQL over the friendly tables, and against plain loops."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import gazetteer
from storage.gazetteer import KINDS, gazetteer_of, phrase
from storage.sql import sql
from tests.storage.slot_lakes import drawn, filled, medium, name


def media_of(names, reading):
    return set(names.ids.filter(names.having([reading])).to_pylist())


def reading_of(names, kind, said):
    found = [one for one in names.readings(phrase(said)) if one.kind == kind]
    assert len(found) == 1, found
    return found[0]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_value_has_the_media_its_sql_finds(tmp_path_factory, seed):
    lake, snapshot = filled(str(tmp_path_factory.mktemp("lake")), drawn(seed))
    names = gazetteer_of(lake, snapshot)
    assert {one.kind for one in names.all_readings} >= {"keyword", "folder", "licence", "size", "modality"}
    for one in names.all_readings:
        found = sql(lake, f"SELECT media_id FROM media WHERE kept IS NOT FALSE AND ({one.condition})")
        assert media_of(names, one) == set(found.table["media_id"].to_pylist()), one
        assert one.media == len(media_of(names, one)) > 0
        if one.where is not None:
            passed = lake.dataset("media", snapshot).to_table(
                columns=["media_id"], filter=f"present AND kept IS NOT FALSE AND ({one.where})"
            )
            assert media_of(names, one) == set(passed["media_id"].to_pylist()), one


@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_keywords_and_folders_equal_loops(tmp_path_factory, seed):
    media = drawn(seed)
    lake, snapshot = filled(str(tmp_path_factory.mktemp("lake")), media)
    names = gazetteer_of(lake, snapshot)
    expected: dict[tuple[str, str], set[str]] = {}
    for one in media:
        if not one["present"] or one["kept"] is False:
            continue
        for role, text, *_ in one["texts"]:
            parts = text.split(",") if role == "keywords" else text.split("/") if role == "folder" else []
            for part in parts:
                said = part.strip().lower().replace("_", " ")
                said = "x drop table media" if "DROP" in part else said
                expected.setdefault(("keyword" if role == "keywords" else "folder", said), set()).add(
                    one["media_id"]
                )
    found = {
        (one.kind, one.value): media_of(names, one)
        for one in names.all_readings
        if one.kind in ("keyword", "folder") and "/" not in one.value
    }
    assert found == expected


def test_a_path_is_one_name_and_so_is_each_part(tmp_path):
    media = [medium(0, texts=[("folder", "animals/birds")]), medium(1, texts=[("folder", "birds/animals")])]
    names = gazetteer_of(*filled(str(tmp_path), media))
    assert {one.value for one in names.readings("animals birds")} == {"animals/birds"}
    assert reading_of(names, "folder", "animals").media == 2
    assert reading_of(names, "folder", "animals/birds").media == 1


def test_sizes_are_quarters_of_the_snapshot_and_ratios_of_sides(tmp_path):
    sides = [
        (100, 100),
        (200, 100),
        (300, 300),
        (100, 400),
        (None, None),
        (500, 480),
        (600, 200),
        (700, 700),
        (800, 10),
    ]
    media = [medium(n, width_px=w, height_px=h) for n, (w, h) in enumerate(sides)]
    names = gazetteer_of(*filled(str(tmp_path), media))
    # longer sides: 100 200 300 400 500 600 700 800; a quarter of 7 steps is 1.75, three quarters 5.25
    expected = {
        "large": {5, 6, 7, 8} - {5}, "small": {0, 1}, "wide": {1, 6, 8}, "tall": {3}, "square": {0, 2, 5, 7},
    }  # fmt: skip
    for size, which in expected.items():
        assert media_of(names, reading_of(names, "size", size)) == {name("a", n) for n in which}, size
    assert reading_of(names, "size", "big").where == "width_px >= 600 OR height_px >= 600"


def test_sides_of_a_billion_pixels_do_not_overflow(tmp_path):
    media = [medium(0, width_px=2**31 - 1, height_px=2**31 - 1), medium(1, width_px=2**31 - 1, height_px=1)]
    lake, snapshot = filled(str(tmp_path), media)
    for one in gazetteer_of(lake, snapshot).all_readings:
        if one.kind == "size":
            passed = lake.dataset("media", snapshot).to_table(columns=["media_id"], filter=one.where)
            assert set(passed["media_id"].to_pylist()) == media_of(gazetteer_of(lake, snapshot), one), one


@pytest.mark.parametrize(
    ("said", "expected"),
    [("cc0", {0}), ("public domain", {0, 3}), ("gpl", {1}), ("gpl 2 0 only", {1}), ("cc by", {2}), ("cc by sa", {2}),
     ("creative commons", {2, 3}), ("it's mine", {4})],
)  # fmt: skip
def test_licences_are_known_by_their_families(tmp_path, said, expected):
    licences = ["CC0-1.0", "GPL-2.0-only", "CC-BY-SA-4.0", "CC-PDDC", "it's mine", None]
    lake, snapshot = filled(str(tmp_path), [medium(n, licence=one) for n, one in enumerate(licences)])
    names = gazetteer_of(lake, snapshot)
    reading = reading_of(names, "licence", said)
    assert media_of(names, reading) == {name("a", n) for n in expected}
    passed = lake.dataset("media", snapshot).to_table(columns=["media_id"], filter=reading.where)
    assert set(passed["media_id"].to_pylist()) == {name("a", n) for n in expected}


def test_colours_languages_formats_and_modalities(tmp_path):
    captions = [
        {
            "caption_id": name("d", n), "media_id": name("a", n), "status": status, "active": True,
            "slots": json.dumps([{"head": "cat", "assertion": said, "attributes": {"colour": "gray"}}]),
        }
        for n, (status, said) in enumerate([("accepted", "present"), ("refused", "present"), ("accepted", "absent")])
    ]  # fmt: skip
    media = [
        medium(0, media_type="image/svg+xml"),
        medium(1, texts=[("title", "un gatto", "it")], media_type="audio/mpeg", modality="audio"),
        medium(2, texts=[("keywords", "grey, cat")]),
        medium(3, texts=[("description", "grey")]),
        medium(4, texts=[("title", "greyhound", "it", True, False)]),
    ]
    names = gazetteer_of(*filled(str(tmp_path), media, captions))
    for kind, said, expected in (
        ("colour", "gray", {0, 2}), ("colour", "grey", {0, 2}), ("language", "italian", {1}), ("format", "svg", {0}),
        ("format", "mp3", {1}), ("modality", "sound", {1}), ("modality", "picture", {0, 2, 3, 4}),
    ):  # fmt: skip
        assert media_of(names, reading_of(names, kind, said)) == {name("a", n) for n in expected}, said


def test_of_a_kind_the_values_of_most_media_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(gazetteer, "MOST", 2)
    words = ["dog", "dog", "dog", "cat", "cat", "bird"]
    media = [medium(n, texts=[("keywords", one)]) for n, one in enumerate(words)]
    names = gazetteer_of(*filled(str(tmp_path), media))
    assert [one.value for one in names.all_readings if one.kind == "keyword"] == ["dog", "cat"]


def test_a_snapshot_without_media_names_nothing(tmp_path):
    lake, snapshot = filled(str(tmp_path), [medium(0, present=False, texts=[("keywords", "dog")])])
    names = gazetteer_of(lake, snapshot)
    assert len(names.ids) == 0 and names.all_readings == () and names.readings("dog") == ()


def test_the_same_snapshot_is_read_once_and_another_anew(tmp_path):
    lake, first = filled(str(tmp_path), [medium(0, texts=[("keywords", "dog")])])
    assert gazetteer_of(lake, first) is gazetteer_of(lake, first)
    _, second = filled(str(tmp_path), [medium(1, texts=[("keywords", "cat")])])
    assert gazetteer_of(lake, second).readings("cat") and not gazetteer_of(lake, first).readings("cat")
    assert set(KINDS) >= {one.kind for one in gazetteer_of(lake, second).all_readings}
