"""Words that name values of a snapshot's columns, and the media that have each value: what a query can be narrowed by.

A list of names against which texts are read is called a gazetteer. This one is made of the tables themselves, once a
snapshot, and held in memory: values by kind, the phrases that say them, and for each value its kept media. Phrases are
words in a row, case-folded; what stands between words does not count, so "Traffic_light" and "traffic light" are one.
Scripts without blanks are not cut into words: there a value is found where it stands alone.

keyword    texts of the role keywords, cut at commas
folder     texts of the role folder: its parts and the paths that lead to it
colour     colour words in keywords, titles and captions, and in what accepted captions were read to say
year       1400 to 2099, in titles and in what the source says beside
language   in which a medium has a text
licence    names of licences, without their versions too
modality   pictures, sounds ...
format     svg, png ...
size       large and small: the outer quarters of the snapshot's pictures by their longer side; wide, tall and square by
           their sides' ratio, whose meaning is the same in every snapshot
"""

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.lake import Lake
from storage.matrix import KEPT, OPEN_BYTES, Recent
from storage.passing import moment
from storage.quoting import literal, literals
from storage.versions import Snapshot

KINDS = ("keyword", "folder", "colour", "year", "language", "licence", "modality", "format", "size")
MOST = 50_000  # values of a kind; those of most media stay
WORDS = 6  # of a phrase; longer ones are no names that someone would type
LARGE, SMALL = 0.75, 0.25  # quantiles of the longer side
_BATCH = 4096

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_YEAR = re.compile(r"1[4-9][0-9]{2}|20[0-9]{2}")
_ROLES = {
    "keyword": ("keywords",),
    "folder": ("folder",),
    "colour": ("keywords", "title", "caption"),
    "year": ("title",),
}
# The eleven basic terms of Berlin and Kay (1969), and a spelling.
_COLOURS = {
    **{word: word for word in ("black", "white", "red", "green", "yellow", "blue")},
    **{word: word for word in ("brown", "orange", "pink", "purple", "grey")},
    "gray": "grey",
}
_LANGUAGES = {
    "ar": "arabic", "bg": "bulgarian", "bn": "bengali", "ca": "catalan", "cs": "czech", "cy": "welsh", "da": "danish",
    "de": "german deutsch", "el": "greek", "en": "english", "eo": "esperanto", "es": "spanish español", "et": "estonian",
    "eu": "basque", "fa": "persian farsi", "fi": "finnish suomi", "fr": "french français", "ga": "irish",
    "gl": "galician", "he": "hebrew", "hi": "hindi", "hr": "croatian", "hu": "hungarian magyar", "hy": "armenian",
    "id": "indonesian", "is": "icelandic", "it": "italian italiano", "ja": "japanese", "ka": "georgian", "ko": "korean",
    "la": "latin", "lt": "lithuanian", "lv": "latvian", "mk": "macedonian", "ms": "malay", "nb": "norwegian",
    "nl": "dutch nederlands", "nn": "norwegian", "no": "norwegian", "pl": "polish polski", "pt": "portuguese português",
    "ro": "romanian", "ru": "russian", "sk": "slovak", "sl": "slovenian", "sq": "albanian", "sr": "serbian",
    "sv": "swedish svenska", "sw": "swahili", "ta": "tamil", "te": "telugu", "th": "thai", "tl": "tagalog",
    "tr": "turkish", "uk": "ukrainian", "ur": "urdu", "vi": "vietnamese", "zh": "chinese",
}  # fmt: skip
_MODALITIES = {
    "image": ("picture", "photo", "photograph"),
    "audio": ("sound", "recording"),
    "video": ("film", "movie"),
    "score": ("sheet music",),
}
_FORMATS = {"jpeg": ("jpg",), "mpeg": ("mp3",), "tiff": ("tif",), "markdown": ("md",)}
_SIZES = {
    "large": ("big", "huge"),
    "small": ("little", "tiny"),
    "wide": (),
    "tall": (),
    "square": (),
}


@dataclass(frozen=True)
class Reading:
    """What a phrase can mean.

    Args:
        kind: One of `KINDS`.
        value: As the tables have it.
        where: Condition on columns of the table of media, in SQL; None: texts say it.
        condition: The same for people, in SQL of the friendly tables (`xmodal sql`).
        media: Kept media it holds for.
        number: Which value of the gazetteer this is.
    """

    kind: str
    value: str
    where: str | None
    condition: str
    media: int
    number: int


@dataclass(frozen=True, eq=False)
class Gazetteer:
    """Values of a snapshot.

    Args:
        ids: (M,) media_id of the kept, present media, ascending.
        all_readings: (V,) every value.
        by_phrase: Phrase to the numbers of what it can mean, ascending.
        starts: (V + 1,) where a value's media begin.
        rows: (P,) int32 rows of media, ascending for each value.
    """

    ids: pa.Array
    all_readings: tuple[Reading, ...]
    by_phrase: Mapping[str, tuple[int, ...]]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]

    def readings(self, phrase: str) -> tuple[Reading, ...]:
        """Return what a phrase, as `phrase` gives it, can mean."""
        return tuple(self.all_readings[number] for number in self.by_phrase.get(phrase, ()))

    def having(self, readings: Iterable[Reading]) -> NDArray[np.bool_]:
        """Return which media have one of some values. Shape (M,)."""
        mask = np.zeros(len(self.ids), bool)
        for one in readings:
            mask[self.rows[self.starts[one.number] : self.starts[one.number + 1]]] = True
        return mask

    @property
    def nbytes(self) -> int:
        """Bytes held, about."""
        named = sum(200 + 2 * len(phrase) for phrase in self.by_phrase)
        shown = sum(400 + len(one.condition) + len(one.value) for one in self.all_readings)
        return int(self.ids.nbytes) + self.starts.nbytes + self.rows.nbytes + named + shown


@dataclass
class _Value:
    """A value in the making: how it is said, and the rows of its media."""

    where: str | None
    condition: str
    phrases: set[str] = field(default_factory=set)
    rows: list[NDArray[np.int64]] = field(default_factory=list)


_Values = dict[tuple[str, str], _Value]
_OPEN: Recent[Gazetteer] = Recent(OPEN_BYTES // 2, lambda gazetteer: gazetteer.nbytes)


def gazetteer_of(lake: Lake, snapshot: Snapshot) -> Gazetteer:
    """Return the values of a snapshot; read once, and again only when it was not used for long."""
    return _OPEN.get(moment(lake, snapshot), lambda: _read(lake, snapshot))


def words_of(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the words of a text, case-folded, and where each begins and ends."""
    for found in _WORD.finditer(text):
        word = unicodedata.normalize("NFKC", found.group()).casefold().replace("\u2019", "'")
        yield word, found.start(), found.end()


def phrase(text: str) -> str:
    """Return a text as phrases are compared: its words with a blank between."""
    return " ".join(word for word, _, _ in words_of(unicodedata.normalize("NFC", text)))


def _read(lake: Lake, snapshot: Snapshot) -> Gazetteer:
    if "media" not in snapshot.versions:
        return Gazetteer(pa.array([], pa.string()), (), {}, np.zeros(1, np.int64), np.empty(0, np.int32))
    columns = ["media_id", "modality", "media_type", "width_px", "height_px", "licence", "extra"]
    media = lake.dataset("media", snapshot).to_table(columns=columns, filter=KEPT)
    media = media.take(pc.sort_indices(media["media_id"])).combine_chunks()
    ids = media["media_id"].combine_chunks() if len(media) else pa.array([], pa.string())
    values: _Values = {}
    _of_columns(values, media)
    _of_sizes(values, media)
    if {"pairs", "texts"} <= snapshot.versions.keys():
        _of_texts(values, lake, snapshot, ids)
    _of_extra(values, media)
    if "captions" in snapshot.versions:
        _of_captions(values, lake, snapshot, ids)
    return _gathered(values, ids)


def _gathered(values: _Values, ids: pa.Array) -> Gazetteer:
    """Return values with media as arrays, of each kind those of most media."""
    rows = {key: np.unique(np.concatenate(one.rows)) for key, one in values.items() if one.rows}
    chosen: list[tuple[str, str]] = []
    for kind in KINDS:
        of_kind = [key for key in rows if key[0] == kind and len(rows[key])]
        chosen += sorted(of_kind, key=lambda key: (-len(rows[key]), key))[:MOST]
    readings, by_phrase = [], defaultdict(list)
    for number, key in enumerate(chosen):
        one = values[key]
        readings.append(Reading(*key, one.where, one.condition, len(rows[key]), number))
        for said in one.phrases:
            if said and said.count(" ") < WORDS:
                by_phrase[said].append(number)
    counts = [len(rows[key]) for key in chosen]
    return Gazetteer(
        ids,
        tuple(readings),
        {said: tuple(numbers) for said, numbers in by_phrase.items()},
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
        np.concatenate([np.empty(0, np.int64), *(rows[key] for key in chosen)]).astype(np.int32),
    )


def _add(
    values: _Values,
    kind: str,
    value: str,
    phrases: Iterable[str],
    rows: NDArray[np.int64],
    condition: str,
    where: str | None = None,
) -> None:
    one = values.setdefault((kind, value), _Value(where, condition))
    one.phrases.update(phrases)
    one.rows.append(rows)


def _of_columns(values: _Values, media: pa.Table) -> None:
    """Add modalities, formats and licences."""
    for name, rows in _groups(media["modality"]):
        where = f"modality = {literal(name)}"
        said = {phrase(one) for one in (name, *_MODALITIES.get(name, ()))}
        _add(values, "modality", name, said, rows, where, where)
    formats: dict[str, list[tuple[str, NDArray[np.int64]]]] = defaultdict(list)
    for name, rows in _groups(media["media_type"]):
        short = re.sub(r"^(x-|vnd\.)+|\+(xml|json|zip)$", "", name.rpartition("/")[2].lower())
        formats[short].append((name, rows))
    for short, found in formats.items():
        where = _is_one_of("media_type", [name for name, _ in found])
        said = {phrase(one) for one in (short, *_FORMATS.get(short, ()))}
        _add(values, "format", short, said, np.concatenate([rows for _, rows in found]), where, where)
    licences: dict[str, list[tuple[str, NDArray[np.int64]]]] = defaultdict(list)
    for name, rows in _groups(media["licence"]):
        for called in _said_of_licence(name):
            licences[called].append((name, rows))
    for called, found in licences.items():
        where = _is_one_of("licence", [name for name, _ in found])
        of_all = np.concatenate([rows for _, rows in found])
        _add(values, "licence", found[0][0] if len(found) == 1 else called, {called}, of_all, where, where)


def _said_of_licence(name: str) -> set[str]:
    """Return how a licence is called: its name, shorter and shorter from the right down to the family's."""
    words = phrase(name).split()
    said = {" ".join(words)}
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in ("only", "later", "or")):
        words.pop()
        said.add(" ".join(words))
    if words[:1] == ["cc"] and len(words) > 1:
        said |= {" ".join(words[:n]) for n in range(2, len(words) + 1)} | {"creative commons"}
    if words[:1] == ["cc0"] or {"pddc", "pdm", "pddl", "unlicense"} & set(words) or "public domain" in said:
        said |= {"public domain"}
    return said


def _of_sizes(values: _Values, media: pa.Table) -> None:
    width, height = (  # unknown is less than nothing, so that comparisons with it fail as they do in SQL
        np.asarray(pc.fill_null(media[name], -1).to_numpy(), np.int64) for name in ("width_px", "height_px")
    )
    known = (width >= 0) & (height >= 0)
    if not known.any():
        return
    longer = np.maximum(width, height)[known]
    large, small = (int(np.quantile(longer, share, method="lower")) for share in (LARGE, SMALL))
    sized = {
        "large": (f"width_px >= {large} OR height_px >= {large}", np.maximum(width, height) >= large),
        "small": (
            f"width_px <= {small} AND height_px <= {small}",
            known & (np.maximum(width, height) <= small),
        ),
        "wide": ("3 * width_px >= 4 * height_px", known & (3 * width >= 4 * height)),
        "tall": ("3 * height_px >= 4 * width_px", known & (3 * height >= 4 * width)),
        "square": (
            "20 * width_px <= 21 * height_px AND 20 * height_px <= 21 * width_px",
            known & (20 * width <= 21 * height) & (20 * height <= 21 * width),
        ),
    }
    for name, (where, passes) in sized.items():
        _add(values, "size", name, {name, *_SIZES[name]}, np.flatnonzero(passes), where, where)


def _of_texts(values: _Values, lake: Lake, snapshot: Snapshot, ids: pa.Array) -> None:
    """Add what kept texts of kept pairs say of the media."""
    pairs = lake.dataset("pairs", snapshot).to_table(columns=["media_id", "text_id", "role"], filter=KEPT)
    texts = lake.dataset("texts", snapshot).to_table(columns=["text_id", "text", "language"], filter=KEPT)
    of_media = pc.fill_null(pc.index_in(pairs["media_id"], value_set=ids), -1).to_numpy()
    of_text = pc.fill_null(
        pc.index_in(pairs["text_id"], value_set=texts["text_id"].combine_chunks()), -1
    ).to_numpy()
    both = (of_media >= 0) & (of_text >= 0)
    for code, rows in _groups(texts["language"]):
        if code in _LANGUAGES:
            said = {phrase(one) for one in _LANGUAGES[code].split()}
            media = of_media[both & np.isin(of_text, rows)].astype(np.int64)
            _add(values, "language", code, said, media, _of_pairs(f"language = {literal(code)}"))
    for kind, roles in _ROLES.items():
        chosen = both & pc.fill_null(pc.is_in(pairs["role"], value_set=pa.array(roles)), False).to_numpy()
        media, text = of_media[chosen].astype(np.int64), of_text[chosen].astype(np.int64)
        order = np.argsort(text, kind="stable")
        media, text = media[order], text[order]
        starts = np.flatnonzero(np.diff(text, prepend=-1))
        ends = [*starts[1:].tolist(), len(text)]
        for at in range(0, len(starts), _BATCH):
            part = slice(at, at + _BATCH)
            said = texts["text"].take(pa.array(text[starts[part]])).to_pylist()
            for one, begin, end in zip(said, starts[part].tolist(), ends[part], strict=True):
                for value, how in _READ[kind](one or "").items():
                    condition = _condition(kind, value, roles) if (kind, value) not in values else ""
                    _add(values, kind, value, how, media[begin:end], condition)


def _of_extra(values: _Values, media: pa.Table) -> None:
    """Add the years that the source says beside."""
    found: dict[str, list[int]] = defaultdict(list)
    for start in range(0, len(media), _BATCH):
        for row, extra in enumerate(media["extra"].slice(start, _BATCH).to_pylist(), start):
            for year in _years(extra or ""):
                found[year].append(row)
    for year, rows in found.items():
        _add(values, "year", year, {year}, np.array(rows, np.int64), _condition("year", year, _ROLES["year"]))


def _of_captions(values: _Values, lake: Lake, snapshot: Snapshot, ids: pa.Array) -> None:
    """Add the colours that accepted captions were read to say."""
    dataset = lake.dataset("captions", snapshot)
    if "slots" not in dataset.schema.names:
        return
    read = dataset.to_table(
        columns=["media_id", "slots"], filter="active AND status = 'accepted' AND slots IS NOT NULL"
    )
    rows = pc.fill_null(pc.index_in(read["media_id"], value_set=ids), -1).to_pylist()
    found: dict[str, list[int]] = defaultdict(list)
    for row, slots in zip(rows, read["slots"].to_pylist(), strict=True):
        for slot in json.loads(slots) if row >= 0 else ():
            if slot.get("assertion") == "present":
                for colour in _colours(str(slot.get("attributes", {}).get("colour", ""))):
                    found[colour].append(row)
    for colour, of_colour in found.items():
        said = {word for word, value in _COLOURS.items() if value == colour}
        condition = _condition("colour", colour, _ROLES["colour"])
        _add(values, "colour", colour, said, np.array(of_colour, np.int64), condition)


def _keywords(text: str) -> dict[str, set[str]]:
    return {one: {one} for part in text.split(",") if (one := phrase(part))}


def _folders(text: str) -> dict[str, set[str]]:
    """Return the parts of a path, and the paths that lead to it."""
    parts = [one for part in text.split("/") if (one := phrase(part))]
    return {one: {one} for one in parts} | {
        "/".join(parts[:n]): {" ".join(parts[:n])} for n in range(2, len(parts) + 1)
    }


def _colours(text: str) -> dict[str, set[str]]:
    found = {_COLOURS[word] for word, _, _ in words_of(text) if word in _COLOURS}
    return {colour: {word for word, value in _COLOURS.items() if value == colour} for colour in found}


def _years(text: str) -> dict[str, set[str]]:
    if not re.search("1[4-9][0-9]{2}|20[0-9]{2}", text):  # most texts
        return {}
    return {word: {word} for word, _, _ in words_of(text) if _YEAR.fullmatch(word)}


_READ: dict[str, Callable[[str], dict[str, set[str]]]] = {
    "keyword": _keywords,
    "folder": _folders,
    "colour": _colours,
    "year": _years,
}
_GAP = r"[^\pL\pN]"  # what stands between words


def _condition(kind: str, value: str, roles: Sequence[str]) -> str:
    """Return what a value found in texts means, in SQL of the friendly tables."""
    if kind == "keyword":
        said = rf"(^|,){_GAP}*{_spaced(value, ',')}{_GAP}*(,|$)"
    elif kind == "folder":
        path = "/".join(rf"[^\pL\pN/]*{_spaced(part, '/')}[^\pL\pN/]*" for part in value.split("/"))
        said = f"{'^' if '/' in value else '(^|/)'}{path}(/|$)"
    else:
        spelt = "|".join(sorted(word for word, colour in _COLOURS.items() if colour == value)) or value
        said = rf"(^|{_GAP})({spelt})({_GAP}|$)"
    found = f"regexp_matches(lower(text), {literal(said)})"
    in_texts = _of_pairs(f"{_is_one_of('role', list(roles))} AND {found}")
    if kind == "year":
        return f"({in_texts} OR regexp_matches(extra, {literal(said)}))"
    if kind == "colour":
        attribute = rf'"colour": "[^"]*\b({spelt})\b'
        read = f"regexp_matches(slots, {literal(attribute)})"
        of_captions = f"SELECT media_id FROM captions WHERE status = 'accepted' AND {read}"
        return f"({in_texts} OR media_id IN ({of_captions}))"
    return in_texts


def _spaced(value: str, end: str) -> str:
    return rf"[^\pL\pN{end}]+".join(value.split())


def _of_pairs(condition: str) -> str:
    kept = "kept IS NOT FALSE AND text_id IN (SELECT text_id FROM texts WHERE kept IS NOT FALSE)"
    return f"media_id IN (SELECT media_id FROM pairs WHERE {kept} AND {condition})"


def _is_one_of(column: str, values: Sequence[str]) -> str:
    if len(values) == 1:
        return f"{column} = {literal(values[0])}"
    return f"{column} IN ({literals(sorted(set(values)))})"


def _groups(column: pa.ChunkedArray) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield each value of a column and its rows, nulls and empty texts left out."""
    encoded = pc.dictionary_encode(column).combine_chunks() if len(column) else None
    if encoded is None:
        return
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    codes = pc.fill_null(encoded.indices, -1).to_numpy()
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
    for code, value in enumerate(encoded.dictionary.to_pylist()):
        if value:
            yield value, order[edges[code] : edges[code + 1]].astype(np.int64)
