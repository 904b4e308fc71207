"""Which items of a side a query may find: kept, and under its condition, as Lance evaluates it."""

from collections.abc import Hashable, Sequence
from pathlib import Path

import pyarrow as pa

from schemas.errors import DataError
from storage.conditions import checked
from storage.lake import Lake
from storage.matrix import KEPT, STATES
from storage.versions import Snapshot


def condition(side: str, where: str | None, modality: Sequence[str] = ()) -> str:
    """Return what must hold of a row of media or texts, in SQL that may go to the engine.

    Args:
        side: media or text.
        where: Condition on columns of the side's table; see `storage.conditions.checked`.
        modality: Only media of these modalities; all by default.

    Raises:
        DataError: The condition cannot be read, or a modality is asked of texts or is no plain word.
    """
    if modality and side != "media":
        raise DataError("texts have no modality; ask for media, or leave the modality out")
    for name in modality:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise DataError(f"{name!r} is no modality: they are plain words such as image or audio")
    parts = [KEPT]
    if modality:
        parts.append("modality IN ({})".format(", ".join(f"'{name}'" for name in sorted(set(modality)))))
    if where is not None:
        parts.append(f"({checked(where, STATES[side].schema.names)})")
    return " AND ".join(parts)


def passing(lake: Lake, snapshot: Snapshot, side: str, of_rows: str, columns: Sequence[str] = ()) -> pa.Table:
    """Return row addresses, and columns where wanted, of the rows a `condition` holds for. Nothing without the table.

    Raises:
        DataError: The engine cannot evaluate it.
    """
    spec = STATES[side]
    if spec.name not in snapshot.versions:
        return pa.table(
            {name: pa.array([], pa.string()) for name in columns} | {"_rowaddr": pa.array([], pa.uint64())}
        )
    try:
        scanner = lake.dataset(spec.name, snapshot).scanner(
            columns=list(columns), filter=of_rows, with_row_address=True
        )
        return scanner.to_table()
    except (ValueError, pa.ArrowException, OSError) as error:
        said = str(error).split(", /")[0].splitlines()[0][:300]
        raise DataError(f"the condition {of_rows} cannot be used: {said}") from error


def moment(lake: Lake, snapshot: Snapshot, cache: Path | None = None) -> Hashable:
    """Name a snapshot for a memory of this process.

    A lake made anew at the same place has snapshots of the same ids, but not of the same moment.
    """
    return lake.uri, snapshot.snapshot_id, snapshot.created_at, snapshot.run_id, cache
