"""The same lake on an object store: a real S3 endpoint on loopback."""

import logging
import socket
import uuid
from collections.abc import Iterator

import boto3
import pyarrow as pa
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from flows.curate import curate
from schemas.errors import LakeBusy, NoSuchTable
from storage import upkeep
from storage.lake import Lake
from storage.staging import Staging
from tests.storage.conftest import commit, texts_of, upsert

pytestmark = pytest.mark.slow


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    s3fs.S3FileSystem.clear_instance_cache()  # of an earlier test's server
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def lake(endpoint: str) -> Lake:
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"  # buckets outlive their server
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=bucket)
    return Lake(
        f"s3://{bucket}/lake",
        storage_options={
            "aws_access_key_id": "testing",
            "aws_secret_access_key": "testing",
            "aws_region": "us-east-1",
            "aws_endpoint": endpoint,
            "allow_http": "true",
        },
        fs_options={"key": "testing", "secret": "testing", "client_kwargs": {"endpoint_url": endpoint}},
    )


def test_a_lake_on_s3_is_written_read_and_resumed(lake):
    with pytest.raises(NoSuchTable):
        lake.read("texts")
    with lake.writer() as writer:
        upsert(writer, {"stray": "never committed"})
    first = commit(lake, {"a": "x", "b": "y"})
    with lake.writer() as writer:
        upsert(writer, {"b": "lost"})
    second = commit(lake, {"b": "changed", "c": "z"})
    assert texts_of(lake, first.snapshot_id) == {"a": "x", "b": "y"}
    assert texts_of(lake, "latest") == {"a": "x", "b": "changed", "c": "z"}
    assert lake.tags() == {"latest": second.snapshot_id}
    assert lake.diff("texts", "s000001", "s000002").changed == ["b"]


def test_of_two_writers_on_s3_the_second_to_commit_is_refused(lake):
    commit(lake, {"a": "x"})
    with lake.writer() as one, lake.writer() as two:
        upsert(one, {"b": "y"})
        one.commit(tag=None, recipe_digest="d", run_id="one")
        two.adopt("texts")
        with pytest.raises(LakeBusy):
            two.commit(tag=None, recipe_digest="e", run_id="two")


def test_upkeep_works_on_s3(lake):
    for n in range(4):
        commit(lake, {f"row{n}": "x"})
    rows = texts_of(lake)
    with lake.writer() as writer:
        assert upkeep.compact(lake, writer) == {"texts": 3}
        writer.commit(tag="latest", recipe_digest="d", run_id="r")
        upkeep.expire(lake, keep=1)
        assert upkeep.clean(lake) > 0
    assert texts_of(lake) == rows


def test_staged_files_and_media_live_on_s3(lake):
    staging, table = Staging(lake.place, "key"), pa.table({"n": [1, 2]})
    path = staging.write(table, "done", "a.arrow")
    assert staging.read(path) == table
    assert staging.dataset([path], table.schema).to_table() == table
    assert staging.names("done") == ["a.arrow"]
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # sha256sum of "x"
    address = lake.media.put(digest, b"x")
    assert (address, lake.media.get(digest)) == (f"{lake.uri}/media/2d/71/{digest}", b"x")
    staging.clear()
    assert staging.names("done") == []


@pytest.mark.usefixtures("prefect_server")
def test_a_curation_on_s3_ends_as_one_on_disk(lake, endpoint, media_folder, recipe_of, lake_dir, monkeypatch):
    monkeypatch.setenv(
        "AWS_ENDPOINT_URL", endpoint
    )  # all a user sets: the flow is given nothing but the address
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    there = curate(recipe_of(media_folder), lake=lake.uri)
    assert there.digest == curate(recipe_of(media_folder), lake=lake_dir).digest
    assert curate(recipe_of(media_folder), lake=lake.uri).snapshot_id == there.snapshot_id
    assert lake.tags() == {"latest": there.snapshot_id}
