"""Aligned arrays that methods receive."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from tempfile import TemporaryFile
from typing import Any, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)

_CHUNK = 8192  # vectors copied at once
_LITTLE = 1 << 20  # bytes of an array that is not worth a file

_PER_PAIR = ("group", "label", "media_key", "text_key", "verdict", "weight")


@dataclass(frozen=True)
class PairBatch:
    """N media-text pairs, row i of every array being pair i.

    Args:
        media_vec: (N, Dm) unit vectors, float32; may be mapped from a file, so read them in chunks.
        text_vec: (N, Dt) unit vectors, float32.
        group: (N,) integers; pairs of one group show the same thing (near-duplicates), so they are never each
            other's negatives and never split between folds. None: each its own.
        label: (N,) integers; class of the medium as a folder or keyword names it, -1 where nothing does. Weak
            and possibly wrong. None: no classes.
        media_key: (N,) integers; equal means the same medium. None: all differ.
        text_key: (N,) integers; equal means the same text. None: all differ.
        verdict: (N,) int8; what a person said of the pair: 1 true, 0 false, -1 nothing. None: nobody said.
        weight: (N,) float32, not negative; how much each pair counts where a scorer learns from the others.
            None: all alike.
        texts: The N texts themselves, for rules that read words. None: not given.
        common: Both sides lie in one space, so that a cosine between them means something.
    """

    media_vec: NDArray[np.float32]
    text_vec: NDArray[np.float32]
    group: NDArray[np.int64] | None = None
    label: NDArray[np.int64] | None = None
    media_key: NDArray[np.int64] | None = None
    text_key: NDArray[np.int64] | None = None
    verdict: NDArray[np.int8] | None = None
    weight: NDArray[np.float32] | None = None
    texts: Sequence[str] | None = None
    common: bool = True

    def __post_init__(self) -> None:
        media, text = self.media_vec.shape, self.text_vec.shape
        if len(media) != 2 or len(text) != 2 or media[0] != text[0]:
            raise ValueError(f"media is {media} but text is {text}; both must be (N, D)")
        if self.common and media != text:
            raise ValueError(
                f"media is {media} but text is {text}; sides of a common space have one width (else: common=False)"
            )
        for name in _PER_PAIR:
            column = getattr(self, name)
            if column is not None and column.shape != (len(self),):
                raise ValueError(f"{name} is {column.shape} but there are {len(self)} pairs")
        if self.texts is not None and len(self.texts) != len(self):
            raise ValueError(f"there are {len(self.texts)} texts but {len(self)} pairs")

    def __len__(self) -> int:
        return int(self.media_vec.shape[0])

    def take(self, rows: NDArray[np.integer]) -> Self:
        """Return some of the pairs, in the order of `rows` (integers or a boolean mask).

        Vectors on disk stay there, and texts are read where they are.
        """
        picked = np.flatnonzero(rows) if rows.dtype == bool else rows
        columns: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else column[picked] for name in _PER_PAIR
        }
        return replace(
            self,
            media_vec=_reordered(self.media_vec, picked),
            text_vec=_reordered(self.text_vec, picked),
            texts=None if self.texts is None else Reordered(self.texts, picked),
            **columns,
        )

    def with_texts_of(self, order: NDArray[np.integer]) -> Self:
        """Return the same media with the text of row `order[i]` at row i; what is said of pairs is dropped."""
        return replace(
            self,
            text_vec=_reordered(self.text_vec, order),
            text_key=None if self.text_key is None else on_disk(self.text_key[order]),
            texts=None if self.texts is None else Reordered(self.texts, order),
            verdict=None,
            weight=None,
        )


class Strings(Sequence[str]):
    """Strings that are read where they are, one by one."""

    def _at(self, row: int) -> str:
        raise NotImplementedError

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self._at(each) for each in range(*row.indices(len(self)))]
        return self._at(int(row))


class Reordered(Strings):
    """Texts in another order, read where they are."""

    _texts: Sequence[str]
    _order: NDArray[np.integer]

    def __init__(self, texts: Sequence[str], order: NDArray[np.integer]) -> None:
        if isinstance(texts, Reordered):
            order = on_disk(texts._order[order])
            texts = texts._texts
        self._texts, self._order = texts, order

    def __len__(self) -> int:
        return len(self._order)

    def _at(self, row: int) -> str:
        return self._texts[int(self._order[row])]


def _reordered(vectors: NDArray[np.float32], order: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return rows in another order; where they were mapped from a file, so are the result's."""
    if not isinstance(vectors, np.memmap):
        return vectors[order]
    return written((vectors[order[at]] for at in chunks(len(order))), (len(order), vectors.shape[1]))


def in_chunks(
    of: Callable[[NDArray[np.float32]], NDArray[np.float32]], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return what a function makes of vectors, row by row; where they were mapped from a file, so is the result.

    Args:
        of: (B, D) to (B, K), float32.
        vectors: (N, D).
    """
    if not isinstance(vectors, np.memmap):
        return of(vectors)
    width = of(np.asarray(vectors[:1])).shape[1]
    return written((of(vectors[at]) for at in chunks(len(vectors))), (len(vectors), width))


def chunks(rows: int, size: int | None = None) -> Iterator[slice]:
    """Yield parts of so many rows, of what may lie on disk."""
    size = size or _CHUNK
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def not_finite(vectors: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the rows that hold what is no finite number."""
    found = [np.flatnonzero(~np.isfinite(vectors[at]).all(axis=1)) + at.start for at in chunks(len(vectors))]
    return np.concatenate(found or [np.empty(0, np.int64)])


def written(parts: Iterable[NDArray[np.float32]], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return rows in a file that is mapped and has no name: it goes with them.

    Raises:
        ValueError: The rows are not as many as `shape` says.
    """
    if not shape[0]:
        return np.empty(shape, np.float32)
    mapped = mapped_array(shape, np.float32)
    start = 0
    for part in parts:
        mapped[start : start + len(part)] = part
        start += len(part)
    if start != shape[0]:
        raise ValueError(f"{start} rows were given, {shape[0]} were promised")
    return mapped


def on_disk(values: NDArray[_T]) -> NDArray[_T]:
    """Return a copy of an array: in a file that is mapped, has no name and goes with it, or in memory if it is small.

    What is held for every pair while more is computed would else be memory that grows with the pairs.
    """
    found = empty_on_disk(values.shape, values.dtype)
    found[...] = values
    return found


def empty_on_disk(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> NDArray[Any]:
    """Return an array to be filled, in a file as `on_disk` has it, in memory if it is small."""
    if np.prod(shape) * np.dtype(dtype).itemsize <= _LITTLE:
        return np.empty(shape, dtype)
    return mapped_array(shape, dtype).view(np.ndarray)  # no vectors: whoever asks for a memmap means these


def index_dtype(count: int) -> np.dtype[np.signedinteger]:
    """Return the type that the numbers of so many rows take: int32, or int64."""
    return np.dtype(np.int32 if count <= np.iinfo(np.int32).max else np.int64)


def row_numbers(count: int) -> NDArray[np.integer]:
    """Return 0 to count - 1 in as few bytes as they take. (N,), int32 or int64."""
    return np.arange(count, dtype=index_dtype(count))


def mapped_array(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> "np.memmap[Any, Any]":
    """Return zeros in a file that is mapped and has no name: it goes with them, or with the process.

    Raises:
        OSError: There is no room for it.
    """
    with TemporaryFile(prefix="xmodal-array-") as file:
        # Else a full disk is found out when a page is written, by a signal that kills.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype, "w+", shape=shape)
