"""Turn one medium's bytes into its row, or into the reason it cannot have one."""

from typing import TYPE_CHECKING, Any, Protocol

from schemas.digests import media_digest
from schemas.errors import BadInput
from tasks.media import drawing, picture, sniff

if TYPE_CHECKING:  # pydantic and pyarrow would cost the decoder process half a second and 70 MB
    from schemas.items import Inspected
    from schemas.recipes import InspectRecipe
    from schemas.settings import DecodeLimits


class Wanted(Protocol):
    """The part of `InspectRecipe` that decoding needs."""

    @property
    def thumbnail_px(self) -> int:
        """Longer side of the thumbnail."""

    @property
    def thumbnail_quality(self) -> int:
        """WebP quality, 1-100."""


class Allowed(Protocol):
    """The part of `DecodeLimits` that is checked here; time and memory are the decoder process's."""

    @property
    def max_bytes(self) -> int:
        """Largest file."""

    @property
    def max_pixels(self) -> int:
        """Largest width x height."""


def inspect(data: bytes, *, name: str, recipe: "InspectRecipe", limits: "DecodeLimits") -> "Inspected":
    """Return what the bytes say of themselves. Not for strangers' files: those go through `Decoder`.

    Pictures get every column; other media their digest, type and size, and nothing is decoded.

    Args:
        data: The file's bytes.
        name: What it is called. Only its extension counts, and only when the bytes are no medium.
        recipe: Thumbnail size and quality.
        limits: Largest size in bytes and pixels; time and memory are not limited here.

    Raises:
        BadInput: With the reason, and the digest of `data`.
    """
    from schemas.items import Inspected

    return Inspected(**facts(data, name=name, wanted=recipe, allowed=limits))


def facts(data: bytes, *, name: str, wanted: Wanted, allowed: Allowed) -> dict[str, Any]:
    """Return the fields of `Inspected`; see `inspect`."""
    digest = media_digest(data)
    try:
        media_type, modality = _medium(data, name, allowed.max_bytes)
        row: dict[str, Any] = {"media_id": digest, "modality": modality, "media_type": media_type}
        row |= {"size_bytes": len(data), "decoder": "none"}
        return row | _picture_facts(data, media_type, wanted, allowed) if modality == "image" else row
    except MemoryError as error:
        message = f"decoding {len(data)} bytes needed more memory than the limit"
        raise BadInput("decode-memory", message, error_class="MemoryError", digest=digest) from error
    except BadInput as error:
        error.digest = digest
        raise


def _medium(data: bytes, name: str, max_bytes: int) -> tuple[str, str]:
    """Return media type and modality of what is worth decoding."""
    if not data:
        raise BadInput("empty-file", "the file has no bytes")
    if len(data) > max_bytes:
        raise BadInput("too-many-bytes", f"{len(data)} bytes; the limit is {max_bytes}")
    if sniff.is_encrypted(data):
        raise BadInput("password-protected", "the content is encrypted; supply it without a password")
    media_type = sniff.media_type(data)
    modality = sniff.modality_of(media_type)
    promised = sniff.promised_modality(name)
    if promised and not sniff.keeps_promise(promised, modality):
        found = media_type or f"of no known type (they begin {data[:12]!r})"
        raise BadInput("mislabelled", f"the name promises {promised}, the bytes are {found}")
    if media_type is None or modality is None:
        raise BadInput("unsupported-type", f"{media_type or 'unknown type'}; the bytes begin {data[:12]!r}")
    return media_type, modality


_DRAWING_PX = 320  # drawings are rendered this large when no thumbnail says how large


def _picture_facts(data: bytes, media_type: str, wanted: Wanted, allowed: Allowed) -> dict[str, Any]:
    thumbnail = {"thumbnail_px": wanted.thumbnail_px, "thumbnail_quality": wanted.thumbnail_quality}
    if media_type in picture.FORMATS:
        seen = picture.look(data, media_type, max_pixels=allowed.max_pixels, **thumbnail)
        return seen | {"decoder": picture.DECODER}
    if media_type != sniff.SVG:
        raise BadInput("unsupported-type", f"no decoder of ours reads {media_type}")
    longer_px = wanted.thumbnail_px or _DRAWING_PX
    raster = drawing.rasterise(data, longer_px=longer_px)
    seen = picture.look(raster.png, "image/png", max_pixels=longer_px**2 * 2, **thumbnail)
    if raster.size:
        seen["width_px"], seen["height_px"] = raster.size
    return seen | {"decoder": drawing.DECODER}
