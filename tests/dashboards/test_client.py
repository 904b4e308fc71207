"""The client says what the library says, over a real connection."""

import pytest

from dashboards.client import Client, ServerRefused
from tasks.search import search

TOKEN = "a-long-enough-token-of-words"


@pytest.fixture
def client(serving, seen_lake):
    with Client(serving(seen_lake, token=TOKEN), token=TOKEN) as client:
        yield client


def test_it_finds_what_a_python_search_finds(client, seen_lake):
    found = client.search("green beside pink", k=3)
    assert [hit["media_id"] for hit in found["hits"]] == [
        hit.media_id for hit in search(seen_lake, "green beside pink", k=3).hits
    ]
    assert found["snapshot"] == seen_lake.head().snapshot_id == client.health()["snapshot"]


def test_it_reads_rows_decisions_and_media(client, seen_lake):
    assert client.sql("SELECT count(*) AS n FROM media WHERE width_px = ?", 48) == [{"n": 96}]
    assert client.tables("s000001") == seen_lake.tables("s000001")
    assert client.decisions(rule="cosine", limit=1)["total"] == 96
    row = seen_lake.read("media", columns=["media_id", "thumbnail", "uri"]).to_pylist()[0]
    assert client.thumbnail(row["media_id"]) == row["thumbnail"]
    with open(row["uri"], "rb") as file:
        assert client.media(row["media_id"]) == file.read()


def test_a_refusal_says_why(client, serving, seen_lake):
    with pytest.raises(
        ServerRefused, match=r"NoSuchSnapshot \(404\): no snapshot or tag is called 'nowhere'"
    ):
        client.tables("nowhere")
    with pytest.raises(ServerRefused, match="422"):
        client.search("x", k=0)
    with Client(serving(seen_lake, token=TOKEN)) as stranger, pytest.raises(ServerRefused, match="401"):
        stranger.tables()
