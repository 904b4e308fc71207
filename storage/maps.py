"""Maps of a snapshot's media in two dimensions, kept as checkpoints: where each medium lies, and how that was found."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage import checkpoints
from storage.lake import Lake
from storage.versions import Snapshot

KIND = "map"


@dataclass(frozen=True)
class Map:
    """Media as points.

    Args:
        id: Of the checkpoint.
        media_ids: (N,) media.
        points: (N, 2) float32, each axis within [-1, 1].
        meta: How it was made: `recipe`, `table` of vectors, `snapshot_id`, `of` how many media.
    """

    id: str
    media_ids: list[str]
    points: NDArray[np.float32]
    meta: dict[str, Any]


def keep(
    lake: Lake, snapshot: Snapshot, media_ids: list[str], points: NDArray[np.float32], meta: dict[str, Any]
) -> str:
    """Write a map and return its id. `meta` has `recipe` with a `name`, `seed`, `table`, `of` and `run_id`."""
    digests = np.frombuffer(bytes.fromhex("".join(media_ids)), np.uint8).reshape(len(media_ids), -1)
    facts = {
        "kind": KIND, "head": None, "loss": None, "snapshot_id": snapshot.snapshot_id,
        "snapshot_digest": snapshot.digest,
    }  # fmt: skip
    return checkpoints.save(lake, {"media": digests, "points": points}, facts | meta)


def newest(lake: Lake) -> Map | None:
    """Return the map of the newest snapshot that has one; None in a lake without."""
    known = {one: meta for one, meta in checkpoints.checkpoints(lake).items() if meta.get("kind") == KIND}
    if not known:
        return None
    last = max(known, key=lambda one: (known[one]["snapshot_id"], known[one]["run_id"]))
    found = checkpoints.load(lake, last)
    ids = [row.tobytes().hex() for row in found.state["media"]]
    return Map(last, ids, found.state["points"], found.meta)
