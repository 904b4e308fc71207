"""CSV: a row per medium, texts as JSON in a cell; bytes stay where they are."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from schemas.source import Source
from tasks.exports._columns import WITH_TEXTS, as_json, numbered, row
from tasks.exports.contract import Sample


@dataclass(frozen=True)
class CSV:
    """RFC 4180 with a header, UTF-8; an empty cell is null.

    Args:
        guard: Put an apostrophe before text cells that a spreadsheet would run as a formula (=, +, -, @, tab, return).
    """

    name: ClassVar[str] = "csv"
    source: ClassVar[Source] = Source(
        title="Common Format and MIME Type for Comma-Separated Values (RFC 4180)",
        authors="Shafranovich",
        year=2005,
        url="https://www.rfc-editor.org/rfc/rfc4180",
        departs="UTF-8; lists are JSON in a cell",
    )
    carries_media: ClassVar[bool] = False

    guard: bool = False

    def __call__(self, samples: Iterable[Sample], folder: Path, shard: int, shards: int) -> int:
        """Write one CSV file and return how many samples it holds."""
        count = 0
        path = folder / numbered(shard, shards, "csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\r\n")
            writer.writerow(WITH_TEXTS.names)
            for sample in samples:
                count += 1
                cells = row(sample)
                cells["texts"] = as_json(cells["texts"])
                writer.writerow([self._cell(cells[name]) for name in WITH_TEXTS.names])
        return count

    def _cell(self, value: object) -> object:
        if value is None:
            return ""
        if self.guard and isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
            return "'" + value
        return value
