"""Bridges from a new encoder to an old one's vectors: kept like trained heads, and what is found while both are in use.

A bridge serves as long as the snapshot that is searched has kept media with a vector of the old encoder and none of the
new. So an older snapshot goes on being searched over the bridge after the lake's newest no longer needs it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from schemas.errors import LakeError
from schemas.ranking import Candidates, Side
from schemas.tables import MEDIA, TEXTS
from storage import checkpoints
from storage.lake import Lake
from storage.versions import Snapshot

KIND = "bridge"  # what tells its checkpoint from that of a head
SIDES: tuple[Side, ...] = ("media", "text")
_STATES = {"media": (MEDIA, "media_id"), "text": (TEXTS, "text_id")}
_FACTS = ("old", "new", "measured")
_DEPTH = "text_to_media_r10"  # what a bridge must find as much of as the old encoder did
_BACKGROUND = "background"
_CROSSING = "crossing"

Vector = NDArray[np.float32]
# The best kept items of a side by a table's vectors: (table, query (D,), how many) -> at most so many.
Nearest = Callable[[str, Vector, int], Candidates]


@dataclass(frozen=True)
class Bank:
    """An encoder as the lake knows it.

    Args:
        table: Its table.
        digest: Digest of its identity; rows of another are not its own.
        ref: The encoder as a recipe names it.
    """

    table: str
    digest: str
    ref: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Bridge:
    """A stored bridge.

    Args:
        id: Of its checkpoint.
        old: Whose vectors are there.
        new: Whose queries come.
        crossings: {side of the gallery: arrays of what leads a query to it}.
        background: {side: (old (S, D), new (S, D')) vectors of the same items of it}: say how similar a query is to
            anything at all, which is what makes cosines of two spaces comparable.
        meta: Facts of the checkpoint: recipe, snapshot, `measured` ...
        further: Arrays that it was measured on.
    """

    id: str
    old: Bank
    new: Bank
    crossings: Mapping[Side, Mapping[str, Vector]]
    background: Mapping[Side, tuple[Vector, Vector]]
    meta: Mapping[str, Any]
    further: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def save(
    lake: Lake,
    *,
    crossings: Mapping[Side, Mapping[str, Vector]],
    background: Mapping[Side, tuple[Vector, Vector]],
    meta: Mapping[str, Any],
    further: Mapping[str, NDArray[Any]] | None = None,
) -> str:
    """Keep a bridge and return its id. The same again is written once.

    Args:
        lake: Where to.
        crossings: As in `Bridge`.
        background: As in `Bridge`.
        meta: Facts of a checkpoint, and `old` and `new` ({table, digest, ref}) and `measured`.
        further: Arrays to keep beside it.

    Raises:
        ValueError: A fact is missing or not JSON, or a side has no crossing or background.
    """
    if missing := [fact for fact in _FACTS if fact not in meta]:
        raise ValueError(f"the bridge's meta lacks {', '.join(missing)}; it has {', '.join(meta)}")
    if set(crossings) != set(SIDES) or set(background) != set(SIDES):
        raise ValueError(f"a bridge leads to both sides, {' and '.join(SIDES)}; found {sorted(crossings)}")
    state: dict[str, NDArray[Any]] = dict(further or {})
    for side in SIDES:
        state |= {f"{_CROSSING}.{side}.{name}": array for name, array in crossings[side].items()}
        for whose, vectors in zip(("old", "new"), background[side], strict=True):
            state[f"{_BACKGROUND}.{side}.{whose}"] = vectors
    return checkpoints.save(lake, state, {"loss": None, "head": None, **meta, "kind": KIND})


def load(lake: Lake, bridge_id: str) -> Bridge:
    """Return a bridge.

    Raises:
        LakeError: The lake has no such checkpoint, it is corrupt, or it is no bridge.
    """
    stored = checkpoints.load(lake, bridge_id)
    if stored.meta.get("kind") != KIND:
        raise LakeError(f"checkpoint {bridge_id} of {lake.uri} is no bridge; `xmodal encoders list` has them")
    state = dict(stored.state)
    crossings: dict[Side, dict[str, Vector]] = {}
    background: dict[Side, tuple[Vector, Vector]] = {}
    for side in SIDES:
        start = f"{_CROSSING}.{side}."
        crossings[side] = {
            name.removeprefix(start): state.pop(name) for name in sorted(state) if name.startswith(start)
        }
        old, new = (state.pop(f"{_BACKGROUND}.{side}.{whose}") for whose in ("old", "new"))
        background[side] = (old, new)
    ends = _bank(stored.meta["old"]), _bank(stored.meta["new"])
    return Bridge(bridge_id, ends[0], ends[1], crossings, background, stored.meta, state)


def bridges(lake: Lake) -> dict[str, dict[str, Any]]:
    """Return {id: meta} of the lake's bridges, the one trained last first. Reads headers only."""
    found = {one: meta for one, meta in checkpoints.checkpoints(lake).items() if meta.get("kind") == KIND}
    return dict(sorted(found.items(), key=lambda item: (item[1]["run_id"], item[0]), reverse=True))


def serving(lake: Lake, snapshot: Snapshot, table: str, *, side: Side = "media") -> Bridge | None:
    """Return the bridge that queries of an encoder's table need at a snapshot; None where they need none.

    Args:
        lake: The lake.
        snapshot: What is searched.
        table: Table of the encoder that queries are encoded with.
        side: What is searched for.
    """
    for one, meta in bridges(lake).items():
        old, new = _bank(meta["old"]), _bank(meta["new"])
        if new.table == table and missing(lake, snapshot, old, new, side=side):
            return load(lake, one)
    return None


def successor(lake: Lake, snapshot: Snapshot, *, bridged: bool = False) -> str | None:
    """Return the table of the encoder that a snapshot has gone over to; None where it has not.

    Args:
        lake: The lake.
        snapshot: What is read.
        bridged: Whether a bridge will do for media that its encoder has not seen, where on held-out pairs no less was
            found over it than before; else it must have seen every one.
    """
    known = set()
    for meta in bridges(lake).values():
        old, new = _bank(meta["old"]), _bank(meta["new"])
        is_older = (old, new) in known  # of two between the same encoders the one learnt last serves
        known.add((old, new))
        if is_older or old.table not in snapshot.versions or new.table not in snapshot.versions:
            continue
        before, over = (meta["measured"].get(which, {}).get(_DEPTH) for which in ("old", "cross"))
        is_good = bridged and before is not None and over is not None and over >= before
        if is_good or not missing(lake, snapshot, old, new):
            return new.table
    return None


def missing(lake: Lake, snapshot: Snapshot, old: Bank, new: Bank, *, side: Side = "media") -> int:
    """Return how many kept items of a side have a vector of the old encoder and none of the new one's."""
    if old.table not in snapshot.versions or new.table not in snapshot.versions:
        return 0
    when = (lake.uri, snapshot.snapshot_id, snapshot.digest, snapshot.created_at.isoformat())
    return _missing(_Question((*when, old.table, old.digest, new.table, new.digest, side), lake, snapshot))


def scale(
    old: NDArray[np.floating], new: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return slope and shift, (Q,) each, that bring similarities in the old space onto the new encoder's scale.

    Those of a query to a fixed background get the same mean and deviation in both. A background without deviation
    is only shifted.

    Args:
        old: (Q, S) similarities of each bridged query to the old vectors of the background.
        new: (Q, S) similarities of the query itself to their new ones.
    """
    spread = old.std(axis=1, dtype=np.float64), new.std(axis=1, dtype=np.float64)
    flat = (spread[0] < 1e-6) | (spread[1] < 1e-6)
    slope = np.where(flat, 1.0, spread[1] / np.where(flat, 1.0, spread[0]))
    shift = new.mean(axis=1, dtype=np.float64) - slope * old.mean(axis=1, dtype=np.float64)
    return slope, shift


def mixed(
    lake: Lake,
    snapshot: Snapshot,
    bridge: Bridge,
    query: Vector,
    crossed: Vector,
    *,
    k: int,
    side: Side = "media",
    nearest: Nearest | None = None,
) -> Candidates:
    """Return the best items of a lake that is half way from one encoder to another.

    Items that the new encoder has seen are compared with the query itself, the others, by their old vectors, with the
    query led over the bridge. Scores are cosines of the new encoder; of items it has not seen, the old space's,
    brought onto that scale by the background (`scale`). Both orders are kept, so the best of both hold the best.

    Args:
        lake: The lake.
        snapshot: What to search.
        bridge: What `serving` returned.
        query: (D',) unit vector of the new encoder.
        crossed: (D,) the same led over the bridge's crossing for this side.
        k: How many at most.
        side: What comes back.
        nearest: How one table is searched; by default every vector is compared. Conditions on items are its own.

    Raises:
        ValueError: k is under 1, or a query has another width than its table.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, found {k}")
    if nearest is None:
        nearest = _every(lake, snapshot, bridge, side)
    seen = nearest(bridge.new.table, query, k)
    unseen = _unseen(lake, snapshot, bridge, crossed, k, nearest)
    old, new = bridge.background[side]
    slope, shift = scale((crossed @ old.T)[None], (query @ new.T)[None])
    scored = list(zip(seen.item_ids, seen.scores.tolist(), strict=True))
    scored += [
        (item, float(np.float32(slope[0] * score + shift[0])))
        for item, score in zip(unseen.item_ids, unseen.scores.tolist(), strict=True)
    ]
    scored.sort(key=lambda item: (-item[1], item[0]))
    left = missing(lake, snapshot, bridge.old, bridge.new, side=side)
    return Candidates(
        tuple(item for item, _ in scored[:k]),
        np.array([score for _, score in scored[:k]], np.float32),
        exact=seen.exact and unseen.exact,
        notes=(
            *dict.fromkeys((*seen.notes, *unseen.notes)),
            f"{left} {side if side == 'media' else 'texts'} have no vector of {bridge.new.table} yet and are compared by "
            f"{bridge.old.table}, over bridge {bridge.id[:12]}",
        ),
        facts={**unseen.facts, **seen.facts, "bridge": bridge.id, "unseen": left},
    )


def _unseen(
    lake: Lake, snapshot: Snapshot, bridge: Bridge, crossed: Vector, k: int, nearest: Nearest
) -> Candidates:
    """Return the k best by old vectors, those passed over that have new ones."""
    asked = k
    while True:
        found = nearest(bridge.old.table, crossed, asked)
        known = _having(lake, snapshot, bridge.new, found.item_ids)
        rows = [n for n, item in enumerate(found.item_ids) if item not in known]
        if len(rows) >= k or len(found) < asked:
            return Candidates(
                tuple(found.item_ids[n] for n in rows[:k]),
                found.scores[rows[:k]],
                exact=found.exact,
                notes=found.notes,
                facts=found.facts,
            )
        asked *= 4


def _having(lake: Lake, snapshot: Snapshot, bank: Bank, ids: tuple[str, ...]) -> set[str]:
    """Return those of the ids that have a vector of an encoder."""
    if not ids:
        return set()
    rows = lake.dataset(bank.table, snapshot).to_table(
        columns=["item_id"], filter=f"encoder_digest = '{bank.digest}' AND item_id IN ({_listed(ids)})"
    )
    return set(rows["item_id"].to_pylist())


def _every(lake: Lake, snapshot: Snapshot, bridge: Bridge, side: Side) -> Nearest:
    """Return a search that compares with every vector of a side, dropped items passed over."""
    digests = {bank.table: bank.digest for bank in (bridge.old, bridge.new)}
    spec, key = _STATES[side]

    def nearest(table: str, query: Vector, k: int) -> Candidates:
        dataset = lake.dataset(table, snapshot)
        width = dataset.schema.field("vector").type.list_size
        if query.shape != (width,):
            raise ValueError(f"the query has shape {query.shape} but vectors of {table} are {width} wide")
        own = f"side = '{side}' AND encoder_digest = '{digests[table]}'"
        total, asked = dataset.count_rows(filter=own), k
        while total:
            asked = min(asked, total)
            how = {"column": "vector", "q": query, "k": asked, "metric": "cosine", "use_index": False}
            rows = dataset.scanner(
                columns=["item_id", "_distance"], filter=own, prefilter=True, nearest=how
            ).to_table()
            ids, scores = rows["item_id"].to_pylist(), (1 - rows["_distance"].to_numpy()).astype(np.float32)
            states = lake.dataset(spec.name, snapshot).to_table(
                columns=[key], filter=f"present AND kept IS NOT FALSE AND {key} IN ({_listed(ids)})"
            )
            kept = set(states[key].to_pylist())
            order = sorted(
                (n for n, item in enumerate(ids) if item in kept), key=lambda n: (-scores[n], ids[n])
            )[:k]
            if len(order) >= k or asked == total:
                return Candidates(
                    tuple(ids[n] for n in order), scores[order], facts={"search": "exact", "compared": total}
                )
            asked *= 4
        return Candidates((), np.empty(0, np.float32), facts={"search": "exact", "compared": 0})

    return nearest


@dataclass(frozen=True)
class _Question:
    """What `_missing` is asked; the key alone says whether it was asked before."""

    key: tuple[str, ...]
    lake: Lake = field(compare=False)
    snapshot: Snapshot = field(compare=False)


@lru_cache(maxsize=64)
def _missing(question: _Question) -> int:
    """Count; a snapshot never changes, so its counts are remembered."""
    *_, old_table, old_digest, new_table, new_digest, side = question.key
    spec, key = _STATES[side]
    with duckdb.connect() as con:
        for name, table, where, columns in (
            ("state", spec.name, "present AND kept IS NOT FALSE", {"id": key}),
            ("old", old_table, f"side = '{side}' AND encoder_digest = '{old_digest}'", {"id": "item_id"}),
            ("new", new_table, f"side = '{side}' AND encoder_digest = '{new_digest}'", {"id": "item_id"}),
        ):
            rows = question.lake.dataset(table, question.snapshot).to_table(columns=columns, filter=where)
            con.register(name, rows)
        found = con.execute(
            "SELECT count(*) FROM state SEMI JOIN old USING (id) ANTI JOIN new USING (id)"
        ).fetchone()
    return int(found[0]) if found else 0


def _bank(said: Mapping[str, Any]) -> Bank:
    return Bank(said["table"], said["digest"], said.get("ref", {}))


def _listed(ids: tuple[str, ...] | list[str]) -> str:
    if strange := [item for item in ids if not item.isalnum()]:
        raise ValueError(f"{strange[0]!r} is no id: ids are hexadecimal digits")
    return ", ".join(f"'{item}'" for item in ids) or "''"
