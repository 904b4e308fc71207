"""What storage tests share: a small table, and rows for it."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.dataset as pds
import pytest

from schemas.tables import TEXTS, TableSpec
from storage import rows
from storage.lake import Lake, Snapshot, UpsertCount, Writer


def text_rows(texts: Mapping[str, str], **columns: object) -> pa.Table:
    """Return rows of `texts`, digest included, for {key: text}."""
    given = {"language": "en", "language_from": "declared", "origin": "raw", "present": True, "run_id": "r"}
    table = [
        {name: None for name in TEXTS.schema.names}
        | given
        | {"text_id": key, "text": text, "length_chars": len(text)}
        | columns
        for key, text in texts.items()
    ]
    return rows.with_digest(pa.Table.from_pylist(table, schema=TEXTS.schema), TEXTS)


def upsert(writer: Writer, texts: Mapping[str, str], spec: TableSpec = TEXTS) -> UpsertCount:
    return writer.upsert(spec, pds.dataset(text_rows(texts)))


def commit(
    lake: Lake, texts: Mapping[str, str], *, tag: str | None = "latest", recipe: str = "d"
) -> Snapshot:
    """Upsert and commit in one go."""
    with lake.writer() as writer:
        upsert(writer, texts)
        return writer.commit(tag=tag, recipe_digest=recipe, run_id="r")


def texts_of(lake: Lake, at: str | None = None) -> dict[str, str]:
    return {row["text_id"]: row["text"] for row in lake.read("texts", at=at).to_pylist()}


@pytest.fixture
def lake(lake_dir: str) -> Lake:
    return Lake(lake_dir)
