"""Tables as people read them: what is current, with scores and verdicts as columns. Built per statement, of what it names.

A view joins what the statement may reach and nothing else: of eighty scorers one column is joined if one is named.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from schemas.tables import CONSENSUS, EMBEDDINGS_PREFIX, TAGS
from storage.quoting import literal, quoted

# How the study of correspondence names its classes; `tasks.correspond.RULES` makes them.
NOISY, DISPUTED = "correspondence: noisy", "correspondence: disputed"
SUBJECTS = {"media": "media", "texts": "text", "pairs": "pair"}
KEYS = {"media": "media_id", "texts": "text_id", "pairs": "pair_id"}
HIDDEN = frozenset({"thumbnail"})  # shown where it is named, not by *
_NEVER = "row_digest"


@dataclass(frozen=True)
class Scorer:
    """A column of scores: one method with the parameters that are current."""

    method: str
    params_digest: str


class Rows(Protocol):
    """What a view is made of. Names are those a query may use."""

    def has(self, table: str) -> bool:
        """Say whether the snapshot has a table."""
        ...

    def columns(self, table: str) -> pa.Schema:
        """Return a table's columns."""
        ...

    def rows(self, table: str, columns: Sequence[str], only: Mapping[str, pa.Array] | None = None) -> str:
        """Offer columns of a table, or of the rows that hold one of some values, and return the name."""
        ...

    def values(self, name: str, column: str) -> pa.Array | None:
        """Return the distinct values of a column of offered rows, where they were looked up; else None."""
        ...

    def scorers(self, subject: str) -> Mapping[str, Scorer]:
        """Return {column: scorer} of what has scores."""
        ...

    def studies(self) -> Sequence[str]:
        """Return the digests of the divisions that are active."""
        ...


@dataclass(frozen=True)
class Wish:
    """What a statement may read.

    Args:
        names: Every name in it, lower-case.
        everything: It may reach columns it does not name.
    """

    names: frozenset[str] = frozenset()
    everything: bool = True

    def has(self, column: str) -> bool:
        """Say whether a column may be read."""
        return column.lower() in self.names or (self.everything and column not in HIDDEN)


@dataclass
class _View:
    """A SELECT in the making: columns in order, joins, condition."""

    columns: list[tuple[str, str]] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)

    def add(self, name: str, sql: str) -> None:
        self.columns.append((name, sql))

    def sql(self, base: str, where: str) -> str:
        listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in self.columns) or "true AS __row"
        return f"SELECT {listed} FROM {base} b {' '.join(self.joins)}{f' WHERE {where}' if where else ''}"


def of_log(rows: Rows, table: str, wish: Wish, *, raw: bool) -> str:
    """Return the query of a log. `tags` says where tags point now; raw, every place they pointed to."""
    names = [name for name in rows.columns(table).names if name != _NEVER]
    if table == TAGS.name and not raw:
        base = rows.rows(table, names)
        inner = f"SELECT *, row_number() OVER (PARTITION BY tag ORDER BY moved_at DESC, move_id DESC) AS place FROM {base}"
        return f"SELECT tag, snapshot_id, moved_at, run_id FROM ({inner}) WHERE place = 1 AND snapshot_id IS NOT NULL"
    wanted = [name for name in names if wish.has(name)]
    view = _View([(name, f"b.{quoted(name)}") for name in wanted])
    return view.sql(rows.rows(table, wanted), "")


def of_raw(rows: Rows, table: str, wish: Wish, only: Mapping[str, pa.Array] | None = None) -> str:
    """Return the query of a table as it is stored."""
    wanted = [name for name in rows.columns(table).names if name.lower() in wish.names or wish.everything]
    view = _View([(name, f"b.{quoted(name)}") for name in wanted])
    return view.sql(rows.rows(table, wanted, only), "")


def of_table(rows: Rows, table: str, wish: Wish, only: Mapping[str, pa.Array] | None = None) -> str:
    """Return the query of a table's current rows, with what is known of them."""
    stored = rows.columns(table).names
    wanted = _wanted(stored, table, wish)
    current = [name for name in ("present", "active") if name in stored]
    needed = {sql for _, sql in wanted if not sql.startswith(":")} | set(current)
    extra = {name: _further(rows, table, name, wish) for name in ("texts", "scores", "verdicts", "division")}
    if extra["texts"]:
        needed.add("text_id")
    if extra["scores"] or extra["verdicts"] or extra["division"]:
        needed.add(KEYS[table])
    base = rows.rows(table, [name for name in stored if name in needed], only)
    view = _View()
    for name, sql in wanted:
        if sql.startswith(":"):
            _PARTS[sql[1:]](view, rows, table, base, extra[sql[1:]])
        else:
            view.add(name, f"b.{quoted(sql)}")
    return view.sql(base, " AND ".join(f"b.{quoted(name)}" for name in current))


def shown(rows: Rows, table: str) -> list[str]:
    """Return every column a view of a table has, the hidden ones last."""
    stored = rows.columns(table).names
    every = Wish(frozenset(HIDDEN), True)
    names: list[str] = []
    for name, sql in _wanted(stored, table, every):
        names += _further(rows, table, sql[1:], every) if sql.startswith(":") else [name]
    return sorted(names, key=lambda name: name in HIDDEN)


def digest_of(table: str, stored: Iterable[str]) -> str | None:
    """Return the column that is a row's `digest`: of the text in `texts`, else of the medium."""
    if table == "texts":
        return "text_id"
    if table.startswith(EMBEDDINGS_PREFIX) or ("item_id" in stored and "media_id" not in stored):
        return "item_id"
    return "media_id" if "media_id" in stored else None


def scorer_columns(scorers: Iterable[Scorer], taken: Iterable[str]) -> dict[str, Scorer]:
    """Return {column: scorer}: the method in letters, digits and underscores, told apart from other columns."""
    found: dict[str, Scorer] = {}
    others = {name.lower() for name in taken}
    used = set(others)
    for scorer in sorted(scorers, key=lambda scorer: scorer.method):
        name = re.sub(r"[^a-z0-9]+", "_", scorer.method.lower()).strip("_") or "score"
        name = f"s_{name}" if name[0].isdigit() else name
        name = f"{name}_score" if name in others else name
        number = 2
        plain = name
        while name in used:
            name, number = f"{plain}_{number}", number + 1
        used.add(name)
        found[name] = scorer
    return found


def taken(table: str, stored: Iterable[str]) -> set[str]:
    """Return the columns of a view that are no scorer's."""
    return {
        *stored,
        "digest",
        "verdict",
        *(("text", "language", "origin", "clean", "division") if table == "pairs" else ()),
    }


def _wanted(stored: Sequence[str], table: str, wish: Wish) -> list[tuple[str, str]]:
    """Return [(column, stored column)], and (part, ":part") where something is joined."""
    digest = digest_of(table, stored)
    found: list[tuple[str, str]] = []
    for name in stored:
        if digest and name == stored[0]:
            if table == "pairs":
                found += [(name, name)] if wish.has(name) else []
            if wish.has("digest"):
                found.append(("digest", digest))
            if table == "pairs":
                continue
        if name == _NEVER or not wish.has(name):
            continue
        found.append((name, name))
        if table == "pairs" and name == "text_id":
            found.append(("texts", ":texts"))
    if table == "pairs" and not wish.has("text_id"):
        found.append(("texts", ":texts"))
    if table in SUBJECTS:
        found += [("verdicts", ":verdicts"), ("division", ":division"), ("scores", ":scores")]
    return found


def _further(rows: Rows, table: str, part: str, wish: Wish) -> list[str]:
    """Return the columns of a part that a statement may read."""
    if table not in SUBJECTS:
        return []
    if part == "texts":
        return [name for name in ("text", "language", "origin") if wish.has(name)] if table == "pairs" else []
    if part == "verdicts":
        return ["verdict"] if wish.has("verdict") else []
    if part == "division":
        return [name for name in ("clean", "division") if wish.has(name)] if table == "pairs" else []
    known = taken(table, rows.columns(table).names)
    if not wish.everything and not wish.names - known:
        return []
    return [name for name in rows.scorers(SUBJECTS[table]) if wish.has(name)]


def _texts(view: _View, rows: Rows, table: str, base: str, names: list[str]) -> None:
    if not names:
        return
    if not rows.has("texts"):
        for name in names:
            view.add(name, "NULL::VARCHAR")
        return
    texts = rows.rows("texts", ["text_id", *names], _only(rows, base, "text_id", "text_id"))
    view.joins.append(f"LEFT JOIN {texts} t ON t.text_id = b.text_id")
    for name in names:
        view.add(name, f"t.{quoted(name)}")


def _verdicts(view: _View, rows: Rows, table: str, base: str, names: list[str]) -> None:
    if not names:
        return
    if not rows.has("verdicts"):
        view.add("verdict", "NULL::VARCHAR")
        return
    key = KEYS[table]
    said = rows.rows(
        "verdicts",
        ["subject", "subject_id", "verdict", "active", "made_at"],
        _only(rows, base, key, "subject_id"),
    )
    inner = (
        f"SELECT subject_id, arg_max(verdict, made_at) AS verdict FROM {said} "
        f"WHERE active AND subject = {literal(SUBJECTS[table])} GROUP BY 1"
    )
    view.joins.append(f"LEFT JOIN ({inner}) v ON v.subject_id = b.{key}")
    view.add("verdict", "v.verdict")


def _scores(view: _View, rows: Rows, table: str, base: str, names: list[str]) -> None:
    if not names:
        return
    scorers = rows.scorers(SUBJECTS[table])
    wanted = {name: [_is(scorers[name])] for name in names}
    _pivot(view, rows, table, base, wanted, "s")
    for name in names:
        view.add(name, f"s.{quoted(name)}")


def _division(view: _View, rows: Rows, table: str, base: str, names: list[str]) -> None:
    """Add P(true) of the study that is active, and the class it gives."""
    if not names:
        return
    scorer = next((s for s in rows.scorers("pair").values() if s.method == CONSENSUS), None)
    clean = "NULL::FLOAT"
    if scorer is not None:
        studies = ", ".join(literal(digest) for digest in rows.studies())
        of_study = [_is(scorer), *([f"inputs IN ({studies})"] if studies else [])]
        _pivot(view, rows, table, base, {"clean": of_study}, "c")
        clean = "c.clean"
    if "clean" in names:
        view.add("clean", clean)
    if "division" not in names:
        return
    doubt = "NULL"
    if rows.has("decisions"):
        key = KEYS[table]
        said = rows.rows("decisions", ["subject_id", "rule", "active"], _only(rows, base, key, "subject_id"))
        view.joins.append(
            f"LEFT JOIN (SELECT subject_id, max(rule) AS rule FROM {said} "  # 'noisy' comes after 'disputed'
            f"WHERE active AND rule IN ({literal(NOISY)}, {literal(DISPUTED)}) GROUP BY 1) d ON d.subject_id = b.{key}"
        )
        doubt = f"CASE d.rule WHEN {literal(NOISY)} THEN 'noisy' WHEN {literal(DISPUTED)} THEN 'disputed' END"
    view.add("division", f"coalesce({doubt}, CASE WHEN {clean} IS NOT NULL THEN 'clean' END)")


def _pivot(
    view: _View, rows: Rows, table: str, base: str, wanted: Mapping[str, Sequence[str]], alias: str
) -> None:
    """Join scores, a column each: several in one pass over the long table."""
    key = KEYS[table]
    columns = ["subject", "subject_id", "method", "params_digest", "value"]
    if any("inputs" in each for conditions in wanted.values() for each in conditions):
        columns.append("inputs")
    scores = rows.rows("scores", columns, _only(rows, base, key, "subject_id"))
    subject = f"subject = {literal(SUBJECTS[table])}"
    if len(wanted) == 1:
        ((name, conditions),) = wanted.items()
        where = " AND ".join([subject, *conditions])
        inner = f"SELECT subject_id, value AS {quoted(name)} FROM {scores} WHERE {where}"
    else:
        cells = ", ".join(
            f"max(value) FILTER (WHERE {' AND '.join(conditions)}) AS {quoted(name)}"
            for name, conditions in wanted.items()
        )
        inner = f"SELECT subject_id, {cells} FROM {scores} WHERE {subject} GROUP BY 1"
    view.joins.append(f"LEFT JOIN ({inner}) {alias} ON {alias}.subject_id = b.{key}")


def _is(scorer: Scorer) -> str:
    return f"method = {literal(scorer.method)} AND params_digest = {literal(scorer.params_digest)}"


def _only(rows: Rows, base: str, column: str, of: str) -> Mapping[str, pa.Array] | None:
    values = rows.values(base, column)
    return None if values is None else {of: values}


_PARTS: dict[str, Callable[[_View, Rows, str, str, list[str]], None]] = {
    "texts": _texts,
    "verdicts": _verdicts,
    "scores": _scores,
    "division": _division,
}
