"""Small lakes with vectors, and the plain arithmetic that search is held against."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds

from schemas.tables import MEDIA, TEXTS, TableSpec, embeddings
from storage import rows
from storage.lake import Lake, Snapshot, Writer

TABLE = "embeddings_test"
SPECS: dict[str, TableSpec] = {"media": MEDIA, "text": TEXTS}


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def drawn(n: int, dim: int, seed: int = 0, clusters: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    around = draw.standard_normal((clusters, dim))[draw.integers(0, clusters, n)] if clusters else 0.0
    return unit(around + (0.6 if clusters else 1.0) * draw.standard_normal((n, dim)))


def item(n: int) -> str:
    return f"{n:032x}"


def put(
    writer: Writer, side: str, vectors: Mapping[str, np.ndarray | None], **columns: Sequence[Any]
) -> None:
    """Upsert items of a side with their vectors; further columns are those of media or texts, in the same order."""
    ids, spec = list(vectors), SPECS[side]
    given = {"present": [True] * len(ids), "kept": [True] * len(ids)} | columns
    listed = [
        {name: None for name in spec.schema.names}
        | {spec.key: one}
        | {name: values[n] for name, values in given.items()}
        for n, one in enumerate(ids)
    ]
    state = rows.with_digest(pa.Table.from_pylist(listed, schema=spec.schema), spec)
    writer.upsert(spec, pds.dataset(state))
    dim = next(len(vector) for vector in vectors.values() if vector is not None)
    made = embeddings(TABLE, dim)
    table = pa.table(
        {
            "item_id": ids,
            "side": [side] * len(ids),
            "modality": ["image" if side == "media" else "text"] * len(ids),
            # vectors stand outside the digest: another encoder's are told by its name
            "encoder_digest": [
                "" if v is None else np.asarray(v, np.float32).tobytes().hex() for v in vectors.values()
            ],
            "vector": pa.array(
                [None if v is None else np.asarray(v, np.float32).tolist() for v in vectors.values()],
                made.schema.field("vector").type,
            ),
            "run_id": ["r"] * len(ids),
        }
    )
    said = {"xmodal.encoder": json.dumps({"dim": dim}), "xmodal.encoder_ref": json.dumps({"name": "test"})}
    writer.upsert(made, pds.dataset(rows.with_digest(table, made)), metadata=said)


def committed(
    lake: Lake, side: str, vectors: Mapping[str, np.ndarray | None], **columns: Sequence[Any]
) -> Snapshot:
    """Upsert and commit in one go."""
    with lake.writer() as writer:
        put(writer, side, vectors, **columns)
        return writer.commit(tag="latest", recipe_digest="d", run_id="r")


def numbered(vectors: np.ndarray, start: int = 0) -> dict[str, np.ndarray]:
    return {item(start + n): vector for n, vector in enumerate(vectors)}


def by_loops(
    vectors: Mapping[str, np.ndarray], passing: set[str], query: np.ndarray, k: int, offset: int = 0
) -> list[tuple[str, float]]:
    """Return (id, score) of the best, one item at a time; of equal scores the smaller id first."""
    scored = []
    for one, vector in vectors.items():
        if one in passing:
            total = sum(float(a) * float(b) for a, b in zip(vector, query, strict=True))
            scored.append((-float(np.float32(total)), one))
    return [(one, -score) for score, one in sorted(scored)[offset : offset + k]]
