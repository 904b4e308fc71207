"""An S3-compatible server, and a wire to it that can be cut."""

import logging
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import boto3
import s3fs

from storage.lake import Lake
from tests.torture.world import free_port, kill_tree, until


class Wire:
    """Forwards TCP connections to a port of this machine until it is cut; then it breaks and refuses them."""

    def __init__(self, target: int) -> None:
        """Listen on a port of its own."""
        self._target = target
        self._door = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._door.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.is_cut = threading.Event()
        self.passed = 0  # pieces of requests so far
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self.is_cut.set()
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections through again."""
        self.is_cut.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            if self.is_cut.is_set():
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            for one, other, asks in ((near, far, 1), (far, near, 0)):
                threading.Thread(target=self._pump, args=(one, other, asks), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket, asks: int) -> None:
        with suppress(OSError):
            while (data := one.recv(1 << 16)) and not self.is_cut.is_set():
                self.passed += asks
                other.sendall(data)
        with self._lock:
            self._open -= {one, other}
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def stop(self) -> None:
        """Listen no more."""
        self.cut()
        self._door.close()


class ObjectStore:
    """A moto server in a process of its own, with one bucket, behind a wire."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        os.environ.update(
            AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing", AWS_DEFAULT_REGION="us-east-1"
        )
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        with (folder / "moto.log").open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                stdout=out,
                stderr=out,
            )
        self.direct = f"http://127.0.0.1:{port}"
        until(lambda: _answers(port), 120, 0.1)
        boto3.client("s3", endpoint_url=self.direct).create_bucket(Bucket="torture")
        self.wire = Wire(port)

    @property
    def env(self) -> dict[str, str]:
        """What a run needs to reach it, by the wire."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.wire.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
        }

    def lake(self, uri: str) -> Lake:
        """Open a lake there, not by the wire."""
        s3fs.S3FileSystem.clear_instance_cache()
        return Lake(
            uri,
            storage_options={
                "aws_access_key_id": "testing",
                "aws_secret_access_key": "testing",
                "aws_region": "us-east-1",
                "aws_endpoint": self.direct,
                "allow_http": "true",
            },
            fs_options={
                "key": "testing",
                "secret": "testing",
                "client_kwargs": {"endpoint_url": self.direct},
            },
        )

    def put(self, folder: Path, uri: str) -> None:
        """Copy a lake there."""
        self.lake(uri).place.fs.put(str(folder) + "/", uri.removeprefix("s3://") + "/", recursive=True)

    def stop(self) -> None:
        """End it."""
        self.wire.stop()
        kill_tree(self._process.pid)
        self._process.wait(30)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False
