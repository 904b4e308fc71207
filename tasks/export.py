"""Export rows of a snapshot: shards in a common format, a manifest, licences, and a datasheet that says what is not there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key, params_digest
from schemas.errors import DataError
from schemas.recipes import MethodRef
from storage.lake import Lake
from storage.places import Place
from storage.selection import Selection, select
from tasks.catalog import build
from tasks.datasheet import datasheet, licences
from tasks.exports import EXPORTERS
from tasks.originals import Kind, Originals
from tasks.run import RETRY, Workers, code_version
from tasks.shards.export import PARTS, ExportRun, ExportShard, export_shard

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ExportPlan:
    """What will be written: addresses, not rows."""

    run: ExportRun
    selection: Selection
    shards: tuple[ExportShard, ...]
    media: int


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        target: Where.
        snapshot_id: Of which snapshot.
        media: Media in the files.
        missing: Media whose bytes could not be had; `missing.jsonl` says why.
        files: Data files.
        size_bytes: Of all data files.
        unchanged: Everything was there already.
    """

    target: str
    snapshot_id: str
    media: int
    missing: int
    files: int
    size_bytes: int
    unchanged: bool = False


@task(cache_policy=NO_CACHE, **RETRY)
def plan(
    lake: Lake,
    target: str,
    format: MethodRef,  # noqa: A002 - what users call it
    *,
    statement: str | None,
    where: str | None,
    at: str | None,
    use: str,
    media: Kind,
    shard_bytes: int,
    cache: Path,
    target_options: Mapping[str, Any] | None = None,
) -> ExportPlan:
    """Choose rows, write the choice down, and cut it into shards of whole media.

    Raises:
        DataError: Nothing is chosen, or the target holds something else.
    """
    exporter = build(EXPORTERS, format)
    chosen, said = chosen_rows(lake, statement=statement, where=where, at=at)
    selection = select(lake, chosen, at=at, where=said, use=use, cache=cache)
    if not len(selection):
        raise DataError(
            f"nothing to export: no kept medium of {selection.snapshot_id} fits {said or 'the snapshot'}"
        )
    kind: Kind = media if exporter.carries_media else "none"
    snapshot = lake.snapshot(selection.snapshot_id)
    originals = Originals(
        lake.place.address, kind, snapshot.versions["media"], lake.fs_options, lake.storage_options
    )
    shards = _cut(selection.rows, 0 if kind == "none" else shard_bytes)
    ref = format.model_dump(mode="json")
    name = key(Path(selection.path).name, params_digest(ref), kind, str(shard_bytes))[:16]
    run = ExportRun(target, selection.path, format, originals, name, len(shards), dict(target_options or {}))
    _require_free(run)
    return ExportPlan(run, selection, shards, _media(selection.rows))


def chosen_rows(
    lake: Lake, *, statement: str | None, where: str | None, at: str | None
) -> tuple[pa.Table | None, str]:
    """Return what a statement or a condition chooses, and the statement; None for everything that is kept.

    Args:
        lake: The lake.
        statement: SQL that gives `digest` or `media_id`, and `text_id` where single pairs are meant.
        where: Condition over `pairs p JOIN media m`, in place of a statement.
        at: Snapshot id, tag or digest; newest by default.

    Raises:
        DataError: Both were given.
    """
    if statement and where:
        raise DataError("give a statement or a condition, not both")
    if where:
        statement = (
            f"SELECT p.media_id, p.text_id FROM pairs p JOIN media m USING (media_id) WHERE ({where}\n)"
        )
    if not statement:
        return None, ""
    from storage.sql import Limits, sql

    return sql(lake, statement, at=at, limits=Limits(rows=None)).arrow(), statement


@task(cache_policy=NO_CACHE)
def write(planned: ExportPlan, workers: Workers) -> list[dict[str, Any]]:
    """Write every shard; what was finished before a kill is not written again. Returns what each says it wrote."""
    for _ in workers.map(partial(export_shard, planned.run), planned.shards, label="export"):
        pass
    place = planned.run.place
    return [json.loads(place.fs.cat_file(planned.run.part(shard.number))) for shard in planned.shards]


@task(cache_policy=NO_CACHE)
def finish(lake: Lake, planned: ExportPlan, parts: list[dict[str, Any]]) -> Exported:
    """Write manifest, licences and datasheet; the manifest last, so that its being there says all is."""
    place, selection = planned.run.place, planned.selection
    missing = [one for part in parts for one in part["missing"]]
    files = [file | {"rows": part["rows"]} for part in parts for file in part["files"]]
    media = sum(part["rows"] for part in parts)
    before = _manifest(place)
    manifest = {
        "name": planned.run.name,
        "format": planned.run.format.model_dump(mode="json"),
        "media": planned.run.originals.kind,
        "snapshot": selection.snapshot_id,
        "digest": selection.digest,
        "where": selection.where,
        "use": selection.use,
        "rows": media,
        "missing": len(missing),
        "code_version": code_version(),
        "files": files,
    }
    sheet = datasheet(lake, selection, manifest, missing)
    place.write(place.path("datasheet.md"), sheet.encode())
    if planned.run.format.name == "huggingface":
        head = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/*.parquet\n---\n\n"
        place.write(place.path("README.md"), (head + sheet).encode())
    place.write(place.path("licences.csv"), licences(selection.rows).encode())
    if missing:
        lines = "".join(json.dumps(one, sort_keys=True, ensure_ascii=False) + "\n" for one in missing)
        place.write(place.path("missing.jsonl"), lines.encode())
    place.write(place.path(MANIFEST), json.dumps(manifest, indent=1, sort_keys=True).encode())
    size = sum(int(file["size_bytes"]) for file in files)
    return Exported(
        planned.run.target, selection.snapshot_id, media, len(missing), len(files), size, before == manifest
    )


def _cut(rows: pa.Table, shard_bytes: int) -> tuple[ExportShard, ...]:
    """Cut rows, sorted by medium, where a shard is full and another medium begins."""
    size = rows["size_bytes"].fill_null(0).to_numpy()
    first = rows["rank"].to_numpy() == 1
    starts = np.flatnonzero(first)
    if shard_bytes:
        filled = np.cumsum(size[starts])
        shard = (filled - size[starts]) // shard_bytes
    else:
        shard = np.arange(len(starts)) // 65_536
    cuts = [0, *(int(starts[at]) for at in np.flatnonzero(np.diff(shard)) + 1), len(rows)]
    return tuple(
        ExportShard(number, a, b) for number, (a, b) in enumerate(zip(cuts, cuts[1:], strict=False)) if b > a
    )


def _media(rows: pa.Table) -> int:
    return int((rows["rank"].to_numpy() == 1).sum())


def _manifest(place: Place) -> dict[str, Any] | None:
    path = place.path(MANIFEST)
    return dict(json.loads(place.fs.cat_file(path))) if place.fs.exists(path) else None


def _require_free(run: ExportRun) -> None:
    """Refuse a target that holds anything but this very export, finished or not."""
    place = run.place
    if not place.fs.exists(place.root):
        return
    there = {path.rstrip("/").rsplit("/", 1)[-1] for path in place.fs.ls(place.root, detail=False)}
    ours = place.fs.exists(place.path(PARTS, run.name))
    if there and not ours:
        raise DataError(
            f"{run.target} is not empty and holds something else than this export ({', '.join(sorted(there)[:3])}); "
            "choose another place, or remove it"
        )
