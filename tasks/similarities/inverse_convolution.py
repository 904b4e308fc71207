"""Gallery vectors pushed away from what lies around them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.source import Source
from tasks.similarities._bank import blocks, require_vectors
from tasks.similarities._fitted import require_candidates, require_items, wanted
from tasks.similarities.contract import Fitted, State

_SIDES = ("gallery", "queries")


@dataclass(frozen=True)
class Spread:
    """A push by a whole bank: x - (x push - shift). Sums over the bank are in a matrix, so it costs O(D²) an item.

    Args:
        push: (D, D) rate times the bank's second moments.
        shift: (D,) rate times the mean similarity times the bank's mean.
    """

    push: NDArray[np.float32]
    shift: NDArray[np.float32]

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the pushed vectors, unit length. (G, D)."""
        return unit(vectors - (vectors @ self.push - self.shift), vectors)


@dataclass(frozen=True)
class Nearby:
    """A push by an item's nearest rows of a bank.

    Args:
        bank: (B, D).
        rate: () float32.
        nearest: () int64, rows that push.
        own: () bool; bank and gallery are the same, and an item does not push itself.
    """

    bank: NDArray[np.float32]
    rate: NDArray[np.float32]
    nearest: NDArray[np.int64]
    own: NDArray[np.bool_]

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the pushed vectors, unit length. (G, D)."""
        count = min(int(self.nearest), len(self.bank) - int(self.own))
        if count < 1:
            return vectors
        pushed, start = [], 0
        for block in blocks(vectors, self.bank, own=bool(self.own)):
            nearest = np.argpartition(-block, count - 1, axis=1)[:, :count]
            weight = np.zeros_like(block)
            np.put_along_axis(weight, nearest, np.take_along_axis(block, nearest, axis=1), axis=1)
            mine = vectors[start : start + len(block)]
            pushed.append(unit(mine - self.rate / np.float32(count) * (weight @ self.bank), mine))
            start += len(block)
        return np.concatenate(pushed)


@dataclass(frozen=True)
class Moved:
    """The cosine with moved vectors: the half sum of what the two banks make of an item.

    Args:
        gallery_push: By other items.
        query_push: By queries.
        size: (2,) int64, items and their width.
    """

    gallery_push: Spread | Nearby
    query_push: Spread | Nearby
    size: NDArray[np.int64]

    def state(self) -> State:
        """Return the arrays of both pushes, named by bank."""
        out: State = {"size": self.size}
        for side, push in zip(_SIDES, (self.gallery_push, self.query_push), strict=True):
            out |= {f"{side}.{name}": array for name, array in vars(push).items()}
        return out

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Return what the state was taken of."""
        (size,) = wanted(state, "size")
        if size.shape != (2,):
            raise DataError(f"size must be items and width, found shape {size.shape}; fit it again")
        pushes: list[Spread | Nearby] = []
        for side in _SIDES:
            if f"{side}.bank" in state:
                names = [f"{side}.{name}" for name in ("bank", "rate", "nearest", "own")]
                pushes.append(Nearby(*wanted(state, *names)))
            else:
                pushes.append(Spread(*wanted(state, f"{side}.push", f"{side}.shift")))
        for push in pushes:
            across = push.bank if isinstance(push, Nearby) else push.push
            if across.ndim != 2 or across.shape[1] != size[1]:
                raise DataError(f"a push is {across.shape} but vectors are {size[1]} wide; fit it again")
        return cls(pushes[0], pushes[1], size)

    def gallery(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the moved vectors. (G, D), float32, unit length; where pushes cancel an item out, its own vector."""
        require_items(vectors, int(self.size[0]), int(self.size[1]))
        vectors = np.asarray(vectors, dtype=np.float32)
        return unit(0.5 * self.gallery_push(vectors) + 0.5 * self.query_push(vectors), vectors)

    def __call__(
        self, similarity: NDArray[np.float32], rows: NDArray[np.integer[Any]]
    ) -> NDArray[np.float32]:
        """Return the similarities as they are: it is the vectors that changed. Shape (Q, K)."""
        require_candidates(similarity, rows, int(self.size[0]))
        return np.asarray(similarity, dtype=np.float32)


@dataclass(frozen=True)
class InverseConvolution:
    """Moves each item against the average of a bank, weighed by how much closer than usual each member is.

    A graph convolution draws neighbours together; this one, with its sign turned, sets them apart:
    x' = x - rate / B * sum over the bank of (x b - mean) b, once with other items, once with queries, each brought to
    unit length, then averaged. The weights of a whole bank are small, so useful rates are 1 to 10. With `local`, only
    the nearest members count, by their similarity itself, and rates above 1 destroy more than they mend.

    The query's vector stays. Other similarities may be fitted to the moved gallery.

    Args:
        rate_gallery: How far other items push, not negative; 0: not at all.
        rate_queries: How far queries push.
        local: Share of a bank that pushes an item, in (0, 1], at least one member; None: the whole.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "inverse-convolution"
    source: ClassVar[Source] = Source(
        title="InvGC: Robust Cross-Modal Retrieval by Inverse Graph Convolution",
        authors="Jian and Wang",
        year=2023,
        url="https://arxiv.org/abs/2310.13276",
        departs="sums over a whole bank are kept as a matrix; of a small bank LocalAdj takes one neighbour at least; "
        "the gallery may be its own bank, where an item is one of the many that push it, or, with LocalAdj, none",
    )
    fitted: ClassVar[type[Fitted]] = Moved

    rate_gallery: float = 1.0
    rate_queries: float = 1.0
    local: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rate_gallery < np.inf or not 0 <= self.rate_queries < np.inf:
            raise ValueError(f"rates must not be negative, found {self.rate_gallery} and {self.rate_queries}")
        if self.local is not None and not 0 < self.local <= 1:
            raise ValueError(f"local must be in (0, 1] or None, found {self.local}")

    def fit(
        self,
        gallery: NDArray[np.float32],
        queries: NDArray[np.float32],
        bank: NDArray[np.float32] | None = None,
    ) -> Moved:
        """Return the similarity fitted to a gallery."""
        gallery = require_vectors("gallery", gallery)
        width = gallery.shape[1]
        queries = require_vectors("queries", queries, width=width)
        items = gallery if bank is None else require_vectors("bank", bank, width=width)
        return Moved(
            self._push(gallery, items, self.rate_gallery, own=bank is None),
            self._push(gallery, queries, self.rate_queries, own=False),
            np.array(gallery.shape, dtype=np.int64),
        )

    def _push(
        self, gallery: NDArray[np.float32], bank: NDArray[np.float32], rate: float, *, own: bool
    ) -> Spread | Nearby:
        if self.local is not None:
            nearest = max(1, int(self.local * len(bank)))
            return Nearby(bank, np.array(rate, np.float32), np.array(nearest), np.array(own))
        moments = (bank.T @ bank).astype(np.float64) / len(bank)
        mean = bank.mean(axis=0, dtype=np.float64)
        level = float(
            gallery.mean(axis=0, dtype=np.float64) @ mean
        )  # of all similarities of gallery and bank
        return Spread((rate * moments).astype(np.float32), (rate * level * mean).astype(np.float32))


def unit(vectors: NDArray[np.float32], instead: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vectors at unit length, and those of `instead` where one has no direction. (G, D)."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(norm > 1e-6, vectors / np.maximum(norm, 1e-6), instead).astype(np.float32)
