"""Hamming distances of packed codes, against unpacked bits, dot products and faiss."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.codes import _hamming
from tasks.codes._hamming import distances, nearest


def drawn(seed, count, width):
    return np.random.default_rng(seed).integers(0, 256, (count, width), dtype=np.uint8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 9), st.integers(1, 9))
def test_is_the_number_of_bits_that_differ(seed, queries, gallery, width):
    asked, told = drawn(seed, queries, width), drawn(seed + 1, gallery, width)
    found = distances(asked, told)
    assert found.shape == (queries, gallery)
    for q in range(queries):
        for n in range(gallery):
            differ = 0
            for a, b in zip(asked[q].tolist(), told[n].tolist(), strict=True):
                differ += bin(a ^ b).count("1")
            assert found[q, n] == differ


def test_orders_as_dot_products_of_signs_do():
    asked, told = drawn(0, 20, 4), drawn(1, 300, 4)
    signs = [2.0 * np.unpackbits(codes, axis=1) - 1 for codes in (asked, told)]
    products = signs[0] @ signs[1].T
    np.testing.assert_array_equal(32 - 2.0 * distances(asked, told), products)
    rows, _ = nearest(asked, told, 300)
    np.testing.assert_array_equal(rows, np.argsort(-products, axis=1, kind="stable"))


@pytest.mark.parametrize("width", [1, 4, 8])
def test_finds_what_faiss_finds(width):
    asked, told = drawn(2, 10, width), drawn(3, 500, width)
    index = faiss.IndexBinaryFlat(8 * width)
    index.add(told)
    theirs, _ = index.search(asked, 25)
    rows, found = nearest(asked, told, 25)
    np.testing.assert_array_equal(found, theirs)
    np.testing.assert_array_equal(np.take_along_axis(distances(asked, told), rows, axis=1), theirs)


def test_blocks_make_no_difference(monkeypatch):
    asked, told = drawn(4, 30, 2), drawn(5, 40, 2)
    before = distances(asked, told)
    monkeypatch.setattr(_hamming, "BLOCK_BYTES", 100)
    np.testing.assert_array_equal(distances(asked, told), before)


def test_of_equal_distances_the_smaller_row_is_first():
    rows, found = nearest(np.uint8([[0]]), np.uint8([[3], [1], [1], [2]]), 9)
    assert rows.tolist() == [[1, 2, 3, 0]]
    assert found.tolist() == [[1, 1, 1, 2]]


def test_refuses_what_is_no_packed_code():
    codes = drawn(0, 2, 2)
    with pytest.raises(ValueError, match="packed"):
        distances(codes.astype(float), codes)
    with pytest.raises(ValueError, match="one width"):
        distances(codes, drawn(0, 2, 3))
    with pytest.raises(ValueError, match="65,535"):
        distances(drawn(0, 1, 8192), drawn(0, 1, 8192))
    with pytest.raises(ValueError, match="k must"):
        nearest(codes, codes, 0)
