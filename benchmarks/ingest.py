"""How much a versioned curation costs beside a plain loop: `python -m benchmarks.ingest --images DIR`.

Runs the plain two-process loop (`benchmarks.plain`) and Xmodal on the same files, in turn (A B A B), each in a process
of its own, and prints rates, their ratio, CPU seconds per 1,000 images, the cost of a second run with nothing and with
1 % changed, and peak memory at 1,000 and at all images. The job of both: decode, digest, difference hash, size and
aspect filter, one row per hash, write. Xmodal also isolates the decoder, versions every table and can resume.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Cost, machine, run, table
from schemas.settings import DecodeLimits


def recipe(images: Path, *, thumbnail_px: int = 0) -> dict[str, object]:
    """Return the curation that does the plain loop's job; with thumbnails the snapshot is checked too, as by default."""
    return {
        "name": "bench",
        **({} if thumbnail_px else {"quality": None}),
        "sources": [
            {"name": "images", "kind": "folder", "location": str(images), "options": {"name_captions": False}}
        ],
        "inspect": {"thumbnail_px": thumbnail_px, "detect_language": False},
        "near_duplicates": {"max_distance": 0, "verdict": "drop"},
        "filters": [
            {"method": {"name": "min-side"}, "at_least": 32},
            {"method": {"name": "aspect"}, "at_most": 3},
        ],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of PNGs; links are copied as files"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit", type=int, default=0, help="use only this many images")
    parser.add_argument(
        "--encoder", default="lite", help="of the whole job that is run again; empty: none is"
    )
    parser.add_argument(
        "--only-again", action="store_true", help="only the whole job, and what running it again costs"
    )
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="xmodal-bench-") as scratch:
        work = Path(scratch)
        images = copied(args.images, work / "images", args.limit)
        n = len(list(images.rglob("*.png")))
        print(
            f"{n} images, {sum(p.stat().st_size for p in images.rglob('*.png')) / 1e6:.0f} MB\n", flush=True
        )
        whole = recipe(images, thumbnail_px=320) | {"encoder": {"name": args.encoder}}
        if args.only_again:
            _print_again(
                images, work, {f"with {args.encoder}": (whole, _curate(whole, work, "whole"), "whole")}
            )
            return
        loop = [sys.executable, "-m", "benchmarks.plain", str(images)]
        limit = ["--max-pixels", str(DecodeLimits().max_pixels)]
        plain, limited, xmodal = [], [], []
        for round_ in range(args.rounds):
            plain.append(run([*loop, str(work / f"p{round_}")]))
            limited.append(run([*loop, str(work / f"l{round_}"), *limit]))
            xmodal.append(_curate(recipe(images), work, f"x{round_}"))
        thumbnails = [_curate(recipe(images, thumbnail_px=320), work, "thumbs")]
        _print_rates(
            n,
            {
                "plain": plain,
                "plain, same pixel limit": limited,
                "xmodal": xmodal,
                "xmodal, thumbnails": thumbnails,
            },
        )
        again = {
            "without thumbnails": (recipe(images), xmodal[-1], f"x{args.rounds - 1}"),
            "as by default": (recipe(images, thumbnail_px=320), thumbnails[-1], "thumbs"),
        }
        if args.encoder:
            again[f"with {args.encoder}"] = (whole, _curate(whole, work, "whole"), "whole")
        _print_again(images, work, again)
        _print_memory(images, work, n)


def copied(source: Path, target: Path, limit: int) -> Path:
    """Copy the images, links as files, so that both sides read the same number of files."""
    for path in sorted(source.rglob("*.png"))[: limit or None]:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return target


def _curate(wanted: dict[str, object], work: Path, name: str, **settings: str) -> Cost:
    path = work / f"{name}.json"
    path.write_text(json.dumps(wanted))
    command = [sys.executable, "-m", "benchmarks.curate_once", str(path), str(work / f"lake-{name}")]
    home = os.environ.get("PREFECT_HOME", str(work / "prefect"))
    return run(command, env={"PREFECT_HOME": home, "PREFECT_LOGGING_LEVEL": "ERROR", **settings})


def _print_rates(n: int, costs: dict[str, list[Cost]]) -> None:
    rows: list[list[object]] = []
    for name, runs in costs.items():
        for cost in runs:
            said = _said(cost)
            kept = said["kept"] if "kept" in said else said["counts"]["items"]["kept"]
            rows.append([
                name, f"{_job_s(cost):.1f}", f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", f"{n / _job_s(cost):.0f}",
                f"{cost.cpu_s * 1000 / n:.2f}", kept, f"{said.get('orchestration_s', 0):.1f}",
            ])  # fmt: skip
    columns = ["", "job s", "process s", "CPU s", "images/s", "CPU s per 1,000", "kept", "orchestration s"]
    print(table(columns, rows) + "\n")
    for name in ("plain", "plain, same pixel limit"):
        ratios = [_job_s(a) / _job_s(b) for a, b in zip(costs[name], costs["xmodal"], strict=True)]
        print(f"rate of xmodal / {name}, by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    print()


def _said(cost: Cost) -> dict[str, Any]:
    return dict(json.loads(cost.output.splitlines()[-1]))


def _job_s(cost: Cost) -> float:
    """Seconds of the job itself: the loop with its pool, or the flow's steps with its cluster."""
    said = _said(cost)
    return float(said["steps_wall_s"] if "steps_wall_s" in said else said["wall_s"])


def _print_again(images: Path, work: Path, jobs: dict[str, tuple[dict[str, object], Cost, str]]) -> None:
    """Run each job again on the same files, and then three times with one file in a hundred changed."""
    rows: list[list[object]] = []
    for job, (wanted, first, lake) in jobs.items():
        base = _said(first)["steps_cpu_s"]
        runs = [("first run", first), ("nothing changed", _curate(wanted, work, lake))]
        before: dict[Path, tuple[bytes, os.stat_result]] = {}
        for seed in range(3):
            paths = sorted(images.rglob("*.png"))
            for path in random.Random(f"{job} {seed}").sample(paths, len(paths) // 100):
                before.setdefault(path, (path.read_bytes(), path.stat()))
                path.write_bytes(
                    path.read_bytes() + b"\0"
                )  # after the end mark: other bytes, the same picture
            runs.append(("1 % changed", _curate(wanted, work, lake)))
        for what, cost in runs:
            said = _said(cost)
            rows.append([
                job, what, said["status"], f"{said['steps_cpu_s']:.2f}", f"{said['steps_cpu_s'] / base:.1%}",
                f"{cost.cpu_s:.1f}", f"{cost.cpu_s - said['steps_cpu_s']:.1f}", f"{said['import_cpu_s']:.1f}",
            ])  # fmt: skip
        for path, (data, stat) in before.items():  # the next job starts from files as they were
            path.write_bytes(data)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    columns = [
        "job", "", "status", "CPU s of steps", "of first", "CPU s of process tree", "outside steps", "of which imports",
    ]  # fmt: skip
    print(table(columns, rows) + "\n")


def _print_memory(images: Path, work: Path, n: int) -> None:
    """Compare peaks at 1,000 and at all images, both without the few huge ones: a decoder's peak is one picture's."""
    limit = {"XMODAL_DECODE_MAX_PIXELS": "4000000"}
    small = _curate(recipe(copied(images, work / "small", 1000)), work, "small", **limit)
    full = _curate(recipe(images), work, "full", **limit)
    rows: list[list[object]] = [
        [count, f"{c.driver_bytes / 1e6:.0f}", f"{c.worker_bytes / 1e6:.0f}", f"{c.peak_bytes / 1e6:.0f}"]
        for count, c in ((1000, small), (n, full))
    ]
    print("pictures of at most 4 megapixels:\n")
    print(table(["images", "driver peak MB", "largest worker MB", "whole tree MB (PSS)"], rows))


if __name__ == "__main__":
    main()
