"""Every entry of prefect.yaml leads to a flow, and its parameters fit: `prefect deploy` checks neither."""

from pathlib import Path

import pytest
import yaml
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import DeploymentEventTrigger
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.templating import apply_values

from flows.recipes import shipped
from schemas.recipes import CurationRecipe, load_recipe
from schemas.settings import Settings
from tests.documents import ROOT, blocks

FILE = Path(__file__).resolve().parents[2] / "prefect.yaml"
ENTRIES = {entry["name"]: entry for entry in yaml.safe_load(FILE.read_text())["deployments"]}
every_entry = pytest.mark.parametrize("name", ENTRIES)


@every_entry
def test_leads_to_a_flow_by_module(name):
    entrypoint = ENTRIES[name]["entrypoint"]
    assert "/" not in entrypoint and ".py" not in entrypoint
    assert isinstance(load_flow_from_entrypoint(entrypoint), Flow)


@every_entry
def test_parameters_fit_the_flow(name):
    flow = load_flow_from_entrypoint(ENTRIES[name]["entrypoint"])
    assert flow.validate_parameters(ENTRIES[name].get("parameters", {})) is not None


@every_entry
def test_two_runs_never_meet(name):
    limit = ENTRIES[name]["concurrency_limit"]
    assert limit["limit"] == 1
    assert ConcurrencyOptions(collision_strategy=limit["collision_strategy"])


@every_entry
def test_a_run_knows_the_lake_and_the_cluster_of_whoever_registered_it(name, monkeypatch, tmp_path):
    for variable, value in {"PWD": str(tmp_path), "XMODAL_LAKE": "s3://bucket/lake"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("XMODAL_DASK", raising=False)
    pool = apply_values(ENTRIES[name]["work_pool"], {})
    assert pool["job_variables"]["working_dir"] == str(tmp_path)
    for variable, value in pool["job_variables"]["env"].items():
        monkeypatch.setenv(variable, value)
    assert (Settings().lake, Settings().dask) == ("s3://bucket/lake", None)


def test_every_flow_that_takes_over_by_itself_is_scheduled():
    entrypoints = {entry["entrypoint"] for entry in ENTRIES.values()}
    assert entrypoints >= {"flows.curate:curate", "flows.refresh:refresh", "flows.maintain:maintain"}


@every_entry
def test_schedules_are_cron_expressions(name):
    assert ENTRIES[name].get("schedules") or ENTRIES[name]["triggers"]
    for schedule in ENTRIES[name].get("schedules", ()):
        active = schedule["active"]
        made = DeploymentScheduleCreate(
            schedule=CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"]), active=active
        )
        assert made.active is active


def test_a_parameter_that_does_not_fit_is_noticed():
    curate = load_flow_from_entrypoint("flows.curate:curate")
    with pytest.raises(Exception, match="sources"):
        curate.validate_parameters({"recipe": {"name": "no sources"}})


@pytest.mark.parametrize("name", ["nightly", "hourly"])
def test_the_recipe_is_the_one_that_ships(name):
    assert CurationRecipe.model_validate(ENTRIES[name]["parameters"]["recipe"]) == load_recipe(
        shipped()["demo"]
    )


@pytest.mark.parametrize("name", ["nightly", "hourly"])
def test_nothing_is_curated_unasked(name):
    assert [schedule["active"] for schedule in ENTRIES[name]["schedules"]] == [False]


def test_what_follows_a_curation_takes_the_three_lines_that_the_document_shows():
    (shown,) = [b for b in blocks(ROOT / "docs" / "operations.md") if "*after_a_curation" in b.code]
    entry = yaml.safe_load(FILE.read_text() + shown.code)["deployments"][-1]
    assert len(shown.code.splitlines()) == 3
    assert isinstance(load_flow_from_entrypoint(entry["entrypoint"]), Flow)
    assert entry["concurrency_limit"]["limit"] == 1 and entry["work_pool"] == ENTRIES["nightly"]["work_pool"]
    (trigger,) = entry["triggers"]
    made = DeploymentEventTrigger.model_validate(trigger | {"enabled": True})
    assert made.expect == {"prefect.flow-run.Completed"}
    assert made.match_related.root["prefect.resource.name"] == "curate"
