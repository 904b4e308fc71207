"""Who is told when something fails: automations of the Prefect server that post to webhooks."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import httpx
from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from schemas.digests import key
from schemas.errors import ServiceError
from tasks.events import GATE_FAILED

Occasion = Literal["failed-run", "failed-gate"]
PREFIX = "xmodal-"  # of our automations and blocks, among others'

_TRIGGERS: dict[str, tuple[set[str], str]] = {
    "failed-run": ({"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}, "prefect.flow-run.*"),
    "failed-gate": ({GATE_FAILED}, "xmodal.lake.*"),
}
# `text` is what chat programs show.
_PAYLOADS: dict[str, str] = {
    "failed-run": """{
  "text": {{ ("Run " ~ flow_run.name ~ " of " ~ flow.name ~ ": " ~ flow_run.state.name ~ ". "
              ~ flow_run.state.message) | tojson }},
  "occasion": "failed-run", "flow": {{ flow.name | tojson }}, "run": {{ flow_run.name | tojson }},
  "run_id": {{ (flow_run.id ~ "") | tojson }}, "state": {{ flow_run.state.name | tojson }},
  "message": {{ flow_run.state.message | default("", true) | tojson }}
}""",
    "failed-gate": """{
  "text": {{ event.payload.message | default("A quality gate has failed.", true) | tojson }},
  "occasion": "failed-gate", "lake": {{ event.resource["prefect.resource.name"] | default("", true) | tojson }},
  "facts": {{ event.payload | tojson }}
}""",
}


@dataclass(frozen=True)
class Notice:
    """Whom to tell of what.

    Args:
        name: Of the automation and its block.
        occasion: What it waits for.
        enabled: Whether it is on.
    """

    name: str
    occasion: str
    enabled: bool


def add(webhook: str, on: Occasion) -> Notice:
    """Have a webhook told. The same one again changes nothing.

    Args:
        webhook: Address that takes a POST of JSON; kept on the server as a secret.
        on: Of what.

    Raises:
        ServiceError: It is no http(s) address, or the Prefect server cannot be reached.
    """
    if urlsplit(webhook).scheme not in ("http", "https") or not urlsplit(webhook).hostname:
        raise ServiceError(f"{webhook!r} is no http(s) address")
    name = f"{PREFIX}{on}-{key(webhook)[:8]}"
    events, of = _TRIGGERS[on]
    try:
        block = Webhook(url=webhook, headers={"Content-Type": "application/json"})  # type: ignore[arg-type]
        block_id = block.save(name, overwrite=True)
        trigger = EventTrigger(
            expect=events, match={"prefect.resource.id": of}, posture=Posture.Reactive, threshold=1, within=0
        )  # type: ignore[arg-type, call-arg]
        wanted = Automation(
            name=name,
            description=f"Tells {urlsplit(webhook).hostname} of each {on.replace('-', ' ')}.",
            trigger=trigger,
            actions=[CallWebhook(block_document_id=block_id, payload=_PAYLOADS[on])],
        )
        _forget(name)
        wanted.create()
    except httpx.HTTPError as error:
        raise ServiceError(f"the Prefect server does not take it: {error}") from error
    return Notice(name, on, True)


def known() -> list[Notice]:
    """Return the notices of the server, sorted by name.

    Raises:
        ServiceError: The Prefect server cannot be reached.
    """
    try:
        with get_client(sync_client=True) as client:
            found = client.read_automations()
    except httpx.HTTPError as error:
        raise ServiceError(f"the Prefect server does not answer: {error}") from error
    return sorted(
        (
            Notice(one.name, one.name.removeprefix(PREFIX).rsplit("-", 1)[0], one.enabled)
            for one in found
            if one.name.startswith(PREFIX)
        ),
        key=lambda notice: notice.name,
    )


def remove(name: str) -> None:
    """Tell a webhook no more, and forget its address.

    Raises:
        ServiceError: There is no such notice, or the Prefect server cannot be reached.
    """
    names = [notice.name for notice in known()]
    if name not in names:
        raise ServiceError(f"no notice is called {name!r}; those are {', '.join(names) or 'none'}")
    try:
        _forget(name)
        with get_client(sync_client=True) as client:
            block = client.read_block_document_by_name(name, block_type_slug="webhook")
            client.delete_block_document(block.id)
    except ObjectNotFound:
        return
    except httpx.HTTPError as error:
        raise ServiceError(f"the Prefect server does not answer: {error}") from error


def _forget(name: str) -> None:
    with get_client(sync_client=True) as client:
        for one in client.read_automations_by_name(name):
            client.delete_automation(one.id)
