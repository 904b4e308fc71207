"""Parquet files as the `datasets` library loads them, with their features declared."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.source import Source
from tasks.exports._columns import WITH_TEXTS, as_json, chunks, numbered, table
from tasks.exports.contract import Sample
from tasks.exports.webdataset import suffix_of

_FEATURES = {"string": "string", "int64": "int64", "int32": "int32"}
_BYTES = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


@dataclass(frozen=True)
class HuggingFace:
    """`data/train-*.parquet`; `load_dataset(folder)` gives pictures decoded.

    Args:
        split: Name of the split.
    """

    name: ClassVar[str] = "huggingface"
    source: ClassVar[Source] = Source(
        title="Datasets: A Community Library for Natural Language Processing",
        authors="Lhoest et al.",
        year=2021,
        url="https://arxiv.org/abs/2109.02846",
        departs="written without the library: pyarrow and the feature metadata it reads",
    )
    carries_media: ClassVar[bool] = True

    split: str = "train"

    def __post_init__(self) -> None:
        if not self.split.replace("_", "").isalnum():
            raise ValueError(f"a split is letters, digits and underscores; found {self.split!r}")

    def __call__(self, samples: Iterable[Sample], folder: Path, shard: int, shards: int) -> int:
        """Write one Parquet file and return how many samples it holds."""
        schema = pa.schema(
            [pa.field("image", _BYTES), *WITH_TEXTS], metadata={"huggingface": self._features()}
        )
        target = folder / "data" / f"{self.split}-{numbered(shard, shards, 'parquet')}"
        target.parent.mkdir(parents=True, exist_ok=True)
        count = 0
        with pq.ParquetWriter(target, schema, compression="zstd", version="2.6") as writer:
            for some in chunks(samples):
                count += len(some)
                pictures = [_picture(sample) for sample in some]
                rows = table(some, WITH_TEXTS).add_column(
                    0, schema.field("image"), [pa.array(pictures, _BYTES)]
                )
                writer.write_table(rows.replace_schema_metadata(schema.metadata))
        return count

    def _features(self) -> str:
        """Return what the columns are, as the library writes it down."""
        features: dict[str, object] = {"image": {"_type": "Image"}}
        for column in WITH_TEXTS:
            if column.name != "texts":
                features[column.name] = {"dtype": _FEATURES[str(column.type)], "_type": "Value"}
        parts = {
            part.name: {"dtype": "string", "_type": "Value"}
            for part in WITH_TEXTS.field("texts").type.value_type
        }
        features["texts"] = {"feature": parts, "_type": "List"}
        return as_json({"info": {"features": features}})


def _picture(sample: Sample) -> dict[str, object] | None:
    """Return a picture as the library stores it; media of other kinds, and bytes left in place, are null."""
    if (
        sample.data is None
        or not sample.media_type.startswith("image/")
        or sample.media_type == "image/svg+xml"
    ):
        return None
    return {"bytes": sample.data, "path": f"{sample.media_id}.{suffix_of(sample.media_type)}"}
