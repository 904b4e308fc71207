"""Order and place. Imports everything; nothing imports it.

Nothing phones home: both of Prefect's telemetry systems are off unless someone turned them on.

Both kinds of setting must stand before what they are for is imported.
"""

import ctypes
import os
from contextlib import suppress

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault(
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180"
)  # 20 s is too short on a busy machine
# Arrow's own allocator keeps what was freed: 200 MB after some 8,000 rows that never took more than 3 MB at once.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
# The C library keeps what was freed apart for each of up to eight threads a core: 150 MB after scans of a million rows.
_M_ARENA_MAX = -8
with suppress(OSError, AttributeError):  # where there is another C library
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, max(2, len(os.sched_getaffinity(0))))
