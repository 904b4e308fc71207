"""The bytes of media that a lake knows: from its store, from where they were left, or their thumbnails."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from schemas.errors import BadInput, LakeError
from storage.media import MediaStore
from storage.places import Place
from tasks.sources.read import read_bytes

if TYPE_CHECKING:
    import lance

Kind = Literal["original", "thumbnail", "none"]
MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Originals:
    """Reads media of one snapshot. Small enough to send to any worker; opens what it needs there.

    Args:
        lake: Address of the lake.
        kind: The bytes as taken in, the thumbnails (WebP, orientation applied, first frame), or none at all.
        version: Version of the table `media`, for thumbnails.
        fs_options: What fsspec needs for the lake's place.
        storage_options: What Lance needs for it.
    """

    lake: str
    kind: Kind = "original"
    version: int = 0
    fs_options: Mapping[str, Any] = field(default_factory=dict)
    storage_options: Mapping[str, str] | None = None

    def read(self, media_ids: Sequence[str], uris: Sequence[str]) -> list[bytes | BadInput | None]:
        """Return bytes for each medium, why there are none, or None where none are wanted. Same order."""
        if self.kind == "none":
            return [None] * len(media_ids)
        if self.kind == "thumbnail":
            return self._thumbnails(media_ids)
        return [self._original(media_id, uri) for media_id, uri in zip(media_ids, uris, strict=True)]

    def _original(self, media_id: str, uri: str) -> bytes | BadInput:
        store = MediaStore(Place(self.lake, dict(self.fs_options)))
        try:
            if uri == store.address(media_id):
                return store.get(media_id)
            data = read_bytes(uri, max_bytes=MAX_BYTES)
        except BadInput as error:
            return error
        except LakeError as error:
            return BadInput("missing-file", str(error))
        if hashlib.sha256(data).hexdigest() != media_id:
            return BadInput("corrupt", f"{uri} no longer holds the bytes that were taken in as {media_id}")
        return data

    def _thumbnails(self, media_ids: Sequence[str]) -> list[bytes | BadInput | None]:
        listed = ", ".join(f"'{media_id}'" for media_id in sorted(set(media_ids)) if media_id.isalnum())
        found: dict[str, bytes | None] = {}
        if listed:
            rows = self._media.to_table(columns=["media_id", "thumbnail"], filter=f"media_id IN ({listed})")
            found = dict(zip(rows["media_id"].to_pylist(), rows["thumbnail"].to_pylist(), strict=True))
        missing = BadInput("missing-file", "the lake holds no thumbnail of it")
        return [found.get(media_id) or missing for media_id in media_ids]

    @cached_property
    def _media(self) -> "lance.LanceDataset":
        import lance

        options = dict(self.storage_options) if self.storage_options else None
        return lance.dataset(f"{self.lake}/media.lance", version=self.version, storage_options=options)

    def __getstate__(self) -> dict[str, object]:
        """Leave the opened table behind."""
        return {name: value for name, value in vars(self).items() if name != "_media"}
