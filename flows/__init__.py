"""Order and place. Imports everything; nothing imports it.

Nothing phones home: both of Prefect's telemetry systems are off unless someone turned them on.

Each kind of setting must stand before what it is for is imported.
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
# So does the system's, with up to eight heaps a core: few heaps, and large blocks go back to the system when they are freed.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
with suppress(OSError, AttributeError):  # another C library has no such settings
    _mallopt = ctypes.CDLL(None).mallopt
    _mallopt(_M_ARENA_MAX, max(2, (os.cpu_count() or 1) // 4))
    _mallopt(_M_MMAP_THRESHOLD, 256 << 10)
    _mallopt(_M_TRIM_THRESHOLD, 4 << 20)
