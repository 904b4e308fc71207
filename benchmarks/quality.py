"""What checking a snapshot costs: `python -m benchmarks.quality [--rows N]`.

A made lake (`benchmarks.make_lake`) of N media with 1.3 texts and scored pairs each, checked by the suite that ships in a
process of its own: CPU and wall seconds, memory before and at its peak, and how they grow with the rows.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import make_lake
from benchmarks.measure import machine, run, table

_CHECK = """
import json, sys, time
from flows.quality import check_quality
from schemas.quality import QualityRecipe
started = time.process_time()
import tasks.quality.expectations
imported = time.process_time() - started
done = check_quality(QualityRecipe(), lake=sys.argv[1], again=True)
print(json.dumps({"import_s": imported, "cpu_s": time.process_time() - started - imported, **done.counts}))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--smaller", type=int, default=4, help="Also a lake with so many times fewer rows.")
    parser.add_argument("--workers", default="2", help="XMODAL_WORKERS; 0: all in one process.")
    given = parser.parse_args()
    print(f"{machine()}\n")
    lines: list[list[object]] = []
    costs = []
    for count in (max(1, given.rows // given.smaller), given.rows):
        with tempfile.TemporaryDirectory(prefix="xmodal-bench-quality-") as scratch:
            make_lake.make(Path(scratch), count, dim=0, judged=True)
            command = [sys.executable, "-c", _CHECK, str(Path(scratch) / "lake")]
            cost = run(command, env={"XMODAL_WORKERS": given.workers, "OMP_NUM_THREADS": "1"})
        said = json.loads(cost.output.strip().splitlines()[-1])
        costs.append((count, said["cpu_s"]))
        lines.append(
            [f"{count:,}", f"{said['import_s']:.1f}", f"{said['cpu_s']:.2f}", f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}",
             f"{cost.driver_bytes / 1e6:.0f}", said["passed"] + said["warnings"] + said["critical"]]
        )  # fmt: skip
    columns = ["media", "import CPU s", "check CPU s", "wall s", "CPU s in all", "peak MB", "expectations"]
    print(table(columns, lines))
    (fewer, less), (more, most) = costs
    if more > fewer:
        each = (most - less) / (more - fewer) * 100_000
        rest = max(0, 1_000_000 - more) / 100_000
        print(
            f"\neach further 100,000 media, with their texts, pairs and scores: {each:.2f} CPU s; "
            f"1,000,000 by that: {most + rest * each:.0f} CPU s"
        )


if __name__ == "__main__":
    main()
