"""What a person needs to see of media and pairs to judge them: picture, texts, scores, reasons."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import DataError
from storage.lake import Lake
from storage.search import by_ids
from storage.versions import Snapshot

_ORDER = {"rule": 0, "better-text": 1, "scorer": 2}


@dataclass(frozen=True)
class Card:
    """A medium and its texts.

    Args:
        media_id: The medium.
        texts: What is said of it.
        place: Where it was found.
        row: Further columns.
    """

    media_id: str
    texts: tuple[str, ...] = ()
    place: str = ""
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its first text, else where it was found."""
        return self.texts[0] if self.texts else self.place or self.media_id[:12]


@dataclass(frozen=True)
class PairCard:
    """A pair as it is reviewed.

    Args:
        pair_id: The pair.
        media_id: Its medium.
        text: Its text.
        role: What the text is to the medium.
        kept: Whether it is kept; None: nobody spoke.
        value: The number it is shown for.
        reasons: Why it is in doubt, in words.
        place: Where the medium was found.
    """

    pair_id: str
    media_id: str
    text: str
    role: str = ""
    kept: bool | None = None
    value: float | None = None
    reasons: tuple[str, ...] = ()
    place: str = ""


def is_id(text: str) -> bool:
    """Whether this can be an id of ours; only such go into a filter."""
    return 6 <= len(text) <= 64 and all(char in "0123456789abcdef" for char in text)


def rows_by_id(
    lake: Lake, snapshot: Snapshot, table: str, key: str, ids: Iterable[str | None], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Return rows of a table by id; none where the snapshot lacks the table or nothing can be such an id."""
    wanted = [one for one in dict.fromkeys(ids) if one and is_id(one)]
    if not wanted or table not in snapshot.versions:
        return []
    return by_ids(lake, snapshot, table, key, wanted, list(columns)).to_pylist()


def cards(lake: Lake, snapshot: Snapshot, media_ids: Sequence[str]) -> list[Card]:
    """Return cards of media in the order given; ids that name none are left out."""
    columns = [
        "media_id",
        "locators",
        "uri",
        "width_px",
        "height_px",
        "modality",
        "licence",
        "kept",
        "dropped_by",
    ]
    media = {
        row["media_id"]: row for row in rows_by_id(lake, snapshot, "media", "media_id", media_ids, columns)
    }
    pairs = rows_by_id(
        lake, snapshot, "pairs", "media_id", media_ids, ["media_id", "text_id", "present", "kept"]
    )
    current = [row for row in pairs if row["present"] and row["kept"] is not False]
    texts = texts_of(lake, snapshot, [row["text_id"] for row in current])
    said: dict[str, list[str]] = {}
    for row in current:
        said.setdefault(row["media_id"], []).append(texts.get(row["text_id"], ""))
    return [
        Card(one, tuple(sorted(said.get(one, ()), key=len)), place_of(media[one]), media[one])
        for one in media_ids
        if one in media
    ]


def texts_of(lake: Lake, snapshot: Snapshot, text_ids: Iterable[str | None]) -> dict[str, str]:
    """Return {text id: text}."""
    found = rows_by_id(lake, snapshot, "texts", "text_id", text_ids, ["text_id", "text"])
    return {row["text_id"]: row["text"] for row in found}


def pair_cards(
    lake: Lake, snapshot: Snapshot, pair_ids: Sequence[str], values: dict[str, float] | None = None
) -> list[PairCard]:
    """Return cards of pairs in the order given; ids that name none are left out."""
    columns = ["pair_id", "media_id", "text_id", "role", "kept"]
    pairs = {row["pair_id"]: row for row in rows_by_id(lake, snapshot, "pairs", "pair_id", pair_ids, columns)}
    texts = texts_of(lake, snapshot, [row["text_id"] for row in pairs.values()])
    media_ids = [row["media_id"] for row in pairs.values()]
    places = {
        row["media_id"]: place_of(row)
        for row in rows_by_id(lake, snapshot, "media", "media_id", media_ids, ["media_id", "locators", "uri"])
    }
    why = reasons_of(lake, snapshot, list(pairs))
    return [
        PairCard(
            one, pairs[one]["media_id"], texts.get(pairs[one]["text_id"], ""), pairs[one]["role"] or "",
            pairs[one]["kept"], (values or {}).get(one), tuple(why.get(one, ())),
            places.get(pairs[one]["media_id"], ""),
        )
        for one in pair_ids
        if one in pairs
    ]  # fmt: skip


def reasons_of(lake: Lake, snapshot: Snapshot, pair_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return {pair: reasons for doubt in words}, the most telling first."""
    columns = ["pair_id", "kind", "method", "position", "value", "own", "said", "active"]
    found: dict[str, list[tuple[int, int, str]]] = {}
    for row in rows_by_id(lake, snapshot, "reasons", "pair_id", pair_ids, columns):
        if not row["active"] or (row["kind"] == "scorer" and (row["own"] or 0) >= 0.5):
            continue
        if row["kind"] == "better-media":  # shown as pictures, where there is room
            continue
        said = row["said"] or ""
        if row["kind"] == "scorer":
            said = f"{row['method'].partition('(')[0]}: {said}"
        elif row["kind"] == "better-text":
            said = f"fits better: “{said}”"
        found.setdefault(row["pair_id"], []).append((_ORDER.get(row["kind"], 9), row["position"] or 0, said))
    return {pair: [said for *_, said in sorted(rows)] for pair, rows in found.items()}


def medium(lake: Lake, snapshot: Snapshot, media_id: str) -> dict[str, Any]:
    """Return all columns of a medium but its thumbnail.

    Raises:
        DataError: There is none of this id.
    """
    if is_id(media_id) and len(media_id) == 64:
        names = [
            n for n in lake.dataset("media", snapshot).schema.names if n not in ("thumbnail", "row_digest")
        ]
        if found := rows_by_id(lake, snapshot, "media", "media_id", [media_id], names):
            return found[0]
    raise DataError("no medium of this lake has this id")


def place_of(row: dict[str, Any]) -> str:
    """Return where a medium was found."""
    return row["locators"][0] if row.get("locators") else row.get("uri") or ""
