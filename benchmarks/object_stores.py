"""What an S3 server must do for a lake, asked of the servers that run on this machine.

python -m benchmarks.object_stores                       moto, and Ceph where it is installed
python -m benchmarks.object_stores http://host:9000      a server of yours (key and secret from AWS_*)
"""

import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError

from tests import stores

RIVALS, KEYS = 16, 40


def probe(client, bucket: str) -> dict[str, str]:  # noqa: ANN001 - boto3 makes its classes as it runs
    """Return {question: answer}."""

    def new(key: str, body: bytes, **how: str) -> bool:
        try:
            client.put_object(Bucket=bucket, Key=key, Body=body, **how)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise
        return True

    def body(key: str, **how: str) -> bytes:
        return client.get_object(Bucket=bucket, Key=key, **how)["Body"].read()

    def conditional() -> str:
        kept = new("c", b"1", IfNoneMatch="*") and not new("c", b"2", IfNoneMatch="*") and body("c") == b"1"
        return "honoured" if kept else "IGNORED"

    def rivals() -> str:
        with ThreadPoolExecutor(RIVALS) as pool:
            wins = []
            for n in range(KEYS):
                won = list(
                    pool.map(lambda who, n=n: new(f"r/{n}", b"%d" % who, IfNoneMatch="*"), range(RIVALS))
                )
                wins.append(sum(won) == 1 and body(f"r/{n}") == b"%d" % won.index(True))
        return f"{sum(wins)} of {KEYS} keys with one winner"

    def matched() -> str:
        tag = client.put_object(Bucket=bucket, Key="m", Body=b"1")["ETag"]
        return "honoured" if new("m", b"2", IfMatch=tag) and not new("m", b"3", IfMatch=tag) else "ignored"

    def parts() -> str:
        sent = os.urandom((5 << 20) + 7), os.urandom(1 << 20)
        upload = client.create_multipart_upload(Bucket=bucket, Key="p")["UploadId"]
        done = [
            {"PartNumber": n, "ETag": client.upload_part(
                Bucket=bucket, Key="p", UploadId=upload, PartNumber=n, Body=part)["ETag"]}
            for n, part in enumerate(sent, 1)
        ]  # fmt: skip
        client.complete_multipart_upload(
            Bucket=bucket, Key="p", UploadId=upload, MultipartUpload={"Parts": done}
        )
        whole = b"".join(sent)
        same = body("p") == whole and body("p", Range="bytes=5242880-5242890") == whole[5242880:5242891]
        return "yes, and ranges of it" if same else "NO"

    def listing() -> str:
        missing = 0
        pages = client.get_paginator("list_objects_v2")
        for n in range(300):
            client.put_object(Bucket=bucket, Key=f"l/{n:04d}", Body=b"")
            found = [
                o["Key"] for page in pages.paginate(Bucket=bucket, Prefix="l/") for o in page["Contents"]
            ]
            missing += found != [f"l/{k:04d}" for k in range(n + 1)]
        return f"{missing} of 300 listings behind"

    def deletes() -> str:
        doomed = [{"Key": f"l/{n:04d}"} for n in range(300)]
        failed = client.delete_objects(Bucket=bucket, Delete={"Objects": doomed}).get("Errors", [])
        left = client.list_objects_v2(Bucket=bucket, Prefix="l/").get("KeyCount", 0)
        return "yes" if not failed and not left else f"NO: {len(failed)} failed, {left} left"

    questions: dict[str, Callable[[], str]] = {
        "`If-None-Match: *`, one after another": conditional,
        f"`If-None-Match: *`, {RIVALS} at once": rivals,
        "`If-Match`": matched,
        "multi-part upload": parts,
        "a listing right after a write": listing,
        "bulk delete": deletes,
    }
    found = {}
    for question, ask in questions.items():
        try:
            found[question] = ask()
        except (ClientError, BotoCoreError, AssertionError) as error:
            found[question] = f"failed: {type(error).__name__}: {error}"[:90]
    return found


def main() -> None:
    """Print a table, a row a question."""
    answers = {}
    if len(sys.argv) > 1:
        import boto3

        client = boto3.client("s3", endpoint_url=sys.argv[1])
        client.create_bucket(Bucket="xmodal-probe")
        answers[sys.argv[1]] = probe(client, "xmodal-probe")
    else:
        with stores.moto() as store:
            answers["moto"] = probe(store.client(), store.bucket())
        if stores.has_ceph():
            folder = stores.scratch("ceph")
            with stores.ceph(folder) as store:
                answers["Ceph"] = probe(store.client(), store.bucket())
            shutil.rmtree(folder)
        else:
            print(stores.WITHOUT_CEPH)
    questions = next(iter(answers.values()))
    print("|", *(f"| {name} " for name in answers), "|", sep=" ")
    print("| --- " * (len(answers) + 1), "|", sep="")
    for question in questions:
        print(f"| {question} |", " | ".join(found[question] for found in answers.values()), "|")


if __name__ == "__main__":
    main()
