"""Rows that two versions of a table do not share: what both have as it was written once is the same, and need not be read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.streams import passing
from storage.windows import Windowed, in_windows

_EVERY = np.empty(0, np.uint64)


@dataclass(frozen=True)
class _Part:
    """Rows of a fragment: those for which `is_apart` is true, in their order, or all where it is None."""

    fragment: Any
    is_apart: NDArray[np.bool_] | None


class Apart(Windowed):
    """Those rows of a version that another does not have in the same place; the engine reads them again and again.

    Args:
        rows: The version.
        parts: Where they lie.
        columns: What is shown of it.
    """

    def __init__(self, rows: lance.LanceDataset, parts: Sequence[_Part], columns: Sequence[str]) -> None:
        super().__init__(rows, columns)
        self._parts = parts

    def count_rows(self, *_: Any, **__: Any) -> int:
        """Return the number of rows."""
        return sum(
            part.fragment.count_rows() if part.is_apart is None else int(part.is_apart.sum())
            for part in self._parts
        )

    def _read(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return chain.from_iterable(
            in_windows(self._rows, names, fragment=part.fragment, wanted=part.is_apart)
            for part in self._parts
        )

    def _filtered(self, names: list[str], wanted: Any) -> Iterator[pa.RecordBatch]:
        read = self._asked(list(dict.fromkeys([*names, *self._of_filter(wanted)])))
        for batch in self._read(read.names):
            yield from passing([batch], read, names, wanted)


def apart(
    old: lance.LanceDataset, new: lance.LanceDataset, columns: tuple[Sequence[str], Sequence[str]]
) -> tuple[Apart, Apart]:
    """Return the rows of each of two versions of one table that the other does not have in the same place.

    A row that is equal in both may be among them: it was written again, as a compaction does.

    Args:
        old: A version.
        new: Another.
        columns: What is shown of each.
    """
    sides = [{_files(one): one for one in version.get_fragments()} for version in (old, new)]
    found = []
    for version, of_side, other, shown in zip((old, new), sides, sides[::-1], columns, strict=True):
        parts = []
        for files, fragment in of_side.items():
            same = other.get(files)
            if same is None:
                parts.append(_Part(fragment, None))
            elif str(same.metadata.deletion_file) != str(fragment.metadata.deletion_file):
                ours, theirs = _addresses(version, fragment), _addresses(new if version is old else old, same)
                is_apart = ~np.isin(ours, theirs, assume_unique=True, kind="sort")
                if is_apart.any():
                    parts.append(_Part(fragment, is_apart))
        found.append(Apart(version, parts, shown))
    return found[0], found[1]


def _files(fragment: Any) -> tuple[Any, ...]:
    """Return what tells which rows were written to a fragment, and with which columns."""
    metadata = fragment.metadata
    return (metadata.id, *(str(file) for file in metadata.files))


def _addresses(rows: lance.LanceDataset, fragment: Any) -> NDArray[np.uint64]:
    """Return the addresses of the rows of a fragment that are not deleted, in their order. (N,)."""
    scanner = rows.scanner(columns=[], with_row_address=True, fragments=[fragment], scan_in_order=True)
    return np.concatenate([_EVERY, *(batch["_rowaddr"].to_numpy() for batch in scanner.to_batches())])
