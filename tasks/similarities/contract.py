"""What every similarity promises: fitted once a gallery, stored with it, and cheap for each candidate."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source

State = dict[str, NDArray[Any]]


class Fitted(Protocol):
    """A similarity fitted to one gallery. What it knows of an item was computed before any query came."""

    def state(self) -> State:
        """Return all it knows as arrays, to be stored beside the gallery's vectors."""
        ...

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Return what `state` was taken of, equal bit for bit.

        Raises:
            DataError: An array is missing, or they do not fit one another.
        """
        ...

    def gallery(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors to compare queries with, in place of the gallery's own. Shape (G, D), float32, unit.

        Most similarities return what they are given.

        Args:
            vectors: (G, D) those it was fitted on, in that order.

        Raises:
            ValueError: There are not as many, or they have another width.
        """
        ...

    def __call__(
        self, similarity: NDArray[np.float32], rows: NDArray[np.integer[Any]]
    ) -> NDArray[np.float32]:
        """Return the adjusted scores of candidates. Shape (Q, K), float32, higher is closer.

        Scores order the candidates of one query; they need be no cosines. What a score depends on beside its own
        item and similarity is at most the other candidates of the query, so K may be a first stage's or all G.

        Args:
            similarity: (Q, K) dot products of queries with `gallery(vectors)`.
            rows: (Q, K) position in the gallery of each candidate.

        Raises:
            DataError: A similarity is not finite.
            ValueError: Shapes differ, or a row is none of the gallery's.
        """
        ...


class Similarity(Protocol):
    """Says how close a query and an item are, knowing what else lies near the item.

    Banks are other queries and other items: never the queries that will be asked, whose answers would then
    depend on who else asks.

    Attributes:
        name: Name recipes use.
        source: Where the method comes from.
        fitted: Class of what `fit` returns, for `restore`.
    """

    name: ClassVar[str]
    source: ClassVar[Source]
    fitted: ClassVar[type[Fitted]]

    def fit(
        self,
        gallery: NDArray[np.float32],
        queries: NDArray[np.float32],
        bank: NDArray[np.float32] | None = None,
    ) -> Fitted:
        """Return the similarity fitted to a gallery.

        Takes O(G B) dot products, in blocks: memory is at most four times that of the vectors and 150 MB more.

        Args:
            gallery: (G, D) unit vectors of what is searched.
            queries: (B, D) unit vectors of past or training queries. May be empty for a method that reads none.
            bank: (B2, D) unit vectors of other items of the gallery's kind; None: the gallery itself, where an
                item is no evidence about itself.

        Raises:
            DataError: There is nothing to fit on, or vectors are not finite or not of unit length.
            ValueError: Widths differ.
        """
        ...
