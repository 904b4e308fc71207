"""One curation in a process of its own, for benchmarks to measure; prints what it did as JSON."""

import argparse
import json
import time
from pathlib import Path

from schemas.recipes import CurationRecipe


def main() -> None:
    """Run one recipe (JSON) over one lake."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("lake")
    args = parser.parse_args()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    recipe = CurationRecipe.model_validate_json(args.recipe.read_text())
    from flows.curate import curate
    from storage import lake as lakes
    from tasks.check import IMPORTS

    imported, imported_cpu = time.perf_counter(), time.process_time()
    curate(recipe, lake=args.lake)
    ended = time.perf_counter()
    row = lakes.open(args.lake).runs()[0]
    costs = json.loads(row["costs"])
    late = sum(cost["cpu_s"] for cost in costs if cost["step"] == IMPORTS)
    costs = [cost for cost in costs if cost["step"] != IMPORTS]
    steps = sum(cost["wall_s"] for cost in costs)
    print(
        json.dumps(
            {
                "status": row["status"],
                "counts": json.loads(row["counts"]),
                "costs": costs,
                "steps_wall_s": steps,
                "steps_cpu_s": sum(cost["cpu_s"] for cost in costs),
                "import_s": imported - begin,
                "import_cpu_s": imported_cpu - begin_cpu + late,
                "flow_s": ended - imported,
                "orchestration_s": ended - imported - steps,
            }
        )
    )


if __name__ == "__main__":
    main()
