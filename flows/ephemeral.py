"""A run without `PREFECT_API_URL` has a Prefect server of its own; when the run is killed, that must not live on."""

import atexit
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

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

# Serves what Prefect itself would start, on a socket that listens already, until the end of its input.
_SERVER = """
import os, signal, socket, sys, threading
listening, told = map(int, sys.argv[1:])

def end_with_the_run():
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=end_with_the_run, daemon=True).start()
import uvicorn

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        os.write(told, b"!")

config = uvicorn.Config("prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on")
Server(config).run(sockets=[socket.socket(fileno=listening)])
"""
_AS_PREFECT_DOES = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
_SAYS_WHERE = (
    "PREFECT_API_URL",
    "PREFECT_PROFILE",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE",
    "PREFECT_SERVER_EPHEMERAL_ENABLED",
)
_LAST_WAIT_S = 5
_BEGUN: list["subprocess.Popen[bytes]"] = []


def ahead() -> None:
    """Begin the server that a run would bring up for itself now, while what the run needs is still being imported.

    It takes three seconds, and eight the first time, when its database is made: beside imports, that is up to four seconds
    that nobody waits for. What is asked before it answers waits in the socket. Nothing happens where Prefect is told
    where a server is, or anything else by a file, and where it is imported already.
    """
    if "prefect" in sys.modules or _is_told():
        return
    has_started, told = os.pipe()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        server = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(listening.fileno()), str(told)],
            env=os.environ | _AS_PREFECT_DOES,
            stdin=subprocess.PIPE,
            pass_fds=(listening.fileno(), told),
            start_new_session=True,  # an interrupt is for the run, which has then something to tell the server
        )
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
    os.close(told)
    os.set_blocking(has_started, False)
    _BEGUN.append(server)
    atexit.register(_end, server, has_started)


def has_ended() -> bool:
    """Whether the server that was begun ahead is no more, while the run goes on."""
    return any(server.poll() is not None for server in _BEGUN)


def _is_told() -> bool:
    """Whether Prefect has settings that may name a server; its own look at them takes a second to import."""
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser()
    if any(os.environ.get(name) for name in _SAYS_WHERE):
        return True
    if profiles.exists() or Path("prefect.toml").exists():
        return True
    for path, sign in ((Path(".env"), "PREFECT_"), (Path("pyproject.toml"), "[tool.prefect")):
        with suppress(OSError, UnicodeDecodeError):
            if sign in path.read_text(encoding="utf-8"):
                return True
    return False


def _end(server: "subprocess.Popen[bytes]", has_started: int) -> None:
    """End it with the run: what tells Prefect of the run's end was told before, as this was registered first."""
    assert server.stdin is not None
    server.stdin.close()
    try:
        if not os.read(has_started, 1):
            return  # it ended before
    except BlockingIOError:
        return  # it has answered nobody yet: it makes its database in peace, and ends then
    try:
        server.wait(_LAST_WAIT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


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
