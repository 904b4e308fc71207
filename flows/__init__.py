"""Order and place. Imports everything; nothing imports it.

Nothing phones home: both of Prefect's telemetry systems are off unless someone turned them on.
"""

import os

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault(
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180"
)  # 20 s is too short on a busy machine
