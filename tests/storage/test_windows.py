"""A table read in windows, or at the engine's pace, gives the engine what the table gives."""

import duckdb
import lance
import numpy as np
import pyarrow as pa
import pytest

from storage.streams import Paced
from storage.windows import Windowed


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
        for read in (Windowed(stored, size), Paced(stored)):
            con.register("t", read)
            assert con.execute(query).fetchall() == wanted
