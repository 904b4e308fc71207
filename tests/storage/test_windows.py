"""A table read in windows gives the engine what the table gives."""

from types import SimpleNamespace

import duckdb
import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from storage import windows
from storage.streams import passing
from storage.windows import Windowed, addressed, in_windows, with_values


@pytest.fixture(params=range(3))
def table(request):
    draw = np.random.default_rng(request.param)
    return pa.table(
        {
            "id": [f"{n:03}" for n in range(100)],
            "value": pa.array(draw.random(100).round(1), mask=draw.random(100) < 0.2),
            "value_of": draw.choice(["a", "b", "value"], 100),
            "present": draw.random(100) < 0.5,
        }
    )


@pytest.mark.parametrize("size", [1, 7, 50, 100, 1000])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM t ORDER BY id",
        "SELECT count(*) FROM t",
        "SELECT id FROM t WHERE present ORDER BY 1",
        "SELECT id FROM t WHERE value > 0.5 AND value_of <> 'value' ORDER BY 1",
        "SELECT value_of, count(*), round(sum(value), 6) FROM t WHERE value IS NOT NULL GROUP BY 1 ORDER BY 1",
        "SELECT count(*) FROM t SEMI JOIN (SELECT id FROM t WHERE value_of IN ('a', 'b')) USING (id) WHERE NOT present",
        "SELECT id FROM t WHERE false",
    ],
)
def test_a_query_finds_the_same(table, size, query, tmp_path):
    stored = lance.write_dataset(table, str(tmp_path / "t.lance"), max_rows_per_file=30)
    with duckdb.connect() as con:
        con.register("t", table)
        wanted = con.execute(query).fetchall()
        con.register("t", Windowed(stored, size=size))
        assert con.execute(query).fetchall() == wanted


@pytest.fixture
def wide(tmp_path):
    """Rows with pixels and vectors in several files, of which some are deleted, and the rows that are left."""
    draw = np.random.default_rng(0)
    vectors = draw.random((100, 512)).astype(np.float32)
    table = pa.table(
        {
            "id": [f"{n:03}" for n in range(100)],
            "pixels": [bytes([n]) * n for n in range(100)],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 512),
            "group": np.arange(100) // 10,
        }
    )
    stored = lance.write_dataset(table, str(tmp_path / "wide.lance"), max_rows_per_file=30)
    stored.delete("group = 3 OR id LIKE '%7'")
    return stored, stored.to_table()


@pytest.mark.parametrize("size", [None, 1, 8, 1000])
def test_wide_rows_are_found_by_a_filter_and_not_read_where_none_passes(wide, size, monkeypatch):
    stored, left = wide
    with duckdb.connect() as con:
        con.register("t", left)
        query = 'SELECT id, pixels, vector FROM t WHERE "group" = 5 ORDER BY id'
        wanted = con.execute(query).fetchall()
        assert len(wanted) == 9
        read = []
        monkeypatch.setattr(
            "storage.windows.passing",
            lambda batches, *asked: read.extend(batches) or passing(batches, *asked),
        )
        con.register("t", Windowed(stored, size=size))
        assert con.execute(query).fetchall() == wanted
    with_pixels = sum(len(batch) for batch in read if "pixels" in batch.schema.names)
    assert with_pixels == {None: len(left), 1: 9, 8: 16, 1000: len(left)}[size]


@pytest.mark.parametrize("size", [None, 1, 8, 1000])
def test_rows_come_in_their_order_with_their_addresses(wide, size):
    stored, left = wide
    wanted = stored.scanner(columns=["id", "pixels"], with_row_address=True, scan_in_order=True).to_table()
    found = pa.Table.from_batches(in_windows(stored, ["id", "pixels"], addresses=True, size=size))
    assert found.to_pylist() == wanted.to_pylist()
    assert found["id"].to_pylist() == left["id"].to_pylist()
    assert addressed(stored, ["id"]).read_all().to_pylist() == wanted.drop_columns("pixels").to_pylist()
    for fragment in stored.get_fragments():
        of_it = in_windows(stored, ["id"], fragment=fragment, addresses=True, size=size, batch=4)
        ids = [one for batch in of_it for one in batch["id"].to_pylist()]
        addresses = wanted["_rowaddr"].to_numpy() >> 32
        assert ids == left["id"].filter(pa.array(addresses == fragment.fragment_id)).to_pylist()


def test_columns_that_are_not_shown_cannot_be_asked_for(wide):
    with duckdb.connect() as con:
        con.register("t", Windowed(wide[0], ["id", "group"]))
        assert con.execute("SELECT * FROM t LIMIT 0").fetchall() == []
        assert [name for name, *_ in con.execute("DESCRIBE t").fetchall()] == ["id", "group"]


@pytest.mark.parametrize(("wanted", "rows"), [(True, 81), (False, 0)])
def test_a_filter_that_names_no_column_passes_all_or_none(wide, wanted, rows):
    found = Windowed(wide[0], size=8).scanner(columns=["id", "vector"], filter=pc.scalar(wanted)).to_table()
    assert found.num_rows == rows


@pytest.mark.parametrize("batch", [3, 100])
def test_of_a_part_of_a_table_only_wanted_rows_come(table, batch, tmp_path):
    stored = lance.write_dataset(table, str(tmp_path / "t.lance"), max_rows_per_file=40)
    stored.delete("id = '045'")
    part = stored.get_fragments()[1]
    wanted = np.random.default_rng(2).random(39) < 0.3
    wanted[20:27] = False  # a window
    found = pa.Table.from_batches(
        in_windows(stored, ["id"], fragment=part, batch=batch, size=7, wanted=wanted)
    )
    ids = [f"{n:03}" for n in range(40, 80) if n != 45]
    assert found["id"].to_pylist() == [one for one, is_wanted in zip(ids, wanted, strict=True) if is_wanted]


def test_an_empty_table_has_no_windows(tmp_path):
    stored = lance.write_dataset(pa.table({"id": pa.array([], pa.string())}), str(tmp_path / "none.lance"))
    assert list(in_windows(stored, ["id"])) == []
    assert addressed(stored, ["id"]).read_all().num_rows == 0


def test_few_rows_are_found_by_their_values(wide):
    stored, left = wide
    found = with_values(
        stored, "id", ["052", "007", "001", "none"], ["pixels", "id"]
    )  # one of them was deleted
    assert found.to_pylist() == [{"pixels": b"\x01", "id": "001"}, {"pixels": bytes([52]) * 52, "id": "052"}]
    assert with_values(stored, "id", [], ["id"]).num_rows == 0
    of_group = with_values(stored, "group", [5, 9], ["id"])["id"].to_pylist()
    assert of_group == [one for one in left["id"].to_pylist() if one[1] in "59"]


@pytest.mark.parametrize(
    ("uri", "rows"),
    [("/lakes/t.lance", 1 << 14), ("file:///lakes/t.lance", 1 << 14), ("s3://b/t.lance", 1 << 16)],
)
def test_a_table_over_a_network_is_asked_for_in_larger_windows(uri, rows):
    table = SimpleNamespace(uri=uri, count_rows=lambda: 200_000)
    found = list(windows._windows(table, table, pa.schema([pa.field("n", pa.int64())]), None))
    assert found[0] == (0, rows)
    assert sum(count for _, count in found) == 200_000
