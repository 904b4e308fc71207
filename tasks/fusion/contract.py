"""What every fusion promises: several runs in, one out."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from schemas.ranking import Run
from schemas.source import Source


class Fusion(Protocol):
    """Makes one run of several that answer the same queries."""

    name: ClassVar[str]
    source: ClassVar[Source]

    def __call__(self, runs: Sequence[Run]) -> Run:
        """Return one run with every query and every item that any run has.

        Items of a query stand in order, best first; of equal scores the smaller id first. No run: no query.

        Raises:
            DataError: A score is not finite.
            ValueError: There are not as many runs as the method has weights.
        """
        ...
