"""SQL over a lake beside DuckDB over Parquet, and search in SQL beside the call: `python -m benchmarks.sql [--rows N]`.

A table of media, in a lake and as one Parquet file, asked the same by engines with equally many threads, both warm and in
turn (A B A B). *scanned* is read from Lance each time; *kept* as it is from the second asking on. Ratios are of medians.
With --lake, also what a statement costs beside the search inside it.
"""

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from benchmarks.measure import machine, table
from schemas.tables import MEDIA
from storage import lake as lakes
from storage.lake import Lake
from storage.sql import Limits
from storage.sql.engine import engine

STATEMENTS = {
    "count": "SELECT count(*) FROM {t}",
    "scan": "SELECT count(*), sum(size_bytes), min(width_px), max(height_px) FROM {t}",
    "scan texts": "SELECT sum(length(uri)), sum(length(media_id)) FROM {t}",
    "filter numbers": "SELECT count(*), avg(size_bytes) FROM {t} WHERE width_px > 2000 AND height_px < 1000",
    "filter words": "SELECT count(*), avg(size_bytes) FROM {t} WHERE modality = 'audio' AND licence IN ('CC0', 'CC-BY')",
    "filter within texts": "SELECT count(*) FROM {t} WHERE uri LIKE '%/97/%'",
    "one row": "SELECT * FROM {t} WHERE media_id = '{id}'",
    "aggregate": "SELECT modality, licence, count(*), avg(width_px) FROM {t} GROUP BY ALL",
    "filter and aggregate": "SELECT licence, count(*), avg(size_bytes) FROM {t} WHERE width_px > 512 AND kept GROUP BY 1",
    "distinct": "SELECT count(DISTINCT uri) FROM {t}",
    "best ten": "SELECT media_id, size_bytes FROM {t} ORDER BY size_bytes DESC, media_id LIMIT 10",
}
WORDS = ("bicycle", "tree", "house", "boat", "bird", "lamp", "flower", "car", "cat", "sign")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lake", type=Path, help="A curated lake with vectors, for search.")
    args = parser.parse_args()
    print(machine() + "\n")
    with tempfile.TemporaryDirectory(prefix="xmodal-bench-") as scratch:
        _beside_parquet(Path(scratch), args.rows, args.rounds, args.threads)
    if args.lake:
        _beside_the_call(lakes.open(str(args.lake)), args.rounds)


def _beside_parquet(scratch: Path, rows: int, rounds: int, threads: int) -> None:
    media = _media(rows)
    lake = Lake(str(scratch / "lake"))
    with lake.writer() as writer:
        writer.upsert(MEDIA, pds.dataset(media))
        writer.commit(tag="latest", recipe_digest="bench", run_id="bench")
    pq.write_table(media, scratch / "media.parquet", compression="zstd")
    sizes = [
        sum(f.stat().st_size for f in (scratch / "lake").rglob("*") if f.is_file()),
        (scratch / "media.parquet").stat().st_size,
    ]
    print(f"{rows} rows: lake {sizes[0] / 1e6:.0f} MB, Parquet {sizes[1] / 1e6:.0f} MB\n")
    one = media["media_id"][rows // 2].as_py()
    con = duckdb.connect(config={"threads": str(threads)})
    scanned, kept = Limits(threads=threads, rows=None, memory="999MB"), Limits(threads=threads, rows=None)
    engine(scanned).kept.limit = 0
    lines: list[list[object]] = []
    for name, text in STATEMENTS.items():
        ours = text.format(t="raw.media", id=one)
        theirs = text.format(t=f"'{scratch / 'media.parquet'}'", id=one)
        sides: dict[str, Callable[[], pa.Table]] = {
            "parquet": lambda theirs=theirs: con.sql(theirs).to_arrow_table(),  # type: ignore[misc]
            "scanned": lambda ours=ours: lake.sql(ours, limits=scanned).arrow(),  # type: ignore[misc]
            "kept": lambda ours=ours: lake.sql(ours, limits=kept).arrow(),  # type: ignore[misc]
        }
        answers = {side: ask().to_pylist() for side, ask in sides.items()}
        for side in ("scanned", "kept"):
            if not _alike(answers[side], answers["parquet"]):
                sys.exit(f"{name}: {side} gives {answers[side][:2]} and Parquet {answers['parquet'][:2]}")
        wall, cpu = _in_turn(list(sides.values()), rounds)
        lines.append(
            [name, *(f"{1000 * t:.1f}" for t in wall), f"{wall[1] / wall[0]:.2f}", f"{wall[2] / wall[0]:.2f}",
             f"{cpu[1] / cpu[0]:.2f}", f"{cpu[2] / cpu[0]:.2f}"]
        )  # fmt: skip
    columns = [
        "",
        "Parquet ms",
        "scanned ms",
        "kept ms",
        "scanned / Parquet",
        "kept / Parquet",
        "of CPU: scanned",
        "kept",
    ]
    print(table(columns, lines))


def _beside_the_call(lake: Lake, rounds: int) -> None:
    """Print what a statement costs beside the search in it; every question is new, so no text is encoded twice."""
    from schemas.ranking import Query
    from tasks.retrieval.find import find
    from tasks.retrieval.functions import FUNCTIONS

    options = {"functions": FUNCTIONS.tables, "scalars": FUNCTIONS.scalars}
    joined = (
        "SELECT m.digest, p.text, s.score FROM search($q, k => 50, modality => 'image') s JOIN media m USING (digest) "
        "JOIN pairs p USING (digest) WHERE m.width_px > 512 AND p.clean > 0.9 ORDER BY s.score DESC"
    )
    asked = iter(range(10**9))

    def words() -> str:
        number = next(asked)
        return f"a {WORDS[number % 10]} and {number} {WORDS[number // 10 % 10]}s"

    sides: list[Callable[[], object]] = [
        lambda: find(lake, Query(text=words(), k=50, modality=("image",))),
        lambda: lake.sql("FROM search($q, k => 50, modality => 'image')", params={"q": words()}, **options),
        lambda: lake.sql(joined, params={"q": words()}, **options),
    ]
    for side in sides * 3:
        side()
    wall, cpu = _in_turn(sides, 10 * rounds)
    names = ("find()", "FROM search()", "search() with media and pairs")
    lines: list[list[object]] = [
        [
            name,
            f"{1000 * wall[n]:.1f}",
            f"{wall[n] / wall[0]:.2f}",
            f"{1000 * cpu[n]:.1f}",
            f"{cpu[n] / cpu[0]:.2f}",
        ]
        for n, name in enumerate(names)
    ]
    print("\n" + table(["", "ms", "/ find()", "CPU ms", "/ find()"], lines))


def _in_turn(sides: Sequence[Callable[[], object]], rounds: int) -> tuple[list[float], list[float]]:
    """Return the median wall and CPU seconds of each side, called in turn."""
    wall: list[list[float]] = [[] for _ in sides]
    cpu: list[list[float]] = [[] for _ in sides]
    for _ in range(2):
        for side in sides:
            side()
    for _ in range(rounds):
        for n, side in enumerate(sides):
            started, used = time.perf_counter(), time.process_time()
            side()
            wall[n].append(time.perf_counter() - started)
            cpu[n].append(time.process_time() - used)
    return [statistics.median(each) for each in wall], [statistics.median(each) for each in cpu]


def _alike(one: list[dict[str, object]], other: list[dict[str, object]]) -> bool:
    flat = [[value for row in sorted(rows, key=str) for value in row.values()] for rows in (one, other)]
    return len(flat[0]) == len(flat[1]) and all(
        abs(a - b) <= 1e-6 * abs(b) if isinstance(a, float) and isinstance(b, float) else a == b
        for a, b in zip(*flat, strict=True)
    )


def _media(rows: int) -> pa.Table:
    """Return rows of media as a crawl has them: texts that repeat and texts that do not, numbers, flags, nulls."""
    draw = np.random.default_rng(0)
    some = {
        "media_id": pa.array([hashlib.sha256(str(n).encode()).hexdigest() for n in range(rows)]),
        "modality": pa.array(draw.choice(["image", "audio", "video"], rows, p=[0.8, 0.1, 0.1])),
        "media_type": pa.array(draw.choice(["image/png", "image/jpeg", "image/webp", "audio/wav"], rows)),
        "size_bytes": pa.array(draw.integers(1_000, 5_000_000, rows)),
        "width_px": pa.array(draw.integers(16, 4096, rows).astype(np.int32), mask=draw.random(rows) < 0.1),
        "height_px": pa.array(draw.integers(16, 4096, rows).astype(np.int32)),
        "phash": pa.array([f"{n:016x}" for n in draw.integers(0, 2**63, rows)]),
        "licence": pa.array(draw.choice(["CC0", "CC-BY", "CC-BY-SA", "unknown"], rows)),
        "uri": pa.array([f"https://example.org/{n % 977}/{n}.png" for n in range(rows)]),
        "present": pa.array(draw.random(rows) < 0.98),
        "kept": pa.array(draw.random(rows) < 0.8),
        "row_digest": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), rows, [None, pa.py_buffer(draw.bytes(16 * rows))]
        ),
    }
    columns = [some.get(field.name, pa.nulls(rows, field.type)) for field in MEDIA.stored]
    return pa.table(columns, schema=MEDIA.stored)


if __name__ == "__main__":
    main()
