"""What is different between two versions of a table, as a relation."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from schemas.tables import CONTENT
from storage.lake import key_of
from storage.quoting import literal, quoted
from storage.sql.views import SUBJECTS, Rows, digest_of

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("digest", pa.string()),  # of the row's medium or text, where it has one
        pa.field("change", pa.string()),  # added | removed | changed
        pa.field("changed_columns", pa.list_(pa.string())),
        pa.field("before", pa.string()),  # JSON of the columns that changed
        pa.field("after", pa.string()),
        pa.field("why", pa.string()),  # the rule or person behind it, for media, texts and pairs
    ]
)


def changes(con: duckdb.DuckDBPyConnection, old: Rows, new: Rows, table: str, *, raw: bool) -> pa.Table:
    """Return the rows that differ between two snapshots of a table, sorted by key.

    Current rows are compared: what left its source or is no longer active counts as removed. Raw, stored rows are, as
    `Lake.diff` does. Columns that follow from others, such as a thumbnail or the value of a score, do not count.

    Args:
        con: A cursor.
        old: The snapshot before.
        new: The snapshot after.
        table: The table, in at least one of both.
        raw: Compare stored rows.
    """
    stored = (new if new.has(table) else old).columns(table).names
    key, compared = compared_columns(table, stored)
    digest = digest_of(table, stored)
    sides = {
        side: _side(rows, table, key, [*compared, "row_digest"], raw=raw)
        for side, rows in (("o", old), ("n", new))
    }
    cells = ", ".join(
        f"CASE WHEN o.{quoted(name)} IS DISTINCT FROM n.{quoted(name)} THEN {literal(name)} END"
        for name in compared
    )
    changed = f"CASE WHEN o.key IS NULL OR n.key IS NULL THEN [] ELSE list_filter([{cells}], lambda c: c IS NOT NULL) END"
    kept = {name for name in ("kept", "dropped_by") if name in stored} if table in SUBJECTS else set()
    why = _why(new, table) if len(kept) == 2 else None
    dig = "NULL"
    if digest:
        name = "key" if digest == key else digest
        dig = f"coalesce(n.{quoted(name)}, o.{quoted(name)})"
    sql = f"""
        WITH o AS MATERIALIZED ({sides["o"]}), n AS MATERIALIZED ({sides["n"]}),
        d AS (
            SELECT coalesce(n.key, o.key) AS key, {dig} AS digest,
                   CASE WHEN o.key IS NULL THEN 'added' WHEN n.key IS NULL THEN 'removed' ELSE 'changed' END AS change,
                   {changed} AS changed_columns,
                   {objects("o", compared)} AS before, {objects("n", compared)} AS after,
                   {why[0] if why else "NULL"} AS why
            FROM o FULL JOIN n ON o.key = n.key {why[1] if why else ""}
            WHERE o.row_digest IS DISTINCT FROM n.row_digest
        )
        SELECT key::VARCHAR, digest::VARCHAR, change, changed_columns::VARCHAR[], before::VARCHAR, after::VARCHAR,
               why::VARCHAR
        FROM d WHERE change <> 'changed' OR len(changed_columns) > 0 ORDER BY key
    """
    found = con.sql(sql).to_arrow_table()
    return found.rename_columns(SCHEMA.names).cast(SCHEMA)


def compared_columns(table: str, stored: Sequence[str]) -> tuple[str, list[str]]:
    """Return the key of a table and those of its columns that are compared."""
    key = key_of(table) if table in CONTENT else stored[0]
    derived = CONTENT[table].derived if table in CONTENT else frozenset({"vector", "run_id"})
    return key, [name for name in stored if name not in derived and name not in (key, "row_digest")]


def _side(rows: Rows, table: str, key: str, columns: list[str], *, raw: bool) -> str:
    if not rows.has(table):
        listed = ", ".join(f"NULL AS {quoted(name)}" for name in columns)
        return f"SELECT NULL::VARCHAR AS key, {listed} WHERE false"
    current = [] if raw else [name for name in ("present", "active") if name in columns]
    listed = ", ".join(quoted(name) for name in columns)
    where = f" WHERE {' AND '.join(current)}" if current else ""
    return f"SELECT {quoted(key)} AS key, {listed} FROM {rows.rows(table, [key, *columns])}{where}"


def objects(side: str, compared: list[str]) -> str:
    """Return SQL that makes a JSON object of one side's values of the columns that changed."""
    cells = ", ".join(
        f"CASE WHEN o.{quoted(name)} IS DISTINCT FROM n.{quoted(name)} "
        f"THEN {{'k': {literal(name)}, 'v': to_json({side}.{quoted(name)})}} END"
        for name in compared
    )
    pairs = f"list_filter([{cells}], lambda c: c IS NOT NULL)"
    return f"CASE WHEN o.key IS NULL OR n.key IS NULL THEN NULL ELSE to_json(map_from_entries({pairs})) END"


def _why(new: Rows, table: str) -> tuple[str, str]:
    """Return SQL that says which rule or person is behind a change of a subject, and the joins it needs."""
    subject = SUBJECTS[table]
    blame = "n.key"
    if table == "pairs":  # a pair falls with its medium or its text
        blame = (
            "CASE WHEN n.dropped_by LIKE 'media: %' THEN n.media_id WHEN n.dropped_by LIKE 'text: %' THEN n.text_id "
            f"ELSE {blame} END"
        )
    rule = "regexp_replace(n.dropped_by, '^(media|text): ', '')"
    joins, detail = [], "''"
    if new.has("decisions"):
        said = new.rows(
            "decisions",
            ["subject_id", "rule", "method", "value", "threshold", "active", "position", "verdict"],
        )
        joins.append(
            "LEFT JOIN (SELECT subject_id, rule, arg_min(method, position) AS method, "
            "arg_min(value, position) AS value, arg_min(threshold, position) AS threshold "
            f"FROM {said} WHERE active AND verdict = 'drop' GROUP BY 1, 2) w ON w.subject_id = {blame} AND w.rule = {rule}"
        )
        number = "coalesce(' ' || round(w.value, 4)::VARCHAR, '')"
        detail = f"coalesce(' (' || w.method || {number} || coalesce(', ' || w.threshold, '') || ')', '')"
    person = "NULL"
    if new.has("verdicts"):
        said = new.rows(
            "verdicts", ["subject", "subject_id", "verdict", "person", "comment", "active", "made_at"]
        )
        joins.append(
            "LEFT JOIN (SELECT subject_id, arg_max(coalesce(person, 'a person') || ' says ' || verdict || "
            f"coalesce(': ' || nullif(comment, ''), ''), made_at) AS said FROM {said} "
            f"WHERE active AND subject = {literal(subject)} GROUP BY 1) h ON h.subject_id = n.key"
        )
        person = "h.said"
    sql = f"""CASE
        WHEN n.key IS NULL THEN 'no longer in its source'
        WHEN o.key IS NOT NULL AND o.kept IS NOT DISTINCT FROM n.kept AND o.dropped_by IS NOT DISTINCT FROM n.dropped_by
            THEN NULL
        WHEN {person} IS NOT NULL THEN {person}
        WHEN n.dropped_by IS NOT NULL THEN n.dropped_by || {detail}
        WHEN o.dropped_by IS NOT NULL THEN 'no longer: ' || o.dropped_by
    END"""
    return sql, " ".join(joins)
