"""Each word of the query looks for its best match in the item."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.late._similarities import best_of_item, scored
from tasks.late.contract import Tokens


@dataclass(frozen=True)
class MaxSim:
    """Sums over the query's tokens the largest cosine with a token of the item.

    The score is at most the number of tokens in the query: it orders items for one query, and does not compare
    queries.
    """

    name: ClassVar[str] = "max-sim"
    source: ClassVar[Source] = Source(
        title="ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over BERT",
        authors="Khattab and Zaharia",
        year=2020,
        url="https://arxiv.org/abs/2004.12832",
        departs="the score only; no mask tokens are added to the query",
    )

    def __call__(self, query: NDArray[np.float32], items: Tokens) -> NDArray[np.float32]:
        """Return a score per item. Shape (K,), float32, in [-n, n].

        Raises:
            DataError: The query has no token, another width than the items, or an entry that is not finite.
        """
        return scored(query, items, lambda cosines, mask: best_of_item(cosines, mask).sum(axis=1))
