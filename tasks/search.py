"""Search a snapshot by text or by picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

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

By = Literal["media", "texts", "both"]
POOL = 100  # neighbours of each side that are fused
RRF_K = 60


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
    by: By = "both",
) -> Results:
    """Return the k kept media nearest to a text or a picture.

    A picture is compared with the media's own vectors. Words are compared with those and with the vectors of the
    media's kept texts, and the two orders are fused by reciprocal ranks (Cormack et al. 2009, k = 60).

    Args:
        lake: The lake.
        text: What to look for, in words.
        image: What to look for, as a picture file; it is decoded like any input, in a killable process.
        k: How many.
        at: Snapshot id, tag or digest; newest by default.
        encoder: Name of an encoder or its table; the one with most vectors by default.
        by: What words are compared with: media, texts or both.

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
    if text is None or by == "media":
        found = vectors.nearest(lake, snapshot, entry.table, query, k)
    else:
        found = _fused(lake, snapshot, entry.table, query, k, by)
    return Results(snapshot.snapshot_id, entry.table, tuple(_hits(lake, snapshot, found)))


def _fused(lake: Lake, snapshot: Snapshot, table: str, query: np.ndarray, k: int, by: By) -> list[Neighbour]:
    """Return media by the ranks of their own vectors and of their best text, with the similarity of the medium."""
    depth = max(POOL, 2 * k)
    texts = vectors.nearest(lake, snapshot, table, query, depth, side="text")
    rank_of_text = {text.item_id: rank for rank, text in enumerate(texts, 1)}
    pairs = vectors.by_ids(
        lake, snapshot, "pairs", "text_id", list(rank_of_text), ["media_id", "text_id", "kept", "present"]
    )
    ranks: dict[str, list[int]] = {}
    best: dict[str, int] = {}
    for pair in pairs.to_pylist():
        if pair["present"] and pair["kept"] is not False:
            rank = rank_of_text[pair["text_id"]]
            best[pair["media_id"]] = min(rank, best.get(pair["media_id"], rank))
    for media_id, rank in best.items():
        ranks.setdefault(media_id, []).append(rank)
    if by == "both":
        for rank, neighbour in enumerate(vectors.nearest(lake, snapshot, table, query, depth), 1):
            ranks.setdefault(neighbour.item_id, []).append(rank)
    rows = vectors.by_ids(lake, snapshot, table, "item_id", list(ranks), ["item_id", "vector"]).to_pylist()
    similarity = {row["item_id"]: float(np.dot(query, np.asarray(row["vector"], np.float32))) for row in rows}
    score = {media_id: sum(1 / (RRF_K + rank) for rank in found) for media_id, found in ranks.items()}
    order = sorted(similarity, key=lambda media_id: (-score[media_id], -similarity[media_id], media_id))
    return [Neighbour(media_id, similarity[media_id]) for media_id in order[:k]]


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
