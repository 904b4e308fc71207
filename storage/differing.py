"""Rows that differ between two snapshots of a table, held in an engine that spills: as many as there are.

They are those of `diff(...)` in SQL, without their values: what changed is made of few of them, to be looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from storage.apart import apart
from storage.database import as_written, with_enough
from storage.lake import Lake
from storage.quoting import literal, quoted
from storage.sql.changes import compared_columns, objects
from storage.sql.scans import readable
from storage.streams import held
from storage.versions import Snapshot
from storage.windows import Windowed
from storage.workbench import KEY_ROWS, mapped


@dataclass(frozen=True)
class Differing:
    """Two snapshots before an engine.

    Args:
        con: The engine.
        lake: The lake.
        old: The snapshot before.
        new: The snapshot after.
    """

    con: duckdb.DuckDBPyConnection
    lake: Lake
    old: Snapshot
    new: Snapshot

    def offer(self, name: str, table: str, snapshot: Snapshot) -> list[str]:
        """Offer a table as stored under a name and return the columns that can be read; without the table, none."""
        if table not in snapshot.versions:
            return []
        dataset = self.lake.dataset(table, snapshot, scanned=True)
        columns = readable(dataset.schema)
        self.con.register(name, Windowed(dataset, columns))
        return columns

    def _offer_apart(self, table: str) -> dict[str, list[str]]:
        """Offer both sides of a table, without the rows that lie in both, and return the columns of each."""
        names = {"old": self.old, "new": self.new}
        if not all(table in snapshot.versions for snapshot in names.values()):
            return {place: self.offer(f"{place}_stored", table, one) for place, one in names.items()}
        sides = [self.lake.dataset(table, one, scanned=True) for one in names.values()]
        columns = (readable(sides[0].schema), readable(sides[1].schema))
        for place, rows in zip(names, apart(sides[0], sides[1], columns), strict=True):
            self.con.register(f"{place}_stored", rows)
        return dict(zip(names, columns, strict=True))

    def hold(self, name: str, sql: str) -> None:
        """Keep a query's rows under a name, in a file that is mapped."""

        def made() -> pa.Table:
            found = self.con.sql(sql).to_arrow_reader(KEY_ROWS)
            return mapped(found, found.schema)

        self.con.register(name, held(with_enough(made)))

    def hold_rows(self, table: str, telling: Sequence[str]) -> list[str]:
        """Hold `r`, a row per row that differs, and return its columns: what changed, and what tells why, on both sides.

        Args:
            table: The table, in at least one of both.
            telling: Columns that tell why; null on a side that lacks them.
        """
        has = self._offer_apart(table)
        key, compared = compared_columns(table, has["new"] or has["old"])
        columns = list(dict.fromkeys([*compared, "row_digest", *telling]))
        for place, other in (("old", "new"), ("new", "old")):
            self.con.execute(self._side(place, other, has, key, columns))
        self.hold(
            "differ",
            "SELECT coalesce(o.key, n.key) AS key FROM (SELECT key, row_digest FROM old_side WHERE is_current) o "
            "FULL JOIN (SELECT key, row_digest FROM new_side WHERE is_current) n ON o.key = n.key "
            "WHERE o.row_digest IS DISTINCT FROM n.row_digest",
        )
        with as_written(self.con):  # what is held are keys
            for place in ("old", "new"):
                self.hold(
                    f"{place}_rows", f"SELECT s.* FROM {place}_side s SEMI JOIN differ d ON d.key = s.key"
                )
        told = [f"{place}.{quoted(name)} AS {place}_{name}" for place in ("old", "new") for name in telling]
        cells = ", ".join(
            f"CASE WHEN old.{quoted(name)} IS DISTINCT FROM new.{quoted(name)} THEN {literal(name)} END"
            for name in compared
        )
        names = ["key", "change", "changed_columns"]
        for place in ("old", "new"):
            names += [*(f"{place}_{name}" for name in telling), f"in_{place}"]
        self.hold(
            "r",
            f"""
            SELECT {", ".join(names)} FROM (
                SELECT coalesce(new.key, old.key)::VARCHAR AS key, old.key IS NOT NULL AS in_old, new.key IS NOT NULL AS in_new,
                    CASE WHEN NOT coalesce(old.is_current, false) THEN 'added'
                         WHEN NOT coalesce(new.is_current, false) THEN 'removed' ELSE 'changed' END AS change,
                    CASE WHEN change = 'changed' THEN list_filter([{cells}], lambda c: c IS NOT NULL)
                         ELSE [] END::VARCHAR[] AS changed_columns{"".join(f", {each}" for each in told)}
                FROM old_rows old FULL JOIN new_rows new ON old.key = new.key
            ) WHERE change <> 'changed' OR len(changed_columns) > 0
            """,
        )
        return names

    def samples(self, table: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return {key: change, columns and JSON of the values that changed} of some rows of `r`."""
        snapshot = self.new if table in self.new.versions else self.old
        _, compared = compared_columns(table, readable(self.lake.dataset(table, snapshot).schema))
        sides = (
            f"(SELECT * FROM {place}_rows WHERE is_current AND list_contains($keys, key)) {alias}"
            for place, alias in (("old", "o"), ("new", "n"))
        )
        found = self.con.execute(
            f"SELECT r.key, r.change, r.changed_columns, {objects('o', compared)}::VARCHAR, {objects('n', compared)}::VARCHAR "
            f"FROM {' FULL JOIN '.join(sides)} ON o.key = n.key JOIN r ON r.key = coalesce(n.key, o.key)",
            {"keys": list(keys)},
        ).fetchall()
        names = ("key", "change", "changed_columns", "before", "after")
        return {row[0]: dict(zip(names, row, strict=True)) for row in found}

    def _side(
        self, place: str, other: str, has: dict[str, list[str]], key: str, columns: Sequence[str]
    ) -> str:
        """Return the statement that shows a side: its key, whether the row is current, and columns, null where it lacks them."""
        kinds = self._kinds(f"{other}_stored") if has[other] else {}
        listed = [
            quoted(name) if name in has[place] else f"NULL::{kinds.get(name, 'VARCHAR')} AS {quoted(name)}"
            for name in columns
        ]
        flags = [quoted(name) for name in ("present", "active") if name in (has[place] or has[other])]
        if not has[place]:
            return (
                f"CREATE OR REPLACE TEMP VIEW {place}_side AS SELECT NULL::VARCHAR AS key, false AS is_current, "
                + (", ".join(listed) + " WHERE false")
            )
        current = f"coalesce({' AND '.join(flags)}, false)" if flags else "true"
        return (
            f"CREATE OR REPLACE TEMP VIEW {place}_side AS SELECT {quoted(key)} AS key, {current} AS is_current, "
            f"{', '.join(listed)} FROM {place}_stored"
        )

    def _kinds(self, name: str) -> dict[str, str]:
        return {column: kind for column, kind, *_ in self.con.execute(f"DESCRIBE {name}").fetchall()}
