"""Files as people have them: awkward but valid, and hostile; built on the spot, with what to expect."""

import gzip
import io
import os
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, features

WIDTH, HEIGHT = 24, 16  # of every ordinary picture here
SVG_HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def scene(mode: str = "RGB") -> Image.Image:
    """Return a small picture with a gradient each way, so that every turn and flip of it differs."""
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    picture.putdata([(x * 10, y * 15, (x * y) % 256) for y in range(HEIGHT) for x in range(WIDTH)])
    return picture.convert(mode)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the picture's file."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk: length, kind, body, CRC."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_by_hand(
    width: int,
    height: int,
    pixels: bytes,
    *chunks: bytes,
    depth: int = 8,
    colour: int = 0,
    interlace: int = 0,
) -> bytes:
    """Return a PNG around already compressed pixels, with further chunks before them."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    body = b"".join(chunks) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def adam7_png(rows: list[list[int]]) -> bytes:
    """Return an interlaced 8-bit grey PNG of these rows."""
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    raw = b"".join(
        b"\0" + bytes(line[x0::dx]) for x0, y0, dx, dy in passes for line in rows[y0::dy] if line[x0::dx]
    )
    return png_by_hand(len(rows[0]), len(rows), zlib.compress(raw), interlace=1)


def blank_png(width: int, height: int) -> bytes:
    """Return a real one-bit PNG, every pixel present: some kilobytes that inflate to width x height / 8."""
    row = bytes(1 + (width + 7) // 8)
    deflate = zlib.compressobj(1)
    pixels = b"".join(deflate.compress(row * 500) for _ in range(height // 500))
    pixels += deflate.compress(row * (height % 500)) + deflate.flush()
    return png_by_hand(width, height, pixels, depth=1)


def zipped(name: str, body: bytes, *, encrypted: bool = False) -> bytes:
    """Return a ZIP of one member, perhaps flagged as encrypted in both its headers."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), body)  # a time of its own would make two processes differ
    data = bytearray(out.getvalue())
    if encrypted:
        data[6] |= 1
        data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def pdf(trailer: bytes = b"") -> bytes:
    """Return the least of a PDF, with entries added to its trailer."""
    body = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n"
    table = b"xref\n0 1\n0000000000 65535 f \ntrailer<</Size 2/Root 1 0 R" + trailer + b">>\n"
    return body + table + b"startxref\n%d\n%%%%EOF" % len(body)


def svg(
    content: str = '<rect width="40" height="20" fill="#c00"/>',
    *,
    before: str = "",
    size: str = 'width="40" height="20"',
) -> bytes:
    """Return a drawing, 40 x 20 px unless told otherwise."""
    return f"{before}{SVG_HEAD} {size}>{content}</svg>".encode()


def frames(kind: str) -> bytes:
    """Return three different frames of an animation."""
    first, *rest = [scene().rotate(angle) for angle in (0, 90, 180)]
    return encoded(first, kind, save_all=True, append_images=rest, duration=50)


def _wav() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", "none"))
        sound.writeframes(bytes(1600))
    return out.getvalue()


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _deep(mode: str, scale: float) -> Image.Image:
    """Return a ramp in a deep mode: pixel i of 256 is i * scale."""
    picture = Image.new(mode, (16, 16))
    picture.putdata([i * scale if mode == "F" else int(i * scale) for i in range(256)])
    return picture


def good_media(folder: Path) -> dict[str, dict[str, Any]]:
    """Write awkward but valid media; return {file name: columns of `media` they must get}."""
    palette = scene("P")
    see_through = scene("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize((WIDTH, HEIGHT)))
    grey = [[(x * 9 + y * 5) % 256 for x in range(13)] for y in range(11)]
    doctype = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd" [<!ENTITY ink "#c00">]>'
    pictures: dict[str, tuple[bytes, dict[str, Any]]] = {
        "plain.png": (encoded(scene(), "PNG"), {"colour_mode": "RGB", "has_alpha": False}),
        "photo.jpg": (encoded(scene(), "JPEG"), {"media_type": "image/jpeg"}),
        "jpeg_called.png": (encoded(scene(), "JPEG"), {"media_type": "image/jpeg"}),
        "no_extension": (encoded(scene(), "PNG"), {"media_type": "image/png"}),
        "cmyk.jpg": (encoded(scene("CMYK"), "JPEG"), {"colour_mode": "CMYK"}),
        "grey16.png": (encoded(_deep("I;16", 257), "PNG"), {"colour_mode": "I;16", "width_px": 16}),
        "grey32.tiff": (encoded(_deep("I", 1000), "TIFF"), {"colour_mode": "I", "width_px": 16}),
        "float.tiff": (encoded(_deep("F", 1 / 255), "TIFF"), {"colour_mode": "F", "width_px": 16}),
        "palette.png": (encoded(palette, "PNG"), {"colour_mode": "P", "has_alpha": False}),
        "palette_clear.png": (
            encoded(palette, "PNG", transparency=bytes(range(256))),
            {"colour_mode": "P", "has_alpha": True},
        ),
        "grey_alpha.png": (
            encoded(see_through.convert("LA"), "PNG"),
            {"colour_mode": "LA", "has_alpha": True},
        ),
        "see_through.png": (encoded(see_through, "PNG"), {"colour_mode": "RGBA", "has_alpha": True}),
        "colour_key.png": (
            encoded(scene(), "PNG", transparency=(0, 0, 0)),
            {"colour_mode": "RGB", "has_alpha": True},
        ),
        "bilevel.png": (encoded(scene("1"), "PNG"), {"colour_mode": "1", "has_alpha": False}),
        "thread.png": (encoded(scene("L").resize((1, 700)), "PNG"), {"width_px": 1, "height_px": 700}),
        "one_pixel.gif": (encoded(scene("P").resize((1, 1)), "GIF"), {"width_px": 1, "height_px": 1}),
        "interlaced.png": (adam7_png(grey), {"colour_mode": "L", "width_px": 13, "height_px": 11}),
        "animated.gif": (frames("GIF"), {"frames": 3, "animated": True}),
        "animated.webp": (frames("WEBP"), {"frames": 3, "animated": True}),
        "animated.png": (frames("PNG"), {"frames": 3, "animated": True}),
        "still.webp": (encoded(scene(), "WEBP"), {"media_type": "image/webp"}),
        "bitmap.bmp": (encoded(scene(), "BMP"), {"media_type": "image/bmp"}),
        "pixmap.ppm": (encoded(scene(), "PPM"), {"media_type": "image/x-portable-anymap"}),
        "scan.tiff": (encoded(scene(), "TIFF", compression="tiff_lzw"), {"media_type": "image/tiff"}),
        "icon.ico": (
            encoded(scene().resize((16, 16)), "ICO"),
            {"media_type": "image/x-icon", "width_px": 16},
        ),
        "drawing.svg": (svg(), {"media_type": "image/svg+xml", "width_px": 40, "height_px": 20}),
        "drawing.svgz": (
            gzip.compress(svg()),
            {"media_type": "image/svg+xml", "width_px": 40, "height_px": 20},
        ),
        "illustrator.svg": (
            svg('<rect width="40" height="20" fill="&ink;"/>', before=doctype),
            {"width_px": 40, "height_px": 20},
        ),
        "scripted.svg": (
            svg('<script>while (true) {}</script><rect width="9" height="9"/>'),
            {"width_px": 40, "height_px": 20},
        ),
    }
    if features.check("avif"):
        pictures["still.avif"] = (encoded(scene(), "AVIF"), {"media_type": "image/avif"})
    for orientation in range(1, 9):
        upright = orientation < 5
        pictures[f"turned_{orientation}.jpg"] = (
            encoded(scene(), "JPEG", exif=_exif(orientation)),
            {
                "orientation": orientation,
                "width_px": WIDTH if upright else HEIGHT,
                "height_px": HEIGHT if upright else WIDTH,
            },
        )
    others = {
        "song.mid": (b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0", "score", "audio/midi"),
        "score.musicxml": (
            b'<?xml version="1.0"?><!DOCTYPE score-partwise SYSTEM "partwise.dtd"><score-partwise/>',
            "score",
            "application/vnd.recordare.musicxml+xml",
        ),
        "tone.wav": (_wav(), "audio", "audio/x-wav"),
        "sound.ogg": (b"OggS\0\2" + bytes(22) + b"\x01vorbis", "audio", "audio/ogg"),
        "film.ogv": (b"OggS\0\2" + bytes(22) + b"\x80theora", "video", "video/ogg"),
        "film.webm": (
            b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm",
            "video",
            "video/webm",
        ),
        "page.pdf": (pdf(), "document", "application/pdf"),
    }
    expected = {}
    for name, (data, facts) in pictures.items():
        usual = {"modality": "image", "frames": 1, "animated": False}
        if "width_px" not in facts:
            usual |= {"width_px": WIDTH, "height_px": HEIGHT}
        expected[name] = usual | facts
        (folder / name).write_bytes(data)
    for name, (data, modality, media_type) in others.items():
        expected[name] = {"modality": modality, "media_type": media_type, "width_px": None, "phash": None}
        (folder / name).write_bytes(data)
    return expected


def bad_media(folder: Path) -> dict[str, str]:
    """Write files that must be refused under the default limits; return {file name: reason}.

    One of them is a named pipe.
    """
    jpeg, png = encoded(scene().resize((200, 150)), "JPEG"), encoded(scene().resize((200, 150)), "PNG")
    webp, gif = encoded(scene().resize((200, 150)), "WEBP"), encoded(scene("P").resize((200, 150)), "GIF")
    flipped = bytearray(png)
    flipped[18] ^= 1  # in the header, whose checksum no longer holds
    zeros = zlib.compress(bytes(48 << 20))
    dot = zlib.compress(b"\0\0")
    laughs = "".join(f'<!ENTITY {a} "{f"&{b};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    cases: dict[str, tuple[str, bytes | Callable[[Path], None]]] = {
        "empty.png": ("empty-file", b""),
        "cut.jpg": ("truncated", jpeg[: len(jpeg) // 2]),
        "cut.png": ("truncated", png[: len(png) // 2]),
        "no_end.png": ("truncated", png[:-12]),
        "cut.webp": ("truncated", webp[: len(webp) // 2]),
        "cut.gif": ("truncated", gif[: len(gif) // 2]),
        "cut.bmp": ("truncated", encoded(scene(), "BMP")[:-100]),
        "cut.svg": ("truncated", svg()[:-10]),
        "cut.svgz": ("truncated", gzip.compress(svg())[:-12]),
        "flipped.png": ("corrupt", bytes(flipped)),
        "broken.svg": ("corrupt", svg("<g></h>")),
        "text.png": ("mislabelled", b"only words"),
        "page.jpg": ("mislabelled", b"<!DOCTYPE html><html><body>404</body></html>"),
        "archive.png": ("mislabelled", zipped("a.txt", b"a")),
        "sound.png": ("mislabelled", _wav()),
        "words.mp3": ("mislabelled", b"only words"),
        "archive.zip": ("unsupported-type", zipped("a.txt", b"a")),
        "notes": ("unsupported-type", b"only words"),
        "layers.psd": ("unsupported-type", b"8BPS\0\1" + bytes(40)),
        "locked.zip": ("password-protected", zipped("a.txt", b"a", encrypted=True)),
        "locked.docx": ("password-protected", zipped("word/document.xml", b"a", encrypted=True)),
        "locked.pdf": ("password-protected", pdf(b"/Encrypt 5 0 R")),
        "locked.xlsx": (
            "password-protected",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
            + bytes(600)
            + "EncryptedPackage".encode("utf-16-le")
            + bytes(200),
        ),
        "600_megapixels.png": ("too-many-pixels", blank_png(30_000, 20_000)),
        "huge.webp": (
            "too-many-pixels",
            b"RIFF\x26\0\0\0WEBPVP8X\x0a\0\0\0"
            + b"\x02\0\0\0"
            + b"\xff\x3f\0" * 2
            + b"ANIM\x06\0\0\0"
            + bytes(8),
        ),
        "huge_frames.gif": (
            "too-many-pixels",
            b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + gif[13:],
        ),
        "text_bomb.png": ("decode-memory", png_by_hand(1, 1, dot, png_chunk(b"zTXt", b"note\0\0" + zeros))),
        "itxt_bomb.png": (
            "decode-memory",
            png_by_hand(1, 1, dot, png_chunk(b"iTXt", b"note\0\1\0\0\0" + zeros)),
        ),
        "profile_bomb.png": ("decode-memory", png_by_hand(1, 1, dot, png_chunk(b"iCCP", b"icc\0\0" + zeros))),
        "entity.svg": (
            "unsafe-svg",
            svg("<text>&x;</text>", before='<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
        ),
        "parameter.svg": (
            "unsafe-svg",
            svg(before='<!DOCTYPE svg [<!ENTITY % x SYSTEM "http://192.0.2.1/x">%x;]>'),
        ),
        "doctype.svg": ("unsafe-svg", svg(before='<!DOCTYPE svg SYSTEM "file:///etc/passwd">')),
        "laughs.svg": (
            "unsafe-svg",
            svg("<text>&a;</text>", before=f'<!DOCTYPE svg [<!ENTITY i "lol">{laughs}]>'),
        ),
        "blow_up.svg": (
            "unsafe-svg",
            svg(f"<text>{'&x;' * 3000}</text>", before=f'<!DOCTYPE svg [<!ENTITY x "{"x" * 50_000}">]>'),
        ),
        "file_link.svg": ("unsafe-svg", svg('<image xlink:href="file:///etc/passwd"/>')),
        "path_link.svg": ("unsafe-svg", svg('<image href="../secret.png"/>')),
        "web_link.svg": ("unsafe-svg", svg('<image href="http://192.0.2.1/a.png"/>')),
        "entity_link.svg": (
            "unsafe-svg",
            svg('<image href="&x;"/>', before='<!DOCTYPE svg [<!ENTITY x "/etc/a.png">]>'),
        ),
        "nested.svg": ("unsafe-svg", svg('<image href="data:image/svg+xml;base64,PHN2Zy8+"/>')),
        "web_script.svg": ("unsafe-svg", svg('<script href="http://192.0.2.1/a.js"/>')),
        "css_url.svg": ("unsafe-svg", svg("<rect style=\"fill:url( 'http://192.0.2.1/a#b')\"/>")),
        "css_import.svg": ("unsafe-svg", svg('<style>@import "http://192.0.2.1/a.css";</style>')),
        "stylesheet.svg": ("unsafe-svg", svg(before='<?xml-stylesheet href="http://192.0.2.1/a.css"?>')),
        "deep.svg": ("corrupt", svg("<g>" * 100_000 + "</g>" * 100_000)),
        "pipe.png": ("not-a-file", os.mkfifo),
    }
    for name, (_, content) in cases.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            content(folder / name)
    return {name: reason for name, (reason, _) in cases.items()}
