"""How many examples each parser is tried on: few and always the same in the suite, many and new ones in `make fuzz`."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

LONG = int(os.environ.get("XMODAL_FUZZ") or 0)


def budget(short: int) -> Callable[[Any], Any]:
    """Return the settings of a test: `short` examples in the suite, XMODAL_FUZZ of them where that is set."""
    return settings(
        max_examples=LONG or short,
        deadline=None,
        derandomize=not LONG,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
