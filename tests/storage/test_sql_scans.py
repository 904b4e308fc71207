"""Tables as the engine scans them, with the types that trip scanners up."""

import duckdb
import lance
import numpy as np
import pyarrow as pa
import pytest

from storage.sql.kept import Kept
from storage.sql.scans import COUNTED, Read, Scan, batch_rows, readable

ROWS = 200


@pytest.fixture
def dataset(tmp_path):
    table = pa.table(
        {
            "key": [f"k{n:03d}" for n in range(ROWS)],
            "st": [{"w": n, "h": None if n % 2 else n} for n in range(ROWS)],
            "word": pa.array(["a", "b", None, "c"] * (ROWS // 4)).dictionary_encode(),
            "half": pa.array(np.arange(ROWS, dtype=np.float16)),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(4 * ROWS, dtype=np.float32)), 4),
            "flag": pa.array([True, False, None, True] * (ROWS // 4)),
            "n": pa.array([None if n % 3 == 0 else n for n in range(ROWS)], pa.int32()),
        }
    )
    return lance.write_dataset(table, tmp_path / "t.lance", max_rows_per_file=70)


@pytest.fixture
def con(dataset):
    with duckdb.connect() as con:
        read = Read("t", "s", 1)
        con.register("t", Scan(dataset, readable(dataset.schema), read))
        con.register("memory", dataset.to_table(columns=readable(dataset.schema)))
        yield con, read


@pytest.mark.parametrize(
    "condition",
    [
        "st.w > 150", "st.h IS NULL", "st.w IN (3, 5)", "word = 'a'", "word IS NULL", "word > 'a' AND n < 50", "flag",
        "NOT flag", "flag IS NULL", "n IS NULL", "n = 4 OR key = 'k007'", "key LIKE 'k01%'", "n IN (1, 2, NULL)",
        "n NOT IN (1, 2)", "vector[1] > 700", "n IS DISTINCT FROM 5", "key BETWEEN 'k010' AND 'k020'", "false", "n > 1000000",
    ],
)  # fmt: skip
def test_filters_of_every_kind_give_what_memory_gives(con, condition):
    cursor, _ = con
    found = [
        cursor.sql(f"SELECT key, n FROM {table} WHERE {condition} ORDER BY key").fetchall()
        for table in ("t", "memory")
    ]
    assert found[0] == found[1]
    counted = cursor.sql(f"SELECT count(*) FROM t WHERE {condition}").fetchall()
    assert counted == [(len(found[1]),)]


def test_half_precision_is_left_out_and_the_rest_can_be_read(dataset, con):
    assert readable(dataset.schema) == ["key", "st", "word", "vector", "flag", "n"]
    assert con[0].sql("SELECT sum(vector[2]) FROM t").fetchall() == [
        (float(sum(4 * n + 1 for n in range(ROWS))),)
    ]


def test_what_was_asked_is_noted(con):
    cursor, read = con
    cursor.sql("SELECT key FROM t WHERE n > 190").fetchall()
    assert read.columns == ["key"] and read.filters == ["(n > 190)"] and read.rows == 6
    cursor.sql("SELECT count(*) FROM t").fetchall()
    assert read.columns == ["key"] and COUNTED not in read.columns


def test_a_dry_scan_notes_and_gives_nothing(dataset):
    read = Read("t", "s", 1)
    with duckdb.connect() as con:
        con.register("t", Scan(dataset, ["key", "n"], read, dry=True))
        assert con.sql("SELECT key FROM t WHERE n > 190").fetchall() == []
    assert read.filters == ["(n > 190)"] and read.rows == 0


def test_wide_rows_come_in_small_batches():
    narrow, wide = pa.schema([("n", pa.int32())]), pa.schema([("v", pa.list_(pa.float32(), 1024))])
    assert batch_rows(narrow) == 32_768 and batch_rows(wide) == 512


def test_copies_are_bounded_and_those_in_use_stay(dataset):
    with duckdb.connect() as con:
        con.execute("ATTACH ':memory:' AS kept (COMPRESS)")
        kept = Kept(limit=40_000)
        scan = Scan(dataset, readable(dataset.schema), Read("t", None, 0))

        def ask(name, columns):
            return kept.borrow(con, (name,), dataset, scan, columns)

        assert ask("one", ["key"]) is None  # the first time it is scanned
        name, done = ask("one", ["key"])
        assert con.sql(f"SELECT count(DISTINCT key) FROM {name}").fetchall() == [(ROWS,)]
        assert ask("one", ["vector"]) is None and ask("one", ["vector"]) is None  # vectors are not kept
        for other in range(40):
            ask(f"other{other}", ["key"])
            ask(f"other{other}", ["key"])
            assert kept.nbytes <= kept.limit
        assert con.sql(f"SELECT count(*) FROM {name}").fetchall() == [(ROWS,)]  # in use: still there
        done()
        kept.limit = 0
        for _, copy in list(kept._copies.items()):
            copy.users = 0
        kept.forget(con)
        assert kept.nbytes == 0
        assert con.sql("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]


def test_a_filter_that_arrow_cuts_within_a_letter_is_said_all_the_same(tmp_path):
    text = "海辺を歩く二人の子どもと犬、夕焼けの空に雲が広がり、"
    text += "遠くに小さな船と灯台が見える、とても静かな夏の夕方の風景写真です。"
    words = [text[n:] for n in range(6)]
    rows = lance.write_dataset(pa.table({"text": [*words, "b"], "n": range(7)}), tmp_path / "t.lance")
    with duckdb.connect() as con:
        for word in words:
            read = Read("t", "s", 1)
            con.register("t", Scan(rows, readable(rows.schema), read))
            found = con.execute(f"SELECT n FROM t WHERE text IN ('{word}', 'b', 'zz') ORDER BY 1").fetchall()
            assert found == [(words.index(word),), (6,)]
            assert len(read.filters) == 1
