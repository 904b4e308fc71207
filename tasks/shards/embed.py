"""Encode a shard of media or texts, decoding ahead of the encoder."""

import io
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from PIL import Image

from schemas.errors import EncoderError
from schemas.tables import embeddings
from storage import rows
from tasks.run import Run, ShardReport, cpu_seconds

PARTS = 4  # of a shard of the recipe: encoding is slow, and few large shards leave workers idle at the end
UNIT = 1e-2  # half-precision encoders normalise to three digits
BLANK: dict[str, Any] = {"text": "a", "image": np.full((64, 64, 3), 255, np.uint8)}
CHUNK = 32  # items decoded ahead while the encoder works on the chunk before


def encode_shard(run: Run, unit: tuple[str, str]) -> ShardReport:
    """Encode one staged shard, decoding ahead of the encoder. Runs in a worker."""
    side, name = unit
    start = time.perf_counter()
    with cpu_seconds() as cpu:
        shard = run.staging.read(run.staging.path("to-embed", f"{name}.arrow"))
        encoder = run.build_encoder()
        vectors = encoded(encoder, shard["item"].to_pylist(), decode=picture if side == "media" else str)
        require_unit(encoder.name, vectors, shard["item_id"], side)
        table = vector_rows(run, shard["item_id"], side, shard["modality"], vectors)
        run.staging.write(table, "embedded", f"{name}.arrow")
    gpu = time.perf_counter() - start if _on_gpu() else 0.0
    return ShardReport({side: len(shard)}, len(shard), cpu[0], gpu, shard.nbytes, table.nbytes)


def open_encoder(run: Run) -> ShardReport:
    """Encode next to nothing, so that the weights are open when the first shard comes. Runs in a worker.

    What cannot be opened is not told here: the first shard will say it.
    """
    with cpu_seconds() as cpu, suppress(Exception):
        encoder = run.build_encoder()
        for modality in sorted(encoder.modalities & BLANK.keys()):
            encoder([BLANK[modality]])
    return ShardReport(cpu_s=cpu[0])


T = TypeVar("T")


def encoded(
    encoder: Callable[[Any], np.ndarray], items: Sequence[object], *, decode: Callable[..., T]
) -> np.ndarray:
    """Return the vectors of items, the next chunk being decoded while the encoder works. (N, D) float32."""
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]

    def decoded(chunk: Sequence[object]) -> list[T]:
        return [decode(item) for item in chunk]

    found = [encoder([])]
    with ThreadPoolExecutor(1) as ahead:
        waiting = ahead.submit(decoded, chunks[0]) if chunks else None
        for following in [*chunks[1:], None]:
            if waiting is None:
                break
            ready = waiting.result()
            waiting = ahead.submit(decoded, following) if following is not None else None
            found.append(encoder(ready))
    return np.concatenate(found)


def require_unit(encoder: str, vectors: np.ndarray, item_ids: pa.ChunkedArray, side: str) -> None:
    """Refuse vectors that would spoil every search and score they take part in.

    Raises:
        EncoderError: A vector is not finite or not of unit length; names the first item.
    """
    length = np.linalg.norm(vectors.astype(np.float64), axis=1)
    wrong = np.flatnonzero(~(np.abs(length - 1) < UNIT))
    if len(wrong):
        raise EncoderError(
            f"encoder {encoder!r} gave {side} {item_ids[int(wrong[0])].as_py()} a vector of length "
            f"{length[wrong[0]]:g} in column vector, and {len(wrong)} of {len(vectors)} in its shard one that is not of "
            "unit length; nothing was committed"
        )


def picture(thumbnail: bytes) -> np.ndarray:
    """Return a thumbnail's pixels. (H, W, 3) uint8."""
    with Image.open(io.BytesIO(thumbnail)) as image:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def vector_rows(
    run: Run, item_ids: pa.ChunkedArray, side: str, modalities: pa.ChunkedArray, vectors: np.ndarray
) -> pa.Table:
    """Return rows of the encoder's table, digest included."""
    if run.encoder is None:
        raise ValueError("the run has no encoder")
    n, dim = vectors.shape
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    spec = embeddings(run.encoder.table, dim)
    table = pa.table(
        {
            "item_id": item_ids,
            "side": [side] * n,
            "modality": modalities,
            "encoder_digest": [run.encoder.digest] * n,
            "vector": pa.FixedSizeListArray.from_arrays(flat, dim),
            "run_id": [run.run_id] * n,
        }
    )
    return rows.with_digest(table, spec)


def _on_gpu() -> bool:
    torch = sys.modules.get("torch")  # only an encoder that uses torch has imported it
    return bool(torch and torch.cuda.is_available())
