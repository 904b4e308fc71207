"""Tar files of samples, as WebDataset reads them."""

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from schemas.source import Source
from tasks.exports._columns import as_json, numbered, row
from tasks.exports.contract import Sample

# What a medium's member is called; by our table, never by the file's own name.
_SUFFIXES = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/tiff": "tiff",
    "image/bmp": "bmp",
    "image/svg+xml": "svg",
    "audio/x-wav": "wav",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "application/pdf": "pdf",
}


@dataclass(frozen=True)
class WebDataset:
    """A sample is members of one key: the medium, `.txt` with its best text, `.json` with everything.

    Members have no time, owner or mode of their own, so equal samples are equal archives.
    """

    name: ClassVar[str] = "webdataset"
    source: ClassVar[Source] = Source(
        title="WebDataset",
        authors="Aizman et al.",
        year=2019,
        url="https://github.com/webdataset/webdataset",
        departs="the key is the medium's digest",
    )
    carries_media: ClassVar[bool] = True

    def __call__(self, samples: Iterable[Sample], folder: Path, shard: int, shards: int) -> int:
        """Write one tar file and return how many samples it holds."""
        count = 0
        with tarfile.open(folder / numbered(shard, shards, "tar"), "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in samples:
                count += 1
                if sample.data is not None:
                    _add(tar, sample.media_id, suffix_of(sample.media_type), sample.data)
                if sample.texts:
                    _add(tar, sample.media_id, "txt", sample.texts[0].text.encode())
                _add(tar, sample.media_id, "json", as_json(row(sample)).encode())
        return count


def suffix_of(media_type: str) -> str:
    """Return the ending for a medium's type; "bin" for one that is not in the table."""
    return _SUFFIXES.get(media_type, "bin")


def _add(tar: tarfile.TarFile, key: str, suffix: str, data: bytes) -> None:
    member = tarfile.TarInfo(f"{key}.{suffix}")
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(data))
