"""How the work grows with the lake: `python -m benchmarks.scale --rows 1000000 [--steps judge change ...]`.

For 10,000, 100,000, ... media up to --rows a lake is made (`benchmarks.make_lake`) and each step runs in a process of its
own: its CPU seconds without imports, wall seconds, the driver's largest memory that is not mapped files, and what the lake
grew by on disk. Then, by step, the exponent b of cost = a * rows ** b: over all sizes, and between the two largest, where
fixed costs weigh least. With --work the lakes stay, and steps may be run one by one; what was measured is kept there too.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import flows  # noqa: F401 - first: sets allocators as the product does, before Arrow is there
from benchmarks import make_lake
from benchmarks.measure import machine, run, table

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
TARGET = 1.1
FLAT = 1.25
QUERIES = 40
STATEMENTS = (
    "SELECT count(*), avg(width_px) FROM media WHERE width_px > 512",
    "SELECT licence, count(*), avg(size_bytes) FROM raw.media GROUP BY ALL",
    "SELECT role, count(*), avg(length_chars) FROM raw.pairs p JOIN raw.texts t USING (text_id) WHERE p.kept GROUP BY ALL",
    "SELECT method, count(*), avg(value) FROM raw.scores GROUP BY ALL",
    "SELECT media_id FROM raw.media ORDER BY size_bytes DESC, media_id LIMIT 10",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument(
        "--work", type=Path, help="where lakes and measurements stay; by default nothing stays"
    )
    parser.add_argument("--only", type=int, nargs="+", help="these sizes instead of all up to --rows")
    parser.add_argument("--one", choices=STEPS, help=argparse.SUPPRESS)  # the fresh process
    args = parser.parse_args()
    if args.one:
        print(json.dumps(_one(args.one, args.work)))
        return
    print(machine() + "\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="xmodal-scale-") as scratch:
        work = (args.work or Path(scratch)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        kept = work / "measured.json"
        measured: dict[str, dict[str, dict[str, Any]]] = json.loads(kept.read_text()) if kept.exists() else {}
        sizes = args.only or [size for size in SIZES if size <= args.rows] or [args.rows]
        for size in sizes:
            for step in STEPS:
                if step in args.steps:
                    found = _in_fresh_process(step, work / str(size), size)
                    measured.setdefault(step, {})[str(size)] = found
                    kept.write_text(json.dumps(measured, indent=1))
                    print(f"{step} {size:,}: {found['cpu_s']:.1f} CPU s", file=sys.stderr, flush=True)
        print(report(measured), flush=True)


def report(measured: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return two tables: what was measured, and how it grows."""
    rows: list[list[object]] = []
    grown: list[list[object]] = []
    for step in STEPS:
        of_size = {int(size): found for size, found in measured.get(step, {}).items()}
        for size, found in sorted(of_size.items()):
            rows.append([
                step, f"{size:,}", f"{found['cpu_s']:.2f}", f"{found['cpu_s'] / size * 1e6:.0f}", f"{found['wall_s']:.1f}",
                f"{found['own_bytes'] / 1e6:.0f}", f"{found['grew_bytes'] / 1e6:.1f}", found.get("said", ""),
            ])  # fmt: skip
        if len(of_size) > 1:
            two = {size: of_size[size] for size in sorted(of_size)[-2:]}
            least, most = (of_size[size]["own_bytes"] for size in (min(of_size), max(of_size)))
            over = max(exponent(of_size), exponent(two)) > TARGET
            grown.append([
                step, f"{exponent(of_size):.2f}", f"{exponent(two):.2f}", "no" if over else "yes",
                f"{most / least:.2f}", "no" if most / least > FLAT else "yes",
            ])  # fmt: skip
    columns = ["step", "media", "CPU s", "us a medium", "wall s", "driver's own MB", "lake grew MB", ""]
    text = table(columns, rows)
    if grown:
        heads = [
            "step", "exponent of CPU", "of the last two", f"<= {TARGET}", "driver memory, largest / smallest",
            f"<= {FLAT}",
        ]  # fmt: skip
        text += "\n\n" + table(heads, grown)
    return text


def exponent(of_size: dict[int, dict[str, Any]]) -> float:
    """Return b of the least-squares fit CPU seconds = a * rows ** b."""
    sizes = sorted(of_size)
    seconds = [max(of_size[size]["cpu_s"], 1e-3) for size in sizes]
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _in_fresh_process(step: str, folder: Path, size: int) -> dict[str, Any]:
    if step == "make":
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "rows").write_text(str(size))
    if step == "change":  # not the product's, and larger than it
        change = [sys.executable, "-c", f"from benchmarks import scale; scale._alter({str(folder)!r})"]
        run(change, env={})
    before = _bytes(folder / "lake")
    command = [sys.executable, "-m", "benchmarks.scale", "--one", step, "--work", str(folder)]
    env = {
        "OMP_NUM_THREADS": "1",
        "PREFECT_HOME": os.environ.get("PREFECT_HOME", str(folder.parent / "prefect")),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "XMODAL_CACHE": str(folder / "cache"),
    }
    cost = run(command, env=env)
    said: dict[str, Any] = json.loads(cost.output.strip().splitlines()[-1])
    return said | {
        "process_cpu_s": cost.cpu_s,
        "own_bytes": cost.driver_own_bytes,
        "rss_bytes": cost.driver_bytes,
        "tree_bytes": cost.peak_bytes,
        "grew_bytes": _bytes(folder / "lake") - before,
    }


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _one(step: str, folder: Path) -> dict[str, Any]:
    """Run a step here and return what it cost and said."""
    started, used = time.perf_counter(), time.process_time()
    said = STEPS[step](folder)
    return {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - used} | said


def _make(folder: Path) -> dict[str, Any]:
    used = sum(os.times()[:4])
    made = make_lake.make(folder, int((folder / "rows").read_text()))
    spent = sum(os.times()[:4]) - used  # with the process that lists
    return {"cpu_s": spent, "said": f"{made['pairs']:,} pairs"}


def _curate(folder: Path, *, study: bool = False) -> dict[str, Any]:
    """Curate; the CPU seconds are those of the steps, workers' included, without imports."""
    from flows.curate import curate
    from schemas.recipes import CurationRecipe
    from storage import lake as lakes
    from tasks.check import IMPORTS

    recipe = CurationRecipe.model_validate(make_lake.recipe(folder, study=study))
    curate(recipe, lake=str(folder / "lake"))
    row = lakes.open(str(folder / "lake")).runs()[0]
    costs = [cost for cost in json.loads(row["costs"]) if cost["step"] != IMPORTS]
    counts = json.loads(row["counts"])
    steps = {cost["step"]: cost["cpu_s"] for cost in costs}
    return {
        "cpu_s": sum(steps.values()),
        "wall_s": sum(cost["wall_s"] for cost in costs),
        "steps": steps,
        "said": f"{row['status']}: {counts.get('plan', {}).get('new or changed', 0):,} read",
    }


def _alter(folder: str) -> None:
    """Change, add or drop 1 % of the manifest, another part each time."""
    rounds = Path(folder) / "rounds"
    number = int(rounds.read_text()) + 1 if rounds.exists() else 1
    rounds.write_text(str(number))
    make_lake.change(Path(folder), round_=number)


def _study(folder: Path) -> dict[str, Any]:
    """Return what the study alone cost, and say what the rest of the run did: the recipe differs."""
    done = _curate(folder, study=True)
    own = done["steps"]["study correspondence"]
    rest = sum(done["steps"].values()) - own
    return done | {"cpu_s": own, "said": f"the study's step only; {rest:.0f} CPU s for the others"}


def _diff(folder: Path) -> dict[str, Any]:
    """Compare the snapshots before and after the change."""
    from storage import lake as lakes
    from storage.difference import difference

    lake = lakes.open(str(folder / "lake"))
    of_runs = [s for s in lake.snapshots() if not s.run_id.startswith(("maintain", "make"))]
    before, after = of_runs[0], of_runs[1]
    used, started = time.process_time(), time.perf_counter()
    found = difference(lake, before.snapshot_id, after.snapshot_id)
    cost = {"cpu_s": time.process_time() - used, "wall_s": time.perf_counter() - started}
    return cost | {
        "said": f"{sum(t.added + t.removed + t.changed for t in found.tables.values()):,} rows differ"
    }


def _quality(folder: Path) -> dict[str, Any]:
    import tasks.quality.expectations  # noqa: F401 - two seconds of imports that are not the check's
    from flows.quality import check_quality
    from schemas.quality import QualityRecipe

    used, started = time.process_time(), time.perf_counter()
    done = check_quality(QualityRecipe(), lake=str(folder / "lake"), again=True)
    cost = {"cpu_s": time.process_time() - used, "wall_s": time.perf_counter() - started}
    return cost | {"said": ", ".join(f"{n} {name}" for name, n in done.counts.items())}


def _search(folder: Path) -> dict[str, Any]:
    """Ask words, after a first question that copies vectors and builds the index of words."""
    from schemas.ranking import Query
    from storage import lake as lakes
    from tasks.retrieval.find import find

    lake = lakes.open(str(folder / "lake"))
    words = make_lake._Words(np.random.default_rng(3))
    questions = [" ".join(words.caption().split()[:4]) for _ in range(QUERIES + 1)]
    started = time.perf_counter()
    find(lake, Query(text=questions[0], k=10))
    first = time.perf_counter() - started
    used, started, spent = time.process_time(), time.perf_counter(), []
    for question in questions[1:]:
        begin = time.perf_counter()
        find(lake, Query(text=question, k=10))
        spent.append(time.perf_counter() - begin)
    cost = {"cpu_s": time.process_time() - used, "wall_s": time.perf_counter() - started}
    return cost | {"said": f"{QUERIES} questions, p50 {1e3 * np.median(spent):.1f} ms, first {first:.1f} s"}


def _sql(folder: Path) -> dict[str, Any]:
    from storage import lake as lakes

    lake = lakes.open(str(folder / "lake"))
    lake.sql("SELECT 1")
    used, started, spent = time.process_time(), time.perf_counter(), []
    for statement in STATEMENTS:
        begin = time.perf_counter()
        lake.sql(statement).arrow()
        spent.append(1e3 * (time.perf_counter() - begin))
    cost = {"cpu_s": time.process_time() - used, "wall_s": time.perf_counter() - started}
    return cost | {"said": "ms " + ", ".join(f"{ms:.0f}" for ms in spent)}


def _maintain(folder: Path) -> dict[str, Any]:
    from flows.maintain import maintain

    used, started = time.process_time(), time.perf_counter()
    done = maintain(lake=str(folder / "lake"), keep=3)
    cost = {"cpu_s": time.process_time() - used, "wall_s": time.perf_counter() - started}
    indexes = ", ".join(sorted(set(done.indexes.values()))) or "no index"
    return cost | {
        "said": f"{len(done.compacted)} tables merged, {done.freed_bytes / 1e6:.0f} MB freed, {indexes}"
    }


STEPS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "make": _make,  # not the product's: how the lake got there
    "judge": _curate,  # another recipe: every rule, near-duplicates and scores for all of it
    "change": _curate,  # 1 % of the manifest changed, added or gone
    "nothing": _curate,
    "diff": _diff,
    "quality": _quality,
    "search": _search,
    "sql": _sql,
    "maintain": _maintain,
    "study": _study,  # noise scoring over all pairs: the consensus and its divider
}


if __name__ == "__main__":
    main()
