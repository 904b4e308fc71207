"""Look at a shard of items: read, check, decode, and stage what was found."""

import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

import PIL
import pyarrow as pa

from schemas.digests import key, text_digest
from schemas.errors import BadInput
from schemas.items import Inspected
from schemas.recipes import InspectRecipe
from schemas.settings import DecodeLimits
from schemas.tables import MEDIA, QUARANTINE, SOURCES
from tasks import texts
from tasks.media.decoder import Decoder, LocalBytes
from tasks.run import Run, ShardReport, cpu_seconds
from tasks.sources.read import is_object, open_local, read_bytes

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


def inspect_shard(run: Run, shard: str) -> ShardReport:
    """Look at a shard's items in a killable decoder and stage their rows. Runs in a worker."""
    items = run.staging.read(run.staging.path("planned", f"{shard}.arrow")).to_pylist()
    found: dict[str, list[dict[str, object]]] = {table: [] for table in STAGED}
    read_bytes_total = written = 0
    with cpu_seconds() as cpu:
        for item, (outcome, stored) in zip(items, _looked_at(run, items), strict=True):
            try:
                if isinstance(outcome, BadInput):
                    raise outcome
                rows = _rows(run, item, outcome, stored)
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


def _looked_at(
    run: Run, items: list[dict[str, object]]
) -> Iterator[tuple[Inspected | BadInput | None, bool]]:
    """Yield what inspecting each item gave, in order, and whether its bytes were stored; None for a text alone.

    Bytes of only a few items are held at once: the decoder asks for the next ones while it works.
    """
    waiting: deque[tuple[tuple[bytes | LocalBytes, str] | BadInput | None, bool]] = deque()

    def requests() -> Iterator[tuple[bytes | LocalBytes, str]]:
        for start in range(0, len(items), FETCH_ROWS):
            window = items[start : start + FETCH_ROWS]
            fetched = _fetched(run, window)
            for number, item in enumerate(window):
                request = _request(run, item, fetched.pop(number, None))
                waiting.append((request, _is_kept(run, item, request)))
                if isinstance(request, tuple):
                    yield request

    for outcome in _decoder(run).inspect_many(requests()):
        request, stored = waiting.popleft()
        while not isinstance(request, tuple):
            yield request, False
            request, stored = waiting.popleft()
        if stored and isinstance(outcome, Inspected) and isinstance(request[0], bytes):
            run.media.put(outcome.media_id, request[0])
        yield outcome, stored
    for request, _ in waiting:  # what follows the last decodable item
        if not isinstance(request, tuple):
            yield request, False


def _is_kept(
    run: Run, item: dict[str, object], request: tuple[bytes | LocalBytes, str] | BadInput | None
) -> bool:
    """Whether a medium's bytes go into the lake: files and objects may stay where they are, the web forgets."""
    read_here = isinstance(request, tuple) and isinstance(request[0], bytes)
    return read_here and (run.store_media or not is_object(str(item["uri"])))


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
    from tasks.sources.fetch import fetch_many  # an HTTP stack, for sources that are on the web

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


def _rows(
    run: Run, item: dict[str, object], seen: Inspected | None, stored: bool
) -> dict[str, list[dict[str, object]]]:
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
        given_facts = {name: item[name] or None for name in ("concept", "licence", "credit", "extra")}
        uri = run.media.address(seen.media_id) if stored else item["uri"]
        rows["media"] = [{"source_id": item["source_id"], **vars(seen), **given_facts, "uri": uri}]
    rows["sources"] = [_source(item, media_id=media_id, text_ids=sorted(seen_texts))]
    return rows


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
