"""One application over one lake: pages for people, JSON for programs. `xmodal dashboard`, `xmodal serve`, any ASGI server.

It reads no file a request names, answers only for the hosts it was told, and writes only what it was handed the means
to, from pages of its own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dashboards import api
from dashboards.guard import ENTRY, LOOPBACK, SHORTEST, Door, cookie, entry, same, wants_page
from dashboards.journal import Journal, Say
from dashboards.metering import Metered, Meters
from dashboards.pages import PAGES
from dashboards.schedules import Schedules
from dashboards.site import Actions, EmptyLake, Site, static_file
from schemas.errors import LakeBusy, NoSuchSnapshot, NoSuchTable, XmodalError
from schemas.settings import Settings
from storage import lake as lakes
from storage.lake import Lake

LOCAL = ("localhost", "127.0.0.1", "[::1]", "testserver")
_ABOUT = """Search, read-only SQL, decisions and media of one lake. Every answer names the snapshot it was read from."""


def create(
    lake: Lake, hosts: tuple[str, ...] = LOCAL, *, token: str | None = None, actions: Actions | None = None,
    schedules: Schedules | None = None,
) -> FastAPI:  # fmt: skip
    """Return the application for a lake.

    Args:
        lake: Which.
        hosts: Names it answers to.
        token: Secret that lets in, as a bearer or by logging in; None lets everyone in who reaches it.
        actions: What its pages may write; None: nothing.
        schedules: The Prefect server that its pages tell of; None: none is configured.
    """

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        if actions is not None:
            actions.journal.start()  # verdicts that an earlier server wrote down and could not state
        yield
        if actions is not None:
            actions.journal.close()

    app = FastAPI(
        title="Xmodal", description=_ABOUT, openapi_url="/openapi.json", docs_url=None, redoc_url=None,
        lifespan=living,
    )  # fmt: skip
    site = Site(lake, actions, guarded=token is not None, schedules=schedules or Schedules(None))
    meters = Meters(lake)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_middleware(Door, token=token)
    app.add_middleware(Metered, meters=meters)
    app.include_router(api.routes(lake, meters, guarded=token is not None))
    for routes in PAGES:
        app.include_router(routes(site), include_in_schema=False)

    @app.get("/static/{digest}/{name}", include_in_schema=False)
    def static(digest: str, name: str, request: Request) -> Response:
        return static_file(name, "gzip" in request.headers.get("accept-encoding", ""))

    @app.get("/login", include_in_schema=False)
    def login(request: Request) -> Response:
        return site.show(request, "login.html", wrong=False)

    @app.post("/login", include_in_schema=False)
    async def enter(request: Request, given: Annotated[str, Form(max_length=1000)]) -> Response:
        await site.sessions.check(request)
        if token is None or not same(given, token):
            return site.show(request, "login.html", code=403, wrong=True)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(**cookie(ENTRY, entry(token), request))
        return answer

    @app.exception_handler(XmodalError)
    async def refused(request: Request, error: XmodalError) -> Response:
        """Say what was wrong as whoever asked may use it; what is no fault of the request stays a fault of the server."""
        missing = isinstance(error, (NoSuchTable, NoSuchSnapshot, EmptyLake))
        status = 503 if isinstance(error, LakeBusy) else 404 if missing else 400
        return _said(site, request, status, type(error).__name__, str(error))

    @app.exception_handler(AnyHTTPException)
    async def not_answered(request: Request, error: AnyHTTPException) -> Response:
        name = {403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 413: "TooLarge"}.get(
            error.status_code, "Refused"
        )
        answer = _said(site, request, error.status_code, name, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def not_understood(request: Request, error: RequestValidationError) -> Response:
        if not _is_page(request):
            details = [
                {"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]} for one in error.errors()
            ]
            return JSONResponse({"detail": details}, 422)
        said = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return _said(site, request, 422, "BadRequest", said)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "InternalError", "message": "the server failed; its log says how"}, 500)

    return app


def application() -> FastAPI:
    """Return the application that only reads, for the lake and with the token that the settings name."""
    settings = Settings()
    return create(lakes.open(settings.lake), token=settings.token)


def _said(site: Site, request: Request, status: int, name: str, message: str) -> Response:
    """Say why there is no answer: a page to a person, a line to a script of ours, JSON to a program."""
    if _is_page(request):
        return site.show(request, "error.html", "_error.html", code=status, name=name, message=message)
    return JSONResponse({"error": name, "message": message}, status)


def _is_page(request: Request) -> bool:
    return wants_page(request.headers)


# What `xmodal dashboard` needs to put an application together: the one place where flows and pages meet.
__all__ = ["LOCAL", "LOOPBACK", "SHORTEST", "Actions", "Journal", "Say", "Schedules", "application", "create"]
