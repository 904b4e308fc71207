"""Download URLs that strangers wrote: bounded, checked at the moment of connecting."""

import asyncio
import contextlib
import ipaddress
import queue
import socket
import ssl
import threading
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore
import httpx

from schemas.errors import BadInput
from schemas.settings import FetchLimits

MEDIA_TYPES = ("image/", "application/octet-stream", "binary/octet-stream")
URL_MAX_CHARS = 8192
# A server that sends a byte now and then never times out; a file may take this many timeouts in all.
DEADLINE_TIMEOUTS = 10

# Not public, and not known as such to every Python's `ipaddress`; or a way to write an IPv4 address in IPv6.
_BLOCKED = [
    ipaddress.ip_network(block)
    for block in (
        "100.64.0.0/10",  # carrier-grade NAT
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo and other assignments of protocols
        "2002::/16",  # 6to4
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",  # site-local
    )
]


def is_public(address: str) -> bool:
    """Tell whether an IP address is one that strangers may send us to."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    special = ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback or ip.is_link_local
    blocked = any(ip.version == block.version and ip in block for block in _BLOCKED)
    return ip.is_global and not special and not blocked


def checked_url(url: str) -> httpx.URL:
    """Return a plain http(s) URL.

    Raises:
        BadInput: bad-url.
    """
    if len(url) > URL_MAX_CHARS:
        raise BadInput("bad-url", f"{url[:60]}... has {len(url)} characters; the limit is {URL_MAX_CHARS}")
    try:
        parsed = httpx.URL(url)
        port = parsed.port
    except (httpx.InvalidURL, ValueError, TypeError) as error:  # ValueError: a port or host of nonsense
        raise BadInput("bad-url", f"{url!r:.200}: {error}", error_class=type(error).__name__) from error
    if (
        parsed.scheme not in ("http", "https")
        or not parsed.host
        or (port is not None and not 0 < port < 65536)
    ):
        raise BadInput("bad-url", f"{url!r:.200} is not an http(s) URL with a host")
    if parsed.userinfo:
        raise BadInput("bad-url", f"a URL at {parsed.host} carries credentials; they are never sent")
    return parsed


def fetch_many(
    urls: Sequence[str],
    *,
    limits: FetchLimits,
    max_bytes: int,
    allow_private: bool,
    content_types: Sequence[str] = MEDIA_TYPES,
    allow: Callable[[str], bool] | None = None,
) -> Iterator[tuple[int, bytes | BadInput]]:
    """Download URLs and yield (index, body or why not) as they come in, each index once.

    Every connection, also of a redirect, goes to an address that was checked; DNS is asked once
    per connection.
    No proxy, cookie, credential or decompression library takes part. At most `limits.pool` bodies are in
    memory; a slow consumer pauses the downloads.

    Args:
        urls: Plain http(s) URLs.
        limits: Pool, limit per host, retries, waits and redirects.
        max_bytes: Largest body, counted while it arrives and after any content-encoding.
        allow_private: Let every address be reached.
        content_types: What a declared type must start with; an undeclared one passes.
        allow: Tells which IP addresses may be reached; overrides `allow_private`.
    """
    permitted = allow or ((lambda _: True) if allow_private else is_public)
    fetcher = _Fetcher(limits, max_bytes, tuple(content_types), permitted)
    # A thread of its own: the caller's may already run an event loop, and downloads go on while it computes.
    thread = threading.Thread(target=fetcher.run, args=(urls,), name="fetch", daemon=True)
    thread.start()
    try:
        for _ in urls:
            result = fetcher.results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
            if not isinstance(result[1], BadInput):
                fetcher.make_room()
    finally:
        fetcher.stop()
        thread.join()


class _Later(Exception):
    """A failure that may pass. `wait_s` is what the server asked for."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class _Blocked(Exception):
    """A host has no address that may be reached."""


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, so no redirect or second DNS answer gets past."""

    def __init__(self, allow: Callable[[str], bool]) -> None:
        self._allow = allow
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            # The resolver also reads 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1: check its answer.
            found = await asyncio.wait_for(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), timeout)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host}: no answer from the resolver") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        permitted = [address for address in addresses if self._allow(address)]
        if not permitted:
            raise _Blocked(f"{host} is {', '.join(addresses)}")
        for address in permitted[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
        return await self._backend.connect_tcp(permitted[-1], port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class _Fetcher:
    limits: FetchLimits
    max_bytes: int
    content_types: tuple[str, ...]
    allow: Callable[[str], bool]
    results: "queue.SimpleQueue[tuple[int, bytes | BadInput] | BaseException]" = field(
        default_factory=queue.SimpleQueue
    )

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._room = asyncio.Semaphore(self.limits.pool)
        self._stopped = asyncio.Event()
        self._hosts: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(self.limits.per_host)
        )

    def run(self, urls: Sequence[str]) -> None:
        """Download everything, or until stopped; the body of the thread."""
        with contextlib.closing(self._loop):
            try:
                self._loop.run_until_complete(self._all(urls))
            except BaseException as error:  # the consumer waits for it
                self.results.put(error)
            finally:
                self._loop.run_until_complete(self._loop.shutdown_default_executor())

    def make_room(self) -> None:
        """Say that a body was consumed."""
        self._call(self._room.release)

    def stop(self) -> None:
        """End the downloads."""
        self._call(self._stopped.set)

    def _call(self, callback: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: everything was delivered
            self._loop.call_soon_threadsafe(callback)

    async def _all(self, urls: Sequence[str]) -> None:
        pool = httpcore.AsyncConnectionPool(
            ssl_context=httpcore.default_ssl_context(),
            max_connections=self.limits.pool,
            network_backend=_CheckedBackend(self.allow),
        )
        async with pool:
            tasks = {asyncio.create_task(self._one(pool, index, url)) for index, url in enumerate(urls)}
            stopped = asyncio.create_task(self._stopped.wait())
            try:
                while tasks and not stopped.done():
                    done, _ = await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
                    for task in done - {stopped}:
                        task.result()
                        tasks.discard(task)
            finally:
                for task in (*tasks, stopped):
                    task.cancel()
                await asyncio.gather(*tasks, stopped, return_exceptions=True)

    async def _one(self, pool: httpcore.AsyncConnectionPool, index: int, url: str) -> None:
        try:
            self.results.put((index, await self._with_retries(pool, checked_url(url))))
        except BadInput as error:
            self.results.put((index, error))

    async def _with_retries(self, pool: httpcore.AsyncConnectionPool, url: httpx.URL) -> bytes:
        """Return the body, following redirects and trying again where that can help."""
        clock = _Clock(self.limits.timeout_s * DEADLINE_TIMEOUTS)
        pause_s = self.limits.backoff_s
        for tries in range(1, self.limits.retries + 2):
            try:
                return await self._followed(pool, url, clock)
            except _Later as error:
                failure, wait_s = error, max(error.wait_s, pause_s)
            clock.left_s -= wait_s
            if tries > self.limits.retries or clock.left_s <= 0:
                break
            await asyncio.sleep(wait_s)
            pause_s *= 2
        raise BadInput("download-failed", f"{url}: {failure} ({tries} tries)") from failure

    async def _followed(self, pool: httpcore.AsyncConnectionPool, url: httpx.URL, clock: "_Clock") -> bytes:
        for _ in range(self.limits.max_redirects + 1):
            answer = await self._request(pool, url, clock)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise BadInput("download-failed", f"{url}: more than {self.limits.max_redirects} redirects")

    async def _request(
        self, pool: httpcore.AsyncConnectionPool, url: httpx.URL, clock: "_Clock"
    ) -> bytes | httpx.URL:
        """Return the body or where it redirects to. The consumer gives room back once there is a body."""
        async with self._hosts[url.host]:  # the host first, or waiting for one host would fill the whole pool
            await self._room.acquire()
            answer: bytes | httpx.URL | None = None
            began = self._loop.time()
            try:
                async with asyncio.timeout(max(clock.left_s, 0)):
                    answer = await self._answer(pool, url)
                return answer
            except TimeoutError as error:
                spent_s = self.limits.timeout_s * DEADLINE_TIMEOUTS
                raise BadInput("download-failed", f"{url}: not done after {spent_s:g} s") from error
            except _Blocked as error:
                raise BadInput("blocked-address", f"{url}: {error}") from error
            except socket.gaierror as error:
                if error.errno == socket.EAI_AGAIN:
                    raise _Later(f"{url.host}: {error.strerror}") from error
                raise _failed(url, error) from error
            except UnicodeError as error:  # a host name that no resolver takes
                raise BadInput("bad-url", f"{url}: {error}", error_class=type(error).__name__) from error
            except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
                if isinstance(error.__context__, ssl.SSLCertVerificationError):
                    raise _failed(url, error) from error
                raise _Later(f"{type(error).__name__}: {error}") from error
            except (httpcore.ProtocolError, httpcore.ProxyError, zlib.error) as error:
                raise _failed(url, error) from error
            finally:
                clock.left_s -= self._loop.time() - began
                if not isinstance(answer, bytes):
                    self._room.release()

    async def _answer(self, pool: httpcore.AsyncConnectionPool, url: httpx.URL) -> bytes | httpx.URL:
        headers = [(b"Host", url.netloc), (b"User-Agent", b"xmodal"), (b"Accept-Encoding", b"identity")]
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        waits = dict.fromkeys(("connect", "read", "write"), self.limits.timeout_s)
        async with pool.stream("GET", target, headers=headers, extensions={"timeout": waits}) as response:
            names = {name.lower(): value.decode("latin-1").strip() for name, value in response.headers}
            if response.status in (301, 302, 303, 307, 308) and names.get(b"location"):
                return checked_url(_joined(url, names[b"location"]))
            if response.status in (408, 429) or response.status >= 500:
                raise _Later(f"status {response.status}", _retry_after_s(names.get(b"retry-after", "")))
            if response.status != 200:
                reason = "missing-file" if response.status in (404, 410) else "download-failed"
                raise BadInput(reason, f"{url}: status {response.status}")
            declared = names.get(b"content-type", "").partition(";")[0].strip().lower()
            if declared and not declared.startswith(self.content_types):
                raise BadInput(
                    "wrong-content-type", f"{url}: {declared}; taken: {', '.join(self.content_types)}"
                )
            if (length := names.get(b"content-length", "")).isdigit() and int(length) > self.max_bytes:
                raise BadInput(
                    "too-many-bytes", f"{url}: {length} bytes announced; the limit is {self.max_bytes}"
                )
            chunks = _decoded(
                response.aiter_stream(), names.get(b"content-encoding", ""), self.max_bytes, url
            )
            body = bytearray()
            async for chunk in chunks:
                body += chunk
                if len(body) > self.max_bytes:
                    raise BadInput("too-many-bytes", f"{url}: more than the limit of {self.max_bytes} bytes")
            return bytes(body)


@dataclass
class _Clock:
    """What is left of a file's deadline; waiting for room or for the host does not count."""

    left_s: float


def _failed(url: httpx.URL, error: Exception) -> BadInput:
    return BadInput(
        "download-failed", f"{url}: {error or type(error).__name__}", error_class=type(error).__name__
    )


def _joined(url: httpx.URL, location: str) -> str:
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise BadInput("bad-url", f"{url} redirects to {location!r:.200}: {error}") from error


def _retry_after_s(value: str) -> float:
    """Return a Retry-After header in seconds, given as seconds or as a date; 0 for none."""
    if value.isdigit():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return 0.0


async def _decoded(chunks: Any, encoding: str, max_bytes: int, url: httpx.URL) -> AsyncIterator[bytes]:
    """Undo a content-encoding that we did not ask for, never past one byte over the limit at a time."""
    if encoding.lower() in ("", "identity"):
        async for chunk in chunks:
            yield chunk
        return
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        raise BadInput("download-failed", f"{url}: content-encoding {encoding!r}, though none was asked for")
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, told apart by the header
    async for chunk in chunks:
        yield inflate.decompress(chunk, max_bytes + 1)
        while inflate.unconsumed_tail:
            yield inflate.decompress(inflate.unconsumed_tail, max_bytes + 1)
    if not inflate.eof:
        raise _Later("the compressed body ends early")
