"""Vector search beside NumPy, FAISS and raw LanceDB: `python -m benchmarks.search --rows 100000`.

One client, one query at a time, k = 10, without a filter and with one that a tenth of the rows pass. Every engine is
asked the same queries; engines take turns (all of them for some queries, then all for the next), so that a busy machine
is busy for all. Recall is against full comparison in float32. A last line says what `auto` chose.

Data: `clustered`, 256 clusters with wide noise; `latent`, 64 clusters in 32 latent dimensions, closer to real
embeddings; or a lake's own vectors (`--lake`), as many as there are, held-out ones as queries. With `--peers FOLDER` the
first two come from that folder's `common.search_data`, else from the same recipe here.
"""

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.feather
from numpy.typing import NDArray

from benchmarks.measure import machine, table
from schemas.recipes import IndexRecipe
from schemas.tables import MEDIA, TEXTS, embeddings
from storage import indexes
from storage import lake as lakes
from storage.lake import Lake
from storage.search import dense
from storage.versions import Snapshot

K, BUCKETS, QUERIES, WARM = 10, 10, 200, 5
TABLE = "embeddings_bench"
Ask = Callable[[NDArray[np.float32]], list[int]]


@dataclass
class Engine:
    """One way to search, and what it gave.

    Args:
        name: For the table.
        ask: Returns row numbers of the K nearest.
        build_s: Seconds its index took; 0: none.
        size_bytes: Bytes of its index, or of the vectors where there is none.
        filtered: Whether only rows of bucket 3 may be found.
    """

    name: str
    ask: Ask
    build_s: float = 0.0
    size_bytes: int = 0
    filtered: bool = False
    taken: list[float] = field(default_factory=list)
    found: list[list[int]] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--data", choices=("clustered", "latent", "both"), default="both")
    parser.add_argument("--lake", help="Search this lake's vectors of media instead.")
    parser.add_argument("--peers", type=Path, help="Folder with `common.py` of the peers' benchmark.")
    parser.add_argument("--hnsw-most", type=int, default=200_000, help="Rows up to which FAISS builds HNSW.")
    parser.add_argument("--work", type=Path, help="Where lakes and caches go; a temporary folder by default.")
    args = parser.parse_args()
    print(machine() + "\n", flush=True)
    if args.work is not None:
        args.work.mkdir(parents=True, exist_ok=True)
    for name in ("clustered", "latent") if args.data == "both" and not args.lake else (args.data,):
        with tempfile.TemporaryDirectory(prefix="xmodal-bench-", dir=args.work) as scratch:
            if args.lake:
                vectors, buckets, queries = of_lake(args.lake)
                print(f"vectors of {args.lake}: {len(vectors):,} x {vectors.shape[1]}\n")
            else:
                vectors, buckets, queries = generated(args.rows, name, args.peers, queries=args.queries)
                print(f"{name}: {len(vectors):,} x {vectors.shape[1]}\n")
            print(measured(vectors, buckets, queries, Path(scratch), args.hnsw_most), flush=True)


def generated(
    rows: int, name: str, peers: Path | None, *, dim: int = 384, queries: int = QUERIES
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return unit vectors (N, D), a bucket each in 0..9, and queries: vectors of some rows with a little noise."""
    if peers is not None:
        os.environ["BENCH_SEARCH_DATA"] = "latent32" if name == "latent" else ""
        spec = importlib.util.spec_from_file_location("peers_common", peers / "common.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module.search_data(rows, dim, queries)
    draw = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return draw.standard_normal(shape, dtype=np.float32)

    if name == "latent":
        mixing, centres = normal(32, dim), normal(64, 32)
        vectors = (centres[draw.integers(0, 64, rows)] + 0.8 * normal(rows, 32)) @ mixing
        vectors += 0.3 * normal(rows, dim)
    else:
        vectors = normal(256, dim)[draw.integers(0, 256, rows)]
        vectors += 0.6 * normal(rows, dim)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    buckets = draw.integers(0, BUCKETS, rows)
    asked = vectors[draw.integers(0, rows, queries)] + (0.01 if name == "latent" else 0.02) * normal(
        queries, dim
    )
    return vectors, buckets, asked / np.linalg.norm(asked, axis=1, keepdims=True)


def of_lake(uri: str) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return the vectors of a lake's media but for 200, a bucket each, and those 200 as queries."""
    lake = lakes.open(uri)
    head = lake.head()
    assert head is not None
    name = max((t for t in head.versions if t.startswith("embeddings_")), key=lambda t: head.row_counts[t])
    column = lake.dataset(name, head).to_table(columns=["vector"], filter="side = 'media'")["vector"]
    vectors = np.stack(column.to_numpy(zero_copy_only=False)).astype(np.float32)
    draw = np.random.default_rng(0)
    order = draw.permutation(len(vectors))
    vectors = vectors[order]
    buckets = draw.integers(0, BUCKETS, len(vectors) - QUERIES)
    return np.ascontiguousarray(vectors[QUERIES:]), buckets, np.ascontiguousarray(vectors[:QUERIES])


def measured(
    vectors: NDArray[np.float32],
    buckets: NDArray[np.int64],
    queries: NDArray[np.float32],
    work: Path,
    hnsw_most: int,
) -> str:
    """Return the table of all engines over one set of vectors."""
    start = time.perf_counter()
    lake, snapshot, built = _lake(vectors, buckets, work / "lake")
    print(f"lake written and indexed in {time.perf_counter() - start:.0f} s", flush=True)
    start = time.perf_counter()
    raw = _raw_lancedb(vectors, buckets, work / "raw")
    print(f"raw LanceDB written and indexed in {time.perf_counter() - start:.0f} s", flush=True)
    truths = {
        filtered: _truth(vectors, queries, buckets == 3 if filtered else None) for filtered in (False, True)
    }
    engines = _numpy(vectors, buckets) + raw + _ours(lake, snapshot, built, work / "cache", vectors.nbytes)
    slow = {engine.name for engine in raw if engine.name.startswith("LanceDB flat")}
    # FAISS copies the vectors; it is asked on its own, after the others, to bound memory
    _ask_in_turn(engines, queries, slow)
    faiss = _faiss(vectors, hnsw_most)
    _ask_in_turn(faiss, queries, set())
    columns = ["", "filter", "p50 ms", "p95 ms", "QPS", "recall@10", "fewest", "build s", "MB"]
    rows = []
    for engine in [*engines, *faiss]:
        taken = np.array(engine.taken) * 1000
        truth = truths[engine.filtered][: len(engine.found)]
        recall = np.mean(
            [len(set(got) & set(want)) / K for got, want in zip(engine.found, truth, strict=True)]
        )
        rows.append([
            engine.name, "10 %" if engine.filtered else "", f"{np.median(taken):.2f}",
            f"{np.percentile(taken, 95):.2f}", f"{1000 / taken.mean():.0f}", f"{recall:.3f}",
            min(len(got) for got in engine.found), f"{engine.build_s:.1f}" if engine.build_s else "",
            f"{engine.size_bytes / 1e6:.0f}" if engine.size_bytes else "",
        ])  # fmt: skip
    (first,) = dense(lake, snapshot, TABLE, queries[:1], K, cache=work / "cache")
    (second,) = dense(lake, snapshot, TABLE, queries[:1], K, where="frames = 3", cache=work / "cache")
    chosen = "\n".join(
        f"auto {label}: {one.facts['search']} ({one.facts['why']})"
        for label, one in (("plain", first), ("10 %", second))
    )
    return f"\n{table(columns, rows)}\n\n{_ratios([*engines, *faiss], truths)}\n{chosen}\n"


def _ratios(engines: list[Engine], truths: dict[bool, list[list[int]]]) -> str:
    """Return the ratios that have a target."""
    p50 = {(engine.name, engine.filtered): float(np.median(engine.taken)) for engine in engines}
    lines = [f"exact / NumPy: {p50['ours exact', False] / p50['NumPy', False]:.2f} (at most 1.5)"]
    good = []
    for engine in engines:
        truth = truths[engine.filtered]
        recall = np.mean([len(set(g) & set(w)) / K for g, w in zip(engine.found, truth, strict=False)])
        if engine.name.startswith("LanceDB IVF_RQ") and not engine.filtered and recall >= 0.95:
            good.append(engine)
    if good and ("ours index", False) in p50:
        peer = min(good, key=lambda engine: np.median(engine.taken))
        for filtered in (False, True):
            ratio = p50["ours index", filtered] / p50[peer.name, filtered]
            lines.append(f"index / {peer.name}{', 10 %' * filtered}: {ratio:.2f} (at most 1.15)")
    return "\n".join(lines)


def _ask_in_turn(engines: list[Engine], queries: NDArray[np.float32], slow: set[str], turn: int = 20) -> None:
    for engine in engines:
        for query in queries[:WARM]:
            engine.ask(query)
    for start in range(0, len(queries), turn):
        for engine in engines:
            if engine.name in slow and start >= turn:
                continue
            for query in queries[start : start + turn]:
                begin = time.perf_counter()
                found = engine.ask(query)
                engine.taken.append(time.perf_counter() - begin)
                engine.found.append(found)


def _truth(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], mask: NDArray[np.bool_] | None
) -> list[list[int]]:
    best: list[list[int]] = []
    for start in range(0, len(queries), 25):
        products = queries[start : start + 25] @ vectors.T
        if mask is not None:
            products[:, ~mask] = -np.inf
        best += np.argpartition(-products, K, axis=1)[:, :K].tolist()
    return best


def _numpy(vectors: NDArray[np.float32], buckets: NDArray[np.int64]) -> list[Engine]:
    rows = np.flatnonzero(buckets == 3)
    subset = vectors[rows]

    def every(query: NDArray[np.float32]) -> list[int]:
        return np.argpartition(-(vectors @ query), K)[:K].tolist()

    def some(query: NDArray[np.float32]) -> list[int]:
        return rows[np.argpartition(-(subset @ query), K)[:K]].tolist()

    return [
        Engine("NumPy", every, size_bytes=vectors.nbytes),
        Engine("NumPy, subset copied before", some, size_bytes=subset.nbytes, filtered=True),
    ]


def _faiss(vectors: NDArray[np.float32], hnsw_most: int) -> list[Engine]:
    import faiss

    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    found = [
        Engine("FAISS flat", lambda q: flat.search(q[None], K)[1][0].tolist(), size_bytes=vectors.nbytes)
    ]
    if len(vectors) <= hnsw_most:
        start = time.perf_counter()
        graph = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = 80
        graph.add(vectors)
        graph.hnsw.efSearch = 64
        build_s = time.perf_counter() - start
        size = vectors.nbytes + len(vectors) * 64 * 4
        found.append(
            Engine("FAISS HNSW32, ef 64", lambda q: graph.search(q[None], K)[1][0].tolist(), build_s, size)
        )
    return found


def _fixed(vectors: NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def _raw_lancedb(vectors: NDArray[np.float32], buckets: NDArray[np.int64], place: Path) -> list[Engine]:
    import lancedb
    from lancedb.index import Bitmap, IvfRq

    shutil.rmtree(place, ignore_errors=True)
    opened = lancedb.connect(str(place))
    rows = pa.table({"id": np.arange(len(vectors)), "bucket": buckets, "vector": _fixed(vectors)})
    raw = opened.create_table("v", rows)
    raw.create_index("bucket", config=Bitmap())
    before = _bytes(place)
    start = time.perf_counter()
    raw.create_index(
        "vector", config=IvfRq(distance_type="cosine", num_bits=5)
    )  # of 1 bit, recall stays under 0.95
    build_s, size = time.perf_counter() - start, _bytes(place) - before

    def ask(nprobes: int, refine: int, filtered: bool) -> Ask:
        def asked(query: NDArray[np.float32]) -> list[int]:
            search: Any = raw.search(query, vector_column_name="vector").distance_type("cosine").limit(K)
            search = search.select(["id", "_distance"])
            search = (
                search.nprobes(nprobes).refine_factor(refine) if nprobes else search.bypass_vector_index()
            )
            if filtered:
                search = search.where("bucket = 3", prefilter=True)
            return search.to_arrow()["id"].to_pylist()

        return asked

    found = []
    for filtered in (False, True):
        found.append(
            Engine("LanceDB flat", ask(0, 0, filtered), filtered=filtered, size_bytes=vectors.nbytes)
        )
        for nprobes in (5, 10, 20):
            name = f"LanceDB IVF_RQ, {nprobes} probes, refine 10"
            found.append(Engine(name, ask(nprobes, 10, filtered), build_s, size, filtered))
    return found


def _ours(
    lake: Lake, snapshot: Snapshot, built: indexes.Measured | None, cache: Path, exact_bytes: int
) -> list[Engine]:
    def ask(search: Any, where: str | None) -> Ask:
        def asked(query: NDArray[np.float32]) -> list[int]:
            (found,) = dense(lake, snapshot, TABLE, query[None], K, search=search, where=where, cache=cache)
            return [int(item, 16) for item in found.item_ids]

        return asked

    def anew(query: NDArray[np.float32]) -> list[int]:
        anew.n += 1  # type: ignore[attr-defined]
        return ask("auto", f"frames = 3 AND size_bytes <> {anew.n}")(query)  # type: ignore[attr-defined]

    anew.n = 0  # type: ignore[attr-defined]
    found = []
    for where in (None, "frames = 3"):
        found.append(Engine("ours exact", ask("exact", where), 0.0, exact_bytes, where is not None))
        if built is not None:
            engine = Engine(
                "ours index", ask("index", where), built.build_s, built.size_bytes, where is not None
            )
            found.append(engine)
        found.append(Engine("ours auto", ask("auto", where), filtered=where is not None))
    return [*found, Engine("ours auto, each condition new", anew, filtered=True)]


def _lake(
    vectors: NDArray[np.float32], buckets: NDArray[np.int64], place: Path
) -> tuple[Lake, Snapshot, indexes.Measured | None]:
    """Write a lake of media with these vectors, the bucket in `frames`, and build the index that the recipe asks for."""
    lake, spec = lakes.open(str(place)), embeddings(TABLE, vectors.shape[1])
    step = 20_000
    parts = place.parent / "staged"
    parts.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(vectors), step):
        rows = range(start, min(start + step, len(vectors)))
        _stage(parts, spec, vectors[rows.start : rows.stop], rows)
        _stage_media(parts, buckets[rows.start : rows.stop], rows)
    with lake.writer() as writer:
        writer.upsert(MEDIA, _staged(parts, MEDIA.name))
        writer.upsert(TEXTS, pds.dataset(TEXTS.stored.empty_table()))
        writer.upsert(spec, _staged(parts, spec.name))
        writer.commit(tag="latest", recipe_digest="bench", run_id="bench")
    shutil.rmtree(parts)
    with lake.writer() as writer:
        done = indexes.keep_up(lake, writer, IndexRecipe(), cache=place.parent / "cache", run_id="bench")
        snapshot = writer.commit(tag="latest", recipe_digest="bench", run_id="bench")
    for entry in done:
        chosen = ", ".join(
            f"{s.depth}{' filtered' * s.filtered}: {s.nprobes} probes, refine {s.refine}, recall {s.recall:.3f}, "
            f"{s.p50_index_ms:.1f} ms beside {s.p50_exact_ms:.1f}"
            for s in entry.settings
        )
        print(
            f"{entry.kind} built in {entry.build_s:.1f} s, chosen for depth {chosen}. {entry.alert}",
            flush=True,
        )
    return lake, snapshot, done[0] if done else None


def _digests(rows: range) -> pa.Array:
    numbers = np.zeros((len(rows), 2), "<u8")
    numbers[:, 0] = np.arange(rows.start, rows.stop)
    return pa.array([bytes(number) for number in numbers], pa.binary(16))


def _ids(rows: range) -> pa.Array:
    return pa.array([f"{number:064x}" for number in rows])


def _stage(parts: Path, spec: Any, vectors: NDArray[np.float32], rows: range) -> None:
    n = len(rows)
    columns = [
        _ids(rows), pa.array(["media"] * n), pa.array(["image"] * n), pa.array(["bench"] * n), _fixed(vectors),
        pa.array(["bench"] * n), _digests(rows),
    ]  # fmt: skip
    made = pa.Table.from_arrays(columns, schema=spec.stored)
    pa.feather.write_feather(
        made, str(parts / f"{spec.name}-{rows.start:09d}.arrow"), compression="uncompressed"
    )


def _stage_media(parts: Path, buckets: NDArray[np.int64], rows: range) -> None:
    n = len(rows)
    given = {
        "media_id": _ids(rows), "modality": ["image"] * n, "frames": buckets, "present": [True] * n,
        "kept": [True] * n, "size_bytes": [0] * n, "row_digest": _digests(rows),
    }  # fmt: skip
    columns = [
        pa.array(given[f.name], f.type) if f.name in given else pa.nulls(n, f.type) for f in MEDIA.stored
    ]
    made = pa.Table.from_arrays(columns, schema=MEDIA.stored)
    pa.feather.write_feather(
        made, str(parts / f"{MEDIA.name}-{rows.start:09d}.arrow"), compression="uncompressed"
    )


def _staged(parts: Path, name: str) -> pds.Dataset:
    return pds.dataset(sorted(str(path) for path in parts.glob(f"{name}-*.arrow")), format="ipc")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
