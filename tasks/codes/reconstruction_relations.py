"""Codes from pairs and from rows without a partner, tied to the pairs by how these reconstruct them."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from schemas.errors import DataError
from schemas.source import Source
from tasks.codes._rotation import Floats, principal, random_rotation, rotation, signs
from tasks.codes.contract import Codes, SemiPaired


@dataclass(frozen=True)
class ReconstructionRelations:
    """Factors both sides with one latent row a pair, and rows without a partner with latent rows of their own.

    Minimises, over latent rows V (paired, one for both sides) and F (free, unpaired), bases U of each side, and a
    rotation R to bits B:

        sum over sides |X - V U|^2 + |X' - F U|^2 + w |F - Z V_A|^2  +  beta |B - [V; F] R|^2 + lam |U|^2

    where Z says how the anchors A, some of the paired rows, reconstruct each unpaired row of their side. Each block
    is solved in turn. Codes of anything else are the signs of a ridge regression onto the codes found.

    The relations' weight w is `relations` times unpaired rows a pair, at most 1: the fewer the pairs, the more the
    others have to say. Fixing F to Z V_A, rather than pulling it there, gains nothing over pairs alone.

    Args:
        bits: Length of a code; a multiple of 8.
        relations: Weight of the relations at one unpaired row a pair.
        anchors: Paired rows that unpaired ones are reconstructed from, at most.
        gamma: Ridge of that reconstruction, as a share of the mean squared length of an anchor.
        beta: Weight of the distance between latent rows and bits.
        lam: Ridge of the bases.
        ridge: Of the regression onto codes, as a share of the mean variance of a direction times rows.
        width: Principal directions of each side that are kept first.
        rounds: Of solving every block.
        unpaired: Whether rows without a partner are read beyond the principal directions; false is the same method
            on pairs only.
        seed: Seed of the anchors and of the rotation's start.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "reconstruction-relations"
    source: ClassVar[Source] = Source(
        title="RREH: Reconstruction Relations Embedded Hashing for Semi-Paired Cross-Modal Retrieval",
        authors="Wang et al.",
        year=2024,
        url="https://arxiv.org/abs/2405.17777",
        departs="the abstract's idea in closed form, not the authors' algorithm, whose code is not public: latent rows "
        "of unpaired data are free and pulled towards their reconstruction by a weight that falls as pairs grow",
    )

    bits: int = 64
    relations: float = 0.05
    anchors: int = 200
    gamma: float = 1.0
    beta: float = 0.1
    lam: float = 1e-2
    ridge: float = 3.0
    width: int = 120
    rounds: int = 15
    unpaired: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bits < 8 or self.bits % 8:
            raise ValueError(f"bits must be a multiple of 8: {self}")
        if min(self.anchors, self.width, self.rounds) < 1:
            raise ValueError(f"anchors, width and rounds must be at least 1: {self}")
        if self.relations < 0 or min(self.gamma, self.beta, self.lam, self.ridge) <= 0:
            raise ValueError(
                f"gamma, beta, lam and ridge must be positive, and relations not negative: {self}"
            )

    def __call__(self, rows: SemiPaired) -> Codes:
        """Return maps of both sides to `bits` bits.

        Raises:
            DataError: There are fewer than two pairs.
        """
        pairs = len(rows)
        if pairs < 2:
            raise DataError(f"shared latent rows need at least 2 pairs; found {pairs}")
        rng = np.random.default_rng(self.seed)
        chosen = np.sort(rng.permutation(pairs)[: self.anchors])
        sides = [self._side(rows.of(side), pairs, chosen) for side in ("media", "text")]  # type: ignore[arg-type]
        latent = self._solve(sides, chosen, rng)
        maps = []
        for side, own in zip(sides, latent, strict=True):
            target = signs(own)
            scaled = side.seen.T @ side.seen
            floor = self.ridge * max(float(np.trace(scaled)) / max(len(scaled), 1), 1e-12)
            onto = np.linalg.solve(scaled + floor * np.eye(len(scaled)), side.seen.T @ target)
            maps.append((side.mean, side.directions @ onto))
        (media_mean, media_map), (text_mean, text_map) = maps
        return Codes(*(part.astype(np.float32) for part in (media_mean, media_map, text_mean, text_map)))

    def _side(self, vectors: Floats, pairs: int, chosen: np.ndarray) -> "_Side":
        mean, directions = principal(vectors, self.width)
        seen = (vectors - mean) @ directions
        scale = np.sqrt(max(float((seen**2).sum(axis=1).mean()), 1e-24) / max(seen.shape[1], 1))
        seen, directions = seen / scale, directions / scale  # a direction's variance is 1 on average
        kept = seen if self.unpaired else seen[:pairs]
        anchors = seen[chosen]
        gram = anchors @ anchors.T
        floor = self.gamma * max(float(np.trace(gram)) / len(gram), 1e-12)
        relations = np.linalg.solve(gram + floor * np.eye(len(gram)), anchors @ kept[pairs:].T).T
        weight = min(1.0, self.relations * (len(kept) - pairs) / pairs)
        return _Side(mean, directions, kept, relations, weight)

    def _solve(self, sides: list["_Side"], chosen: np.ndarray, rng: np.random.Generator) -> list[Floats]:
        """Return the rotated latent rows of both sides, the paired ones, equal in both, first."""
        pairs = min(len(side.seen) - len(side.relations) for side in sides)
        joint = np.concatenate([side.seen[:pairs] for side in sides], axis=1)
        _, leading = principal(joint, self.bits)
        paired = np.zeros((pairs, self.bits))
        paired[:, : leading.shape[1]] = (joint - joint.mean(axis=0)) @ leading
        paired /= max(float(np.sqrt((paired**2).mean())), 1e-12)  # as long as bits are
        free = [side.relations @ paired[chosen] for side in sides]
        turn = random_rotation(self.bits, self.bits, rng)
        for _ in range(self.rounds):
            bits = signs(np.concatenate([paired, *free]) @ turn)
            turn = rotation(np.concatenate([paired, *free]), bits)
            pulls = np.split(bits @ turn.T, np.cumsum([pairs, len(free[0])]))
            bases = [
                basis(np.concatenate([paired, own]), side.seen, self.lam)
                for side, own in zip(sides, free, strict=True)
            ]
            paired = latent_rows([side.seen[:pairs] for side in sides], bases, [(self.beta, pulls[0])])
            free = [
                latent_rows(
                    [side.seen[pairs:]],
                    [base],
                    [(side.weight, side.relations @ paired[chosen]), (self.beta, pull)],
                )
                for side, base, pull in zip(sides, bases, pulls[1:], strict=True)
            ]
        return [np.concatenate([paired, own]) @ turn for own in free]


class _Side(NamedTuple):
    mean: Floats  # (D,)
    directions: Floats  # (D, W) scaled principal directions
    seen: Floats  # (N, W) rows, the paired first
    relations: Floats  # (N - P, A) Z: how the anchors reconstruct unpaired rows
    weight: float  # of the relations


def basis(latent: Floats, seen: Floats, lam: float) -> Floats:
    """Return the U, (bits, W), that minimises |seen - latent U|^2 + lam |U|^2."""
    return np.asarray(np.linalg.solve(latent.T @ latent + lam * np.eye(latent.shape[1]), latent.T @ seen))


def latent_rows(seen: list[Floats], bases: list[Floats], pulls: list[tuple[float, Floats]]) -> Floats:
    """Return the V that minimises the sum of |seen - V basis|^2 over sides and of weight |V - towards|^2 over pulls.

    Args:
        seen: (N, W) of each side.
        bases: (bits, W) of each side.
        pulls: (weight, (N, bits)) of each term that draws V to somewhere.
    """
    left = sum((weight for weight, _ in pulls), 0.0) * np.eye(len(bases[0]))
    right = np.zeros((len(seen[0]), len(bases[0])))
    for rows, base in zip(seen, bases, strict=True):
        left = left + base @ base.T
        right = right + rows @ base.T
    for weight, towards in pulls:
        right = right + weight * towards
    return np.asarray(np.linalg.solve(left, right.T).T)
