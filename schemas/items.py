"""What a source yields and what inspecting it gives: the rows that move between listing and the lake."""

from dataclasses import dataclass, field

import pyarrow as pa

TEXT_TYPE = pa.struct(
    [
        pa.field("text", pa.string()),
        pa.field("language", pa.string()),  # "" when the source does not say
        pa.field("origin", pa.string()),  # raw | file-name | synthetic
        pa.field("role", pa.string()),  # caption | title | keywords | folder | ...
    ]
)

# One row per input item, as staged between listing and fetching.
ITEM_SCHEMA = pa.schema(
    [
        pa.field("source_id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("locator", pa.string()),
        pa.field("uri", pa.string()),
        pa.field("fingerprint", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("texts", pa.list_(TEXT_TYPE)),
        pa.field("concept", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("credit", pa.string()),
        pa.field("extra", pa.string()),
        pa.field("problem", pa.string()),
        pa.field("problem_message", pa.string()),
    ]
)


@dataclass(frozen=True)
class ItemText:
    """One text a source gives for an item.

    Args:
        text: As found.
        language: BCP 47 primary subtag, or "" when the source does not say.
        origin: raw, file-name or synthetic.
        role: What the text is to the medium: caption, title, keywords, folder, description ...
    """

    text: str
    language: str = ""
    origin: str = "raw"
    role: str = "caption"


@dataclass(frozen=True)
class Item:
    """One input item, before its bytes are read.

    Args:
        locator: Where it is inside its source; stable between runs. Relative path, "shard.tar!member", URL,
            or manifest entry.
        uri: Address of the bytes that `tasks.sources.read_bytes` opens: a path, an fsspec URL, an http(s) URL,
            or "<tar uri>!<member>@<offset>+<size>". Empty for a text without a medium.
        fingerprint: Equal between runs if and only if nothing that matters has changed: size and modification
            time of the file (and of its sidecar), or ETag, plus a digest of texts and further columns.
        size_bytes: From the listing, -1 when unknown.
        texts: Its texts, none or several.
        concept: Names the same thing in other modalities, where the source says so.
        licence: Licence, where the source says so.
        credit: Origin or author, where the source says so.
        extra: Further columns of the source as a JSON object; "" for none.
        problem: A quarantine reason found while listing ("outside-root", "missing-file", "missing-text", ...);
            "" when there is none. An item with a problem is never opened.
        problem_message: What was found, for a person.
    """

    locator: str
    uri: str
    fingerprint: str
    size_bytes: int = -1
    texts: tuple[ItemText, ...] = field(default_factory=tuple)
    concept: str = ""
    licence: str = ""
    credit: str = ""
    extra: str = ""
    problem: str = ""
    problem_message: str = ""


@dataclass(frozen=True)
class Inspected:
    """What looking at one medium's bytes gives. Field names are columns of `media`.

    Pictures fill everything; other modalities leave picture fields None.
    """

    media_id: str
    modality: str
    media_type: str
    size_bytes: int
    decoder: str
    width_px: int | None = None
    height_px: int | None = None
    duration_s: float | None = None
    colour_mode: str | None = None
    orientation: int | None = None
    frames: int | None = None
    animated: bool | None = None
    has_alpha: bool | None = None
    phash: str | None = None
    thumbnail: bytes | None = None
