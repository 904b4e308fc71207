"""What retrieval and evaluation exchange: a query, what is found for it, a run of many queries, and the truth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError

Side = Literal["media", "text"]
First = Literal["dense", "match", "hybrid", "late", "codes"]
Search = Literal["auto", "exact", "index"]

Qrels = Mapping[str, Mapping[str, int]]  # query id -> item id -> relevance, 0 is none
Run = Mapping[str, Mapping[str, float]]  # query id -> item id -> score, higher is better


@dataclass(frozen=True)
class Query:
    """What is looked for. At least one of `text`, `image`, `like` and `vector` says it; several are composed.

    Args:
        text: In words.
        image: A picture file.
        like: Ids of items of the snapshot that results shall resemble.
        unlike: Ids of items, or words, that they shall not.
        replace: (word of `text` or of the thing asked, what to put in its place): with a picture or `like`, results shall
            resemble it but for this.
        vector: (D,) unit vector in the encoder's space, where the caller has one.
        side: What comes back: media, or texts.
        modality: Only media of these modalities; all by default.
        where: Condition on columns of the returned side's table, in SQL; it is pushed down.
        among: Only these items of the returned side; all by default.
        k: How many at most.
        offset: How many of the best to pass over.
        first: How candidates are found: by vectors, by words (BM25), both fused, token by token, or binary codes.
        search: Compare with every vector, use the index, or choose.
        by: What words are compared with when media are asked: media, their texts, or both fused by rank.
        at: Snapshot id, tag or digest; newest by default.
        encoder: Encoder or table of it; the one with most vectors by default.

    Raises:
        DataError: Nothing says what is looked for, or a number is out of range.
    """

    text: str | None = None
    image: Path | None = None
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    replace: tuple[str, str] | None = None
    vector: NDArray[np.float32] | None = None
    side: Side = "media"
    modality: tuple[str, ...] = ()
    where: str | None = None
    among: frozenset[str] | None = None
    k: int = 10
    offset: int = 0
    first: First = "dense"
    search: Search = "auto"
    by: Literal["media", "texts", "both"] = "both"
    at: str | None = None
    encoder: str | None = None

    def __post_init__(self) -> None:
        if self.text is None and self.image is None and not self.like and self.vector is None:
            raise DataError(
                "a query needs a text, a picture, items to resemble, or a vector; it has none of them"
            )
        if self.k < 1 or self.offset < 0:
            raise DataError(f"k must be at least 1 and offset at least 0; found {self.k} and {self.offset}")


@dataclass(frozen=True)
class Candidates:
    """Items found for one query, best first. Of equal scores the smaller id comes first.

    Args:
        item_ids: (K,) media_id or text_id.
        scores: (K,) float32, higher is better.
        exact: No better item can have been missed.
        notes: What whoever asked should be told: a filter relaxed, rows the index does not cover ...
        facts: How it was found: which search, rows compared, probes ...
    """

    item_ids: tuple[str, ...]
    scores: NDArray[np.float32]
    exact: bool = True
    notes: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.item_ids),):
            raise ValueError(f"{len(self.item_ids)} ids need as many scores; found shape {self.scores.shape}")

    def __len__(self) -> int:
        return len(self.item_ids)
