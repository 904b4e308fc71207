"""Tell what a file is from its bytes; names lie."""

import io
import re
import zipfile
import zlib
from pathlib import PurePosixPath
from xml.parsers import expat

import filetype

SVG = "image/svg+xml"
GZIP = b"\x1f\x8b"
_HEAD_BYTES = 64 << 10  # a drawing's root element comes within this, or it is no drawing

_MAGIC = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), "image/bmp"),
    (re.compile(rb"P[1-6]\s"), "image/x-portable-anymap"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "image/jxl"),
    (re.compile(rb"OggS.{24,80}\x80theora", re.DOTALL), "video/ogg"),
    (re.compile(rb"MThd\0\0\0"), "audio/midi"),
)
_MUSICXML = "application/vnd.recordare.musicxml"
_XML_ROOTS = {"svg": SVG, "score-partwise": f"{_MUSICXML}+xml", "score-timewise": f"{_MUSICXML}+xml"}
_DOCUMENTS = re.compile(
    r"application/(pdf|rtf|msword|epub\+zip|vnd\.(ms-excel|ms-powerpoint|oasis\.opendocument|openxmlformats)\S*)"
)
_EXTENSIONS = {
    "image": "png apng jpg jpeg jpe jfif gif webp bmp dib tif tiff ico avif heic heif jxl ppm pgm pbm pnm "
    "psd svg svgz",
    "audio": "mp3 wav flac ogg oga opus m4a aac aif aiff amr wma",
    "video": "mp4 m4v mov mkv webm avi mpg mpeg ogv wmv flv 3gp",
    "score": "mid midi musicxml mxl",
    "document": "pdf doc docx xls xlsx ppt pptx odt ods odp epub rtf",
}
_PROMISES = {extension: modality for modality, names in _EXTENSIONS.items() for extension in names.split()}


def media_type(data: bytes) -> str | None:
    """Return the media type the bytes say, or None when they say nothing we know.

    A drawing is `image/svg+xml` whether or not it is compressed. Animated and still pictures of one format
    have one type.
    """
    for pattern, found in _MAGIC:
        if pattern.match(data):
            return found
    if drawn := _xml_type(data):
        return drawn
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return "application/pdf"
    if data.startswith(b"PK\x03\x04") and _MUSICXML.encode() in data[:128]:
        return _MUSICXML
    guess = filetype.guess(data[: 8 << 10])
    return guess.mime if guess else None


def modality_of(media_type: str | None) -> str | None:
    """Return image, audio, video, score or document; None for a type that is no medium (an archive, say)."""
    if media_type is None:
        return None
    if media_type in ("audio/midi", _MUSICXML, f"{_MUSICXML}+xml"):
        return "score"
    if _DOCUMENTS.fullmatch(media_type):
        return "document"
    kind = media_type.partition("/")[0]
    return kind if kind in ("image", "audio", "video") else None


def promised_modality(name: str) -> str | None:
    """Return the modality that the name's extension promises; None when it promises none."""
    return _PROMISES.get(PurePosixPath(name).suffix[1:].lower())


def keeps_promise(promised: str, modality: str | None) -> bool:
    """Whether a medium may bear such a name; sound, film and notes share names such as `.ogg` and `.mp4`."""
    timed = {"audio", "video", "score"}
    return promised == modality or (promised in timed and modality in timed)


def is_encrypted(data: bytes) -> bool:
    """Whether a password is needed: PDF, ZIP (Office, EPUB) or an OLE container around an Office document.

    The old binary Office formats (before 2007) keep their flag inside streams and are not recognised.
    """
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return _pdf_is_encrypted(data)
    if data.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return any(member.flag_bits & 1 for member in archive.infolist())
        except (zipfile.BadZipFile, ValueError, OSError):
            return bool(data[6:7] and data[6] & 1)  # a broken directory: the first member's own flag
    is_ole = data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    return is_ole and "EncryptedPackage".encode("utf-16-le") in data


def _pdf_is_encrypted(data: bytes) -> bool:
    """Whether the last cross-reference's dictionary, a plain trailer or a stream's, names /Encrypt."""
    offsets = re.findall(rb"startxref\s+(\d{1,12})", data)
    at = int(offsets[-1]) if offsets else -1
    if not 0 <= at < len(data) or not re.match(rb"\s*(xref|\d+\s+\d+\s+obj)", data[at : at + 64]):
        at = max(data.rfind(b"trailer"), 0)  # a wrong offset, as editors of text leave it
    end = data.find(b"startxref" if data[at : at + 64].lstrip()[:4] in (b"xref", b"trai") else b"stream", at)
    return re.search(rb"/Encrypt(?![A-Za-z])", data[at : end if end >= 0 else None]) is not None


def inflated_head(data: bytes, limit: int) -> bytes:
    """Return at most `limit` bytes of a gzip stream's content; data that are not gzip, as they are.

    Raises:
        zlib.error: The stream is broken.
    """
    return zlib.decompressobj(wbits=31).decompress(data, limit) if data.startswith(GZIP) else data[:limit]


def _xml_type(data: bytes) -> str | None:
    """Return the type that the root element names, as a parser sees it."""
    try:
        head = inflated_head(data, _HEAD_BYTES)
    except zlib.error:
        return None
    if b"<" not in head[:256].lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")[:2]:
        return None
    roots: list[str] = []
    parser = expat.ParserCreate()

    def start(tag: str, attributes: object) -> None:
        if not roots:
            roots.append(tag.rpartition(":")[2])

    parser.StartElementHandler = start
    try:
        parser.Parse(head.lstrip() if head[:1].isspace() else head, False)
    except (expat.ExpatError, ValueError, LookupError):
        if not roots and re.search(rb"<(\w+:)?svg[\s>]", head[:4096]):
            return SVG  # a broken drawing is still a drawing
    return _XML_ROOTS.get(roots[0]) if roots else None
