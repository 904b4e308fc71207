"""Own the decoder process: feed it, time it, kill it, and say which input was to blame."""

import hashlib
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgpack

from schemas.errors import BadInput, XmodalError
from schemas.items import Inspected
from schemas.recipes import InspectRecipe
from schemas.settings import DecodeLimits
from tasks import children
from tasks.media.local_bytes import LocalBytes

__all__ = ["Decoder", "LocalBytes"]

Request = bytes | LocalBytes

_IN_FLIGHT = 4  # enough that the child never waits for the pipe
_AHEAD_BYTES = 16 << 20  # further requests are held back while this much is queued
_START_TIMEOUT_S = 120.0
_MAX_ANSWER_BYTES = 64 << 20
_ROOT = str(Path(__file__).resolve().parents[2])


class Decoder:
    """Inspects media in one child process, which is started when first needed and replaced when it dies.

    The child has a bounded address space and, where the kernel can refuse them (`tasks.media.jail`), no network, no
    files to write and no other process; it ends when this process does. One thread at a time may use a `Decoder`.

    Args:
        recipe: Thumbnail size and quality.
        limits: Bytes, pixels, memory and seconds that one file may take.

    Example:
        >>> with Decoder(InspectRecipe(), DecodeLimits()) as decoder:
        ...     decoder.inspect(b"P6 1 1 255 abc", name="dot.ppm").width_px
        1
    """

    def __init__(self, recipe: InspectRecipe, limits: DecodeLimits) -> None:  # noqa: D107 - see the class
        self._limits = limits
        self._settings = {"recipe": recipe.model_dump(mode="json"), "limits": limits.model_dump(mode="json")}
        self._child: _Child | None = None
        self._busy = False

    def __enter__(self) -> Self:
        """Return the decoder; nothing is started yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """End the child."""
        self.close()

    def close(self) -> None:
        """End the child, if there is one. A later request starts another."""
        if self._child is not None:
            self._child.end()
            self._child = None

    @property
    def pid(self) -> int | None:
        """Process id of the running child; None before the first request and after a kill."""
        return self._child.pid if self._child is not None else None

    @property
    def is_confined(self) -> bool | None:
        """Whether the kernel refuses the running child network, writing and processes; None without a child."""
        return self._child.is_confined if self._child is not None else None

    def inspect(self, request: Request, *, name: str) -> Inspected:
        """Return what one medium's bytes say of themselves.

        Args:
            request: The bytes, or where the child finds them.
            name: What the medium is called; only its extension counts.

        Raises:
            BadInput: The medium cannot be taken.
            XmodalError: The child does not start at all.
        """
        (answer,) = self.inspect_many([(request, name)])
        if isinstance(answer, BadInput):
            raise answer
        return answer

    def inspect_many(
        self, requests: Iterable[tuple[Request, str]]
    ) -> Generator[Inspected | BadInput, None, None]:
        """Yield one answer a request, in order; a few requests are read ahead.

        A request that outlasts the time limit or kills the child is answered with a `BadInput`, and those
        behind it go to a new child. A kill from outside is not held against a request until it happens twice.

        Args:
            requests: Bytes (or where the child finds them) and names.

        Raises:
            XmodalError: The child does not start at all, or an earlier iteration is not finished.
        """
        if self._busy:
            raise XmodalError("this Decoder is amid another inspect_many; finish that or use a second one")
        self._busy = True
        source = iter(requests)
        queue: deque[_Job] = deque()
        try:
            while True:
                while len(queue) < _IN_FLIGHT and sum(job.size for job in queue) < _AHEAD_BYTES:
                    try:
                        queue.append(self._job(*next(source)))
                    except StopIteration:
                        break
                if not queue:
                    return
                yield self._answer(queue)
        finally:
            self._busy = False
            if queue:
                self._kill()  # its answers would be taken for those of the next requests

    def _job(self, request: Request, name: str) -> "_Job":
        fields: dict[str, Any] = {"name": name}
        if isinstance(request, LocalBytes):
            fields |= {"path": os.fsencode(request.path), "offset": request.offset, "size": request.size}
        elif len(request) > self._limits.max_bytes:
            message = f"{len(request)} bytes; the limit is {self._limits.max_bytes}"
            return _Job(request, b"", BadInput("too-many-bytes", message))
        else:
            fields["data"] = request
        return _Job(request, msgpack.packb(fields, unicode_errors="surrogateescape"))

    def _answer(self, queue: "deque[_Job]") -> Inspected | BadInput:
        """Return the answer to the first job and take it off the queue."""
        job = queue[0]
        answer = job.refused or self._asked(queue)
        queue.popleft()
        if isinstance(answer, BadInput) and answer.digest is None:
            answer.digest = job.digest(self._limits.max_bytes)
        return answer

    def _asked(self, queue: "deque[_Job]") -> Inspected | BadInput:
        """Return what the child says of the first job, or what its silence or death says."""
        job = queue[0]
        try:
            return _parsed(self._fed(queue).receive(self._limits.timeout_s))
        except _Late:
            self._kill()
            return BadInput("decode-timeout", f"decoding took longer than {self._limits.timeout_s:g} s")
        except _Died as death:
            self._kill()
            if death.from_outside and not job.killed_before:
                job.killed_before = True
                return self._asked(queue)
            return BadInput(death.reason, str(death), error_class="DecoderDied")
        except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
            self._kill()
            message = f"the decoder's answer makes no sense: {error}"
            return BadInput("decoder-crashed", message, error_class=type(error).__name__)

    def _fed(self, queue: "deque[_Job]") -> "_Child":
        """Return a running child that has been sent everything in the queue."""
        if self._child is not None and self._child.is_idle_and_dead():
            self._kill()
        if self._child is None:
            self._child = _Child(self._settings)
        for job in queue:
            if job.refused is None and job.sent_to is not self._child:
                self._child.send(job.frame)
                job.sent_to = self._child
        return self._child

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


@dataclass
class _Job:
    """A request on its way. `refused` is set for what need not be sent."""

    request: Request
    frame: bytes
    refused: BadInput | None = None
    sent_to: "_Child | None" = None
    killed_before: bool = False

    @property
    def size(self) -> int:
        return len(self.frame)

    def digest(self, max_bytes: int) -> str | None:
        """Return the digest of the bytes, None where they cannot be read."""
        try:
            data = self.request.read(max_bytes) if isinstance(self.request, LocalBytes) else self.request
        except BadInput:
            return None
        return hashlib.sha256(data).hexdigest()


class _Late(Exception):
    """No answer in time."""


class _Died(Exception):
    """The child's end of the pipe is closed."""

    def __init__(self, code: int | None, log: str) -> None:
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
        last = log.rpartition("\n")[2]
        super().__init__(f"the decoder process died ({how}){': ' if last else ''}{last}")
        self.from_outside = code in (-signal.SIGKILL, -signal.SIGTERM)
        if code == -signal.SIGALRM:
            self.reason = "decode-timeout"
        elif "memory allocation" in log or "MemoryError" in log or code == -signal.SIGKILL:
            self.reason = "decode-memory"  # killed twice by someone else: the system, for want of memory
        else:
            self.reason = "decoder-crashed"


class _Child:
    """A running decoder process and the bytes on their way to and from it.

    Neither pipe ever blocks us: a child that is stuck neither reads nor writes, and the clock must run on.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._outbox: deque[memoryview] = deque()
        self._inbox = bytearray()
        self._unanswered = 0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        theirs, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tasks.media.child", str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                bufsize=0,
                pass_fds=(theirs,),
                env=_environment(),
            )
        except OSError as error:
            os.close(self._lifeline)
            self._log.close()
            raise XmodalError(f"cannot start the decoder process: {error}") from error
        finally:
            os.close(theirs)
        children.began(self._process.pid)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        os.set_blocking(self._to.fileno(), False)
        os.set_blocking(self._from.fileno(), False)
        self.send(msgpack.packb(settings))
        try:
            self.is_confined = bool(msgpack.unpackb(self.receive(_START_TIMEOUT_S)).get("confined"))
        except (_Died, _Late) as error:
            self.kill()
            raise XmodalError(f"the decoder process does not start: {error or 'no sign of life'}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_idle_and_dead(self) -> bool:
        return self._unanswered == 0 and self._process.poll() is not None

    def send(self, body: bytes) -> None:
        self._outbox += [memoryview(struct.pack(">I", len(body))), memoryview(body)]
        self._unanswered += 1
        self._write()

    def receive(self, timeout_s: float) -> bytes:
        """Return the next answer. The clock starts anew while bytes still move towards the child.

        Raises:
            _Late: The child was silent for `timeout_s`.
            _Died: The child is gone.
        """
        deadline = time.monotonic() + timeout_s
        while (frame := self._frame()) is None:
            poll = select.poll()
            poll.register(self._from, select.POLLIN)
            if self._outbox:
                poll.register(self._to, select.POLLOUT)
            left_s = deadline - time.monotonic()
            ready = dict(poll.poll(max(0.0, left_s) * 1000))
            if not ready and left_s <= 0:
                raise _Late
            if self._to.fileno() in ready and self._write():
                deadline = time.monotonic() + timeout_s
            if self._from.fileno() in ready and not self._read():
                raise self._death()
        self._unanswered -= 1
        return frame

    def end(self) -> None:
        """Let the child leave by itself, or kill it."""
        if self._unanswered == 0:
            with suppress(OSError):
                self._to.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
        self.kill()

    def kill(self) -> None:
        """Kill the child and close everything; one that even SIGKILL does not end is left behind."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
            children.ended(self._process.pid)
        for stream in (self._to, self._from, self._log):
            with suppress(OSError):
                stream.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _write(self) -> bool:
        """Write what the pipe takes; say whether it took any."""
        moved = False
        while self._outbox:
            try:
                count = os.write(self._to.fileno(), self._outbox[0])
            except BlockingIOError:
                break
            except OSError:
                self._outbox.clear()  # it is dead: reading will say so
                break
            moved = True
            self._outbox[0] = self._outbox[0][count:]
            if not self._outbox[0]:
                self._outbox.popleft()
        return moved

    def _read(self) -> bool:
        """Read what there is; False at the end of the stream."""
        try:
            chunk = os.read(self._from.fileno(), 1 << 20)
        except BlockingIOError:
            return True
        self._inbox += chunk
        return bool(chunk)

    def _frame(self) -> bytes | None:
        if len(self._inbox) < 4:
            return None
        (size,) = struct.unpack_from(">I", self._inbox)
        if size > _MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of {size} bytes")
        if len(self._inbox) < 4 + size:
            return None
        frame = bytes(self._inbox[4 : 4 + size])
        del self._inbox[: 4 + size]
        return frame

    def _death(self) -> _Died:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 500))
        return _Died(self._process.returncode, self._log.read().decode("utf-8", "replace").strip())


def _parsed(frame: bytes) -> Inspected | BadInput:
    answer = msgpack.unpackb(frame, unicode_errors="surrogateescape")
    if "ok" in answer:
        return Inspected(**answer["ok"])
    reason, message, error_class, digest = answer["bad"]
    return BadInput(reason, message, error_class=error_class, digest=digest)


def _environment() -> dict[str, str]:
    """Return the child's whole environment: where to import from, and nothing that leads to a network."""
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if key in os.environ}
    paths = [_ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    # Pictures come and go: giving each one's pages back to the kernel costs 6 % of the time.
    kept |= {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
