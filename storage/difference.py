"""Two versions side by side, and why: which rule, threshold, person, captioner or input is behind each row that differs.

The rows that differ are those of `diff(...)` in SQL. Here each is put down to one cause, so that the causes of a table add
up to its rows.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import duckdb
import pyarrow as pa

from schemas.errors import NoSuchTable
from schemas.tables import CODES_PREFIX, EMBEDDINGS_PREFIX, TOKENS_PREFIX
from storage import history
from storage.database import MEMORY, cursor, database
from storage.differing import Differing
from storage.lake import Lake
from storage.sql import Limits
from storage.sql.door import translated
from storage.sql.views import SUBJECTS, quoted
from storage.sql.watch import WATCHER
from storage.versions import Snapshot

Kind = Literal["rule", "person", "caption", "score", "encoder", "input", "method", "content"]

# Beyond what a diff says of a row, the columns that tell its cause.
_TELLING: dict[str, tuple[str, ...]] = {
    "media": ("kept", "dropped_by"),
    "texts": ("kept", "dropped_by", "origin", "generator"),
    "pairs": ("kept", "dropped_by", "media_id", "text_id"),
    "scores": ("method", "params_digest"),
    "decisions": ("rule", "verdict", "threshold"),
    "verdicts": ("person", "verdict"),
    "captions": ("generator", "version", "params_digest", "status"),
    "sources": ("source", "outcome"),
    "quarantine": ("source", "reason"),
    "divisions": ("scorer", "divider"),
    "reasons": ("kind", "method"),
    "repairs": ("kind", "method"),
    "served": ("use", "origin"),
    "rewrites": ("kind", "method"),
}
_PERSON = "person"  # what `dropped_by` says where a person's verdict drops
_LIMITS = Limits(seconds=900.0, memory=MEMORY)
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


@dataclass(frozen=True)
class Cause:
    """Why rows differ.

    Args:
        kind: rule: a rule of the recipe. person: a verdict. caption: a captioner. score: a scorer. encoder: of vectors.
            input: what came into or left the sources. method: another method of the recipe. content: the row itself.
        name: The rule, person, captioner, scorer ...; the columns, where content changed.
        before: Threshold, version or digest of parameters before; None where there was none.
        after: The same after.
        effect: What became of the rows.
        rows: How many.
    """

    kind: Kind
    name: str
    before: str | None
    after: str | None
    effect: str
    rows: int = 0

    @property
    def said(self) -> str:
        """The cause in words, without the number of rows: "min-side at_least 32 -> 64: dropped"."""
        return f"{self.name}{_arrow(self.before, self.after)}: {self.effect}"


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
    limits: Limits = _LIMITS,
) -> Difference:
    """Return what differs between two snapshots, and why.

    Current rows are compared, as `diff(...)` in SQL does: what left its source or is no longer active counts as removed.

    Args:
        lake: The lake.
        before: Snapshot id, tag or digest.
        after: The same.
        tables: Which tables; all by default.
        limit: Sample rows of a table at most.
        limits: Seconds that comparing one table may take, and memory before it spills to disk.

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
    with database(limits.memory), cursor() as con:
        return _difference(_Sides(Differing(con, lake, old, new), limits), before, after, tables, limit)


def _difference(
    sides: "_Sides", before: str, after: str, tables: Sequence[str] | None, limit: int
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


class _Sides:
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
        dataset = self.lake.dataset(table, snapshot)
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


def _of_table(sides: _Sides, table: str, limit: int) -> TableDifference:
    with WATCHER.watching(sides.con, sides.limits) as watch:
        try:
            return _compared(sides, table, limit)
        except duckdb.Error as error:
            raise translated(error, watch, sides.limits) from error


def _compared(sides: _Sides, table: str, limit: int) -> TableDifference:
    con = sides.con
    names = sides.rows.hold_rows(table, _telling(table))
    if table == "pairs":
        names += _hold_origins(sides)
    counts = dict(con.execute("SELECT change, count(*) FROM r GROUP BY 1").fetchall())
    columns = dict(
        con.execute(
            "SELECT c, count(*) FROM (SELECT unnest(changed_columns) c FROM r) GROUP BY 1 ORDER BY 1"
        ).fetchall()
    )
    facts, told = _told(sides, table, names)
    groups = con.execute(
        f"SELECT {', '.join(facts)}, count(*), min(key, {max(limit, 1)}) FROM ({told}) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    totals: Counter[Cause] = Counter()
    keys: dict[Cause, list[str]] = {}
    for *values, n, some in groups:
        cause = _cause(sides, table, dict(zip(facts, values, strict=True)))
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


def _hold_origins(sides: _Sides) -> list[str]:
    """Set beside the pairs that differ where their texts come from, and return the names of those columns."""
    its = "coalesce(new_text_id, old_text_id)"
    if sides.rows.offer("its_texts", "texts", sides.new):
        texts = f"LEFT JOIN (SELECT text_id, origin, generator FROM its_texts) t ON t.text_id = {its}"
        said = "t.origin AS text_origin, t.generator AS text_generator"
    else:
        texts, said = "", "NULL::VARCHAR AS text_origin, NULL::VARCHAR AS text_generator"
    sides.rows.hold("with_origins", f"SELECT r.*, {said} FROM r {texts}")
    sides.con.execute("DROP TABLE r; ALTER TABLE with_origins RENAME TO r")
    return ["text_origin", "text_generator"]


def _told(sides: _Sides, table: str, names: list[str]) -> tuple[list[str], str]:
    """Return the names of what tells a row's cause, and the query of rows that gives them."""
    columns = "array_to_string(changed_columns, ', ') AS columns"
    if table not in SUBJECTS:
        facts = [name for name in names if name.startswith(("old_", "new_"))]
        return [
            "change",
            "columns",
            *facts,
        ], f"SELECT key, change, {columns}, {', '.join(map(quoted, facts)) or '1'} FROM r"
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
    con.register(
        "written",
        sides.read(
            sides.new,
            "captions",
            ["text_id", "generator", "version", "params_digest"],
            "active AND text_id IS NOT NULL",
        ),
    )
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
    facts = [
        "change", "columns", "was_there", "old_kept", "new_kept", "old_rule", "new_rule", "beside", "old_said", "new_said",
        "old_verdict", "old_person", "new_verdict", "new_person", "origin", "generator", "version", "params",
    ]  # fmt: skip
    # Kept again: what matters is who now speaks for what was blamed before.
    return (
        facts,
        f"""
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
    """,
    )


def _cause(sides: _Sides, table: str, told: Mapping[str, Any]) -> Cause:
    """Return the cause of rows of which the same is told."""
    if table in SUBJECTS:
        return _of_subject(sides, told)
    change = told["change"]

    def now(column: str) -> Any:
        value = told.get(f"new_{column}")
        return told.get(f"old_{column}") if value is None else value

    if table == "scores":
        before, after = _params(
            sides.distinct("scores", ("method", "params_digest")), now("method"), now("params_digest")
        )
        return Cause("score", now("method"), before, after, change)
    if table == "decisions":
        old, new = sides.rules()
        rule = now("rule")
        own = _plain(rule, now("threshold"))
        before = own if change == "removed" else old.get(rule)
        after = new.get(rule) if change == "removed" else own
        return Cause("rule", rule, before, after, f"{now('verdict')} {change}")
    if table == "verdicts":
        effect = "withdrawn" if change == "removed" else f"says {now('verdict')}"
        return Cause("person", now("person") or "a person", None, None, effect)
    if table == "captions":
        made = {"version": now("version"), "params": now("params_digest"), "generator": now("generator")}
        return _of_captioner(sides, made, f"{now('status')} {change}")
    if table.startswith((EMBEDDINGS_PREFIX, TOKENS_PREFIX, CODES_PREFIX)):
        column = next((name for name in _telling(table) if f"new_{name}" in told and name != "side"), "")
        digests = [
            sorted(str(value)[:8] for (value,) in side if value) for side in sides.distinct(table, (column,))
        ]
        before, after = (", ".join(side) or None for side in digests)
        return Cause("encoder", f"{table.partition('_')[2]} of {now('side')}", before, after, change)
    if table == "sources":
        if change == "changed" and told["old_outcome"] != told["new_outcome"]:
            effect = f"{told['old_outcome']} is now {told['new_outcome']}"
        else:
            effect = {"added": "new", "removed": "gone"}.get(change, f"changed in {told['columns']}")
        return Cause("input", now("source") or "", None, None, effect)
    if table == "quarantine":
        return Cause(
            "input",
            now("reason") or "",
            None,
            None,
            {"added": "refused", "removed": "no longer refused"}.get(change, change),
        )
    names = [str(now(column)) for column in _telling(table) if now(column) is not None]
    effect = change if change != "changed" else f"changed in {told['columns']}"
    return Cause("method" if names else "content", " ".join(names) or table, None, None, effect)


def _of_subject(sides: _Sides, told: Mapping[str, Any]) -> Cause:
    """Return why a medium, text or pair differs."""
    change, old_rule, new_rule = told["change"], told["old_rule"], told["new_rule"]
    beside = f" with its {'medium' if told['beside'] == 'media' else 'text'}" if told["beside"] else ""
    synthetic = told["origin"] == "synthetic"
    if change == "removed":
        if synthetic:
            return _of_captioner(sides, told, "removed")
        return Cause("input", "left its source", None, None, "removed")
    if change == "added":
        against = told["new_kept"] is False and new_rule is not None
        if synthetic:
            return _of_captioner(sides, told, f"added, dropped by {new_rule}" if against else "added")
        if against:
            return _of_drop(sides, told, f"added, dropped{beside}")
        return Cause(
            "input", "back in its source" if told["was_there"] else "new in its source", None, None, "added"
        )
    if told["old_kept"] and told["new_kept"] is False and new_rule is not None:
        return _of_drop(sides, told, f"dropped{beside}")
    if told["old_kept"] is False and told["new_kept"] and old_rule is not None:
        effect = f"kept again{beside}"
        if told["new_verdict"] == "keep":
            return Cause("person", told["new_person"] or "a person", old_rule, "keep", effect)
        if old_rule == _PERSON:
            return Cause("person", told["old_person"] or "a person", "drop", None, effect)
        old, new = sides.rules()
        return _ruled(
            sides,
            old_rule,
            _plain(old_rule, told["old_said"]) or old.get(old_rule),
            new.get(old_rule),
            effect,
        )
    if new_rule is not None and new_rule != old_rule:
        return _of_drop(sides, told, f"dropped by it{beside}, before by {old_rule}")
    return Cause("content", told["columns"], None, None, "changed")


def _of_drop(sides: _Sides, told: Mapping[str, Any], effect: str) -> Cause:
    rule = told["new_rule"]
    if rule == _PERSON:
        return Cause("person", told["new_person"] or "a person", None, "drop", effect)
    old, new = sides.rules()
    return _ruled(sides, rule, old.get(rule), _plain(rule, told["new_said"]) or new.get(rule), effect)


def _ruled(sides: _Sides, rule: str, before: str | None, after: str | None, effect: str) -> Cause:
    """Return a rule as the cause; where its threshold is the same, with whether the rest of it is."""
    return Cause("rule", rule, before, after, effect + (sides.altered(rule) if before == after else ""))


def _of_captioner(sides: _Sides, told: Mapping[str, Any], effect: str) -> Cause:
    """Return a captioner as the cause, by version; by parameters too, where the version is the same and they are not."""
    name = told["generator"] or "a captioner"
    sets = sides.distinct("captions", ("generator", "version", "params_digest"))
    old, new = ({(version, params) for its, version, params in side if its == name} for side in sets)
    if told.get("version") and "removed" not in effect:
        new = {(told["version"], told.get("params"))}
    by_version = (
        {version for version, _ in old} != {version for version, _ in new} or old == new or not old or not new
    )
    before, after = (
        sorted(
            {
                f"version {version}" if by_version else f"version {version} ({str(params)[:8]})"
                for version, params in side
            }
        )
        for side in (old, new)
    )
    return Cause("caption", name, ", ".join(before) or None, ", ".join(after) or None, effect)


def _params(
    sets: tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]], method: str, params: str
) -> tuple[str | None, str | None]:
    """Return a scorer's parameters before and after, in short."""
    old, new = ({its for name, its in side if name == method} for side in sets)
    if params in old and params in new:
        return params[:8], params[:8]
    before = [params] if params in old else sorted(old)
    after = [params] if params in new else sorted(new)
    return ", ".join(one[:8] for one in before) or None, ", ".join(one[:8] for one in after) or None


def _telling(table: str) -> tuple[str, ...]:
    if table.startswith((EMBEDDINGS_PREFIX, TOKENS_PREFIX)):
        return ("encoder_digest", "side")
    return ("coder_digest", "side") if table.startswith(CODES_PREFIX) else _TELLING.get(table, ())


def _plain(rule: str | None, threshold: str | None) -> str | None:
    """Return a threshold without the subject's own words and score, which decisions on captions repeat."""
    if rule is None or threshold is None or not rule.startswith("caption: "):
        return threshold
    return re.sub(r'( of "(?:(?! of "|" is ).)*")? is -?\d+(\.\d+)?, under ', " under ", threshold)


def _arrow(before: str | None, after: str | None) -> str:
    """Say "at_least 32 -> 64" of "at_least 32" and "at_least 64"."""
    if before is None and after is None:
        return ""
    if before == after:
        return f" {after}"
    if before is None or after is None:
        return f" {before} (gone)" if after is None else f" {after} (new)"
    words, others = before.split(" "), after.split(" ")
    same = 0
    while same < min(len(words), len(others)) - 1 and words[same] == others[same]:
        same += 1
    return f" {before} -> {' '.join(others[same:])}"


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


def _described(
    sides: _Sides, table: str, samples: Sequence[tuple[str, Mapping[str, Any]]]
) -> tuple[Row, ...]:
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


def _subjects(sides: _Sides, table: str, keys: list[str]) -> dict[str, tuple[str, str]]:
    """Return {key: the medium and the text a row is about}, "" for none. What may be either is tried as both."""
    if table in ("media", "texts") or table not in _TELLING:
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
    listed = ", ".join("'" + one.replace("'", "''") + "'" for one in wanted)
    rows = dataset.to_table(
        columns=list(dict.fromkeys([key, *columns])), filter=f"{key} IN ({listed})"
    ).to_pylist()
    return [row | {"key": row[key]} for row in rows]
