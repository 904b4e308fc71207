"""What a run shows on the server: counts that add up, costs as recorded, and no failure where nobody listens."""

import json
import socket
import time

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.curate import curate
from storage import lake as lakes
from storage.places import Place
from tasks.run import Job, Ledger, Run
from tasks.show import COSTS, SUMMARY, show


def _newest(key: str) -> str:
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        return client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC, limit=1)[0].data


def test_a_summary_names_what_became_of_every_item(media_folder, recipe_of, lake_dir, prefect_server):
    (media_folder / "12.png").write_bytes(b"")
    (media_folder / "13.png").write_bytes((media_folder / "00.png").read_bytes())
    (media_folder / "13.txt").write_text("the same picture | in another place")
    made = curate(recipe_of(media_folder, pair_rules=[], tag="good"), lake=lake_dir)
    shown = _newest(SUMMARY)
    assert (
        "| items | 14 | 12 | 1 | 0 | 1 |" in shown
    )  # thirteen pictures, one of them twice, and an empty file
    assert "| items | quarantined | empty-file | 1 |" in shown
    assert f"| snapshot | {made.snapshot_id} |" in shown and "| tag | good |" in shown
    *steps, total = json.loads(_newest(COSTS))
    (run,) = lakes.open(lake_dir).runs()
    assert steps == json.loads(run["costs"])
    assert total["cpu_s"] == pytest.approx(sum(step["cpu_s"] for step in steps), abs=1e-2)

    curate(recipe_of(media_folder, pair_rules=[], tag="good"), lake=lake_dir)
    shown = _newest(SUMMARY)
    assert "nothing changed" in shown and "| listed | 14 |" in shown


def test_what_names_hold_stays_in_its_cell(recipe_of, tmp_path, lake_dir, prefect_server, media_folder):
    made = curate(recipe_of(media_folder, name="a | b\n<script>"), lake=lake_dir)
    assert made and "| recipe | a \\| b &lt;script> |" in _newest(SUMMARY)


def test_a_server_that_does_not_answer_costs_seconds_and_nothing_else(
    media_folder, recipe_of, lake_dir, prefect_server
):
    recipe = recipe_of(media_folder)
    made = curate(recipe, lake=lake_dir)
    job = Job(Run("one", recipe, Place(lake_dir), made, None), Ledger(), workers=None)

    @flow
    def told_to_nobody(api: str) -> float:
        began = time.monotonic()
        with temporary_settings({PREFECT_API_URL: api}):
            assert show(job, made) is made
        return time.monotonic() - began

    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert told_to_nobody(f"http://127.0.0.1:{silent.getsockname()[1]}/api") < 10
    assert told_to_nobody("http://127.0.0.1:9/api") < 10  # where nothing listens


def test_a_plain_call_starts_no_server(recipe_of, media_folder, lake_dir, prefect_server):
    made = curate(recipe_of(media_folder), lake=lake_dir)
    before = _newest(SUMMARY)
    job = Job(Run("two", recipe_of(media_folder), Place(lake_dir), None, None), Ledger(), workers=None)
    assert show(job, made) is made
    assert _newest(SUMMARY) == before
