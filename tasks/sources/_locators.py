"""Which media of a long listing were named before: eight bytes of each are kept."""

from array import array
from hashlib import blake2b

SLOTS = 1 << 10  # at first
FULL = 3 / 4  # of the slots taken: twice as many are made


class Locators:
    """Makes locators unique: a repeated one gets "#2", "#3" ..., by occurrence. Memory: 11 to 21 bytes each."""

    def __init__(self) -> None:
        self._seen = _Digests()
        self._counts: dict[str, int] = {}  # of repeated ones only

    def __call__(self, locator: str) -> str:
        """Return `locator`, numbered if it was given before."""
        if self._seen.add(_digest(locator)):
            return locator
        count = self._counts.get(locator, 1) + 1
        while not self._seen.add(_digest(f"{locator}#{count}")):
            count += 1
        self._counts[locator] = count
        return f"{locator}#{count}"


class _Digests:
    """A set of positive 64-bit numbers that look random, in an array: a set of Python's takes nine times as much.

    Each lies in the slot its low bits name, or in the next free one after it.
    """

    def __init__(self) -> None:
        self._slots = array("Q", [0]) * SLOTS
        self._count = 0

    def add(self, digest: int) -> bool:
        """Add a number; tell whether it is new."""
        slots, last = self._slots, len(self._slots) - 1
        at = digest & last
        while there := slots[at]:
            if there == digest:
                return False
            at = (at + 1) & last
        slots[at] = digest
        self._count += 1
        if self._count > FULL * len(slots):
            self._grow()
        return True

    def _grow(self) -> None:
        before, self._slots, self._count = self._slots, array("Q", [0]) * (2 * len(self._slots)), 0
        for digest in before:
            if digest:
                self.add(digest)


def _digest(locator: str) -> int:
    return int.from_bytes(blake2b(locator.encode("utf-8"), digest_size=8).digest(), "big") or 1
