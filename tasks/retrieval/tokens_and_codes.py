"""First stages over tables that `xmodal represent` fills: binary codes, and token by token."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.digests import key
from schemas.errors import DataError, EncoderError, LakeError, NoSuchTable
from schemas.ranking import Candidates, Query, Side
from schemas.tables import CODES_PREFIX, EMBEDDINGS_PREFIX
from storage import checkpoints, exact
from storage.lake import Lake
from storage.matrix import Matrix, Recent, matrix_of
from storage.passing import moment
from storage.search import EncoderTable, by_ids
from storage.tokens import hamming, late
from storage.versions import Snapshot
from tasks.codes import Codes
from tasks.encoders.identity import EncoderIdentity
from tasks.late import FILIP, Tokens
from tasks.late._token_heads import TokenHeads
from tasks.retrieval.asked import AskedOf, pixels

CODES = "codes"  # kind of the checkpoint
BITS = 64  # of the table that is called by the encoder's name alone
POOL = 1000  # items that codes find and vectors then compare, at least
TOKENS = "tokens"  # kind of the checkpoint
TOKENS_TABLE = "tokens_lite"  # named after the backbones
MODALITIES = frozenset({"image"})  # that have tokens
PER_RESULT = 20  # of them for each result wanted
_OPEN: Recent[Any] = Recent(64, lambda kept: 1)  # checkpoints never change: each is read once


def codes_table(encoder_table: str, bits: int) -> str:
    """Return what an encoder's table of codes is called; each length has one of its own."""
    name = CODES_PREFIX + encoder_table.removeprefix(EMBEDDINGS_PREFIX)
    return name if bits == BITS else f"{name}_{bits}bits"


def digest_of(entry: EncoderTable) -> str:
    """Return the digest of the encoder that a table says it is of."""
    return EncoderIdentity(**entry.identity).digest  # type: ignore[arg-type]


def made_by(lake: Lake, snapshot: Snapshot, table: str, column: str) -> list[str]:
    """Return the checkpoints that the rows of a table were made by, the one of most rows first; none without rows.

    Rows of an earlier one may be left where an item has no vector of today's encoder.
    """

    def read() -> list[str]:
        found = lake.dataset(table, snapshot).to_table(columns=[column])[column].value_counts()
        rows = ((row["counts"], row["values"]) for row in found.to_pylist())
        return [one for _, one in sorted(rows, key=lambda row: (-row[0], row[1]))]

    if table not in snapshot.versions:
        return []
    found: list[str] = _OPEN.get((moment(lake, snapshot), table), read)
    return found


def kept(lake: Lake, checkpoint_id: str) -> checkpoints.Checkpoint:
    """Return a checkpoint, read once.

    Raises:
        LakeError: The lake has it no more.
    """
    found: checkpoints.Checkpoint = _OPEN.get(
        (lake.uri, checkpoint_id), lambda: checkpoints.load(lake, checkpoint_id)
    )
    return found


def coder_of(
    lake: Lake, snapshot: Snapshot, entry: EncoderTable, table: str
) -> checkpoints.Checkpoint | None:
    """Return what made a table's codes from the vectors that an encoder's table has now; None where nothing did.

    Raises:
        LakeError: The lake has the checkpoint no more.
    """
    for one in made_by(lake, snapshot, table, "coder_digest"):
        coder = kept(lake, one)
        if (coder.meta["table"], coder.meta["encoder"]) == (entry.table, digest_of(entry)):
            return coder
    return None


def by_codes(
    lake: Lake, snapshot: Snapshot, entry: EncoderTable, query: Query, what: AskedOf, depth: int
) -> Candidates:
    """Return candidates by binary codes, ordered by the cosine of their vectors.

    The query's code is compared with all of them; the nearest `POOL`, or `PER_RESULT` for each result, are scored again.
    Where tables of several lengths are there, the longest is used.

    Args:
        lake: The lake.
        snapshot: What to search.
        entry: The encoder's table.
        query: What is looked for; media are compared with themselves, whatever `query.by` says.
        what: Its vector.
        depth: How many.

    Raises:
        NoSuchTable: The snapshot has no codes of this encoder.
        LakeError: What made them is gone.
    """
    table, coder = _longest(lake, snapshot, entry)
    asking = _side_of(lake, snapshot, entry, query, what)
    codes = Codes.from_state(coder.state)
    pool = max(POOL, PER_RESULT * depth)
    (near,) = hamming(
        lake, snapshot, table, codes.code(asking, what.vector[None]), pool,
        side=query.side, where=query.where, modality=query.modality, among=query.among,
    )  # fmt: skip
    matrix = matrix_of(lake, snapshot, entry.table, query.side)
    rows = pc.index_in(pa.array(near.item_ids, pa.string()), value_set=matrix.ids).drop_null().to_numpy()
    best, scores = exact.ranked(matrix.vectors, rows.astype("int64"), what.vector, depth)
    uncoded = _uncoded(lake, snapshot, matrix, table, query)
    facts = {
        **near.facts, "search": "codes", "table": table, "coder": coder.id, "bits": codes.bits,
        "scored again by": "cosine", "scored again": len(rows),
    }  # fmt: skip
    notes = f"{uncoded} of what could be found have no code yet and were not compared: run `xmodal represent codes`"
    return replace(
        near,
        item_ids=tuple(matrix.ids.take(pa.array(best)).to_pylist()),
        scores=scores,
        exact=len(near) == near.facts["passing"] and not uncoded,
        notes=(*near.notes, notes) if uncoded else near.notes,
        facts=facts,
    )


def backbones() -> str:
    """Return a digest over the weights of the backbones and how their tokens are taken.

    Raises:
        EncoderError: The weights are not installed.
    """
    from tasks.encoders._lite_features import backbone_digest
    from tasks.late._features import REGIONS

    return key(backbone_digest(), f"{REGIONS} x {REGIONS} regions")


def heads_of(lake: Lake, snapshot: Snapshot, *, missing_ok: bool = False) -> checkpoints.Checkpoint | None:
    """Return the heads that made the tokens of a snapshot; None without any.

    Args:
        lake: The lake.
        snapshot: The snapshot.
        missing_ok: Whether heads whose file was removed are none.

    Raises:
        LakeError: The lake has them no more.
    """
    for one in made_by(lake, snapshot, TOKENS_TABLE, "encoder_digest")[:1]:
        try:
            return kept(lake, one)
        except LakeError:
            if not missing_ok:
                raise
    return None


def by_tokens(lake: Lake, snapshot: Snapshot, query: Query, depth: int) -> Candidates:
    """Return candidates by tokens of a text or a picture: the mean of best matches, asked from both.

    One vector for the whole finds `storage.tokens.late`'s prefetch first; those are compared token by token.

    Args:
        lake: The lake.
        snapshot: What to search.
        query: A text, or a picture; media are compared with themselves, whatever `query.by` says.
        depth: How many.

    Raises:
        DataError: Anything else is asked.
        NoSuchTable: The snapshot has no tokens.
        EncoderError: The weights of the backbones are not those that made them.
        LakeError: The heads are gone.
    """
    others = query.like or query.unlike or query.replace or query.vector is not None
    if others or (query.text is None) == (query.image is None):
        raise DataError("a late query is either a text or a picture; ask with first='dense' for all else")
    heads = heads_of(lake, snapshot)
    if heads is None:
        raise NoSuchTable(f"no tokens at {snapshot.snapshot_id}: run `xmodal represent tokens`")
    if heads.meta["encoder"] != backbones():
        raise EncoderError(
            f"the tokens at {snapshot.snapshot_id} were made with other weights than are installed: install those, or "
            "run `xmodal represent tokens`"
        )
    compare = FILIP()
    found = late(
        lake, snapshot, TOKENS_TABLE, _tokens(TokenHeads.from_state(heads.state), query), depth,
        side=query.side, where=query.where, modality=query.modality, among=query.among,
        score=lambda asked, items, mask: compare(asked, Tokens(items, mask)),
    )  # fmt: skip
    facts = {**found.facts, "table": TOKENS_TABLE, "heads": heads.id, "compared by": compare.name}
    return replace(found, facts=facts)


def _tokens(heads: TokenHeads, query: Query) -> NDArray[np.float32]:
    from tasks.late._features import image_tokens, regions, text_tokens

    if query.text is not None:
        return heads.text(text_tokens([query.text])[0])
    assert query.image is not None  # by_tokens lets one of both through
    return heads.media(regions(image_tokens([pixels(query.image)]))[0])


def _longest(lake: Lake, snapshot: Snapshot, entry: EncoderTable) -> tuple[str, checkpoints.Checkpoint]:
    name = codes_table(entry.table, BITS)
    tables = [one for one in snapshot.versions if re.fullmatch(rf"{name}(_\d+bits)?", one)]
    found = [(table, coder) for table in sorted(tables) if (coder := coder_of(lake, snapshot, entry, table))]
    if not found:
        stale = f"{', '.join(tables)} is of other vectors than {entry.table} has now" if tables else "none"
        raise NoSuchTable(
            f"no codes of {entry.table} at {snapshot.snapshot_id} ({stale}): run `xmodal represent codes`"
        )
    return max(found, key=lambda one: int(one[1].meta["bits"]))


def _side_of(lake: Lake, snapshot: Snapshot, entry: EncoderTable, query: Query, what: AskedOf) -> Side:
    """Return whose map takes the query to a code: words that of texts, a picture or a bare vector that of media."""
    if what.words is not None:
        return "text"
    if query.image is None and query.like:
        rows = by_ids(lake, snapshot, entry.table, "item_id", [query.like[0]], ["side"]).to_pylist()
        return "text" if rows and rows[0]["side"] == "text" else "media"
    return "media"


def _uncoded(lake: Lake, snapshot: Snapshot, matrix: Matrix, table: str, query: Query) -> int:
    """Return how many rows that may be found have a vector and no code."""

    def coded() -> "pa.Array":
        rows = lake.dataset(table, snapshot).to_table(columns=["item_id"], filter=f"side = '{query.side}'")
        ids = rows["item_id"].combine_chunks()
        return pc.invert(pc.is_in(matrix.ids, value_set=ids)).to_numpy(zero_copy_only=False)

    lacks = _OPEN.get((moment(lake, snapshot), matrix.table, table, query.side), coded)
    rows = matrix.scope(query.where, query.modality, query.among).rows
    return int((lacks if rows is None else lacks[rows]).sum())
