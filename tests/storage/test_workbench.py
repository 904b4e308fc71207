import random
from collections import Counter

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from schemas.tables import MEDIA, TEXTS
from storage import lake as lakes
from storage import workbench as workbenches
from storage.database import LITTLE_MB, LITTLE_ROWS, expect
from storage.staging import Staging
from storage.workbench import database, mapped, workbench
from tests.storage.conftest import text_rows, upsert


@pytest.fixture
def bench(lake_dir):
    lake = lakes.open(lake_dir)
    with workbench(lake, None, Staging(lake.place, "run")) as opened:
        yield opened


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, 5000])
def test_cuts_a_query_into_tables_of_one_size(bench, rows):
    tables = list(bench.tables(f"SELECT range AS n FROM range({rows}) ORDER BY n", size=256))
    assert [len(table) for table in tables] == [256] * (rows // 256) + ([rows % 256] if rows % 256 else [])
    assert [n for table in tables for n in table["n"].to_pylist()] == list(range(rows))


def test_an_empty_lake_has_empty_tables(bench):
    bench.add_base(MEDIA)
    assert bench.rows("SELECT count(*) FROM base_media") == [(0,)]


def test_a_query_reaches_no_file(bench, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(Exception, match="(?i)permission|disabled"):
        bench.rows(f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')")


def test_a_name_that_is_no_identifier_is_refused(bench):
    with pytest.raises(ValueError, match="cannot name a table"):
        bench.add_staged("x; DROP TABLE y", [], MEDIA.schema)


def test_workbenches_of_one_database_share_its_memory_limit_but_no_names(lake_dir):
    lake = lakes.open(lake_dir)
    staging = Staging(lake.place, "run")
    limit = "SELECT current_setting('memory_limit'), current_setting('TimeZone')"
    with database("64MB"):
        for _ in range(2):
            with workbench(lake, None, staging) as bench:
                bench.execute("CREATE TEMP VIEW once AS SELECT 1 AS n")
                assert bench.rows("SELECT n FROM once") == [(1,)]
                assert bench.rows(limit) == [("61.0 MiB", "UTC")]
    with workbench(lake, None, staging) as bench:
        assert bench.rows(limit)[0][0] != "61.0 MiB"


def test_what_no_query_names_is_never_opened(bench):
    def no() -> pa.Table:
        raise AssertionError("opened")

    bench.offer("unused", no)
    bench.offer("used", lambda: pa.table({"n": [1, 2]}))
    assert bench.rows("SELECT sum(n) FROM used") == [(3,)]
    with pytest.raises(AssertionError, match="opened"):
        bench.rows("SELECT * FROM unused")


def test_rows_with_pixels_pass_a_join_that_could_not_hold_them(lake_dir):
    """80 MB of pixels on the left of 40,000 keys, with 48 MB for everything."""
    rows, wide = 40_000, 2_000
    lake, staging = lakes.open(lake_dir), Staging(lakes.open(lake_dir).place, "scratch")
    ids = [f"{n:08d}" for n in range(rows)]
    schema = pa.schema([pa.field("id", pa.string()), pa.field("pixels", pa.binary())])
    batches = (
        pa.record_batch([ids[at : at + 1000], [bytes([at % 251]) * wide] * 1000], schema=schema)
        for at in range(0, rows, 1000)
    )
    wide_path = staging.write_batches(batches, schema, "wide.arrow")
    narrow = pa.table({"id": ids, "kept": [n % 2 == 0 for n in range(rows)]})
    with database("48MB"), workbench(lake, None, staging) as bench:
        bench.add_staged("wide", [wide_path], schema)
        bench.offer("narrow", lambda: narrow)
        query = "SELECT w.*, n.kept FROM wide w JOIN narrow n USING (id)"
        seen: dict[str, bool] = {}
        with bench.as_written():
            for batch in bench.batches(query):
                assert all(len(pixels) == wide for pixels in batch["pixels"].to_pylist())
                seen |= dict(zip(batch["id"].to_pylist(), batch["kept"].to_pylist(), strict=True))
        assert seen == dict(zip(ids, narrow["kept"].to_pylist(), strict=True))
        of_joins = "SELECT current_setting('disabled_optimizers') <> ''"
        with bench.as_written():
            with bench.as_written():
                pass
            assert bench.rows(of_joins) == [(True,)]  # as long as asked for, and no longer
        assert bench.rows(of_joins) == [(False,)]


@pytest.mark.parametrize("every", [1, 3, 500])  # all rows, many, and few enough to be read one by one
def test_rows_are_chosen_in_the_order_they_lie_in(lake_dir, every):
    lake = lakes.open(lake_dir)
    texts = {f"{n:05d}": f"text {n}" for n in range(4000)}
    with lake.writer() as writer:
        upsert(writer, texts)
        upsert(writer, {key: "replaced" for key in list(texts)[::7]})  # these lie in another fragment now
        head = writer.commit(tag="latest", recipe_digest="d", run_id="r")
    texts |= dict.fromkeys(list(texts)[::7], "replaced")
    wanted = list(texts)[::every]
    with workbench(lake, head, Staging(lake.place, "run")) as bench:
        bench.offer("wanted", lambda: pa.table({"text_id": wanted, "number": range(len(wanted))}))
        query = "SELECT a._rowaddr, w.number FROM addressed a JOIN wanted w USING (text_id)"
        tables = list(bench.chosen(TEXTS, ["text_id", "text"], query, ["present"], size=100))
    found = pa.concat_tables(tables)
    assert {len(table) for table in tables[:-1]} <= {100}
    assert dict(zip(found["text_id"].to_pylist(), found["text"].to_pylist(), strict=True)) == {
        key: texts[key] for key in wanted
    }
    assert [wanted[number] for number in found["number"].to_pylist()] == found["text_id"].to_pylist()
    stored = [key for key in lake.read("texts")["text_id"].to_pylist() if key in set(wanted)]
    assert found["text_id"].to_pylist() == stored


@pytest.mark.parametrize("every", [1, 3, 500])
def test_rows_may_be_chosen_several_times(lake_dir, every):
    lake, staging = lakes.open(lake_dir), Staging(lakes.open(lake_dir).place, "run")
    texts = {f"{n:05d}": f"text {n}" for n in range(4000)}
    with lake.writer() as writer:
        upsert(writer, texts)
        upsert(writer, {key: "replaced" for key in list(texts)[::7]})
        head = writer.commit(tag="latest", recipe_digest="d", run_id="r")
    staged = staging.write(text_rows(texts), "texts.arrow")
    wanted = list(texts)[::every]
    asked = [key for at, key in enumerate(wanted) for _ in range(1 + at % 3)]
    with workbench(lake, head, staging) as bench:
        bench.add_staged("staged_texts", [staged], TEXTS.stored)
        bench.offer("wanted", lambda: pa.table({"text_id": asked, "number": range(len(asked))}))
        stored = "SELECT a._rowaddr, w.number FROM addressed a JOIN wanted w USING (text_id)"
        lying = "SELECT n.place, w.number FROM numbered n JOIN wanted w USING (text_id)"
        for tables in (
            bench.chosen(TEXTS, ["text_id"], stored, size=100),
            bench.chosen_of_staged("staged_texts", ["text_id"], lying, ["text_id"], size=100),
        ):
            found = pa.concat_tables(tables)
            assert sorted(found["number"].to_pylist()) == list(range(len(asked)))
            assert [asked[number] for number in found["number"].to_pylist()] == found["text_id"].to_pylist()


@pytest.mark.parametrize("every", [1, 7, 900])
def test_staged_rows_are_chosen_in_the_order_of_their_files(lake_dir, every):
    lake = lakes.open(lake_dir)
    staging = Staging(lake.place, "run")
    texts = {f"{n * 37 % 2003:05d}": f"text {n}" for n in range(2000)}
    rows = text_rows(texts)
    paths = [staging.write(rows.slice(at, 600), f"{at}.arrow") for at in range(0, 2000, 600)]
    wanted = list(texts)[3::every]
    with workbench(lake, None, staging) as bench:
        bench.add_staged("staged_texts", paths, TEXTS.stored)
        bench.offer("wanted", lambda: pa.table({"text_id": wanted, "number": range(len(wanted))}))
        query = "SELECT n.place, w.number FROM numbered n JOIN wanted w USING (text_id)"
        tables = list(bench.chosen_of_staged("staged_texts", ["text"], query, ["text_id"], size=100))
    found = pa.concat_tables(tables)
    assert found["text"].to_pylist() == [texts[key] for key in wanted]
    assert found["number"].to_pylist() == list(range(len(wanted)))


def test_of_an_empty_lake_nothing_is_chosen(bench):
    assert list(bench.chosen(TEXTS, ["text_id"], "SELECT _rowaddr FROM addressed", size=10)) == []


def test_joins_one_after_another_pass_in_less_memory_than_their_keys_take(lake_dir):
    """Four joins of 200,000 keys of 64 letters, 20 MB each as they are, with 48 MB for everything."""
    lake = lakes.open(lake_dir)
    key = "lpad(range::VARCHAR, 64, 'k')"
    with database("48MB"), workbench(lake, None, Staging(lake.place, "run")) as bench:
        bench.hold("step_0", f"SELECT {key} AS id, {key} AS other FROM range(200_000)")
        for step in range(1, 5):
            bench.hold(f"side_{step}", f"SELECT {key} AS id FROM range({step}, 200_000)")
            bench.hold(f"step_{step}", f"SELECT s.* FROM step_{step - 1} s SEMI JOIN side_{step} USING (id)")
            bench.drop(f"step_{step - 1}", f"side_{step}")
        rows = bench.mapped("SELECT id FROM step_4 ORDER BY id")
        assert rows["id"].to_pylist() == sorted(f"{n:k>64}" for n in range(4, 200_000))


def test_what_cannot_name_a_table_holds_no_rows(bench):
    with pytest.raises(ValueError, match="cannot name a table"):
        bench.hold("x; DROP TABLE y", "SELECT 1")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("by", [["few"], ["word"], ["few", "word"], ["few", "word", "n"]])
def test_rows_in_order_are_all_rows_sorted(bench, monkeypatch, by, seed):
    monkeypatch.setattr(workbenches, "SORTED_ROWS", 200)
    draw = random.Random(seed)
    count, kinds = draw.choice([0, 1, 199, 200, 201, 401, 3000]), draw.choice([1, 3, 10_000])
    rows = [
        {"few": draw.randrange(kinds), "word": draw.choice(["a", "b", "é", "zz", "\U0001f600"]) * draw.randrange(1, 4), "n": n}
        for n in range(count)
    ]  # fmt: skip
    schema = pa.schema([("few", pa.int64()), ("word", pa.string()), ("n", pa.int64())])
    bench.offer("unsorted", lambda: pa.Table.from_pylist(rows, schema=schema))
    found = bench.ordered("SELECT * FROM unsorted", *by, size=64).read_all().to_pylist()
    assert [[row[name] for name in by] for row in found] == sorted([row[name] for name in by] for row in rows)
    assert sorted(row["n"] for row in found) == list(range(count))


def test_a_sort_passes_that_needs_more_memory_than_there_is(lake_dir):
    """120 MB of rows, sorted in 32 MB: the engine by itself gives up."""
    count = 400_000
    with (
        database("32MB"),
        workbench(lakes.open(lake_dir), None, Staging(lakes.open(lake_dir).place, "run")) as bench,
    ):
        sql = f"SELECT md5(range::VARCHAR) AS id, repeat(md5(range::VARCHAR), 8) AS wide FROM range({count})"
        last, seen = "", 0
        for batch in bench.ordered(sql, "id"):
            ids = batch["id"].to_pylist()
            assert last <= ids[0] and ids == sorted(ids)
            last, seen = ids[-1], seen + len(ids)
        assert seen == count


def test_what_is_held_stays_until_it_is_held_anew_or_dropped(bench):
    bench.hold("kept", "SELECT range AS n FROM range(10000)")
    assert bench.rows("SELECT count(*), max(n) FROM kept WHERE n > 4998") == [(5001, 9999)]
    bench.hold("kept", "SELECT n + 1 AS n FROM kept WHERE n < 5")
    assert bench.rows("SELECT n FROM kept ORDER BY n") == [(1,), (2,), (3,), (4,), (5,)]
    bench.drop("kept")
    with pytest.raises(Exception, match="kept"):
        bench.rows("SELECT * FROM kept")
    with pytest.raises(ValueError, match="cannot name a table"):
        bench.hold("x; DROP TABLE y", "SELECT 1")


@pytest.mark.parametrize(
    ("memory", "little", "rows", "mb"),
    [
        ("auto", LITTLE_MB, LITTLE_ROWS, LITTLE_MB),
        ("auto", LITTLE_MB, 10, LITTLE_MB),
        ("auto", LITTLE_MB, 8 * LITTLE_ROWS, 4 * LITTLE_MB),  # by the power 2 / 3
        ("auto", None, 4 * LITTLE_ROWS, 256),
        ("50MB", LITTLE_MB, 4 * LITTLE_ROWS, 50),  # what the user says stands
    ],
)
def test_joins_of_many_rows_may_hold_more(lake_dir, memory, little, rows, mb):
    lake = lakes.open(lake_dir)
    with database(memory, little=little):
        expect(rows)
        with workbench(lake, None, Staging(lake.place, "run")) as bench:
            ((said,),) = bench.rows("SELECT current_setting('memory_limit')")
    assert float(said.removesuffix(" MiB")) == pytest.approx(mb * 1e6 / 2**20, abs=0.1)


def test_a_statement_that_lacks_memory_is_made_again_with_more_unless_the_user_set_it(lake_dir, caplog):
    caplog.set_level("DEBUG", logger="xmodal.joins")
    lake = lakes.open(lake_dir)
    count = 300_000
    sql = (
        f"SELECT a.id, b.wide FROM (SELECT md5(range::VARCHAR) AS id FROM range({count})) a "
        f"JOIN (SELECT md5(range::VARCHAR) AS id, repeat('x', 64) AS wide FROM range({count})) b USING (id)"
    )
    refused = pytest.raises((duckdb.Error, OSError), match="Out of Memory")
    with database("8MB"), workbench(lake, None, Staging(lake.place, "run")) as bench, refused:
        bench.mapped(sql)
    with database("auto", little=8), workbench(lake, None, Staging(lake.place, "run")) as bench:
        expect(count)
        found = bench.mapped(sql)
        assert bench.rows("SELECT current_setting('memory_limit')") == [("7.6 MiB",)]  # as before
    assert len(found) == count == len(set(found["id"].to_pylist()))
    assert any("more memory, 12 MB" in each.message for each in caplog.records)


def test_rows_without_a_place_in_the_order_are_refused_not_lost(bench):
    with pytest.raises(Exception, match="null in some"):
        bench.ordered("SELECT unnest([1, NULL, 3]) AS n", "n").read_all()


def test_rows_are_chosen_whole_although_the_choice_was_made_again(lake_dir, caplog):
    caplog.set_level("DEBUG", logger="xmodal.joins")
    count, schema = 300_000, pa.schema([pa.field("id", pa.string()), pa.field("n", pa.int64())])
    staging = Staging(lakes.open(lake_dir).place, "run")
    rows = pa.table([[f"{n:064d}" for n in range(count)], range(count)], schema=schema)
    path = staging.write_batches(rows.to_batches(4096), schema, "rows.arrow")
    with database("auto", little=8), workbench(lakes.open(lake_dir), None, staging) as bench:
        bench.add_staged("rows", [path], schema)
        bench.offer("wanted", lambda: rows.select(["id"]).slice(1))
        sql = "SELECT place FROM numbered SEMI JOIN wanted USING (id)"
        found = [
            n
            for t in bench.chosen_of_staged("rows", ["n"], sql, ["id"], size=5000)
            for n in t["n"].to_pylist()
        ]
    assert any("more memory" in each.message for each in caplog.records)
    assert found == list(range(1, count))


def test_rows_that_are_written_to_be_mapped_have_no_name_that_a_killed_process_could_leave(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []

    def batches():
        for start in range(0, 50, 10):
            seen.extend(tmp_path.iterdir())
            yield pa.record_batch({"n": list(range(start, start + 10)), "word": [f"w{n}" for n in range(10)]})

    table = mapped(batches(), pa.schema([("n", pa.int64()), ("word", pa.string())]))
    assert table["n"].to_pylist() == list(range(50)) and table["word"][13].as_py() == "w3"
    assert table.nbytes and seen == [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("rows", [0, 1, 500])
def test_rows_whose_key_stands_again_are_kept(bench, monkeypatch, rows):
    monkeypatch.setattr("storage.repeats.HASHED_ROWS", 7)
    draw = np.random.default_rng(rows)
    said = [(int(a), f"{b}", n) for n, (a, b) in enumerate(draw.integers(0, (3, 90), (rows, 2)))]
    bench.offer(
        "said",
        lambda: pa.table({name: [row[at] for row in said] for at, name in enumerate("abn")}),
    )
    bench.hold_repeated("again", "SELECT * FROM said WHERE n % 5 < 4", "a", "b")
    asked = [row for row in said if row[2] % 5 < 4]
    times = Counter(row[:2] for row in asked)
    assert sorted(bench.rows("SELECT * FROM again")) == sorted(row for row in asked if times[row[:2]] > 1)


def test_every_row_of_the_snapshot_can_be_had_with_its_address(lake_dir):
    lake = lakes.open(lake_dir)
    with lake.writer() as writer:
        upsert(writer, {f"{n:03d}": str(n) for n in range(100)})
        writer.commit(tag="latest", recipe_digest="d", run_id="r")
    with lake.writer() as writer:
        upsert(writer, {f"{n:03d}": "new" for n in range(0, 100, 3)})
        head = writer.commit(tag="latest", recipe_digest="d", run_id="s")
    table = lake.dataset("texts", head).scanner(columns=["text_id", "text"], with_row_address=True).to_table()
    expected = {(row["_rowaddr"], row["text_id"], row["text"]) for row in table.to_pylist()}
    with workbench(lake, head, Staging(lake.place, "run")) as bench:
        bench.add_addressed(TEXTS, MEDIA)
        assert set(bench.rows("SELECT _rowaddr, text_id, text FROM addressed_texts")) == expected
        some = bench.rows("SELECT _rowaddr, text_id, text FROM addressed_texts WHERE text = 'new'")
        assert set(some) == {row for row in expected if row[2] == "new"} and len(some) == 34
        assert bench.rows("SELECT count(_rowaddr) FROM addressed_media") == [(0,)]
