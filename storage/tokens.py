"""Tables of token vectors and of binary codes: how they are written, and searched with nothing left to chance.

Token vectors are compared part by part, which costs a product for every part of every item. So a first pass finds by one
vector for the whole, without an index and without missing any; those found are then compared in full. Codes are short
enough to compare with every one of them.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
from numpy.typing import NDArray

from schemas.errors import DataError, NoSuchTable
from schemas.ranking import Candidates
from schemas.tables import CODES_PREFIX, TOKENS_PREFIX, TableSpec, codes, tokens
from storage import exact, rows
from storage.lake import Lake, UpsertCount, Writer
from storage.matrix import STATES, Recent, matrix_of
from storage.passing import condition, moment, passing
from storage.versions import Snapshot

Floats = NDArray[np.float32]
Score = Callable[
    [Floats, Floats, NDArray[np.bool_]], NDArray[np.float32]
]  # (n, d), (K, m, d), (K, m) -> (K,)
BATCH_ROWS = 1024  # items whose tokens are compared at once
OPEN_BYTES = 256 << 20  # of codes held in this process


def write_tokens(
    writer: Writer,
    table: str,
    ids: Sequence[str],
    items: Sequence[Floats],
    *,
    side: str,
    modality: str,
    digest: str,
    run_id: str,
    vectors: Floats | None = None,
) -> UpsertCount:
    """Add or replace items' token vectors; rows whose `digest` is the same are left alone.

    Args:
        writer: Of the lake.
        table: "tokens_<name>", made if it is not there.
        ids: (N,) media_id or text_id, each once.
        items: N times (m, d), unit length, m at least 1.
        side: media or text.
        modality: Of all of them.
        digest: Of what made the tokens.
        run_id: The run that writes.
        vectors: (N, d) one vector for the whole of each, unit length; the mean of its tokens by default.

    Raises:
        ValueError: The name of the table or the side is none, or counts differ.
        DataError: Items are of different widths, one has no token, or an entry is not finite.
    """
    if not table.startswith(TOKENS_PREFIX) or side not in STATES or len(ids) != len(items):
        raise ValueError(
            f"a table {TOKENS_PREFIX}<name>, a side media or text and a list of tokens for each of {len(ids)} ids are "
            f"needed; found {table!r}, {side!r} and {len(items)} lists"
        )
    width = items[0].shape[1] if len(items) else _width(writer, table)
    for item_id, item in zip(ids, items, strict=True):
        if item.ndim != 2 or not len(item) or item.shape[1] != width or not np.isfinite(item).all():
            raise DataError(
                f"tokens of {item_id} have shape {item.shape}; each item needs (m, {width}), m at least 1, finite"
            )
    whole = np.stack([pooled(item) for item in items]) if vectors is None and len(items) else vectors
    whole = np.empty((0, width), np.float32) if whole is None else whole
    if whole.shape != (len(ids), width) or not np.isfinite(whole).all():
        raise DataError(f"vectors of the whole are ({len(ids)}, {width}), finite; found {whole.shape}")
    every = np.concatenate([*items, np.empty((0, width), np.float32)]).astype(np.float32)
    ends = np.cumsum([0, *(len(item) for item in items)]).astype(np.int32)
    parts = pa.FixedSizeListArray.from_arrays(pa.array(every.reshape(-1)), width)
    columns = {
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(whole.astype(np.float32).reshape(-1)), width),
        "tokens": pa.ListArray.from_arrays(pa.array(ends), parts),
        "encoder_digest": pa.repeat(digest, len(ids)),
    }
    return _upsert(writer, tokens(table, width), ids, side, modality, run_id, columns)


def write_codes(
    writer: Writer,
    table: str,
    ids: Sequence[str],
    packed: NDArray[np.uint8],
    *,
    side: str,
    modality: str,
    digest: str,
    run_id: str,
) -> UpsertCount:
    """Add or replace items' binary codes; rows whose `digest` is the same are left alone.

    Args:
        writer: Of the lake.
        table: "codes_<name>", made if it is not there.
        ids: (N,) media_id or text_id, each once.
        packed: (N, bits / 8) uint8.
        side: media or text.
        modality: Of all of them.
        digest: Of the coder and of the encoders behind it.
        run_id: The run that writes.

    Raises:
        ValueError: The name of the table or the side is none, or the codes are not packed, one for each id.
    """
    if not table.startswith(CODES_PREFIX) or side not in STATES:
        raise ValueError(
            f"a table {CODES_PREFIX}<name> and a side media or text; found {table!r} and {side!r}"
        )
    if packed.dtype != np.uint8 or packed.ndim != 2 or len(packed) != len(ids) or not packed.shape[1]:
        raise ValueError(f"codes are ({len(ids)}, bits / 8) uint8; found {packed.shape} {packed.dtype}")
    width = packed.shape[1]
    columns = {
        "code": pa.FixedSizeListArray.from_arrays(pa.array(packed.reshape(-1)), width),
        "coder_digest": pa.repeat(digest, len(ids)),
    }
    return _upsert(writer, codes(table, 8 * width), ids, side, modality, run_id, columns)


def pooled(item: Floats) -> Floats:
    """Return the unit vector of the mean of tokens, (m, d) to (d,); of zeros where the mean is zero."""
    mean = item.mean(axis=0, dtype=np.float64)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)


def max_sim(query: Floats, items: Floats, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the sum over the query's tokens of the largest product with a token of each item. Shape (K,).

    Args:
        query: (n, d).
        items: (K, m, d), padded.
        mask: (K, m) true where there is a token; every item has one.
    """
    products = np.where(mask[:, :, None], items, 0).astype(np.float64) @ query.T.astype(np.float64)
    return np.asarray(np.where(mask[:, :, None], products, -np.inf).max(axis=1).sum(axis=1), np.float32)


def late(
    lake: Lake,
    snapshot: Snapshot,
    table: str,
    query: Floats,
    k: int,
    *,
    side: str = "media",
    where: str | None = None,
    modality: Sequence[str] = (),
    among: Collection[str] | None = None,
    offset: int = 0,
    prefetch: int | None = 200,
    vector: Floats | None = None,
    score: Score = max_sim,
    cache: Path | None = None,
) -> Candidates:
    """Return the k kept items that fit a query best token by token; of equal scores the smaller id comes first.

    Args:
        lake: The lake.
        snapshot: What to search.
        table: "tokens_<name>".
        query: (n, d) tokens, unit length.
        k: How many at most.
        side: media or text.
        where: Condition on columns of the table of media or texts; see `storage.conditions.checked`.
        modality: Only media of these modalities; all by default.
        among: Only items of these ids; all by default.
        offset: How many of the best to pass over.
        prefetch: Items that one vector for the whole finds first, at least offset + k; only these are compared token by
            token. None: all are.
        vector: (d,) that finds them; the mean of the query's tokens by default.
        score: Compares a query with items; the sum of largest products by default.
        cache: Folder for matrices; see `storage.matrix.vectors_of`.

    Raises:
        ValueError: A number is out of range, or the query has no token, another width, or is not finite.
        DataError: The condition cannot be used.
        NoSuchTable: The snapshot has no such table.
    """
    _require(side, k, offset)
    matrix = matrix_of(lake, snapshot, table, side, cache=cache)
    width = matrix.vectors.values.shape[1]
    whole = pooled(query) if vector is None and query.ndim == 2 and len(query) else vector
    if (
        query.ndim != 2
        or not len(query)
        or query.shape[1] != width
        or whole is None
        or whole.shape != (width,)
    ):
        raise ValueError(f"a query of {table} is (n, {width}), at least one token; found {query.shape}")
    if not np.isfinite(query).all() or not np.isfinite(whole).all():
        raise ValueError("the query has entries that are not finite")
    scope = matrix.scope(where, modality, among)
    wanted = offset + k
    if prefetch is not None and max(prefetch, wanted) < len(scope):
        (first,) = exact.best(scope, whole[None].astype(np.float32), max(prefetch, wanted))
        chosen = first[0]
    else:
        chosen = np.arange(len(matrix)) if scope.rows is None else scope.rows
    ids: list[str] = []
    scores, compared = [np.empty(0, np.float32)], 0
    for names, items, mask in _tokens_of(
        matrix.dataset, side, matrix.vectors.addresses[np.sort(chosen)], width
    ):
        ids += names
        scores.append(np.asarray(score(query, items, mask), np.float32))
        compared += int(mask.sum())
    best = _best(ids, np.concatenate(scores), wanted)[offset:]
    facts: dict[str, object] = {
        "search": "exact" if len(chosen) == len(scope) else "prefetch",
        "passing": len(scope),
        "compared": len(ids),
        "tokens": compared,
    }
    notes = (f"{len(chosen) - len(ids)} items have no tokens",) if len(ids) < len(chosen) else ()
    found = np.concatenate(scores)[best]
    return Candidates(
        tuple(ids[row] for row in best), found, exact=len(chosen) == len(scope), notes=notes, facts=facts
    )


def hamming(
    lake: Lake,
    snapshot: Snapshot,
    table: str,
    queries: NDArray[np.uint8],
    k: int,
    *,
    side: str = "media",
    where: str | None = None,
    modality: Sequence[str] = (),
    among: Collection[str] | None = None,
    offset: int = 0,
) -> list[Candidates]:
    """Return for each query the k kept items whose codes differ in the fewest bits; of equal ones the smaller id first.

    Every code is compared. Scores are 1 - 2 x distance / bits: the cosine of the codes read as -1 and +1.

    Args:
        lake: The lake.
        snapshot: What to search.
        table: "codes_<name>".
        queries: (Q, bits / 8) packed codes, uint8.
        k: How many at most.
        side: media or text.
        where: Condition on columns of the table of media or texts; see `storage.conditions.checked`.
        modality: Only media of these modalities; all by default.
        among: Only items of these ids; all by default.
        offset: How many of the best to pass over.

    Raises:
        ValueError: A number is out of range, or queries are not packed codes of the table's length.
        DataError: The condition cannot be used.
        NoSuchTable: The snapshot has no such table.
    """
    _require(side, k, offset)
    of_rows = condition(side, where, modality)
    if table not in snapshot.versions or not table.startswith(CODES_PREFIX):
        raise NoSuchTable(
            f"no codes {table!r} at {snapshot.snapshot_id}; it has {', '.join(snapshot.versions)}"
        )
    held = _OPEN.get((moment(lake, snapshot), table, side), lambda: _read_codes(lake, snapshot, table, side))
    width = held.values.shape[1]
    if queries.dtype != np.uint8 or queries.ndim != 2 or queries.shape[1] != width:
        raise ValueError(f"codes of {table} are (Q, {width}) uint8; found {queries.shape} {queries.dtype}")
    key = STATES[side].key

    def evaluated() -> NDArray[np.int64]:
        may = passing(lake, snapshot, side, of_rows, [key])[key]
        return np.flatnonzero(pc.is_in(held.ids, value_set=may).to_numpy(zero_copy_only=False))

    at = held.scopes.get(of_rows, evaluated)
    if among is not None:
        listed = pc.is_in(held.ids, value_set=pa.array(sorted(set(among)), held.ids.type))
        at = at[listed.to_numpy(zero_copy_only=False)[at]]
    compared = _wide(held.values if len(at) == len(held.values) else held.values[at])
    found = []
    for query in _wide(np.ascontiguousarray(queries)):
        distance = np.bitwise_count(compared ^ query).sum(axis=1, dtype=np.int32)
        wanted = min(offset + k, len(at))
        near = (
            np.flatnonzero(distance <= np.partition(distance, wanted - 1)[wanted - 1])
            if wanted
            else np.arange(0)
        )
        best = near[np.argsort(distance[near], kind="stable")][offset:wanted]  # rows are in order of ids
        scores = (1 - distance[best] / (4 * width)).astype(np.float32)
        ids = tuple(held.ids.take(pa.array(at[best])).to_pylist())
        found.append(
            Candidates(ids, scores, facts={"search": "exact", "passing": len(at), "compared": len(at)})
        )
    return found


@dataclass(frozen=True, eq=False)
class _Codes:
    """Codes of one side of a table, in order of ids: (N,) ids and (N, bits / 8) values."""

    ids: pa.Array
    values: NDArray[np.uint8]
    scopes: Recent[NDArray[np.int64]] = field(
        default_factory=lambda: Recent(OPEN_BYTES // 8, lambda m: m.nbytes)
    )


_OPEN: Recent[_Codes] = Recent(OPEN_BYTES, lambda held: 1024 + held.values.nbytes + held.ids.nbytes)


def _read_codes(lake: Lake, snapshot: Snapshot, table: str, side: str) -> _Codes:
    dataset = lake.dataset(table, snapshot)
    width = dataset.schema.field("code").type.list_size
    read = dataset.to_table(columns=["item_id", "code"], filter=f"side = '{side}' AND code IS NOT NULL")
    read = read.take(pc.sort_indices(read["item_id"])).combine_chunks()
    values = np.concatenate(
        [np.empty(0, np.uint8), *(chunk.flatten().to_numpy() for chunk in read["code"].chunks)]
    )
    ids = pa.concat_arrays([pa.array([], pa.string()), *read["item_id"].chunks])
    return _Codes(ids, np.ascontiguousarray(values.reshape(-1, width)))


def _wide(packed: NDArray[np.uint8]) -> NDArray[np.unsignedinteger[Any]]:
    """Return the same bits in as few numbers as they fill."""
    for kind in (np.uint64, np.uint32, np.uint16):
        if packed.shape[1] % kind().itemsize == 0:
            return packed.view(kind)
    return packed


def _tokens_of(
    dataset: lance.LanceDataset, side: str, addresses: NDArray[np.uint64], width: int
) -> Iterator[tuple[list[str], Floats, NDArray[np.bool_]]]:
    """Yield ids, padded tokens and their mask of the rows at these addresses that have tokens."""
    few = len(addresses) <= BATCH_ROWS
    listed = f" AND _rowaddr IN ({', '.join(map(str, addresses))})" if few else ""
    if not len(addresses):
        return
    scanner = dataset.scanner(
        columns=["item_id", "tokens"], filter=f"side = '{side}' AND tokens IS NOT NULL{listed}",
        with_row_address=True, batch_size=BATCH_ROWS, batch_readahead=2,
    )  # fmt: skip
    for batch in scanner.to_batches():
        lengths = pc.list_value_length(batch["tokens"]).to_numpy()
        there = np.isin(batch["_rowaddr"].to_numpy(), addresses) & (lengths > 0)
        batch = batch.filter(pa.array(there))
        if not len(batch):
            continue
        lengths = lengths[there]
        mask = np.arange(lengths.max()) < lengths[:, None]
        items = np.zeros((*mask.shape, width), np.float32)
        items[mask] = batch["tokens"].flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        yield batch["item_id"].to_pylist(), items, mask


def _best(ids: Sequence[str], scores: NDArray[np.float32], wanted: int) -> NDArray[np.int64]:
    """Return the rows of the best scores, the smaller id first among equal ones."""
    near = np.arange(len(scores))
    if len(scores) > wanted:
        near = np.flatnonzero(scores >= np.partition(scores, len(scores) - wanted)[len(scores) - wanted])
    names = np.array([ids[row] for row in near.tolist()], dtype=np.str_)
    return near[np.lexsort((names, -scores[near]))][:wanted]


def _upsert(
    writer: Writer,
    spec: TableSpec,
    ids: Sequence[str],
    side: str,
    modality: str,
    run_id: str,
    columns: dict[str, pa.Array],
) -> UpsertCount:
    said = {"side": side, "modality": modality, "run_id": run_id}
    table = pa.table(
        {"item_id": pa.array(list(ids), pa.string())}
        | {name: pa.repeat(value, len(ids)) for name, value in said.items()}
        | columns
    )
    return writer.upsert(spec, pds.dataset(rows.with_digest(table, spec)))


def _width(writer: Writer, table: str) -> int:
    found = writer.lake.latest(table)
    if found is None:
        raise DataError(f"{table} is not there yet, and without rows its width is not known")
    return int(found.schema.field("vector").type.list_size)


def _require(side: str, k: int, offset: int) -> None:
    if side not in STATES or k < 1 or offset < 0:
        raise ValueError(
            f"side is media or text, k at least 1 and offset at least 0; found {side!r}, {k} and {offset}"
        )
