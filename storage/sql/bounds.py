"""Calls that make one value of any size out of nothing: bounded in the tree, since the engine does not bound them.

The engine's memory limit counts what it may spill, and single values it cannot. `repeat('x', 4000000000)` would take
the memory and be deaf to an interrupt until it is done.
"""

import re
from collections.abc import Callable

from sqlglot import exp

from schemas.errors import SqlError
from storage.sql.grammar import written

VALUE_BYTES = 16 << 20  # of one text
LIST = 10_000  # elements of a list made by range() in place of a column
GROWTH = 1 << 20  # how much longer calls of replace() inside each other may make a text

_REPLACING = {"replace", "regexp_replace", "translate", "array_to_string", "list_aggregate", "list_aggr"}


def bounded(tree: exp.Expr) -> None:
    """Bound every call in a tree that takes the size of its result as an argument.

    Raises:
        SqlError: The size is written down and too large, or cannot be bounded.
    """
    for call in list(tree.find_all(exp.Anonymous)):
        if isinstance(call.parent, exp.Table):
            continue  # a relation: its rows stream
        if rule := _RULES.get(call.name.lower()):
            rule(call)
        if call.name.lower() in _REPLACING:
            _replacing(call)
    for series in tree.find_all(exp.GenerateSeries):
        if not isinstance(series.parent, (exp.Table, exp.Unnest)):
            given = (series.args.get(name) for name in ("start", "end", "step"))
            _listing([each for each in given if each is not None], series)


def _up_to(place: int, most: int) -> Callable[[exp.Anonymous], None]:
    def rule(call: exp.Anonymous) -> None:
        if len(call.expressions) > place:
            size = call.expressions[place]
            _bound(call, place, size.copy(), most)

    return rule


def _repeated(call: exp.Anonymous) -> None:
    if len(call.expressions) == 2:
        what, times = call.expressions
        length = exp.Anonymous(
            this="strlen", expressions=[exp.cast(what.copy(), "VARCHAR", dialect="duckdb")]
        )
        longest = exp.Anonymous(this="greatest", expressions=[exp.Literal.number(1), length])
        size = exp.Mul(
            this=exp.cast(exp.Paren(this=times.copy()), "DOUBLE", dialect="duckdb"), expression=longest
        )
        _bound(call, 1, size, VALUE_BYTES)


def _bound(call: exp.Anonymous, place: int, size: exp.Expr, most: int) -> None:
    said = f"{call.name.lower()}() may make a value of {most} at most"
    number = call.expressions[place]
    if isinstance(number, exp.Literal) and isinstance(size, exp.Literal):
        if not number.is_string and float(number.name) > most:
            raise SqlError(f"{said}; found {number.name}")
        return
    over = exp.GT(this=exp.Paren(this=size), expression=exp.Literal.number(most))
    error = exp.Anonymous(this="error", expressions=[exp.Literal.string(said)])
    call.expressions[place].replace(exp.Case(ifs=[exp.If(this=over, true=error)], default=number.copy()))


def _listed(call: exp.Anonymous) -> None:
    _listing(list(call.expressions), call)


def _listing(given: list[exp.Expr], call: exp.Expr) -> None:
    numbers = [_number(each) for each in given]
    hint = f"as a list it may have {LIST} elements, bounds written as numbers; for more, FROM range(...)"
    if None in numbers or call.find_ancestor(exp.Lambda, exp.Comprehension):
        raise SqlError(f"cannot bound {written(call)[:60]}: {hint}")
    known = [number for number in numbers if number is not None]
    start, stop = (0.0, known[0]) if len(known) == 1 else (known[0], known[1])
    step = known[2] if len(known) > 2 else 1.0
    if step == 0 or abs((stop - start) / step) > LIST:
        raise SqlError(f"{written(call)[:60]} is too long: {hint}")


def _number(node: exp.Expr) -> float | None:
    if isinstance(node, exp.Neg):
        inner = _number(node.this)
        return None if inner is None else -inner
    if isinstance(node, exp.Literal) and not node.is_string:
        return float(node.name)
    return None


def _formatted(call: exp.Anonymous) -> None:
    how = call.expressions[0] if call.expressions else None
    if not (isinstance(how, exp.Literal) and how.is_string) or re.search(r"\d{4,}|\*|\{[^}]*\{", how.name):
        raise SqlError(f"{call.name.lower()}() takes a pattern written as a text, widths under 1000")


def _replacing(call: exp.Anonymous) -> None:
    growth, node = 1, call
    while True:
        growth *= max(1, _longest(node))
        inner = next((each for each in node.expressions[:1] if isinstance(each, exp.Anonymous)), None)
        if inner is None or inner.name.lower() not in _REPLACING:
            break
        node = inner
    if growth > GROWTH:
        raise SqlError(
            f"calls of {call.name.lower()}() inside each other could make a text {growth} times as long"
        )


def _longest(call: exp.Anonymous) -> int:
    others = call.expressions[1:]
    return max((len(each.name) if isinstance(each, exp.Literal) else 100 for each in others), default=1)


_RULES: dict[str, Callable[[exp.Anonymous], None]] = {
    "repeat": _repeated,
    "lpad": _up_to(1, VALUE_BYTES),
    "rpad": _up_to(1, VALUE_BYTES),
    "list_resize": _up_to(1, LIST),
    "array_resize": _up_to(1, LIST),
    "bar": _up_to(3, 1000),
    "to_base": _up_to(2, 1000),
    "bitstring": _up_to(1, VALUE_BYTES),
    "range": _listed,
    "generate_series": _listed,
    "printf": _formatted,
    "format": _formatted,
}
