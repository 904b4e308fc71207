"""Conditions that come from outside: one expression over known columns, or none at all."""

from collections.abc import Iterable
from difflib import get_close_matches

import sqlglot
from sqlglot import exp

from schemas.errors import DataError

LONGEST = 4000  # characters
_PLAIN: tuple[type[exp.Expr], ...] = (
    exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In,
    exp.Between, exp.Like, exp.ILike, exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Neg,
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod,
)  # fmt: skip
_FUNCTIONS: dict[type[exp.Expr], str] = {
    exp.Abs: "abs",
    exp.ArrayContains: "array_contains",
    exp.Coalesce: "coalesce",
    exp.Length: "length",
    exp.Lower: "lower",
    exp.Upper: "upper",
}


def checked(where: str, columns: Iterable[str]) -> str:
    """Return a condition in the words in which it was understood; only these may go to the engine.

    Comparisons, arithmetic, AND, OR, NOT, IS, IN with listed values, BETWEEN, LIKE, ILIKE and a few plain functions.
    What is null is neither true nor false, as in SQL: `width_px > 5` and `NOT width_px > 5` both leave it out.

    Args:
        where: The condition, as written.
        columns: Columns it may name.

    Raises:
        DataError: It is no single expression, names another column, or does more than compare.
    """
    known = sorted(columns)
    if len(where) > LONGEST:
        raise DataError(f"the condition has {len(where)} characters; at most {LONGEST} are taken")
    try:
        trees = [tree for tree in sqlglot.parse(where) if tree is not None]
        if len(trees) != 1:
            raise DataError(f"a condition is one expression; {where[:80]!r} holds {len(trees)}")
        for node in trees[0].walk():
            _check_node(node, known)
        return trees[0].sql(comments=False)
    except RecursionError as error:  # what passes here, the engine's parser takes too
        raise DataError(f"the condition {where[:80]!r} is nested too deep; write it flatter") from error
    except sqlglot.errors.SqlglotError as error:
        said = str(error).splitlines()[0][:150]
        raise DataError(f"cannot read the condition {where[:80]!r}: {said}") from error


def _check_node(node: exp.Expr, known: list[str]) -> None:
    if isinstance(node, exp.Column):
        name = node.name
        if node.table or name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise DataError(f"there is no column {node.sql()}.{hint} Known: {', '.join(known)}")
        node.this.set("quoted", False)  # every name of ours is plain; Lance reads "name" as a text
    if isinstance(node, exp.In) and any(node.args.get(part) for part in ("query", "unnest", "field")):
        raise DataError(f"IN takes a list of values in parentheses; found {node.sql()[:80]}")
    if not isinstance(node, (*_PLAIN, *_FUNCTIONS)):
        what = node.sql_name() if isinstance(node, exp.Func) else type(node).__name__.upper()
        raise DataError(
            f"a condition compares columns with values; found {what} in it. Functions it may use: "
            + ", ".join(_FUNCTIONS.values())
        )
