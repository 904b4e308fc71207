"""What a condition chooses of a snapshot, written down once: rows that loaders and exports open by path.

The file is keyed by the snapshot, the condition and the use, so any number of processes that ask for the same find the
same rows in the same order, and map them instead of holding them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa

from schemas.digests import key
from schemas.errors import DataError, NoSuchSnapshot
from schemas.tables import MEDIA, PAIRS, SERVED, TEXTS
from storage.lake import Lake
from storage.places import Place
from storage.scratch import scratch
from storage.staging import Staging
from storage.versions import Snapshot
from storage.workbench import workbench

SELECTED = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("media_id", "modality", "media_type", "uri")),
        pa.field("size_bytes", pa.int64()),
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        *(pa.field(name, pa.string()) for name in ("licence", "credit", "concept", "locator", "pair_id")),
        *(pa.field(name, pa.string()) for name in ("text_id", "text", "language", "origin", "role")),
        pa.field("rank", pa.int32()),  # of the text among the medium's own, 1 is best
    ]
)
# A text the snapshot serves for the use comes first, in its rank; then raw ones, captions before other roles.
_ROWS = """
SELECT m.media_id, m.modality, m.media_type, m.uri, m.size_bytes, m.width_px, m.height_px, m.licence, m.credit,
       m.concept, m.locators[1] AS locator, p.pair_id, t.text_id, t.text, t.language, t.origin, p.role,
       (row_number() OVER (PARTITION BY m.media_id ORDER BY s.rank NULLS LAST, t.origin <> 'raw', p.role <> 'caption',
                           p.role, t.text_id))::INTEGER AS rank
FROM base_media m
{links} JOIN base_pairs p ON p.media_id = m.media_id AND p.present AND p.kept IS NOT false {of_pair}
{links} JOIN base_texts t ON t.text_id = p.text_id AND t.kept IS NOT false
LEFT JOIN (SELECT media_id, text_id, rank FROM base_served WHERE active AND use = '{use}') s
  ON s.media_id = m.media_id AND s.text_id = t.text_id
WHERE m.present AND m.kept IS NOT false {of_media}
ORDER BY m.media_id, rank
"""


@dataclass(frozen=True)
class Selection:
    """Rows chosen of a snapshot: one a pair, or one without a text for a medium that has none. Sorted by medium, rank.

    Args:
        path: Arrow file with the columns of `SELECTED`, read by mapping it.
        lake: Address of the lake.
        snapshot_id: The snapshot.
        digest: Of the snapshot's content.
        where: The condition, as it was asked.
        use: Which ranking of texts was taken.
    """

    path: str
    lake: str
    snapshot_id: str
    digest: str
    where: str
    use: str

    @cached_property
    def rows(self) -> pa.Table:
        """The rows, mapped: only what is looked at is read."""
        with pa.memory_map(self.path) as file:
            return pa.ipc.open_file(file).read_all()

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, object]:
        """Leave the mapping behind: another process maps the file itself."""
        return {name: value for name, value in vars(self).items() if name != "rows"}


def select(
    lake: Lake,
    chosen: pa.Table | None = None,
    *,
    at: str | None = None,
    where: str = "",
    use: str = "training",
    cache: Path,
) -> Selection:
    """Write down what was chosen, unless it was, and return where.

    Args:
        lake: The lake.
        chosen: Rows with `media_id` (or `digest`) and, where single pairs are meant, `text_id`; all kept pairs by default.
        at: Snapshot id, tag or digest; newest by default.
        where: What chose them: names the file, and is kept with what is made of it.
        use: Which ranking of `served` orders a medium's texts.
        cache: Folder for the file.

    Raises:
        DataError: `chosen` has neither column, or `use` is no name.
        NoSuchSnapshot: The lake is empty.
    """
    snapshot = lake.snapshot(at) if at else lake.head()
    if snapshot is None:
        raise NoSuchSnapshot(f"{lake.uri} is empty: run `xmodal curate RECIPE` first")
    if not use.replace("-", "").isalnum():
        raise DataError(f"a use is a name such as search or training; found {use!r}")
    ids = _ids(chosen)
    name = key(lake.uri, snapshot.snapshot_id, snapshot.digest, _versions(snapshot), use, *ids.fingerprint)[
        :24
    ]
    path = Path(cache) / "selections" / f"{name}.arrow"
    if not path.exists():
        _write(lake, snapshot, ids, use, path)
    return Selection(str(path), lake.place.address, snapshot.snapshot_id, snapshot.digest, where, use)


@dataclass(frozen=True)
class _Ids:
    table: pa.Table | None

    @property
    def by_pair(self) -> bool:
        return self.table is not None and "text_id" in self.table.schema.names

    @property
    def fingerprint(self) -> Sequence[str]:
        if self.table is None:
            return ("all",)
        columns = self.table.schema.names
        with duckdb.connect() as con:
            con.register("chosen", self.table)
            told = ", ".join(columns)
            found = con.execute(
                f"SELECT count(*), coalesce(bit_xor(hash({told})), 0), coalesce(sum(hash({told}) >> 32), 0) FROM chosen"
            ).fetchone()
        return (*columns, *(str(value) for value in found or ()))


def _ids(chosen: pa.Table | None) -> _Ids:
    if chosen is None:
        return _Ids(None)
    names = chosen.schema.names
    media = next((name for name in ("media_id", "digest") if name in names), None)
    if media is None:
        raise DataError(f"what is chosen needs a column media_id or digest; it has {', '.join(names)}")
    columns = {"media_id": chosen[media].cast(pa.string())}
    if "text_id" in names:
        columns["text_id"] = chosen["text_id"].cast(pa.string())
    return _Ids(pa.table(columns).group_by(list(columns)).aggregate([]))


def _versions(snapshot: Snapshot) -> str:
    return f"{sorted(snapshot.versions.items())} {snapshot.created_at.isoformat()}"


def _write(lake: Lake, snapshot: Snapshot, ids: _Ids, use: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    of_media, of_pair, links = "", "", "LEFT"
    if ids.by_pair:
        of_pair = "AND EXISTS (FROM chosen c WHERE c.media_id = p.media_id AND c.text_id = p.text_id)"
        links = ""
    elif ids.table is not None:
        of_media = "AND m.media_id IN (SELECT media_id FROM chosen)"
    with (
        scratch("selection", path.parent) as folder,
        workbench(lake, snapshot, Staging(Place(folder), "selection")) as bench,
    ):
        bench.add_base(MEDIA, PAIRS, TEXTS, SERVED)
        if ids.table is not None:
            bench.offer("chosen", lambda: ids.table)
        sql = _ROWS.format(links=links, of_pair=of_pair, of_media=of_media, use=use)
        os.replace(bench.stage(sql, "rows.arrow", schema=SELECTED), path)
