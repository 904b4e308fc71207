"""Snapshots and tags: one name for one version of every table."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Snapshot:
    """One version of every content table, committed together.

    Args:
        snapshot_id: "s000001", in order of commit.
        parent_id: The snapshot it was made from; "" for the first.
        digest: Over the content of every table: the same input and recipe give the same digest anywhere.
        versions: Lance version by table.
        digests: Content digest by table.
        row_counts: Rows by table.
        recipe_digest: Digest of the recipe that made it.
        run_id: The run that made it.
        created_at: When it was committed, UTC.
    """

    snapshot_id: str
    parent_id: str
    digest: str
    versions: dict[str, int]
    digests: dict[str, str]
    row_counts: dict[str, int]
    recipe_digest: str
    run_id: str
    created_at: datetime

    def as_row(self) -> dict[str, Any]:
        """Return the row of `snapshots` that says this."""
        row = dict(vars(self))
        for name in ("versions", "digests", "row_counts"):
            row[name] = json.dumps(row[name], sort_keys=True)
        return row

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Snapshot":
        """Read a row of `snapshots`."""
        read = dict(row)
        for name in ("versions", "digests", "row_counts"):
            read[name] = json.loads(read[name])
        return cls(**read)


def next_id(head: Snapshot | None) -> str:
    """Return the id that follows `head`."""
    return f"s{(int(head.snapshot_id[1:]) if head else 0) + 1:06d}"
