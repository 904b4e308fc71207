"""The same lake on an object store: a real S3 endpoint on loopback."""

import pyarrow as pa
import pytest

from flows.curate import curate
from schemas.errors import LakeBusy, NoSuchTable
from storage import upkeep
from storage.lake import Lake
from storage.staging import Staging
from tests.storage.conftest import commit, texts_of, upsert

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)]


@pytest.fixture
def lake(store) -> Lake:
    return store.lake(f"s3://{store.bucket()}/lake")


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


def test_of_two_writers_on_s3_the_second_is_refused(lake):
    with lake.writer() as one:
        with pytest.raises(LakeBusy, match="another run is writing"), lake.writer():
            pass
        upsert(one, {"a": "x"})
        one.commit(tag=None, recipe_digest="d", run_id="one")
    commit(lake, {"b": "y"})
    assert texts_of(lake) == {"a": "x", "b": "y"}


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
    changed = staging.write(
        pa.table({"n": [3]}), "done", "a.arrow"
    )  # the copy of what it was must not be read
    assert staging.dataset([changed], table.schema).to_table() == pa.table({"n": [3]})
    staging.clear()
    assert staging.names("done") == []
    with pytest.raises(FileNotFoundError):  # said at once: found out amid a scan, it would stop for ever
        staging.dataset([path], table.schema)


@pytest.mark.usefixtures("prefect_server")
def test_a_curation_on_s3_ends_as_one_on_disk(lake, media_folder, recipe_of, lake_dir):
    there = curate(recipe_of(media_folder), lake=lake.uri)  # given nothing but the address
    assert there.digest == curate(recipe_of(media_folder), lake=lake_dir).digest
    assert curate(recipe_of(media_folder), lake=lake.uri).snapshot_id == there.snapshot_id
    assert lake.tags() == {"latest": there.snapshot_id}
