"""Rows of CSV, TSV, JSONL and Parquet files; what is wrong with one row costs that row only."""

import csv
import io
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.digests import key
from schemas.errors import BadInput, SourceError
from tasks.sources._places import local_path, readable
from tasks.sources._texts import decoded, parsed

ROW_MAX_CHARS = 4 << 20
PARQUET_BATCH_ROWS = 1024
_NOT_PARQUET = (pa.ArrowException, OSError, ValueError, MemoryError)  # a broken file can claim any size
EXTENSIONS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        values: By column; texts of a CSV that are not UTF-8 hold surrogates. Empty when it cannot be parsed.
        written: The row as written: a line, or a record's lines.
        problem: Why it cannot be parsed; "" when it can.
        message: What was found.
    """

    values: dict[str, Any]
    written: bytes | tuple[str, ...]
    problem: str = ""
    message: str = ""

    @property
    def digest(self) -> str:
        """16 hex digits over the row as written; names a row that cannot be parsed."""
        if isinstance(self.written, bytes):
            return key(self.written.decode("utf-8", "surrogateescape"))[:16]
        return key(*self.written)[:16]


def extension(location: str) -> str:
    """Return the extension of a table file, in lower case."""
    return os.path.splitext(location.partition("?")[0] if "://" in location else location)[1].lower()


def columns(location: str) -> list[str] | None:
    """Return the columns that a table file declares; None for JSONL, whose rows each have their own.

    Raises:
        SourceError: The file cannot be opened, or declares no or two equal columns.
    """
    with _opened(location) as file:
        if extension(location) == ".parquet":
            try:
                return list(pq.ParquetFile(file).schema_arrow.names)
            except _NOT_PARQUET as error:
                raise SourceError(f"{location!r} is not Parquet: {error}") from error
        if extension(location) in (".jsonl", ".ndjson"):
            return None
        return _header(location, _Lines(_text(file)))


def rows(location: str) -> Iterator[Row]:
    """Yield the rows of a table file in its order, a batch in memory at most.

    Raises:
        SourceError: The file cannot be opened, or its extension is not in `EXTENSIONS`.
    """
    with _opened(location) as file:
        if extension(location) == ".parquet":
            yield from _parquet(location, file)
        elif extension(location) in (".jsonl", ".ndjson"):
            yield from _jsonl(file)
        else:
            lines = _Lines(_text(file))
            yield from _csv(location, _header(location, lines), lines)


def lines(location: str) -> Iterator[Row]:
    """Yield the lines of a text file that are neither empty nor start with "#", as {"line": ...}.

    Raises:
        SourceError: The file cannot be opened.
    """
    with _opened(location) as file:
        for row in _bounded(file):
            if row.problem or (row.values["line"].strip() and not row.values["line"].startswith("#")):
                yield row


@contextmanager
def _opened(location: str) -> Iterator[IO[bytes]]:
    path = local_path(location)
    try:
        if path is not None:
            opened: IO[bytes] = open(path, "rb")  # noqa: SIM115, closed below
        else:
            fs, name = fsspec.core.url_to_fs(location, use_listings_cache=False)
            opened = fs.open(name, "rb")
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"{location!r} cannot be opened: {error}") from error
    with opened as file:
        yield file


def _text(file: IO[bytes]) -> io.TextIOWrapper:
    # Surrogates mark the bytes that are not UTF-8, and the commas and quotes around them still count.
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


class _Overrun(Exception):
    """A quoted field never ends."""


class _Lines:
    """Lines that the CSV parser takes, remembered until the record is whole, so that they can be put back."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._ahead: deque[str] = deque()
        self.taken: list[str] = []
        self._chars = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else self._text.readline(ROW_MAX_CHARS)
        if not line:
            raise StopIteration
        self.taken.append(line)
        self._chars += len(line)
        if self._chars >= ROW_MAX_CHARS:
            raise _Overrun
        return line

    def begin(self) -> None:
        """Start a record."""
        self.taken, self._chars = [], 0

    def put_back(self) -> str:
        """Give back all but the first line of the record, and return that."""
        first, *others = self.taken
        self._ahead.extendleft(reversed(others))
        return first

    def skip_rest(self) -> None:
        """Skip what is left of a line that was too long to read."""
        while (rest := self._text.readline(ROW_MAX_CHARS)) and not rest.endswith(("\n", "\r")):
            pass


def _header(location: str, lines: _Lines) -> list[str]:
    lines.begin()
    try:
        header = next(_reader(location, lines), [])
    except (csv.Error, _Overrun) as error:
        raise SourceError(f"the first line of {location!r} is no header: {error}") from error
    if not header:
        raise SourceError(f"{location!r} has no header; its first line must name the columns")
    if len(set(header)) != len(header):
        raise SourceError(f"{location!r} has two columns of the same name: {', '.join(header)}")
    if any(name != readable(name) for name in header):
        raise SourceError(f"the header of {location!r} is not UTF-8 or holds NUL: {header!r:.200}")
    return header


def _reader(location: str, lines: _Lines) -> "Iterator[list[str]]":
    # The limit is the process's own; it is only ever raised, so nobody else can trip over it.
    csv.field_size_limit(max(csv.field_size_limit(), ROW_MAX_CHARS))
    return csv.reader(lines, delimiter="\t" if extension(location) == ".tsv" else ",", strict=True)


def _csv(location: str, header: list[str], lines: _Lines) -> Iterator[Row]:
    """Yield records. After one that cannot be parsed, parsing goes on at the line after its first."""
    reader = _reader(location, lines)
    while True:
        lines.begin()
        try:
            record = next(reader)
        except StopIteration:
            return
        except (csv.Error, _Overrun) as error:
            alone = len(lines.taken) == 1 and isinstance(error, _Overrun)
            first = lines.put_back()
            if alone and not first.endswith(("\n", "\r")):
                lines.skip_rest()
            message = (
                f"a line exceeds {ROW_MAX_CHARS} characters" if alone else f"{error or 'a quote never ends'}"
            )
            yield Row({}, (first,), "text-too-long" if alone else "bad-row", f"{message}: {first[:100]!r}")
            reader = _reader(location, lines)
            continue
        written = tuple(lines.taken)
        if len(record) == len(header):
            yield Row(dict(zip(header, record, strict=True)), written)
        elif record:
            message = f"{len(record)} fields where the header has {len(header)}: {lines.taken[0][:100]!r}"
            yield Row({}, written, "bad-row", message)


def _bounded(file: IO[bytes]) -> Iterator[Row]:
    """Yield lines as {"line": ...} without their ends; one that cannot be text is a row with a problem."""
    while line := file.readline(ROW_MAX_CHARS):
        if len(line) == ROW_MAX_CHARS and not line.endswith(b"\n"):
            while (rest := file.readline(ROW_MAX_CHARS)) and not rest.endswith(b"\n"):
                pass
            yield Row({}, line, "text-too-long", f"a line exceeds {ROW_MAX_CHARS} bytes: {line[:100]!r}")
            continue
        try:
            text = decoded(line, "the line")
        except BadInput as error:
            yield Row({}, line, error.reason, f"{error.message}: {line[:100]!r}")
        else:
            yield Row({"line": text.rstrip("\r\n")}, line)


def _jsonl(file: IO[bytes]) -> Iterator[Row]:
    for row in _bounded(file):
        if row.problem:
            yield row
            continue
        if not (line := row.values["line"].strip()):
            continue
        try:
            values = parsed(line, "the line")
            if not isinstance(values, dict):
                raise BadInput("bad-row", f"the line holds a {type(values).__name__}; it must hold an object")
            yield Row(values, row.written)
        except BadInput as error:
            yield Row({}, row.written, error.reason, f"{error.message}: {line[:100]!r}")


def _parquet(location: str, file: IO[bytes]) -> Iterator[Row]:
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=PARQUET_BATCH_ROWS):
            for index in range(batch.num_rows):
                yield _parquet_row(batch, index)
    except _NOT_PARQUET as error:
        raise SourceError(f"{location!r} cannot be read as Parquet: {error}") from error


def _parquet_row(batch: pa.RecordBatch, index: int) -> Row:
    values: dict[str, Any] = {}
    problem = message = ""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = column[index].as_py()
        except UnicodeDecodeError as error:  # Parquet writers need not check their strings
            problem, message = "bad-encoding", f"{name} is not UTF-8: {error}"
        except (
            ValueError,
            OverflowError,
            LookupError,
            pa.ArrowException,
        ) as error:  # a moment that Python cannot say
            problem, message = "bad-row", f"{name} holds what cannot be read: {error or type(error).__name__}"
    return Row(values, (repr(sorted(values.items(), key=lambda pair: pair[0])),), problem, message)
