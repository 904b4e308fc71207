"""From what someone asks to one vector in an encoder's space."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from schemas.errors import DataError, EncoderError
from schemas.ranking import Query
from schemas.recipes import InspectRecipe, MethodRef
from schemas.settings import DecodeLimits
from storage.lake import Lake
from storage.search import EncoderTable, by_ids
from storage.versions import Snapshot
from tasks.catalog import build
from tasks.encoders import ENCODERS
from tasks.encoders.contract import Encoder
from tasks.encoders.identity import identity
from tasks.media.decoder import Decoder, LocalBytes
from tasks.retrieval.compose import less, replaced, summed
from tasks.shards.embed import picture

Vector = NDArray[np.float32]
ENCODERS_OPEN = 4  # kept with their weights for the next query


@dataclass(frozen=True)
class AskedOf:
    """A query as the first stage needs it.

    Args:
        vector: (D,) unit vector.
        words: What to match word by word; None: a picture or items alone were asked.
        without: Items that were asked by, and are not to come back.
    """

    vector: Vector
    words: str | None
    without: frozenset[str] = frozenset()


def encoder_of(entry: EncoderTable) -> Encoder:
    """Return the encoder that made a table's vectors, opened once a process.

    Raises:
        EncoderError: The weights here are not those that made the vectors.
    """
    try:
        ref = MethodRef.model_validate(entry.ref)
    except ValidationError as error:
        raise EncoderError(f"{entry.table} does not say which encoder made it; curate again") from error
    return _opened(ref.model_dump_json(), str(entry.identity.get("weights_digest")), entry.table)


@lru_cache(maxsize=ENCODERS_OPEN)
def _opened(ref: str, weights_digest: str, table: str) -> Encoder:
    encoder = build(ENCODERS, MethodRef.model_validate_json(ref))
    if (found := identity(encoder).weights_digest) != weights_digest:
        raise EncoderError(
            f"{table} was made with weights {weights_digest[:12]}, but {encoder.name!r} here has {found[:12]}; "
            "install the same weights or curate again"
        )
    return encoder


def asked(lake: Lake, snapshot: Snapshot, entry: EncoderTable, query: Query) -> AskedOf:
    """Return one vector for all that a query says.

    Text, pictures and items are summed; `replace` then moves from one word to the other, and `unlike` away from what is
    not wanted (`tasks.retrieval.compose` has formulas and sources).

    Raises:
        DataError: An item has no vector in the table, or the file is no picture.
        BadInput: The picture cannot be decoded.
        EncoderError: The encoder's weights are not those that made the vectors.
    """
    alone = query.text is None and query.image is None and query.replace is None
    unlike_words = [one for one in query.unlike if not is_id(one)]
    encode = encoder_of(entry) if not alone or unlike_words else None
    items = items_of(lake, snapshot, entry.table, [*query.like, *(one for one in query.unlike if is_id(one))])
    parts: list[Vector] = [items[item] for item in query.like]
    if query.vector is not None:
        parts.append(query.vector)
    if query.image is not None and encode is not None:
        parts.append(encode([pixels(query.image)])[0])
    if query.text is not None and encode is not None:
        parts.append(encode([query.text])[0])
    vector = parts[0] if len(parts) == 1 else summed(parts)
    if query.replace is not None and encode is not None:
        old, new = encode(list(query.replace))
        vector = replaced(vector, old, new)
    if query.unlike:
        words = dict(zip(unlike_words, encode(unlike_words), strict=True)) if encode and unlike_words else {}
        vector = less(vector, [words[one] if one in words else items[one] for one in query.unlike])
    plain = query.text if query.image is None and not query.like and query.vector is None else None
    return AskedOf(np.asarray(vector, np.float32), plain, frozenset((*query.like, *query.unlike)))


def items_of(lake: Lake, snapshot: Snapshot, table: str, ids: list[str]) -> dict[str, Vector]:
    """Return {id: vector} of items.

    Raises:
        DataError: An item has no vector in the table.
    """
    if strange := [one for one in ids if not one.isalnum()]:
        raise DataError(f"{strange[0]!r} is no id: ids are whole digests of media or texts")
    rows = by_ids(lake, snapshot, table, "item_id", sorted(set(ids)), ["item_id", "vector"]) if ids else None
    found = (
        {row["item_id"]: np.asarray(row["vector"], np.float32) for row in rows.to_pylist()} if rows else {}
    )
    if missing := sorted(set(ids) - found.keys()):
        raise DataError(
            f"{missing[0]} has no vector in {table} at {snapshot.snapshot_id}; ids are whole digests of media or texts"
        )
    return found


def is_id(text: str) -> bool:
    """Whether this is an id rather than a word: 32 or 64 hexadecimal digits."""
    return len(text) in (32, 64) and all(character in "0123456789abcdef" for character in text)


def pixels(image: Path) -> NDArray[np.uint8]:
    """Return a picture file's pixels, decoded like any input: in a process that can be killed.

    Raises:
        BadInput: It cannot be decoded.
        DataError: It is no picture.
    """
    with Decoder(InspectRecipe(), DecodeLimits()) as decoder:
        seen = decoder.inspect(LocalBytes(str(image)), name=str(image))
    if seen.thumbnail is None:
        raise DataError(f"{image} is {seen.media_type}, not a picture")
    return picture(seen.thumbnail)
