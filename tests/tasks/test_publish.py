"""What of the present state differs from the snapshot's."""

import duckdb
import numpy as np
import pytest

from tasks.publish import _EITHER, _differing

VALUES = [None, "", "a", "b"]
LISTS = [None, [], ["a"], ["a", "b"]]


@pytest.mark.parametrize("seed", range(6))
def test_rows_compared_some_columns_at_a_time_are_those_that_differ_in_any(seed):
    draw = np.random.default_rng(seed)

    def rows(keys):
        return {
            key: (VALUES[draw.integers(4)], LISTS[draw.integers(4)], bool(draw.integers(2))) for key in keys
        }

    base, here = rows(range(0, 60)), rows(range(20, 80))
    here |= {key: base[key] for key in draw.choice(range(20, 60), 15, replace=False).tolist()}
    here[99] = (None, None, None)  # new, and like nothing in every column
    with duckdb.connect() as con:
        for name, of_name in (("base", base), ("here", here)):
            con.execute(f"CREATE TABLE {name} (id INTEGER, word VARCHAR, words VARCHAR[], kept BOOLEAN)")
            con.executemany(
                f"INSERT INTO {name} VALUES (?, ?, ?, ?)", [(key, *row) for key, row in of_name.items()]
            )
        con.execute("CREATE TABLE one AS " + _differing("id", "here", "base", "word", "kept"))
        con.execute("CREATE TABLE other AS " + _differing("id", "here", "base", "words"))
        found = con.execute(_EITHER.format(key="id", one="one", other="other")).fetchall()
    expected = [key for key, row in here.items() if base.get(key) != row]
    assert sorted(key for (key,) in found) == sorted(expected)
