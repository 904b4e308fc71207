"""Two versions side by side, and why: which rule, threshold, person, captioner or input is behind each row that differs.

The rows that differ are those of `diff(...)` in SQL. Here each is put down to one cause, so that the causes of a table add
up to its rows.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import duckdb

from schemas.errors import NoSuchTable
from storage import history
from storage.causes import TELLING, Cause, cause_of, telling
from storage.database import MEMORY, as_written, cursor, database, expect, with_enough
from storage.differing import Differing
from storage.lake import Lake
from storage.quoting import quoted
from storage.sides import Setting, Sides
from storage.sql import Limits
from storage.sql.door import translated
from storage.sql.views import SUBJECTS
from storage.sql.watch import WATCHER
from storage.versions import Snapshot
from storage.windows import with_values

_LIMITS = Limits(seconds=900.0, memory=MEMORY)
MANY = 5  # of so many rows of a table one differs where many do, as when the scores of a method are made anew
LITTLE_MB = 48  # where nobody said; with less, the joins of most of a million rows that differ are made twice


@dataclass(frozen=True)
class Row:
    """A row that differs.

    Args:
        key: Its key.
        change: added, removed or changed.
        columns: Those that changed.
        before: Their values before.
        after: Their values after.
        cause: Why, as `Cause.said`.
        about: Its text, or where its medium was found.
        media_id: Its medium, or ""; see `thumbnails`.
    """

    key: str
    change: str
    columns: tuple[str, ...]
    before: dict[str, Any]
    after: dict[str, Any]
    cause: str
    about: str = ""
    media_id: str = ""


@dataclass(frozen=True)
class TableDifference:
    """What differs in one table.

    Args:
        added: Rows that are new, or current again.
        removed: Rows that are gone, or no longer current.
        changed: Rows whose content changed.
        columns: {column: changed rows in which it changed}.
        causes: Why, most rows first; their rows add up to all that differ.
        rows: Samples, some of each cause.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Difference:
    """What differs between two snapshots, and why.

    Args:
        before: The one.
        after: The other.
        settings: Where recipes and code differ.
        tables: {table: what differs}, of every table that was looked at.
    """

    before: Snapshot
    after: Snapshot
    settings: tuple[Setting, ...]
    tables: dict[str, TableDifference]


def difference(
    lake: Lake,
    before: str,
    after: str,
    *,
    tables: Sequence[str] | None = None,
    limit: int = 10,
    limits: Limits | None = None,
) -> Difference:
    """Return what differs between two snapshots, and why.

    Current rows are compared, as `diff(...)` in SQL does: what left its source or is no longer active counts as removed.

    Args:
        lake: The lake.
        before: Snapshot id, tag or digest.
        after: The same.
        tables: Which tables; all by default.
        limit: Sample rows of a table at most.
        limits: Seconds that comparing one table may take, and memory before it spills to disk; by default a quarter of an
            hour, and as little memory as it takes.

    Raises:
        ValueError: `limit` is under 0.
        NoSuchSnapshot: Nothing has one of the names.
        NoSuchTable: Neither snapshot has a table.
        LakeError: The data of a snapshot has been let go.
        SqlError: Comparing a table takes longer than `limits` allow.
    """
    if limit < 0:
        raise ValueError(f"limit is a number of rows from 0, found {limit}")
    old, new = lake.snapshot(before), lake.snapshot(after)
    memory, limits = ("auto", _LIMITS) if limits is None else (limits.memory, limits)
    with database(memory, little=LITTLE_MB), cursor() as con:
        expect(max(0, *old.row_counts.values(), *new.row_counts.values()) // MANY)
        return _difference(Sides(Differing(con, lake, old, new), limits), before, after, tables, limit)


def _difference(
    sides: Sides, before: str, after: str, tables: Sequence[str] | None, limit: int
) -> Difference:
    known = sides.old.versions.keys() | sides.new.versions.keys()
    for table in tables or ():
        if table not in known:
            raise NoSuchTable(
                f"neither {before} nor {after} has a table {table!r}; they have {', '.join(sorted(known))}"
            )
    wanted = sorted(known if not tables else set(tables))
    differ = [table for table in wanted if sides.old.digests.get(table) != sides.new.digests.get(table)]
    if differ:
        for snapshot in (sides.old, sides.new):
            history.check_readable(sides.lake, snapshot)
    found = {
        table: _of_table(sides, table, limit) if table in differ else TableDifference() for table in wanted
    }
    return Difference(sides.old, sides.new, sides.settings(), found)


def thumbnails(lake: Lake, found: Difference) -> dict[str, bytes]:
    """Return {media id: its thumbnail, WebP} of the sample rows, where there is one."""
    ids = sorted({row.media_id for table in found.tables.values() for row in table.rows if row.media_id})
    pictures: dict[str, bytes] = {}
    for snapshot in (found.before, found.after):
        for row in _by_id(lake, snapshot, "media", ids, ["thumbnail"]):
            if row["thumbnail"]:
                pictures[row["media_id"]] = row["thumbnail"]
    return pictures


def _of_table(sides: Sides, table: str, limit: int) -> TableDifference:
    with WATCHER.watching(sides.con, sides.limits) as watch:
        try:
            return with_enough(partial(_compared, sides, table, limit))
        except duckdb.Error as error:
            raise translated(error, watch, sides.limits) from error


def _compared(sides: Sides, table: str, limit: int) -> TableDifference:
    con = sides.con
    names = sides.rows.hold_rows(table, telling(table))
    if table == "pairs":
        names += _hold_origins(sides)
    counts = dict(con.execute("SELECT change, count(*) FROM r GROUP BY 1").fetchall())
    columns = dict(
        con.execute(
            "SELECT c, count(*) FROM (SELECT unnest(changed_columns) c FROM r) GROUP BY 1 ORDER BY 1"
        ).fetchall()
    )
    facts, told = _told(sides, table, names)
    grouped = f"SELECT {', '.join(facts)}, count(*), min(key, {max(limit, 1)}) FROM ({told}) GROUP BY ALL ORDER BY ALL"
    groups = with_enough(lambda: con.execute(grouped).fetchall())
    totals: Counter[Cause] = Counter()
    keys: dict[Cause, list[str]] = {}
    for *values, n, some in groups:
        cause = cause_of(sides, table, dict(zip(facts, values, strict=True)))
        totals[cause] += n
        keys.setdefault(cause, []).extend(some)
    ordered = sorted(totals, key=lambda cause: (-totals[cause], cause.said))
    chosen = _chosen([sorted(keys[cause]) for cause in ordered], limit)
    sampled = sides.rows.samples(table, [key for _, key in chosen])
    causes = tuple(Cause(**vars(cause) | {"rows": totals[cause]}) for cause in ordered)
    samples = [(ordered[place].said, sampled[key]) for place, key in chosen]
    return TableDifference(
        counts.get("added", 0), counts.get("removed", 0), counts.get("changed", 0), columns, causes,
        _described(sides, table, samples),
    )  # fmt: skip


def _hold_origins(sides: Sides) -> list[str]:
    """Set beside the pairs that differ where their texts come from, and return the names of those columns."""
    its = "coalesce(new_text_id, old_text_id)"
    if sides.rows.offer("its_texts", "texts", sides.new):
        with as_written(sides.con):  # what is held are the ids
            sides.rows.hold(
                "their_texts",
                "SELECT t.text_id, t.origin, t.generator FROM its_texts t "
                f"SEMI JOIN (SELECT {its} AS text_id FROM r) r ON r.text_id = t.text_id",
            )
        texts = f"LEFT JOIN their_texts t ON t.text_id = {its}"
        said = "t.origin AS text_origin, t.generator AS text_generator"
    else:
        texts, said = "", "NULL::VARCHAR AS text_origin, NULL::VARCHAR AS text_generator"
    sides.rows.hold("r", f"SELECT r.*, {said} FROM r {texts}")
    return ["text_origin", "text_generator"]


def _told(sides: Sides, table: str, names: list[str]) -> tuple[list[str], str]:
    """Return the names of what tells a row's cause, and the query of rows that gives them."""
    columns = "array_to_string(changed_columns, ', ') AS columns"
    if table in SUBJECTS:
        _hold_said(sides)
        return _SAID_OF_SUBJECTS, _of_subjects(table, columns)
    facts = [name for name in names if name.startswith(("old_", "new_"))]
    listed = ", ".join(map(quoted, facts)) or "1"
    return ["change", "columns", *facts], f"SELECT key, change, {columns}, {listed} FROM r"


def _hold_said(sides: Sides) -> None:
    """Hold what rules and people say on both sides, and who wrote which text."""
    con = sides.con
    for place, snapshot in (("old", sides.old), ("new", sides.new)):
        sides.offer_drops(f"said_{place}", snapshot)
        people = ["subject_id", "verdict", "person", "made_at"]
        con.register(f"people_{place}", sides.read(snapshot, "verdicts", people, "active"))
        sides.rows.hold(
            f"drops_{place}",
            f"SELECT subject_id, rule, arg_min(threshold, position) AS threshold FROM said_{place} "
            "WHERE verdict = 'drop' GROUP BY 1, 2",
        )
        con.execute(
            f"CREATE OR REPLACE TEMP VIEW spoke_{place} AS SELECT subject_id, arg_max(verdict, made_at) AS verdict, "
            f"arg_max(person, made_at) AS person FROM people_{place} GROUP BY 1"
        )
    columns = ["text_id", "generator", "version", "params_digest"]
    con.register("written", sides.read(sides.new, "captions", columns, "active AND text_id IS NOT NULL"))


_SAID_OF_SUBJECTS = [
    "change", "columns", "was_there", "old_kept", "new_kept", "old_rule", "new_rule", "beside", "old_said", "new_said",
    "old_verdict", "old_person", "new_verdict", "new_person", "origin", "generator", "version", "params",
]  # fmt: skip


def _of_subjects(table: str, columns: str) -> str:
    """Return the query of media, texts or pairs that differ, each with what was said of it."""
    origin, generator = {
        "media": ("NULL", "NULL"),
        "texts": ("coalesce(new_origin, old_origin)", "coalesce(new_generator, old_generator)"),
        "pairs": ("text_origin", "text_generator"),
    }[table]
    text = {"media": "NULL", "texts": "key", "pairs": "coalesce(new_text_id, old_text_id)"}[table]
    blamed = {
        place: f"CASE WHEN {place}_dropped_by LIKE 'media: %' THEN {place}_media_id "
        f"WHEN {place}_dropped_by LIKE 'text: %' THEN {place}_text_id ELSE key END" if table == "pairs" else "key"
        for place in ("old", "new")
    }  # fmt: skip
    inner = f"""
        SELECT *, {blamed["old"]} AS old_blamed, {blamed["new"]} AS new_blamed, {text} AS its_text,
               {origin} AS origin, {generator} AS generator,
               regexp_replace(old_dropped_by, '^(media|text): ', '') AS old_rule,
               regexp_replace(new_dropped_by, '^(media|text): ', '') AS new_rule,
               nullif(regexp_extract(coalesce(CASE WHEN new_kept THEN old_dropped_by ELSE new_dropped_by END, ''),
                              '^(media|text): ', 1), '') AS beside
        FROM r
    """
    # Kept again: what matters is who now speaks for what was blamed before.
    return f"""
        SELECT i.key, i.change, {columns}, i.in_old AS was_there, i.old_kept, i.new_kept, i.old_rule, i.new_rule, i.beside,
               a.threshold AS old_said, b.threshold AS new_said,
               p.verdict AS old_verdict, p.person AS old_person, q.verdict AS new_verdict, q.person AS new_person,
               i.origin, i.generator, w.version, w.params
        FROM ({inner}) i
        LEFT JOIN drops_old a ON a.subject_id = i.old_blamed AND a.rule = i.old_rule
        LEFT JOIN drops_new b ON b.subject_id = i.new_blamed AND b.rule = i.new_rule
        LEFT JOIN spoke_old p ON p.subject_id = i.old_blamed
        LEFT JOIN spoke_new q ON q.subject_id = CASE WHEN i.new_kept THEN i.old_blamed ELSE i.new_blamed END
        LEFT JOIN (SELECT text_id, generator, max(version) AS version, arg_max(params_digest, version) AS params
                   FROM written GROUP BY 1, 2) w ON w.text_id = i.its_text AND w.generator = i.generator
    """


def _chosen(keys: Sequence[Sequence[str]], limit: int) -> list[tuple[int, str]]:
    """Return (cause, key) of at most `limit` rows: one of each cause in turn, then another of each; by cause."""
    depth = max((len(of_cause) for of_cause in keys), default=0)
    turns = [
        (place, of_cause[turn])
        for turn in range(depth)
        for place, of_cause in enumerate(keys)
        if turn < len(of_cause)
    ]
    return sorted(turns[:limit])


def _described(sides: Sides, table: str, samples: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[Row, ...]:
    """Return sample rows with the text or place of what they are about."""
    its = _subjects(sides, table, [row["key"] for _, row in samples])
    places: dict[str, str] = {}
    texts: dict[str, str] = {}
    for snapshot in (sides.old, sides.new):
        for row in _by_id(sides.lake, snapshot, "media", (m for m, _ in its.values()), ["locators", "uri"]):
            places[row["media_id"]] = (row["locators"] or [row["uri"] or ""])[0]
        for row in _by_id(sides.lake, snapshot, "texts", (t for _, t in its.values()), ["text"]):
            texts[row["text_id"]] = row["text"] or ""
    found = []
    for cause, sample in samples:
        medium, text = its[sample["key"]]
        found.append(
            Row(
                sample["key"], sample["change"], tuple(sample["changed_columns"]), json.loads(sample["before"] or "{}"),
                json.loads(sample["after"] or "{}"), cause, texts.get(text) or places.get(medium, ""),
                medium if medium in places else "",
            )
        )  # fmt: skip
    return tuple(found)


def _subjects(sides: Sides, table: str, keys: list[str]) -> dict[str, tuple[str, str]]:
    """Return {key: the medium and the text a row is about}, "" for none. What may be either is tried as both."""
    if table in ("media", "texts") or table not in TELLING:
        return {key: ("" if table == "texts" else key, "" if table == "media" else key) for key in keys}
    rows: dict[str, Mapping[str, Any]] = {}
    for snapshot in (sides.old, sides.new):
        if table in snapshot.versions:
            has = sides.lake.dataset(table, snapshot).schema.names
            columns = [name for name in ("media_id", "text_id", "pair_id", "subject_id") if name in has]
            rows |= {row["key"]: row for row in _by_id(sides.lake, snapshot, table, keys, columns)}
    named = {key: row.get("pair_id") or row.get("subject_id") or "" for key, row in rows.items()}
    pairs: dict[str, tuple[str, str]] = {}
    if table != "pairs":
        for snapshot in (sides.old, sides.new):
            for row in _by_id(sides.lake, snapshot, "pairs", named.values(), ["media_id", "text_id"]):
                pairs[row["pair_id"]] = (row["media_id"], row["text_id"])
    either = {key: pairs.get(name, (name, name)) for key, name in named.items()}
    return {
        key: (row.get("media_id") or either[key][0], row.get("text_id") or either[key][1])
        for key, row in rows.items()
    }


def _by_id(
    lake: Lake, snapshot: Snapshot, table: str, ids: Iterable[str], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Return columns of the rows that have some keys, the key as `key` too."""
    wanted = sorted({one for one in ids if one})
    if not wanted or table not in snapshot.versions:
        return []
    dataset = lake.dataset(table, snapshot)
    key = dataset.schema.names[0]
    rows = with_values(dataset, key, wanted, list(dict.fromkeys([key, *columns])))
    return [row | {"key": row[key]} for row in rows.to_pylist()]
