"""The lake: versioned tables, staged shards, media bytes. No models, no orchestration."""

import os

os.environ.setdefault("LANCE_LOG", "error")  # Lance warns whenever a table is made
