"""Find what is new in the sources, look at it, and stage what was found."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial

import PIL
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key, text_digest
from schemas.errors import BadInput
from schemas.items import ITEM_SCHEMA, Inspected, Item
from schemas.recipes import InspectRecipe, SourceRef
from schemas.settings import DecodeLimits, Settings
from schemas.tables import MEDIA, QUARANTINE, SOURCES
from storage.workbench import workbench
from tasks import sources, texts
from tasks.corpora import CORPORA
from tasks.media.decoder import Decoder, LocalBytes
from tasks.run import Job, Run, ShardReport, cpu_seconds
from tasks.sources.fetch import fetch_many
from tasks.sources.read import open_local, read_bytes

LIST_ROWS = 4096
FETCH_ROWS = 64  # downloads held at once

_FACTS = [
    "media_id", "modality", "media_type", "size_bytes", "width_px", "height_px", "duration_s", "colour_mode",
    "orientation", "frames", "animated", "has_alpha", "phash", "thumbnail", "decoder",
]  # fmt: skip
_GIVEN = ["uri", "concept", "licence", "credit", "extra"]

STAGED_MEDIA = pa.schema(
    [
        pa.field("source_id", pa.string()),
        *(MEDIA.schema.field(name).with_nullable(True) for name in _FACTS + _GIVEN),
    ]
)
STAGED_TEXTS = pa.schema(
    [
        pa.field("source_id", pa.string()),
        pa.field("media_id", pa.string()),
        pa.field("text_id", pa.string()),
        pa.field("pair_id", pa.string()),
        pa.field("text", pa.string()),
        pa.field("language", pa.string()),
        pa.field("language_from", pa.string()),
        pa.field("origin", pa.string()),
        pa.field("role", pa.string()),
    ]
)
STAGED_SOURCES = pa.schema(
    [
        SOURCES.schema.field(name)
        for name in (
            "source_id",
            "source",
            "locator",
            "fingerprint",
            "media_id",
            "text_ids",
            "status",
            "reason",
        )
    ]
)
STAGED_QUARANTINE = QUARANTINE.schema
STAGED = {
    "media": STAGED_MEDIA,
    "texts": STAGED_TEXTS,
    "sources": STAGED_SOURCES,
    "quarantine": STAGED_QUARANTINE,
}


@dataclass(frozen=True)
class Planned:
    """What a run has to look at: addresses, not rows.

    Args:
        shards: Names of staged shards of new and changed items.
        items: Items in those shards.
        listed: Items in the sources.
        removed: Items that the snapshot has and the sources no longer do.
    """

    shards: tuple[str, ...]
    items: int
    listed: int
    removed: int

    def paths(self, run: Run, table: str) -> list[str]:
        """Return the staged files of a table of `STAGED`."""
        return [run.staging.path("inspected", table, f"{shard}.arrow") for shard in self.shards]


@task(cache_policy=NO_CACHE)
def plan(job: Job) -> Planned:
    """List the sources, compare with the snapshot, and stage what is new or changed as shards."""
    run, staging = job.run, job.run.staging
    names = [source.name for source in run.recipe.sources]
    with job.ledger.step("plan") as step, workbench(run.lake, run.base, staging) as bench:
        staging.write_batches(_listed(run), ITEM_SCHEMA, "listed.arrow")
        bench.add_staged("listed", [staging.path("listed.arrow")], ITEM_SCHEMA)
        bench.add_base(SOURCES)
        changed = bench.batches(
            "SELECT l.* FROM listed l LEFT JOIN base_sources b USING (source_id) WHERE NOT coalesce("
            "b.present AND b.fingerprint = l.fingerprint AND NOT (b.status = 'quarantined' AND list_contains(?, b.reason)), "
            "false) ORDER BY l.source, l.locator",
            [list(run.replay)],
            size=run.recipe.shard_rows,
        )
        shards, items = [], 0
        for number, rows in enumerate(_even(changed, run.recipe.shard_rows)):
            shard = (
                f"{number:05d}-{key(*rows['source_id'].to_pylist(), *rows['fingerprint'].to_pylist())[:12]}"
            )
            staging.write(rows, "planned", f"{shard}.arrow")
            shards.append(shard)
            items += len(rows)
        removed = bench.stage(
            "SELECT b.source_id FROM base_sources b ANTI JOIN listed l USING (source_id) "
            f"WHERE b.present AND b.source IN ({', '.join(_quoted(name) for name in names)})",
            "removed.arrow",
        )
        planned = Planned(
            tuple(shards),
            items,
            listed=int(bench.rows("SELECT count(*) FROM listed")[0][0]),
            removed=len(staging.read(removed)),
        )
        step.items = planned.listed
        for name in ("listed", "removed"):
            step.count(name, getattr(planned, name))
        step.count("new or changed", planned.items)
        return planned


@task(cache_policy=NO_CACHE)
def inspect(job: Job, planned: Planned) -> Planned:
    """Read, check and decode every planned item; what was done before a kill is not done again."""
    run = job.run
    with job.ledger.step("inspect") as step:
        todo = [
            shard for shard in planned.shards if not run.staging.exists("inspected", "done", f"{shard}.arrow")
        ]
        step.count(
            "items staged before", 0 if len(todo) == len(planned.shards) else len(planned.shards) - len(todo)
        )
        for report in job.workers.map(partial(inspect_shard, run), todo, label="inspect"):
            step.add(report)
    return planned


def inspect_shard(run: Run, shard: str) -> ShardReport:
    """Look at a shard's items in a killable decoder and stage their rows. Runs in a worker."""
    items = run.staging.read(run.staging.path("planned", f"{shard}.arrow")).to_pylist()
    found: dict[str, list[dict[str, object]]] = {table: [] for table in STAGED}
    read_bytes_total = written = 0
    with cpu_seconds() as cpu:
        for item, outcome in zip(items, _looked_at(run, items), strict=True):
            try:
                if isinstance(outcome, BadInput):
                    raise outcome
                rows = _rows(run, item, outcome)
            except BadInput as error:
                found["quarantine"].append(_quarantined(run, item, error))
                found["sources"].append(_source(item, status="quarantined", reason=error.reason))
                continue
            for table, new in rows.items():
                found[table].extend(new)
            read_bytes_total += outcome.size_bytes if outcome else 0
        for table, schema in STAGED.items():
            rows_of = pa.Table.from_pylist(found[table], schema=schema)
            written += rows_of.nbytes
            run.staging.write(rows_of, "inspected", table, f"{shard}.arrow")
        run.staging.write(pa.table({"shard": [shard]}), "inspected", "done", f"{shard}.arrow")
    counts = {
        "media": len(found["media"]),
        "texts": len(found["texts"]),
        "quarantined": len(found["quarantine"]),
    }
    return ShardReport(counts, len(items), cpu[0], 0.0, read_bytes_total, written)


def _listed(run: Run) -> Iterator[pa.RecordBatch]:
    """Yield the items of all sources as batches of `ITEM_SCHEMA`."""
    rows: list[dict[str, object]] = []
    for ref in run.recipe.sources:
        for item in sources.reader(_resolved(ref))():
            rows.append(_item_row(run, ref.name, item))
            if len(rows) == LIST_ROWS:
                yield pa.RecordBatch.from_pylist(rows, schema=ITEM_SCHEMA)
                rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=ITEM_SCHEMA)


def _resolved(ref: SourceRef) -> SourceRef:
    """Return the source, a corpus replaced by its manifest (fetched if it is not there)."""
    if ref.kind != "corpus":
        return ref
    from schemas.recipes import MethodRef
    from tasks.catalog import build  # the one place that turns a corpus into a manifest

    corpus = build(CORPORA, MethodRef(name=ref.location))
    manifest = corpus.get(Settings().cache, report=lambda line: None)
    return ref.model_copy(update={"kind": "manifest", "location": str(manifest)})


def _item_row(run: Run, source: str, item: Item) -> dict[str, object]:
    row = asdict(item)
    row["source"] = source
    row["source_id"] = key(source, item.locator)
    row["fingerprint"] = f"{item.fingerprint}:{run.inspect_digest}"
    return row


def _even(batches: pa.RecordBatchReader, rows: int) -> Iterator[pa.Table]:
    """Yield tables of exactly `rows` rows, the last one shorter, whatever the batches' sizes."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        while len(batch):
            part = batch.slice(0, rows - size)
            batch = batch.slice(len(part))
            held.append(part)
            size += len(part)
            if size == rows:
                yield pa.Table.from_batches(held).cast(ITEM_SCHEMA)
                held, size = [], 0
    if held:
        yield pa.Table.from_batches(held).cast(ITEM_SCHEMA)


def _looked_at(run: Run, items: list[dict[str, object]]) -> Iterator[Inspected | BadInput | None]:
    """Yield what inspecting each item gave, in order; None for a text without a medium.

    Bytes of only a few items are held at once: the decoder asks for the next ones while it works.
    """
    waiting: deque[tuple[bytes | LocalBytes, str] | BadInput | None] = deque()

    def requests() -> Iterator[tuple[bytes | LocalBytes, str]]:
        for start in range(0, len(items), FETCH_ROWS):
            window = items[start : start + FETCH_ROWS]
            fetched = _fetched(run, window)
            for number, item in enumerate(window):
                request = _request(run, item, fetched.pop(number, None))
                waiting.append(request)
                if isinstance(request, tuple):
                    yield request

    for outcome in _decoder(run).inspect_many(requests()):
        while not isinstance(request := waiting.popleft(), tuple):
            yield request
        if isinstance(outcome, Inspected) and isinstance(request[0], bytes):
            run.lake.media.put(outcome.media_id, request[0])
        yield outcome
    for request in waiting:  # what follows the last decodable item
        if not isinstance(request, tuple):
            yield request


def _request(
    run: Run, item: dict[str, object], fetched: bytes | BadInput | None
) -> tuple[bytes | LocalBytes, str] | BadInput | None:
    """Return what the decoder needs, or why there is nothing to decode."""
    if item["problem"]:
        return BadInput(str(item["problem"]), str(item["problem_message"]))
    if not item["uri"]:
        return None
    if isinstance(fetched, BadInput):
        return fetched
    name = str(item["locator"])
    return (fetched, name) if fetched is not None else _opened(run, str(item["uri"]), name)


def _opened(run: Run, uri: str, name: str) -> tuple[bytes | LocalBytes, str] | BadInput:
    """Return what the decoder needs to read a medium: a place it can open itself, or bytes to be stored."""
    try:
        local = open_local(uri)
        if local is not None and not run.store_media:
            return LocalBytes(local.path, local.offset, local.size), name
        return read_bytes(uri, max_bytes=run.decode.max_bytes), name
    except BadInput as error:
        return error


def _fetched(run: Run, items: list[dict[str, object]]) -> dict[int, bytes | BadInput]:
    """Download the shard's URLs side by side."""
    numbers = [
        n
        for n, item in enumerate(items)
        if str(item["uri"]).startswith(("http://", "https://")) and not item["problem"]
    ]
    if not numbers:
        return {}
    urls = [str(items[n]["uri"]) for n in numbers]
    downloads = fetch_many(
        urls, limits=run.fetch, max_bytes=run.decode.max_bytes, allow_private=run.allow_private
    )
    return {numbers[index]: outcome for index, outcome in downloads}


@lru_cache(maxsize=1)
def _shared_decoder(recipe: InspectRecipe, limits: DecodeLimits) -> Decoder:
    return Decoder(recipe, limits)  # lives as long as its worker: starting one costs more than a few files


def _decoder(run: Run) -> Decoder:
    return _shared_decoder(run.recipe.inspect, run.decode)


def _rows(run: Run, item: dict[str, object], seen: Inspected | None) -> dict[str, list[dict[str, object]]]:
    """Return the rows an accepted item adds.

    Raises:
        BadInput: One of its texts cannot be taken.
    """
    rows: dict[str, list[dict[str, object]]] = {"media": [], "texts": [], "sources": []}
    media_id = seen.media_id if seen else None
    seen_texts: dict[str, dict[str, object]] = {}
    for given in item["texts"] or []:  # type: ignore[attr-defined]
        text = texts.checked(given["text"], run.recipe.inspect.text_max_chars)
        language = texts.primary_language(given["language"])
        declared = language != texts.UNKNOWN
        if not declared and run.recipe.inspect.detect_language:
            language = texts.detected_language(text)
        text_id = text_digest(text, language, given["origin"])
        seen_texts.setdefault(
            text_id,
            {
                "source_id": item["source_id"],
                "media_id": media_id,
                "text_id": text_id,
                "pair_id": key(media_id, text_id) if media_id else None,
                "text": text,
                "language": language,
                "language_from": "declared" if declared else "detected",
                "origin": given["origin"],
                "role": given["role"],
            },
        )
    rows["texts"] = list(seen_texts.values())
    if seen is None and not rows["texts"]:
        raise BadInput("missing-text", "the item has neither a medium nor a text")
    if seen is not None:
        stored = run.store_media or not _stays(str(item["uri"]))
        given_facts = {name: item[name] or None for name in ("concept", "licence", "credit", "extra")}
        uri = run.lake.media.address(seen.media_id) if stored else item["uri"]
        rows["media"] = [{"source_id": item["source_id"], **asdict(seen), **given_facts, "uri": uri}]
    rows["sources"] = [_source(item, media_id=media_id, text_ids=sorted(seen_texts))]
    return rows


def _stays(uri: str) -> bool:
    """Whether the bytes are left in place by reference: they are local."""
    return open_local(uri) is not None


def _source(item: dict[str, object], **found: object) -> dict[str, object]:
    row = {name: item[name] for name in ("source_id", "source", "locator", "fingerprint")}
    return {**row, "media_id": None, "text_ids": [], "status": "ok", "reason": None, **found}


def _quarantined(run: Run, item: dict[str, object], error: BadInput) -> dict[str, object]:
    stage = (
        "list"
        if item["problem"]
        else "text"
        if error.reason in _TEXT_REASONS
        else "fetch"
        if error.reason in _FETCH_REASONS
        else "decode"
    )
    return {
        "quarantine_id": key(str(item["source_id"]), str(item["fingerprint"]), stage, error.reason),
        **{name: item[name] for name in ("source_id", "source", "locator")},
        "stage": stage,
        "reason": error.reason,
        "error_class": error.error_class,
        "message": error.message[:1000],
        "media_id": error.digest,
        "size_bytes": item["size_bytes"] if item["size_bytes"] != -1 else None,
        "decoder": f"Pillow {PIL.__version__}" if stage == "decode" else None,
        "active": True,
        "quarantined_at": datetime.fromtimestamp(time.time(), UTC),
        "run_id": run.run_id,
    }


_TEXT_REASONS = frozenset({"missing-text", "bad-encoding", "nul-bytes", "text-too-long"})
_FETCH_REASONS = frozenset(
    {"missing-file", "unreadable", "bad-url", "blocked-address", "wrong-content-type", "download-failed"}
)


def _quoted(text: str) -> str:
    """Return an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
