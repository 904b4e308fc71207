"""From text to one tree that only reads. Whatever is run is written anew from the tree, never the text itself."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import SqlglotError
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from schemas.errors import SqlError, SqlRefused

LONGEST = 200_000  # characters
TOKENS = 20_000
DEPTH = 60  # of brackets, and of signs before one operand: deeper trees exhaust the stacks of parsers

Kind = Literal["query", "describe", "summarize", "tables"]


# Calls whose arguments are more than a list: CAST(x AS INT), EXTRACT(year FROM t), TRIM(BOTH 'x' FROM t) ...
_OWN_SYNTAX = {
    "CAST", "TRY_CAST", "EXTRACT", "TRIM", "SUBSTRING", "POSITION", "OVERLAY", "CEIL", "FLOOR", "COLUMNS", "STRING_AGG",
    "LISTAGG", "GROUP_CONCAT", "STRUCT_PACK", "TRY", "MAP",
}  # fmt: skip


class Door(DuckDB):
    """DuckDB's dialect, with calls kept as they are written.

    A call that the parser knew would come back as what it takes for DuckDB's word for it. Kept as a name and
    arguments it comes back as it was, and what it means is for DuckDB to say.
    """

    class Tokenizer(DuckDB.Tokenizer):
        """DuckDB's; it takes no statement for one word and a string."""

        COMMANDS = set()
        HEREDOC_STRINGS = []  # of $a + $b the parser would make one quoted text

    class Parser(DuckDBParser):
        """DuckDB's, without functions of its own."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            name: how for name, how in DuckDBParser.FUNCTION_PARSERS.items() if name in _OWN_SYNTAX
        }

    class Generator(DuckDBGenerator):
        """DuckDB's, but for what it writes with another meaning."""

        def ignorenulls_sql(self, expression: exp.IgnoreNulls) -> str:
            """Keep IGNORE NULLS: left out, `last(x)` means something else."""
            return f"{self.sql(expression, 'this')} IGNORE NULLS"

        def respectnulls_sql(self, expression: exp.RespectNulls) -> str:
            """Keep RESPECT NULLS."""
            return f"{self.sql(expression, 'this')} RESPECT NULLS"

        def withingroup_sql(self, expression: exp.WithinGroup) -> str:
            """Keep WITHIN GROUP: which calls take it in another form is for DuckDB to say."""
            return (
                f"{self.sql(expression, 'this')} WITHIN GROUP ({self.sql(expression, 'expression').strip()})"
            )

        TRANSFORMS = {
            kind: how
            for kind, how in DuckDBGenerator.TRANSFORMS.items()
            if kind not in (exp.IgnoreNulls, exp.RespectNulls, exp.WithinGroup)
        }


# What a statement may be made of. What is not here is refused, whatever it does.
_PARTS: tuple[type[exp.Expr], ...] = (
    exp.Select, exp.Subquery, exp.SetOperation, exp.Values, exp.CTE, exp.With, exp.RecursiveWithSearch, exp.Table,
    exp.TableAlias, exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Qualify, exp.Order, exp.Ordered,
    exp.Limit, exp.LimitOptions, exp.Offset, exp.Fetch, exp.Distinct, exp.Window, exp.WindowSpec, exp.Lateral, exp.Unnest,
    exp.Pivot, exp.PivotAlias, exp.PivotAny, exp.UnpivotColumns, exp.TableSample, exp.Tuple, exp.Star, exp.Alias,
    exp.Aliases, exp.Column, exp.Identifier, exp.Dot, exp.Paren, exp.Literal, exp.Null, exp.Boolean,
    exp.Placeholder, exp.Var, exp.PositionalColumn,
    exp.DataType, exp.DataTypeParam, exp.ColumnDef, exp.Interval, exp.IntervalSpan, exp.Between, exp.In, exp.Bracket,
    exp.Slice, exp.PropertyEQ, exp.Kwarg, exp.Lambda, exp.Comprehension, exp.Filter, exp.WithinGroup, exp.IgnoreNulls,
    exp.RespectNulls, exp.HavingMax, exp.AtTimeZone, exp.Collate, exp.Cube, exp.Rollup, exp.GroupingSets, exp.HistoricalData,
    exp.Version, exp.Binary, exp.Unary, exp.Predicate, exp.SubqueryPredicate, exp.Func, exp.HexString, exp.BitString,
    exp.ByteString, exp.RawString, exp.UnicodeString, exp.National, exp.JSONPath, exp.JSONPathPart,
)  # fmt: skip
_WHY: dict[type[exp.Expr], str] = {
    exp.DML: "it writes",
    exp.DDL: "it makes or changes something",
    exp.Into: "INTO writes a table",
    exp.Copy: "COPY writes or reads files",
    exp.Attach: "ATTACH opens other databases",
    exp.Install: "INSTALL fetches code",
    exp.Command: "it is a command",
    exp.Pragma: "PRAGMA changes settings",
    exp.Set: "SET changes settings",
    exp.Lock: "it takes locks",
}
_STARTS = ("SELECT", "WITH", "FROM", "VALUES", "TABLE", "(")
_READS = "statements here read with SELECT, WITH, VALUES, FROM, DESCRIBE, SUMMARIZE, SHOW TABLES and EXPLAIN"
_OPENING, _CLOSING = (
    (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE),
    (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE),
)
_SIGNS = {"-", "+", "~", "NOT", "!", "@"}
_NAMED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+")


@dataclass(frozen=True)
class Parsed:
    """One statement.

    Args:
        tree: The query, or the query that is described or summarised.
        kind: What is done with it; of `tables` there is no tree.
        explain: None, or whether it is only planned or also run.
        positions: Names that stand for `?`, in order.
        names: Every identifier in it, lower-case: a column it does not name, it cannot reach.
        whole_rows: It may reach columns that it does not name, as by `*`.
    """

    tree: exp.Query | None
    kind: Kind
    explain: Literal["plan", "analyze"] | None = None
    positions: tuple[str, ...] = ()
    names: frozenset[str] = field(default_factory=frozenset)
    whole_rows: bool = True


def parse(statement: str) -> Parsed:
    """Return the one statement in a text; its tree is the caller's to change.

    Raises:
        SqlRefused: It holds several, or something that does more than read.
        SqlError: It cannot be parsed.
    """
    parsed = _parsed(statement)
    return parsed if parsed.tree is None else replace(parsed, tree=parsed.tree.copy())


@lru_cache(maxsize=256)
def _parsed(statement: str) -> Parsed:
    if len(statement) > LONGEST:
        raise SqlError(f"the statement has {len(statement)} characters; at most {LONGEST} are taken")
    if "\x00" in statement:
        raise SqlRefused("the statement holds a NUL character; leave it out")
    tokens = _tokens(statement)
    kind, explain, statement, tokens = _opening(statement, tokens)
    if kind == "tables":
        return Parsed(None, kind, explain)
    statement, positions = _rewritten(statement, tokens)
    tree = _tree(statement)
    try:
        _check(tree)
        names, whole_rows = _reach(tree)
        # A column may be called as a type is, and stand in the tree as one: words of the text count too.
        names |= {
            token.text.lower()
            for token in tokens
            if token.token_type not in (TokenType.STRING, TokenType.NUMBER)
        }
    except RecursionError as error:
        raise SqlError("the statement is nested too deep; write it flatter, as with WITH") from error
    hashes = any(token.token_type == TokenType.HASH or token.text.startswith("#") for token in tokens)
    return Parsed(tree, kind, explain, tuple(positions), names, whole_rows or kind != "query" or hashes)


def written(tree: exp.Expr) -> str:
    """Return a tree as DuckDB's SQL, without comments."""
    try:
        return str(tree.sql(dialect=Door, comments=False, normalize_functions=False))
    except RecursionError as error:
        raise SqlError("the statement is nested too deep; write it flatter, as with WITH") from error
    except SqlglotError as error:
        raise SqlError(f"cannot write the statement for the engine: {_first_line(error)}") from error
    except ValueError as error:  # paths of -> that look everywhere, or choose by a condition
        raise SqlError(
            f"cannot write the statement for the engine: {_first_line(error)}; in place of column -> path write "
            "json_extract(column, path)"
        ) from error


def bindings(parsed: Parsed, params: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Return {name in the tree: value} of everything the statement asks for.

    Raises:
        SqlError: A value is missing, or one is given that nothing asks for.
    """
    asked = (
        {}
        if parsed.tree is None
        else {_parameter(node): node for node in parsed.tree.find_all(exp.Placeholder)}
    )
    if isinstance(params, Mapping):
        given = {
            f"p{name}" if str(name).isdigit() else str(name).lower(): value for name, value in params.items()
        }
    else:
        given = {f"p{place}": value for place, value in enumerate(params, 1)}
    if missing := sorted(asked.keys() - given.keys()):
        raise SqlError(f"the statement asks for {_shown(missing)}; given: {_shown(sorted(given)) or 'none'}")
    if unused := sorted(given.keys() - asked.keys()):
        raise SqlError(f"nothing in the statement asks for {_shown(unused)}")
    return given


def _tokens(statement: str) -> list[Token]:
    try:
        tokens = list(Door().tokenize(statement))
    except SqlglotError as error:
        raise SqlError(f"cannot read the statement: {_first_line(error)}") from error
    while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
        tokens.pop()
    if not tokens:
        raise SqlError("the statement is empty")
    if len(tokens) > TOKENS:
        raise SqlError(
            f"the statement has {len(tokens)} words and signs, at most {TOKENS} are taken; bind long lists as parameters"
        )
    depth = signs = cases = 0
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            raise SqlRefused("one statement at a time; found several, parted by ;")
        depth += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
        word = token.text.upper()
        cases += (token.token_type == TokenType.CASE) - (token.token_type == TokenType.END)
        signs = signs + 1 if word in _SIGNS else 0
        if max(depth, signs, cases) > DEPTH:
            raise SqlError(f"the statement is nested deeper than {DEPTH}; write it flatter, as with WITH")
    return tokens


def _opening(
    statement: str, tokens: list[Token]
) -> tuple[Kind, Literal["plan", "analyze"] | None, str, list[Token]]:
    """Take EXPLAIN, DESCRIBE, SUMMARIZE and SHOW off the front, which parsers treat in ways of their own."""
    explain: Literal["plan", "analyze"] | None = None
    kind: Kind = "query"
    if _word(tokens, 0) == "EXPLAIN":
        explain = "analyze" if _word(tokens, 1) == "ANALYZE" else "plan"
        tokens = tokens[2:] if explain == "analyze" else tokens[1:]
    first = _word(tokens, 0)
    bare = [token.text.upper() for token in tokens]
    if bare in (["SHOW", "TABLES"], ["DESCRIBE"], ["DESC"], ["DESCRIBE", "TABLES"]):
        return "tables", explain, "", []
    if first == "SHOW":
        raise SqlRefused("of SHOW there is SHOW TABLES; ask DESCRIBE media for columns of a table")
    if first in ("DESCRIBE", "DESC", "SUMMARIZE"):
        kind = "summarize" if first == "SUMMARIZE" else "describe"
        tokens = tokens[1:]
    if not tokens:
        raise SqlError("the statement ends too early")
    rest = statement[tokens[0].start :]
    if kind != "query" and _word(tokens, 0) not in _STARTS:
        rest = f"FROM {rest}"
        tokens = _tokens(rest)
    elif rest is not statement:
        tokens = _tokens(rest)
    if _word(tokens, 0) in ("PIVOT", "UNPIVOT"):
        raise SqlRefused(
            f"{_word(tokens, 0)} stands behind a table here: FROM pairs {_word(tokens, 0)} (... FOR ... IN (...))"
        )
    if _word(tokens, 0) not in _STARTS:
        raise SqlRefused(f"{tokens[0].text[:30].upper()}: {_READS}")
    return kind, explain, rest, tokens


def _rewritten(statement: str, tokens: list[Token]) -> tuple[str, list[str]]:
    """Name every `?`, in the order they are written in, and let AT (TAG => ...) pass a parser that knows VERSION."""
    edits: list[tuple[int, int, str]] = []
    positions: list[str] = []
    numbered = False
    for place, token in enumerate(tokens):
        word = token.text.upper()
        if token.token_type in (TokenType.PLACEHOLDER, TokenType.QDCOLON):  # ?::INT is ? and a cast
            positions.append(f"p{len(positions) + 1}")
            edits.append((token.start, token.start + 1, f"$p{len(positions)}"))
        elif token.token_type == TokenType.PARAMETER and place + 1 < len(tokens):
            name = tokens[place + 1]
            if name.text.isdigit() and name.start == token.end + 1:
                numbered = True
                edits.append((token.start, name.end + 1, f"$p{name.text}"))
        elif (
            word in ("TAG", "SNAPSHOT")
            and place + 1 < len(tokens)
            and tokens[place + 1].token_type == TokenType.FARROW
            and _word(tokens, place - 1) == "("
            and _word(tokens, place - 2) == "AT"
        ):
            edits.append((token.start, token.end + 1, "VERSION"))
    if numbered and positions:
        raise SqlError("parameters are ? or $1 or $name; found ? and $1 in one statement")
    for start, end, text in reversed(edits):
        statement = f"{statement[:start]}{text}{statement[end:]}"
    return statement, positions


def _tree(statement: str) -> exp.Query:
    try:
        trees = [tree for tree in sqlglot.parse(statement, dialect=Door) if tree is not None]
    except RecursionError as error:
        raise SqlError("the statement is nested too deep; write it flatter, as with WITH") from error
    except SqlglotError as error:
        raise SqlError(f"cannot parse the statement: {_first_line(error)}") from error
    if len(trees) != 1:
        raise SqlRefused(f"one statement at a time; found {len(trees)}")
    tree = trees[0]
    if isinstance(tree, exp.Values):
        tree = exp.select("*").from_(tree)
    if not isinstance(tree, (exp.Select, exp.SetOperation, exp.Subquery)):
        raise SqlRefused(_refusal(tree))
    return tree


def _check(tree: exp.Expr) -> None:
    for node in tree.walk():
        if isinstance(node, tuple(_WHY)) or not isinstance(node, _PARTS):
            raise SqlRefused(_refusal(node))
        if isinstance(node, exp.Placeholder) and not _NAMED.fullmatch(node.name):
            raise SqlError(f"parameters are ?, $1 or $name and texts stand in '...'; found ${node.name[:40]}")


def _refusal(node: exp.Expr) -> str:
    why = next((said for kind, said in _WHY.items() if isinstance(node, kind)), "it is no part of a query")
    said = type(node).__name__.upper()
    if isinstance(node, exp.Command):
        said = str(node.this).upper()[:30]
    return f"{said}: {why}; {_READS}"


def _reach(tree: exp.Expr) -> tuple[frozenset[str], bool]:
    """Return which names a statement holds, and whether it may reach columns beyond them."""
    names: set[str] = set()
    relations: set[str] = set()
    whole_rows = False
    for node in tree.walk():
        if isinstance(node, exp.Identifier):
            names.add(node.name.lower())
        elif isinstance(node, exp.Star):
            counted = isinstance(node.parent, exp.Anonymous) and node.parent.name.lower() == "count"
            whole_rows = whole_rows or not counted
        elif (
            isinstance(node, (exp.Pivot, exp.UnpivotColumns))
            or (isinstance(node, exp.Join) and str(node.args.get("method") or "").upper() == "NATURAL")
            or isinstance(node, exp.Anonymous)
            and node.name.lower() == "columns"
        ):
            whole_rows = True
        if isinstance(node, exp.Columns):
            whole_rows = True
        if isinstance(node, (exp.Table, exp.Subquery, exp.CTE)):
            relations.add(node.alias_or_name.lower())
        elif isinstance(node, exp.TableAlias) and node.this is not None:
            relations.add(node.name.lower())
    unqualified = {node.name.lower() for node in tree.find_all(exp.Column) if not node.table}
    return frozenset(names), whole_rows or bool(unqualified & relations)


def _parameter(node: exp.Placeholder) -> str:
    return node.name.lower()


def _word(tokens: list[Token], place: int) -> str:
    return tokens[place].text.upper() if 0 <= place < len(tokens) else ""


def _shown(names: Sequence[str]) -> str:
    return ", ".join(f"${name[1:]}" if re.fullmatch(r"p\d+", name) else f"${name}" for name in names)


def _first_line(error: BaseException) -> str:
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    return " ".join(said.split())[:300] or type(error).__name__
