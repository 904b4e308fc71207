"""Rows that two versions do not share, against what comparing all rows of both by hand gives."""

import random

import duckdb
import lance
import pyarrow as pa
import pytest

from storage import windows
from storage.apart import apart

COLUMNS = ["id", "value", "word"]


def rows(ids, turn):
    return pa.table({
        "id": pa.array([f"row {n:04}" for n in ids], pa.string()),
        "value": pa.array([n * 10 + turn for n in ids], pa.int64()),
        "word": pa.array([None if n % 5 == 0 else f"word {n % 7}" for n in ids], pa.string()),
    })  # fmt: skip


def placed(dataset):
    """{(file, place in it): row}"""
    found = dataset.scanner(columns=COLUMNS, with_row_address=True).to_table()
    files = {one.metadata.id: str(one.metadata.files) for one in dataset.get_fragments()}
    return {
        (files[address >> 32], address & 0xFFFFFFFF): row
        for address, *row in zip(found["_rowaddr"].to_pylist(), *(found[name].to_pylist() for name in COLUMNS), strict=True)
    }  # fmt: skip


def ways(draw, dataset, turn):
    """Change a table in one of the ways that flows do."""
    ids = dataset.to_table(columns=["id"])["id"].to_pylist()
    way = draw.choice(
        [
            "append",
            "delete",
            "delete one",
            "delete a file",
            "replace",
            "compact",
            "column",
            "restore",
            "nothing",
        ]
    )
    if way == "append" or not ids:
        lance.write_dataset(
            rows(range(1000 * turn, 1000 * turn + 40), turn), dataset.uri, mode="append", max_rows_per_file=15
        )
    elif way in ("delete", "replace"):
        gone = draw.sample(ids, len(ids) // 4)
        dataset.delete(f"id IN ({', '.join(map(repr, gone))})" if gone else "false")
        if way == "replace":
            lance.write_dataset(rows([int(one[4:]) for one in gone], turn), dataset.uri, mode="append")
    elif way == "delete one":
        dataset.delete(f"id = {draw.choice(ids)!r}")
    elif way == "restore":
        lance.dataset(dataset.uri, version=draw.randrange(1, dataset.version + 1)).restore()
    elif way == "delete a file":
        some = draw.choice(dataset.get_fragments()).to_table(columns=["id"])["id"].to_pylist()
        dataset.delete(f"id IN ({', '.join(map(repr, some))})")
    elif way == "compact":
        dataset.optimize.compact_files(target_rows_per_fragment=40)
    elif way == "column" and "more" not in dataset.schema.names:
        dataset.add_columns({"more": "value + 1"})
    return lance.dataset(dataset.uri)


@pytest.mark.parametrize("seed", range(25))
def test_what_is_not_apart_is_in_both_and_the_rest_is_what_files_and_places_say(tmp_path, seed):
    draw = random.Random(seed)
    lance.write_dataset(rows(range(60), 0), str(tmp_path / "t"), max_rows_per_file=15)
    versions = [lance.dataset(str(tmp_path / "t"))]
    for turn in range(1, 8):
        versions.append(ways(draw, versions[-1], turn))
    for _ in range(8):
        old, new = (versions[draw.randrange(len(versions))] for _ in range(2))
        sides = apart(old, new, (COLUMNS, COLUMNS))
        before, after = placed(old), placed(new)
        for side, ours, theirs in ((sides[0], before, after), (sides[1], after, before)):
            wanted = [row for place, row in ours.items() if place not in theirs]
            found = side.scanner().to_table()
            assert sorted(map(repr, found.to_pylist())) == sorted(
                repr(dict(zip(COLUMNS, row, strict=True))) for row in wanted
            )
            assert all(theirs[place] == row for place, row in ours.items() if place in theirs)


def test_the_engine_reads_them_again_and_again_with_filters_and_few_columns(tmp_path, monkeypatch):
    monkeypatch.setattr("storage.windows.ROWS", 7)
    lance.write_dataset(rows(range(200), 0), str(tmp_path / "t"), max_rows_per_file=100)
    old = lance.dataset(str(tmp_path / "t"))
    old.delete("value >= 300 AND value < 330 OR value = 1500")
    new = lance.dataset(str(tmp_path / "t"))
    lance.write_dataset(rows(range(500, 510), 1), new.uri, mode="append")
    gone, come = apart(lance.dataset(new.uri, version=1), lance.dataset(new.uri), (["id", "value"], COLUMNS))
    assert gone.schema.names == ["id", "value"]
    with duckdb.connect() as con:
        con.register("gone", gone)
        con.register("come", come)
        for _ in range(2):
            assert con.execute("SELECT value FROM gone ORDER BY 1").fetchall() == [
                (300,),
                (310,),
                (320,),
                (1500,),
            ]
            assert con.execute("SELECT id FROM gone WHERE value > 310").fetchall() == [
                ("row 0032",),
                ("row 0150",),
            ]
            assert con.execute("SELECT count(*), count(word) FROM come WHERE id > 'row 0503'").fetchall() == [
                (6, 5)
            ]


def test_windows_without_such_rows_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("storage.windows.ROWS", 64)
    lance.write_dataset(rows(range(1000), 0), str(tmp_path / "t"))
    old = lance.dataset(str(tmp_path / "t"))
    old.delete("value IN (20, 5000, 5010)")
    read, inner = [], windows._window

    def counting(*args, **asked):
        for batch in inner(*args, **asked):
            read.append(len(batch))
            yield batch

    monkeypatch.setattr(windows, "_window", counting)
    gone, come = apart(lance.dataset(old.uri, version=1), lance.dataset(old.uri), (COLUMNS, COLUMNS))
    assert gone.scanner().to_table()["value"].to_pylist() == [20, 5000, 5010]
    assert come.scanner().to_table().num_rows == 0
    assert read == [64, 64]  # a window holds that many at least
