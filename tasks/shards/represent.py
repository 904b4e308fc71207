"""Runs that represent what is kept a second time, and the shard of those that make tokens of pictures and texts."""

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas.represent import CodesRecipe, TokensRecipe
from schemas.tables import tokens
from storage import rows
from storage.staging import Staging
from tasks.run import Run, ShardReport, cpu_seconds
from tasks.shards.embed import CHUNK, _on_gpu, picture

FEATURES = pa.schema(
    [
        pa.field("item_id", pa.string()),
        pa.field("width", pa.int32()),  # of a token
        pa.field("tokens", pa.large_binary()),  # float32, token after token
    ]
)
HEADS = pa.schema(
    [pa.field("name", pa.string()), pa.field("shape", pa.list_(pa.int64())), pa.field("values", pa.binary())]
)


@dataclass(frozen=True)
class CodesRun(Run):
    """A run that learns and writes binary codes."""

    recipe: CodesRecipe  # type: ignore[assignment]  # a run of another kind of recipe


@dataclass(frozen=True)
class TokensRun(Run):
    """A run that trains heads and writes tokens.

    Args:
        table: What they are written to.
        heads: Checkpoint of the heads, staged under this name; "" while they are not trained.
    """

    recipe: TokensRecipe  # type: ignore[assignment]  # a run of another kind of recipe
    table: str = ""
    heads: str = ""


def token_shard(run: TokensRun, unit: tuple[str, str]) -> ShardReport:
    """Take tokens of one staged shard: where the heads put them, or as the backbones gave them. Runs in a worker."""
    side, name = unit
    start = time.perf_counter()
    with cpu_seconds() as cpu:
        shard = run.staging.read(run.staging.path("to-token", f"{name}.arrow"))
        found = frozen_tokens(side, shard["item"].to_pylist())
        if run.heads:
            table = token_rows(run, side, shard, found)
            run.staging.write(table, "tokened", f"{name}.arrow")
        else:
            widths = [item.shape[1] for item in found]
            columns = [shard["item_id"], widths, [item.tobytes() for item in found]]
            table = pa.table(columns, schema=FEATURES)
            run.staging.write(table, "features", f"{name}.arrow")
    gpu = time.perf_counter() - start if _on_gpu() else 0.0
    return ShardReport({side: len(shard)}, len(shard), cpu[0], gpu, shard.nbytes, table.nbytes)


def frozen_tokens(side: str, items: list[bytes] | list[str]) -> list[np.ndarray]:
    """Return tokens as the frozen backbones give them: of thumbnails (9, 1280) each, of texts (m, 384) each."""
    from tasks.late._features import image_tokens, regions, text_tokens

    if side == "text":
        return list(text_tokens([str(item) for item in items]))
    found: list[np.ndarray] = []
    for at in range(0, len(items), CHUNK):  # pixels of a chunk at a time
        found += list(regions(image_tokens([picture(item) for item in items[at : at + CHUNK]])))  # type: ignore[arg-type]
    return found


def token_rows(run: TokensRun, side: str, shard: pa.Table, found: list[np.ndarray]) -> pa.Table:
    """Return rows of the table of tokens, digest included."""
    from tasks.late._token_heads import TokenHeads

    heads = TokenHeads.from_state(_staged_heads(run.staging, run.heads))
    place = heads.media if side == "media" else heads.text
    items = [place(item) for item in found]
    width = heads.media_map.shape[1]
    whole = np.stack([item.mean(axis=0, dtype=np.float64) for item in items])
    whole /= np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-12)

    def listed(values: np.ndarray) -> pa.FixedSizeListArray:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).reshape(-1)), width)

    ends = np.cumsum([0, *(len(item) for item in items)]).astype(np.int32)
    table = pa.table(
        {
            "item_id": shard["item_id"],
            "side": [side] * len(shard),
            "modality": shard["modality"],
            "encoder_digest": [run.heads] * len(shard),
            "vector": listed(whole),
            "tokens": pa.ListArray.from_arrays(pa.array(ends), listed(np.concatenate(items))),
            "run_id": [run.run_id] * len(shard),
        }
    )
    return rows.with_digest(table, tokens(run.table, width))


def stage_heads(staging: Staging, name: str, state: dict[str, np.ndarray]) -> None:
    """Lay heads where workers find them: a shard's message stays small."""
    columns = [
        list(state),
        [list(one.shape) for one in state.values()],
        [one.tobytes() for one in state.values()],
    ]
    staging.write(pa.table(columns, schema=HEADS), "heads", f"{name}.arrow")


def _staged_heads(staging: Staging, name: str) -> dict[str, np.ndarray]:
    return {
        row["name"]: np.frombuffer(row["values"], np.float32).reshape(row["shape"])
        for row in staging.read(staging.path("heads", f"{name}.arrow")).to_pylist()
    }
