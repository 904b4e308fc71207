"""Indexes over vectors: what each finds, how fast, measured against full comparison and kept beside it.

An index is chosen by numbers and used by numbers. `keep_up` builds, extends, trains anew and drops; each time it asks
held-out queries both ways and writes what it saw to the log `indexes`, under the identities of the index's parts. So a
snapshot finds the measurement of the very index its version of the table has.
"""

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lance
import numpy as np
from numpy.typing import NDArray

from schemas.recipes import IndexRecipe
from schemas.tables import EMBEDDINGS_PREFIX, INDEXES
from storage import exact, versions
from storage.exact import Ranked
from storage.lake import Lake, Writer
from storage.matrix import STATES, Scope, Vectors, vectors_of
from storage.versions import Snapshot

NAME = "vector_idx"
DEPTHS = (10, 100)  # results down to which recall is measured; deeper queries compare everything
SHARE = 0.1  # of rows that pass the filter indexes are measured with
TIMED = 30  # queries that are timed, of each kind


@dataclass(frozen=True)
class Setting:
    """How an index is asked, and what that gave.

    Args:
        side: What is looked for: media or text.
        depth: Results wanted.
        filtered: One row in ten could be found; else all.
        nprobes: Partitions looked at.
        refine: Candidates looked at closely, as a multiple of the results wanted.
        recall: Share of the true results that were found; the worst direction's.
        p50_index_ms: Median time of a query.
        p50_exact_ms: Median time of the same query compared with every row that passes.
        batch_exact_ms: Time a query takes among 32 that are compared together.
        rows: Rows of the side when it was measured.
    """

    side: str
    depth: int
    filtered: bool
    nprobes: int
    refine: int
    recall: float
    p50_index_ms: float
    p50_exact_ms: float
    batch_exact_ms: float
    rows: int


@dataclass(frozen=True)
class Measured:
    """One row of `indexes`: an index as it was measured. `schemas.tables.INDEXES` says what the columns mean."""

    table: str
    parts: str
    kind: str
    action: str
    settings: tuple[Setting, ...]
    floor: float
    rows_trained: int
    rows_covered: int
    build_s: float
    size_bytes: int
    alert: str = ""
    active: bool = True
    snapshot_id: str = ""
    run_id: str = ""
    measured_at: datetime = datetime.fromtimestamp(0, UTC)

    @property
    def recall(self) -> float | None:
        """Recall at 10 of the worst direction; None where nothing was measured."""
        return self._worst(filtered=False)

    @property
    def recall_filtered(self) -> float | None:
        """The same with one row in ten passing."""
        return self._worst(filtered=True)

    def setting(self, side: str, depth: int, *, filtered: bool) -> Setting | None:
        """Return the shallowest setting that was measured at least this deep; None beyond them all."""
        fits = [s for s in self.settings if s.side == side and s.filtered == filtered and s.depth >= depth]
        return min(fits, key=lambda setting: setting.depth, default=None)

    def as_row(self) -> dict[str, Any]:
        """Return the row of `indexes` that says this."""
        first = [s for s in self.settings if s.depth == DEPTHS[0] and not s.filtered]
        said = {name: value for name, value in vars(self).items() if name in INDEXES.schema.names}
        return said | {
            "measure_id": uuid.uuid4().hex,
            "settings": json.dumps([asdict(setting) for setting in self.settings]),
            "recall": self.recall,
            "recall_filtered": self.recall_filtered,
            "p50_exact_ms": max((s.p50_exact_ms for s in first), default=None),
            "p50_index_ms": max((s.p50_index_ms for s in first), default=None),
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Measured":
        """Read a row of `indexes`."""
        settings = tuple(Setting(**setting) for setting in json.loads(row["settings"]))
        return cls(**{name: row[name] for name in cls.__annotations__} | {"settings": settings})

    def _worst(self, *, filtered: bool) -> float | None:
        found = [s.recall for s in self.settings if s.depth == DEPTHS[0] and s.filtered == filtered]
        return min(found, default=None)


@dataclass(frozen=True)
class Index:
    """An index that a version of a table has.

    Args:
        kind: IVF_RQ, IVF_FLAT ...
        parts: Identities of its parts, sorted, joined by commas: another index has others.
        fragments: Fragments of the table that it covers; rows of others are compared one by one.
        rows: Rows in it.
        size_bytes: Bytes of its files.
    """

    kind: str
    parts: str
    fragments: frozenset[int]
    rows: int
    size_bytes: int


@dataclass(frozen=True)
class Health:
    """An index of a snapshot, what is known of it, and what it does not cover.

    Args:
        table: The encoder's table.
        index: The index.
        measured: Its last measurement; None where there is none.
        tail: Rows of the table that it does not cover.
        alert: What is wrong; "" if nothing is.
    """

    table: str
    index: Index
    measured: Measured | None
    tail: int
    alert: str


def index_of(dataset: lance.LanceDataset) -> Index | None:
    """Return the index over vectors that a version of a table has; None without one."""
    for found in dataset.describe_indices():
        if found.field_names == ["vector"] and found.index_type.startswith("IVF"):
            covered = [fragment for segment in found.segments for fragment in segment.fragment_ids]
            return Index(
                found.index_type,
                ",".join(sorted(str(segment.uuid) for segment in found.segments)),
                frozenset(covered),
                int(found.num_rows_indexed or 0),
                int(found.total_size_bytes or 0),
            )
    return None


def measured(lake: Lake, index: Index) -> Measured | None:
    """Return the last measurement of an index; None where it was never measured."""
    dataset = lake.latest(INDEXES.name)
    if dataset is None:
        return None
    rows = dataset.to_table().to_pylist()
    rows = [row for row in rows if row["parts"] == index.parts and row["active"]]
    return Measured.from_row(max(rows, key=lambda row: row["measured_at"])) if rows else None


def health(lake: Lake, snapshot: Snapshot) -> list[Health]:
    """Return the indexes of a snapshot as they were measured last. Nothing is measured anew."""
    found = []
    for table in _tables(snapshot):
        dataset = lake.dataset(table, snapshot)
        index = index_of(dataset)
        if index is None:
            continue
        known = measured(lake, index)
        alert = known.alert if known else f"the index of {table} was never measured: run `xmodal maintain`"
        found.append(Health(table, index, known, _tail(dataset, index), alert))
    return found


def measure_again(
    lake: Lake, snapshot: Snapshot, recipe: IndexRecipe, *, cache: Path | None = None, run_id: str = ""
) -> list[Measured]:
    """Ask the indexes of a snapshot held-out queries as they are asked today, log what they find, and return it."""
    found = []
    for table in _tables(snapshot):
        dataset = lake.dataset(table, snapshot)
        index = index_of(dataset)
        known = measured(lake, index) if index is not None else None
        if index is None or known is None:
            continue
        settings = tuple(
            setting
            for side, vectors in _sides(dataset, recipe, cache).items()
            for setting in _Trial(dataset, vectors, side, _Asked(dataset, recipe, cache)).again(known)
        )
        now = replace(known, action="measured", settings=settings, floor=recipe.floor, run_id=run_id)
        now = replace(now, snapshot_id=snapshot.snapshot_id, measured_at=datetime.now(UTC))
        found.append(replace(now, alert=_alert(now)))
    if found:
        lake.append_log(INDEXES, *(entry.as_row() for entry in found))
    return found


def keep_up(
    lake: Lake, writer: Writer, recipe: IndexRecipe | None, *, cache: Path | None = None, run_id: str = ""
) -> list[Measured]:
    """Build, extend, train anew or drop the indexes of the newest snapshot's vectors; the next snapshot names them.

    Args:
        lake: The lake.
        writer: Its writer.
        recipe: When there is an index, and how good it must be; None: none are kept.
        cache: Folder for matrices; see `storage.matrix.vectors_of`.
        run_id: Names the run in the log.

    Returns:
        What was changed, each with its alert, where a recall stays under the floor.
    """
    done = []
    for table in _tables(writer.head) if writer.head else []:
        writer.rebase(table)
        dataset = lake.latest(table)
        assert dataset is not None
        entry = _kept_up(lake, dataset, table, recipe, cache)
        if entry is None:
            continue
        head = writer.head
        entry = replace(
            entry,
            snapshot_id=versions.next_id(head),
            run_id=run_id,
            measured_at=datetime.now(UTC),
            alert=_alert(entry),
        )
        lake.append_log(INDEXES, entry.as_row())  # first: an index that no row speaks of is not used
        if entry.action != "measured":
            writer.adopt(table)
        done.append(entry)
    return done


def build(
    dataset: lance.LanceDataset, table: str, recipe: IndexRecipe, *, cache: Path | None = None
) -> Measured:
    """Train the recipe's kinds of index in turn until one reaches the floor, and keep the best.

    Args:
        dataset: The newest version of the table; it is moved on to the one with the index.
        table: Its name.
        recipe: Kinds, floor, settings to choose from.
        cache: Folder for matrices.
    """
    tried: list[Measured] = []
    for kind in recipe.kinds:
        start = time.perf_counter()
        _train(dataset, kind)
        tried.append(_tuned(dataset, table, "built", recipe, cache, time.perf_counter() - start, None))
        if (tried[-1].recall or 0.0) >= recipe.floor:
            return tried[-1]
    chosen = max(tried, key=lambda entry: entry.recall or 0.0)
    if chosen is not tried[-1]:
        start = time.perf_counter()
        _train(dataset, chosen.kind)
        return _tuned(dataset, table, "built", recipe, cache, time.perf_counter() - start, None)
    return chosen


def probe(
    dataset: lance.LanceDataset, scope: Scope, query: NDArray[np.float32], wanted: int, nprobes: int
) -> NDArray[np.int64]:
    """Return rows of a scope that the index thinks are nearest, best first. Rows it does not cover are not among them.

    Args:
        dataset: A version of a table that has an index.
        scope: Rows that may be found.
        query: (D,) float32, not all zero.
        wanted: How many.
        nprobes: Partitions looked at; more, where those hold too few.
    """
    found = dataset.scanner(
        columns=["_distance"],
        with_row_address=True,
        fast_search=True,
        row_addr_allowlist=scope.allowed,
        nearest={
            "column": "vector", "q": query, "k": wanted, "metric": "cosine", "minimum_nprobes": nprobes,
        },
    ).to_table()  # fmt: skip
    return scope.vectors.rows_at(found["_rowaddr"].to_numpy())


def asked(
    dataset: lance.LanceDataset, scope: Scope, query: NDArray[np.float32], wanted: int, setting: Setting
) -> Ranked:
    """Return the best rows that the index finds, by their true scores. Rows it does not cover are not among them."""
    rows = probe(dataset, scope, query, wanted * setting.refine, setting.nprobes)
    return exact.ranked(scope.vectors, rows, query, wanted)


def _kept_up(
    lake: Lake, dataset: lance.LanceDataset, table: str, recipe: IndexRecipe | None, cache: Path | None
) -> Measured | None:
    index = index_of(dataset)
    most = max(dataset.count_rows(filter=f"side = '{side}'") for side in STATES)
    if index is None:
        if recipe is None or most < recipe.at_least_rows:
            return None
        return build(dataset, table, recipe, cache=cache)
    known = measured(lake, index)
    if recipe is None or most < recipe.at_least_rows / 2:
        dataset.drop_index(NAME)
        floor = recipe.floor if recipe else 0.0
        return Measured(table, "", index.kind, "dropped", (), floor, 0, 0, 0.0, 0, active=False)
    total, tail = dataset.count_rows(), _tail(dataset, index)
    if known is not None and not tail:
        if known.floor == recipe.floor:
            return None
        return _tuned(dataset, table, "measured", recipe, cache, known.build_s, known)
    trained = known.rows_trained if known else index.rows
    if index.kind not in recipe.kinds or total - trained > recipe.retrain_at * trained:
        return build(dataset, table, recipe, cache=cache)
    start = time.perf_counter()
    if tail:
        dataset.optimize.optimize_indices(index_names=[NAME])
        dataset.checkout_latest()
    entry = _tuned(dataset, table, "extended", recipe, cache, time.perf_counter() - start, known)
    drifted = (entry.recall or 0.0) < recipe.floor and (known is None or not known.alert)
    return build(dataset, table, recipe, cache=cache) if drifted else entry


def _train(dataset: lance.LanceDataset, kind: str) -> None:
    dataset.create_index("vector", kind, name=NAME, metric="cosine", replace=True)
    dataset.checkout_latest()


def _tuned(
    dataset: lance.LanceDataset,
    table: str,
    action: str,
    recipe: IndexRecipe,
    cache: Path | None,
    build_s: float,
    known: Measured | None,
) -> Measured:
    index = index_of(dataset)
    assert index is not None
    of_table = _Asked(dataset, recipe, cache)
    settings = tuple(
        setting
        for side, vectors in _sides(dataset, recipe, cache).items()
        for setting in _Trial(dataset, vectors, side, of_table).chosen()
    )
    entry = Measured(
        table,
        index.parts,
        index.kind,
        action,
        settings,
        recipe.floor,
        known.rows_trained if known else dataset.count_rows(),
        index.rows,
        build_s,
        index.size_bytes,
    )
    return replace(entry, alert=_alert(entry))


def _alert(entry: Measured) -> str:
    under = [s for s in entry.settings if s.recall < entry.floor]
    if not entry.active or not under:
        return ""
    worst = min(under, key=lambda setting: setting.recall)
    return (
        f"the index of {entry.table} finds {worst.recall:.3f} of the {worst.depth} nearest {worst.side}"
        f"{', filtered' if worst.filtered else ''}, under the floor of {entry.floor:g}: such queries compare "
        "every vector instead"
    )


def _tables(snapshot: Snapshot) -> list[str]:
    return sorted(table for table in snapshot.versions if table.startswith(EMBEDDINGS_PREFIX))


def _tail(dataset: lance.LanceDataset, index: Index) -> int:
    return sum(
        fragment.count_rows()
        for fragment in dataset.get_fragments()
        if fragment.fragment_id not in index.fragments
    )


def _sides(dataset: lance.LanceDataset, recipe: IndexRecipe, cache: Path | None) -> dict[str, Vectors]:
    """Return the sides large enough to be asked by index."""
    every = {side: vectors_of(dataset, side, cache=cache) for side in STATES}
    return {side: vectors for side, vectors in every.items() if len(vectors) >= recipe.at_least_rows / 2}


@dataclass(frozen=True)
class _Asked:
    """What a table is measured with.

    Args:
        dataset: A version of the table.
        recipe: How many queries, and what settings there are.
        cache: Folder for matrices.
    """

    dataset: lance.LanceDataset
    recipe: IndexRecipe
    cache: Path | None

    def directions(self, side: str) -> list[tuple[NDArray[np.float32], list[str]]]:
        """Return queries for a side, from each side: (Q, D) vectors, and the ids of theirs."""
        found = []
        for origin in STATES:
            vectors = vectors_of(self.dataset, origin, cache=self.cache)
            draw = np.random.default_rng((self.recipe.seed, origin == side))
            picked = np.sort(draw.choice(len(vectors), min(self.recipe.queries, len(vectors)), replace=False))
            queries = vectors.values[picked]
            some = queries.any(axis=1)
            if some.any():
                found.append((queries[some], vectors.ids.take(picked[some]).to_pylist()))
        return found


class _Trial:
    """Held-out queries asked of one side of a table: what is true, what the index finds, how long both take."""

    def __init__(self, dataset: lance.LanceDataset, vectors: Vectors, side: str, of_table: _Asked) -> None:
        self.dataset, self.vectors, self.side, self.recipe = dataset, vectors, side, of_table.recipe
        sizes = {f.fragment_id: f.physical_rows for f in dataset.get_fragments()}
        passing = np.sort(
            np.random.default_rng(self.recipe.seed).choice(
                len(vectors), max(1, int(SHARE * len(vectors))), replace=False
            )
        )
        self.scopes = {False: Scope(vectors, None, sizes), True: Scope(vectors, passing, sizes)}
        self.directions = of_table.directions(side)
        self.ids = vectors.ids

    def chosen(self) -> list[Setting]:
        """Return for each depth, with and without a filter, the fastest setting that reaches the floor."""
        return [
            self._chosen(depth, filtered=filtered)
            for filtered in (False, True)
            for depth in DEPTHS
            if depth <= len(self.scopes[filtered])
        ]

    def again(self, known: Measured) -> list[Setting]:
        """Return the settings of an earlier measurement with the recall that they give now."""
        found = []
        for setting in known.settings:
            if setting.side == self.side and setting.depth <= len(self.scopes[setting.filtered]):
                recall = self._recalls(setting.depth, setting.filtered, setting.nprobes, (setting.refine,))
                found.append(replace(setting, recall=recall[setting.refine]))
        return found

    def _chosen(self, depth: int, *, filtered: bool) -> Setting:
        recipe, scope = self.recipe, self.scopes[filtered]
        refine = tuple(sorted({n for n in recipe.refine if depth * n <= 1000} or {min(recipe.refine)}))
        tried: dict[tuple[int, int], float] = {}
        for nprobes in sorted(set(recipe.probes)):
            for factor, recall in self._recalls(depth, filtered, nprobes, refine).items():
                tried[nprobes, factor] = recall
            if max(tried.values()) >= min(1.0, recipe.floor + 2 * recipe.margin):
                break  # looking at more partitions finds no less and takes longer
        for enough in (recipe.floor + recipe.margin, recipe.floor, max(tried.values())):
            fits = [key for key, recall in tried.items() if recall >= min(1.0, enough)]
            if fits:
                break
        queries = self.directions[0][0][:TIMED]
        timed = {
            key: _p50_ms(
                lambda query, key=key: exact.ranked(  # type: ignore[misc]
                    self.vectors, probe(self.dataset, scope, query, depth * key[1], key[0]), query, depth
                ),
                queries,
            )
            for key in fits
        }
        nprobes, factor = min(fits, key=lambda key: (timed[key], key))
        batch = np.resize(queries, (32, queries.shape[1]))
        start = time.perf_counter()
        exact.best(scope, batch, depth)
        together = (time.perf_counter() - start) / len(batch) * 1000
        one = _p50_ms(lambda query: exact.best(scope, query[None], depth), queries)
        return Setting(
            self.side, depth, filtered, nprobes, factor, tried[nprobes, factor], timed[nprobes, factor], one,
            together, len(self.vectors),
        )  # fmt: skip

    def _recalls(self, depth: int, filtered: bool, nprobes: int, refine: Sequence[int]) -> dict[int, float]:
        """Return {refine: recall of the worst direction}. A query's own row is neither looked for nor found."""
        scope, worst = self.scopes[filtered], dict.fromkeys(refine, 1.0)
        for queries, own in self.directions:
            truth = exact.best(scope, queries, depth + 1)
            found: dict[int, list[float]] = {factor: [] for factor in refine}
            for query, self_id, (rows, scores) in zip(queries, own, truth, strict=True):
                row_ids = self.ids.take(rows).to_pylist()
                others = [score for score, item in zip(scores, row_ids, strict=True) if item != self_id]
                others = others[:depth]
                if not others:
                    continue
                for (
                    factor
                ) in refine:  # asked each by itself: a longer list makes Lance look at more partitions
                    near = probe(
                        self.dataset, scope, query, (depth + 1) * factor, nprobes
                    )  # one for its own row
                    rows, scores = exact.ranked(self.vectors, near, query, depth + 1)
                    row_ids = self.ids.take(rows).to_pylist()
                    got = [score for score, item in zip(scores, row_ids, strict=True) if item != self_id]
                    good = sum(score >= others[-1] for score in got[:depth])
                    found[factor].append(good / len(others))
            for factor in refine:
                if found[factor]:
                    worst[factor] = min(worst[factor], float(np.mean(found[factor])))
        return worst


def _p50_ms(ask: Callable[[NDArray[np.float32]], object], queries: NDArray[np.float32]) -> float:
    for query in queries[:3]:
        ask(query)
    taken = []
    for query in queries:
        start = time.perf_counter()
        ask(query)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * 1000
