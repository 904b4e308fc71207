"""Small whole pictures of every format, and what damage does to them."""

import gzip
import io
import random
import struct
import zlib

from PIL import Image

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="40" height="20"'
SIZES = (0, 1, 7, 255, 4096, 16_384, 32_767, 65_535)  # what a lying header claims


def pictures(rng: random.Random) -> dict[str, bytes]:
    """Return whole, small pictures by extension."""
    size = (rng.randint(20, 90), rng.randint(20, 90))
    plain = Image.frombytes("RGB", size, rng.randbytes(size[0] * size[1] * 3)).resize(
        (96, 72), Image.Resampling.BILINEAR
    )
    clear = plain.copy()
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    turned = [plain.rotate(angle) for angle in (90, 180, 270)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = rng.randint(1, 8), "a description"
    moving = {"save_all": True, "append_images": turned, "duration": 40}
    options: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "png": (clear, "PNG", {}), "p.png": (plain.convert("P"), "PNG", {}), "apng": (plain, "PNG", moving),
        "jpg": (plain, "JPEG", {"exif": exif, "quality": 80}), "prog.jpg": (plain, "JPEG", {"progressive": True}),
        "cmyk.jpg": (plain.convert("CMYK"), "JPEG", {}), "webp": (clear, "WEBP", {"quality": 60}),
        "less.webp": (clear, "WEBP", {"lossless": True}), "film.webp": (plain, "WEBP", moving), "gif": (plain, "GIF", moving),
        "bmp": (plain, "BMP", {}), "tiff": (plain, "TIFF", {"compression": "tiff_lzw"}),
        "zip.tiff": (clear, "TIFF", {"compression": "tiff_deflate"}), "raw.tiff": (plain.convert("F"), "TIFF", {}),
        "ico": (clear.resize((32, 32)), "ICO", {}), "ppm": (plain, "PPM", {}), "avif": (plain, "AVIF", {"quality": 50}),
    }  # fmt: skip
    found = {}
    for name, (picture, kind, extra) in options.items():
        out = io.BytesIO()
        try:
            picture.save(out, kind, **extra)
        except (OSError, KeyError):  # this Pillow has no such writer
            continue
        found[name] = out.getvalue()
    drawing = f'{SVG}><g fill="#c{rng.randint(0, 9)}0"><rect width="9" height="9"/><circle r="5" cx="9" cy="9"/></g></svg>'
    return found | {"svg": drawing.encode(), "svgz": gzip.compress(drawing.encode(), mtime=0)}


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with a right checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, pixels: bytes, *chunks: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """Return a PNG around compressed pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


DOT = zlib.compress(b"\0\0")


# Damage: (rng, file, another file of the kind) -> file


def flipped(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """Flip one to 64 bits, half of the time near the start, where headers are."""
    out = bytearray(data)
    reach = min(len(out), 200) if rng.random() < 0.5 else len(out)
    for _ in range(2 ** rng.randint(0, 6)):
        out[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """Lose the end."""
    return data[: rng.randrange(len(data))]


def spliced(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Go on in another file."""
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def shuffled(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Drop, double, move or take over segments (chunks of PNG and RIFF, segments of JPEG, else blocks)."""
    parts, strange = segments(data), segments(other)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(1, max(2, len(parts)))
        change = rng.randrange(4)
        if change == 0:
            del parts[at : at + 1]
        elif change == 1:
            parts[at:at] = parts[at : at + 1] * rng.choice((1, 1, 200))
        elif change == 2:
            parts.insert(at, parts.pop(rng.randrange(len(parts))))
        else:
            parts.insert(at, rng.choice(strange))
    return b"".join(parts)


def stuffed(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """Overwrite a few numbers with extreme ones."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        value = rng.choice(
            (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80")
        )
        at = rng.randrange(max(1, min(len(out), 400) - 4))
        out[at : at + 4] = value
    return bytes(out)


def lying(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """Claim another size in the header, checksums put right."""
    wide, high = rng.choice(SIZES), rng.choice(SIZES)
    out = bytearray(data)
    if data.startswith(b"\x89PNG"):
        struct.pack_into(">II", out, 16, wide * rng.choice((1, 4096)), high)
        struct.pack_into(">I", out, 29, zlib.crc32(bytes(out[12:29])))
    elif data.startswith(b"\xff\xd8"):
        at = next((i for i in range(len(out) - 9) if out[i] == 0xFF and out[i + 1] in (0xC0, 0xC2)), 2)
        struct.pack_into(">HH", out, at + 5, high, wide)
    elif data.startswith(b"GIF"):
        struct.pack_into("<HH", out, rng.choice((6, 6, max(6, data.find(b"\x2c") + 5))), wide, high)
    elif data.startswith(b"BM"):
        struct.pack_into("<ii", out, 18, wide * rng.choice((1, -1, 30_000)), high * rng.choice((1, -1)))
    elif data[8:12] == b"WEBP":
        out[24:27] = struct.pack("<I", wide * 200)[:3]
    elif data.startswith(b"P"):
        return b"P6 %d %d 255\n" % (wide * 70_000, high) + data[12:]
    elif data.startswith((b"II", b"MM")):
        at = data.find(b"\0\1\4\0") if data.startswith(b"MM") else data.find(b"\0\1\4\0\1")
        struct.pack_into("<I", out, max(at, 8) + 8 if max(at, 8) + 12 <= len(out) else 8, wide * 65_537)
    else:
        return stuffed(rng, data, data)
    return bytes(out)


def segments(data: bytes) -> list[bytes]:
    """Cut a file where its format does; other formats into 16 blocks. What is joined again is the file."""
    cuts = [0]
    if data.startswith(b"\x89PNG"):
        at = 8
        while at + 8 <= len(data):
            cuts.append(at)
            at += 12 + struct.unpack_from(">I", data, at)[0]
    elif data.startswith(b"RIFF"):
        at = 12
        while at + 8 <= len(data):
            cuts.append(at)
            size = struct.unpack_from("<I", data, at + 4)[0]
            at += 8 + size + size % 2
    elif data.startswith(b"\xff\xd8"):
        at = 2
        while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
            cuts.append(at)
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
        cuts.append(min(at, len(data)))
    else:
        cuts += [len(data) * n // 16 for n in range(1, 16)]
    cuts = sorted({*cuts, len(data)})
    return [data[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]


DAMAGE = {
    "flipped bits": flipped,
    "cut short": cut,
    "spliced": spliced,
    "segments moved": shuffled,
    "extreme numbers": stuffed,
    "header lies": lying,
}
