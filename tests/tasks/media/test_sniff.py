"""Types come from bytes, whatever the name says."""

import gzip

import pytest

from tasks.media.sniff import is_encrypted, keeps_promise, media_type, modality_of, promised_modality
from tests.hostile_media import pdf, svg, zipped

ROOT = "<svg xmlns='http://www.w3.org/2000/svg'/>"


@pytest.mark.parametrize(
    "data",
    [
        svg(),
        b"\xef\xbb\xbf" + svg(),
        b"\n\n  " + svg(),
        ROOT.encode("utf-16"),
        b"<?xml version='1.0' encoding='ISO-8859-1'?><!-- \xe9 <html> --><!DOCTYPE svg>" + ROOT.encode(),
        b"<x:svg xmlns:x='http://www.w3.org/2000/svg'/>",
        gzip.compress(svg(), mtime=0),
        b"<svg width=unquoted>",
    ],
)
def test_a_drawing_is_known_by_its_root_element(data: bytes) -> None:
    assert media_type(data) == "image/svg+xml"


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><html><svg/></html>",
        b"<rss><svg/></rss>",
        b"words <svg>",
        gzip.compress(b"<a/>", mtime=0),
        b"<",
        b"",
    ],
)
def test_a_drawing_elsewhere_than_at_the_root_does_not_count(data: bytes) -> None:
    assert media_type(data) != "image/svg+xml"


@pytest.mark.parametrize(
    ("found", "modality"),
    [
        ("image/png", "image"),
        ("audio/midi", "score"),
        ("application/vnd.recordare.musicxml", "score"),
        ("audio/mpeg", "audio"),
        ("video/webm", "video"),
        ("application/pdf", "document"),
        ("application/vnd.oasis.opendocument.text", "document"),
        ("application/zip", None),
        (None, None),
    ],
)
def test_modality_follows_from_the_type(found: str | None, modality: str | None) -> None:
    assert modality_of(found) == modality


def test_only_the_extension_promises() -> None:
    assert promised_modality("png/notes.txt") is None
    assert promised_modality("a.tar!b/C.PNG") == "image"
    assert keeps_promise("audio", "video")
    assert not keeps_promise("image", "audio")


@pytest.mark.parametrize(
    ("data", "encrypted"),
    [
        (pdf(), False),
        (pdf(b"/Encrypt 5 0 R"), True),
        (pdf(b"/Encrypt<</Filter/Standard>>"), True),
        (pdf(b"/EncryptMetadata false"), False),
        (pdf().replace(b"endobj", b"(how to /Encrypt 5 0 R)endobj"), False),
        (b"%PDF-1.5\n1 0 obj<</Type/XRef/Encrypt 5 0 R>>stream\nendstream\nstartxref\n9\n%%EOF", True),
        (b"%PDF-1.5\n1 0 obj<</Type/XRef>>stream\n/Encrypt \nendstream\nstartxref\n9\n%%EOF", False),
        (zipped("a", b"a"), False),
        (zipped("a", b"a", encrypted=True), True),
        (zipped("a", b"a", encrypted=True)[:40], True),
        (b"", False),
    ],
)
def test_encryption_is_read_from_where_the_format_keeps_it(data: bytes, encrypted: bool) -> None:
    assert is_encrypted(data) == encrypted
