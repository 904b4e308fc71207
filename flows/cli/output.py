"""How commands speak: tables and bars for people, plain lines for logs, JSON for machines."""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

LakeOption = Annotated[
    str | None, typer.Option("--lake", help="Folder or URL of the lake; XMODAL_LAKE by default.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
AtOption = Annotated[
    str | None, typer.Option("--at", help="Snapshot id, tag or digest; the newest by default.")
]

# Into a file or a pipe nothing is folded at 80 columns: lines are for grep.
_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 240
console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=_WIDTH)


def lake_uri(lake: str | None) -> str:
    """Return the lake a command works on."""
    from schemas.settings import Settings

    return lake or Settings().lake


def say(line: str = "") -> None:
    """Print a line; text from outside must be escaped by the caller with `escape`."""
    console.print(line)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; every cell is escaped, since captions and file names are hostile until checked."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(str("" if cell is None else cell))) for cell in row))
    console.print(table)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(value, indent=2, default=_plain, ensure_ascii=False, sort_keys=True))


def printable(text: str) -> str:
    """Return the text without control characters, which could drive a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


@contextmanager
def progress(quiet: bool = False) -> Iterator[None]:
    """Show how far a flow is: bars on a terminal, a line every few seconds elsewhere, nothing when quiet."""
    from flows.runners import report_progress

    if quiet:
        yield
        return
    ours = logging.getLogger("xmodal")
    if not ours.handlers:
        ours.addHandler(logging.StreamHandler(sys.stderr))
        ours.setLevel(logging.INFO)
        ours.propagate = False
    if not sys.stderr.isatty():
        token = report_progress.set(_lines())
        try:
            yield
        finally:
            report_progress.reset(token)
        return
    columns = (
        TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TextColumn("shards"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def report(label: str, done: int, total: int) -> None:
            if label not in tasks or done == 0:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done)

        token = report_progress.set(report)
        try:
            yield
        finally:
            report_progress.reset(token)


def _lines() -> Any:
    started: dict[str, float] = {}
    last: dict[str, float] = {}

    def report(label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done == 0:
            started[label] = now
        if done in (0, total) or now - last.get(label, 0) > 5:
            last[label] = now
            rate = done / max(now - started.get(label, now), 1e-9) if done else 0.0
            print(f"{label}: {done} of {total} shards, {rate:.2f}/s", file=sys.stderr, flush=True)

    return report


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, Path):
        return str(value)
    return vars(value) if hasattr(value, "__dict__") else str(value)
