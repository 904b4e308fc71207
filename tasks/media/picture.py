"""Decode a picture with as few full-size copies as its mode allows."""

import io
import math
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import PIL
from PIL import (  # noqa: F401 - the only readers allowed; each registers itself on import
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageChops,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from schemas.errors import BadInput

DECODER = f"Pillow {PIL.__version__}"
# No format that calls another program (EPS, PDF, WMF) and none we have no test for.
FORMATS = {
    "image/avif": "AVIF",
    "image/bmp": "BMP",
    "image/gif": "GIF",
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/tiff": "TIFF",
    "image/webp": "WEBP",
    "image/x-icon": "ICO",
    "image/x-portable-anymap": "PPM",
}
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20  # colour profiles and XMP of photographs pass, bombs do not

_WEBP_METHOD = 1  # 1.8 ms a thumbnail; 0 saves 0.06 ms for 8 % more bytes, 4 costs 2 ms for 19 % fewer
_PREMULTIPLIED = {"LA": "La", "RGBA": "RGBa"}  # transparent pixels must not lend their colour to neighbours
_ORIENT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ENDS_EARLY = re.compile(r"truncat|not processed|end of (file|data)|unexpected eof", re.IGNORECASE)
_WANTS_MEMORY = re.compile(r"out of memory|insufficient memory|too much memory|data too large", re.IGNORECASE)


def look(
    data: bytes, media_type: str, *, max_pixels: int, thumbnail_px: int, thumbnail_quality: int
) -> dict[str, Any]:
    """Return the picture columns of `media` for the first frame.

    Colour profiles are ignored, transparency is composited on white, 16-bit grey is scaled, not clipped.
    A JPEG is decoded at the smallest DCT scale whose longer side is at least twice the thumbnail's.

    Args:
        data: The file's bytes.
        media_type: A key of `FORMATS`; only that reader is tried.
        max_pixels: Largest width x height, tested on the header before any pixel is decoded.
        thumbnail_px: Longest side of the thumbnail; a smaller picture is not enlarged. 0: no thumbnail.
        thumbnail_quality: WebP quality, 1-100.

    Raises:
        BadInput: "too-many-pixels", "truncated", "decode-memory" or "corrupt".
        MemoryError: A buffer cannot be had.
    """
    try:
        if _cut_short(data, media_type):
            raise BadInput("truncated", f"{media_type}: the closing mark is missing from {len(data)} bytes")
        if media_type == "image/webp":
            _check_webp_canvas(data, max_pixels)
        with _pixel_limit(max_pixels):
            return _look(data, media_type, thumbnail_px, thumbnail_quality)
    except (BadInput, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        message = f"the header says {found[0] if found else 'too many'} pixels; the limit is {max_pixels}"
        raise BadInput("too-many-pixels", message, error_class="DecompressionBombError") from error
    except UnidentifiedImageError as error:
        raise BadInput(
            "corrupt", f"{media_type}: the header makes no sense", error_class=type(error).__name__
        ) from error
    except Exception as error:  # noqa: BLE001 - readers raise whatever the bytes lead them to
        message = f"{media_type}: {error}"
        if _WANTS_MEMORY.search(message):
            reason = "decode-memory"
        else:
            reason = "truncated" if _ENDS_EARLY.search(message) else "corrupt"
        raise BadInput(reason, message, error_class=type(error).__name__) from error


def _look(data: bytes, media_type: str, thumbnail_px: int, thumbnail_quality: int) -> dict[str, Any]:
    picture = Image.open(io.BytesIO(data), formats=(FORMATS[media_type],))
    width, height = picture.size
    mode = picture.mode
    frames = min(getattr(picture, "n_frames", 1), (1 << 31) - 1)
    if thumbnail_px:
        scale = 2 * thumbnail_px / max(width, height)
        picture.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))  # only JPEG can
    picture.load()
    orientation = _orientation(picture)
    if (orientation or 1) >= 5:
        width, height = height, width
    plain = as_plain(picture)
    return {
        "width_px": width,
        "height_px": height,
        "colour_mode": mode,
        "orientation": orientation,
        "frames": frames,
        "animated": frames > 1,
        "has_alpha": plain.mode in _PREMULTIPLIED,
        "phash": difference_hash(plain, orientation or 1),
        "thumbnail": _thumbnail(plain, orientation or 1, thumbnail_px, thumbnail_quality)
        if thumbnail_px
        else None,
    }


def difference_hash(plain: Image.Image, orientation: int = 1) -> str:
    """Return the 64-bit difference hash as 16 hex digits.

    The picture is turned to grey, composited on white and averaged to 9 x 8 cells. Bit c of row r is set when
    cell (r, c) is darker than cell (r, c + 1); row by row, first bit most significant.

    Args:
        plain: Mode L, RGB, LA or RGBA.
        orientation: EXIF 1-8, applied to the cells.
    """
    grey = plain if plain.mode == "L" else plain.convert("L")
    if plain.mode in ("LA", "RGBA"):
        white = Image.new("L", plain.size, 255)
        white.paste(grey, mask=plain.getchannel("A"))
        grey = white
    grid = (8, 9) if orientation >= 5 else (9, 8)
    cells = _oriented(grey.resize(grid, Image.Resampling.BOX), orientation).tobytes()
    bits = 0
    for row in range(8):
        for column in range(8):
            at = row * 9 + column
            bits = bits << 1 | (cells[at] < cells[at + 1])
    return f"{bits:016x}"


def _thumbnail(plain: Image.Image, orientation: int, longer_px: int, quality: int) -> bytes:
    small = plain.convert(_PREMULTIPLIED[plain.mode]) if plain.mode in _PREMULTIPLIED else plain
    scale = longer_px / max(plain.size)
    if scale < 1:
        size = (max(1, round(plain.width * scale)), max(1, round(plain.height * scale)))
        small = small.resize(size, Image.Resampling.HAMMING, reducing_gap=2.0)
    out = io.BytesIO()
    small = _on_white(_oriented(small, orientation)).convert("RGB")
    small.save(out, "WEBP", quality=quality, method=_WEBP_METHOD)
    return out.getvalue()


def _oriented(picture: Image.Image, orientation: int) -> Image.Image:
    return picture.transpose(_ORIENT[orientation]) if orientation in _ORIENT else picture


def _on_white(picture: Image.Image) -> Image.Image:
    """Return L or RGB. With premultiplied colour, white shows through by what alpha lacks: c + (255 - a)."""
    if picture.mode not in _PREMULTIPLIED.values():
        return picture
    *colours, alpha = picture.split()
    white = ImageChops.invert(alpha)
    mixed = [ImageChops.add(colour, white) for colour in colours]
    return mixed[0] if len(mixed) == 1 else Image.merge("RGB", mixed)


def as_plain(picture: Image.Image) -> Image.Image:
    """Return the picture as 8-bit L, RGB, LA or RGBA, without a copy where it is one already."""
    mode = picture.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        return _eight_bit(picture)
    if mode == "1":
        mode = "L"
    if picture.has_transparency_data:
        straight = "LA" if mode in ("L", "LA") else "RGBA"
        if picture.mode != straight:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                picture = (picture.convert("L") if picture.mode == "1" else picture).convert(straight)
        return picture
    return picture if picture.mode in ("L", "RGB") else picture.convert("L" if mode == "L" else "RGB")


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Scale deep grey to L: 16-bit counts by 1/257, fractions in [0, 1] by 255, other ranges end to end.

    Transparent grey levels of such pictures are drawn opaque.
    """
    deep = picture if picture.mode in ("I", "F") else picture.convert("I")
    low, high = (0.0, 65535.0) if picture.mode not in ("I", "F") else _range(deep)
    step = 255 / (high - low)
    return deep.point(lambda level: level * step + (0.5 - low * step)).convert("L")


def _range(picture: Image.Image) -> tuple[float, float]:
    low, high = picture.getextrema()
    if not (isinstance(low, int | float) and isinstance(high, int | float) and math.isfinite(high - low)):
        return 0.0, 1.0
    expected = 65535.0 if picture.mode == "I" else 1.0
    if low >= 0 and high <= expected:
        return 0.0, expected
    return float(low), float(high) if high > low else low + 1.0


def _orientation(picture: Image.Image) -> int | None:
    found: Any = None
    with suppress(Exception):  # broken EXIF does not make the pixels worse
        found = picture.getexif().get(0x0112)
    return found if isinstance(found, int) and 1 <= found <= 8 else None


@contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Make Pillow's own check, which also sees pictures embedded in icons, refuse more than `max_pixels`."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels / 2  # type: ignore[assignment]  # it warns at this and raises at its double
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _check_webp_canvas(data: bytes, max_pixels: int) -> None:
    """Test an extended WebP's canvas here: Pillow allocates it on opening."""
    if data[12:16] == b"VP8X" and len(data) >= 30:
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        if width * height > max_pixels:
            message = f"the header says {width} x {height} pixels; the limit is {max_pixels}"
            raise BadInput("too-many-pixels", message)


def _cut_short(data: bytes, media_type: str) -> bool:
    """Whether a format that says where it ends, does not end. Pillow takes some such files without a word."""
    if media_type == "image/png":
        return not _png_ends(data)
    if media_type == "image/webp":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if media_type == "image/gif":
        return not data.endswith(b";") and not _gif_ends(data)
    return media_type == "image/jpeg" and b"\xff\xd9" not in data[2:]


def _png_ends(data: bytes) -> bool:
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return True
        at += 12 + length
    return False


def _gif_ends(data: bytes) -> bool:
    """Whether the blocks lead to a trailer; bytes may follow it."""

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    at = 13 + table(data[10]) if len(data) > 10 else len(data)
    while at < len(data):
        if data[at] == 0x3B:
            return True
        if data[at] == 0x2C and at + 10 < len(data):  # an image: descriptor, colour table, code size, blocks
            at += 11 + table(data[at + 9])
        elif data[at] == 0x21:  # an extension: label, blocks
            at += 2
        else:
            return False
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return False
