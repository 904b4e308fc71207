"""Search by words: BM25 over the kept texts of a snapshot, and over the media they are paired with.

The index is a copy of what the lake says, on local disk, named by a digest over the data and deletion files of the tables
it was made of. Those have random names of their own, so it is never stale and needs no upkeep: a new version of a table
has another name, an old snapshot its own, and what was used longest ago is deleted. It is made when first asked.

A word is a run of letters and digits, case-folded; accents on Latin letters and apostrophes do not count. Scripts written
without blanks (Han, kana, Hangul, Thai and their like) give every character and every two neighbours, so that a word is
found without knowing where words end. No word is left out as too common, and none is stemmed. A query is words and
nothing else: there are no operators in it.
"""

import bisect
import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.ranking import Candidates
from schemas.settings import Settings
from storage.lake import Lake
from storage.matrix import KEPT, STATES, Recent, make_room
from storage.passing import condition, moment, passing
from storage.versions import Snapshot

K1, B = 1.5, 0.75
LONGEST = 10_000  # characters of a query that are read
LIMIT_BYTES = 4 << 30  # of all indexes on disk; the one in use may exceed it
OPEN_BYTES = 256 << 20  # held in this process, beside what is mapped
VERSION = 1  # of the files and of what a word is: another one is another index
_LATIN_MARKS = re.compile("(?<=[A-Za-z])[\u0300-\u036f]+")
_SOLID = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Myanmar, Khmer
    "\u1100-\u11ff\u3040-\u318f\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_RUN = re.compile(f"[{_SOLID}]+|[^{_SOLID}]+")
_IS_SOLID = re.compile(f"[{_SOLID}]")
_log = logging.getLogger(__name__)


class _Characters(dict[int, str]):
    """What a character is in a text that is cut into words: itself, a gap, or nothing."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)
        if character in "'\u2019" or kind == "Cf":  # inside words: dog's, and joiners
            self[code] = ""
        else:
            self[code] = character if kind[0] in "LMN" else " "
        return self[code]


_CHARACTERS = _Characters()


def words(text: str) -> list[str]:
    """Return the words of a text in any script, in order.

    Examples:
        >>> words("A well-known dog's CAFÉ, 黒猫")
        ['a', 'well', 'known', 'dogs', 'cafe', '黒', '猫', '黒猫']
    """
    plain = _LATIN_MARKS.sub("", unicodedata.normalize("NFKD", text))
    runs = unicodedata.normalize("NFKC", plain.casefold()).translate(_CHARACTERS).split()
    found: list[str] = []
    for run in runs:
        for part in _RUN.findall(run):
            if not _IS_SOLID.match(part):
                found.append(part)
                continue
            found.extend(part)
            found.extend(part[at : at + 2] for at in range(len(part) - 1))
    return found


@dataclass(frozen=True, eq=False)
class Texts:
    """The kept, present texts of a version of `texts`, and where each word stands in them. Rows are in order of ids.

    Args:
        ids: (N,) text_id, ascending.
        addresses: (N,) uint64 row addresses in the table.
        vocabulary: (V,) words, ascending.
        starts: (V + 1,) where a word's postings begin.
        rows: (P,) int32 rows of each word, ascending.
        weights: (P,) float64 what the word adds to the row's score when it is asked for once.
    """

    ids: pa.Array
    addresses: NDArray[np.uint64]
    vocabulary: pa.Array
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    weights: NDArray[np.float64]
    _masks: Recent[NDArray[np.bool_]] = field(
        default_factory=lambda: Recent(OPEN_BYTES // 8, lambda m: m.nbytes)
    )

    def scores(self, query: Mapping[str, int]) -> NDArray[np.float64]:
        """Return BM25 of every text for words and how often each is asked. Shape (N,).

        Words are added in one order, so texts that hold the same of them score the same.
        """
        found = np.zeros(len(self.ids))
        for word in sorted(query):
            at = bisect.bisect_left(_Strings(self.vocabulary), word)
            if at < len(self.vocabulary) and self.vocabulary[at].as_py() == word:
                span = slice(self.starts[at], self.starts[at + 1])
                found[self.rows[span]] += query[word] * self.weights[span]
        return found


@dataclass(frozen=True, eq=False)
class Links:
    """The kept, present media of a snapshot, and which texts are theirs by a kept pair. Rows are in order of ids.

    Args:
        ids: (M,) media_id, ascending.
        addresses: (M,) uint64 row addresses in the table of media.
        starts: (N + 1,) where the media of a text's row begin.
        to: (L,) int32 rows of media.
    """

    ids: pa.Array
    addresses: NDArray[np.uint64]
    starts: NDArray[np.int64]
    to: NDArray[np.int32]
    _masks: Recent[NDArray[np.bool_]] = field(
        default_factory=lambda: Recent(OPEN_BYTES // 8, lambda m: m.nbytes)
    )

    def best(self, scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return each medium's largest score of a text, 0 without one, and the text's row. Each (M,).

        Of texts that score the same the smaller id is named; -1 where there is none.
        """
        found, which = np.zeros(len(self.ids)), np.full(len(self.ids), -1, np.int64)
        hits = np.flatnonzero(scores > 0)
        counts = self.starts[hits + 1] - self.starts[hits]
        texts = np.repeat(hits, counts)
        within = np.arange(len(texts)) - np.repeat(counts.cumsum() - counts, counts)
        media = self.to[np.repeat(self.starts[hits], counts) + within]
        order = np.lexsort((texts, -scores[texts], media))
        media, first = np.unique(media[order], return_index=True)
        which[media] = texts[order][first]
        found[media] = scores[which[media]]
        return found, which


class _Strings(Sequence[str]):
    """An Arrow array as a sequence, for bisection."""

    def __init__(self, values: pa.Array) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, at: Any) -> Any:
        return self._values[at].as_py()


_OPEN_TEXTS: Recent[Texts] = Recent(OPEN_BYTES, lambda texts: 1024 + 64 * len(texts.ids))
_OPEN_LINKS: Recent[Links] = Recent(OPEN_BYTES, lambda links: 1024 + 64 * len(links.ids))


def match(
    lake: Lake,
    snapshot: Snapshot,
    text: str,
    k: int,
    *,
    side: str = "media",
    where: str | None = None,
    modality: Sequence[str] = (),
    among: Collection[str] | None = None,
    offset: int = 0,
    cache: Path | None = None,
) -> Candidates:
    """Return the k items that match a text's words best, best first; of equal scores the smaller id comes first.

    BM25 in the variant of Lucene, k1 1.5 and b 0.75: the sum over the query's words, each as often as it is asked, of
    ln(1 + (N - n + 0.5) / (n + 0.5)) x f / (f + k1 (1 - b + b l / mean l)), where n of the N kept, present texts hold
    the word, f times in this one of l words. A condition decides what may be found and leaves N, n and the mean as they
    are. A medium scores as its best text does. What shares no word with the query is not found.

    Args:
        lake: The lake.
        snapshot: What to search.
        text: Words; only the first 10,000 characters are read.
        k: How many at most.
        side: media or text.
        where: Condition on columns of the table of media or texts; see `storage.conditions.checked`.
        modality: Only media of these modalities; all by default.
        among: Only items of these ids; all by default.
        offset: How many of the best to pass over.
        cache: Folder for indexes; `fulltext` in the setting `XMODAL_CACHE` by default.

    Raises:
        ValueError: `side` is neither, `k` is under 1, or `offset` is negative.
        DataError: The condition cannot be used, or a modality is asked of texts.
        NoSuchTable: The snapshot has no texts.
    """
    if side not in STATES or k < 1 or offset < 0:
        raise ValueError(
            f"side is media or text, k at least 1 and offset at least 0; found {side!r}, {k} and {offset}"
        )
    of_rows = condition(side, where, modality)
    asked = Counter(words(text[:LONGEST]))
    texts = texts_of(lake, snapshot, cache=cache)
    scores, which = texts.scores(asked), None
    found: Texts | Links = texts
    if side == "media":
        found = links_of(lake, snapshot, cache=cache)
        scores, which = found.best(scores)
    mask = _mask(lake, snapshot, side, found, of_rows)
    rows = np.flatnonzero(scores > 0 if mask is None else (scores > 0) & mask)
    if among is not None:
        listed = pa.array(sorted(set(among)), found.ids.type)
        rows = rows[pc.is_in(found.ids.take(pa.array(rows)), value_set=listed).to_numpy(False)]
    rounded = scores[rows].astype(np.float32)
    matched, wanted = len(rows), offset + k
    if matched > wanted:  # ties at the edge stay, so that the sort decides them
        near = rounded >= np.partition(rounded, matched - wanted)[matched - wanted]
        rows, rounded = rows[near], rounded[near]
    best = np.lexsort((rows, -rounded))[offset:wanted]
    facts: dict[str, object] = {
        "search": "exact",
        "words": len(asked),
        "matched": matched,
        "texts": len(texts.ids),
    }
    if which is not None:
        facts["by_text"] = tuple(texts.ids.take(pa.array(which[rows[best]])).to_pylist())
    notes = (f"only the first {LONGEST:,} characters of the query were read",) if len(text) > LONGEST else ()
    ids = tuple(found.ids.take(pa.array(rows[best])).to_pylist())
    return Candidates(ids, rounded[best], notes=notes, facts=facts)


def texts_of(lake: Lake, snapshot: Snapshot, *, cache: Path | None = None) -> Texts:
    """Return the index over texts of a snapshot, made if it is not there, is damaged, or was deleted."""

    def opened() -> Texts:
        name = _key(lake, snapshot, "texts")
        return Texts(**_kept_on_disk(name, cache, lambda: _read_texts(lake, snapshot)))

    return _OPEN_TEXTS.get(moment(lake, snapshot, cache), opened)


def links_of(lake: Lake, snapshot: Snapshot, *, cache: Path | None = None) -> Links:
    """Return which texts are whose at a snapshot, made if it is not there, is damaged, or was deleted."""

    def opened() -> Links:
        name = _key(lake, snapshot, "texts", "pairs", "media")
        ids = texts_of(lake, snapshot, cache=cache).ids
        return Links(**_kept_on_disk(name, cache, lambda: _read_links(lake, snapshot, ids)))

    return _OPEN_LINKS.get(moment(lake, snapshot, cache), opened)


def _read_texts(lake: Lake, snapshot: Snapshot) -> dict[str, Any]:
    """Read the texts and weigh every word of each."""
    vocabulary: dict[str, int] = {}
    held_words: list[NDArray[np.int64]] = []
    ids, addresses, lengths = [pa.array([], pa.string())], [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    scanner = lake.dataset("texts", snapshot).scanner(
        columns=["text_id", "text"], filter=KEPT, with_row_address=True, batch_size=4096
    )
    for batch in scanner.to_batches():
        told = [words(text or "") for text in batch["text"].to_pylist()]
        ids.append(batch["text_id"])
        addresses.append(batch["_rowaddr"].to_numpy())
        lengths.append(np.array([len(of_text) for of_text in told], np.int64))
        numbers = [vocabulary.setdefault(word, len(vocabulary)) for of_text in told for word in of_text]
        held_words.append(np.array(numbers, np.int64))
    everything, places = pa.concat_arrays(ids), np.concatenate(addresses)
    length = np.concatenate(lengths)
    order = pc.sort_indices(everything).to_numpy()
    row_of = np.empty(len(order), np.int64)
    row_of[order] = np.arange(len(order))
    known = pa.array(list(vocabulary), pa.string())
    by_word = pc.sort_indices(known).to_numpy()  # bytes of UTF-8, which order as code points do
    number_of = np.empty(len(by_word), np.int64)
    number_of[by_word] = np.arange(len(by_word))
    numbers_held = number_of[np.concatenate([np.empty(0, np.int64), *held_words])]
    rows = np.repeat(row_of, length)
    width = max(len(order), 1)
    places_held, counts = np.unique(numbers_held * width + rows, return_counts=True)
    of_word, rows = np.divmod(places_held, width)
    holding = np.bincount(of_word, minlength=len(by_word))  # texts that hold each word
    length = length[order]
    mean = length.mean() if length.any() else 1.0
    rarity = np.log(1 + (len(order) - holding + 0.5) / (holding + 0.5))
    weights = rarity[of_word] * counts / (counts + K1 * (1 - B + B * length[rows] / mean))
    return {
        "ids": everything.take(pa.array(order)),
        "addresses": places[order],
        "vocabulary": known.take(pa.array(by_word)),
        "starts": np.concatenate([[0], holding.cumsum()]).astype(np.int64),
        "rows": rows.astype(np.int32),
        "weights": weights,
    }


def _read_links(lake: Lake, snapshot: Snapshot, text_ids: pa.Array) -> dict[str, Any]:
    media = lake.dataset("media", snapshot).scanner(columns=["media_id"], filter=KEPT, with_row_address=True)
    read = media.to_table()
    order = pc.sort_indices(read["media_id"])
    ids = read["media_id"].take(order).combine_chunks()
    addresses = read["_rowaddr"].to_numpy()[order.to_numpy()]
    pairs = lake.dataset("pairs", snapshot).to_table(columns=["media_id", "text_id"], filter=KEPT)
    texts = pc.index_in(pairs["text_id"], value_set=text_ids)
    to = pc.index_in(pairs["media_id"], value_set=ids)
    both = pc.and_(texts.is_valid(), to.is_valid())
    of_text = texts.filter(both).to_numpy().astype(np.int64)
    of_media = to.filter(both).to_numpy().astype(np.int64)
    sort = np.lexsort((of_media, of_text))
    counts = np.bincount(of_text, minlength=len(text_ids))
    return {
        "ids": ids,
        "addresses": addresses,
        "starts": np.concatenate([[0], counts.cumsum()]).astype(np.int64),
        "to": of_media[sort].astype(np.int32),
    }


def _mask(
    lake: Lake, snapshot: Snapshot, side: str, found: Texts | Links, of_rows: str
) -> NDArray[np.bool_] | None:
    """Return which rows a condition holds for; None: all, which are kept ones. The same one asked again costs nothing."""
    if of_rows == KEPT:
        return None

    def evaluated() -> NDArray[np.bool_]:
        return np.isin(found.addresses, passing(lake, snapshot, side, of_rows)["_rowaddr"].to_numpy())

    return found._masks.get(of_rows, evaluated)


def _key(lake: Lake, snapshot: Snapshot, *tables: str) -> str:
    """Return 40 hex digits over the files that hold these tables' rows."""
    files = [_files(lake.dataset(table, snapshot)) for table in tables]
    said = json.dumps([VERSION, K1, B, tables, files])
    return hashlib.blake2b(said.encode(), digest_size=20).hexdigest()


def _files(dataset: lance.LanceDataset) -> list[str]:
    fragments = sorted(dataset.get_fragments(), key=lambda fragment: fragment.fragment_id)
    return [json.dumps(one.metadata.to_json(), sort_keys=True, default=str) for one in fragments]


def _kept_on_disk(name: str, cache: Path | None, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return arrays by name, mapped from the cache; made and put there first where they are not, or are damaged.

    A cache that cannot be written is done without.
    """
    folder = cache if cache is not None else Settings().cache / "fulltext"
    if (parts := _mapped(folder / name)) is not None:
        return parts
    made: dict[str, Any] = make()
    part = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / name, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix="part-", dir=folder))
        _write(made, part)
        with contextlib.suppress(OSError):  # another process was first
            os.rename(part, folder / name)
        make_room(folder, name, LIMIT_BYTES)
        return _mapped(folder / name) or made
    except OSError as error:
        _log.warning("the index of words is held in memory: cannot write below %s: %s", folder, error)
        return made
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _write(parts: Mapping[str, Any], folder: Path) -> None:
    """Write arrays into a folder, and last what they must look like."""
    for name, values in parts.items():
        if isinstance(values, np.ndarray):
            np.save(folder / f"{name}.npy", values)
            continue
        batch = pa.record_batch([values], names=["value"])
        with (
            pa.OSFile(str(folder / f"{name}.arrow"), "wb") as file,
            pa.ipc.new_file(file, batch.schema) as writer,
        ):
            writer.write_batch(batch)
    digests = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    (folder / "facts.json").write_text(json.dumps(digests))


def _digest(path: Path) -> str:
    """Return the file's size and a digest over its beginning and its end: enough to see one cut short."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(1 << 16)
        file.seek(max(0, size - (1 << 16)))
        return f"{size} {hashlib.blake2b(head + file.read(), digest_size=16).hexdigest()}"


def _mapped(folder: Path) -> dict[str, Any] | None:
    """Return what lies in a folder; None where there is nothing, or nothing whole."""
    try:
        facts: dict[str, str] = json.loads((folder / "facts.json").read_text())
        if any(_digest(folder / name) != said for name, said in facts.items()):
            return None
        found = dict(_opened(folder / name) for name in facts)
        os.utime(folder / "facts.json")
        return found
    except (OSError, ValueError, AttributeError, pa.ArrowException):
        return None


def _opened(path: Path) -> tuple[str, Any]:
    if path.suffix == ".npy":
        if path.stat().st_size < 1 << 12:  # an array without entries cannot be mapped
            return path.stem, np.load(path)
        return path.stem, np.load(path, mmap_mode="r")
    with pa.memory_map(str(path)) as source:
        return path.stem, pa.ipc.open_file(source).read_all()["value"].combine_chunks()
