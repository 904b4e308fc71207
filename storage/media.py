"""Raw bytes by content digest."""

import hashlib
from dataclasses import dataclass

from schemas.errors import LakeError
from storage.places import Place


@dataclass(frozen=True)
class MediaStore:
    """Media under `media/ab/cd/<digest>`: written once, never changed."""

    place: Place

    def address(self, digest: str) -> str:
        """Return the address of a medium, whether or not it is there."""
        return f"{self.place.address}/media/{digest[:2]}/{digest[2:4]}/{digest}"

    def put(self, digest: str, data: bytes) -> str:
        """Store the bytes, unless they are there, and return their address.

        Raises:
            LakeError: The bytes do not have this digest.
        """
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise LakeError(
                f"these {len(data)} bytes have the digest {found}, not {digest}: the file changed while read"
            )
        path = self._path(digest)
        if not self.place.fs.exists(path):
            self.place.write(path, data)
        return self.address(digest)

    def get(self, digest: str) -> bytes:
        """Return the bytes.

        Raises:
            LakeError: The store does not hold them.
        """
        try:
            return bytes(self.place.fs.cat_file(self._path(digest)))
        except FileNotFoundError as error:
            raise LakeError(f"the media store at {self.place.address} does not hold {digest}") from error

    def _path(self, digest: str) -> str:
        return self.place.path("media", digest[:2], digest[2:4], digest)
