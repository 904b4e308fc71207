"""Digests of rows and of tables: how "nothing changed" and "the same content" are decided."""

import hashlib
from collections.abc import Iterable

import numpy as np
import orjson
import pyarrow as pa

from schemas.tables import TableSpec

_HALF = 1 << 64


def with_digest(rows: pa.Table, spec: TableSpec) -> pa.Table:
    """Return the rows in the spec's column order and types, with `row_digest` appended.

    The digest covers `spec.content_columns` only, so thumbnails, vectors, times and run ids may differ
    between two machines without the content counting as different.

    Raises:
        KeyError: A column of the spec is missing.
    """
    ordered = rows.select(spec.schema.names).cast(spec.schema)
    columns = [ordered[name].to_pylist() for name in spec.content_columns]
    digests = [
        hashlib.blake2b(orjson.dumps(row, option=orjson.OPT_NAIVE_UTC), digest_size=16).digest()
        for row in zip(*columns, strict=True)
    ]
    return ordered.append_column(spec.stored.field("row_digest"), pa.array(digests, pa.binary(16)))


def table_digest(batches: Iterable[pa.RecordBatch]) -> str:
    """Return 32 hex digits over a multiset of rows, whatever their order and how they are split.

    Both 64-bit halves of the row digests are summed modulo 2**64. It tells equal content from different
    content; it is no defence against someone who forges rows.

    Args:
        batches: Batches with a `row_digest` column.
    """
    total = np.zeros(2, dtype=np.uint64)
    for batch in batches:
        total += halves(batch["row_digest"]).sum(axis=0, dtype=np.uint64)
    return f"{int(total[0]):016x}{int(total[1]):016x}"


def halves(digests: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return row digests as numbers. Shape (N, 2), uint64, little-endian."""
    chunks = digests.chunks if isinstance(digests, pa.ChunkedArray) else [digests]
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8)[16 * chunk.offset :][: 16 * len(chunk)]
        for chunk in chunks
        if len(chunk)
    ]
    return np.concatenate([np.empty(0, np.uint8), *parts]).view("<u8").reshape(-1, 2)


def combined_digest(digests: dict[str, str]) -> str:
    """Return 32 hex digits over the digests of several tables."""
    return hashlib.sha256(orjson.dumps(digests, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
