"""A run without `PREFECT_API_URL` has a Prefect server of its own; when the run is killed, that must not live on."""

import subprocess
import sys

# Waits for the end of its input, which is the end of the run, and ends the server unless the run has done so.
_GUARD = """
import os, signal, sys
pid = int(sys.argv[1])
sys.stdin.buffer.read()
try:
    said = open(f"/proc/{pid}/cmdline", "rb").read()
except OSError:
    said = b""
if b"prefect.server.api.server" in said:
    os.kill(pid, signal.SIGTERM)
"""
_GUARDS: dict[int, "subprocess.Popen[bytes]"] = {}


def guard() -> None:
    """See to it that the server this process has started, if it has, ends with it, however it ends. Linux only."""
    module = sys.modules.get("prefect.server.api.server")
    servers = getattr(getattr(module, "SubprocessASGIServer", None), "_instances", {})
    for server in list(servers.values()):
        process = getattr(server, "server_process", None)
        if process is None or process.poll() is not None or process.pid in _GUARDS:
            continue
        command = [sys.executable, "-I", "-S", "-c", _GUARD, str(process.pid)]
        _GUARDS[process.pid] = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
