"""Each page shows what the lake holds, and shows hostile texts as texts."""

import html
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pyarrow.dataset as pds
import pytest
from fastapi.testclient import TestClient
from scipy.stats import beta, norm

from dashboards.server import create
from flows.curate import curate
from schemas.quality import QualityRecipe
from schemas.recipes import CurationRecipe
from schemas.tables import DIVISIONS, QUALITY
from storage import lake as lakes
from storage import rows as row_digests
from storage import running
from tests.dashboards.conftest import HOSTILE

PAGES = {
    "/": "Rows through versions",
    "/explore?q=red+beside+blue": "results by",
    "/gallery": "of 96",
    "/map": "Map",
    "/review": "Reviewer",
    "/correspondence": "pairs fall",
    "/captions": "Written",
    "/quality": "media.licence-allowed",
    "/versions": "s000003",
    "/versions/diff?before=s000001&after=s000003": "sample rows",
    "/runs": "caption",
    "/quarantine": "empty-file",
    "/sql-box": "Reads only",
}
BROWSER = {"accept": "text/html"}
PART = BROWSER | {"x-fragment": "1"}


@pytest.fixture(scope="module")
def client(seen_lake):
    return TestClient(create(seen_lake))


def page(client, path, **options):
    answer = client.get(path, headers=BROWSER, **options)
    assert answer.status_code == 200, answer.text
    return answer.text


def hostile_medium(lake) -> str:
    (text_id,) = [row["text_id"] for row in lake.read("texts").to_pylist() if row["text"] == HOSTILE]
    return lake.read("pairs", where=f"text_id = '{text_id}'")["media_id"][0].as_py()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_shows_what_it_is_for(client, path):
    found = page(client, path)
    assert PAGES[path] in found
    assert "<script>window.hurt" not in found and "<img src=x" not in found


def test_a_hostile_caption_is_shown_as_it_is_written(client, seen_lake):
    media_id = hostile_medium(seen_lake)
    asked = "/explore", {"q": HOSTILE, "first": "match"}
    found = page(client, asked[0], params=asked[1])
    for path in (f"/item/{media_id}", f"/review/pair/{pair_of(seen_lake, media_id)}"):
        found += page(client, path)
    statement = {"statement": "SELECT digest, text FROM pairs WHERE text LIKE '%script%'"}
    token = re.search(r'name="csrf" content="(\w+)"', page(client, "/sql-box"))[1]
    found += client.post("/sql-box", data=statement, headers=PART | {"x-csrf-token": token}).text
    assert "<script>window.hurt" not in found and "<img src=x" not in found
    assert found.count("&lt;script&gt;window.hurt = 1&lt;/script&gt;") >= 4
    assert "&amp;lt;" not in found  # escaped once, not twice
    assert HOSTILE in html.unescape(page(client, f"/item/{media_id}"))


def pair_of(lake, media_id) -> str:
    return lake.read("pairs", where=f"media_id = '{media_id}' AND role = 'caption'")["pair_id"][0].as_py()


def test_a_hostile_file_name_is_shown_as_it_is_written(client):
    assert "broken &lt;b&gt;.png" in page(client, "/quarantine")


def test_what_was_wrong_is_said_without_running_it(client):
    for path in (
        "/item/<script>1</script>",
        "/runs/<script>1</script>",
        "/versions/diff?before=<script>&after=s1",
    ):
        answer = client.get(path, headers=BROWSER)
        assert (
            answer.status_code in (400, 404)
            and "<script>1" not in answer.text
            and "before=<script>" not in answer.text
        )
    assert client.get("/gallery?where=1;DROP TABLE media", headers=BROWSER).status_code == 400


def test_the_overview_counts_what_the_tables_hold(client, seen_lake):
    found = page(client, "/")
    chart = json.loads(html.unescape(re.search(r'data-chart="([^"]+)"', found)[1]))
    drawn = {trace["name"]: trace["y"] for trace in chart["data"]}
    assert drawn["media"] == [96, 96, 96]
    assert drawn["texts"] == [s.row_counts["texts"] for s in seen_lake.snapshots()]
    assert "cannot tell" in found  # this study could not say how much is noise


def test_the_threshold_counts_as_a_loop_would(client, seen_lake):
    found = page(client, "/correspondence?scorer=cosine")
    steps = json.loads(html.unescape(re.search(r'data-steps="([^"]+)"', found)[1]))
    present = {row["pair_id"]: row["kept"] for row in seen_lake.read("pairs").to_pylist() if row["present"]}
    scores = [
        (row["value"], present[row["subject_id"]])
        for row in seen_lake.read("scores", where="method = 'cosine'").to_pylist()
        if row["subject_id"] in present
    ]
    assert steps["pairs"] == len(scores)
    for edge, falls, kept in zip(
        steps["edges"][::20], steps["falls"][::20], steps["kept"][::20], strict=True
    ):
        assert falls == sum(value < edge for value, _ in scores), edge
        assert kept == sum(value < edge and is_kept is not False for value, is_kept in scores)
    assert steps["falls"][0] == 0 and steps["falls"][-1] == len(scores)


def heights(found, kind, number=0) -> list[float]:
    return json.loads(
        html.unescape(re.findall(rf'class="{kind}" points="[^"]+" data-heights="([^"]+)"', found)[number])
    )


def test_both_kinds_of_pairs_are_drawn_by_what_the_study_says_of_each(client, seen_lake):
    found = page(client, "/correspondence?scorer=cosine")
    rows = seen_lake.read("scores").to_pylist()
    true = {row["subject_id"]: row["value"] for row in rows if row["method"] == "consensus"}
    wanted = {"wrong": [0.0] * 100, "true": [0.0] * 100}
    for row in rows:
        if row["method"] == "cosine" and row["subject_id"] in true:
            bar = min(int(row["value"] * 100), 99)
            wanted["wrong"][bar] += 1 - true[row["subject_id"]]
            wanted["true"][bar] += true[row["subject_id"]]
    for kind, by_bar in wanted.items():
        assert heights(found, kind) == pytest.approx(by_bar, abs=1e-3)
    assert sum(wanted["wrong"]) > 5  # twelve captions say wrong colours
    assert "each pair counted by its P(true)" in found


@pytest.mark.parametrize(("of", "place"), [("cosine", 0), ("", 1)], ids=["of the scorer shown", "of a sum"])
def test_a_mixture_that_was_fitted_is_drawn_over_the_scores_it_was_fitted_to(own_lake, of, place):
    fitted = [
        {"kind": "normal", "share": 0.25, "loc": 0.3, "scale": 0.05, "a": 0, "b": 0},
        {"kind": "beta", "share": 0.75, "loc": 0.1, "scale": 0.8, "a": 8.0, "b": 3.0},
    ]
    edges = [n / 100 for n in range(101)]
    said = {"of": of, "edges": edges, "pairs": [2] * 100, "true": [1.0] * 100, "fitted": fitted}
    (row,) = own_lake.read("divisions", where="active").to_pylist()
    row |= {"components": json.dumps(said), "inputs": "other"}  # what is derived alone is no new row
    del row["row_digest"]
    with own_lake.writer() as writer:
        table = pa.Table.from_pylist([row], schema=DIVISIONS.schema)
        writer.upsert(DIVISIONS, pds.dataset(row_digests.with_digest(table, DIVISIONS)))
        writer.commit(tag=None, recipe_digest="mixed", run_id="r")
    found = page(TestClient(create(own_lake)), "/correspondence?scorer=cosine")
    for kind, law in (("wrong", norm(0.3, 0.05)), ("true", beta(8, 3, 0.1, 0.8))):
        share = 0.25 if kind == "wrong" else 0.75
        expected = [200 * share * (law.cdf(high) - law.cdf(low)) for low, high in pairwise(edges)]
        assert heights(found, kind, place) == pytest.approx(expected, abs=1e-3)
    assert "mixture that was fitted" in found


def test_the_wall_shows_the_pairs_next_to_the_threshold(client, seen_lake):
    values = sorted(row["value"] for row in seen_lake.read("scores", where="method = 'cosine'").to_pylist())
    middle = values[48]
    part = client.get(
        "/correspondence/wall", params={"scorer": "cosine", "threshold": middle}, headers=PART
    ).text
    under, over = part.split("Nearest to stay")
    shown = [[float(n) for n in re.findall(r"<b>([\d.]+)</b>", side)] for side in (under, over)]
    assert shown[0] == sorted([round(v, 3) for v in values if v < middle], reverse=True)[:24]
    assert shown[1] == [round(v, 3) for v in values if v >= middle][:24]


def test_words_that_narrowed_a_search_are_shown_and_can_be_taken_away(client):
    found = page(client, "/explore", params={"q": "modality:image red"})
    assert "modality:image -&gt; modality = &#39;image&#39; (96 media)" in found
    link = html.unescape(re.search(r'title="search without it"[^>]+href="([^"]+)"', found)[1])
    assert "without=modality" in link
    assert "(96 media)" not in page(client, link)


def test_a_page_of_the_gallery_holds_a_page(client):
    first, second = page(client, "/gallery"), page(client, "/gallery?offset=48")
    ids = [re.findall(r'href="/item/(\w{64})"', found) for found in (first, second)]
    assert [len(set(found)) for found in ids] == [48, 48] and not set(ids[0]) & set(ids[1])
    assert "of 0" in page(client, "/gallery?where=width_px > 9000")


def test_a_part_is_the_part_alone(client):
    part = client.get("/gallery", headers=PART).text
    assert "<html" not in part and part.count("<figure") == 48


def test_a_picture_that_is_none_is_refused_in_words(client):
    token = re.search(r'name="csrf" content="(\w+)"', page(client, "/explore"))[1]
    sent = {"picture": ("../../etc/passwd", b"not a picture", "image/png")}
    answer = client.post("/explore/picture", files=sent, headers=PART | {"x-csrf-token": token})
    assert answer.status_code == 400 and 'role="alert"' in answer.text and "/tmp" not in answer.text


def test_the_queue_gives_two_people_different_pairs(client):
    first, again, second = (
        re.search(
            r'data-pair="(\w+)"', client.get("/review/next", params={"person": who}, headers=PART).text
        )[1]
        for who in ("ada", "ada", "grace")
    )
    assert first == again != second


def test_quality_is_shown_through_versions_with_what_broke_it(own_lake):
    media = own_lake.read("media", columns=["media_id"])["media_id"].to_pylist()[:3]
    later = datetime.now(UTC) + timedelta(hours=1)
    rows = [
        {name: None for name in QUALITY.schema.names}
        | {
            "quality_id": f"{at}{name}", "snapshot_id": at, "suite_digest": "later", "run_id": "r", "against": "",
            "table": "media", "name": name, "expectation": "expect_column_values_to_be_between", "column": "width_px",
            "parameters": "{}", "severity": "warning", "status": status, "observed": share, "threshold": "at_most 0",
            "rows": 96, "unexpected": round(96 * share), "share": share, "offending": ids, "reason": "<b>narrow</b>",
            "checked_at": later,
        }
        for at, name, status, share, ids in (
            ("s000002", "media.wide", "passed", 0.0, []),
            ("s000003", "media.wide", "failed", 3 / 96, media),
            ("s000003", "media.some", "skipped", 0.0, []),  # too little to tell is no alert
        )
    ]  # fmt: skip
    own_lake.append_log(QUALITY, *rows)
    client = TestClient(create(lakes.open(own_lake.uri)))
    found = page(client, "/quality")
    assert "✗ 3" in found and "media.wide" in found and "media.some" in found
    alerts = page(client, "/")
    assert "media.wide failed" in alerts and "media.some" not in alerts
    link = html.unescape(re.search(r'href="(/quality/rows\?snapshot=s000003[^"]+wide[^"]+)"', found)[1])
    broken = page(client, link)
    assert "<b>narrow" not in broken and "narrow" in broken
    assert set(re.findall(r'href="/item/(\w{64})"', broken)) == set(media)


def test_the_score_of_quality_counts_a_critical_expectation_as_four(own_lake):
    shutil.rmtree(f"{own_lake.uri}/quality.lance")
    at = datetime.now(UTC)
    said = [("a", "critical", "passed"), ("b", "critical", "failed"), ("c", "warning", "passed"),
            ("d", "warning", "raised"), ("e", "critical", "skipped")]  # fmt: skip
    own_lake.append_log(
        QUALITY,
        *(
            dict.fromkeys(QUALITY.schema.names)
            | {
                "quality_id": name, "snapshot_id": "s000002", "suite_digest": "s", "table": "media", "name": name,
                "severity": severity, "status": status, "checked_at": at, "offending": [],
            }
            for name, severity, status in said
        ),
    )  # fmt: skip
    found = page(TestClient(create(lakes.open(own_lake.uri))), "/")
    assert f"{100 * (4 + 1) / (4 + 4 + 1 + 1):.0f} %</b><span>quality score" in found
    assert "of s000002: 2 hold, 1 critical and 1 warnings do not" in found  # the newest that was checked


def test_a_run_at_work_is_shown_with_its_steps_and_shards(own_lake):
    client = TestClient(create(own_lake))
    assert "No run is writing to this lake" in client.get("/runs/live", headers=PART).text
    with running.board(own_lake, "20990101T000000-abcdef", "curate", "<b>mine</b>") as board:
        board.began("plan")
        board.ended({"step": "plan", "wall_s": 2.25, "items": 96, "counts": {"empty-file": 1}})
        board.began("inspect media")
        board.progress("media", 0, 4)
        board.progress("media", 4, 4)
        shown = client.get("/runs/live", headers=PART).text
        for said in (
            "20990101T000000-abcdef",
            "<b>inspect media</b>",
            "4 of 4 shards",
            "empty-file 1",
            "2.2",
        ):
            assert said in shown
        assert "&lt;b&gt;mine&lt;/b&gt;" in shown and "<b>mine" not in shown
        assert 'data-live="/runs/live"' in page(client, "/runs")
    assert "No run is writing to this lake" in client.get("/runs/live", headers=PART).text


def test_a_tag_that_a_critical_expectation_holds_back_is_an_alert_that_says_why(own_lake):
    wanted = {
        "name": "pairs.enough",
        "table": "pairs",
        "check": "count",
        "severity": "critical",
        "at_least": 10_000,
    }
    row = own_lake.runs()[-1]
    recipe = CurationRecipe.model_validate_json(row["recipe_json"])
    curate(
        recipe.model_copy(update={"quality": QualityRecipe.model_validate({"add": [wanted]})}),
        lake=own_lake.uri,
    )
    lake = lakes.open(own_lake.uri)
    assert lake.tags()["latest"] != lake.head().snapshot_id
    client = TestClient(create(lake))
    for path in ("/", f"/runs/{lake.runs()[0]['run_id']}"):
        said = html.unescape(page(client, path))
        assert "tag 'latest' stays at" in said and "pairs.enough failed" in said
    assert "pairs.enough" in page(client, "/quality")


def test_without_checks_the_page_says_how_to_make_them(own_lake):
    shutil.rmtree(f"{own_lake.uri}/quality.lance")
    assert "xmodal quality run" in page(TestClient(create(lakes.open(own_lake.uri))), "/quality")


def test_an_empty_lake_says_how_to_fill_it(lake_dir):
    client = TestClient(create(lakes.open(lake_dir)))
    for path in ("/", "/explore", "/review", "/gallery"):
        answer = client.get(path, headers=BROWSER)
        assert answer.status_code == 404 and "xmodal demo" in answer.text
    assert client.get("/health").json()["snapshot"] is None
    assert client.get("/versions", headers=BROWSER).status_code == 200


def test_decisions_come_in_pages(client, seen_lake):
    stored = [
        row for row in seen_lake.read("decisions").to_pylist() if row["active"] and row["rule"] == "cosine"
    ]
    found = []
    for offset in (0, 40, 80, 120):
        said = client.get("/decisions", params={"rule": "cosine", "limit": 40, "offset": offset}).json()
        assert said["total"] == len(stored)
        found += [row["decision_id"] for row in said["decisions"]]
    assert found == sorted(row["decision_id"] for row in stored)
