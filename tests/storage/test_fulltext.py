"""Search by words, against BM25 written as loops over the same rows, and against bm25s."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pytest
from bm25s import BM25
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import DataError, NoSuchTable
from schemas.tables import MEDIA, PAIRS, TEXTS
from storage import fulltext, rows
from storage.fulltext import match, words
from storage.lake import Lake
from storage.upkeep import compact

SPECS = {spec.name: spec for spec in (MEDIA, TEXTS, PAIRS)}


def table(spec, listed):
    full = [{name: None for name in spec.schema.names} | row for row in listed]
    return pds.dataset(rows.with_digest(pa.Table.from_pylist(full, schema=spec.schema), spec))


def hexed(kind, number):
    return f"{kind}{number:04x}"


def filled(lake, texts, pairs=(), media=(), recipe="d"):
    """Upsert rows, nulls where nothing is said, and commit."""
    with lake.writer() as writer:
        for name, listed in (("texts", texts), ("pairs", pairs), ("media", media)):
            writer.upsert(SPECS[name], table(SPECS[name], listed))
        return writer.commit(tag="latest", recipe_digest=recipe, run_id="r")


def text(number, said, **columns):
    return {"text_id": hexed("a", number), "text": said, "present": True, "language": "en"} | columns


def medium(number, **columns):
    return {"media_id": hexed("b", number), "present": True, "modality": "image"} | columns


def pair(of_medium, of_text, **columns):
    ids = {"media_id": hexed("b", of_medium), "text_id": hexed("a", of_text)}
    return ids | {"pair_id": hexed("c", 100 * of_medium + of_text), "present": True} | columns


def stands(row):
    return bool(row["present"]) and row.get("kept") is not False


def naive(texts, query):
    """BM25 of every kept text, one word at a time."""
    kept = {row["text_id"]: words(row["text"]) for row in texts if stands(row)}
    mean = sum(map(len, kept.values())) / len(kept) if any(kept.values()) else 1
    found = {}
    for item, told in kept.items():
        total = 0.0
        for word, times in sorted(Counter(words(query)).items()):
            frequency = told.count(word)
            holding = sum(word in other for other in kept.values())
            rarity = math.log(1 + (len(kept) - holding + 0.5) / (holding + 0.5))
            total += times * rarity * frequency / (frequency + 1.5 * (1 - 0.75 + 0.75 * len(told) / mean))
        found[item] = total
    return found


def ranked(scores, k, offset=0):
    """Those above zero, best first, ties by id; scores as the answer has them."""
    rounded = {item: float(np.float32(score)) for item, score in scores.items() if score > 0}
    return sorted(rounded.items(), key=lambda one: (-one[1], one[0]))[offset : offset + k]


def answer(found):
    return list(zip(found.item_ids, found.scores.tolist(), strict=True))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


VOCABULARY = ["red", "fox", "the", "dog's", "RED", "Käse", "黒猫", "2", "жук", "नमस्ते", "-", ""]
said = st.lists(st.sampled_from(VOCABULARY), max_size=6).map(" ".join)
state = st.fixed_dictionaries(
    {"present": st.booleans() | st.just(True), "kept": st.sampled_from([None, True, False])}
)
text_rows = st.lists(st.tuples(said, state, st.sampled_from(["en", "de", None])), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text_rows, said, st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_texts_are_those_that_loops_find(tmp_path_factory, told, query, k, offset, filtered):
    place = tmp_path_factory.mktemp("lake")
    texts = [text(n, one, language=language, **kept) for n, (one, kept, language) in enumerate(told)]
    snapshot = filled(lake := Lake(str(place / "lake")), texts)
    where = "language = 'en'" if filtered else None
    found = match(lake, snapshot, query, k, side="text", where=where, offset=offset, cache=place / "cache")
    scores = naive(texts, query)
    if filtered:
        english = {row["text_id"] for row in texts if row["language"] == "en"}
        scores = {item: score for item, score in scores.items() if item in english}
    assert answer(found) == ranked(scores, k, offset)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text_rows,
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), state), max_size=16, unique_by=lambda p: p[:2]),
    st.lists(st.tuples(state, st.sampled_from([5, 500, None])), min_size=1, max_size=6),
    said,
    st.integers(1, 4),
    st.integers(0, 2),
    st.booleans(),
)
def test_media_score_as_their_best_kept_text_does(
    tmp_path_factory, told, linked, seen, query, k, offset, filtered
):
    place = tmp_path_factory.mktemp("lake")
    texts = [text(n, one, **kept) for n, (one, kept, _) in enumerate(told)]
    media = [medium(n, width_px=width, **kept) for n, (kept, width) in enumerate(seen)]
    pairs = [pair(a, b, **kept) for a, b, kept in linked]  # some name media or texts there are not
    snapshot = filled(lake := Lake(str(place / "lake")), texts, pairs, media)
    where = "width_px > 100" if filtered else None
    found = match(lake, snapshot, query, k, where=where, offset=offset, cache=place / "cache")
    of_text = naive(texts, query)
    scores = {}
    for row in media:
        if stands(row) and (not filtered or (row["width_px"] or 0) > 100):
            own = [p["text_id"] for p in pairs if p["media_id"] == row["media_id"] and stands(p)]
            scores[row["media_id"]] = max((of_text.get(item, 0.0) for item in own), default=0.0)
    assert answer(found) == ranked(scores, k, offset)
    for item, by in zip(found.item_ids, found.facts["by_text"], strict=True):
        assert of_text[by] == scores[item]


def test_a_medium_goes_by_the_best_of_its_kept_texts(lake, cache):
    texts = [text(1, "a fox in some grass"), text(2, "red fox"), text(3, "red fox fox"), text(4, "red fox")]
    pairs = [
        pair(1, 1),
        pair(1, 2),
        pair(1, 4),
        pair(2, 1),
        pair(2, 3, kept=False),
        pair(3, 3, present=False),
    ]
    snapshot = filled(lake, texts, pairs, [medium(1), medium(2), medium(3)])
    found = match(lake, snapshot, "red fox", 9, cache=cache)
    assert found.item_ids == (hexed("b", 1), hexed("b", 2))
    assert found.facts["by_text"] == (hexed("a", 2), hexed("a", 1))  # of 2 and 4, equal, the smaller
    scores = naive(texts, "red fox")
    assert found.scores.tolist() == [np.float32(scores[hexed("a", n)]) for n in (2, 1)]


def test_compaction_changes_no_answer(lake, cache):
    for n in range(1, 6):
        snapshot = filled(lake, [text(n, f"fox {n}"), text(0, f"red fox {n}")], recipe=str(n))
    before = answer(match(lake, snapshot, "red fox 3", 9, side="text", cache=cache))
    with lake.writer() as writer:
        assert compact(lake, writer)
        after = writer.commit(tag=None, recipe_digest="5", run_id="r")
    assert after.versions != snapshot.versions
    assert answer(match(lake, after, "red fox 3", 9, side="text", cache=cache)) == before
    where = "text LIKE '%3%'"
    assert match(lake, after, "red fox", 9, side="text", where=where, cache=cache).item_ids == (
        hexed("a", 3),
    )


def test_scores_are_those_of_bm25s(lake, cache):
    rng = np.random.default_rng(0)
    drawn = [" ".join(rng.choice(["fox", "dog", "cat", "red", "a"], rng.integers(1, 9))) for _ in range(60)]
    snapshot = filled(lake, [text(n, one) for n, one in enumerate(drawn)])
    index = BM25(method="lucene", k1=1.5, b=0.75)
    index.index([words(one) for one in drawn], show_progress=False)
    expected = index.get_scores(words("a red fox fox"))
    found = match(lake, snapshot, "a red fox fox", 60, side="text", cache=cache)
    np.testing.assert_allclose(found.scores, np.sort(expected[expected > 0])[::-1], rtol=1e-5)


def test_each_snapshot_answers_for_itself_also_when_restored(lake, tmp_path):
    cache = tmp_path / "cache"
    first = filled(lake, [text(1, "red fox"), text(2, "blue dog")])
    assert match(lake, first, "fox", 9, side="text", cache=cache).item_ids == (hexed("a", 1),)
    second = filled(
        lake, [text(1, "red fox", kept=False), text(2, "blue fox"), text(3, "fox fox")], recipe="e"
    )
    assert match(lake, second, "fox", 9, side="text", cache=cache).item_ids == (hexed("a", 3), hexed("a", 2))
    assert match(lake, first, "fox", 9, side="text", cache=cache).item_ids == (hexed("a", 1),)
    again = lake.restore(first.snapshot_id)
    assert answer(match(lake, again, "fox", 9, side="text", cache=cache)) == answer(
        match(lake, first, "fox", 9, side="text", cache=cache)
    )
    assert len(list(cache.iterdir())) == 2  # the restored snapshot has the files of the first


def test_a_lake_made_anew_at_the_same_place_is_not_the_old_one(tmp_path):
    import shutil

    place = str(tmp_path / "lake")
    filled(Lake(place), [text(1, "red fox")])
    old = Lake(place).head()
    assert len(match(Lake(place), old, "fox", 9, side="text", cache=tmp_path / "cache"))
    shutil.rmtree(place)
    new = filled(Lake(place), [text(1, "blue dog")])
    assert new.snapshot_id == old.snapshot_id
    assert not len(match(Lake(place), new, "fox", 9, side="text", cache=tmp_path / "cache"))


@pytest.mark.parametrize("damage", ["cut", "gone", "facts"])
def test_a_damaged_index_is_made_again(lake, cache, damage):
    snapshot = filled(lake, [text(n, f"red fox {n}") for n in range(9)])
    before = answer(match(lake, snapshot, "fox 3", 9, side="text", cache=cache))
    (folder,) = cache.iterdir()
    if damage == "cut":
        path = folder / "weights.npy"
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "gone":
        (folder / "rows.npy").unlink()
    else:
        (folder / "facts.json").write_text("[]")
    fulltext._OPEN_TEXTS._values.clear()  # as another process would find it
    assert answer(match(lake, snapshot, "fox 3", 9, side="text", cache=cache)) == before


def test_works_where_no_index_can_be_written(lake, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    snapshot = filled(lake, [text(1, "red fox")])
    assert len(match(lake, snapshot, "fox", 9, side="text", cache=blocked)) == 1


def test_an_index_used_long_ago_makes_room(lake, cache, monkeypatch):
    monkeypatch.setattr(fulltext, "LIMIT_BYTES", 1)
    for n in range(3):
        snapshot = filled(lake, [text(n, "fox")], recipe=str(n))
        assert len(match(lake, snapshot, "fox", 9, side="text", cache=cache)) == n + 1
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    ("told", "query"),
    [
        ("黒い猫が寝ている", "猫"),  # one character of a language without blanks
        ("黒い猫が寝ている", "黒い猫"),
        ("一只黑猫在睡觉", "黑猫"),
        ("แมวดำกำลังนอน", "แมว"),
        ("고양이가 잔다", "고양이"),
        ("قطة سوداء نائمة", "سوداء"),
        ("काली बिल्ली सो रही है", "बिल्ली"),
        ("спящая чёрная кошка", "КОШКА"),
        ("Un café crème", "cafe"),
        ("ＲＥＤ fox", "red"),
        ("Straße", "STRASSE"),
        ("the dog’s bone", "dog's"),
    ],
)
def test_words_are_found_in_any_script(lake, cache, told, query):
    snapshot = filled(lake, [text(1, "something else entirely"), text(2, told)])
    assert match(lake, snapshot, query, 9, side="text", cache=cache).item_ids == (hexed("a", 2),)


def test_two_characters_together_outrank_the_same_two_apart(lake, cache):
    snapshot = filled(lake, [text(1, "猫は黒く"), text(2, "黒猫は白")])
    assert match(lake, snapshot, "黒猫", 9, side="text", cache=cache).item_ids[0] == hexed("a", 2)


@pytest.mark.parametrize("query", ["", "   ", "!?-*", "\x00", "nothing like it"])
def test_a_query_without_a_known_word_finds_nothing(lake, cache, query):
    snapshot = filled(lake, [text(1, "a red fox")])
    found = match(lake, snapshot, query, 5, side="text", cache=cache)
    assert found.item_ids == ()
    assert found.scores.dtype == np.float32


def test_common_words_alone_are_words_too(lake, cache):
    snapshot = filled(lake, [text(1, "the fox and the dog"), text(2, "a cat")])
    assert match(lake, snapshot, "and the", 5, side="text", cache=cache).item_ids == (hexed("a", 1),)


@pytest.mark.parametrize(
    "query",
    ['fox AND NOT "red', "fox OR (", "text:fox^9", "fox*", "+fox -red", "fox'; DROP TABLE texts", "~fox"],
)
def test_operators_are_words_or_nothing(lake, cache, query):
    texts = [text(1, "red fox"), text(2, "blue dog")]
    snapshot = filled(lake, texts)
    found = match(lake, snapshot, query, 5, side="text", cache=cache)
    assert answer(found) == ranked(naive(texts, query), 5)
    assert found.item_ids == (hexed("a", 1),)


def test_a_very_long_query_is_read_in_part_and_says_so(lake, cache):
    snapshot = filled(lake, [text(1, "fox"), text(2, "dog")])
    found = match(lake, snapshot, "fox " * 250_000 + "dog", 5, side="text", cache=cache)
    assert found.item_ids == (hexed("a", 1),)
    assert "10,000" in found.notes[0]


def test_equal_scores_are_ordered_by_id_and_pages_join(lake, cache):
    snapshot = filled(lake, [text(n, "red fox") for n in (9, 3, 7, 1, 5)])
    pages = [match(lake, snapshot, "fox", 2, side="text", offset=at, cache=cache) for at in (0, 2, 4, 6)]
    assert [page.item_ids for page in pages] == [
        (hexed("a", 1), hexed("a", 3)),
        (hexed("a", 5), hexed("a", 7)),
        (hexed("a", 9),),
        (),
    ]


def test_a_lake_without_kept_texts_finds_nothing(lake, cache):
    snapshot = filled(lake, [text(1, "fox", kept=False)], [pair(1, 1)], [medium(1)])
    for side in ("text", "media"):
        assert not len(match(lake, snapshot, "fox", 5, side=side, cache=cache))


def test_a_lake_without_texts_says_so(lake, cache):
    with lake.writer() as writer:
        writer.upsert(MEDIA, table(MEDIA, [medium(1)]))
        snapshot = writer.commit(tag=None, recipe_digest="d", run_id="r")
    with pytest.raises(NoSuchTable, match="texts"):
        match(lake, snapshot, "fox", 5, cache=cache)


def test_only_media_of_the_modalities_asked_for(lake, cache):
    media = [medium(1), medium(2, modality="audio")]
    snapshot = filled(lake, [text(1, "fox")], [pair(1, 1), pair(2, 1)], media)
    found = match(lake, snapshot, "fox", 5, modality=["audio"], cache=cache)
    assert found.item_ids == (hexed("b", 2),)
    with pytest.raises(DataError, match="no modality"):
        match(lake, snapshot, "fox", 5, side="text", modality=["audio"], cache=cache)
    with pytest.raises(DataError, match="plain words"):
        match(lake, snapshot, "fox", 5, modality=["a' OR 1=1 --"], cache=cache)


@pytest.mark.parametrize(
    "where", ["nothing = 1", "1=1; DROP TABLE texts", "text IN (SELECT 1)", "((", "width_px = 'x' AND"]
)
def test_a_condition_that_is_none_is_refused(lake, cache, where):
    snapshot = filled(lake, [text(1, "fox")], [pair(1, 1)], [medium(1)])
    with pytest.raises(DataError):
        match(lake, snapshot, "fox", 5, where=where, cache=cache)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"offset": -1}, {"side": "both"}])
def test_refuses_numbers_out_of_range(lake, tmp_path, wrong):
    snapshot = filled(lake, [text(1, "fox")])
    with pytest.raises(ValueError, match="side is media or text"):
        match(lake, snapshot, "fox", **({"k": 1, "side": "text", "cache": tmp_path} | wrong))


def test_the_index_lies_in_the_cache_of_the_settings(lake, tmp_path, monkeypatch):
    monkeypatch.setenv("XMODAL_CACHE", str(tmp_path / "kept"))
    snapshot = filled(lake, [text(1, "fox")])
    match(lake, snapshot, "fox", 1, side="text")
    assert list(Path(tmp_path / "kept" / "fulltext").iterdir())


def test_blanks_and_signs_part_words():
    assert words("") == []
    assert words("a_b-c\td") == ["a", "b", "c", "d"]
