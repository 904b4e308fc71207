"""Why a pair is doubted, in words and numbers that let a person judge it in a second."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.batch import PairBatch, row_numbers
from tasks.filters.boilerplate import Boilerplate
from tasks.filters.file_name_like import FileNameLike
from tasks.noise._canonical import fit_canonical
from tasks.noise._groups import Standing, counted, first_of

NEIGHBOURS = 3  # better-matching texts, and media, that are named
SHARED = 3  # media under one text from which that is worth saying
LOW = 0.5  # place among all pairs under which a scorer is said to speak against a pair
CANDIDATES = (
    16_384  # distinct texts, and media, among which better matches are looked for: all, or as many drawn
)
_CHUNK = 256  # doubted pairs whose similarities exist at once
_READ = 65_536  # doubted pairs whose texts are read at once


@dataclass(frozen=True)
class Reason:
    """One thing that speaks for or against a pair.

    Args:
        row: The pair.
        kind: scorer | better-text | better-media | rule.
        method: The scorer or rule; "canonical" where a head found neighbours.
        position: Order within the kind, from 0.
        value: A scorer's score, a neighbour's similarity, a rule's share or count.
        own: The pair's own place among all (scorers) or similarity (neighbours); NaN where there is none.
        ref: Row of the pair whose text, or medium, matches better; -1 where there is none.
        said: In words.
    """

    row: int
    kind: str
    method: str
    position: int
    value: float
    own: float
    ref: int
    said: str


def reasons(
    pairs: PairBatch,
    rows: NDArray[np.int64],
    clean: NDArray[np.float32],
    members: Mapping[str, NDArray[np.float32]],
) -> Iterator[Reason]:
    """Yield what speaks for and against some pairs.

    Args:
        pairs: All N pairs.
        rows: (M,) pairs to explain.
        clean: (N,) P(true); a head fitted by it names better matches.
        members: {scorer: (N,) scores in [0, 1]}.
    """
    yield from _of_scorers(rows, members)
    if len(rows) and len(pairs) > 2 * NEIGHBOURS:
        yield from _of_neighbours(pairs, rows, clean)
    if pairs.texts is not None:
        yield from _of_rules(pairs, rows, pairs.texts)


def _of_scorers(rows: NDArray[np.int64], members: Mapping[str, NDArray[np.float32]]) -> Iterator[Reason]:
    for name, scores in members.items():
        ordered = np.sort(scores)
        places = np.searchsorted(ordered, scores[rows], side="left") / max(1, len(ordered))
        for row, place in zip(rows, places, strict=True):
            said = (
                f"scores lower than {100 * (1 - place):.0f} % of the pairs"
                if place < LOW
                else "does not object"
            )
            yield Reason(int(row), "scorer", name, 0, float(scores[row]), float(place), -1, said)


def _of_neighbours(pairs: PairBatch, rows: NDArray[np.int64], clean: NDArray[np.float32]) -> Iterator[Reason]:
    """Yield the texts and media that match better than the pair's own, under a head that trusts the clean pairs.

    Every doubted pair is compared with at most `CANDIDATES` others: with all of a large corpus it would be quadratic.
    """
    everyone = row_numbers(len(pairs))
    weight = np.maximum(clean, 1e-3).astype(np.float32, copy=False)
    head = fit_canonical(pairs.media_vec, pairs.text_vec, everyone, weight, width=128, ridge=3.0)
    media, text = _Seen(head.media, pairs.media_vec), _Seen(head.text, pairs.text_vec)
    for kind, ours, theirs, alike in (
        ("better-text", media, text, pairs.text_key),
        ("better-media", text, media, pairs.media_key),
    ):
        keys = everyone if alike is None else alike
        first = first_of(keys)  # a text under many media is named once
        if len(first) > CANDIDATES:
            first = np.sort(np.random.default_rng(0).choice(first, CANDIDATES, replace=False))
        gallery, same = theirs[first].T, Standing(keys[first])
        block = np.empty((min(_CHUNK, len(rows)), len(first)), dtype=np.float32)  # written to again and again
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            here = ours[chunk]
            similarity = np.matmul(here, gallery, out=block[: len(chunk)])  # (<=CHUNK, distinct)
            own = np.einsum("nk,nk->n", here, theirs[chunk])
            same.fill(similarity, keys[chunk], -np.inf)
            columns, values = _highest(similarity, NEIGHBOURS)
            for at, row in enumerate(chunk):
                for position, column in enumerate(columns[at]):
                    value, ref = float(values[at, position]), int(first[column])
                    if not value > own[at]:
                        break
                    said = pairs.texts[ref] if pairs.texts is not None else ""
                    yield Reason(int(row), kind, "canonical", position, value, float(own[at]), ref, said)


@dataclass(frozen=True)
class _Seen:
    """Vectors, which may lie on disk, as a head shows them: those that are asked for."""

    side: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    vectors: NDArray[np.float32]

    def __getitem__(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        return self.side(self.vectors[rows])


def _highest(similarity: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the columns of each row's highest values, highest first, and these values. (B, count) each; overwrites them."""
    every = np.arange(len(similarity))
    columns = np.empty((len(similarity), count), np.int64)
    values = np.empty((len(similarity), count), np.float32)
    for place in range(count):  # a partition of so many costs more than some passes
        columns[:, place] = similarity.argmax(axis=1)
        values[:, place] = similarity[every, columns[:, place]]
        similarity[every, columns[:, place]] = -np.inf
    return columns, values


def _of_rules(pairs: PairBatch, rows: NDArray[np.int64], texts: Sequence[str]) -> Iterator[Reason]:
    media_of = _media_per_text(pairs)
    for start in range(0, len(rows), _READ):
        some = rows[start : start + _READ]
        yield from _of_words(some, [texts[int(row)] for row in some], media_of)


def _of_words(rows: NDArray[np.int64], texts: list[str], media_of: NDArray[np.int64]) -> Iterator[Reason]:
    table = pa.table({"text": pa.array(texts, pa.string())})
    hits: list[tuple[str, NDArray[np.float64], str]] = [
        (
            "boilerplate",
            Boilerplate()(table).astype(np.float64),
            "a template phrase makes up {:.0%} of the text",
        ),
        (
            "file-name-like",
            FileNameLike()(table).astype(np.float64),
            "{:.0%} of the text looks like a file name",
        ),
    ]
    for name, shares, said in hits:
        for row, share in zip(rows, shares, strict=True):
            if share > 0:
                yield Reason(int(row), "rule", name, 0, float(share), float("nan"), -1, said.format(share))
    for row, text in zip(rows, texts, strict=True):
        if (count := media_of[int(row)]) >= SHARED:
            yield Reason(
                int(row),
                "rule",
                "shared-text",
                0,
                count,
                float("nan"),
                -1,
                f"the text stands under {count} media",
            )
        if len(scripts := _scripts(text)) > 1:
            found = " and ".join(scripts)
            yield Reason(
                int(row), "rule", "mixed-script", 0, len(scripts), float("nan"), -1, f"written in {found}"
            )


def _media_per_text(pairs: PairBatch) -> NDArray[np.int64]:
    """Return how many distinct media carry each pair's text. (N,)."""
    n = row_numbers(len(pairs))
    text, media = (n if keys is None else counted(keys)[0] for keys in (pairs.text_key, pairs.media_key))
    each = int(media.max(initial=0)) + 1
    both = text * np.int64(each)
    both += media
    both.sort()
    distinct = both[np.r_[True, both[1:] != both[:-1]][: len(both)]]
    del both
    distinct //= each
    return np.bincount(distinct, minlength=len(n))[text]


def _scripts(text: str) -> list[str]:
    """Return the scripts of a text's letters that make up at least a tenth of them, commonest first."""
    found = Counter(unicodedata.name(char, "?").split(" ")[0].title() for char in text if char.isalpha())
    japanese = {"Hiragana", "Katakana", "Cjk"}
    if found.keys() <= japanese:
        return ["Japanese"] if found else []
    total = sum(found.values())
    return [script for script, count in found.most_common() if count >= total / 10]
