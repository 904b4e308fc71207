"""Noisy media and noisy texts matched anew by partial optimal transport."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.source import Source
from tasks.repairs._candidates import its_own, require_aligned
from tasks.repairs.contract import Proposals

_ITERATIONS = 2000
_CLOSE = 1e-6  # how far a row of the plan may be off, in units of its weight


@dataclass(frozen=True)
class Rematch:
    """Proposes texts of noisy pairs to media of other noisy pairs.

    Many texts of wrong pairs are right for some other medium. A plan is sought that moves a share `mass` of the
    noisy media onto noisy texts at the lowest cost 1 - cosine, no text being used more than once over; a medium
    never gets a text it came with. The media that the plan moves most of, the share `mass` of them, get their
    most likely text. Confidence is the geometric mean of the text's share in the medium's row of the plan and
    the medium's share in the text's column, times the cosine; at a cosine of 0 or less nothing is proposed.

    Large corpora are cut into random blocks, and a text is only found inside its block.

    Args:
        noisy_below: Pairs of a lower probability are noisy.
        mass: Share of the noisy media that is moved.
        regularisation: Entropy of the plan, in units of cost; lower is crisper and slower.
        block: Noisy pairs that are matched at once.
        seed: Seed of the blocks.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "rematch"
    source: ClassVar[Source] = Source(
        title="Learning to Rematch Mismatched Pairs for Robust Cross-Modal Retrieval",
        authors="Han et al.",
        year=2024,
        url="https://arxiv.org/abs/2403.05105",
        departs="the cost is 1 - cosine, not learned; proposals instead of a target for the loss",
    )

    noisy_below: float = 0.5
    mass: float = 0.1
    regularisation: float = 0.07
    block: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.noisy_below <= 1 or not 0 < self.mass <= 1:
            raise ValueError(
                f"noisy_below and mass must be in (0, 1], found {self.noisy_below} and {self.mass}"
            )
        if self.regularisation < 0.01 or self.block < 2:
            raise ValueError(f"regularisation must be at least 0.01 and block at least 2: {self}")

    def __call__(
        self,
        pairs: PairBatch,
        clean: NDArray[np.float32],
        media: NDArray[np.float32],
        text: NDArray[np.float32],
    ) -> Proposals:
        """Return proposals for some of the noisy pairs.

        Raises:
            DataError: The arrays are not of the same pairs, or hold what is not finite or not in range.
        """
        require_aligned(pairs, clean, media, text)
        noisy = np.flatnonzero(clean < self.noisy_below)
        found = []
        if len(noisy) > 1:
            shuffled = np.random.default_rng(self.seed).permutation(noisy)
            for rows in np.array_split(shuffled, -(-len(noisy) // self.block)):
                found.append(self._matched(pairs, np.sort(rows), media, text))
        if not found:
            return Proposals(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        row, text_from, confidence = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.argsort(row, kind="stable")
        return Proposals(row[order], text_from[order], confidence[order].astype(np.float32))

    def _matched(
        self,
        pairs: PairBatch,
        rows: NDArray[np.int64],
        media: NDArray[np.float32],
        text: NDArray[np.float32],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return row, text and confidence of the proposals inside one block."""
        similarity = (media[rows] @ text[rows].T).astype(np.float64)  # (B, B)
        plan = partial_plan(1 - similarity, ~its_own(pairs, rows, rows), self.mass, self.regularisation)
        sent, taken = plan.sum(axis=1), plan.sum(axis=0)
        best = plan.argmax(axis=1)
        every = np.arange(len(rows))
        share = plan[every, best] / np.sqrt(np.maximum(sent * taken[best], 1e-300))
        confidence = np.clip(share * similarity[every, best], 0, 1)
        moved = np.argsort(-sent, kind="stable")[: max(1, round(self.mass * len(rows)))]
        moved = moved[(sent[moved] > 0) & (confidence[moved] > 0)]
        return rows[moved], rows[best[moved]], confidence[moved]


def partial_plan(
    cost: NDArray[np.float64], allowed: NDArray[np.bool_], mass: float, regularisation: float
) -> NDArray[np.float64]:
    """Return the plan that moves `mass` between B media and B texts of weight 1 / B each. Shape (B, B).

    What is not moved goes to and comes from one point more on either side, at no cost (Sinkhorn's iteration on
    the enlarged problem). Where less than `mass` can be moved, as much as can is.
    """
    size = len(cost)
    kernel = np.ones((size + 1, size + 1))
    kernel[:size, :size] = np.where(allowed, np.exp(-cost / regularisation), 0)
    kernel[size, size] = 0
    weight = np.append(
        np.full(size, 1 / size), max(1 - mass, 1e-9)
    )  # above 0, so that no row is without way out
    media, text = np.ones(size + 1), np.ones(size + 1)
    for _ in range(_ITERATIONS):
        text = np.clip(weight / (media @ kernel), 1e-150, 1e150)  # grows without end where `mass` is too much
        reached = media * (kernel @ text)
        if np.abs(reached - weight).max() < _CLOSE / size:
            break
        media = np.clip(weight / (kernel @ text), 1e-150, 1e150)
    return np.asarray(media[:size, None] * kernel[:size, :size] * text[:size])
