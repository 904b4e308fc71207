"""Parquet files: a row per medium, its texts as a list, its bytes as a column."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.source import Source
from tasks.exports._columns import WITH_TEXTS, chunks, numbered, table
from tasks.exports.contract import Sample


@dataclass(frozen=True)
class Parquet:
    """Columns of the sample and `media`, null where bytes are left in place.

    Args:
        compression: Of text columns; bytes of media are compressed already.
    """

    name: ClassVar[str] = "parquet"
    source: ClassVar[Source] = Source(
        title="Apache Parquet",
        authors="Apache Software Foundation",
        year=2013,
        url="https://parquet.apache.org/docs/file-format/",
    )
    carries_media: ClassVar[bool] = True

    compression: str = "zstd"

    def __post_init__(self) -> None:
        if self.compression not in ("zstd", "snappy", "gzip", "none"):
            raise ValueError(f"compression is zstd, snappy, gzip or none; found {self.compression!r}")

    def __call__(self, samples: Iterable[Sample], folder: Path, shard: int, shards: int) -> int:
        """Write one Parquet file and return how many samples it holds."""
        schema = WITH_TEXTS.append(pa.field("media", pa.large_binary()))
        by_column: dict[str, str] = {leaf: self.compression for leaf in _leaves(schema)} | {"media": "none"}
        count = 0
        path = folder / numbered(shard, shards, "parquet")
        with pq.ParquetWriter(path, schema, compression=by_column, version="2.6") as writer:
            for some in chunks(samples):
                count += len(some)
                writer.write_table(table(some, schema))
        return count


def _leaves(schema: pa.Schema) -> list[str]:
    """Return columns by the names Parquet gives them: a list of structs is several."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    stored = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [stored.column(at).path for at in range(len(stored.names))]
