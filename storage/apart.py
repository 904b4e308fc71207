"""Rows that two versions of a table do not share: what both have as it was written once is the same, and need not be read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.streams import passing
from storage.windows import Windowed, in_windows

_IN_FILE = 0xFFFFFFFF  # bits of an address: which row of its fragment


@dataclass(frozen=True)
class _Part:
    """Rows of a fragment: those for which `is_apart` is true, in their order, or all where it is None."""

    fragment: Any
    is_apart: NDArray[np.bool_] | None


@dataclass(frozen=True)
class _Both:
    """Two versions; which rows are apart is found out when it is asked for, and once."""

    old: lance.LanceDataset
    new: lance.LanceDataset

    @cached_property
    def parts(self) -> tuple[list[_Part], list[_Part]]:
        """Where the rows of each lie that the other does not have in the same place."""
        before, after = (
            {_written(one): one for one in version.get_fragments()} for version in (self.old, self.new)
        )
        found: tuple[list[_Part], list[_Part]] = ([], [])
        for files, fragment in before.items():
            if (same := after.get(files)) is None:
                found[0].append(_Part(fragment, None))
            elif same.deletion_file() != fragment.deletion_file():
                live = _live(self.old, fragment), _live(self.new, same)
                for parts, one, ours, theirs in zip(found, (fragment, same), live, live[::-1], strict=True):
                    if (is_apart := ~theirs[ours]).any():
                        parts.append(_Part(one, is_apart))
        found[1].extend(_Part(fragment, None) for files, fragment in after.items() if files not in before)
        return found


class Apart(Windowed):
    """Those rows of a version that another does not have in the same place; the engine reads them again and again.

    Args:
        rows: The version.
        both: It and the other one.
        side: 0 for the one before, 1 for the one after.
        columns: What is shown of it.
    """

    def __init__(self, rows: lance.LanceDataset, both: _Both, side: int, columns: Sequence[str]) -> None:
        super().__init__(rows, columns)
        self._both, self._side = both, side

    def _read(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return chain.from_iterable(
            in_windows(self._rows, names, fragment=part.fragment, wanted=part.is_apart)
            for part in self._both.parts[self._side]
        )

    def _filtered(self, names: list[str], wanted: Any) -> Iterator[pa.RecordBatch]:
        read = self._asked(list(dict.fromkeys([*names, *self._of_filter(wanted)])))
        for batch in self._read(read.names):
            yield from passing([batch], read, names, wanted)


def apart(
    old: lance.LanceDataset, new: lance.LanceDataset, columns: tuple[Sequence[str], Sequence[str]]
) -> tuple[Apart, Apart]:
    """Return the rows of each of two versions of one table that the other does not have in the same place.

    A row that is equal in both may be among them: it was written again, as a compaction does. A column that one version has
    without values, and the other not at all, sets no row apart.

    Args:
        old: A version.
        new: Another.
        columns: What is shown of each.
    """
    both = _Both(old, new)
    return Apart(old, both, 0, columns[0]), Apart(new, both, 1, columns[1])


def _written(fragment: Any) -> tuple[Any, ...]:
    """Return what tells the rows that were written to a fragment: its files, each with its columns, and what lies over them."""
    files = ((file.path, file.base_id, *file.fields, *file.column_indices) for file in fragment.data_files())
    return (fragment.fragment_id, *files, *map(str, fragment.metadata.overlays))


def _live(rows: lance.LanceDataset, fragment: Any) -> NDArray[np.bool_]:
    """Return which of the rows ever written to a fragment are not deleted."""
    found = np.zeros(fragment.physical_rows, bool)
    scanner = rows.scanner(columns=[], with_row_address=True, fragments=[fragment], batch_readahead=1)
    for batch in scanner.to_batches():
        found[batch["_rowaddr"].to_numpy() & _IN_FILE] = True
    return found
