"""Pairs as arrays: what is read where it lies equals what Python and NumPy make of it in memory."""

import hashlib
import random

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from schemas.batch import PairBatch, in_chunks, not_finite
from tasks.gathered import Column, numbers


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def digest(n):
    return hashlib.sha256(str(n).encode()).hexdigest()


def column(strings, draw):
    """An Arrow column in several parts, one of them a slice of a longer one."""
    cut = draw.randrange(len(strings) + 1)
    longer = pa.array(["before", *strings[cut:], "after"], pa.string())
    return pa.chunked_array([pa.array(strings[:cut], pa.string()), longer.slice(1, len(strings) - cut)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "name",
    [
        digest,
        str,
        lambda n: digest(n)[:32],
        lambda n: digest(n)[: 32 + n % 2],
        lambda n: digest(n)[:16],
        lambda n: digest(n).upper(),
        lambda n: "g" + digest(n)[1:],
    ],
)
def test_numbers_are_the_places_of_distinct_strings_in_order(name, seed):
    draw = random.Random(seed)
    strings = [name(draw.randrange(60)) for _ in range(draw.choice([0, 1, 100]))]
    _, wanted = np.unique(np.array(strings, dtype=object), return_inverse=True)
    assert_array_equal(numbers(column(strings, draw)), wanted)


def test_digests_that_share_their_first_half_are_still_two():
    strings = ["a" * 16 + digest(n)[16:] for n in (1, 2, 1)]
    assert numbers(pa.chunked_array([strings])).tolist() in ([0, 1, 0], [1, 0, 1])


def test_texts_of_rows_in_another_order_are_read_where_they_lie(rng):
    texts = [f"text {n}" for n in range(50)]
    first, then = rng.integers(50, size=40), rng.permutation(40)
    vectors = rng.random((40, 3), np.float32)
    lying = Column(pa.chunked_array([texts[:20], texts[20:]]))
    assert list(lying) == texts and lying[3] == "text 3" and list(lying[18:22]) == texts[18:22]
    taken = PairBatch(vectors, vectors, texts=[lying[int(n)] for n in first])
    moved = taken.with_texts_of(then).with_texts_of(then[::-1])
    wanted = [texts[n] for n in first[then][then[::-1]]]
    assert list(moved.texts) == wanted == [moved.texts[n] for n in range(40)]
    assert list(moved.texts[5:9]) == wanted[5:9]


@pytest.mark.parametrize("rows", [0, 1, 8192, 20_000])
def test_what_is_made_of_mapped_vectors_is_mapped_and_the_same(tmp_path, rng, rows):
    vectors = rng.random((rows, 4), np.float32)
    mapped = np.memmap(tmp_path / "v", np.float32, "w+", shape=(max(rows, 1), 4))[:rows]
    mapped[:] = vectors
    half = np.arange(8, dtype=np.float32).reshape(4, 2)
    found = in_chunks(lambda some: some @ half, mapped)
    assert isinstance(found, np.memmap) or not rows
    np.testing.assert_allclose(found, vectors @ half, rtol=1e-6)
    assert not isinstance(in_chunks(lambda some: some @ half, vectors), np.memmap)


def test_rows_that_are_not_finite_are_found_in_every_part():
    vectors = np.ones((20_000, 2))
    wrong = [0, 8191, 8192, 19_999]
    vectors[wrong, 1] = [np.nan, np.inf, -np.inf, np.nan]
    assert not_finite(vectors).tolist() == wrong
    assert not_finite(vectors[1:8191]).tolist() == [] == not_finite(vectors[:0]).tolist()
