"""What a person does with the pages, done in a real browser on a real lake.

Pictures of the pages go to a temporary folder, or where XMODAL_SCREENSHOTS says; XMODAL_SCREENSHOTS_LAKE shows another lake.
"""

import hashlib
import io
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from dashboards.journal import Journal
from flows.maps import draw_map
from storage import lake as lakes
from storage import running
from tasks.search import search
from tests.dashboards.conftest import AS_SQL, HOSTILE, STACKED

TOKEN = "a-long-enough-token-of-words"
PLOTLY = (
    "Applying inline style"  # Plotly tries to add rules; the policy keeps it from that, and ours has them
)
DESK, PHONE = (1280, 900), (390, 844)
WIDE = (
    "/", "/explore?q=red", "/gallery", "/map", "/review", "/correspondence", "/captions", "/quality", "/versions",
    "/versions/diff?before=s000001&after=s000003", "/runs", "/quarantine", "/sql-box",
)  # fmt: skip


@pytest.fixture
def page(chromium):
    """A page of a browser that remembers what went wrong in it and where it asked."""
    context = chromium.new_context(viewport={"width": DESK[0], "height": DESK[1]})
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.wrong, page.asked = [], []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    assert [said for said in page.wrong if PLOTLY not in said] == []
    context.close()


def test_searching_by_words_by_a_picture_and_by_what_was_found(page, serving, seen_lake, pictured):
    page.goto(f"{serving(seen_lake)}/explore")
    page.fill("input[name=q]", "green beside pink")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results figure")
    shown = page.eval_on_selector_all(
        "#results figure .picture", "all => all.map(one => one.href.split('/').pop())"
    )
    assert shown == [hit.media_id for hit in search(seen_lake, "green beside pink", k=24).hits]
    assert page.url.endswith("/explore?q=green+beside+pink&first=dense")

    page.set_input_files("input[name=picture]", pictured / "20.png")  # choosing it searches
    own = hashlib.sha256((pictured / "20.png").read_bytes()).hexdigest()
    page.wait_for_selector(f"#results figure:first-child a[href='/item/{own}']")

    first = page.locator("#results figure", has=page.locator(f"a[href='/item/{own}']"))
    first.locator("a.like").click()
    page.wait_for_url(f"**/explore?like={own}")
    page.wait_for_function(
        "own => !document.querySelector('#results .wall').innerHTML.includes(`/item/${own}\"`)", arg=own
    )


def test_moving_the_threshold_says_at_once_how_many_fall(page, serving, seen_lake):
    page.goto(f"{serving(seen_lake)}/correspondence?scorer=cosine")
    values = sorted(row["value"] for row in seen_lake.read("scores", where="method = 'cosine'").to_pylist())
    slider = page.locator("#place")
    slider.focus()
    steps = page.evaluate("JSON.parse(document.querySelector('#threshold').dataset.steps)")
    for _ in range(
        next(place for place, n in enumerate(steps["falls"]) if n >= 10) - int(slider.input_value())
    ):
        page.keyboard.press("ArrowRight")
    at, falls = float(page.inner_text("#at")), int(page.inner_text("#falls").replace(",", ""))
    edge = steps["edges"][int(slider.input_value())]
    assert at == pytest.approx(edge, abs=5e-4) and falls == sum(value < edge for value in values) > 0
    page.wait_for_function(
        "at => document.querySelector('#wall h2').textContent.endsWith(at)", arg=f"{edge:.3f}"
    )
    nearest = page.inner_text("#wall .falls figure:first-child b")
    assert nearest == f"{max(value for value in values if value < edge):.3f}"
    assert page.locator(".histogram rect.under").count() > 0


def settled(lake) -> bool:
    """Wait for the server to write what it was told; this looks at its journal and writes nothing."""
    return Journal(Path(lake.uri) / "_verdicts.sqlite", lambda *_: "").settle(180)


def standing(lake) -> dict[str, tuple[str, str]]:
    rows = lake.read("verdicts").to_pylist() if "verdicts" in lake.tables() else []
    return {row["subject_id"]: (row["verdict"], row["person"]) for row in rows if row["active"]}


def judge(page, key: str) -> str:
    """Press a key and wait for another pair."""
    pair = page.get_attribute("#item [data-pair]", "data-pair")
    page.keyboard.press(key)
    page.wait_for_function(
        "was => document.querySelector('#item [data-pair]')?.dataset.pair !== was", arg=pair
    )
    page.wait_for_function("() => !document.querySelector('#item').classList.contains('busy')")
    return pair


def test_reviewing_ten_pairs_by_keyboard_and_undoing_one(page, serving, own_lake):
    page.goto(f"{serving(own_lake, writes=True)}/review")
    page.fill("#person", "ada")
    page.keyboard.press("Tab")
    page.wait_for_selector("#item [data-pair]")
    passed = judge(page, "s")
    keys = "arrararaar"
    judged = [(judge(page, key), {"a": "keep", "r": "drop"}[key]) for key in keys]
    assert len({pair for pair, _ in judged} | {passed}) == 11
    assert page.inner_text("#done") == "10"
    page.keyboard.press("u")
    page.wait_for_selector(f"#item [data-pair='{judged[-1][0]}']")
    assert page.inner_text("#done") == "9"

    assert settled(own_lake)
    assert standing(own_lake) == {pair: (verdict, "ada") for pair, verdict in judged[:9]}
    kept = {row["pair_id"]: row["kept"] for row in own_lake.read("pairs").to_pylist()}
    assert all(kept[pair] is (verdict == "keep") for pair, verdict in judged[:9])
    page.wait_for_function("() => document.querySelector('#waiting').textContent === '0'")


def test_two_people_review_while_another_run_writes_and_nothing_is_lost(chromium, serving, own_lake):
    where = f"{serving(own_lake, writes=True)}/review"
    people = {}
    for name in ("ada", "grace"):
        people[name] = chromium.new_context().new_page()
        people[name].goto(where)
        people[name].fill("#person", name)
        people[name].keyboard.press("Tab")
        people[name].wait_for_selector("#item [data-pair]")
    said = {}
    with own_lake.writer():  # another run is at work
        for key in "arar":
            for name, page in people.items():
                said[judge(page, key)] = ({"a": "keep", "r": "drop"}[key], name)
        people["ada"].wait_for_function(
            "() => document.querySelector('#trouble').textContent.includes('another run is writing')"
        )
        assert standing(own_lake) == {}
    assert len(said) == 8
    assert settled(own_lake)
    assert standing(own_lake) == said
    people["ada"].wait_for_function("() => document.querySelector('#trouble').hidden")
    for page in people.values():
        page.context.close()


def test_a_late_answer_shows_nobody_the_pair_of_another(page, serving, own_lake):
    """The page asks for a pair before it knows who looks at it; here that answer comes last."""
    held = []

    def late(route):
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/review/next*", late)
    page.goto(f"{serving(own_lake, writes=True)}/review")
    page.fill("#person", "ada")
    page.keyboard.press("Tab")
    pair = page.wait_for_selector("#item [data-pair]").get_attribute("data-pair")
    with page.expect_response(held[0].request.url):
        held[0].fulfill(status=200, content_type="text/html", body="<article data-pair='another'></article>")
    page.wait_for_timeout(200)
    assert page.get_attribute("#item [data-pair]", "data-pair") == pair != "another"


def test_comparing_versions_and_going_back(page, serving, own_lake):
    page.goto(f"{serving(own_lake, writes=True)}/versions")
    page.select_option("select[name=before]", "s000001")
    page.select_option("select[name=after]", "s000003")
    page.click("text=Compare")
    page.wait_for_url("**/versions/diff*")
    added = (
        own_lake.snapshot("s000003").row_counts["decisions"]
        - own_lake.snapshot("s000001").row_counts["decisions"]
    )
    assert f"+{added}" in page.inner_text(".difference:has(h2:text('decisions')) h2")
    assert page.locator(".difference figure").count() > 0

    page.goto(page.url.split("/versions")[0] + "/versions")
    page.locator("tr", has_text="the first").locator("text=Restore").click()
    assert "s000001" in page.inner_text("h1")
    assert own_lake.head().snapshot_id == "s000003"  # nothing is done before it is confirmed
    page.click("#confirm")
    page.wait_for_selector(".notice.good")
    assert own_lake.head().snapshot_id == "s000004"
    assert own_lake.head().versions == own_lake.snapshot("s000001").versions
    page.locator("tr", has_text="s000002").locator("input[name=name]").fill("studied")
    page.keyboard.press("Enter")
    page.wait_for_selector(".notice.good:has-text('studied')")
    assert own_lake.tags()["studied"] == "s000002"


def test_a_hostile_caption_does_nothing(page, serving, seen_lake):
    where = serving(seen_lake)
    text_id = seen_lake.read("texts", where="text LIKE '<script>%'")["text_id"][0].as_py()
    media_id = seen_lake.read("pairs", where=f"text_id = '{text_id}'")["media_id"][0].as_py()
    for path in (
        f"/item/{media_id}",
        f"/explore?like={media_id}",
        "/gallery",
        "/gallery?offset=48",
        "/correspondence?scorer=cosine",
    ):
        page.goto(where + path)
        assert page.evaluate("window.hurt") is None
    page.goto(f"{where}/item/{media_id}")
    assert HOSTILE in page.inner_text("main")
    page.goto(f"{where}/sql-box")
    page.fill("textarea", "SELECT digest, text FROM pairs WHERE text LIKE '<script>%'")
    page.click("#sql button")
    page.wait_for_selector("#grid td")
    assert HOSTILE in page.inner_text("#grid") and page.evaluate("window.hurt") is None
    page.fill("textarea", "SELEC")
    page.click("#sql button")
    page.wait_for_selector("#grid [role=alert]")
    page.wrong = [said for said in page.wrong if "400" not in said]  # the browser notes the refusal


@pytest.mark.parametrize("text", [AS_SQL, STACKED], ids=["SQL", "ten kilobytes of combining characters"])
def test_texts_that_break_other_pages_are_shown_as_texts(page, serving, seen_lake, text):
    where = serving(seen_lake)
    (text_id,) = [row["text_id"] for row in seen_lake.read("texts").to_pylist() if row["text"] == text]
    pair = seen_lake.read("pairs", where=f"text_id = '{text_id}' AND role = 'caption'").to_pylist()[0]
    before = seen_lake.tables()
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    for path in (f"/item/{pair['media_id']}", "/correspondence?scorer=cosine&threshold=0", "/gallery"):
        page.goto(where + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], path
    page.goto(f"{where}/item/{pair['media_id']}")
    assert text in page.evaluate("document.querySelector('main').textContent")
    page.goto(f"{where}/explore")
    page.fill("input[name=q]", text[:2000])
    page.keyboard.press("Enter")
    page.wait_for_selector("#results figure")
    assert seen_lake.tables() == before


def test_a_run_at_work_shows_up_and_goes_by_itself(page, serving, own_lake):
    page.goto(f"{serving(own_lake)}/runs")
    page.wait_for_selector("#live:has-text('No run is writing')")
    with running.board(own_lake, "20990101T000000-abcdef", "curate", "mine") as board:
        board.began("inspect media")
        page.wait_for_selector("#live [data-run='20990101T000000-abcdef']:has-text('inspect media')")
        board.progress("media", 0, 4)
        board.progress("media", 4, 4)
        page.wait_for_selector("#live:has-text('4 of 4 shards')")
        board.ended({"step": "inspect media", "wall_s": 12.5, "items": 96, "counts": {"empty-file": 1}})
        page.wait_for_selector("#live td:has-text('empty-file 1')")
    page.wait_for_selector("#live [data-run]", state="detached")


def test_both_kinds_of_pairs_stand_over_the_histogram(page, serving, seen_lake):
    page.goto(f"{serving(seen_lake)}/correspondence?scorer=cosine")
    for kind in ("wrong", "true"):
        line = page.locator(f"#threshold polyline.{kind}")
        heights = json.loads(line.get_attribute("data-heights"))
        tops = [float(at.split(",")[1]) for at in line.get_attribute("points").split()]
        assert tops.index(min(tops)) == heights.index(max(heights))  # the tallest bar is drawn highest
        assert page.evaluate("one => getComputedStyle(one).stroke", line.element_handle()) not in ("none", "")
    assert "wrong, about" in page.locator("#threshold .legend").inner_text()


def test_a_token_is_asked_for_once(page, serving, seen_lake):
    where = serving(seen_lake, token=TOKEN)
    page.goto(where)
    assert page.url == f"{where}/login"
    page.fill("input[name=given]", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{where}/")
    page.goto(f"{where}/gallery")
    assert page.locator("figure").count() == 48


def test_a_lasso_on_the_map_shows_what_it_takes_in(page, serving, own_lake):
    drawn = draw_map(own_lake.uri)
    assert (drawn.points, drawn.of) == (96, 96)
    page.goto(f"{serving(own_lake)}/map")
    page.wait_for_selector("#map[data-drawn]")
    box = page.locator("#map .nsewdrag").bounding_box()
    left, top, right, bottom = (
        box["x"] + 3,
        box["y"] + 3,
        box["x"] + box["width"] - 3,
        box["y"] + box["height"] - 3,
    )
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=5)
    page.mouse.up()
    page.wait_for_selector("#selected h2")
    shown = set(page.locator("#selected .ids").input_value().split())
    kept = {
        row["media_id"]
        for row in own_lake.read("media").to_pylist()
        if row["present"] and row["kept"] is not False
    }
    assert shown <= kept and len(shown) >= 90  # all but what lies on the very edge


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_pages_fit_the_screen_and_ask_nobody_else(page, serving, seen_lake, size):
    where = serving(seen_lake)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    for path in WIDE:
        page.goto(where + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], path
        assert page.evaluate("[...document.images].every(one => one.alt)"), path
    assert {url for url in page.asked if not url.startswith((where, "data:"))} == set()


def test_pictures_of_the_pages(chromium, serving, own_lake, tmp_path):
    folder = Path(os.environ.get("XMODAL_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    shown = own_lake
    if other := os.environ.get("XMODAL_SCREENSHOTS_LAKE"):
        shown = lakes.open(str(shutil.copytree(other, tmp_path / "shown")))
    where = serving(shown, writes=True)
    wanted = {
        "overview": ("/", DESK, "light"), "explore": ("/explore?q=a+red+flower", DESK, "light"),
        "correspondence": ("/correspondence", DESK, "light"), "review": ("/review", PHONE, "dark"),
        "runs": ("/runs", DESK, "light"),
        "versions": ("/versions/diff?before=s000001&after=s000002", DESK, "light"),
    }  # fmt: skip
    for name, (path, (width, height), scheme) in wanted.items():
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        page = context.new_page()
        page.add_init_script("localStorage.setItem('person', 'ada')")
        page.goto(where + path)
        page.wait_for_load_state("networkidle")
        time.sleep(0.3)  # charts draw themselves after that
        file = folder / f"dashboard-{name}.webp"
        Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(file, quality=80, method=6)
        assert file.stat().st_size < 150_000
        context.close()
