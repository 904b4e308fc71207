"""A table read some rows at a time: Lance reads ahead up to 2 GB of what a slow reader has not yet taken."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import lance
import pyarrow as pa
import pyarrow.dataset as pds

from storage.streams import Stream, in_words, passing

ROWS = 1 << 18  # of a window
BATCH_ROWS = 1 << 14


class Windowed(pds.Dataset):
    """A Lance table as DuckDB sees it; columns go down to Lance, filters are applied to what each window gives.

    Args:
        rows: The table.
        size: Rows of a window.
    """

    def __init__(self, rows: lance.LanceDataset, size: int = ROWS) -> None:
        self._rows, self._size = rows, size

    @property
    def schema(self) -> pa.Schema:
        """The table's columns."""
        return self._rows.schema

    def scanner(self, *_: Any, columns: Sequence[str] | None = None, filter: Any = None, **__: Any) -> Any:
        """Return the rows of some columns that pass a filter, to be read once."""
        names = list(self.schema.names if columns is None else columns)
        asked = pa.schema([self.schema.field(name) for name in names])
        return Stream(asked, self._batches(names) if filter is None else self._filtered(names, filter))

    def _filtered(self, names: list[str], wanted: Any) -> Iterator[pa.RecordBatch]:
        said = in_words(wanted)
        of_filter = [name for name in self.schema.names if re.search(rf"\b{re.escape(name)}\b", said)]
        read = pa.schema([self.schema.field(name) for name in dict.fromkeys([*names, *of_filter])])
        for batch in self._batches(read.names):
            yield from passing([batch], read, names, wanted)

    def _batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        for start in range(0, self._rows.count_rows(), self._size):
            yield from self._rows.to_batches(
                columns=names, offset=start, limit=self._size, batch_size=BATCH_ROWS, batch_readahead=1
            )
