"""What every corpus promises: real media with their own texts, as a manifest."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Protocol

Report = Callable[[str], None]


class Corpus(Protocol):
    """A named collection of media with texts that can be had without an account.

    The manifest holds one JSON object a line: `media` (a path relative to the manifest's folder and below
    it; absent for a text alone), `texts` (objects with the fields of `schemas.items.ItemText`), `licence`,
    `credit`, where the source says so `concept`, and further columns that are kept as they are.
    """

    name: ClassVar[str]
    about: ClassVar[str]  # one line
    licence: ClassVar[str]  # SPDX identifier
    media_count: ClassVar[int]  # about; of the version this was written for

    def get(self, cache: Path, *, report: Report) -> Path:
        """Return the path of the manifest, fetching the corpus into `cache` first if it is not there.

        Getting twice does nothing the second time. A get that dies leaves no corpus, not half of one.

        Args:
            cache: Folder of all corpora.
            report: Called with one line of progress at a time.

        Raises:
            CorpusError: The corpus cannot be fetched or fails its check; the message says what to do.
        """
        ...
