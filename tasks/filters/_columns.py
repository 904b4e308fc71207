"""Table columns as plain Python and numpy, nulls kept apart from values."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import DataError

T = TypeVar("T")


def numbers(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """Return a numeric column. Shape (N,), NaN where null.

    Raises:
        DataError: The table has no such column.
    """
    column = _column(rows, name).cast(pa.float64())
    return np.asarray(column.to_numpy(), dtype=np.float64)


def each(rows: pa.Table, name: str, score: Callable[[str], float]) -> NDArray[np.float32]:
    """Return `score` of every text of a column. Shape (N,), NaN where null.

    Raises:
        DataError: The table has no such column.
    """
    return scored(texts(rows, name), score)


def texts(rows: pa.Table, name: str) -> list[str | None]:
    """Return a string column.

    Raises:
        DataError: The table has no such column.
    """
    values: list[str | None] = _column(rows, name).cast(pa.string()).to_pylist()
    return values


def blobs(rows: pa.Table, name: str) -> list[bytes | None]:
    """Return a binary column.

    Raises:
        DataError: The table has no such column.
    """
    values: list[bytes | None] = _column(rows, name).cast(pa.binary()).to_pylist()
    return values


def scored(values: Sequence[T | None], score: Callable[[T], float]) -> NDArray[np.float32]:
    """Return `score` of every value that is not null, NaN for the others. Shape (N,)."""
    return np.array([np.nan if value is None else score(value) for value in values], dtype=np.float32)


def _column(rows: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in rows.column_names:
        raise DataError(
            f"the rows have no column {name!r}, only {', '.join(rows.column_names)}; pass it as well"
        )
    return rows[name]
