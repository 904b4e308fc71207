"""How much of an encoder's speed the flow keeps: `python -m benchmarks.embed --images DIR [--encoder lite]`.

The flow's embed step (Dask workers, thumbnails decoded ahead of the model, rows digested and staged) beside the bare
encoder called by as many processes on the same pictures, already decoded, in turn (A B A B). The same for texts.
A worker opens the weights within the step, so a second ratio counts that for the bare encoder too.
Also prints what Prefect and Dask themselves cost per 1,000 items at the default shard size.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.ingest import copied
from benchmarks.measure import machine, run, table
from schemas.recipes import CurationRecipe
from storage import lake as lakes

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--encoder", default="lite")
    args = parser.parse_args()
    print(machine() + "\n")
    with tempfile.TemporaryDirectory(prefix="xmodal-bench-") as scratch:
        work = Path(scratch)
        images = copied(args.images, work / "images", args.limit)
        texts = work / "texts.jsonl"
        names = [path.stem.replace("_", " ").replace("-", " ") for path in sorted(args.images.rglob("*.png"))]
        lines = (
            json.dumps({"text": f"{name}, number {n}"}) for n, name in enumerate(names[: 4 * args.limit])
        )
        texts.write_text("\n".join(lines) + "\n")
        sources = {
            "pictures": {"kind": "folder", "location": str(images), "options": {"name_captions": False}},
            "texts": {"kind": "manifest", "location": str(texts)},
        }
        rows: list[list[object]] = []
        for side, source in sources.items():
            rows += _beside(side, source, args.encoder, args.rounds, work)
        columns = [
            "", "round", "items", "bare /s", "flow /s", "flow / bare", "with weights opened in both",
            "bare CPU s", "opening CPU s", "flow CPU s", "by CPU, with opening",
        ]  # fmt: skip
        print(table(columns, rows))
        _print_orchestration(work, rows)


def _beside(side: str, source: dict[str, Any], encoder: str, rounds: int, work: Path) -> list[list[object]]:
    recipe = {
        "name": "bench",
        "sources": [{"name": side, **source}],
        "encoder": {"name": encoder},
        "near_duplicates": None,
        "inspect": {"detect_language": False},
    }
    path = work / f"{side}.json"
    path.write_text(json.dumps(recipe))
    home = {
        "PREFECT_HOME": os.environ.get("PREFECT_HOME", str(work / "prefect")),
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    rows: list[list[object]] = []
    for round_ in range(rounds):
        uri = str(work / f"lake-{side}-{round_}")
        flow = run([sys.executable, "-m", "benchmarks.curate_once", str(path), uri], env=home)
        (step,) = [c for c in json.loads(flow.output.splitlines()[-1])["costs"] if c["step"] == "embed"]
        items = _items(uri, side, work / f"{side}.arrow")
        command = [sys.executable, "-m", "benchmarks.bare_encoder", str(items), "--encoder", encoder]
        bare = json.loads(run(command, env=WORKER_ENVIRONMENT).output.splitlines()[-1])
        n = step["items"]
        wall, cpu = bare["wall_s"] + bare["open_wall_s"], bare["cpu_s"] + bare["open_cpu_s"]
        rows.append([
            side, round_ + 1, n, f"{n / bare['wall_s']:.1f}", f"{n / step['wall_s']:.1f}",
            f"{bare['wall_s'] / step['wall_s']:.2f}", f"{wall / step['wall_s']:.2f}", f"{bare['cpu_s']:.1f}",
            f"{bare['open_cpu_s']:.1f}", f"{step['cpu_s']:.1f}", f"{cpu / step['cpu_s']:.2f}",
        ])  # fmt: skip
    return rows


def _items(uri: str, side: str, path: Path) -> Path:
    lake = lakes.open(uri)
    table_, column = ("media", "thumbnail") if side == "pictures" else ("texts", "text")
    rows = lake.read(table_, columns=[column]).rename_columns(["item"])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    return path


def nothing(shard: int) -> int:
    """Do what a shard costs when there is nothing to do."""
    return shard


def _print_orchestration(work: Path, rows: list[list[object]]) -> None:
    """Time empty shards over Dask and empty Prefect tasks, and set them against the embedding of 1,000 pictures."""
    os.environ.setdefault("PREFECT_HOME", str(work / "prefect"))
    os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    from flows.runners import workers
    from schemas.settings import Settings

    with workers(Settings()) as pool:
        list(pool.map(nothing, list(range(8)), label="start"))
        start = time.perf_counter()
        list(pool.map(nothing, list(range(200)), label="empty"))
        per_shard = (time.perf_counter() - start) / 200

    empty = task(cache_policy=NO_CACHE)(lambda: None)

    @flow
    def steps() -> float:
        empty()
        begin = time.perf_counter()
        for _ in range(20):
            empty()
        return (time.perf_counter() - begin) / 20

    per_task = steps()
    shard_rows = CurationRecipe.model_fields["shard_rows"].default
    pictures = [row for row in rows if row[0] == "pictures"]
    embed_s = 1000 / max(float(str(row[4])) for row in pictures)
    per_1000 = 1000 / shard_rows * per_shard * 4 + 8 * per_task  # four mapped steps, eight tasks a flow
    print(
        f"\nDask: {per_shard * 1000:.1f} ms a shard; Prefect: {per_task * 1000:.0f} ms a task. Per 1,000 items "
        f"at {shard_rows} a shard: {per_1000:.2f} s, {per_1000 / embed_s:.1%} of the {embed_s:.0f} s that embedding takes."
    )


if __name__ == "__main__":
    main()
