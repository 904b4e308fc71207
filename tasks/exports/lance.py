"""Lance tables, one a shard: columns as in Parquet, with fast random access."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from schemas.source import Source
from tasks.exports._columns import WITH_TEXTS, chunks, numbered, table
from tasks.exports.contract import Sample


@dataclass(frozen=True)
class Lance:
    """A shard is a table of its own, so shards can be written side by side and anywhere."""

    name: ClassVar[str] = "lance"
    source: ClassVar[Source] = Source(
        title="Lance: modern columnar data format for ML",
        authors="LanceDB",
        year=2022,
        url="https://github.com/lance-format/lance",
        departs="files carry random names, so equal samples are equal tables but not equal bytes",
    )
    carries_media: ClassVar[bool] = True

    def __call__(self, samples: Iterable[Sample], folder: Path, shard: int, shards: int) -> int:
        """Write one table and return how many samples it holds."""
        import lance

        schema = WITH_TEXTS.append(pa.field("media", pa.large_binary()))
        count = 0

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal count
            for some in chunks(samples):
                count += len(some)
                yield from table(some, schema).combine_chunks().to_batches()

        reader = pa.RecordBatchReader.from_batches(schema, batches())
        lance.write_dataset(reader, str(folder / numbered(shard, shards, "lance")), schema=schema)
        return count
