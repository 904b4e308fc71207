"""Who is let in, what may be written from where, and what browsers are told."""

import re
import time
from html.parser import HTMLParser

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dashboards.guard import Door, entry
from dashboards.server import Actions, create
from flows.cli.dashboard import writing

TOKEN = "a-long-enough-token-of-words"
PAGES = (
    "/", "/explore", "/gallery", "/map", "/review", "/correspondence", "/captions", "/quality", "/versions", "/runs",
    "/quarantine", "/sql-box",
)  # fmt: skip
BROWSER = {"accept": "text/html"}


class Tags(HTMLParser):
    """Names of the tags and attributes of a page, as a browser would read it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.fixture
def actions(own_lake) -> Actions:
    return writing(own_lake)


@pytest.fixture
def client(own_lake, actions):
    return TestClient(create(own_lake, actions=actions), follow_redirects=False)


def csrf_of(client, page="/versions") -> str:
    return re.search(r'<meta name="csrf" content="(\w+)">', client.get(page, headers=BROWSER).text)[1]


@pytest.mark.parametrize(
    "path", [*PAGES, "/tables", "/search?q=red", "/metrics", "/decisions", "/openapi.json"]
)
def test_without_the_token_nothing_is_shown(seen_lake, path):
    client = TestClient(create(seen_lake, token=TOKEN), follow_redirects=False)
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get(path, headers={"cookie": "xmodal_entry=wrong"}).status_code == 401
    turned_away = client.get(path, headers=BROWSER)
    assert (turned_away.status_code, turned_away.headers["location"]) == (303, "/login")
    assert "red" not in turned_away.text


def test_with_the_token_everything_is(seen_lake):
    client = TestClient(create(seen_lake, token=TOKEN), follow_redirects=False)
    assert client.get("/tables", headers={"authorization": f"Bearer {TOKEN}"}).json()["media"] == 96
    assert client.get("/health").json() == {"lake": None, "snapshot": seen_lake.head().snapshot_id}
    sent = {"given": TOKEN, "csrf": csrf_of(client, "/login")}
    answer = client.post("/login", data=sent)
    kept = answer.headers["set-cookie"]
    assert answer.status_code == 303 and "HttpOnly" in kept and "SameSite=strict" in kept
    assert TOKEN not in kept and entry(TOKEN) in kept
    assert client.get("/", headers=BROWSER).status_code == 200
    assert client.post("/login", data=sent | {"given": "wrong"}).status_code == 403


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/versions/restore", {"ref": "s000001"}),
        ("/versions/tag", {"ref": "s000001", "name": "mine"}),
        ("/versions/untag", {"name": "latest"}),
        ("/review/verdict", {"pair_id": "0" * 32, "say": "accept", "person": "ada"}),
        ("/review/undo", {"person": "ada"}),
    ],
)
def test_a_write_needs_a_page_of_ours(client, own_lake, actions, path, fields):
    before = (own_lake.head(), own_lake.tags(), actions.journal.counts())
    token = csrf_of(client)
    assert client.post(path, data=fields).status_code == 403
    assert client.post(path, data=fields | {"csrf": "wrong"}).status_code == 403
    elsewhere = client.post(path, data=fields | {"csrf": token}, headers={"origin": "https://evil.example"})
    assert elsewhere.status_code == 403
    assert client.post(path, data=fields | {"csrf": token}, headers={"origin": "null"}).status_code == 403
    framed = client.post(path, data=fields | {"csrf": token}, headers={"sec-fetch-site": "cross-site"})
    assert framed.status_code == 403
    other = TestClient(client.app)  # another browser, with a session of its own
    other.get("/", headers=BROWSER)
    assert other.post(path, data=fields | {"csrf": token}).status_code == 403
    assert (own_lake.head(), own_lake.tags(), actions.journal.counts()) == before


def test_with_it_the_write_is_done(client, own_lake):
    fields = {"ref": "s000001", "name": "mine", "csrf": csrf_of(client)}
    answer = client.post("/versions/tag", data=fields, headers={"origin": "http://testserver"})
    assert answer.status_code == 303 and own_lake.tags()["mine"] == "s000001"
    gone = client.post("/versions/untag", data={"name": "mine"}, headers={"x-csrf-token": fields["csrf"]})
    assert gone.status_code == 303 and "mine" not in own_lake.tags()


def test_a_server_that_only_reads_writes_nothing(seen_lake):
    client = TestClient(create(seen_lake), follow_redirects=False)
    fields = {"ref": "s000001", "csrf": csrf_of(client)}
    assert client.post("/versions/restore", data=fields).status_code == 403
    assert "Restore" not in client.get("/versions", headers=BROWSER).text


@pytest.mark.parametrize("path", PAGES)
def test_pages_allow_no_script_but_our_files(client, path):
    answer = client.get(path, headers=BROWSER)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", answer.text, re.DOTALL)
    assert scripts and all("src=" in about and not body for about, body in scripts)
    tags = Tags(answer.text)
    assert not [name for name in tags.attributes if name.startswith("on") or name == "style"]
    assert "style" not in tags.names
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)


def test_a_request_that_carries_too_much_is_refused(client):
    token = csrf_of(client)
    answer = client.post(
        "/explore/picture", files={"picture": b"0" * (25 << 20)}, headers={"x-csrf-token": token}
    )
    assert answer.status_code == 413
    in_pieces = client.post("/sql", content=(b"0" * (1 << 20) for _ in range(25)))
    assert in_pieces.status_code == 413


def test_scripts_ship_with_the_code_and_are_kept_for_ever(client):
    page = client.get("/", headers=BROWSER).text
    found = re.findall(r'(?:src|href|data-library)="(/static/[^"]+)"', page)
    assert {path.rsplit("/", 1)[1] for path in found} == {"style.css", "page.js", "plotly.min.js", "chart.js"}
    for path in found:
        answer = client.get(path)
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
    assert client.get("/static/x/..%2Fserver.py").status_code == 404
    assert client.get("/static/x/base.html").status_code == 404


def test_media_are_never_run_by_a_browser(client, own_lake):
    row = own_lake.read("media", columns=["media_id", "uri"]).to_pylist()[0]
    answer = client.get(f"/media/{row['media_id']}")
    with open(row["uri"], "rb") as file:
        assert answer.content == file.read()
    assert (
        answer.headers["content-type"] == "image/png"
        and "sandbox" in answer.headers["content-security-policy"]
    )


def test_numbers_for_prometheus_have_routes_and_no_paths(client, own_lake):
    client.get("/media/abc/thumbnail")
    client.get("/no/such/page/1")
    text = client.get("/metrics").text
    assert 'xmodal_requests_total{method="GET",route="/media/{media_id}/thumbnail",status="404"} 1.0' in text
    assert 'route="none",status="404"' in text and "/no/such" not in text and "abc" not in text
    assert f'xmodal_snapshot_rows{{table="media"}} {float(own_lake.tables()["media"])}' in text
    assert "xmodal_request_seconds_bucket" in text


def test_whoever_asks_for_too_much_is_not_kept_waiting():
    ended = []
    slow = FastAPI()
    slow.add_middleware(Door, seconds=0.2)

    @slow.get("/")
    def sleep() -> str:
        time.sleep(1.5)
        ended.append(True)
        return "late"

    with TestClient(slow) as client:
        began = time.monotonic()
        answer = client.get("/")
        assert answer.status_code == 503 and "ask for less" in answer.json()["message"]
        assert time.monotonic() - began < 1.2 and not ended
