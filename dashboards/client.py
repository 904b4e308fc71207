"""A thin client of the server: the same answers as `curl`, as Python values.

with Client("http://127.0.0.1:8770") as lake:
    for hit in lake.search("a red bicycle", k=5)["hits"]: ...
"""

from types import TracebackType
from typing import Any, Self

import httpx

from schemas.errors import XmodalError


class ServerRefused(XmodalError):
    """The server did not answer as asked; says what it said.

    Args:
        status: HTTP status.
        error: Name of the error.
        message: What was wrong.
    """

    def __init__(self, status: int, error: str, message: str) -> None:
        self.status, self.error = status, error
        super().__init__(f"{error} ({status}): {message}")


class Client:
    """Asks one server.

    Args:
        url: Where it listens.
        token: The token it asks for.
        timeout_s: Longest wait for an answer.
        transport: Another way to reach it, such as an application in this process.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8770",
        *,
        token: str | None = None,
        timeout_s: float = 90.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def search(self, text: str | None = None, **query: Any) -> dict[str, Any]:
        """Return hits, best first; `query` has the fields of POST /search."""
        return self._asked("POST", "/search", json={"text": text, **query}).json()

    def sql(
        self, statement: str, *params: Any, at: str | None = None, rows: int = 1000
    ) -> list[dict[str, Any]]:
        """Return the rows of a statement that reads."""
        body = {"statement": statement, "params": params, "at": at, "rows": rows}
        return self._asked("POST", "/sql", json=body).json()["rows"]

    def tables(self, at: str | None = None) -> dict[str, int]:
        """Return {table: rows} at a snapshot."""
        return self._asked("GET", "/tables", params={"at": at} if at else {}).json()

    def decisions(self, **page: Any) -> dict[str, Any]:
        """Return a page of decisions; `page` has rule, subject, limit, offset and at."""
        return self._asked("GET", "/decisions", params=page).json()

    def media(self, media_id: str) -> bytes:
        """Return a medium's bytes."""
        return self._asked("GET", f"/media/{media_id}").content

    def thumbnail(self, media_id: str) -> bytes:
        """Return a medium's thumbnail, WebP."""
        return self._asked("GET", f"/media/{media_id}/thumbnail").content

    def health(self) -> dict[str, Any]:
        """Return what is newest."""
        return self._asked("GET", "/health").json()

    def _asked(self, method: str, path: str, **body: Any) -> httpx.Response:
        """Ask, and raise what was refused.

        Raises:
            ServerRefused: The answer is no.
        """
        answer = self._http.request(method, path, **body)
        if answer.is_success:
            return answer
        try:
            said = answer.json()
        except ValueError:
            said = {}
        raise ServerRefused(
            answer.status_code,
            said.get("error", "Refused"),
            said.get("message") or str(said.get("detail", "")),
        )
