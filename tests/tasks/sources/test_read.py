"""What cannot be read now is not the same as what cannot be read."""

import socket

import pytest
import s3fs

from schemas.errors import BadInput
from tasks.sources.read import is_object, read_bytes


@pytest.fixture
def nobody(monkeypatch):
    """An endpoint where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        s3fs.S3FileSystem.clear_instance_cache()
        yield
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_store_out_of_reach_is_no_fault_of_the_object(nobody):
    with pytest.raises(Exception, match="Could not connect") as raised:
        read_bytes("s3://bucket/picture.png", max_bytes=1 << 20)
    assert not isinstance(raised.value, BadInput)


def test_an_object_that_is_not_there_is_refused():
    with pytest.raises(BadInput) as raised:
        read_bytes("memory://nowhere/picture.png", max_bytes=1 << 20)
    assert raised.value.reason == "missing-file"


@pytest.mark.parametrize(
    ("uri", "answer"),
    [
        ("s3://bucket/a.png", True),
        ("s3://bucket/a.tar!b.png@512+100", True),
        ("gzip::s3://bucket/a.tar.gz!b.png@512+100", False),
        ("https://example.org/a.png", False),
        ("/folder/a.png", False),
    ],
)
def test_objects_are_what_may_stay_in_a_store(uri, answer):
    assert is_object(uri) is answer
