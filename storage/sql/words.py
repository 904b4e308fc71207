"""Columns of few different words, read as they lie in the files: numbers, and a dictionary that says what they stand for.

Lance writes a page of words that repeat as numbers and a small dictionary, and spells every value out again for whoever
reads it, since the schema says `string`. Opened under a schema that says `dictionary`, the same files give numbers and
dictionary as they are: in a seventh of the time, and the engine need not copy every word, nor compare it.

Nothing is written and no value is kept. What is remembered of a file is which of its columns lie so, by its footer.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import lance
import pyarrow as pa
from lance.file import LanceFileReader
from lance.fragment import FragmentMetadata

from storage import panics
from storage.remembered import Remembered

FEW = 1000  # words of a page: its dictionary comes along with every batch
WORTH_ROWS = 100_000  # of a file: to look at the footer of a smaller one takes as long as to spell its words
CODED = pa.dictionary(pa.int32(), pa.string())
REFUSALS = (ValueError, OSError, RuntimeError, pa.ArrowException)  # Lance's, of which some are a RuntimeError
LOOKED_AT = 32  # files of a table at most, of 3 ms each, once in a process
_FILES = Remembered(10_000)
_ITEMS = re.compile(r"num_dictionary_items: (\d+)")


@dataclass(frozen=True)
class Part:
    """Fragments that follow each other.

    Args:
        coded: Whether every column of few words lies as numbers in all of them.
        fragments: Their ids; None: all.
    """

    coded: bool = False
    fragments: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Words:
    """How the texts of a table's version lie.

    Args:
        few: Columns to read as numbers and a dictionary.
        many: Columns that have too many words for a dictionary: few rows have one of them.
        coded: The table under a schema that says `dictionary` of the first; None: there are none.
        parts: Its fragments, in order.
    """

    few: frozenset[str] = frozenset()
    many: frozenset[str] = frozenset()
    coded: lance.LanceDataset | None = None
    parts: tuple[Part, ...] = (Part(),)


PLAIN = Words()


def words_of(dataset: lance.LanceDataset) -> Words:
    """Return how the texts of a table lie. Only large files on local disk are looked at, and no more than some.

    On an object store a footer costs a request or two, and the values cost what they weigh, which is the same.
    """
    if "://" in dataset.uri:
        return PLAIN
    texts = {field.id(): field.name() for field in dataset.lance_schema.fields()}
    texts = {key: name for key, name in texts.items() if pa.types.is_string(dataset.schema.field(name).type)}
    fragments = [fragment.metadata for fragment in dataset.get_fragments()]
    if len(fragments) > LOOKED_AT:
        return PLAIN
    lying = [_lying(dataset.uri, fragment, texts) for fragment in fragments]
    rows = [fragment.physical_rows for fragment in fragments]
    known = sum(count for count, its in zip(rows, lying, strict=True) if its is not None)
    if not known or 2 * known < sum(rows):
        return PLAIN
    many = Counter[str]()
    weights = Counter[frozenset[str]]()
    for count, its in zip(rows, lying, strict=True):
        if its is not None:
            many.update(dict.fromkeys((name for name in its if its[name] == "many"), count))
            weights[_few(its)] += count
    few = max(weights, key=lambda names: len(names) * sum(n for its, n in weights.items() if names <= its))
    # an index of texts takes no numbers
    indexed = {name for index in dataset.describe_indices() for name in index.field_names}
    few = frozenset(name for name in few - indexed if any(its and its[name] == "few" for its in lying))
    rare = frozenset(name for name, count in many.items() if 2 * count > sum(rows))
    coded = _under(dataset, few) if few else None
    if coded is None:
        return Words(many=rare)
    fits = [its is not None and few <= _few(its) for its in lying]
    if all(fits):
        return Words(few, rare, coded, (Part(True),))
    parts = tuple(
        Part(fit, tuple(fragment.id for _, fragment in group))
        for fit, group in groupby(zip(fits, fragments, strict=True), key=lambda pair: pair[0])
    )
    return Words(few, rare, coded, parts)


def spelled(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, skipped: int = 0
) -> Iterator[pa.RecordBatch]:
    """Yield batches as a schema wants them, which may say `dictionary` of a column of texts, from a row on."""
    if not skipped and not any(pa.types.is_dictionary(field.type) for field in schema):
        yield from batches
        return
    for batch in batches:
        if skipped >= len(batch):
            skipped -= len(batch)
            continue
        batch, skipped = batch.slice(skipped), 0
        columns = [
            column.dictionary_encode()
            if pa.types.is_dictionary(field.type) and pa.types.is_string(column.type)
            else column
            for field, column in zip(schema, batch.columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _few(lying: dict[str, str]) -> frozenset[str]:
    return frozenset(name for name, kind in lying.items() if kind in ("few", "none"))


def _lying(uri: str, fragment: FragmentMetadata, texts: dict[int, str]) -> dict[str, str] | None:
    """Return {column: how it lies}: few or many words, one, or none at all; None: not looked at."""
    if fragment.physical_rows < WORTH_ROWS or getattr(fragment, "overlays", None):
        return None
    found = dict.fromkeys(texts.values(), "none")
    for file in fragment.files:
        if file.base_id is not None:
            return None
        path = f"{uri}/data/{file.path}"
        try:
            kinds: list[str] = _FILES.get(path, lambda path=path: _kinds(path))  # type: ignore[misc]
        except REFUSALS:
            return None
        for field, column in zip(file.fields, file.column_indices, strict=True):
            if field in texts:
                found[texts[field]] = kinds[column] if 0 <= column < len(kinds) else "many"
    return found


def _kinds(path: str) -> list[str]:
    """Return how each column of a file lies, as its footer says."""
    with panics.as_errors():
        columns = LanceFileReader(path).metadata().columns
    return [
        _kind([_kind_of_page(page.encoding, page.buffers) for page in column.pages]) for column in columns
    ]


def _kind(pages: Sequence[str]) -> str:
    if "many" in pages:
        return "many"
    if "one" in pages:
        return "one"
    return "few" if "few" in pages else "none"


def _kind_of_page(encoding: str, buffers: Sequence[object]) -> str:
    if "ConstantLayout" in encoding:
        return "none" if not buffers and "inline_value: None" in encoding else "one"
    if "dictionary: Some(" in encoding and (items := _ITEMS.search(encoding)):
        return "few" if int(items[1]) <= FEW else "many"
    return "many"


def _under(dataset: lance.LanceDataset, names: frozenset[str]) -> lance.LanceDataset | None:
    """Open the same version of the same files under a schema that says `dictionary` of some columns of texts.

    A manifest names files and has the schema. Lance takes one as bytes, as it does where a table is unpickled.
    """
    wanted = pa.schema([field.with_type(CODED) if field.name in names else field for field in dataset.schema])
    try:
        with panics.as_errors():
            made, given = dataset.__reduce__()[:2]
            manifest = next(place for place, value in enumerate(given) if isinstance(value, bytes))
            parts = list(given)
            parts[manifest] = _rewritten(parts[manifest], {name.encode() for name in names})
            coded = made(*parts)
            same = coded.schema.equals(wanted) and coded.version == dataset.version
            return coded if same else None
    except (*REFUSALS, TypeError, IndexError, StopIteration):
        return None


# A manifest is a protocol buffer (lance's table.proto and file.proto): field 1 is a column, and of a column 2 is the
# name, 4 the column it is part of, 5 the type and 7 how Lance called its encoding before it was left to the pages.
_COLUMN, _NAME, _PARENT, _TYPE, _ENCODING = 1, 2, 4, 5, 7
_NO_PARENT = b"\xff" * 9 + b"\x01"
_STRING, _DICTIONARY = b"string", b"dict:string:int32:false"
_AS_DICTIONARY = b"\x03"


def _rewritten(manifest: bytes, names: set[bytes]) -> bytes:
    out = b""
    for number, whole, value in _fields(manifest):
        if number == _COLUMN:
            its = {number: value for number, _, value in _fields(value)}
            if its.get(_NAME) in names and its.get(_TYPE) == _STRING and its.get(_PARENT) == _NO_PARENT:
                column = b"".join(
                    bytes([_TYPE << 3 | 2, len(_DICTIONARY)]) + _DICTIONARY
                    if number == _TYPE
                    else bytes([_ENCODING << 3]) + _AS_DICTIONARY
                    if number == _ENCODING
                    else part
                    for number, part, _ in _fields(value)
                )
                whole = bytes([_COLUMN << 3 | 2]) + _varint(len(column)) + column
        out += whole
    return out


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (number, all its bytes, its value) of each field of a protocol buffer."""
    at = 0
    while at < len(message):
        start = at
        key, at = _number(message, at)
        if key & 7 == 2:
            length, at = _number(message, at)
            end = at + length
        elif key & 7 == 0:
            _, end = _number(message, at)
        elif key & 7 in (1, 5):
            end = at + (8 if key & 7 == 1 else 4)
        else:
            raise ValueError(f"no protocol buffer: wire type {key & 7}")
        yield key >> 3, message[start:end], message[at:end]
        at = end


def _number(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and where it ends."""
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])
