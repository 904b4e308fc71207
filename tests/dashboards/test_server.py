import hashlib

import numpy as np
import pytest
from fastapi.testclient import TestClient

from dashboards.server import create
from flows.curate import curate
from storage import lake as lakes
from tasks.search import search
from tests.conftest import write_picture


@pytest.fixture(scope="module")
def lake(tmp_path_factory, recipe_of, prefect_server):
    home = tmp_path_factory.mktemp("served")
    for seed, caption in enumerate(("a kettle on the stove", "two boats at sea", "an old church tower")):
        write_picture(home / "media" / f"{seed}.png", seed).with_suffix(".txt").write_text(caption)
    encoder = {"name": "hashing", "params": {"dim": 64}}
    curate(recipe_of(home / "media", encoder=encoder, pair_rules=[]), lake=str(home / "lake"))
    return lakes.open(str(home / "lake"))


@pytest.fixture(scope="module")
def client(lake):
    return TestClient(create(lake))


def test_a_search_is_the_python_search(client, lake):
    hits = client.get("/search", params={"q": "boats at sea", "k": 2}).json()["hits"]
    expected = search(lake, "boats at sea", k=2).hits
    assert [(hit["media_id"], tuple(hit["texts"])) for hit in hits] == [
        (h.media_id, h.texts) for h in expected
    ]
    assert [hit["score"] for hit in hits] == pytest.approx([h.score for h in expected])


def test_a_query_has_all_options(client):
    said = client.post(
        "/search", json={"text": "church", "first": "match", "where": "width_px > 10", "k": 5}
    ).json()
    assert [hit["texts"] for hit in said["hits"]] == [["an old church tower"]]
    assert said["hits"][0]["similarity"] is None  # only words were matched


def test_sql_gives_rows_and_says_what_it_read(client, lake):
    said = client.post(
        "/sql", json={"statement": "SELECT count(*) AS n FROM media WHERE width_px > ?", "params": [1]}
    ).json()
    assert said["rows"] == [{"n": 3}] and not said["truncated"]
    assert said["read"] == [
        {"table": "media", "snapshot": lake.head().snapshot_id, "version": lake.head().versions["media"]}
    ]


def test_search_works_inside_sql(client):
    asked = {
        "statement": "SELECT p.text FROM search('boats at sea', k => 1, \"by\" => 'texts') s JOIN pairs p USING (digest)"
    }
    assert client.post("/sql", json=asked).json()["rows"] == [{"text": "two boats at sea"}]


def test_thumbnails_are_pictures_of_their_own(client, lake):
    media_id = lake.read("media")["media_id"][0].as_py()
    answer = client.get(f"/media/{media_id}/thumbnail")
    assert answer.headers["content-type"] == "image/webp" and "immutable" in answer.headers["cache-control"]
    stored = lake.read("media", where=f"media_id = '{media_id}'")["thumbnail"][0].as_py()
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(stored).digest()
    assert client.get("/media/..%2F..%2Fetc/thumbnail").status_code == 404
    assert client.get("/media/abc/thumbnail").status_code == 404


@pytest.mark.parametrize(
    "asked",
    [
        {"statement": "COPY media TO '/tmp/x.csv'"},
        {"statement": "SELECT * FROM read_text('/etc/passwd')"},
        {"statement": "SELECT * FROM search('x', image => '/etc/passwd')"},
        {"statement": "SELECT 1; DROP TABLE media"},
    ],
)
def test_statements_that_do_more_than_read_are_refused(client, asked):
    answer = client.post("/sql", json=asked)
    assert answer.status_code == 400 and answer.json()["error"] in ("SqlRefused", "SqlError")


def test_bad_requests_are_said_to_be(client):
    assert client.post("/search", json={"text": "x", "image": "/etc/passwd"}).status_code == 422
    assert client.post("/search", json={"text": "x", "k": 10**9}).status_code == 422
    assert client.post("/search", json={}).status_code == 400
    for like in ("", "a'b", "no such id"):
        assert client.post("/search", json={"like": [like]}).json()["error"] == "DataError"
    assert client.post("/search", json={"text": "x", "where": "1; DROP TABLE media"}).status_code == 400
    assert client.get("/tables", params={"at": "nowhere"}).status_code == 404


def test_a_page_elsewhere_cannot_read_through_a_name_of_its_own(client):
    assert client.get("/tables", headers={"host": "evil.example"}).status_code == 400
    answer = client.get("/health", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_vectors_inside_sql_are_the_engine_s(client, lake):
    rows = client.post(
        "/sql", json={"statement": "SELECT digest, similarity(digest, 'a kettle') AS s FROM media"}
    ).json()["rows"]
    (table,) = [name for name in lake.tables() if name.startswith("embeddings_")]
    from tasks.encoders.hashing import Hashing

    stored = lake.read(table, where="side = 'media'")
    query = Hashing(dim=64)(["a kettle"])[0]
    expected = dict(
        zip(stored["item_id"].to_pylist(), np.array(stored["vector"].to_pylist()) @ query, strict=True)
    )
    assert {row["digest"]: row["s"] for row in rows} == pytest.approx(expected, abs=1e-5)
