"""Search a snapshot by text or by picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from schemas.errors import DataError, EncoderError
from schemas.recipes import InspectRecipe, MethodRef
from schemas.settings import DecodeLimits
from storage import search as vectors
from storage.lake import Lake
from storage.search import Neighbour
from storage.versions import Snapshot
from tasks.catalog import build
from tasks.encoders import ENCODERS
from tasks.encoders.contract import Encoder
from tasks.encoders.identity import identity
from tasks.media.decoder import Decoder, LocalBytes
from tasks.shards.embed import picture


@dataclass(frozen=True)
class Hit:
    """One result of a search.

    Args:
        media_id: The medium.
        similarity: Cosine similarity to the query, in [-1, 1].
        uri: Where its bytes are.
        texts: Its kept texts.
        thumbnail: WebP bytes.
        licence: Licence, where known.
    """

    media_id: str
    similarity: float
    uri: str
    texts: tuple[str, ...]
    thumbnail: bytes = field(repr=False, default=b"")
    licence: str = ""


@dataclass(frozen=True)
class Results:
    """Hits, best first, and what they were found in."""

    snapshot_id: str
    encoder: str
    hits: tuple[Hit, ...]


def search(
    lake: Lake,
    text: str | None = None,
    *,
    image: Path | None = None,
    k: int = 10,
    at: str | None = None,
    encoder: str | None = None,
) -> Results:
    """Return the k kept media nearest to a text or a picture.

    Args:
        lake: The lake.
        text: What to look for, in words.
        image: What to look for, as a picture file; it is decoded like any input, in a killable process.
        k: How many.
        at: Snapshot id, tag or digest; newest by default.
        encoder: Name of an encoder or its table; the one with most vectors by default.

    Raises:
        DataError: Not exactly one of `text` and `image` was given, or the lake is empty.
        BadInput: The picture cannot be decoded.
        EncoderError: The encoder's weights are not those that made the vectors.
    """
    if (text is None) == (image is None):
        raise DataError("give either a text or a picture to search for")
    snapshot = lake.snapshot(at) if at else lake.head()
    if snapshot is None:
        raise DataError(f"{lake.uri} is empty: run `xmodal curate RECIPE` or `xmodal demo` first")
    entry = vectors.encoder_table(lake, snapshot, encoder)
    encode = _encoder(entry)
    query = encode([text])[0] if text is not None else encode([_pixels(image)])[0]  # type: ignore[arg-type]
    found = vectors.nearest(lake, snapshot, entry.table, query, k)
    return Results(snapshot.snapshot_id, entry.table, tuple(_hits(lake, snapshot, found)))


def _encoder(entry: vectors.EncoderTable) -> Encoder:
    encoder = build(ENCODERS, MethodRef.model_validate(entry.ref))
    if (found := identity(encoder).weights_digest) != entry.identity.get("weights_digest"):
        raise EncoderError(
            f"{entry.table} was made with weights {str(entry.identity.get('weights_digest'))[:12]}, but {encoder.name!r} "
            f"here has {found[:12]}; install the same weights or curate again"
        )
    return encoder


def _pixels(image: Path | None) -> np.ndarray:
    with Decoder(InspectRecipe(), DecodeLimits()) as decoder:
        seen = decoder.inspect(LocalBytes(str(image)), name=str(image))
    if seen.thumbnail is None:
        raise DataError(f"{image} is {seen.media_type}, not a picture")
    return picture(seen.thumbnail)


def _hits(lake: Lake, snapshot: Snapshot, found: Sequence[Neighbour]) -> list[Hit]:
    ids = [neighbour.item_id for neighbour in found]
    columns = ["media_id", "uri", "thumbnail", "licence"]
    media = {
        row["media_id"]: row
        for row in vectors.by_ids(lake, snapshot, "media", "media_id", ids, columns).to_pylist()
    }
    pairs = vectors.by_ids(
        lake, snapshot, "pairs", "media_id", ids, ["media_id", "text_id", "kept", "present"]
    ).to_pylist()
    pairs = [pair for pair in pairs if pair["present"] and pair["kept"] is not False]
    text_ids = sorted({pair["text_id"] for pair in pairs})
    texts = {
        row["text_id"]: row["text"]
        for row in vectors.by_ids(
            lake, snapshot, "texts", "text_id", text_ids, ["text_id", "text"]
        ).to_pylist()
    }
    of_medium: dict[str, list[str]] = {}
    for pair in pairs:
        of_medium.setdefault(pair["media_id"], []).append(texts[pair["text_id"]])
    return [
        Hit(
            neighbour.item_id,
            neighbour.similarity,
            media[neighbour.item_id]["uri"],
            tuple(sorted(of_medium.get(neighbour.item_id, ()))),
            media[neighbour.item_id]["thumbnail"] or b"",
            media[neighbour.item_id]["licence"] or "",
        )
        for neighbour in found
    ]
