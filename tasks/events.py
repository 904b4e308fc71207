"""Say on the Prefect server that something happened, for whoever is to be told of it."""

import logging
from typing import Any

from prefect.events import emit_event

GATE_FAILED = "xmodal.gate.failed"
_log = logging.getLogger("xmodal.events")


def emit(event: str, *, lake: str, payload: dict[str, Any]) -> bool:
    """Emit an event about a lake and return whether it was handed over. A run never fails for it.

    Args:
        event: Its name, such as `GATE_FAILED`.
        lake: URI of the lake.
        payload: Facts that a notification quotes; what JSON can hold. `message` is the line a person reads.
    """
    resource = {"prefect.resource.id": f"xmodal.lake.{lake}", "prefect.resource.name": lake}
    try:
        return emit_event(event, resource=resource, payload=payload) is not None
    except Exception as error:  # whatever a server that is not there leads to
        _log.warning("%s could not be told: %s", event, error)
        return False
