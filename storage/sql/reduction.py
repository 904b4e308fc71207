"""Which tables need only the rows that a function has named, so that they are looked up instead of scanned.

`search(...) s JOIN media m USING (digest)` reads fifty rows of media, and the engine would scan them all. What a
function gave is known before the statement runs, so where a join lets nothing else through, only those rows are read.

It is done where it provably changes nothing. A row of T whose column holds none of the ids is in no row of the result

* if an inner join, or the WHERE of the same SELECT, asks for that column to equal an id, directly or over further
  equalities of that kind. Outer joins before it do not matter: the rows they would fill with nulls fail the same test;
* if T stands on the right of a LEFT JOIN that asks for it: rows without a partner get their nulls either way.

Only plain chains of inner, cross and left joins are looked at, only equalities of plain columns, and no relation that
is sampled or pivoted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

Column = tuple[str, str]  # alias, column


@dataclass(frozen=True)
class Source:
    """A relation of a SELECT.

    Args:
        columns: What it shows, lower-case.
        ids: {column: name of a set of values it cannot leave}, for the result of a function.
        stored: {column: stored column it shows unchanged}, for a table.
    """

    columns: frozenset[str]
    ids: Mapping[str, int] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)


def reductions(
    tree: exp.Expr, sources: Mapping[int, Source], sizes: Mapping[int, int]
) -> dict[int, dict[str, int]]:
    """Return {id of a table's node: {stored column: the set its values may come from}}.

    Args:
        tree: The statement.
        sources: {id of a node: what it is}, for tables and functions.
        sizes: {set: how many values it has}; of several the smallest is taken.
    """
    found: dict[int, dict[str, int]] = {}
    for select in tree.find_all(exp.Select):
        found |= _of_select(select, sources, sizes)
    return found


def _of_select(
    select: exp.Select, sources: Mapping[int, Source], sizes: Mapping[int, int]
) -> dict[int, dict[str, int]]:
    first = select.args.get("from_") or select.args.get("from")
    joins = select.args.get("joins") or []
    if (
        first is None
        or not joins
        or select.args.get("laterals")
        or not all(_is_plain(join) for join in joins)
    ):
        return {}
    nodes = [first.this, *(join.this for join in joins)]
    if any(node.args.get(name) for node in nodes for name in ("joins", "laterals", "pivots", "sample")):
        return {}
    aliases = [node.alias_or_name.lower() for node in nodes]
    if len(set(aliases)) < len(aliases) or any(
        node.args.get("alias") and node.alias_column_names for node in nodes
    ):
        return {}
    known = {
        alias: sources[id(node)] for alias, node in zip(aliases, nodes, strict=True) if id(node) in sources
    }
    equal: list[tuple[Column, Column]] = []
    outer: list[tuple[str, list[tuple[Column, Column]]]] = []
    merged: set[Column] = set()
    for place, join in enumerate(joins, 1):
        using = [node.name.lower() for node in join.args.get("using") or []]
        pairs = _pairs(join.args.get("on"), aliases)
        pairs += _of_using(using, aliases[:place], aliases[place], known, merged)
        merged |= {(aliases[place], column) for column in using}
        if join.side.upper() == "LEFT":
            outer.append((aliases[place], pairs))
        else:
            equal += pairs
    for alias, source in known.items():  # one stored column under two names: digest and media_id
        first_of: dict[str, str] = {}
        for column, stored in source.stored.items():
            equal.append(((alias, first_of.setdefault(stored, column)), (alias, column)))
    where = select.args.get("where")
    equal += _pairs(where.this if where else None, aliases)
    bounds = _bounds(equal, known, sizes)
    for alias, pairs in outer:
        for ours, theirs in [*pairs, *((b, a) for a, b in pairs)]:
            if ours[0] == alias and theirs[0] != alias and theirs in bounds:
                bounds[ours] = _smaller(bounds.get(ours), bounds[theirs], sizes)
                names = known[alias].stored if alias in known else {}
                for column, its in names.items():  # the same column under its other names
                    if its == names.get(ours[1]):
                        bounds[alias, column] = bounds[ours]
    found: dict[int, dict[str, int]] = {}
    for alias, node in zip(aliases, nodes, strict=True):
        shown = known[alias].stored if alias in known else {}
        for (owner, column), name in bounds.items():
            if owner == alias and column in shown:
                found.setdefault(id(node), {})[shown[column]] = name
    return found


def _bounds(
    equal: Iterable[tuple[Column, Column]], known: Mapping[str, Source], sizes: Mapping[int, int]
) -> dict[Column, int]:
    """Return the set that each column's values must come from, over all equalities."""
    bounds = {(alias, column): name for alias, source in known.items() for column, name in source.ids.items()}
    pairs = list(equal)
    for _ in range(len(pairs) + 1):
        before = dict(bounds)
        for one, other in pairs:
            for ours, theirs in ((one, other), (other, one)):
                if theirs in bounds:
                    bounds[ours] = _smaller(bounds.get(ours), bounds[theirs], sizes)
        if before == bounds:
            break
    return bounds


def _smaller(one: int | None, other: int, sizes: Mapping[int, int]) -> int:
    return other if one is None or (sizes[other], other) < (sizes[one], one) else one


def _is_plain(join: exp.Join) -> bool:
    return (
        not join.args.get("method")
        and join.side.upper() in ("", "LEFT")
        and join.kind.upper() in ("", "INNER", "CROSS", "OUTER")
        and isinstance(join.this, (exp.Table, exp.Subquery))
    )


def _pairs(condition: exp.Expr | None, aliases: list[str]) -> list[tuple[Column, Column]]:
    """Return the equalities of plain, qualified columns that a condition asks for, come what may."""
    if condition is None:
        return []
    found = []
    ahead = [condition]
    while ahead:
        node = ahead.pop()
        if isinstance(node, exp.Paren):
            ahead.append(node.this)
        elif isinstance(node, exp.And):
            ahead += [node.this, node.expression]
        elif (
            isinstance(node, exp.EQ)
            and isinstance(node.this, exp.Column)
            and isinstance(node.expression, exp.Column)
        ):
            sides = [(side.table.lower(), side.name.lower()) for side in (node.this, node.expression)]
            plain = all(len(side.parts) == 2 for side in (node.this, node.expression))
            if plain and all(alias in aliases for alias, _ in sides):
                found.append((sides[0], sides[1]))
    return found


def _of_using(
    columns: Iterable[str], before: list[str], alias: str, known: Mapping[str, Source], merged: set[Column]
) -> list[tuple[Column, Column]]:
    """Return what USING asks for: the one column of the relations before it that has the name."""
    if any(name not in known for name in before) or alias not in known:
        return []
    found = []
    for column in columns:
        owners = [name for name in before if column in known[name].columns]
        if owners and all((owner, column) in merged for owner in owners[1:]):
            found.append(((owners[0], column), (alias, column)))
    return found
