"""Who may come in, how much they may carry, how long they may stay, and what a browser may do with the answer."""

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION, ENTRY = "xmodal_session", "xmodal_entry"  # cookies: whose page this is; that the token was given
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SHORTEST = 16  # characters of a token
_OPEN = ("/health", "/login", "/static/")
POLICY = "default-src 'none'"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class TooLarge(Exception):
    """A request carries more bytes than are taken."""


class Door:
    """ASGI middleware before everything else: token, size, time, headers.

    Args:
        app: What lies behind.
        token: Secret that lets in; None lets everyone in.
        most_bytes: Largest body.
        seconds: Longest wait for an answer.
    """

    def __init__(
        self, app: ASGIApp, token: str | None = None, most_bytes: int = 24 << 20, seconds: float = 90.0
    ) -> None:
        self.app, self.token, self.most_bytes, self.seconds = app, token, most_bytes, seconds
        self._left: set[asyncio.Future[None]] = set()  # answers that nobody waits for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers, began, late, size = Headers(scope=scope), False, False, 0

        async def send_hard(message: Message) -> None:
            if message["type"] == "http.response.start":
                _harden(MutableHeaders(scope=message))
            await send(message)

        async def answer(message: Message) -> None:
            nonlocal began
            if late or (size > self.most_bytes and not began):
                return  # nobody waits any more, or the application saw a body cut short
            began = True
            await send_hard(message)

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.most_bytes:
                raise TooLarge
            return message

        if not self._may_enter(scope["path"], headers):
            said = "a token is needed: send it as a bearer, or log in at /login"
            await _refuse(send_hard, scope, headers, 401, said)
            return
        announced = headers.get("content-length", "0")
        too_large = f"a request may carry {self.most_bytes >> 20} MiB at most"
        if announced.isdigit() and int(announced) > self.most_bytes:
            await _refuse(send_hard, scope, headers, 413, too_large)
            return
        work = asyncio.ensure_future(self.app(scope, counted, answer))
        try:
            done, _ = await asyncio.wait({work}, timeout=self.seconds)
        except asyncio.CancelledError:
            work.cancel()
            raise
        if done or began:
            with suppress(TooLarge):
                await work
        else:  # a thread cannot be stopped: it ends by limits of its own, and nobody waits for it
            work.add_done_callback(_forget)
            self._left.add(work)
            work.add_done_callback(self._left.discard)
            late = True
            said = f"no answer within {self.seconds:g} s; ask for less"
            await _refuse(send_hard, scope, headers, 503, said)
            return
        if size > self.most_bytes and not began:
            await _refuse(send_hard, scope, headers, 413, too_large)

    def _may_enter(self, path: str, headers: Headers) -> bool:
        if self.token is None or path.startswith(_OPEN):
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same(given, self.token):
            return True
        return same(cookie_parser(headers.get("cookie", "")).get(ENTRY, ""), entry(self.token))


class Sessions:
    """Which page a write comes from: a secret per process, a cookie per browser, and a token that follows from both."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, request: Request) -> tuple[str, bool]:
        """Return the browser's session, and whether it is new."""
        known = request.cookies.get(SESSION, "")
        return (known, False) if len(known) == 43 else (secrets.token_urlsafe(32), True)

    def token(self, session: str) -> str:
        """Return what a page of this session sends along with a write."""
        return hmac.new(self._secret, session.encode(), hashlib.sha256).hexdigest()

    async def check(self, request: Request) -> None:
        """Let a write through only if a page of this server sent it.

        Raises:
            HTTPException: 403, it did not.
        """
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise HTTPException(403, "a page of another origin may not write here")
        if origin is None and site not in (None, "same-origin"):
            raise HTTPException(403, "a page of another site may not write here")
        given = request.headers.get("x-csrf-token")
        if given is None:
            field = (await request.form()).get("csrf")
            given = field if isinstance(field, str) else ""
        if not same(given, self.token(request.cookies.get(SESSION, ""))):
            raise HTTPException(403, "this page is out of date: load it again, then repeat what you did")


def same(given: str, expected: str) -> bool:
    """Compare two secrets in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def entry(token: str) -> str:
    """Return what a browser keeps once the token was given; the token does not follow from it."""
    return hmac.new(token.encode(), b"xmodal entry", hashlib.sha256).hexdigest()


def cookie(name: str, value: str, request: Request) -> dict[str, Any]:
    """Return how a cookie of ours is set."""
    return {
        "key": name, "value": value, "httponly": True, "samesite": "strict", "secure": request.url.scheme == "https",
    }  # fmt: skip


def wants_page(headers: Headers) -> bool:
    """Whether whoever asked is a person with a browser rather than a program."""
    return "text/html" in headers.get("accept", "")


def _forget(work: asyncio.Future[None]) -> None:
    """Take note of how something ended that nobody waits for, so that it is not reported as overlooked."""
    if not work.cancelled():
        work.exception()


def _harden(headers: MutableHeaders) -> None:
    headers.setdefault("Content-Security-Policy", POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    headers.setdefault("Cache-Control", "no-store")


async def _refuse(
    answer: Callable[[Message], Any],
    scope: MutableMapping[str, Any],
    headers: Headers,
    status: int,
    said: str,
) -> None:
    extra: list[tuple[bytes, bytes]] = []
    if status == 401 and scope["method"] == "GET" and wants_page(headers) and "x-fragment" not in headers:
        status, extra = 303, [(b"location", b"/login")]
    elif status == 401:
        extra = [(b"www-authenticate", b"Bearer")]
    body = json.dumps({"error": "Refused", "message": said}).encode()
    about = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *extra]
    await answer({"type": "http.response.start", "status": status, "headers": about})
    await answer({"type": "http.response.body", "body": body})
