"""How much of a text comes from a template and not from somebody who looked."""

# ruff: noqa: E501 (a pattern stays on one line)

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.source import Source
from tasks.filters._columns import each

# Every quantifier is bounded or followed by a character it cannot match, so each pattern is linear in the text.
PATTERNS: dict[str, str] = {
    "address": r"\bhttps?://\S+|\bwww\.\S+",
    "e-mail": r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}",
    "markup": r"</?[a-z!?][^<>\n]{0,300}>|&(?:[a-z]{2,8}|#\d{1,7}|#x[0-9a-f]{1,6});|\[/?(?:url|img|b|i|quote)\b[^\]\n]{0,200}\]",
    "program value": r"\b(?:HASH|ARRAY|SCALAR|CODE|GLOB)\(0x[0-9a-f]{1,16}\)|\[object \w{1,40}\]|\{\{[^{}\n]{0,80}\}\}|%\w{1,40}%",
    "mojibake": r"[ÃÂ][\u0080-\u00bf]|â(?:€|\u0080)[\u0080-\u00bf™œžŸ\u2010-\u203a]?|ï»¿|\ufffd",
    "collection": r"\bpart of (?:the|a|an) (?:[\w'-]{1,40} ){0,5}(?:icons?|clip ?arts?|images?|pictures?)? ?(?:collection|set|pack|series)\b",
    "made with": r"\b(?:created|made|drawn|generated|produced|edited|exported|done) (?:with|by|using|in|from) "
    r"(?:the )?(?:adobe |corel ?)?(?:inkscape|illustrator|photoshop|draw|gimp|sodipodi|potrace|autotrace|xfig|blender|sketch|figma|"
    r"openoffice|libreoffice|imagemagick|svgo?\b)(?: \d[\d.]{0,10})?",
    "exporter": r"\bgenerator: [^\n]{0,80}|\bsvg export plug-?in\b[^\n]{0,60}",
    "converted": r"\b(?:(?:eps|wmf|emf|cgm|svg|pdf|ai|dxf|ps) )?(?:auto-?)?(?:converted|traced|vectori[sz]ed) (?:from|by|with|using|to) "
    r"[^\s]{1,80}(?: (?:file|format|image))?",
    "copyright": r"(?:©|\(c\)|\bcopyright\b)[^\n]{0,120}|\ball rights reserved\b|\bcreative commons\b|\bpublic domain\b|\bcc[- ]by(?:-\w\w){0,2}\b",
    "untitled": r"\b(?:untitled|unnamed|no[ _-]title|new[ _-](?:document|image|canvas))(?:[ _-]?(?:document|image|drawing))?(?:[ _-]?\d{1,6})?\b",
    "stock": r"\b(?:royalty[ -]free|stock (?:photos?|images?|vectors?|illustrations?|photography)|shutterstock|istock(?:photo)?|"
    r"getty ?images|dreamstime|depositphotos|alamy|open ?clip ?art(?: library)?|free (?:clip ?art|vectors?|downloads?|icons?))\b",
    "call": r"\b(?:click (?:here|to (?:enlarge|zoom|view|download))|download (?:now|free|this)|(?:up)?loaded by|posted by|for more info(?:rmation)?|"
    r"see also|read more|please (?:rate|comment|credit))\b",
    "placeholder": r"\A\W{0,20}(?:an? |the |my )?(?:images?|pictures?|photos?|icons?|logos?|clip ?arts?|drawings?|graphics?|thumbnails?|layer|"
    r"alt(?: text)?|caption|title|description|n/?a|none|null|nan|unknown|todo|test|tbd|lorem ipsum[^\n]{0,200})(?: ?#?\d{1,6})?\W{0,20}\Z",
}
_COMPILED = tuple(re.compile(pattern, re.IGNORECASE) for pattern in PATTERNS.values())


@dataclass(frozen=True)
class Boilerplate:
    """Share of the text's characters that a template phrase covers. 0.0 is none, 1.0 is nothing else.

    The phrases are `PATTERNS`: addresses, markup, mojibake, "created with Inkscape", "part of the flat icon
    collection", stock-photo talk and the like. A text without characters scores 0.
    """

    name: ClassVar[str] = "boilerplate"
    source: ClassVar[Source] = Source(
        title="Conceptual Captions: A Cleaned, Hypernymed, Image Alt-text Dataset For Automatic Image Captioning",
        authors="Sharma et al.",
        year=2018,
        url="https://aclanthology.org/P18-1238/",
        departs="own list of phrases, for drawings too; a share in place of a yes or no",
    )
    subject: ClassVar[Literal["media", "text"]] = "text"
    scope: ClassVar[Literal["shard", "table"]] = "shard"
    columns: ClassVar[tuple[str, ...]] = ("text",)

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the covered share, blanks aside. Shape (N,), float32, in [0, 1]; NaN where there is no text."""
        return each(rows, "text", self._score)

    def _score(self, text: str) -> float:
        covered = bytearray(len(text))
        for pattern in _COMPILED:
            for found in pattern.finditer(text):
                start, end = found.span()
                covered[start:end] = b"\x01" * (end - start)
        counts = [hit for hit, char in zip(covered, text, strict=True) if not char.isspace()]
        return sum(counts) / len(counts) if counts else 0.0
