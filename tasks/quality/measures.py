"""What does not add up over shards: counted or measured once over a table of a snapshot, in DuckDB.

Each check is a query or two over `base_<table>`, and `was_<table>` where it compares with the snapshot before. They have to
pass by in little memory: one join in a statement, and nothing that holds a group's values, which DuckDB cannot spill.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.batch import written
from schemas.quality import Expectation
from storage.quoting import literal, quoted
from storage.workbench import Workbench
from tasks.quality.rows import IDS


@dataclass(frozen=True)
class Place:
    """Where a check looks.

    Args:
        bench: Where `base_<table>` and `was_<table>` are offered.
        table: The table.
        key: Column that identifies its rows.
        tables: Tables of the snapshot.
        before: Tables of the snapshot before; empty without one.
        wanted: The columns the table should have; None where it has no fixed ones.
        schema: Those it has.
        counted: {column: {subject: rows that have a value}}, which several checks ask for.
    """

    bench: Workbench
    table: str
    key: str
    tables: frozenset[str]
    before: frozenset[str]
    wanted: pa.Schema | None
    schema: pa.Schema
    counted: dict[str, dict[str, int]] = field(default_factory=dict, compare=False)

    @property
    def base(self) -> str:
        """Name of the table in queries."""
        return f"base_{self.table}"


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Args:
        value: The number; None: there is nothing to measure.
        rows: Rows looked at.
        unexpected: Those at fault; None where no row is at fault by itself.
        offending: Ids of the first of them.
        said: Why there is nothing to measure, or what the number consists of.
        raised: What went wrong; "" if nothing did.
    """

    value: float | None
    rows: int = 0
    unexpected: int | None = None
    offending: tuple[str, ...] = ()
    said: str = ""
    raised: str = ""


def measure(expectation: Expectation, place: Place) -> Measured:
    """Return what an expectation's check finds; an error of its own query is part of that."""
    try:
        return MEASURES[expectation.check](expectation, place)
    except (duckdb.Error, OSError, ValueError) as error:
        return Measured(None, raised=f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])


def _columns(expectation: Expectation, place: Place) -> Measured:
    """Columns that are missing or of another type, of those the table should have."""
    if place.wanted is None:
        return Measured(None, said="the table has no fixed columns")
    wrong = tuple(
        field.name
        for field in place.wanted
        if field.name not in place.schema.names or place.schema.field(field.name).type != field.type
    )
    return _share(len(place.wanted), len(wrong), sorted(wrong)[:IDS])


def _unique(expectation: Expectation, place: Place) -> Measured:
    """Rows whose value stands more than once."""
    column = quoted(expectation.column)
    hashes = f"SELECT count(*) AS n FROM {place.base} WHERE {column} IS NOT NULL GROUP BY hash({column})"
    ((rows, alike),) = place.bench.rows(
        f"SELECT coalesce(sum(n), 0)::BIGINT, count(*) FILTER (n > 1) FROM ({hashes})"
    )
    if not alike:  # equal values have equal hashes, which take a fraction of the memory
        return _share(rows, 0, [])
    twice = f"SELECT {column} AS id, count(*) AS n FROM {place.base} WHERE {column} IS NOT NULL GROUP BY 1 HAVING n > 1"
    ((unexpected,),) = place.bench.rows(f"SELECT coalesce(sum(n), 0) FROM ({twice})")
    ids = place.bench.rows(f"SELECT id::VARCHAR FROM ({twice}) ORDER BY 1 LIMIT {IDS}") if unexpected else []
    return _share(rows, unexpected, [each for (each,) in ids])


def _exists_in(expectation: Expectation, place: Place) -> Measured:
    """Rows that name what none of the tables has."""
    column, subject = quoted(expectation.column), expectation.params.get("subject")
    tables = [str(table) for table in expectation.params["tables"]]
    there = [f"SELECT {KEYS[table]} AS id FROM base_{table}" for table in tables if table in place.tables]
    known = " UNION ALL ".join(there) or "SELECT NULL AS id"
    only = f" AND subject = {literal(str(subject))}" if subject else ""
    asked = f"SELECT {place.key} AS row_id, {column} AS id FROM {place.base} WHERE {column} IS NOT NULL{only}"
    lost = f"SELECT row_id FROM ({asked}) a ANTI JOIN ({known}) k ON a.id = k.id"
    if subject:
        rows = _by_subject(place, column).get(str(subject), 0)
    else:
        ((rows,),) = place.bench.rows(f"SELECT count({column}) FROM {place.base}")
    return _counted(place, rows, lost)


def _by_subject(place: Place, column: str) -> dict[str, int]:
    """Return how many rows of each subject have a value in a column, counted once for all who ask."""
    if column not in place.counted:
        by_subject = f"SELECT subject, count({column}) FROM {place.base} GROUP BY 1"
        place.counted[column] = {str(subject): n for subject, n in place.bench.rows(by_subject)}
    return place.counted[column]


def _none_where(expectation: Expectation, place: Place) -> Measured:
    """Rows of which the condition is true."""
    ((rows,),) = place.bench.rows(f"SELECT count(*) FROM {place.base}")
    condition = str(expectation.params["condition"])
    return _counted(place, rows, f"SELECT {place.key} AS row_id FROM {place.base} WHERE ({condition})")


def _count(expectation: Expectation, place: Place) -> Measured:
    """Rows."""
    ((rows,),) = place.bench.rows(f"SELECT count(*) FROM {place.base} WHERE {_among(expectation)}")
    return Measured(float(rows), rows)


def _share_where(expectation: Expectation, place: Place) -> Measured:
    """Share of the rows of which the condition is true."""
    condition = f"coalesce(({expectation.params['condition']}), false)"
    ((rows, n),) = place.bench.rows(
        f"SELECT count(*), count(*) FILTER ({condition}) FROM {place.base} WHERE {_among(expectation)}"
    )
    return _few(expectation, rows) or Measured(n / rows, rows, said=f"{n:,} of {rows:,}")


def _median(expectation: Expectation, place: Place) -> Measured:
    """Middle value of a column."""
    column = quoted(expectation.column)
    values = f"FROM {place.base} WHERE {column} IS NOT NULL AND {_among(expectation)}"
    ((rows,),) = place.bench.rows(f"SELECT count(*) {values}")
    if few := _few(expectation, rows):
        return few
    middle = f"SELECT {column} AS value {values} ORDER BY 1 LIMIT {2 - rows % 2} OFFSET {(rows - 1) // 2}"
    ((value,),) = place.bench.rows(f"SELECT avg(value) FROM ({middle})")
    return Measured(float(value), rows)


def _largest_share(expectation: Expectation, place: Place) -> Measured:
    """Share of the rows that have a column's most frequent value, of those that have one."""
    column = quoted(expectation.column)
    sql = f"SELECT {column} AS value FROM {place.base} WHERE {column} IS NOT NULL AND {_among(expectation)}"
    return _largest(expectation, place, sql)


def _folder_balance(expectation: Expectation, place: Place) -> Measured:
    """Share of the kept media that have the most frequent text of a role, such as their folder."""
    if not {"pairs", "texts"} <= place.tables:
        return Measured(None, said="there are no texts")
    role = literal(str(expectation.params.get("role", "folder")))
    sql = (
        "SELECT min(t.text) AS value FROM base_pairs p JOIN base_texts t USING (text_id) "
        f"SEMI JOIN (SELECT media_id FROM base_media WHERE present AND kept IS NOT false) m USING (media_id) "
        f"WHERE p.role = {role} AND p.present GROUP BY p.media_id"
    )
    return _largest(expectation, place, sql)


def _noise_rate(expectation: Expectation, place: Place) -> Measured:
    """Upper end of the interval of the share of pairs whose text does not belong."""
    return _of_study(place, "noise_rate_high")


def _noise_interval(expectation: Expectation, place: Place) -> Measured:
    """Width of that interval."""
    return _of_study(place, "noise_rate_high - noise_rate_low")


def _novelty(expectation: Expectation, place: Place) -> Measured:
    """Distinct written texts that no source has, to kept pairs with written texts. Case does not count."""
    if "texts" not in place.tables or "pairs" not in place.tables:
        return Measured(None, said="there are no texts")
    written = (
        "SELECT lower(t.text) AS text FROM base_pairs p JOIN base_texts t USING (text_id) "
        "WHERE t.origin = 'synthetic' AND p.present AND p.kept IS NOT false"
    )
    known = "SELECT lower(text) AS text FROM base_texts WHERE origin <> 'synthetic' AND present"
    ((rows,),) = place.bench.rows(f"SELECT count(*) FROM ({written})")
    if few := _few(expectation, rows):
        return few
    ((new,),) = place.bench.rows(
        f"SELECT count(*) FROM (SELECT DISTINCT text FROM ({written}) EXCEPT {known})"
    )
    return Measured(new / rows, rows, said=f"{new:,} texts in {rows:,} pairs")


def _score_drift(expectation: Expectation, place: Place) -> Measured:
    """Largest Kolmogorov-Smirnov distance of any scorer between the two snapshots, over what is present in each."""
    if "scores" not in place.before:
        return Measured(None, said="there is no snapshot before to compare with")
    at_least = max(1, int(expectation.params.get("min_rows", 2)))
    with _scored(place) as scorers:
        enough = {n: scorer for n, scorer in scorers.items() if min(scorer.now, scorer.was) >= at_least}
        found = [
            (distance, scorers[n].now + scorers[n].was, scorers[n].method)
            for n, distance in _distances(place, enough)
        ]
    if not found:
        return Measured(None, said=f"no scorer has {at_least} values in both snapshots")
    distance, rows, scorer = min(found, key=lambda each: (-each[0], each[2], -each[1]))
    return Measured(distance, rows, said=f"most: {scorer}")


@dataclass(frozen=True)
class Scorer:
    """A method of certain parameters, and how many of its subjects have a value in the snapshot and in the one before."""

    method: str
    now: int
    was: int


@contextmanager
def _scored(place: Place) -> Iterator[dict[int, Scorer]]:
    """Hold `drift_base` and `drift_was`, the values that are present in each snapshot, and yield their scorers by number.

    A value of a subject that no row has is among them: that is another check's to find.
    """
    bench = place.bench
    of_side = "SELECT subject, method, params_digest FROM {}_scores GROUP BY ALL"
    named = bench.rows(f"{of_side.format('base')} UNION {of_side.format('was')} ORDER BY ALL")
    cases = " ".join(  # no join with a table of them: there is one already, and two cannot both be spilled
        f"WHEN s.subject = {literal(subject)} AND s.method = {literal(method)} AND s.params_digest = {literal(params)} "
        f"THEN {number}"
        for number, (subject, method, params) in enumerate(named, 1)
    )
    held = []
    try:
        for side, tables in (("base", place.tables), ("was", place.before)):
            gone = " UNION ALL ".join(
                f"SELECT '{subject}' AS subject, {KEYS[table]} AS id FROM {side}_{table} WHERE NOT present"
                for subject, table in _SUBJECTS.items()
                if table in tables
            )
            if gone and cases:
                with bench.as_written():  # few are gone, and the engine cannot know
                    bench.hold(
                        f"drift_{side}",
                        f"SELECT (CASE {cases} END)::INTEGER AS scorer, s.value::FLOAT AS value "
                        f"FROM {side}_scores s ANTI JOIN ({gone}) g ON s.subject_id = g.id AND s.subject = g.subject "
                        "WHERE s.value IS NOT NULL AND NOT isnan(s.value)",
                    )
                held.append(f"drift_{side}")
        counts = {
            name: Counter(dict(bench.rows(f"SELECT scorer, count(*) FROM {name} GROUP BY 1")))
            for name in held
        }
        now, was = (counts.get(name, Counter()) for name in ("drift_base", "drift_was"))
        yield {
            number: Scorer(each[1], now[number], was[number])
            for number, each in enumerate(named, 1)
            if now[number] + was[number]
        }
    finally:
        bench.drop(*held)


def _distances(place: Place, scorers: dict[int, Scorer]) -> Iterator[tuple[int, float]]:
    """Yield (number of a scorer, its distance), a scorer's values at a time, which lie in files."""
    for number, scorer in scorers.items():
        now = _ascending(place.bench, "drift_base", number, scorer.now)
        was = _ascending(place.bench, "drift_was", number, scorer.was)
        yield number, max(_gap(now, was, now), _gap(now, was, was))


def _ascending(bench: Workbench, name: str, number: int, count: int) -> NDArray[np.float32]:
    """Return a scorer's values on a side, sorted. (N,)."""
    found = bench.batches(f"SELECT value FROM {name} WHERE scorer = {number}", size=AT_ONCE)
    values = written((batch["value"].to_numpy()[:, None] for batch in found), (count, 1))[:, 0]
    values.sort()
    return values


def _gap(now: NDArray[np.float32], was: NDArray[np.float32], at: NDArray[np.float32]) -> float:
    """Return the largest difference between the shares of two sorted sides that do not exceed a value, over some values."""
    largest = 0.0
    for start in range(0, len(at), AT_ONCE):
        some = at[start : start + AT_ONCE]
        shares = [np.searchsorted(side, some, side="right") / len(side) for side in (now, was)]
        largest = max(largest, float(np.abs(shares[0] - shares[1]).max()))
    return largest


def _mix_drift(expectation: Expectation, place: Place) -> Measured:
    """Total variation distance between a column's mixes in the two snapshots."""
    if place.table not in place.before:
        return Measured(None, said="there is no snapshot before to compare with")
    column, among = quoted(expectation.column), _among(expectation)
    sides = " UNION ALL ".join(
        f"SELECT {column} AS value, {new} AS new FROM {side}_{place.table} WHERE {column} IS NOT NULL AND {among}"
        for side, new in (("base", 1), ("was", 0))
    )
    found = place.bench.rows(f"SELECT value, sum(new), sum(1 - new) FROM ({sides}) GROUP BY 1 ORDER BY 1")
    now, was = (int(sum(row[side] for row in found)) for side in (1, 2))
    if few := _few(expectation, min(now, was)):
        return few
    gaps = {str(value): float(n) / now - float(o) / was for value, n, o in found}
    most = max(gaps, key=lambda value: (abs(gaps[value]), value))
    return Measured(sum(map(abs, gaps.values())) / 2, now + was, said=f"most: {most[:60]} {gaps[most]:+.1%}")


MEASURES: dict[str, Callable[[Expectation, Place], Measured]] = {
    "columns": _columns,
    "count": _count,
    "exists-in": _exists_in,
    "folder-balance": _folder_balance,
    "largest-share": _largest_share,
    "median": _median,
    "mix-drift": _mix_drift,
    "noise-interval": _noise_interval,
    "noise-rate": _noise_rate,
    "none-where": _none_where,
    "novelty": _novelty,
    "score-drift": _score_drift,
    "share-where": _share_where,
    "unique": _unique,
}
KEYS = {"media": "media_id", "texts": "text_id", "pairs": "pair_id"}
_SUBJECTS = {"media": "media", "text": "texts", "pair": "pairs"}
AT_ONCE = 65_536  # values in memory


def _counted(place: Place, rows: int, sql: str) -> Measured:
    ((unexpected,),) = place.bench.rows(f"SELECT count(*) FROM ({sql})")
    ids = (
        place.bench.rows(f"SELECT row_id::VARCHAR FROM ({sql}) ORDER BY 1 LIMIT {IDS}") if unexpected else []
    )
    return _share(rows, unexpected, [each for (each,) in ids])


def _largest(expectation: Expectation, place: Place, sql: str) -> Measured:
    found = place.bench.rows(
        f"SELECT value::VARCHAR, n, (sum(n) OVER ())::BIGINT FROM (SELECT value, count(*) AS n FROM ({sql}) GROUP BY 1) "
        "ORDER BY 2 DESC, 1 LIMIT 1"
    )
    if not found:
        return _few(expectation, 0) or Measured(None, said="no row has one")
    ((value, n, rows),) = found
    return _few(expectation, rows) or Measured(n / rows, rows, said=f"{str(value)[:60]}: {n:,} of {rows:,}")


def _of_study(place: Place, number: str) -> Measured:
    found = place.bench.rows(
        f"SELECT {number}, pairs, noise_rate, noise_rate_low, noise_rate_high FROM base_divisions WHERE active"
    )
    if not found:
        return Measured(None, said="no study of the pairs is active")
    value, pairs, rate, low, high = max(found, key=lambda row: -1.0 if row[0] is None else row[0])
    if value is None:
        return Measured(None, said="the study cannot tell")
    return Measured(float(value), int(pairs), said=f"{rate:.1%}, 95 % interval {low:.1%} to {high:.1%}")


def _share(rows: int, unexpected: int, offending: list[str]) -> Measured:
    if not rows:
        return Measured(None, said="there are no rows")
    return Measured(unexpected / rows, rows, int(unexpected), tuple(offending))


def _few(expectation: Expectation, rows: int) -> Measured | None:
    """Return that nothing is measured where rows are fewer than the check asks for."""
    needed = max(1, int(expectation.params.get("min_rows", 1)))
    return (
        None if rows >= needed else Measured(None, rows, said=f"{rows:,} rows; it takes {needed:,} to tell")
    )


def _among(expectation: Expectation) -> str:
    return f"({expectation.params.get('among') or 'true'})"
