"""What every diagnostic of a space promises."""

from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source


class Diagnostic(Protocol):
    """Says what shape a space of media and texts has; judges no item and changes nothing.

    Attributes:
        name: Name recipes use.
        source: Where the method comes from.
        paired: Row i of the media belongs to row i of the texts; else the two sides may differ in number.
    """

    name: ClassVar[str]
    source: ClassVar[Source]
    paired: ClassVar[bool]

    def __call__(self, media: NDArray[np.float32], text: NDArray[np.float32]) -> dict[str, float]:
        """Return finite numbers by name, always the same names.

        Args:
            media: (N, D) unit vectors.
            text: (M, D) unit vectors in the same space; M = N where `paired`.

        Raises:
            DataError: A side has too few vectors, or some are not finite or not of unit length.
            ValueError: Widths differ, or numbers where rows are pairs.
        """
        ...
