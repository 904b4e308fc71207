"""Say what rows are about that failed an expectation, so that a person can judge them."""

from collections.abc import Sequence

from schemas.tables import EMBEDDINGS_PREFIX
from storage.lake import Lake, key_of
from storage.quoting import literals
from storage.versions import Snapshot

_SUBJECTS = {"media": "media", "text": "texts", "pair": "pairs"}


def told(lake: Lake, snapshot: Snapshot, table: str, ids: Sequence[str]) -> dict[str, str]:
    """Return {id: what it is about}, of rows of a table: a text, a place, or what a score or a decision speaks of."""
    if not ids or table not in snapshot.versions:
        return {}
    if table == "texts":
        return _column(lake, snapshot, table, "text", ids)
    if table == "media":
        return _places(lake, snapshot, ids)
    if table == "pairs":
        return _texts_of(lake, snapshot, _column(lake, snapshot, table, "text_id", ids))
    if table in ("sources", "quarantine"):
        return _column(lake, snapshot, table, "locator", ids)
    if table in ("scores", "decisions"):
        return _subjects(lake, snapshot, table, ids)
    if table.startswith(EMBEDDINGS_PREFIX):
        return _column(lake, snapshot, "texts", "text", ids) | _places(lake, snapshot, ids)
    return {}


def _column(lake: Lake, snapshot: Snapshot, table: str, column: str, ids: Sequence[str]) -> dict[str, str]:
    if not ids or table not in snapshot.versions:
        return {}
    key = key_of(table)
    listed = literals(ids)
    rows = lake.dataset(table, snapshot).to_table(columns=[key, column], filter=f"{key} IN ({listed})")
    return {
        row[key]: ", ".join(row[column]) if isinstance(row[column], list) else str(row[column])
        for row in rows.to_pylist()
        if row[column] is not None
    }


def _places(lake: Lake, snapshot: Snapshot, ids: Sequence[str]) -> dict[str, str]:
    return _column(lake, snapshot, "media", "locators", ids)


def _texts_of(lake: Lake, snapshot: Snapshot, text_of: dict[str, str]) -> dict[str, str]:
    texts = _column(lake, snapshot, "texts", "text", sorted(set(text_of.values())))
    return {row: texts[text] for row, text in text_of.items() if text in texts}


def _subjects(lake: Lake, snapshot: Snapshot, table: str, ids: Sequence[str]) -> dict[str, str]:
    subjects = _column(lake, snapshot, table, "subject", ids)
    subject_ids = _column(lake, snapshot, table, "subject_id", ids)
    found: dict[str, str] = {}
    for subject, of in _SUBJECTS.items():
        wanted = {
            row: subject_ids[row] for row, said in subjects.items() if said == subject and row in subject_ids
        }
        about = told(lake, snapshot, of, sorted(set(wanted.values())))
        found |= {row: f"{subject} {about.get(item, item)}" for row, item in wanted.items()}
    return found
