"""Several hosts on one machine: network namespaces on a bridge. Needs root and Debian's iproute2."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

WITHOUT_HOSTS = "network namespaces need root and `ip netns` (Debian: iproute2)"


@dataclass(frozen=True)
class Host:
    """A host with an address of its own.

    Args:
        name: Its namespace.
        address: Its address.
        link: Our end of its cable.
    """

    name: str
    address: str
    link: str

    def start(self, *command: str, env: dict[str, str], log: str) -> subprocess.Popen[bytes]:
        """Run a program there."""
        with open(log, "wb") as out:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command], env=env, stdout=out, stderr=out
            )

    def unplug(self) -> None:
        """Pull the cable: nothing is refused, nothing arrives."""
        _ip("link", "set", self.link, "down")

    def plug(self) -> None:
        """Put the cable back."""
        _ip("link", "set", self.link, "up")


def has_hosts() -> bool:
    """Whether namespaces can be made here."""
    name = f"xm-{uuid.uuid4().hex[:6]}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "delete", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@contextmanager
def hosts(count: int) -> Iterator[tuple[str, list[Host]]]:
    """Make hosts that reach each other and us; yield our address and theirs."""
    mark, net = uuid.uuid4().hex[:5], f"10.231.{os.getpid() % 250}"
    bridge, made = f"xmb{mark}", []
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("addr", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for n in range(count):
            host = Host(f"xm{mark}-{n}", f"{net}.{n + 2}", f"xmv{mark}{n}")
            _ip("netns", "add", host.name)
            made.append(host)
            _ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("link", "set", host.link, "master", bridge, "up")
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", host.name, "link", "set", device, "up")
        yield f"{net}.1", made
    finally:
        for host in made:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", host.name)
        with suppress(subprocess.CalledProcessError):
            _ip("link", "delete", bridge)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
