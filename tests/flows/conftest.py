"""What flow tests share: the content of a lake as plain values, to compare lakes with."""

from typing import Any

import pytest

from storage import lake as lakes

# Columns that say when, by which run, or where on this machine; everything else must agree between two lakes.
_OF_THE_RUN = {"run_id", "quarantined_at", "uri", "fingerprint", "quarantine_id", "row_digest"}


def content(uri: str, at: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return every content table of a snapshot as sorted rows."""
    return rows_of(lakes.open(uri), at)


def rows_of(lake: lakes.Lake, at: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return the same of a lake that is open."""
    tables = {}
    for table in lake.tables(at):
        key = lakes.key_of(table)
        rows = [
            {name: value for name, value in row.items() if name not in _OF_THE_RUN}
            for row in lake.read(table, at=at).sort_by(key).to_pylist()
        ]
        tables[table] = sorted(rows, key=repr)
    return tables


@pytest.fixture
def content_of() -> Any:
    return content
