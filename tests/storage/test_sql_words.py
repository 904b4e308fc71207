"""Columns of few words read as numbers and a dictionary: the same answers as DuckDB over Parquet gives, whatever lies where."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest

from schemas.tables import MEDIA
from storage import lake as lakes
from storage.sql import Limits, words
from storage.sql.engine import engine
from storage.sql.scans import Read, Scan, readable
from storage.sql.words import CODED, PLAIN, Part, words_of
from storage.streams import Stream

ROWS = 3000
WORDS = ["image", "audio", "", "a word of more than twelve letters", "ü", "CC-BY"]


def _rows(first, rows=ROWS, *, reverse=False):
    """Return rows of every type; `reverse` has the words of a page in another order."""
    draw = random.Random(first)
    choice = [draw.choice(WORDS) for _ in range(rows)]
    if reverse:
        choice[: len(WORDS)] = WORDS[::-1]
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return pa.table(
        {
            "key": [f"key {first + n:08d} {draw.random()}" for n in range(rows)],
            "word": choice,
            "gaps": pa.array([draw.choice([*WORDS, None, None]) for _ in range(rows)], pa.string()),
            "nothing": pa.nulls(rows, pa.string()),
            "one": ["always"] * rows,
            "n": pa.array([draw.randrange(50) if draw.random() < 0.9 else None for _ in range(rows)], pa.int32()),
            "x": pa.array([draw.random() for _ in range(rows)], pa.float64()),
            "flag": pa.array([draw.choice([True, False, None]) for _ in range(rows)]),
            "moment": pa.array([moment + timedelta(seconds=n) for n in range(rows)], pa.timestamp("us", tz="UTC")),
            "raw": pa.array([draw.choice([b"a", b"bb", None]) for _ in range(rows)], pa.binary()),
            "digest": pa.array([draw.randbytes(16) for _ in range(rows)], pa.binary(16)),
            "several": pa.array([draw.choice([["a", None], [], None]) for _ in range(rows)], pa.list_(pa.string())),
            "st": pa.array([{"word": draw.choice(WORDS)} for _ in range(rows)]),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(3.0 * rows, dtype=np.float32)), 3),
        }
    )  # fmt: skip


def _written(folder, parts):
    table = pa.concat_tables(parts)
    for part in parts:
        dataset = lance.write_dataset(
            part, folder / "t.lance", mode="append" if part is not parts[0] else "create"
        )
    return dataset, table


@pytest.fixture(autouse=True)
def _small_files_are_worth_it(monkeypatch):
    monkeypatch.setattr(words, "WORTH_ROWS", 1000)


@pytest.fixture
def assert_as_over_parquet(tmp_path):
    """Return what compares an answer over a Lance table with DuckDB's over the same rows as Parquet."""
    with duckdb.connect(config={"threads": "2"}) as con:

        def asked(dataset, table, statement, its=None, *, ordered=False):
            read = Read("t", "s", 1)
            its = words_of(dataset) if its is None else its
            con.register("scan", Scan(dataset, readable(dataset.schema), read, words=its))
            pq.write_table(table, tmp_path / "t.parquet")
            listed = ", ".join(f'"{name}"' for name in table.column_names)
            for name, source in (("ours", "scan"), ("theirs", f"'{tmp_path / 't.parquet'}'")):
                con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {listed} FROM {source}")
            ours, theirs = (con.sql(statement.format(t=name)).to_arrow_table() for name in ("ours", "theirs"))
            assert _types(ours) == _types(theirs), statement
            found, wanted = ours.to_pylist(), theirs.to_pylist()
            if not ordered:
                found, wanted = sorted(found, key=repr), sorted(wanted, key=repr)
            assert _close(found, wanted), statement
            return read

        yield asked


def _types(table):
    """Return the types; Parquet does not know how long a vector is."""
    return [
        pa.list_(pa.float32()) if pa.types.is_fixed_size_list(its) else its
        for its in map(_named_alike, table.schema.types)
    ]


def _named_alike(its):
    return pa.list_(its.value_type) if pa.types.is_list(its) else its


def _close(ours, theirs):
    if len(ours) != len(theirs):
        return False
    pairs = [
        (a, b)
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one.values(), other.values(), strict=True)
    ]
    return all(
        a == b or (isinstance(a, float) and isinstance(b, float) and a == pytest.approx(b)) for a, b in pairs
    )


STATEMENTS = [
    "SELECT * FROM {t}",
    "SELECT word, count(*), avg(n) FROM {t} GROUP BY ALL",
    "SELECT word, gaps, count(*), sum(n) FROM {t} GROUP BY ALL",
    "SELECT gaps, nothing, one, count(*) FROM {t} GROUP BY ALL",
    "SELECT DISTINCT gaps FROM {t}",
    "SELECT count(DISTINCT word), count(gaps), count(nothing), min(gaps), max(word) FROM {t}",
    "SELECT gaps, n, key FROM {t} ORDER BY gaps NULLS FIRST, n DESC, key LIMIT 20",
    "SELECT a.word, count(*) FROM {t} a JOIN (SELECT DISTINCT gaps FROM {t}) b ON a.word = b.gaps GROUP BY 1",
    "SELECT upper(gaps) || '!', length(word), count(*) FROM {t} GROUP BY ALL",
    "SELECT word, key, row_number() OVER (PARTITION BY word ORDER BY key) AS place FROM {t}",
    "SELECT list(gaps ORDER BY key) AS them FROM {t} WHERE n = 3",
    "SELECT typeof(word), typeof(gaps), typeof(nothing) FROM {t} LIMIT 1",
    "SELECT several, st, st.word, vector, raw, digest, moment FROM {t} WHERE gaps IS NULL",
]
CONDITIONS = [
    "word = 'audio'", "word <> 'audio'", "gaps = 'ü'", "gaps <> 'ü'", "gaps IS NULL", "gaps IS NOT NULL", "nothing IS NULL",
    "nothing = 'a'", "word = ''", "gaps IN ('audio', 'CC-BY')", "gaps NOT IN ('audio', '')", "gaps IN ('audio', NULL)",
    "gaps > 'audio'", "gaps <= 'image' AND word >= 'b'", "word BETWEEN 'a' AND 'b'", "gaps = 'audio' OR n > 40",
    "gaps = 'audio' OR gaps IS NULL", "word = gaps", "gaps IS DISTINCT FROM 'audio'", "gaps LIKE 'a%'", "gaps LIKE '%o'",
    "starts_with(word, 'CC')", "word = 'audio' AND flag", "n > 10 AND x < 0.5", "n IS NULL AND gaps = ''", "st.word = 'audio'",
    "key > 'key 00002500'", "one = 'always' AND word = 'image'", "word = 'no such word'", "word = 'a\"b' OR word = 'audio'",
    "moment > TIMESTAMPTZ '2026-01-01 00:20:00+00'", "length(gaps) = 5", "NOT (gaps = 'audio')",
]  # fmt: skip


@pytest.fixture
def whole(tmp_path):
    return _written(tmp_path, [_rows(0), _rows(ROWS, reverse=True)])


def test_few_words_are_told_from_many_from_one_and_from_none(whole):
    its = words_of(whole[0])
    assert its.few == {"word", "gaps"} and its.many == {"key"} and its.parts == (Part(True),)
    assert its.coded is not None
    for name in ("word", "gaps"):
        found = its.coded.to_table(columns=[name])[name]
        assert found.type == CODED and found.cast(pa.string()).equals(
            whole[1][name]
        )  # really numbers, and the same texts


@pytest.mark.parametrize("statement", STATEMENTS)
def test_statements_answer_as_over_parquet(whole, assert_as_over_parquet, statement):
    assert_as_over_parquet(*whole, statement)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_filters_answer_as_over_parquet(whole, assert_as_over_parquet, condition):
    assert_as_over_parquet(*whole, f"SELECT key, word, gaps, n, raw FROM {{t}} WHERE {condition}")
    assert_as_over_parquet(*whole, f"SELECT count(*) FROM {{t}} WHERE {condition}")
    assert_as_over_parquet(*whole, f"SELECT gaps, count(*), max(key) FROM {{t}} WHERE {condition} GROUP BY 1")


def test_filters_go_down_and_only_what_passes_comes_back(whole, assert_as_over_parquet):
    read = assert_as_over_parquet(*whole, "SELECT key FROM {t} WHERE word = 'audio' AND n = 4")
    passing = sum(
        word == "audio" and n == 4
        for word, n in zip(*whole[1].select(["word", "n"]).to_pydict().values(), strict=True)
    )
    assert read.rows == passing > 0 and "word" not in read.columns


def test_one_row_by_a_column_of_many_words(whole, assert_as_over_parquet):
    key = whole[1]["key"][4321].as_py()
    assert assert_as_over_parquet(*whole, f"SELECT * FROM {{t}} WHERE key = '{key}'").rows == 1
    assert (
        assert_as_over_parquet(
            *whole, f"SELECT * FROM {{t}} WHERE key = '{key}' AND word = 'no such word'"
        ).rows
        == 0
    )
    assert_as_over_parquet(*whole, f"SELECT * FROM {{t}} WHERE key = '{key}' OR word = 'ü'")
    assert_as_over_parquet(*whole, f"SELECT * FROM {{t}} WHERE key <> '{key}'")


def test_files_that_lie_otherwise_are_read_as_texts_in_their_place(tmp_path, assert_as_over_parquet):
    """A file too small to look at, one of many words, one of one word: between those of few."""
    other = _rows(9000)
    names = {
        "many": other.set_column(1, "word", pa.array([f"{n:06d} and {n * n:09d}" for n in range(ROWS)])),
        "same": other.set_column(1, "word", pa.array(["image"] * ROWS)),
        "none": other.set_column(1, "word", pa.nulls(ROWS, pa.string())),
    }
    parts = [
        _rows(0),
        names["many"],
        _rows(3000),
        _rows(8000, 50),
        names["same"],
        names["none"],
        _rows(5000, reverse=True),
    ]
    dataset, table = _written(tmp_path, parts)
    its = words_of(dataset)
    assert its.few == {"word", "gaps"}
    assert its.parts == tuple(
        Part(coded, ids)
        for coded, ids in ((True, (0,)), (False, (1,)), (True, (2,)), (False, (3, 4)), (True, (5, 6)))
    )
    for statement in STATEMENTS[:8]:
        assert_as_over_parquet(dataset, table, statement, its)
    for condition in CONDITIONS[:16]:
        assert_as_over_parquet(
            dataset, table, f"SELECT key, word FROM {{t}} WHERE {condition}", its, ordered=True
        )
        assert_as_over_parquet(dataset, table, f"SELECT count(*) FROM {{t}} WHERE {condition}", its)
    assert_as_over_parquet(
        dataset, table, "SELECT key, word, gaps FROM {t} LIMIT 9000 OFFSET 3000", its, ordered=True
    )


def test_rows_deleted_changed_and_columns_added_later(tmp_path, assert_as_over_parquet):
    dataset, _ = _written(tmp_path, [_rows(0), _rows(ROWS)])
    dataset.delete("n > 30 AND word = 'audio'")
    changed = dataset.to_table(limit=1500).set_column(1, "word", pa.array(["new", "CC-BY", "audio"] * 500))
    dataset.merge_insert("key").when_matched_update_all().execute(changed)
    dataset = lance.dataset(dataset.uri)
    numbers = dataset.to_table(columns=["n"])["n"].to_pylist()
    late = pa.table({"late": [None if n is None or n < 10 else "high" if n > 25 else "low" for n in numbers]})
    dataset.add_columns(late.to_reader())
    dataset = lance.write_dataset(
        _rows(2 * ROWS).append_column("late", pa.nulls(ROWS, pa.string())), dataset.uri, mode="append"
    )
    dataset.add_columns(pa.schema([pa.field("never", pa.string())]))
    dataset = lance.dataset(dataset.uri)
    table = dataset.to_table()
    assert words_of(dataset).few >= {"word", "gaps"}
    for statement in (*STATEMENTS, "SELECT late, never, word, count(*) FROM {t} GROUP BY ALL"):
        assert_as_over_parquet(dataset, table, statement)
    for condition in (*CONDITIONS, "late = 'high'", "late IS NULL", "never IS NULL AND late = 'low'"):
        assert_as_over_parquet(dataset, table, f"SELECT key, word, late FROM {{t}} WHERE {condition}")


@pytest.mark.parametrize("threads", [1, 2])
def test_the_engine_keeps_dictionaries_apart_that_change_from_batch_to_batch(threads):
    """Each is where the last one was in memory: an engine that told them by their place would mix them up."""

    class Changing(pds.Dataset):
        schema = pa.schema([("word", CODED), ("text", pa.string())])

        def __init__(self):
            pass

        def scanner(self, *_, columns=None, **__):
            names = self.schema.names if columns is None else columns
            return Stream(pa.schema([self.schema.field(name) for name in names]), self.batches(names))

        def batches(self, columns):
            draw = np.random.default_rng(5)
            for n in range(600):
                gaps = draw.random(500) < 0.1 if n % 3 else None
                numbers = pa.array(draw.integers(0, 6, 500).astype(np.int32), mask=gaps)
                word = pa.DictionaryArray.from_arrays(numbers, [f"w{n}" for n in draw.permutation(6)])
                word = pa.nulls(500, CODED) if n % 7 == 3 else word
                its = {"word": word, "text": word.cast(pa.string())}
                yield pa.record_batch([its[name] for name in columns], names=columns)

    with duckdb.connect(config={"threads": str(threads)}) as con:
        con.register("t", Changing())
        assert con.sql("SELECT count(*) FROM t WHERE word IS DISTINCT FROM text").fetchall() == [(0,)]
        for keys in ("{}", "{}, {} || 'x' AS y", "{}, length({}) AS y"):
            by_word, by_text = (
                con.sql(
                    f"SELECT {keys.replace('{}', name)}, count(*) FROM t GROUP BY ALL ORDER BY ALL"
                ).fetchall()
                for name in ("word", "text")
            )
            assert by_word == by_text


def test_an_older_version_reads_as_it_was(tmp_path, assert_as_over_parquet):
    dataset, table = _written(tmp_path, [_rows(0)])
    version = dataset.version
    dataset.delete("word = 'audio'")
    old = lance.dataset(dataset.uri, version=version)
    assert_as_over_parquet(old, table, STATEMENTS[1])
    assert_as_over_parquet(old, table, "SELECT count(*) FROM {t} WHERE word = 'audio'")


def test_empty_small_and_wordless_tables_are_read_as_before(tmp_path, assert_as_over_parquet):
    empty = lance.write_dataset(_rows(0).slice(0, 0), tmp_path / "empty.lance")
    small = lance.write_dataset(_rows(0, 20), tmp_path / "small.lance")
    numbers = lance.write_dataset(_rows(0).select(["n", "x"]), tmp_path / "numbers.lance")
    assert words_of(empty) == words_of(small) == PLAIN and not words_of(numbers).few
    for statement in STATEMENTS[:8]:
        assert_as_over_parquet(empty, _rows(0).slice(0, 0), statement)
        assert_as_over_parquet(small, _rows(0, 20), statement)


def test_a_dictionary_of_too_many_words_is_not_carried_along(whole, monkeypatch):
    monkeypatch.setattr(words, "FEW", 5)
    monkeypatch.setattr(words, "_FILES", words.Remembered(10))
    assert not words_of(whole[0]).few and words_of(whole[0]).many == {"key", "word", "gaps"}


def test_a_table_of_too_many_files_is_not_looked_at(whole, monkeypatch):
    monkeypatch.setattr(words, "LOOKED_AT", 1)
    assert words_of(whole[0]) == PLAIN


def test_columns_are_read_of_rows_that_pass_where_few_do(whole):
    scan = Scan(whole[0], readable(whole[0].schema), Read("t", None, 0), words=words_of(whole[0]))
    names = ["key", "word", "n", "raw", "digest"]
    key, word = pc.field("key") == "some key", pc.field("word") == "audio"
    assert scan._late(names, key & (pc.field("n") > 3), coded=True) is True
    assert scan._late(names, word, coded=True) == [
        "key",
        "raw",
        "digest",
    ]  # the rest is narrow: read as it comes
    assert scan._late(names, key | word, coded=True) == ["key", "raw", "digest"]
    assert scan._late(names, ~key, coded=True) == ["key", "raw", "digest"]
    assert scan._late(["key", "n"], word, coded=True) is None and scan._late(names, word, coded=False) is None


def test_an_index_over_words_changes_no_answer(whole, assert_as_over_parquet):
    dataset, table = whole
    dataset.create_scalar_index("word", "BITMAP")
    dataset.create_scalar_index("key", "BTREE")
    dataset = lance.dataset(dataset.uri)
    key = table["key"][17].as_py()
    for condition in (*CONDITIONS, f"key = '{key}'"):
        assert_as_over_parquet(dataset, table, f"SELECT key, word, gaps FROM {{t}} WHERE {condition}")


def test_where_a_page_is_not_as_its_footer_says_texts_are_read_from_the_row_that_is_due(
    tmp_path, assert_as_over_parquet
):
    many = _rows(9000).set_column(1, "word", pa.array([f"{n:06d} and {n * n:09d}" for n in range(ROWS)]))
    dataset, table = _written(tmp_path, [_rows(0), many, _rows(3000)])
    wrong = replace(words_of(dataset), parts=(Part(True),))  # as if every page were of few words
    assert wrong.coded is not None
    with pytest.raises((ValueError, OSError)):
        wrong.coded.to_table(columns=["word"])
    for statement in STATEMENTS[:8]:
        assert_as_over_parquet(dataset, table, statement, wrong)
    assert_as_over_parquet(dataset, table, "SELECT key, word FROM {t} WHERE n > 5", wrong, ordered=True)
    assert_as_over_parquet(dataset, table, "SELECT count(*) FROM {t} WHERE word > 'b'", wrong)


def test_where_lance_takes_no_other_schema_tables_are_read_as_before(
    whole, assert_as_over_parquet, monkeypatch
):
    for broken in (b"", b"\xff\xff", b"\x0a\x05abc"):
        monkeypatch.setattr(words, "_rewritten", lambda *_, broken=broken: broken)
        its = words_of(whole[0])
        assert its.coded is None and not its.few and its.many == {"key"}
        assert_as_over_parquet(*whole, STATEMENTS[2], its)
    monkeypatch.setattr(
        words, "_rewritten", lambda manifest, names: manifest
    )  # it took it, and nothing came of it
    assert words_of(whole[0]).coded is None


def test_only_what_was_asked_for_is_written_anew_in_a_manifest(whole):
    manifest = next(part for part in whole[0].__reduce__()[1] if isinstance(part, bytes))
    assert words._rewritten(manifest, set()) == manifest
    changed = words._rewritten(manifest, {b"word", b"no such column", b"n"})
    assert words._rewritten(changed, {b"word"}) == changed
    assert changed.count(b"dict:string:int32:false") == 1 and manifest.count(b"dict:") == 0


def _media(rows=4000):
    draw = random.Random(3)
    some = {
        "media_id": [f"{n:064x}" for n in draw.sample(range(1 << 60), rows)],
        "modality": [draw.choice(["image", "audio", "video"]) for _ in range(rows)],
        "licence": [draw.choice(["CC0", "CC-BY", None]) for _ in range(rows)],
        "size_bytes": [draw.randrange(1000) for _ in range(rows)],
        "present": [True] * rows,
        "row_digest": [draw.randbytes(16) for _ in range(rows)],
    }
    columns = [
        pa.array(some[f.name], f.type) if f.name in some else pa.nulls(rows, f.type) for f in MEDIA.stored
    ]
    return pa.table(columns, schema=MEDIA.stored)


def test_columns_added_without_a_file_are_there_in_the_version_that_has_them(tmp_path):
    """As where a lake of an earlier program is written to: the files are those of the version before."""
    media, limits = _media(), Limits(memory="997MB", rows=None)
    lacking = ("height_px", "colour_mode")
    before = replace(MEDIA, schema=pa.schema([f for f in MEDIA.schema if f.name not in lacking]))
    lake = lakes.open(str(tmp_path / "lake"))
    with lake.writer() as writer:
        writer.upsert(before, pds.dataset(media.select(before.stored.names)))
        writer.commit(tag="old", recipe_digest="r", run_id="r")
    one = "SELECT modality, licence, count(*) AS n FROM {t} WHERE licence = 'CC0' GROUP BY ALL ORDER BY ALL"
    two = (
        "SELECT modality, colour_mode, count(*) AS n FROM {t} WHERE licence = 'CC0' GROUP BY ALL ORDER BY ALL"
    )
    with duckdb.connect() as con:
        wanted = con.sql(one.format(t="media")).to_arrow_table().to_pylist()
        for limit in (0, 512 << 20):
            engine(limits).kept.limit = limit
            assert lake.sql(one.format(t="raw.media"), limits=limits).arrow().to_pylist() == wanted
        with lake.writer() as writer:
            assert writer.upsert(MEDIA, pds.dataset(media)).equal == len(media)
            writer.commit(tag="new", recipe_digest="s", run_id="s")
        for limit in (0, 512 << 20):
            engine(limits).kept.limit = limit
            for _ in range(3):
                for statement in (one, two):
                    found = lake.sql(statement.format(t="raw.media"), limits=limits).arrow()
                    assert (
                        found.to_pylist() == con.sql(statement.format(t="media")).to_arrow_table().to_pylist()
                    )


def test_a_column_made_anew_under_its_name_is_not_taken_for_the_one_before(tmp_path):
    limits = Limits(memory="996MB", rows=None)
    lake = lakes.open(str(tmp_path / "lake"))
    with lake.writer() as writer:
        writer.upsert(MEDIA, pds.dataset(_media()))
        writer.commit(tag="old", recipe_digest="r", run_id="r")
    asked = "SELECT count(licence) AS n FROM raw.media"
    before = [lake.sql(asked, limits=limits).rows()[0]["n"] for _ in range(3)]
    assert min(before) > 2000
    with lake.writer() as writer:
        table = lake.latest("media")
        table.drop_columns(["licence"])
        table.add_columns(pa.schema([pa.field("licence", pa.string())]))
        writer.adopt("media")
        writer.commit(tag="new", recipe_digest="s", run_id="s")
    assert [lake.sql(asked, limits=limits).rows()[0]["n"] for _ in range(3)] == [0, 0, 0]


def test_a_lake_answers_the_same_and_says_texts(tmp_path):
    media = _media()
    lake = lakes.open(str(tmp_path / "lake"))
    with lake.writer() as writer:
        writer.upsert(MEDIA, pds.dataset(media))
        writer.commit(tag="latest", recipe_digest="r", run_id="r")
    assert words_of(lake.dataset("media")).few == {"modality", "licence"}
    limits = Limits(memory="998MB", rows=None)
    with duckdb.connect() as con:
        for limit in (0, 512 << 20):  # scanned each time, and kept from the second time on
            engine(limits).kept.limit = limit
            for statement in (
                "SELECT modality, licence, count(*) AS n, avg(size_bytes) AS mean FROM {t} GROUP BY ALL ORDER BY ALL",
                "SELECT count(*) AS n FROM {t} WHERE modality = 'audio' AND licence IN ('CC0', 'CC-BY')",
                "SELECT count(*) AS n FROM {t} WHERE licence IS NULL",
                f"SELECT * FROM {{t}} WHERE media_id = '{media['media_id'][77]}'",
            ):
                for _ in range(3):
                    ours = lake.sql(statement.format(t="raw.media"), limits=limits).arrow()
                    assert (
                        ours.to_pylist() == con.sql(statement.format(t="media")).to_arrow_table().to_pylist()
                    )
    said = lake.sql("DESCRIBE raw.media").rows()
    assert {row["column_type"] for row in said if row["column_name"] in ("modality", "licence")} == {
        "VARCHAR"
    }
