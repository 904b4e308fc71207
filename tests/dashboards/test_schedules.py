"""What the pages tell of schedules is what a real Prefect server was told."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Crashed, Running, Scheduled

from dashboards.schedules import SUMMARY, Schedules
from dashboards.server import create

BROWSER = {"accept": "text/html"}


@flow
def planned(snapshot: str) -> None:
    create_markdown_artifact("what it did", key=SUMMARY, description=snapshot)


@pytest.fixture
def api(prefect_server) -> str:
    return str(PREFECT_API_URL.value())


@pytest.fixture
def deployed(api):
    """A deployment due every hour, with a run that ended well, one that crashed after it, one at work and one due."""
    name = f"hourly-{uuid.uuid4().hex[:8]}"
    soon = datetime.now(UTC) + timedelta(minutes=7)
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(planned)
        schedule = DeploymentScheduleCreate(
            schedule=IntervalSchedule(interval=timedelta(hours=1)), active=True
        )
        deployment = client.create_deployment(flow_id, name, schedules=[schedule])
        made = {}
        for state in (
            Completed(),
            Crashed(message="no memory <b>left</b>"),
            Running(),
            Scheduled(scheduled_time=soon),
        ):
            run = client.create_flow_run_from_deployment(deployment, parameters={"snapshot": "s1"})
            client.set_flow_run_state(run.id, state, force=True)
            made[state.name] = run
        yield name, made, soon
        for run in made.values():
            client.delete_flow_run(run.id)
        client.delete_deployment(deployment)


def test_last_next_and_running_are_those_of_the_server(api, deployed):
    name, made, soon = deployed
    told = Schedules(api).told()
    assert told.trouble == ""
    (one,) = [one for one in told.deployments if one.name == name]
    assert (one.flow, one.paused, one.has_schedule) == ("planned", False, True)
    assert (one.last.state, one.last.name) == ("Crashed", made["Crashed"].name)
    assert one.next.name == made["Scheduled"].name and abs(one.next.at - soon) < timedelta(seconds=1)
    assert made["Running"].name in {run.name for run in told.running}
    assert any(name in alert and "no memory <b>left</b>" in alert for alert in told.alerts)
    base = api.removesuffix("/api")
    assert one.last.url == f"{base}/runs/flow-run/{made['Crashed'].id}"


def test_the_pages_show_it_with_links_and_escaped(api, deployed, seen_lake):
    name, made, soon = deployed
    client = TestClient(create(seen_lake, schedules=Schedules(api)))
    found = client.get("/schedules", headers=BROWSER).text
    assert name in found and f"{soon:%Y-%m-%d %H:%M}" in found
    assert "no memory &lt;b&gt;left&lt;/b&gt;" in found and "<b>left" not in found
    live = client.get("/runs/live", headers=BROWSER | {"x-fragment": "1"}).text
    assert f"/runs/flow-run/{made['Running'].id}" in live and "<html" not in live
    assert 'data-live="/schedules"' in client.get("/", headers=BROWSER).text


def test_a_run_of_the_lake_is_found_again_by_the_summary_it_left(api):
    began = datetime.now(UTC)
    snapshot = f"s{uuid.uuid4().int % 10**6:06d}"
    planned(snapshot)
    ended = datetime.now(UTC)
    schedules = Schedules(api)
    url = schedules.run_of(snapshot, began, ended)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(uuid.UUID(url.rsplit("/", 1)[-1]))
    assert run.parameters == {"snapshot": snapshot}
    assert schedules.run_of("s999999", began, ended) == ""
    assert schedules.run_of(snapshot, began - timedelta(days=1), ended - timedelta(days=1)) == ""


def test_without_a_server_the_page_says_so(seen_lake):
    for api, said in (
        (None, "No Prefect server is configured"),
        ("http://127.0.0.1:9/api", "does not answer"),
    ):
        client = TestClient(create(seen_lake, schedules=Schedules(api)))
        for path in ("/schedules", "/runs/live"):
            answer = client.get(path, headers=BROWSER)
            assert answer.status_code == 200 and said in answer.text
    assert Schedules(None).page("runs") == ""
