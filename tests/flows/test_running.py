"""A run says what it does while it does it: what was looked at then is what it recorded in the end."""

import json

import pytest

from flows.curate import curate
from flows.runners import report_progress
from storage import lake as lakes
from storage import running

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_curation_at_work_is_seen_with_the_steps_it_has_done(media_folder, recipe_of, lake_dir):
    lake, seen = lakes.open(lake_dir), []
    token = report_progress.set(lambda label, done, total: seen.extend(running.running(lake)))
    try:
        curate(recipe_of(media_folder), lake=lake_dir)
    finally:
        report_progress.reset(token)
    (row,) = lake.runs()
    recorded = [(cost["step"], cost["items"]) for cost in json.loads(row["costs"])]
    assert seen and {(run.run_id, run.flow, run.recipe) for run in seen} == {
        (row["run_id"], "curate", "test")
    }
    for run in seen:
        done = [(step["step"], step["items"]) for step in run.steps]
        assert done == recorded[: len(done)] and run.step == recorded[len(done)][0]
    assert any(run.total and run.label for run in seen) and seen[-1].steps
    assert running.running(lake) == []
