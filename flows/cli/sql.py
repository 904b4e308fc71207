"""`xmodal sql`: ask the lake in SQL."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from flows.cli.output import AtOption, LakeOption, lake_uri, printable, say, show

if TYPE_CHECKING:
    from storage.sql import Result

Format = Literal["table", "csv", "json", "parquet", "arrow"]
SHOWN = 60  # characters of a cell
_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def sql(
    statement: Annotated[
        str | None, typer.Argument(help="One statement that reads; - reads it from standard input.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Read the statement from a file.", exists=True, dir_okay=False),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", help="Value of the next ? or, as name=value, of $name; JSON, or else a text."
        ),
    ] = None,
    lake: LakeOption = None,
    at: AtOption = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="How rows are written; by the name of --out, else a table."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the rows to this file.")] = None,
    max_rows: Annotated[int, typer.Option(min=0, help="Read no more rows than these; 0: all.")] = 10_000,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds until it is interrupted.")] = 60.0,
    memory: Annotated[str, typer.Option(help="Working memory before it spills to disk.")] = "1GB",
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what would be read and how, and run nothing.")
    ] = False,
) -> None:
    """Run one SQL statement over the lake's tables, as of any version, with search among them."""
    from schemas.errors import DataError
    from storage import lake as lakes
    from storage.sql import Limits

    text = _statement(statement, file)
    kind = form or _by_name(out)
    if kind in ("parquet", "arrow") and out is None and sys.stdout.isatty():
        raise DataError(f"{kind} is no text: name a file with --out, or redirect the output")
    try:
        limits = Limits(seconds=timeout, memory=memory, rows=max_rows or None)
        result = lakes.open(lake_uri(lake)).sql(
            f"EXPLAIN {text}" if explain else text, params=_params(param or []), at=at, limits=limits
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    if kind == "table":
        _show(result)
    else:
        getattr(result, f"to_{kind}")(out if out is not None else sys.stdout.buffer)
    if out is not None:
        say(f"{len(result)} rows: {out}")
    if result.truncated:
        print(f"xmodal: only the first {len(result)} rows were read; see --max-rows", file=sys.stderr)


def _statement(statement: str | None, file: Path | None) -> str:
    from schemas.errors import DataError

    if (statement is None) == (file is None):
        raise DataError("give one statement, or -f and a file that holds it, or - for standard input")
    if file is not None:
        return file.read_text(encoding="utf-8")
    return sys.stdin.read() if statement == "-" else str(statement)


def _by_name(out: Path | None) -> Format:
    from schemas.errors import DataError

    if out is None:
        return "table"
    named: dict[str, Format] = {
        ".csv": "csv", ".json": "json", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
    }  # fmt: skip
    if out.suffix.lower() not in named:
        raise DataError(
            f"--out {out.name}: name a format with --format, or a file that ends in {', '.join(named)}"
        )
    return named[out.suffix.lower()]


def _params(given: list[str]) -> list[Any] | dict[str, Any]:
    from schemas.errors import DataError

    named = [_NAMED.fullmatch(each) for each in given]
    if not all(named):
        if any(named):
            raise DataError("parameters are values of ? or name=value; found both")
        return [_value(each) for each in given]
    return {match[1]: _value(match[2]) for match in named if match}


def _value(said: str) -> Any:
    """Read JSON, so that 5 is a number and [1, 2] a list; what is no JSON is a text."""
    try:
        return json.loads(said)
    except json.JSONDecodeError:
        return said


def _show(result: "Result") -> None:
    if result.table.column_names == ["part", "detail"]:  # a plan: its lines are drawn
        for row in result.rows():
            print(
                f"{row['part']}:\n{row['detail']}"
                if row["part"] == "plan"
                else f"{row['part']}: {row['detail']}"
            )
        return
    rows = [[_cell(value) for value in row.values()] for row in result.rows()]
    show("", [escape(printable(name)) for name in result.table.column_names], rows)
    more = ", there are more" if result.truncated else ""
    at = f" at {result.snapshot_id}" if result.snapshot_id else ""
    say(f"{len(result)} rows{more}{at}, {result.seconds:.2f} s")


def _cell(value: object) -> object:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float):
        return f"{value:.6g}"
    said = "" if value is None else str(value)
    return said if len(said) <= SHOWN else f"{said[: SHOWN - 1]}…"
