"""Every entry of prefect.yaml leads to a flow, and its parameters fit: `prefect deploy` checks neither."""

from pathlib import Path

import pytest
import yaml
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import Flow, load_flow_from_entrypoint

from flows.recipes import shipped
from schemas.recipes import CurationRecipe, load_recipe

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
    assert flow.validate_parameters(ENTRIES[name]["parameters"])


@every_entry
def test_two_runs_never_meet(name):
    assert ENTRIES[name]["concurrency_limit"] == 1


@every_entry
def test_schedules_are_cron_expressions(name):
    for schedule in ENTRIES[name]["schedules"]:
        active = schedule["active"]
        made = DeploymentScheduleCreate(
            schedule=CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"]), active=active
        )
        assert made.active is active


def test_a_parameter_that_does_not_fit_is_noticed():
    curate = load_flow_from_entrypoint("flows.curate:curate")
    with pytest.raises(Exception, match="sources"):
        curate.validate_parameters({"recipe": {"name": "no sources"}})


def test_the_nightly_recipe_is_the_one_that_ships():
    assert CurationRecipe.model_validate(ENTRIES["nightly"]["parameters"]["recipe"]) == load_recipe(
        shipped()["demo"]
    )


def test_nothing_is_curated_unasked():
    assert [schedule["active"] for schedule in ENTRIES["nightly"]["schedules"]] == [False]
