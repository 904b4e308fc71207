"""The pairs of a study as aligned arrays, which lie in mapped files: what is in memory is what is computed with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.batch import PairBatch, Reordered, Strings, empty_on_disk, index_dtype, on_disk
from schemas.errors import DataError
from schemas.recipes import CorrespondenceRecipe
from storage.quoting import literal, literals
from storage.workbench import Workbench, mapped, values
from tasks.noise._groups import connected
from tasks.score import Vectors, aligned_pairs, hold_kept_pairs

_TOLD = 32  # characters that tell digests apart: 128 bits
_HEX = np.full(256, 255, np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


class Column(Strings):
    """A column of strings that is read row by row where it lies; Python's own take ten times as much."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def _at(self, row: int) -> str:
        return str(self.column[row].as_py())

    def __iter__(self) -> Iterator[str]:
        return values(self.column)


@dataclass(frozen=True)
class Gathered:
    """What a study reads.

    Args:
        columns: Of the N pairs, in the order of pair_id: that, media_id, text_id, cluster_id, label and verdict.
        media: (N, Dm) vectors.
        text: (N, Dt) vectors.
        texts: The N texts.
        text_key: (N,) integers, equal where the texts are.
        common: Whether both sides lie in one space.
    """

    columns: pa.Table
    media: NDArray[np.float32]
    text: NDArray[np.float32]
    texts: Sequence[str]
    text_key: NDArray[np.int64]
    common: bool

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def pair_ids(self) -> Column:
        """The ids of the pairs."""
        return Column(self.columns["pair_id"])

    @cached_property
    def media_ids(self) -> Column:
        """The ids of their media."""
        return Column(self.columns["media_id"])

    @cached_property
    def text_ids(self) -> Column:
        """The ids of their texts."""
        return Column(self.columns["text_id"])

    @cached_property
    def pairs(self) -> PairBatch:
        """The pairs as arrays."""
        return PairBatch(
            self.media,
            self.text,
            group=_groups(numbers(self.columns["cluster_id"]), self.text_key),
            label=_labels(self.columns["label"]),
            media_key=numbers(self.columns["media_id"]),
            text_key=self.text_key,
            verdict=self.columns["verdict"].to_numpy().astype(np.int8),
            texts=self.texts,
            common=self.common,
        )


@contextmanager
def gathered(
    bench: Workbench, recipe: CorrespondenceRecipe, vectors: tuple[Vectors, Vectors]
) -> Iterator[Gathered]:
    """Offer the pairs that a recipe studies, of those that are kept so far.

    Args:
        bench: A workbench of `vectors_bench`.
        recipe: Says whose texts are studied.
        vectors: The media's and the texts'.
    """
    hold_kept_pairs(bench, f"p.role IN ({literals(recipe.roles)})" if recipe.roles else "true")
    sql = _with_labels(bench, recipe.label_role)
    columns = "p.media_id, p.text_id, p.cluster_id, p.label, p.verdict"
    with aligned_pairs(bench, vectors, sql, columns) as (table, media, text):
        bench.drop("kept_pairs", "labels", "said")
        text_key = numbers(table["text_id"])
        texts = Reordered(_texts(bench, int(text_key.max(initial=-1)) + 1), text_key)
        yield Gathered(table, media, text, texts, text_key, common=recipe.features is None)


def _with_labels(bench: Workbench, role: str) -> str:
    """Return the query of the kept pairs with their medium's class and what a person said of them; -1: nothing."""
    labels, verdicts = "NULL::VARCHAR", "-1::TINYINT"
    with bench.as_written():  # the narrow side stands on the right
        bench.hold(
            "named", f"SELECT media_id, text_id FROM now_pairs p WHERE p.present AND p.role = {literal(role)}"
        )
        bench.hold(
            "names", "SELECT n.media_id, x.text FROM now_texts x JOIN named n ON n.text_id = x.text_id"
        )
        bench.hold("labels", "SELECT media_id, min(text) AS text FROM names GROUP BY 1")
        bench.hold(
            "said",
            "SELECT subject_id, CASE verdict WHEN 'keep' THEN 1 ELSE 0 END AS said FROM base_verdicts "
            "WHERE active AND subject = 'pair'",
        )
        joins = ""
        if bench.rows("SELECT 1 FROM said LIMIT 1"):
            joins, verdicts = "LEFT JOIN said h ON h.subject_id = p.pair_id", "coalesce(h.said, -1)::TINYINT"
        if bench.rows("SELECT 1 FROM labels LIMIT 1"):
            bench.hold("kept_pairs", f"SELECT p.*, {verdicts} AS verdict FROM kept_pairs p {joins}")
            joins, verdicts, labels = "LEFT JOIN labels l ON l.media_id = p.media_id", "p.verdict", "l.text"
    bench.drop("named", "names")
    columns = "p.pair_id, p.media_id, p.text_id, p.cluster_id"
    return f"SELECT {columns}, {labels} AS label, {verdicts} AS verdict FROM kept_pairs p {joins}"


def _texts(bench: Workbench, count: int) -> Column:
    """Return the distinct texts of the pairs that are aligned, in the order of their ids: the number of one is its place.

    Raises:
        DataError: A pair's text is not among the texts.
    """
    with bench.as_written():
        found = bench.ordered(
            "SELECT x.text_id, x.text FROM now_texts x SEMI JOIN aligned a ON a.its_text = x.text_id",
            "text_id",
        )
    texts = mapped(found, found.schema)["text"]
    if len(texts) != count or texts.null_count:
        raise DataError(
            f"pairs name {count} texts and {len(texts)} rows have them, {texts.null_count} without a text; some are missing "
            "or stand twice: `xmodal quality` says which"
        )
    return Column(texts)


def numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return an integer per row that is equal where the strings are, digests by their first 128 bits. (N,).

    Numbers follow the strings' order.
    """
    halves = _halves(column)
    if halves is None:
        coded = column.combine_chunks().dictionary_encode()
        order = pc.sort_indices(coded.dictionary).to_numpy()
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return on_disk(rank[coded.indices.to_numpy(zero_copy_only=False)])
    order = np.lexsort(halves)
    is_next = np.zeros(len(order), bool)
    for half in halves:
        is_next[1:] |= half[order][1:] != half[order][:-1]
    found = empty_on_disk(len(order), np.int64)
    found[order] = np.cumsum(is_next, dtype=index_dtype(len(order)))
    return found


def _halves(column: pa.ChunkedArray) -> tuple[NDArray[np.uint64], NDArray[np.uint64]] | None:
    """Return the second and the first 64 bits of digests of one length, (N,) each; None where these are none.

    A column of a million digests and a dictionary of them would take 200 MB.
    """
    found = np.empty((len(column), 2), np.uint64)
    start, lengths = 0, set[int]()
    for chunk in column.chunks:
        if chunk.type != pa.string() or chunk.null_count:
            return None
        if not len(chunk):
            continue
        _, offsets, data = chunk.buffers()
        ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        lengths |= set(np.unique(np.diff(ends)).tolist())
        if len(lengths) > 1 or min(lengths) < _TOLD:
            return None
        digits = _HEX[np.frombuffer(data, np.uint8)[ends[0] : ends[-1]].reshape(len(chunk), -1)]
        if digits.max() > 15:
            return None
        bits = digits[:, :_TOLD:2] << 4 | digits[:, 1:_TOLD:2]
        found[start : start + len(chunk)] = np.ascontiguousarray(bits).view(">u8")
        start += len(chunk)
    return found[:, 1], found[:, 0]


def _groups(cluster: NDArray[np.int64], text: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which pairs must not be told apart: near-duplicates, and pairs of one text.

    A head that saw "Etiquette Icons" under a hundred pictures would vouch for the next one. Where chains of near-duplicates
    and shared texts tie a tenth of the corpus together, texts alone count.
    """
    both = connected(cluster, text)
    return text if len(both) and np.bincount(both).max() > max(len(both) / 10, 10) else both


def _labels(column: pa.ChunkedArray) -> NDArray[np.int64] | None:
    """Return a number per row, by the order of the names, -1 where there is none; None where nothing has a name. (N,)."""
    names = sorted(name for name in pc.unique(column).to_pylist() if name)
    if not names:
        return None
    found = pc.index_in(column, value_set=pa.array(names, column.type)).fill_null(-1)
    return on_disk(found.to_numpy().astype(np.int64))
