"""What checks found of snapshots: a log that says whether a tag may move, and why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.tables import QUALITY
from storage.quoting import literal

if TYPE_CHECKING:
    from storage.lake import Lake
    from storage.versions import Snapshot

BAD = ("failed", "raised")
CRITICAL_WEIGHT = 4  # of a critical expectation in the score, beside 1 of a warning


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Args:
        snapshot_id: The snapshot.
        rows: Rows of `quality`.
        is_new: It was checked now; false: it had been, by the same suite.
    """

    snapshot_id: str
    rows: tuple[dict[str, Any], ...]
    is_new: bool

    @property
    def blocking(self) -> list[dict[str, Any]]:
        """Results that keep a tag from moving."""
        return blocking(self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """Results by what they mean: passed, critical, warnings, skipped; and how many of the bad ones raised."""
        bad = [row for row in self.rows if row["status"] in BAD]
        return {
            "passed": sum(row["status"] == "passed" for row in self.rows),
            "critical": len(self.blocking),
            "warnings": len(bad) - len(self.blocking),
            "raised": sum(row["status"] == "raised" for row in bad),
            "skipped": sum(row["status"] == "skipped" for row in self.rows),
        }


def results(lake: "Lake", snapshot_id: str, suite_digest: str | None = None) -> list[dict[str, Any]]:
    """Return what the last check of a snapshot found, by table and name; empty where it was not checked.

    Args:
        lake: The lake.
        snapshot_id: The snapshot.
        suite_digest: Only a check by this suite; any by default.
    """
    found = _of(lake, snapshot_id)
    if suite_digest is not None:
        found = [row for row in found if row["suite_digest"] == suite_digest]
    if not found:
        return []
    last = max((row["checked_at"], row["suite_digest"]) for row in found)
    found = [row for row in found if (row["checked_at"], row["suite_digest"]) == last]
    return sorted(found, key=lambda row: (row["table"], row["name"]))


def score(rows: Sequence[dict[str, Any]]) -> float | None:
    """Return the share of expectations that hold, a critical one counting as much as four warnings. In [0, 1].

    One that could not be told counts as one that does not hold; one that was skipped does not count. None: none counts.
    """
    counted = [row for row in rows if row["status"] != "skipped"]
    total = sum(_weight(row) for row in counted)
    return sum(_weight(row) for row in counted if row["status"] == "passed") / total if total else None


def _weight(row: dict[str, Any]) -> int:
    return CRITICAL_WEIGHT if row["severity"] == "critical" else 1


def blocking(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results that keep a tag from moving: critical ones that failed, or that could not be told."""
    return [row for row in rows if row["severity"] == "critical" and row["status"] in BAD]


def held(lake: "Lake", tag: str, head: "Snapshot | None") -> str | None:
    """Return the snapshot that keeps a tag from moving on to what is made from `head`; None if none does.

    What follows a snapshot that failed carries its rows on, and has not been checked. The next curation checks it.

    Args:
        lake: The lake.
        tag: The tag.
        head: The newest snapshot.
    """
    place = lake.tags().get(tag)
    if head is None or head.snapshot_id == place or lake.latest(QUALITY.name) is None:
        return None
    by_id = {each.snapshot_id: each for each in lake.snapshots()}
    here: Snapshot | None = head
    while here is not None and here.snapshot_id != place:
        if checked := results(lake, here.snapshot_id):
            return here.snapshot_id if blocking(checked) else None
        here = by_id.get(here.parent_id)
    return None


def _of(lake: "Lake", snapshot_id: str) -> list[dict[str, Any]]:
    return lake.read(QUALITY.name, where=f"snapshot_id = {literal(snapshot_id)}").to_pylist()


__all__ = ["BAD", "Checked", "blocking", "held", "results", "score"]
