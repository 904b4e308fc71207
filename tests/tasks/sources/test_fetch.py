"""Downloads from a real local server: retries, limits, and where they must never go."""

import gzip
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from schemas.errors import BadInput
from schemas.settings import FetchLimits
from tasks.sources import read_bytes
from tasks.sources.fetch import fetch_many, is_public

LIMITS = FetchLimits(pool=4, per_host=2, retries=2, backoff_s=0.01, timeout_s=1.0, max_redirects=3)


class Site(ThreadingHTTPServer):
    """A server whose paths each do one thing; it counts requests and how many run at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.lock, self.running, self.most = threading.Lock(), 0, 0
        self.elsewhere = ""

    def count(self, path: str) -> int:
        return sum(seen == path for seen, _ in self.seen)


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.server
        with site.lock:
            site.seen.append((self.path, dict(self.headers)))
            site.running += 1
            site.most = max(site.most, site.running)
        try:
            self.page(site)
        except OSError:
            self.close_connection = True
        finally:
            with site.lock:
                site.running -= 1

    def page(self, site: Site) -> None:
        name = self.path.strip("/").split("/")[0]
        tries = site.count(self.path)
        if name == "flaky":
            return self.reply(b"at last") if tries == 3 else self.reply(b"", status=503)
        if name == "later":
            return (
                self.reply(b"at last") if tries == 2 else self.reply(b"", status=429, **{"Retry-After": "1"})
            )
        if name == "reset" and tries == 1:
            return self.connection.shutdown(socket.SHUT_RDWR)
        if name == "short" and tries == 1:
            self.close_connection = True
            return self.reply(b"half", length=99)
        if name in ("404", "403", "500", "204"):
            return self.reply(b"", status=int(name))
        if name == "slow":
            time.sleep(0.1)
        if name == "hang":
            time.sleep(1.5)
        if name == "hop":
            return self.reply(b"", status=302, Location="/fine", **{"Set-Cookie": "a=b"})
        if name == "round":
            return self.reply(b"", status=301, Location="/round")
        if name == "away":
            return self.reply(b"", status=307, Location=site.elsewhere)
        if name == "text":
            return self.reply(b"<html>", kind="text/html; charset=utf-8")
        if name == "liar":  # announces nothing, sends much
            return self.chunked(b"x" * 1000 for _ in range(1000))
        if name == "bomb":
            return self.reply(gzip.compress(bytes(10_000_000)), **{"Content-Encoding": "gzip"})
        if name == "zipped":
            return self.reply(gzip.compress(b"plain"), **{"Content-Encoding": "gzip"})
        if name == "brotli":
            return self.reply(b"x", **{"Content-Encoding": "br"})
        self.reply(b"body of " + self.path.encode())

    def reply(
        self, body: bytes, status: int = 200, kind: str = "image/png", length: int = -1, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length < 0 else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def chunked(self, parts) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def site():
    with Site() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield server
        server.shutdown()


def fetched(urls, *, limits=LIMITS, max_bytes=100_000, allow_private=True, **options):
    """Return body or reason for each URL, in order."""
    found = dict(fetch_many(urls, limits=limits, max_bytes=max_bytes, allow_private=allow_private, **options))
    assert sorted(found) == list(range(len(urls)))
    return [body.reason if isinstance(body, BadInput) else body for _, body in sorted(found.items())]


def test_delivers_every_url_once_within_the_limit_per_host(site):
    urls = [f"{site.url}/slow/{index}" for index in range(12)]
    assert fetched(urls) == [f"body of /slow/{index}".encode() for index in range(12)]
    assert site.most == LIMITS.per_host


def test_tries_again_only_where_that_can_help(site):
    paths = ["flaky", "reset", "short", "404", "403", "500", "204", "text"]
    assert fetched([f"{site.url}/{path}" for path in paths]) == [
        b"at last", b"body of /reset", b"body of /short", "missing-file", "download-failed",
        "download-failed", "download-failed", "wrong-content-type",
    ]  # fmt: skip
    assert [site.count(f"/{path}") for path in paths] == [3, 2, 2, 1, 1, 3, 1, 1]


def test_waits_as_long_as_the_server_asks(site):
    began = time.monotonic()
    assert fetched([f"{site.url}/later"]) == [b"at last"]
    assert time.monotonic() - began >= 1


def test_gives_up_on_a_silent_server(site):
    limits = LIMITS.model_copy(update={"timeout_s": 0.2, "retries": 1})
    assert fetched([f"{site.url}/hang"], limits=limits) == ["download-failed"]
    assert site.count("/hang") == 2


def test_a_drip_of_bytes_meets_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            client, _ = server.accept()
            with client:
                client.recv(9999)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 9999\r\n\r\n")
                for _ in range(100):
                    try:
                        client.sendall(b"x")
                    except OSError:
                        return
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        limits = LIMITS.model_copy(update={"timeout_s": 0.1})
        assert fetched([f"http://127.0.0.1:{server.getsockname()[1]}/"], limits=limits) == ["download-failed"]
        assert 0.9 < time.monotonic() - began < 4


def test_counts_bytes_as_they_come_and_after_decompression(site):
    paths = ["liar", "bomb", "zipped", "brotli", "fine"]
    assert fetched([f"{site.url}/{path}" for path in paths]) == [
        "too-many-bytes", "too-many-bytes", b"plain", "download-failed", b"body of /fine",
    ]  # fmt: skip
    assert fetched([f"{site.url}/fine"], max_bytes=12) == ["too-many-bytes"]
    assert fetched([f"{site.url}/fine"], max_bytes=13) == [b"body of /fine"]


def test_follows_redirects_to_their_end_without_cookies(site, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # a proxy nobody may use
    assert fetched([f"{site.url}/hop", f"{site.url}/round"]) == [b"body of /fine", "download-failed"]
    assert site.count("/round") == 1 + LIMITS.max_redirects
    headers = next(headers for path, headers in site.seen if path == "/fine")
    assert headers["User-Agent"] == "xmodal" and "Cookie" not in headers
    assert headers["Host"] == site.url.removeprefix("http://") and headers["Accept-Encoding"] == "identity"


def test_reaches_no_private_address_however_it_is_written(site):
    port = site.server_address[1]
    hosts = [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ]
    hosts += ["169.254.169.254", "10.0.0.1", "[fe80::1]"]
    reasons = fetched([f"http://{host}:{port}/" for host in hosts], allow_private=False)
    assert set(reasons) == {"blocked-address", "bad-url"}
    assert [host for host, why in zip(hosts, reasons, strict=True) if why == "bad-url"] == ["0177.0.0.1"]
    assert site.seen == []


def test_a_redirect_to_a_blocked_address_is_refused(site):
    with Site() as inner:
        threading.Thread(target=inner.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        site.elsewhere = f"http://127.0.0.2:{inner.server_address[1]}/"
        assert fetched([f"{site.url}/away"], allow=lambda ip: ip == "127.0.0.1") == ["blocked-address"]
        site.elsewhere = "file:///etc/passwd"
        assert fetched([f"{site.url}/away"]) == ["bad-url"]
        site.elsewhere = "http://user:pass@127.0.0.1/"
        assert fetched([f"{site.url}/away"]) == ["bad-url"]
        inner.shutdown()
        assert inner.seen == []


SPECIAL = """
    127.0.0.1 127.9.9.9 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 0.1.2.3
    224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1
    192.0.0.8 192.88.99.1 :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 64:ff9b::7f00:1
    64:ff9b:1::1 2002:7f00:1:: 2001::1 fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 fec0::1 ff02::1
    ff0e::1 2001:db8::1 100::1 ::ffff:0:7f00:1
"""


@pytest.mark.parametrize(
    "address",
    SPECIAL.split(),
)
def test_special_addresses_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"]
)
def test_ordinary_addresses_are_public(address):
    assert is_public(address)


def test_refuses_what_is_no_plain_url():
    urls = [
        "ftp://h/a",
        "file:///etc/passwd",
        "http://u@h/",
        "http://:x@h/",
        "",
        "//h/a",
        "http://",
        "http://h:x/",
        "gopher://h",
    ]
    assert fetched(urls) == ["bad-url"] * len(urls)
    assert fetched(["http://no-such-host.invalid/"]) == ["download-failed"]


def test_a_consumer_may_stop_early_and_a_slow_one_holds_the_pool(site):
    urls = [f"{site.url}/{index}" for index in range(50)]
    stream = fetch_many(urls, limits=LIMITS, max_bytes=999, allow_private=True)
    next(stream)
    time.sleep(0.3)
    assert len(site.seen) <= LIMITS.pool + 1
    stream.close()
    assert not any(thread.name == "fetch" for thread in threading.enumerate())


def test_works_inside_a_running_event_loop_and_for_single_reads(site):
    import asyncio

    async def inside() -> list[object]:
        return fetched([f"{site.url}/x"])

    assert asyncio.run(inside()) == [b"body of /x"]
    assert read_bytes(f"{site.url}/y", max_bytes=99, fetch=LIMITS, allow_private=True) == b"body of /y"
    with pytest.raises(BadInput, match="127"):
        read_bytes(f"{site.url}/y", max_bytes=99)
    assert fetched([]) == []


class Resolver:
    """Answers for one made-up name, another way each time; all else goes to the real one."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0
        self.real = socket.getaddrinfo

    def __call__(self, host, port, *args, **more):
        if host != "rebinds.example":
            return self.real(host, port, *args, **more)
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [found for address in answer for found in self.real(address, port, *args, **more)]


@pytest.fixture
def inner(site):
    """A server on another address, at the same port as `site`: what a name may come to mean."""
    port = site.server_address[1]
    with ThreadingHTTPServer(("127.0.0.2", port), Page) as server:
        server.seen, server.lock, server.running, server.most, server.elsewhere = (
            [],
            threading.Lock(),
            0,
            0,
            "",
        )
        server.count = lambda path: sum(seen == path for seen, _ in server.seen)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def only_outer(address):
    return address == "127.0.0.1"


def test_a_name_that_changes_its_mind_after_the_check_gets_nowhere(site, inner, monkeypatch):
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    url = f"http://rebinds.example:{site.server_address[1]}"
    assert fetched([f"{url}/a"], allow=only_outer) == [b"body of /a"]
    assert resolver.asked == 1  # what was checked is what was connected to: nobody asked again in between
    assert fetched([f"{url}/b"], allow=only_outer) == ["blocked-address"]
    assert [path for path, _ in site.seen] == ["/a"] and inner.seen == []
    assert dict(site.seen)["/a"]["Host"].startswith("rebinds.example")


def test_a_redirect_to_a_name_that_changed_its_mind_is_refused(site, inner, monkeypatch):
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    site.elsewhere = f"http://rebinds.example:{site.server_address[1]}/secret"
    assert fetched([f"{site.url}/away"], allow=only_outer) == [b"body of /secret"]
    assert fetched([f"{site.url}/away"], allow=only_outer) == ["blocked-address"]
    assert inner.seen == []


def test_of_several_addresses_only_those_that_pass_are_tried(site, inner, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", Resolver(["127.0.0.2", "127.0.0.1", "127.0.0.2"]))
    assert fetched([f"http://rebinds.example:{site.server_address[1]}/a"], allow=only_outer) == [
        b"body of /a"
    ]
    assert inner.seen == []


def test_a_try_again_asks_and_checks_again(site, inner, monkeypatch):
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    assert fetched([f"http://rebinds.example:{site.server_address[1]}/reset"], allow=only_outer) == [
        "blocked-address"
    ]
    assert resolver.asked == 2 and inner.seen == []
