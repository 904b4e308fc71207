"""Rasterise SVG without letting a drawing reach anything outside itself."""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from xml.parsers import expat

import resvg_py

from schemas.errors import BadInput
from tasks.media.sniff import GZIP, inflated_head

DECODER = f"resvg_py {resvg_py.__version__}"

_MAX_DEPTH = 512  # the rasteriser recurses on its stack
_MAX_XML_BYTES = 64 << 20
_LINKS = frozenset({"href", "src"})
# Fragments and embedded pictures stay inside. An embedded drawing could refer outward in its turn.
_INSIDE = re.compile(r"\s*(#|$|data:(image/(?!svg)[\w.+-]+)?[;,])", re.IGNORECASE)
_CSS_URL = re.compile(r"url\(\s*['\"]?([^)]*)|@import\s*['\"]?([^;]*)", re.IGNORECASE)
_PX_PER_UNIT = {"": 1, "px": 1, "pt": 96 / 72, "pc": 16, "in": 96, "cm": 96 / 2.54, "mm": 96 / 25.4}


@dataclass(frozen=True)
class Raster:
    """A rendered drawing.

    Args:
        png: RGBA picture whose longer side is what was asked for.
        size: Width and height of the drawing itself in CSS px (96 an inch); None when it states neither.
    """

    png: bytes
    size: tuple[int, int] | None


def rasterise(data: bytes, *, longer_px: int) -> Raster:
    """Render a drawing, plain or gzipped, in isolation.

    What reaches the rasteriser is not the file but what our parser read from it, written anew: no doctype,
    no entities, no scripts, no processing instructions, so two parsers cannot disagree about what is in it.
    System fonts are off: text is not drawn, and the picture is the same on every machine.

    Raises:
        BadInput: "unsafe-svg" for a reference out of the drawing, an external or nested entity or an entity
            bomb; "too-many-bytes" when it inflates past 64 MiB; "truncated"; "corrupt".
    """
    try:
        xml = inflated_head(data, _MAX_XML_BYTES + 1)
    except zlib.error as error:
        raise BadInput("corrupt", f"gzipped drawing: {error}", error_class="zlib.error") from error
    if len(xml) > _MAX_XML_BYTES:
        raise BadInput("too-many-bytes", f"the drawing holds more than {_MAX_XML_BYTES} bytes of XML")
    if data.startswith(GZIP) and not zlib_ends(data):
        raise BadInput("truncated", "the gzipped drawing ends before its content does")
    plain, size = _inspected_xml(xml)
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=plain, width=longer_px, height=longer_px, dpi=96, skip_system_fonts=True
        )
    except ValueError as error:
        raise BadInput(
            "corrupt", f"the drawing cannot be rendered: {error}", error_class="ValueError"
        ) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a Rust panic derives from BaseException
            raise
        raise BadInput("corrupt", f"the rasteriser gave up: {error}", error_class="PanicException") from error
    return Raster(bytes(png), size)


def zlib_ends(data: bytes) -> bool:
    """Whether a gzip stream of at most 64 MiB of content is whole."""
    stream = zlib.decompressobj(wbits=31)
    stream.decompress(data, _MAX_XML_BYTES + 1)
    return stream.eof


def _inspected_xml(xml: bytes) -> tuple[str, tuple[int, int] | None]:
    """Return the drawing as harmless XML, and its size."""
    parts: list[str] = []
    open_tags: list[str] = []
    in_script = 0
    size: tuple[int, int] | None = None
    written = 0

    from xml.sax.saxutils import escape, quoteattr  # opens half of urllib, which pictures of dots do not need

    def write(text: str) -> None:
        nonlocal written
        written += len(text)
        if written > _MAX_XML_BYTES:
            raise BadInput("unsafe-svg", f"its entities expand to more than {_MAX_XML_BYTES} characters")
        parts.append(text)

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal in_script, size
        if not open_tags:
            size = _size(attributes)
        open_tags.append(tag)
        if len(open_tags) > _MAX_DEPTH:
            raise BadInput("corrupt", f"elements are nested deeper than {_MAX_DEPTH}")
        for key, value in attributes.items():
            if key.rpartition(":")[2] in _LINKS and not key.startswith("xmlns") and not _INSIDE.match(value):
                raise _unsafe(f"<{tag} {key}>", value)
            _check_css(f"<{tag} {key}>", value)
        in_script += tag.rpartition(":")[2] == "script"
        if not in_script:
            pairs = (f" {key}={quoteattr(value)}" for key, value in attributes.items())
            write(f"<{tag}{''.join(pairs)}>")

    def end(tag: str) -> None:
        nonlocal in_script
        open_tags.pop()
        if not in_script:
            write(f"</{tag}>")
        in_script -= tag.rpartition(":")[2] == "script"

    def text(content: str) -> None:
        if open_tags and open_tags[-1].rpartition(":")[2] == "style":
            _check_css(f"<{open_tags[-1]}>", content)
        if not in_script:
            write(escape(content))

    def doctype(name: str, system_id: str | None, public_id: str | None, has_subset: int) -> None:
        is_usual = (public_id or "").startswith("-//W3C//DTD SVG") or "//www.w3.org/" in (system_id or "")
        if system_id and not is_usual:
            raise _unsafe("its doctype", system_id)

    def entity(name: str, is_parameter: int, value: str | None, *outside: str | None) -> None:
        if is_parameter or value is None or "&" in value or "%" in value:
            raise _unsafe(f"entity {name!r}", value or " ".join(part for part in outside if part))

    def external(context: object, base: object, system_id: str | None, public_id: str | None) -> int:
        raise _unsafe("an external entity", system_id or public_id or "")

    def instruction(target: str, content: str) -> None:
        if target == "xml-stylesheet":
            raise _unsafe("<?xml-stylesheet?>", content)

    def skipped(name: str, is_parameter: bool) -> None:
        raise BadInput("corrupt", f"entity {name!r} is not defined")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    handlers: dict[str, Callable[..., object]] = {
        "StartElementHandler": start,
        "EndElementHandler": end,
        "CharacterDataHandler": text,
        "StartDoctypeDeclHandler": doctype,
        "EntityDeclHandler": entity,
        "ExternalEntityRefHandler": external,
        "ProcessingInstructionHandler": instruction,
        "SkippedEntityHandler": skipped,
    }
    for name, handler in handlers.items():
        setattr(parser, name, handler)
    try:
        parser.Parse(xml.lstrip() if xml[:1].isspace() else xml, True)
    except expat.ExpatError as error:
        message = f"not well-formed XML: {error}"
        if "amplification" in str(error):
            raise BadInput("unsafe-svg", message, error_class="ExpatError") from error
        at_end = error.code in (3, 5, 20)  # no element found, unclosed token, unclosed CDATA section
        raise BadInput("truncated" if at_end else "corrupt", message, error_class="ExpatError") from error
    except (ValueError, LookupError) as error:
        raise BadInput("corrupt", f"unreadable XML: {error}", error_class=type(error).__name__) from error
    return "".join(parts), size


def _check_css(where: str, css: str) -> None:
    if "(" not in css and "@" not in css:
        return
    for found in _CSS_URL.finditer(css):
        target = (found[1] if found[1] is not None else found[2]).strip("'\" ")
        if found[2] is not None or not _INSIDE.match(target):
            raise _unsafe(where, target)


def _unsafe(where: str, target: str) -> BadInput:
    return BadInput("unsafe-svg", f"{where} refers to {target.strip()[:120]!r}, outside the drawing")


def _size(attributes: dict[str, str]) -> tuple[int, int] | None:
    """Return (width, height) in CSS px from the root's width and height, else its viewBox, else None."""
    lengths = [_length_px(attributes.get(side, "")) for side in ("width", "height")]
    if None in lengths:
        box = re.split(r"[\s,]+", attributes.get("viewBox", "").strip())
        lengths = [_length_px(part) for part in box[2:]] if len(box) == 4 else [None]
    stated = [length for length in lengths if length is not None]
    if len(stated) != 2:
        return None
    if max(stated) >= 1 << 31:  # also infinite: hundreds of digits
        raise BadInput("too-many-pixels", f"the drawing claims to be {stated[0]:g} x {stated[1]:g} px")
    width, height = (max(1, round(length)) for length in stated)
    return width, height


def _length_px(length: str) -> float | None:
    match = re.fullmatch(
        r"\+?((?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,2})?|\d+\.)\s*([a-z]{0,2})", length.strip()
    )
    if not match or match[2] not in _PX_PER_UNIT:
        return None
    return float(match[1]) * _PX_PER_UNIT[match[2]] or None
