"""What every export format promises: samples in, files of one shard out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from schemas.source import Source


@dataclass(frozen=True)
class Said:
    """One text of a medium.

    Args:
        text_id: Its id in the lake.
        text: The text.
        language: BCP 47 primary subtag.
        origin: raw | file-name | synthetic.
        role: What it is to the medium: caption, title, keywords ...
    """

    text_id: str
    text: str
    language: str
    origin: str
    role: str


@dataclass(frozen=True)
class Sample:
    """One medium with its texts, best first.

    Args:
        media_id: SHA-256 of its bytes.
        media_type: From the bytes, e.g. image/png.
        data: The bytes; None where the export leaves them in place.
        texts: Its texts, best first; empty if it has none.
        facts: Further columns: modality, width_px, height_px, licence, credit, uri ...
    """

    media_id: str
    media_type: str
    data: bytes | None = field(repr=False)
    texts: tuple[Said, ...]
    facts: Mapping[str, object]


class Exporter(Protocol):
    """Writes samples in a format that others read without us."""

    name: ClassVar[str]
    source: ClassVar[Source]
    carries_media: ClassVar[bool]  # whether the bytes of media are part of the format

    def __call__(self, samples: Iterable[Sample], folder: Path, shard: int, shards: int) -> int:
        """Write one shard's files below a folder and return how many samples they hold.

        The same samples give the same bytes. Nothing outside the folder is touched; names do not come from the data.

        Args:
            samples: Streamed: the next is read when this one is written.
            folder: Where the files go; it exists and is the shard's own.
            shard: Its number, from 0.
            shards: How many there are.
        """
        ...
