"""Rows by id, against a dictionary of all of them."""

import hashlib

import lance
import pyarrow as pa
import pytest

from storage.lookup import MANY, rows_by_id

COLUMNS = ("media_id", "text_id", "kept")


def rows(count: int) -> pa.Table:
    """Pairs of `count` texts; every tenth text is under two media, and two ids agree in their first 16 digits."""
    texts = [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(count)]
    texts[1] = texts[0][:16] + texts[1][16:]
    texts += texts[::10]
    media = [hashlib.sha256(f"m{number}".encode()).hexdigest() for number in range(len(texts))]
    kept = [number % 3 > 0 for number in range(len(texts))]
    return pa.table({"media_id": media, "text_id": texts, "kept": kept})


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return rows(MANY)


@pytest.fixture
def dataset(table, tmp_path) -> lance.LanceDataset:
    return lance.write_dataset(table, str(tmp_path / "pairs.lance"), max_rows_per_file=7000)


def by_dictionary(table: pa.Table, key: str, ids: list[str]) -> list[tuple]:
    wanted = set(ids)
    return sorted(tuple(row[c] for c in COLUMNS) for row in table.to_pylist() if row[key] in wanted)


def found(dataset, key, ids):
    answer = rows_by_id(dataset, key, ids, COLUMNS)
    assert answer is not None
    return sorted(tuple(row[c] for c in COLUMNS) for row in answer.to_pylist())


@pytest.mark.parametrize("key", ["text_id", "media_id"])
def test_every_row_of_an_id_is_found_and_no_other(dataset, table, key):
    ids = table[key].slice(0, 300).to_pylist() + ["f" * len(table[key][0].as_py()), table[key][0].as_py()]
    assert found(dataset, key, ids) == by_dictionary(table, key, ids)


def test_ids_that_begin_alike_are_told_apart(dataset, table):
    (second,) = {row[1] for row in found(dataset, "text_id", [table["text_id"][1].as_py()])}
    assert second == table["text_id"][1].as_py()


def test_what_was_deleted_or_added_since_counts(dataset, table):
    gone, more = table["text_id"][0].as_py(), rows(MANY + 1).slice(MANY, 1)
    assert found(dataset, "text_id", [gone])
    dataset.delete(f"text_id = '{gone}'")
    assert found(dataset, "text_id", [gone]) == []
    dataset.insert(more)
    new = more["text_id"][0].as_py()
    assert (more["media_id"][0].as_py(), new, more["kept"][0].as_py()) in found(dataset, "text_id", [new])


def test_a_small_table_or_one_of_other_ids_is_scanned(table, tmp_path):
    small = lance.write_dataset(table.slice(0, 100), str(tmp_path / "small.lance"))
    assert rows_by_id(small, "text_id", [table["text_id"][0].as_py()], COLUMNS) is None
    named = table.set_column(1, "text_id", pa.array([f"row {n:011d}" for n in range(len(table))]))
    other = lance.write_dataset(named, str(tmp_path / "other.lance"))
    assert rows_by_id(other, "text_id", ["row 00000000001"], COLUMNS) is None
