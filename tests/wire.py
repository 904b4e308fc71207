"""A wire to an HTTP server that notes what passes and can be cut: a TCP proxy."""

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

_LINE = re.compile(rb"(GET|PUT|HEAD|POST|DELETE) (\S+) HTTP/1\.1\r\n")


class Wire:
    """Forwards connections to a server, byte by byte.

    Args:
        target: Host and port of the server.
        host: Address to listen on.
    """

    def __init__(self, target: tuple[str, int], host: str = "127.0.0.1") -> None:
        self.requests: list[str] = []  # "PUT /bucket/key", in order
        self.passed = 0  # pieces of requests so far
        self.is_down = threading.Event()
        self._target = target
        self._cut: tuple[re.Pattern[str], bool, bool] | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._socket = socket.create_server((host, 0))
        self.endpoint = f"http://{host}:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_at(self, pattern: str, *, answered: bool, stays: bool) -> None:
        """Cut at the first request that matches.

        Args:
            pattern: A regular expression over "PUT /bucket/key".
            answered: The request reaches the server, and its answer is lost; else the request is lost.
            stays: No connection is accepted from then on, until `mend`; else only the open ones are cut.
        """
        self._cut = re.compile(pattern), answered, stays

    def cut(self) -> None:
        """Cut now: open connections break and none is accepted, until `mend`."""
        self.is_down.set()
        self._hang_up()

    def mend(self) -> None:
        """Accept connections again."""
        self._cut = None
        self.is_down.clear()

    @property
    def was_cut(self) -> bool:
        """Whether the request came that it was to be cut at."""
        return self._cut is None

    def close(self) -> None:
        """Stop."""
        self.cut()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._socket.accept()
            except OSError:
                return
            if self.is_down.is_set():
                ours.close()
                continue
            threading.Thread(target=self._serve, args=(ours,), daemon=True).start()

    def _serve(self, ours: socket.socket) -> None:
        with ours, suppress(OSError), socket.create_connection(self._target) as theirs:
            with self._lock:
                self._open |= {ours, theirs}
            lost = threading.Event()  # answers are dropped from now on
            answered = lambda data: self._answered(data, lost)  # noqa: E731
            back = threading.Thread(target=self._pass, args=(theirs, ours, answered), daemon=True)
            back.start()
            self._pass(ours, theirs, lambda data: self._asked(data, lost))
            with suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)
            back.join(10)
            with self._lock:
                self._open -= {ours, theirs}

    def _pass(self, one: socket.socket, other: socket.socket, may: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                if not may(data):
                    return
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def _asked(self, data: bytes, lost: threading.Event) -> bool:
        self.passed += 1
        for method, path in _LINE.findall(data):
            line = f"{method.decode()} {path.decode()}"
            with self._lock:
                self.requests.append(line)
                cut = self._cut
                if cut is None or not cut[0].search(line):
                    continue
                self._cut = None
            if cut[2]:
                self.is_down.set()
            if cut[1]:
                lost.set()
            else:
                self._hang_up()
                return False
        return True

    def _answered(self, data: bytes, lost: threading.Event) -> bool:
        if not lost.is_set() or data.startswith(b"HTTP/1.1 100 "):
            return True
        self._hang_up()
        return False

    def _hang_up(self) -> None:
        with self._lock:
            doomed = list(self._open)
        for each in doomed:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
