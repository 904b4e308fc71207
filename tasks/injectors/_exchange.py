"""Exchange of texts between units: nobody keeps its own, nobody gets one that is right for it by chance."""

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch, chunks, empty_on_disk, on_disk, row_numbers
from schemas.errors import DataError
from tasks.injectors.contract import Injection
from tasks.noise._groups import connected

Allowed = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]  # (takers, givers) -> may take

_TRIES = 20  # fresh draws before an exchange counts as impossible
_HOPELESS = 32  # units without a partner in one draw, after which no other draw is tried
_SAMPLE = 256  # partners looked at before all of them are


def share_of(units: int, rate: float) -> int:
    """Return how many units a share is, to the nearest whole one.

    Raises:
        ValueError: The share is not in [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be a share of units, 0 to 1, found {rate}")
    return round(rate * units)


def same_text(pairs: PairBatch) -> NDArray[np.int64]:
    """Return one number per pair; equal numbers mean one text: by key, by wording, or by identical vectors."""
    kinds = [_hashed(pairs.text_vec)]
    if pairs.text_key is not None:
        kinds.append(pairs.text_key)
    if pairs.texts is not None:
        kinds.append(on_disk(np.fromiter(map(hash, pairs.texts), np.int64, len(pairs))))
    return connected(*kinds)


def _hashed(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return a number per row, equal where the bytes are. (N,)."""
    found = empty_on_disk(len(vectors), np.int64)
    for at in chunks(len(vectors)):
        digests = b"".join(blake2b(row, digest_size=8).digest() for row in np.ascontiguousarray(vectors[at]))
        found[at] = np.frombuffer(digests, np.int64)
    return found


def same_medium(pairs: PairBatch) -> NDArray[np.int64]:
    """Return one number per pair; equal numbers mean one medium, or media of one group."""
    kinds = [kind for kind in (pairs.group, pairs.media_key) if kind is not None]
    return connected(*kinds) if kinds else np.arange(len(pairs), dtype=np.int64)


def wrong_for(medium: NDArray[np.int64], text: NDArray[np.int64]) -> Allowed:
    """Return the test whether the text of row `giver` is wrong for the medium of row `taker`.

    It is unless some pair of that medium, or of its group, has the same text.

    Args:
        medium: (N,) `same_medium`.
        text: (N,) `same_text`.
    """
    base = int(text.max(initial=0)) + 1
    right = medium * base
    right += text
    right.sort()
    right = on_disk(right[np.r_[True, right[1:] != right[:-1]][: len(right)]])

    def allowed(taker: NDArray[np.int64], giver: NDArray[np.int64]) -> NDArray[np.bool_]:
        asked = medium[taker] * base + text[giver]
        at = np.minimum(np.searchsorted(right, asked), len(right) - 1)
        return np.asarray(right[at] != asked)

    return allowed


def exchange(
    units: NDArray[np.integer],
    count: int,
    rng: np.random.Generator,
    allowed: Allowed,
    *,
    block: NDArray[np.int64] | None = None,
    what: str,
) -> NDArray[np.int64]:
    """Return who gives to whom: a permutation of all units that moves exactly `count` of them.

    Units are drawn at random and put in a random cycle (one per block). A unit that would get what it may
    not have swaps givers with another, or leaves its place to one that was not drawn; if that fails, the draw
    is repeated.

    Args:
        units: (M,) units that may be drawn, ascending.
        count: How many get another's text.
        rng: Draws.
        allowed: Whether a taker may have what a giver has; equal units are never exchanged.
        block: (U,) block of every unit, drawn or not; texts stay inside a block. None: one block.
        what: The units in words, for the error.

    Returns:
        (U,) the giver of each unit, U being one more than the largest unit, or the length of `block`.

    Raises:
        DataError: No draw could be exchanged.
    """
    size = int(units.max(initial=-1)) + 1 if block is None else len(block)
    if count == 0:
        return np.arange(size, dtype=np.int64)
    left = count if count <= len(units) else count - len(units)
    if count <= len(units):
        for _ in range(_TRIES):
            draw = _Draw(rng.permutation(units), count, size, block, allowed, rng)
            left = min(left, draw.repair())
            if left == 0:
                return draw.giver
            if left >= _HOPELESS:
                break
    raise DataError(
        f"{left} of {count} {what} could not be exchanged so that none stays right "
        f"({len(units)} can take part); lower the rate or give more pairs"
    )


class _Draw:
    """One draw of units and the permutation of them that is being mended."""

    def __init__(
        self,
        shuffled: NDArray[np.integer],
        count: int,
        size: int,
        block: NDArray[np.int64] | None,
        allowed: Allowed,
        rng: np.random.Generator,
    ) -> None:
        self._rng, self._allowed = rng, allowed
        self.giver = on_disk(np.arange(size, dtype=np.int64))
        self._taker = on_disk(self.giver)  # the inverse of giver
        self._moved = np.zeros(size, dtype=bool)
        drawn = shuffled[:count]
        self._moved[drawn] = True
        self._block = np.zeros(size, dtype=np.int8) if block is None else block
        if block is None:
            self._members = {0: shuffled}
        else:
            by_block = shuffled[np.argsort(block[shuffled], kind="stable")]
            cuts = np.flatnonzero(np.diff(block[by_block])) + 1
            self._members = {int(block[part[0]]): part for part in np.split(by_block, cuts)}
        for part in self._members.values():
            cycle = part[self._moved[part]]
            self._link(cycle, np.roll(cycle, 1))

    def repair(self) -> int:
        """Mend what can be mended. Returns how many units still have what they must not have."""
        moved = np.flatnonzero(self._moved)
        wrong = moved[~self._fits(moved, self.giver[moved])]
        failures = 0
        for unit in self._rng.permutation(wrong):
            if not self._moved[unit] or self._fits(unit, self.giver[unit])[0]:
                continue  # mended along with another
            if not (self._swap(unit) or self._replace(unit) or self._leave(unit)):
                failures += 1
                if failures == _HOPELESS:
                    break
        moved = np.flatnonzero(self._moved)
        return int((~self._fits(moved, self.giver[moved])).sum())

    def _link(self, taker: NDArray[np.int64], giver: NDArray[np.int64]) -> None:
        self.giver[taker] = giver
        self._taker[giver] = taker

    def _fits(self, taker: NDArray[np.int64] | int, giver: NDArray[np.int64] | int) -> NDArray[np.bool_]:
        taker, giver = np.broadcast_arrays(np.atleast_1d(taker), np.atleast_1d(giver))
        return (taker != giver) & (self._block[taker] == self._block[giver]) & self._allowed(taker, giver)

    def _first(
        self,
        among: NDArray[np.int64],
        fits: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    ) -> int | None:
        """Return a unit that fits, from a random start; a sample is looked at before the rest."""
        if len(among) == 0:
            return None
        turned = np.roll(among, -int(self._rng.integers(len(among))))
        for some in (turned[:_SAMPLE], turned[_SAMPLE:]):
            found = np.flatnonzero(fits(some))
            if len(found):
                return int(some[found[0]])
        return None

    def _of_block(self, unit: int, *, moved: bool) -> NDArray[np.int64]:
        part = self._members[int(self._block[unit])]
        return part[self._moved[part] == moved]

    def _swap(self, unit: int) -> bool:
        """Swap givers with another moved unit, where both then fit."""
        mine = self.giver[unit]
        other = self._first(
            self._of_block(unit, moved=True),
            lambda some: self._fits(some, mine) & self._fits(unit, self.giver[some]),
        )
        if other is None:
            return False
        theirs = self.giver[other]
        self._link(np.array([unit, other]), np.array([theirs, mine]))
        return True

    def _replace(self, unit: int) -> bool:
        """Give the place of `unit` in its cycle to a unit that was not drawn."""
        before, after = self.giver[unit], self._taker[unit]
        if before == unit:
            return False
        other = self._first(
            self._of_block(unit, moved=False),
            lambda some: self._fits(some, before) & self._fits(after, some),
        )
        if other is None:
            return False
        self._moved[[unit, other]] = False, True
        self._link(np.array([other, after, unit]), np.array([before, other, unit]))
        return True

    def _leave(self, unit: int) -> bool:
        """Close the cycle without `unit`; a unit of any block that was not drawn joins another cycle."""
        before, after = self.giver[unit], self._taker[unit]
        alone = before == unit
        if not alone and not (before != after and self._fits(after, before)[0]):
            return False
        members = np.concatenate(list(self._members.values()))
        for other in self._rng.permutation(members[~self._moved[members]])[:_SAMPLE]:
            place = self._first(
                np.setdiff1d(self._of_block(other, moved=True), [unit, after], assume_unique=True),
                lambda some, other=other: self._fits(other, self.giver[some]) & self._fits(some, other),  # type: ignore[misc]
            )
            if place is None:
                continue
            self._moved[[unit, other]] = False, True
            if not alone:
                self._link(np.array([after]), np.array([before]))
            self._link(np.array([unit]), np.array([unit]))
            self._link(np.array([other, place]), np.array([self.giver[place], other]))
            return True
        return False


def moved(pairs: PairBatch, giver: NDArray[np.int64], protocol: str) -> Injection:
    """Return the pairs with row i holding the text of row `giver[i]`, and the truth."""
    true = giver == row_numbers(len(pairs))
    return Injection(pairs if true.all() else pairs.with_texts_of(giver), true, giver, protocol)


def protocol_of(unit: str, rate: float, seed: int) -> str:
    """Return the protocol in words."""
    return f"{unit}, {100 * rate:g} %, seed {seed}"
