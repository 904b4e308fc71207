"""Conditions from outside: what is taken, what is refused and why, and that nulls are SQL's."""

import duckdb
import lance
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from storage.conditions import LONGEST, checked

COLUMNS = ("width_px", "licence", "kept", "locators")


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("width_px >= 32 -- and no more", "width_px >= 32"),
        ("\"licence\" = 'it''s'", "licence = 'it''s'"),
        ("licence = 'a''; DROP TABLE media; --'", "licence = 'a''; DROP TABLE media; --'"),
        ("kept IS NOT FALSE", "NOT kept IS FALSE"),
        ("array_has(locators, 'a')", "ARRAY_CONTAINS(locators, 'a')"),
        (
            "lower(licence) LIKE 'cc%' AND width_px IN (1, 2)",
            "LOWER(licence) LIKE 'cc%' AND width_px IN (1, 2)",
        ),
    ],
)
def test_a_condition_is_passed_on_as_it_was_understood(where, says):
    assert checked(where, COLUMNS) == says


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("", "holds 0"),
        ("width_px = 1; DROP TABLE media", "holds 2"),
        ("width_px = (SELECT 1)", "SUBQUERY"),
        ("width_px IN (SELECT media_id FROM media)", "IN takes a list"),
        ("EXISTS (SELECT 1)", "EXISTS"),
        ("width_px = 1 UNION SELECT 2", "UNION"),
        ("regexp_like(licence, '(a+)+')", "REGEXP_LIKE"),
        ("random() < 1", "RAND"),
        ("count(width_px) > 1", "COUNT"),
        ("CAST(width_px AS TEXT) = '1'", "CAST"),
        ("licence = ?", "PLACEHOLDER"),
        ("DROP TABLE media", "DROP"),
        ("*", "STAR"),
        ("media.width_px = 1", "media.width_px"),
        ("width = 1", "no column width. Did you mean 'width_px'.*Known: kept, licence, locators, width_px"),
        ("width_px = ", "cannot read"),
        ("NOT " * 900 + "kept", "nested too deep"),
        ("kept AND " * 800 + "kept", f"at most {LONGEST}"),
    ],
)
def test_anything_else_is_refused(where, says):
    with pytest.raises(DataError, match=says):
        checked(where, COLUMNS)


atoms = st.sampled_from(
    ["n = 1", "n > 0", "n IN (0, 2)", "n NOT IN (1, NULL)", "n BETWEEN 0 AND 1", "n IS NULL", "b", "b IS NOT FALSE",
     "s = 'x'", "s <> 'x'", "s LIKE 'x%'", "s NOT LIKE '%y'", "coalesce(n, 1) = 1", "n + 1 > 1", "length(s) > 1",
     "upper(s) = 'X'", "abs(n) = 1", "s IS NOT NULL", "n = NULL", "-n < 0", "s ILIKE 'X%'"]
)  # fmt: skip
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        inner.map(lambda c: f"NOT ({c})"),
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda p: f"({p[0]}) {p[1]} {p[2]}"),
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=conditions)
def test_lance_finds_the_rows_that_duckdb_finds(where, tmp_path):
    cells = [
        (n, s, b) for n in (None, -1, 0, 1, 2) for s in (None, "x", "xy", "z") for b in (None, True, False)
    ]
    table = pa.table({"n": [c[0] for c in cells], "s": [c[1] for c in cells], "b": [c[2] for c in cells]})
    place = tmp_path / "cells.lance"
    dataset = lance.dataset(str(place)) if place.exists() else lance.write_dataset(table, str(place))
    found = dataset.scanner(
        columns=[], filter=checked(where, ("n", "s", "b")), with_row_address=True
    ).to_table()
    with duckdb.connect() as con:
        con.register("cells", table.append_column("row", pa.array(range(len(cells)))))
        expected = con.execute(f"SELECT row FROM cells WHERE {where} ORDER BY row").fetchall()
    assert sorted(found["_rowaddr"].to_pylist()) == [row for (row,) in expected]
