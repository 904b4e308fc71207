"""Bytes by digest: written once, found again, never confused."""

import hashlib
import os
from pathlib import Path

import pytest

from schemas.errors import LakeError
from storage.media import MediaStore
from storage.places import Place

DATA = b"some bytes of a picture"
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    return MediaStore(Place(str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"))


def test_bytes_are_found_by_their_digest_and_by_their_address(store):
    address = store.put(DIGEST, DATA)
    assert store.get(DIGEST) == DATA
    assert address == store.address(DIGEST)
    with Place(address).fs.open(Place(address).root, "rb") as file:
        assert file.read() == DATA


def test_bytes_are_written_once(tmp_path):
    store = MediaStore(Place(str(tmp_path)))
    path = Path(store.put(DIGEST, DATA))
    os.utime(path, (1, 1))
    store.put(DIGEST, DATA)
    assert path.stat().st_mtime == 1
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [DIGEST]


def test_refuses_bytes_with_another_digest(store):
    with pytest.raises(LakeError, match=f"not {'0' * 64}"):
        store.put("0" * 64, DATA)
    assert not store.place.fs.exists(store.place.path("media"))


def test_says_when_it_does_not_hold_a_digest(store):
    with pytest.raises(LakeError, match=f"does not hold {DIGEST}"):
        store.get(DIGEST)
