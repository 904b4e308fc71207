"""Write one shard of an export: read media, hand samples to the format, publish files whole."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from schemas.errors import BadInput
from schemas.recipes import MethodRef
from storage.places import Place
from storage.scratch import scratch
from tasks.catalog import build
from tasks.exports import EXPORTERS
from tasks.exports.contract import Said, Sample
from tasks.originals import Originals
from tasks.run import ShardReport, cpu_seconds

READ_AHEAD = 64  # media whose bytes are held at once
PARTS = "_export"  # of the target: what each finished shard wrote, until all are there


@dataclass(frozen=True)
class ExportRun:
    """What every shard of an export needs to know.

    Args:
        target: Where to write.
        rows: Arrow file of the selection, readable by every worker.
        format: The exporter.
        originals: Where bytes come from.
        name: Names the export by its content: another one into the same place finds nothing of this one's.
        shards: How many there are.
        target_options: What fsspec needs for the target.
    """

    target: str
    rows: str
    format: MethodRef
    originals: Originals
    name: str
    shards: int
    target_options: dict[str, object] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """The target."""
        return Place(self.target, dict(self.target_options))

    def part(self, shard: int) -> str:
        """Return where a finished shard says what it wrote."""
        return self.place.path(PARTS, self.name, f"{shard:05d}.json")


@dataclass(frozen=True)
class ExportShard:
    """Rows of the selection from `start` to `stop`: whole media."""

    number: int
    start: int
    stop: int


def export_shard(run: ExportRun, shard: ExportShard) -> ShardReport:
    """Write one shard, unless it is there. Runs in a worker."""
    place = run.place
    if place.fs.exists(run.part(shard.number)):
        return ShardReport({"shards done before": 1})
    missing: list[dict[str, str]] = []
    with cpu_seconds() as cpu, scratch("export") as made:
        folder = Path(made)
        exporter = build(EXPORTERS, run.format)
        count = exporter(_samples(run, shard, missing), folder, shard.number, run.shards)
        files = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            files.append({"path": name, "size_bytes": path.stat().st_size, "sha256": _digest(path)})
            place.publish(path, place.path(*name.split("/")))
    part = {"number": shard.number, "rows": count, "files": files, "missing": missing}
    place.write(run.part(shard.number), json.dumps(part, sort_keys=True).encode())
    written = sum(int(str(file["size_bytes"])) for file in files)
    return ShardReport({"media": count, "missing": len(missing)}, count, cpu[0], written_bytes=written)


def _samples(run: ExportRun, shard: ExportShard, missing: list[dict[str, str]]) -> Iterator[Sample]:
    """Yield a shard's media with their texts and bytes; those whose bytes cannot be had are noted instead."""
    with pa.memory_map(run.rows) as file:
        rows = pa.ipc.open_file(file).read_all().slice(shard.start, shard.stop - shard.start)
    held: list[list[dict[str, object]]] = []
    for row in _rows(rows):
        if held and held[-1][0]["media_id"] == row["media_id"]:
            held[-1].append(row)
            continue
        if len(held) == READ_AHEAD:
            yield from _read(run, held, missing)
            held = []
        held.append([row])
    yield from _read(run, held, missing)


def _rows(rows: pa.Table) -> Iterator[dict[str, object]]:
    for batch in rows.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def _read(
    run: ExportRun, held: list[list[dict[str, object]]], missing: list[dict[str, str]]
) -> Iterator[Sample]:
    ids = [str(rows[0]["media_id"]) for rows in held]
    found = run.originals.read(ids, [str(rows[0]["uri"]) for rows in held])
    for media_id, rows, data in zip(ids, held, found, strict=True):
        if isinstance(data, BadInput):
            missing.append({"media_id": media_id, "reason": data.reason, "message": str(data)[:500]})
            continue
        first = rows[0]
        media_type = "image/webp" if run.originals.kind == "thumbnail" else str(first["media_type"])
        texts = tuple(
            Said(*(str(row[name] or "") for name in ("text_id", "text", "language", "origin", "role")))
            for row in rows
            if row["text_id"] is not None
        )
        yield Sample(media_id, media_type, data, texts, first)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
