"""What `--out` wrote, as the two tables of docs/reliability.md: `python -m tests.torture.report torture.jsonl`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.measure import table


def rows_of_log(path: Path) -> list[dict[str, Any]]:
    """Return what was written, a dictionary a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def tables(rows: Iterable[dict[str, Any]]) -> tuple[str, str]:
    """Return the table of kills, a row a victim, and that of faults, a row each."""
    rows = list(rows)
    kills = [row for row in rows if "victim" in row]
    faults = [row for row in rows if "fault" in row]
    lines: list[list[object]] = []
    for victim in sorted({row["victim"] for row in kills}):
        ours = [row for row in kills if row["victim"] == victim]
        fell = [row["fell"] for row in ours]
        held = sum(not row["lost"] for row in ours)
        lines.append([
            victim, len(ours), fell.count("killed"), sum(one.startswith("failed") for one in fell), fell.count("went on"),
            sum(row["seen"] in ("before", "nothing") for row in ours), sum(row["seen"] == "after" for row in ours),
            f"{held} of {len(ours)}",
        ])  # fmt: skip
    lines.append(
        ["all", len(kills), "", "", "", "", "", f"{sum(not row['lost'] for row in kills)} of {len(kills)}"]
    )
    columns = [
        "killed",
        "runs",
        "died with it",
        "failed",
        "went on",
        "tag then at the old",
        "at the new",
        "held",
    ]
    return (
        table(columns, lines),
        table(
            ["fault", "how", "what the run or the read did", "then"],
            [[row["fault"], row["variant"], row["fell"], row["lost"] or row["then"]] for row in faults],
        ),
    )


if __name__ == "__main__":
    print("\n\n".join(tables(rows_of_log(Path(sys.argv[1])))))
