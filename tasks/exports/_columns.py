"""A sample as one flat row."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import pyarrow as pa

from tasks.exports.contract import Sample

ROWS = 256  # of samples that may hold pixels, at once

TEXT = pa.struct([pa.field(name, pa.string()) for name in ("text_id", "text", "language", "origin", "role")])
FACTS = pa.schema(
    [
        pa.field("media_id", pa.string()),
        pa.field("modality", pa.string()),
        pa.field("media_type", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        *(pa.field(name, pa.string()) for name in ("licence", "credit", "concept", "locator", "uri")),
        pa.field("text", pa.string()),  # the best one
        pa.field("language", pa.string()),
        pa.field("origin", pa.string()),
    ]
)
WITH_TEXTS = FACTS.append(pa.field("texts", pa.list_(TEXT)))


def row(sample: Sample) -> dict[str, object]:
    """Return a sample's columns, without bytes."""
    best = sample.texts[0] if sample.texts else None
    return {
        **{name: sample.facts.get(name) for name in FACTS.names},
        "media_id": sample.media_id,
        "media_type": sample.media_type,
        "text": best.text if best else None,
        "language": best.language if best else None,
        "origin": best.origin if best else None,
        "texts": [vars(said) for said in sample.texts],
    }


def chunks(samples: Iterable[Sample], size: int = ROWS) -> Iterator[list[Sample]]:
    """Return samples a few at a time: memory stays flat."""
    stream = iter(samples)
    while some := list(islice(stream, size)):
        yield some


def table(samples: Sequence[Sample], schema: pa.Schema) -> pa.Table:
    """Return samples as rows of a schema; `media` is filled with bytes if the schema has it."""
    rows = [row(sample) | {"media": sample.data} for sample in samples]
    return pa.Table.from_pylist([{name: one[name] for name in schema.names} for one in rows], schema=schema)


def as_json(value: object) -> str:
    """Return JSON that is the same for equal values."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def numbered(shard: int, shards: int, suffix: str) -> str:
    """Return a shard's file name, e.g. 00003-of-00012.tar."""
    return f"{shard:05d}-of-{shards:05d}.{suffix}"
