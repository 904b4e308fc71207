"""Representatives by Hamming distance, against a naive greedy loop."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.filters._hamming import _masks, _near, representatives

ONES = 2**64 - 1


def by_loops(hashes: list[int], max_distance: int) -> list[int]:
    """Each row against the representatives so far, first come first served."""

    def telling(value: int) -> bool:
        return max(3, max_distance) < value.bit_count() < 64 - max(3, max_distance)

    standing: list[int] = []
    joined = []
    for row, value in enumerate(hashes):
        for other in standing:
            near = (value ^ hashes[other]).bit_count() <= max_distance
            if value == hashes[other] or (near and telling(value) and telling(hashes[other])):
                joined.append(other)
                break
        else:
            standing.append(row)
            joined.append(row)
    return joined


def flipped(value: int, bits: list[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


@st.composite
def crowded(draw):
    """Hashes scattered a few bits around a few centres, flat ones included, in any order."""
    centres = draw(
        st.lists(st.integers(0, ONES) | st.sampled_from([0, ONES, 0xF, 0x1F00]), min_size=1, max_size=4)
    )
    flips = st.lists(st.integers(0, 63), max_size=6)
    return draw(st.lists(st.builds(flipped, st.sampled_from(centres), flips), max_size=60))


@settings(deadline=None, max_examples=150)
@given(crowded(), st.sampled_from([0, 1, 3, 5, 7, 16]))
def test_agrees_with_the_naive_loop(hashes, max_distance):
    found = representatives(np.array(hashes, dtype=np.uint64), max_distance)
    assert found.tolist() == by_loops(hashes, max_distance)


@pytest.mark.parametrize("max_distance", [1, 3, 7, 12])
def test_agrees_with_the_naive_loop_on_many_rows(max_distance):
    rng = np.random.default_rng(max_distance)
    hashes = rng.integers(0, ONES, 40, dtype=np.uint64)[rng.integers(0, 40, 1500)]
    for _ in range(max_distance + 1):
        flip = np.uint64(1) << rng.integers(0, 64, 1500, dtype=np.uint64)
        hashes = np.where(rng.random(1500) < 0.5, hashes ^ flip, hashes)
    expected = by_loops(hashes.tolist(), max_distance)
    assert representatives(hashes, max_distance).tolist() == expected
    assert 40 <= len(set(expected)) < 1500


def test_a_chain_of_small_steps_does_not_tie_its_ends():
    start = 0x0F0F_0F0F_0F0F_0F0F
    chain = [flipped(start, list(range(4, 4 + steps))) for steps in range(0, 12, 3)]
    assert representatives(np.array(chain, np.uint64), 3).tolist() == [0, 0, 2, 2]


def test_the_first_row_stands_for_its_kind():
    a, b = 0x00FF_00FF_00FF_00FF, 0x00FF_00FF_00FF_00FE
    assert representatives(np.array([b, a, b], np.uint64), 3).tolist() == [0, 0, 0]


def test_flat_pictures_match_their_equals_only():
    hashes = np.array([0, 1, 0, 0b111, ONES, ONES - 1, 0b111], np.uint64)
    assert representatives(hashes, 3).tolist() == [0, 1, 0, 3, 4, 5, 3]


def test_takes_no_rows_and_one_row():
    assert representatives(np.array([], np.uint64), 3).tolist() == []
    assert representatives(np.array([5], np.uint64), 3).tolist() == [0]


@pytest.mark.parametrize("max_distance", range(1, 17))
@pytest.mark.parametrize("gallery", [10, 10**6, 10**9])
@pytest.mark.parametrize("telling", [64, 24])
def test_hashes_within_reach_agree_under_some_mask(max_distance, gallery, telling):
    rng = np.random.default_rng(0)
    masks = _masks(max_distance, gallery, (rng.permutation(64) < telling).astype(float))
    for _ in range(200):
        flips = sum(1 << int(bit) for bit in rng.choice(64, max_distance, replace=False))
        assert any(int(mask) & flips == 0 for mask in masks)


@pytest.mark.parametrize("max_distance", [1, 3, 7])
def test_hashes_that_share_most_bits_are_told_apart_as_loops_do(max_distance):
    rng = np.random.default_rng(max_distance)
    hashes = rng.integers(0, 2**20, 700, dtype=np.uint64) | np.uint64(0xABCDEF01234 << 20)
    found = representatives(hashes, max_distance)
    assert found.tolist() == by_loops(hashes.tolist(), max_distance)


@pytest.mark.parametrize(
    ("max_distance", "scattered"), [(1, True), (3, True), (6, True), (3, False), (6, False)]
)
def test_few_near_pairs_and_many_are_found_as_loops_do(max_distance, scattered):
    rng = np.random.default_rng(max_distance)
    hashes = rng.integers(0, ONES, 1200, dtype=np.uint64)
    if scattered:
        hashes[900:] = hashes[rng.integers(0, 900, 300)] ^ (
            np.uint64(1) << rng.integers(0, 64, 300, dtype=np.uint64)
        )
        hashes = rng.permutation(hashes)
    else:  # a thousand shots of one scene
        hashes[:] = 0xABCDEF0123456789
        for _ in range(max_distance):
            flip = np.uint64(1) << rng.integers(0, 64, 1200, dtype=np.uint64)
            hashes = np.where(rng.random(1200) < 0.8, hashes ^ flip, hashes)
    hashes = np.array(list(dict.fromkeys(hashes.tolist())), np.uint64)
    assert (_near(hashes, max_distance) is not None) == scattered
    expected = by_loops(hashes.tolist(), max_distance)
    assert representatives(hashes, max_distance).tolist() == expected
    assert 1 < len(set(expected)) < len(hashes)


@pytest.mark.parametrize("max_distance", [1, 3, 6])
def test_pairs_within_reach_are_all_there_is(max_distance):
    rng = np.random.default_rng(max_distance)
    hashes = rng.permutation(np.unique(rng.integers(0, ONES, 600, dtype=np.uint64)))
    for start in range(0, 400, 4):  # a family of four a few bits apart
        for row in range(start + 1, start + 4):
            hashes[row] = hashes[row - 1] ^ (np.uint64(1) << np.uint64(rng.integers(64)))
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= max_distance
    later, earlier = np.nonzero(np.tril(near, -1))
    found = _near(hashes, max_distance)
    assert found.tolist() == [
        int(row) << 32 | int(before) for row, before in zip(later, earlier, strict=True)
    ]
    assert len(found) >= 300


def test_a_hundred_thousand_rows_with_thousands_of_blanks_take_seconds():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, ONES, 100_000, dtype=np.uint64)
    hashes[50_000:] = hashes[:50_000] ^ (np.uint64(1) << rng.integers(0, 64, 50_000, dtype=np.uint64))
    hashes[:20_000] = 0
    start = time.process_time()
    found = representatives(hashes, 3)
    assert time.process_time() - start < 10
    assert (found[:20_000] == 0).all()
    np.testing.assert_array_equal(found[70_000:], np.arange(20_000, 50_000))


@pytest.mark.parametrize(
    ("hashes", "max_distance"),
    [
        (np.zeros(3, np.int64), 3),
        (np.zeros((2, 2), np.uint64), 3),
        (np.zeros(3, np.uint64), 17),
        (np.zeros(3, np.uint64), -1),
    ],
)
def test_refuses_other_types_and_distances(hashes, max_distance):
    with pytest.raises(ValueError, match="found"):
        representatives(hashes, max_distance)
