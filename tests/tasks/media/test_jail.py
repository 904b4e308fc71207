"""What a decoder may not do, tried for real in a process of its own: before the jail each works, inside none does."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.media import jail
from tasks.media.decoder import Decoder
from tests.hostile_media import encoded, scene

ROOT = Path(__file__).resolve().parents[3]

# Each is run before and after confinement; "before" shows that the trial itself works on this machine.
TRIALS = """
import json, os, resource, signal, socket, subprocess, sys, threading
from tasks.media import jail
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
kept = open(sys.argv[1] + "/kept", "wb")

def spawned():
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)

def written():
    with open(sys.argv[1] + "/new", "wb") as file:
        file.write(b"x")
    os.unlink(sys.argv[1] + "/new")

def thread():
    one = threading.Thread(target=int)
    one.start()
    one.join()

TRIALS = {
    "tcp": lambda: socket.create_connection(("127.0.0.1", port)).close(),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)),
    "unix": lambda: socket.socketpair(),
    "fork": spawned,
    "exec": lambda: subprocess.run(["true"], check=True),
    "signal": lambda: os.kill(os.getppid(), 0),
    "write": written,
    "append": lambda: os.close(os.open(sys.argv[1] + "/kept", os.O_WRONLY | os.O_APPEND)),
    "rename": lambda: os.rename(sys.argv[1] + "/kept", sys.argv[1] + "/kept"),
    "mkdir": lambda: (os.mkdir(sys.argv[1] + "/d"), os.rmdir(sys.argv[1] + "/d")),
    "chmod": lambda: os.chmod(sys.argv[1] + "/kept", 0o600),
    "memfd": lambda: os.close(os.memfd_create("x")),
    "limits": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "read": lambda: open(sys.argv[1] + "/kept", "rb").read(),
    "thread": thread,
    "own signal": lambda: os.kill(os.getpid(), 0),
    "memory": lambda: bytearray(64 << 20),
}

def tried():
    found = {}
    for name, trial in TRIALS.items():
        try:
            trial()
            found[name] = "done"
        except OSError as error:
            found[name] = type(error).__name__
        except ValueError:  # what setrlimit makes of EPERM
            found[name] = "PermissionError"
    return found

before = tried()
confined = jail.confine()
print(json.dumps([confined, before, tried()]))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """What each trial gave before and after confinement."""
    folder = tmp_path_factory.mktemp("jail")
    ran = subprocess.run(
        [sys.executable, "-c", TRIALS, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    confined, before, after = json.loads(ran.stdout)
    if not confined:
        pytest.skip("this kernel or machine has no seccomp filters")
    return before, after


USABLE = {"read", "thread", "own signal", "memory"}


def test_everything_tried_works_outside(outcomes):
    before, _ = outcomes
    assert set(before.values()) == {"done"}


def test_inside_nothing_leads_out_and_decoding_has_what_it_needs(outcomes):
    _, after = outcomes
    assert {name for name, result in after.items() if result == "done"} == USABLE
    assert {result for name, result in after.items() if name not in USABLE} == {"PermissionError"}


def test_an_unknown_machine_is_not_confined_and_says_so(monkeypatch):
    before = Path("/proc/self/status").read_text().partition("Seccomp:")[2][:4]
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    assert jail.confine() is False
    assert Path("/proc/self/status").read_text().partition("Seccomp:")[2][:4] == before


def test_the_decoder_is_confined_before_it_sees_a_byte(decoder: Decoder, outcomes) -> None:
    decoder.inspect(encoded(scene(), "PNG"), name="a.png")
    assert decoder.is_confined is True
    status = Path(f"/proc/{decoder.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status


def test_the_numbers_of_calls_are_those_of_the_kernels_headers():
    """Where the headers are installed; elsewhere the trials above stand alone."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no kernel headers here")
    lines = [line.split() for line in header.read_text().splitlines() if line.startswith("#define __NR_")]
    known = {name.removeprefix("__NR_"): int(number) for _, name, number in lines}
    ours = {name: number for table in jail.TABLES for name, (number, _) in table.items()}
    assert len(ours) > 80
    assert {name: number for name, number in ours.items() if name in known} == {
        name: known[name] for name in ours if name in known
    }
