"""What every page has at hand: the lake, its newest snapshot, templates, and what may be written."""

import gzip
import hashlib
import json
import mimetypes
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import jinja2
from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

from dashboards.guard import PAGE_POLICY, SESSION, Sessions, cookie
from dashboards.journal import Journal
from dashboards.schedules import Schedules
from schemas.errors import LakeError
from storage.lake import Lake
from storage.sql import Limits
from storage.versions import Snapshot

HERE = Path(__file__).parent
PAGE_LIMITS = Limits(seconds=20.0, rows=2000, result_bytes=64 << 20)
REMEMBERED = 8  # things that are looked up once per snapshot
T = TypeVar("T")
_STATIC = HERE / "static"


class EmptyLake(LakeError):
    """There is nothing to show yet."""


@dataclass(frozen=True)
class Actions:
    """What pages may write. Without it they only read.

    Args:
        journal: Takes verdicts.
        person: Who reviews, unless they give another name.
        restore: Makes a snapshot the newest again.
        tag: Points a tag at a snapshot, or removes it (None).
    """

    journal: Journal
    person: str
    restore: Callable[[str], Snapshot]
    tag: Callable[[str, str | None], Snapshot | None]


@dataclass(frozen=True)
class Site:
    """The pages of one lake.

    Args:
        lake: The lake.
        actions: What may be written; None: nothing.
        guarded: A token is asked for, so there is a way to log out.
        schedules: The Prefect server that runs what is scheduled.
    """

    lake: Lake
    actions: Actions | None = None
    guarded: bool = False
    schedules: Schedules = field(default_factory=lambda: Schedules(None))
    sessions: Sessions = field(default_factory=Sessions)
    _known: dict[tuple[str, ...], Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def head(self) -> Snapshot:
        """Return the newest snapshot.

        Raises:
            EmptyLake: There is none.
        """
        head = self.lake.head()
        if head is None:
            raise EmptyLake(f"{self.lake.uri} is empty: run `xmodal demo` or `xmodal curate RECIPE`")
        return head

    def rows(
        self, statement: str, *params: Any, at: str | None = None, limit: int = 2000
    ) -> list[dict[str, Any]]:
        """Return the rows of a statement that reads; a page never gets more than it can show."""
        limits = Limits(seconds=PAGE_LIMITS.seconds, rows=limit, result_bytes=PAGE_LIMITS.result_bytes)
        return self.lake.sql(statement, params=list(params), at=at, limits=limits).rows()

    def once(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        """Return what was made for a key, which names a snapshot; a few are remembered."""
        with self._lock:
            if key in self._known:
                return self._known[key]
        made = make()
        with self._lock:
            while len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[key] = made
        return made

    def can_write(self) -> Actions:
        """Return what may be written.

        Raises:
            HTTPException: 403, nothing may.
        """
        if self.actions is None:
            raise HTTPException(403, "this server only reads: start it with `xmodal dashboard` to write")
        return self.actions

    def show(
        self, request: Request, page: str, part: str | None = None, *, code: int = 200, **context: Any
    ) -> HTMLResponse:
        """Return a page, or only the part of it that a script asked for."""
        wants_part = part is not None and "x-fragment" in request.headers
        session, is_new = self.sessions.of(request)
        said = self._templates.get_template(part if wants_part and part else page).render(
            page=page.removesuffix(".html"), site=self, csrf=self.sessions.token(session), request=request,
            newest=self.lake.head(), part=part, **context,
        )  # fmt: skip
        answer = HTMLResponse(said, code, {"Content-Security-Policy": PAGE_POLICY})
        if is_new:
            answer.set_cookie(**cookie(SESSION, session, request))
        return answer

    @cached_property
    def _templates(self) -> jinja2.Environment:
        env = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True,
            undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        env.globals["static"] = static_url
        env.filters |= {
            "number": number, "score": score, "size": size, "short": short, "instant": instant, "chart": chart,
            "joined": joined, "span": span,
        }  # fmt: skip
        return env


def static_url(name: str) -> str:
    """Return the address of a script or style sheet; it changes with its content, so it may be kept for ever."""
    return f"/static/{_asset(name)[1]}/{name}"


def static_file(name: str, packed: bool) -> Response:
    """Return a script or style sheet. Names are those of our own files and Plotly's; anything else is not found."""
    try:
        data, _, squeezed = _asset(name)
    except KeyError as error:
        raise HTTPException(404, "no such file") from error
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if packed:
        headers["Content-Encoding"] = "gzip"
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(squeezed if packed else data, media_type=kind, headers=headers)


@lru_cache(32)
def _asset(name: str) -> tuple[bytes, str, bytes]:
    """Return a file's bytes, a digest of them, and the bytes packed."""
    known = {path.name: path for path in _STATIC.iterdir() if path.is_file()}
    plotly = find_spec("plotly")  # found, not imported: its Python part is not needed
    if plotly is not None and plotly.origin:
        known["plotly.min.js"] = Path(plotly.origin).parent / "package_data" / "plotly.min.js"
    data = known[name].read_bytes()
    return data, hashlib.sha256(data).hexdigest()[:12], gzip.compress(data, 6, mtime=0)


def number(value: object) -> str:
    """Say a count."""
    return "" if value is None else f"{value:,}"


def score(value: float | None) -> str:
    """Say a score."""
    return "" if value is None or value != value else f"{value:.3f}"


def size(value: float | None) -> str:
    """Say bytes as people do."""
    if value is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def short(value: object, length: int = 120) -> str:
    """Say a value in few characters."""
    if isinstance(value, float):
        return f"{value:.6g}"
    said = (
        str(value)
        if isinstance(value, str)
        else ""
        if value is None
        else json.dumps(value, default=str, ensure_ascii=False)
    )
    return said if len(said) <= length else f"{said[: length - 1]}…"


def joined(values: Iterable[object], between: str = "; ") -> str:
    """Say several values in a line. Jinja's own `join` would escape them here, and then once more where they are cut."""
    return str(between).join(map(str, values))


def instant(value: Any) -> str:
    """Say a time, in UTC."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M}"


def span(value: float) -> str:
    """Say a length of time."""
    return (
        f"{value:.1f} s"
        if value < 100
        else f"{value / 60:.0f} min"
        if value < 6000
        else f"{value / 3600:.1f} h"
    )


def chart(value: object) -> Markup:
    """Return JSON that is safe inside a quoted attribute."""
    return Markup.escape(json.dumps(value, default=str, allow_nan=False))
