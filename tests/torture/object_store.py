"""An S3-compatible server behind a wire that can be cut."""

import logging
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import boto3
import s3fs

from storage.lake import Lake
from tests.torture.world import free_port, kill_tree, until
from tests.wire import Wire


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
        self.wire = Wire(("127.0.0.1", port))

    @property
    def env(self) -> dict[str, str]:
        """What a run needs to reach it, by the wire."""
        return {
            "AWS_ENDPOINT_URL": self.wire.endpoint,
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
        self.wire.close()
        kill_tree(self._process.pid)
        self._process.wait(30)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False
