"""The decoder process: reads requests, answers in order, and dies with its parent or on any hang."""

import fcntl
import os
import resource
import select
import signal
import struct
import sys
import warnings
from types import SimpleNamespace
from typing import Any, BinaryIO

import msgpack

from schemas.errors import BadInput
from tasks.media import jail
from tasks.media.inspect import facts
from tasks.media.local_bytes import LocalBytes

GRACE_S = 2.0  # the parent's clock kills first; ours is for a parent that is not looking


def main() -> None:
    """Serve until standard input ends. Frames are a big-endian length and a msgpack map."""
    _die_with_parent(int(sys.argv[1]))
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    warnings.simplefilter("ignore")
    settings = _receive(requests)
    if settings is None:
        return
    wanted, allowed = SimpleNamespace(**settings["recipe"]), SimpleNamespace(**settings["limits"])
    _bound(allowed.max_memory_bytes)
    _send(answers, {"pid": os.getpid(), "confined": jail.confine()})
    while (request := _receive(requests)) is not None:
        signal.setitimer(signal.ITIMER_REAL, allowed.timeout_s + GRACE_S)  # unhandled, it ends the process
        answer = _answer(request, wanted, allowed)
        signal.setitimer(signal.ITIMER_REAL, 0)
        del request
        _send(answers, answer)


def _answer(request: dict[str, Any], wanted: Any, allowed: Any) -> dict[str, Any]:
    try:
        data = request.get("data")
        if data is None:
            path = os.fsdecode(request["path"])
            data = LocalBytes(path, request["offset"], request["size"]).read(allowed.max_bytes)
        return {"ok": facts(data, name=request["name"], wanted=wanted, allowed=allowed)}
    except BadInput as error:
        return {"bad": (error.reason, error.message, error.error_class, error.digest)}
    except MemoryError:
        return {"bad": ("decode-memory", "the bytes alone exceed the memory limit", "MemoryError", None)}


def _receive(stream: BinaryIO) -> dict[str, Any] | None:
    head = stream.read(4)
    if len(head) < 4:
        return None
    (size,) = struct.unpack(">I", head)
    body = stream.read(size)
    if len(body) < size:
        return None
    frame: dict[str, Any] = msgpack.unpackb(body, unicode_errors="surrogateescape", max_bin_len=size)
    return frame


def _send(stream: BinaryIO, frame: dict[str, Any]) -> None:
    body = msgpack.packb(frame, unicode_errors="surrogateescape")
    stream.write(struct.pack(">I", len(body)) + body)
    stream.flush()


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel end this process when the last writer of a pipe is gone, even amid a hanging decode.

    PR_SET_PDEATHSIG would fire when the *thread* that started us ends, and Dask's threads come and go.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    if poll.poll(0):  # it went before we asked
        sys.exit(1)


def _bound(max_memory_bytes: int) -> None:
    """Bound what decoding may take beyond what the interpreter and the decoders hold already."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        held = int(statm.read().split()[0]) * resource.getpagesize()
    caps = {
        resource.RLIMIT_AS: held + max_memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_FSIZE: 1 << 20,
        resource.RLIMIT_NPROC: 0,
    }
    for limit, cap in caps.items():
        hard = resource.getrlimit(limit)[1]
        cap = cap if hard == resource.RLIM_INFINITY else min(cap, hard)
        resource.setrlimit(limit, (cap, cap))


if __name__ == "__main__":
    main()
