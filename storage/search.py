"""Search vectors of a snapshot: which kept media or texts lie nearest, by full comparison or by index."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import DataError, NoSuchTable
from schemas.ranking import Candidates, Search
from schemas.tables import EMBEDDINGS_PREFIX
from storage import bridges, exact, indexes, keyed
from storage.exact import Ranked
from storage.indexes import Index, Measured, Setting
from storage.lake import Lake
from storage.lookup import rows_by_id
from storage.matrix import STATES, Matrix, Scope, matrix_of
from storage.versions import Snapshot

_SELECTIVE = (
    0.75  # of the share that indexes are measured with; where fewer pass, comparing them is cheap and certain
)
_PLAIN = 0.9  # share of a side that passes from which the index is asked as without a filter
_KNOWN: WeakKeyDictionary[Matrix, tuple[Index | None, Measured | None]] = WeakKeyDictionary()
_LOCK = Lock()


@dataclass(frozen=True)
class EncoderTable:
    """An encoder's table at a snapshot, and what its metadata says of the encoder.

    Args:
        table: Name of the table.
        ref: The encoder as the recipe named it: {"name": ..., "params": ...}.
        identity: Name, parameters, digest of the weights, width.
        rows: Vectors in it.
    """

    table: str
    ref: dict[str, object]
    identity: dict[str, object]
    rows: int


@dataclass(frozen=True)
class Neighbour:
    """One result: an id, and its cosine similarity to the query in [-1, 1]."""

    item_id: str
    similarity: float


def encoder_tables(lake: Lake, snapshot: Snapshot) -> list[EncoderTable]:
    """Return the encoders' tables of a snapshot, largest first."""
    found = []
    for table in snapshot.versions:
        if table.startswith(EMBEDDINGS_PREFIX):
            said = keyed.opened(lake, snapshot, table).dataset.schema.metadata or {}
            ref = json.loads(said.get(b"xmodal.encoder_ref", b"{}"))
            identity = json.loads(said.get(b"xmodal.encoder", b"{}"))
            found.append(EncoderTable(table, ref, identity, snapshot.row_counts[table]))
    return sorted(found, key=lambda entry: -entry.rows)


def encoder_table(
    lake: Lake, snapshot: Snapshot, name: str | None = None, *, bridged: bool = False
) -> EncoderTable:
    """Return an encoder's table by its own or its encoder's name; by default the one gone over to last, else the largest.

    Args:
        lake: The lake.
        snapshot: What is read.
        name: Of the table or its encoder.
        bridged: Whether a table that is still being filled will do by default, as the rest is found over a bridge.

    Raises:
        NoSuchTable: The snapshot has no such table.
    """
    found = encoder_tables(lake, snapshot)
    if name is None and len(found) > 1:
        name = bridges.successor(lake, snapshot, bridged=bridged)
    for entry in found:
        if name in (None, entry.table, entry.ref.get("name")):
            return entry
    has = (
        ", ".join(entry.table for entry in found)
        or "none: name an encoder in the recipe and run `xmodal curate`"
    )
    raise NoSuchTable(f"no vectors of {name or 'any encoder'} at {snapshot.snapshot_id}; it has {has}")


def dense(
    lake: Lake,
    snapshot: Snapshot,
    table: str,
    queries: NDArray[np.float32],
    k: int,
    *,
    side: str = "media",
    where: str | None = None,
    modality: Sequence[str] = (),
    among: Collection[str] | None = None,
    search: Search = "auto",
    offset: int = 0,
    cache: Path | None = None,
) -> list[Candidates]:
    """Return the k nearest kept items for each query, nearest first; of equal scores the smaller id comes first.

    Scores are inner products, which are cosines of unit vectors. An index never costs a result: where it gives fewer
    than there are, and for rows added since it was built, vectors are compared one by one.

    Args:
        lake: The lake.
        snapshot: What to search.
        table: The encoder's table.
        queries: (Q, D) unit vectors, float32.
        k: How many at most.
        side: media or text.
        where: Condition on columns of the table of media or texts; see `storage.conditions.checked`.
        modality: Only media of these modalities; all by default.
        among: Only items of these ids; all by default.
        search: Compare with every vector, ask the index, or choose what was measured to be faster.
        offset: How many of the best to pass over.
        cache: Folder for matrices; see `storage.matrix.vectors_of`.

    Raises:
        ValueError: `side` is neither, `k` is under 1, `offset` is negative, or queries have another width than the
            table or are not finite.
        DataError: The condition cannot be used, or the index is asked where the table has none.
    """
    if side not in STATES or k < 1 or offset < 0:
        raise ValueError(
            f"side is media or text, k at least 1 and offset at least 0; found {side!r}, {k} and {offset}"
        )
    matrix = matrix_of(lake, snapshot, table, side, cache=cache)
    queries = _checked(queries, table, matrix.vectors.values.shape[1])
    scope = matrix.scope(where, modality, among)
    wanted = min(offset + k, len(scope))
    plan = _planned(*_known(lake, matrix), matrix, scope, max(wanted, 1), len(queries), search)
    if not wanted:
        nothing = (np.empty(0, np.int64), np.empty(0, np.float32))
        return [_candidates(matrix, scope, nothing, 0, _Plan("nothing passes")) for _ in queries]
    if not len(queries):
        return []
    if plan.setting is None:
        found = exact.best(scope, queries, wanted)
        return [_candidates(matrix, scope, ranked, offset, plan) for ranked in found]
    return [_by_index(matrix, scope, query, wanted, offset, plan) for query in queries]


def nearest(
    lake: Lake, snapshot: Snapshot, table: str, vector: np.ndarray, k: int, *, side: str = "media"
) -> list[Neighbour]:
    """Return the k nearest kept items of a side, nearest first; see `dense`.

    Args:
        lake: The lake.
        snapshot: What to search.
        table: The encoder's table.
        vector: (D,) unit vector, float32.
        k: How many at most.
        side: media or text.

    Raises:
        ValueError: As `dense`.
    """
    (found,) = dense(lake, snapshot, table, vector[None], k, side=side)
    return [
        Neighbour(item_id, float(score)) for item_id, score in zip(found.item_ids, found.scores, strict=True)
    ]


def by_ids(
    lake: Lake, snapshot: Snapshot, table: str, key: str, ids: list[str], columns: list[str]
) -> pa.Table:
    """Return rows of a content table by key, in no particular order."""
    if not ids:
        return keyed.opened(lake, snapshot, table).dataset.schema.empty_table().select(columns)
    listed = ", ".join(f"'{_hexadecimal(item)}'" for item in ids)
    found = keyed.fetched(lake, snapshot, table, key, ids, columns)
    if found is not None:
        return found
    return keyed.opened(lake, snapshot, table).dataset.to_table(
        columns=columns, filter=f"{key} IN ({listed})"
    )


_OF_PAIRS = ("media_id", "text_id", "kept", "present")


def pairs_by(lake: Lake, snapshot: Snapshot, key: Literal["media_id", "text_id"], ids: list[str]) -> pa.Table:
    """Return media_id, text_id, kept and present of the pairs of some texts or media, in no particular order."""
    dataset = lake.dataset("pairs", snapshot)
    found = rows_by_id(dataset, key, ids, _OF_PAIRS) if ids else None
    return found if found is not None else by_ids(lake, snapshot, "pairs", key, ids, list(_OF_PAIRS))


@dataclass(frozen=True)
class _Plan:
    """How a query is answered, and why.

    Args:
        why: For a person.
        index: The table's index; None: not asked.
        setting: How it is asked; None: everything is compared.
        notes: What whoever asked should be told.
    """

    why: str
    index: Index | None = None
    setting: Setting | None = None
    notes: tuple[str, ...] = ()


def _planned(
    index: Index | None,
    known: Measured | None,
    matrix: Matrix,
    scope: Scope,
    wanted: int,
    queries: int,
    search: Search,
) -> _Plan:
    """Choose between full comparison and the index.

    The index is chosen where it was measured to reach the floor at this depth with as many rows passing, and to take
    less time. Times are those of the measurement, scaled by how many rows would be compared now; of several queries
    all but the first are taken at the time of one among many. Where far fewer rows pass than were measured with, and
    beyond its depth, everything is compared.
    """
    if search == "exact":
        return _Plan("asked for")
    if search not in ("auto", "index"):
        raise ValueError(f"search is auto, exact or index; found {search!r}")
    forced = search == "index"
    if index is None:
        if forced:
            raise DataError(
                f"{matrix.table} has no index at this snapshot; ask for search=auto, or run `xmodal maintain` first"
            )
        return _Plan("the table has no index")
    if known is None:
        note = f"the index of {matrix.table} was never measured and is not used: run `xmodal maintain`"
        return _Plan("the index was never measured", notes=(note,))
    share = len(scope) / max(len(matrix), 1)
    filtered = share < _PLAIN
    setting = known.setting(matrix.side, wanted, filtered=filtered)
    if forced:
        of_side = [s for s in known.settings if s.side == matrix.side and s.filtered == filtered]
        setting = setting or max(of_side, key=lambda s: s.depth, default=None)
        if setting is None:
            return _Plan(f"the index was not measured for {matrix.side}: there are too few of them")
        return _Plan("asked for", index, setting, _notes(known, setting, wanted))
    if setting is None:
        return _Plan(f"the index was not measured for {wanted} {matrix.side}")
    if setting.recall < known.floor:
        return _Plan("the index's recall is under the floor", notes=_notes(known, setting, wanted))
    if filtered and share < _SELECTIVE * indexes.SHARE:
        return _Plan(f"only {share:.1%} of the rows pass, far fewer than the index was measured with")
    tail = len(scope.outside(index.fragments))
    by_comparison, by_index = _expected_ms(known, setting, matrix, scope, queries, tail)
    why = f"expected {by_comparison:.3g} ms by comparison and {by_index:.3g} ms by index"
    return _Plan(why, index, setting) if by_index < by_comparison else _Plan(why)


def _expected_ms(
    known: Measured, setting: Setting, matrix: Matrix, scope: Scope, queries: int, tail: int
) -> tuple[float, float]:
    """Return how long the queries would take by comparison and by index, from what was measured."""
    plain = known.setting(matrix.side, setting.depth, filtered=False) or setting
    one, more = plain.p50_exact_ms, plain.batch_exact_ms
    grown = len(matrix) / max(setting.rows, 1)
    compared = tail / max(setting.rows, 1) * plain.p50_exact_ms
    if setting.filtered:
        share = len(scope) / max(len(matrix), 1) / indexes.SHARE
        one, more = min(one, share * setting.p50_exact_ms), min(more, share * setting.batch_exact_ms)
    return grown * (one + (queries - 1) * more), queries * (setting.p50_index_ms + compared)


def _by_index(
    matrix: Matrix, scope: Scope, query: NDArray[np.float32], wanted: int, offset: int, plan: _Plan
) -> Candidates:
    """Return what the index finds and the best of the rows it does not cover; all compared where those are too few."""
    index, setting = plan.index, plan.setting
    assert index is not None and setting is not None
    tail = scope.outside(index.fragments)
    covered = len(scope) - len(tail)
    rows = np.empty(0, np.int64)
    if covered and query.any():
        asked = min(covered, wanted * setting.refine)
        rows = np.unique(indexes.probe(matrix.dataset, scope, query, asked, setting.nprobes))
    if len(rows) < min(wanted, covered):
        (ranked,) = exact.best(scope, query[None], wanted)
        why = f"the index gave {len(rows)} rows where {min(wanted, covered)} were wanted"
        return _candidates(matrix, scope, ranked, offset, replace(plan, why=why, setting=None))
    if len(tail):
        rows = np.concatenate([rows, *exact.candidates(matrix.vectors, tail, query[None], wanted)])
    return _candidates(
        matrix, scope, exact.ranked(matrix.vectors, rows, query, wanted), offset, plan, len(tail), len(rows)
    )


def _candidates(
    matrix: Matrix, scope: Scope, ranked: Ranked, offset: int, plan: _Plan, tail: int = 0, compared: int = -1
) -> Candidates:
    rows, scores = ranked[0][offset:], ranked[1][offset:]
    facts: dict[str, object] = {
        "search": "exact" if plan.setting is None else "index",
        "why": plan.why,
        "passing": len(scope),
        "compared": len(scope) if compared < 0 else compared,
    }
    notes = plan.notes
    if plan.setting is not None and plan.index is not None:
        facts |= {
            "index": plan.index.kind,
            "nprobes": plan.setting.nprobes,
            "refine": plan.setting.refine,
            "recall": plan.setting.recall,
            "not_in_index": tail,
        }
        if tail:
            notes += (f"{tail} rows are not in the index yet and were compared one by one",)
    ids = tuple(matrix.ids.take(rows).to_pylist())
    return Candidates(ids, scores, exact=plan.setting is None, notes=notes, facts=facts)


def _notes(known: Measured, setting: Setting, wanted: int) -> tuple[str, ...]:
    notes = []
    if setting.recall < known.floor:
        notes.append(known.alert)
    if wanted > setting.depth:
        notes.append(f"the index was measured down to {setting.depth} results, and {wanted} were wanted")
    return tuple(notes)


def _known(lake: Lake, matrix: Matrix) -> tuple[Index | None, Measured | None]:
    """Return the index of an open table and its measurement, looked up once."""
    with _LOCK:
        if matrix in _KNOWN:
            return _KNOWN[matrix]
    index = indexes.index_of(matrix.dataset)
    found = (index, indexes.measured(lake, index) if index is not None else None)
    with _LOCK:
        _KNOWN[matrix] = found
    return found


def _checked(queries: NDArray[np.float32], table: str, width: int) -> NDArray[np.float32]:
    queries = np.asarray(queries)
    if queries.ndim != 2 or queries.shape[1] != width:
        raise ValueError(f"a query has shape {queries.shape[1:]} but vectors of {table} are {width} wide")
    bad = np.flatnonzero(~np.isfinite(queries).all(axis=1))
    if len(bad):
        raise ValueError(f"query {bad[0]} is not finite: {queries[bad[0]][:4].tolist()} ...")
    return np.ascontiguousarray(queries, np.float32)


def _hexadecimal(item: str) -> str:
    if not item.isalnum():
        raise ValueError(f"{item!r} is no id: ids are hexadecimal digits")
    return item
