"""Xmodal's side of `benchmarks.compare`: one job in a process of its own; prints what it did as JSON."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import plain
from flows import ephemeral
from schemas.recipes import CurationRecipe

ENCODER = "peers-vit"  # the peers' network, added to the catalogue by `benchmarks.peers_encoder`


def curate(images: Path, out: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Run a curation and say what was kept, and the digest of what was found of each file."""
    from flows.curate import curate as flow
    from storage import lake as lakes

    started = time.perf_counter()
    flow(CurationRecipe.model_validate(recipe), lake=str(out / "lake"))
    wall = time.perf_counter() - started
    lake = lakes.open(str(out / "lake"))
    row = lake.runs()[0]
    media = lake.read(
        "media", columns=["locators", "width_px", "height_px", "phash", "kept"], where="present"
    )
    found = [
        (place.partition("/")[2], one["width_px"], one["height_px"], one["phash"])
        for one in media.to_pylist()
        for place in one["locators"]
        if one["phash"] is not None
    ]
    costs = json.loads(row["costs"])
    return {
        "images": json.loads(row["counts"])["plan"]["listed"],
        "kept": json.loads(row["counts"])["items"]["kept"],
        "wall_s": wall,
        "job_s": sum(cost["wall_s"] for cost in costs),
        "digest": plain.digest(found),
        "steps": {cost["step"]: cost["cpu_s"] for cost in costs},
    }


def vectors(out: Path) -> dict[str, Any]:
    """Return the norm-1 sum of the vectors of media, as the peers' scripts print it, and how many there are."""
    from storage import lake as lakes

    lake = lakes.open(str(out / "lake"))
    head = lake.head()
    assert head is not None
    name = next(table for table in head.versions if table.startswith("embeddings_"))
    rows = lake.read(name, columns=["vector"], where="side = 'media'")["vector"].combine_chunks()
    return {"checksum": f"{float(np.abs(rows.values.to_numpy()).sum()):.2f}", "n_out": len(rows)}


def search(peers: Path | None, out: Path, count: int) -> dict[str, Any]:
    """Ask Xmodal and raw LanceDB the same queries in turn, and return the table of `benchmarks.search` as lines."""
    from benchmarks import search as bench

    rows, buckets, queries = bench.generated(count, "latent", peers)
    return {"said": bench.measured(rows, buckets, queries, out, hnsw_most=0)}


def main() -> None:
    """Run one job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=("curate", "embed", "search"))
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    args = parser.parse_args()
    if args.job == "search":
        print(json.dumps(search(args.peers, args.out, args.rows)))
        return
    ephemeral.ahead()  # as every command does
    if args.job == "embed":
        from benchmarks import peers_encoder  # noqa: F401 - adds the encoder to the catalogue
    done = curate(args.images, args.out, json.loads(args.recipe.read_text()))
    print(json.dumps(done | (vectors(args.out) if args.job == "embed" else {})))


if __name__ == "__main__":
    main()
