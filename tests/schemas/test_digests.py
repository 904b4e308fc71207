"""Identities, beside SHA-256 over lengths and parts, written out."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.digests import key, key_of, keys

PARTS = st.lists(st.text(st.characters(exclude_categories=())), max_size=100)


def told(parts):
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()[:32]


@given(PARTS)
def test_a_key_is_a_digest_of_lengths_and_parts(parts):
    assert key(*parts) == key_of(iter(parts)) == told(parts)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_536])
def test_parts_of_any_length_are_told_apart(size):
    parts = ["x" * size, "é" * (size // 2), ""]
    assert key(*parts) == key_of(parts) == told(parts)
    assert keys(parts, "more") == [told([part, "more"]) for part in parts]


@given(PARTS, PARTS)
def test_many_keys_are_those_of_each(firsts, others):
    assert keys(firsts, *others) == [told([first, *others]) for first in firsts]


def test_where_a_part_ends_matters():
    assert len({key("ab", "c"), key("a", "bc"), key("abc"), key("abc", "")}) == 4
