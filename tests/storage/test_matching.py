"""Keys found again by their hashes, beside sets."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from storage import lake as lakes
from storage.matching import keys_of
from storage.staging import Staging
from storage.workbench import workbench

LETTERS = ("a", "b", "é", "0")


def word(draw) -> str:
    """Words of few letters: many are the beginning of another, and some are empty."""
    return "".join(draw.choice(LETTERS, draw.integers(0, 5)))


def hashes_of(con, keys):
    con.register("asked", pa.table({"key": pa.array(keys, pa.string()), "place": np.arange(len(keys))}))
    return con.execute("SELECT hash(key) AS hash FROM asked ORDER BY place").fetchnumpy()["hash"]


@pytest.mark.parametrize("bits", [None, 0, 2])
@pytest.mark.parametrize("seed", range(8))
def test_rows_with_one_of_the_keys_are_those_a_set_finds(monkeypatch, seed, bits):
    if bits is not None:  # that are left of a hash: the others are taken for numbers
        monkeypatch.setattr("storage.matching._mask", lambda count: np.uint64((1 << (64 - bits)) - 1))
    monkeypatch.setattr("storage.matching.READ_ROWS", 7)
    draw = np.random.default_rng(seed)
    keys = list(dict.fromkeys(word(draw) for _ in range(draw.integers(0, 120))))
    wanted = draw.random(len(keys)) < 0.8
    table = pa.table({"place": np.arange(len(keys)), "key": pa.array(keys, pa.string())})
    asked = [word(draw) for _ in range(200)]

    def read() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=11))

    with duckdb.connect() as con:
        found = keys_of(con, read, "key", wanted)
        matches = list(found.matches(hashes_of(con, asked), pa.array(asked, pa.string())))
    pairs = [
        (int(row), int(number))
        for rows, numbers in matches
        for row, number in zip(rows, numbers, strict=True)
    ]
    place = {key: number for number, key in enumerate(keys) if wanted[number]}
    assert sorted(pairs) == [(row, place[key]) for row, key in enumerate(asked) if key in place]


@pytest.mark.parametrize(("here", "there"), [(0, 5), (5, 0), (1, 1), (9000, 12_000)])
def test_what_lacks_is_what_a_set_lacks(lake_dir, here, there):
    lake = lakes.open(lake_dir)
    draw = np.random.default_rng(here)
    keys = draw.permutation(here)
    others = draw.integers(0, 15_000, there)
    with workbench(lake, None, Staging(lake.place, "run")) as bench:
        bench.offer("ours", lambda: pa.table({"id": [f"{n:05d}" for n in keys], "n": keys}))
        bench.offer(
            "others", lambda: pa.table({"other": pa.array([f"{n:05d}" for n in others], pa.string())})
        )
        bench.hold_lacking("lacking", "SELECT * FROM ours", "id", "SELECT other FROM others", "other")
        found = bench.rows("SELECT n FROM lacking")
    assert sorted(n for (n,) in found) == sorted(set(keys.tolist()) - set(others.tolist()))
