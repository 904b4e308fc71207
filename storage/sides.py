"""Two snapshots beside each other: what is known on each of rules, scorers and captioners, and where their recipes differ."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from storage import history
from storage.differing import Differing
from storage.quoting import quoted
from storage.sql import Limits
from storage.versions import Snapshot

_LEFT_OUT = frozenset(
    {"name", "tag", "shard_rows"}
)  # of a recipe: they change no row; nor does a source's place


@dataclass(frozen=True)
class Setting:
    """A part of a recipe, or the code, that is not the same on both sides.

    Args:
        name: Where it stands, as "curate: filters[min-side].at_least".
        before: JSON of its value; None where it was not there.
        after: The same.
    """

    name: str
    before: str | None
    after: str | None


class Sides:
    """Two snapshots and what is known on each of rules, people, scorers and captioners."""

    def __init__(self, rows: Differing, limits: Limits) -> None:
        self.rows, self.con, self.limits = rows, rows.con, limits
        self.lake, self.old, self.new = rows.lake, rows.old, rows.new
        self.runs = [history.led_by(self.lake, snapshot) for snapshot in (self.old, self.new)]
        self._kept: dict[str, Any] = {}

    def settings(self) -> tuple[Setting, ...]:
        """Return where the recipes in force, their encoders and the code differ."""
        if "settings" in self._kept:
            return self._kept["settings"]
        sides: list[dict[str, str]] = [{}, {}]
        for flow in ("curate", "caption"):
            rows = [runs.get(flow) for runs in self.runs]
            for flat, row in zip(sides, rows, strict=True):
                if row is not None and None in rows:  # all of it is new, or gone
                    flat[flow] = json.dumps(row["recipe"], ensure_ascii=False)
                elif row is not None:
                    flat |= _flat(f"{flow}: ", row["recipe_json"] or {})
                    flat |= _flat(f"{flow}: encoders", row["encoders"] or [])
                    flat[f"{flow}: code"] = json.dumps(row["code_version"])
        names = sorted(sides[0].keys() | sides[1].keys())
        found = [Setting(name, sides[0].get(name), sides[1].get(name)) for name in names]
        self._kept["settings"] = tuple(each for each in found if each.before != each.after)
        return self._kept["settings"]

    def altered(self, rule: str) -> str:
        """Return " (its settings changed)" where anything of a rule is set otherwise than before; else ""."""
        place = "curate: correspondence." if rule.startswith("correspondence: ") else f"[{rule}]"
        return " (its settings changed)" if any(place in each.name for each in self.settings()) else ""

    def read(self, snapshot: Snapshot, table: str, columns: list[str], where: str | None = None) -> pa.Table:
        """Return columns of a table, those it lacks as nulls; no rows where the snapshot lacks it."""
        if table not in snapshot.versions:
            return pa.table({name: pa.array([], pa.string()) for name in columns})
        dataset = self.lake.dataset(table, snapshot, scanned=True)
        return dataset.to_table(columns=columns, filter=where)

    def offer_drops(self, name: str, snapshot: Snapshot) -> None:
        """Offer what rules say at a snapshot; no rows without a table of decisions."""
        columns = "subject_id, rule, verdict, threshold, position, run_id"
        if self.rows.offer(f"{name}_stored", "decisions", snapshot):
            self.con.execute(
                f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {columns} FROM {name}_stored WHERE active"
            )
        else:
            nothing = ", ".join(f"NULL::VARCHAR AS {column}" for column in columns.split(", "))
            self.con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {nothing} WHERE false")

    def rules(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return {rule: its threshold} on both sides: as decisions say, else as the recipe does."""
        if "rules" not in self._kept:
            sides = []
            for snapshot, runs in zip((self.old, self.new), self.runs, strict=True):
                found = history.thresholds({flow: row["recipe_json"] or {} for flow, row in runs.items()})
                self.offer_drops("ruled", snapshot)
                rows = self.con.execute(
                    "SELECT rule, coalesce(run_id, ''), max(threshold) FROM ruled WHERE threshold IS NOT NULL "
                    "AND NOT starts_with(rule, 'caption: ') GROUP BY 1, 2"
                ).fetchall()
                newest: dict[str, tuple[str, str]] = {}
                for rule, run, threshold in rows:
                    newest[rule] = max(newest.get(rule, ("", "")), (run, threshold))
                sides.append(found | {rule: threshold for rule, (_, threshold) in newest.items()})
            self._kept["rules"] = tuple(sides)
        return self._kept["rules"]

    def distinct(
        self, table: str, columns: tuple[str, ...]
    ) -> tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]:
        """Return the distinct values of some columns on both sides; of current rows where they have a state."""
        name = f"{table} {columns}"
        if name not in self._kept:
            sides = []
            for snapshot in (self.old, self.new):
                rows: set[tuple[Any, ...]] = set()
                if has := self.rows.offer("its", table, snapshot):
                    where = " WHERE active" if "active" in has else ""
                    listed = ", ".join(map(quoted, columns))
                    rows = set(self.con.execute(f"SELECT DISTINCT {listed} FROM its{where}").fetchall())
                sides.append(rows)
            self._kept[name] = tuple(sides)
        return self._kept[name]


def _flat(path: str, value: Any) -> dict[str, str]:
    """Return {where: JSON of the value there} of a recipe; parts of a list go by the name of their method."""
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for name, part in value.items():
            if (name in _LEFT_OUT and path.endswith(": ")) or (name == "location" and ": sources[" in path):
                continue
            found |= _flat(f"{path}{'' if path.endswith(': ') else '.'}{name}", part)
        return found
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        found, seen = {}, Counter[str]()
        for part in value:
            method = part.get("method")
            name = str((method if isinstance(method, Mapping) else part).get("name", ""))
            seen[name] += 1
            place = name if seen[name] == 1 else f"{name} {seen[name]}"
            found |= _flat(f"{path}[{place}]", part)
        return found
    return {path: json.dumps(value, sort_keys=True, ensure_ascii=False)}
