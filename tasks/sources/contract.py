"""What every reader of a source promises."""

from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

from schemas.items import Item
from schemas.source import Source


class SourceReader(Protocol):
    """Lists the items of one source.

    A reader only lists: it reads texts, names and sizes, never a whole medium. What is wrong with one item
    becomes that item's `problem`; what is wrong with the whole source raises `SourceError`.

    Args:
        location: A path or an fsspec URL.
    """

    name: ClassVar[str]
    source: ClassVar[Source]

    def __init__(self, location: str, **options: Any) -> None: ...

    def __call__(self) -> Iterator[Item]:
        """Yield the items, in the same order every time, no two with the same locator.

        Raises:
            SourceError: The source cannot be opened or listed at all.
        """
        ...
