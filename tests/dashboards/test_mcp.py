"""The tools as a client of the protocol sees them: a process of its own, talked to over its standard input and output."""

import asyncio
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from mcp import ClientSession, StdioServerParameters, stdio_client

from dashboards.server import create
from flows.curate import curate
from storage import lake as lakes
from tasks.search import search
from tests.conftest import write_picture

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lake(tmp_path_factory, recipe_of, prefect_server):
    home = tmp_path_factory.mktemp("told")
    for seed, caption in enumerate(("a kettle on the stove", "two boats at sea", "an old church tower")):
        write_picture(home / "media" / f"{seed}.png", seed).with_suffix(".txt").write_text(caption)
    encoder = {"name": "hashing", "params": {"dim": 64}}
    curate(recipe_of(home / "media", encoder=encoder, pair_rules=[]), lake=str(home / "lake"))
    return lakes.open(str(home / "lake"))


def _call(lake: str, *calls: tuple[str, dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Start the command, list its tools, call some, and end it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XMODAL_LAKE": lake}
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "flows.cli.app", "mcp"], env=environment
    )

    async def talk() -> tuple[list[Any], list[Any]]:
        async with stdio_client(command) as (reads, writes), ClientSession(reads, writes) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            return tools, [await session.call_tool(name, arguments) for name, arguments in calls]

    with ThreadPoolExecutor(1) as own:  # a browser of another test may keep this thread's loop
        return own.submit(lambda: asyncio.run(asyncio.wait_for(talk(), 120))).result()


def test_a_model_searches_and_reads_and_can_do_nothing_else(lake):
    statement = "SELECT text FROM texts ORDER BY text"
    tools, answers = _call(
        lake.uri,
        ("search", {"text": "boats at sea", "k": 2}),
        ("search", {"text": "church", "where": "width_px > 100000"}),
        ("search", {"text": "church", "k": 1, "at": lake.head().snapshot_id}),
        ("sql", {"statement": statement}),
        ("sql", {"statement": statement, "rows": 1}),
        ("sql", {"statement": "COPY media TO '/tmp/x.csv'"}),
        ("sql", {"statement": "SELECT * FROM read_text('/etc/passwd')"}),
        ("sql", {"statement": "SELECT nothing FROM nowhere"}),
        ("sql", {"statement": statement, "rows": 100_001}),
        ("search", {"text": "church", "k": 1001}),
        ("search", {"text": "church", "at": "s999999"}),
    )
    assert {tool.name: tool.annotations.read_only_hint for tool in tools} == {"search": True, "sql": True}
    assert [answer.is_error for answer in answers] == [False] * 5 + [True] * 6
    said = [answer.content[0].text for answer in answers]

    door = TestClient(create(lake))
    over_http = door.post("/search", json={"text": "boats at sea", "k": 2}).json()
    assert json.loads(said[0]) == over_http
    expected = search(lake, "boats at sea", k=2).hits
    assert [hit["media_id"] for hit in over_http["hits"]] == [hit.media_id for hit in expected]
    assert json.loads(said[1])["hits"] == []
    assert (
        json.loads(said[2])["snapshot"] == lake.head().snapshot_id and len(json.loads(said[2])["hits"]) == 1
    )
    assert json.loads(said[3]) == door.post("/sql", json={"statement": statement}).json()
    assert [row["text"] for row in json.loads(said[3])["rows"]] == [
        "a kettle on the stove", "an old church tower", "two boats at sea",
    ]  # fmt: skip
    assert json.loads(said[4])["truncated"] and len(json.loads(said[4])["rows"]) == 1
    for text, reason in zip(
        said[5:],
        ("SqlRefused", "SqlRefused", "no table is called 'nowhere'", "rows: ", "k: ", "NoSuchSnapshot"),
        strict=True,
    ):
        assert reason in text and "Traceback" not in text
