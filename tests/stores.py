"""Object stores on loopback: moto, which is always there, and a small Ceph, where its programs are installed.

apt-get install --no-install-recommends ceph-mon ceph-osd ceph-common radosgw
"""

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3

from storage.lake import Lake

KEY = "testing"  # access key and secret
PROGRAMS = (
    "ceph-mon",
    "ceph-osd",
    "ceph",
    "radosgw",
    "radosgw-admin",
    "ceph-authtool",
    "monmaptool",
)
WITHOUT_CEPH = (
    "Ceph is not installed: apt-get install --no-install-recommends ceph-mon ceph-osd ceph-common radosgw"
)


@dataclass(frozen=True)
class Store:
    """An S3 endpoint with buckets for whoever has `KEY`."""

    name: str
    endpoint: str

    def bucket(self) -> str:
        """Make a bucket and return its name."""
        name = f"bucket-{uuid.uuid4().hex[:8]}"
        self.client().create_bucket(Bucket=name)
        return name

    def client(self, endpoint: str | None = None):  # noqa: ANN201 - boto3 makes its classes as it runs
        """Return a boto3 client."""
        return boto3.client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=KEY,
            region_name="us-east-1",
        )

    def lake(self, uri: str, *, endpoint: str | None = None, **options: object) -> Lake:
        """Open a lake in it, through another endpoint if told."""
        where = endpoint or self.endpoint
        return Lake(
            uri,
            storage_options={
                "aws_access_key_id": KEY,
                "aws_secret_access_key": KEY,
                "aws_region": "us-east-1",
                "aws_endpoint": where,
                "allow_http": "true",
            },
            fs_options={"key": KEY, "secret": KEY, "client_kwargs": {"endpoint_url": where}},
            **options,
        )

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """Return what a user sets to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }


@contextlib.contextmanager
def moto(host: str = "127.0.0.1") -> Iterator[Store]:
    """Run moto in this process. Its buckets outlive it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=host, port=free_port(), verbose=False)
    server.start()
    try:
        yield Store("moto", f"http://{host}:{server._port}")
    finally:
        server.stop()


def has_ceph() -> bool:
    """Whether Ceph's programs are there."""
    return all(shutil.which(program) for program in PROGRAMS)


_CONF = """[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {folder}
admin socket = {folder}/$name.$pid.asok
log file = {folder}/$name.log
pid file = {folder}/$name.pid
keyring = {folder}/keyring
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
osd pool default pg num = 4
osd pool default pgp num = 4
rgw rados pool pg num min = 4
mon max pg per osd = 1000
mon data avail crit = 1
osd class default list = *
osd class load list = *
"""


@contextlib.contextmanager
def ceph(folder: Path) -> Iterator[Store]:
    """Run a Ceph cluster of one monitor, one store (in memory, not replicated) and one S3 gateway.

    Args:
        folder: Its configuration and logs. Sockets lie in it, so its path must be short.
    """
    conf, fsid, osd = folder / "ceph.conf", uuid.uuid4(), uuid.uuid4()
    port = free_port()
    conf.write_text(_CONF.format(folder=folder, fsid=fsid, port=free_port()))
    for name in ("osd", "rgw"):
        (folder / name).mkdir()
    mon = conf.read_text().split("mon host = ")[1].split("\n")[0]

    def run(command: str) -> None:
        done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")

    for who, rights in (
        ("mon.", ("--cap", "mon", "allow *")),
        ("client.admin", ("--cap", "mon", "allow *", "--cap", "osd", "allow *")),
        ("osd.0", ("--cap", "mon", "allow profile osd", "--cap", "osd", "allow *")),
    ):
        new = () if (folder / "keyring").exists() else ("--create-keyring",)
        subprocess.run(
            ["ceph-authtool", "keyring", *new, "-g", "-n", who, *rights],
            cwd=folder,
            check=True,
            capture_output=True,
        )
    run(f"monmaptool --create --fsid {fsid} --addv a [{mon}] monmap")
    run("ceph-mon -c ceph.conf -i a --mkfs --monmap monmap --keyring keyring")
    daemons: list[subprocess.Popen[bytes]] = []

    def start(command: str, *further: str) -> None:
        out = (folder / f"out-{len(daemons)}").open("wb")
        daemons.append(
            subprocess.Popen([*command.split(), *further, "-f"], cwd=folder, stdout=out, stderr=out)
        )

    try:
        start("ceph-mon -c ceph.conf -i a")
        run(f"ceph -c ceph.conf --connect-timeout 60 osd new {osd}")
        run(f"ceph-osd -c ceph.conf -i 0 --mkfs --osd-uuid {osd}")
        start("ceph-osd -c ceph.conf -i 0")
        run(
            "radosgw-admin -c ceph.conf user create --uid xmodal --display-name xmodal "
            f"--access-key {KEY} --secret-key {KEY}"
        )
        frontend = f"beast endpoint=127.0.0.1:{port}"
        start("radosgw -c ceph.conf --name client.admin --rgw-frontends", frontend)
        store = Store("ceph", f"http://127.0.0.1:{port}")
        until(lambda: answers(store.endpoint))
        yield store
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGKILL)
            daemon.wait(30)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(endpoint: str) -> bool:
    """Whether something speaks HTTP there."""
    try:
        with urllib.request.urlopen(endpoint, timeout=5):
            return True
    except OSError:
        return False


def until(happened: Callable[[], object], timeout_s: float = 120) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def scratch(name: str) -> Path:
    """Return a new folder with a short path, for sockets."""
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"xm-{name}-{uuid.uuid4().hex[:6]}"
    folder.mkdir()
    return folder
