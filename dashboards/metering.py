"""What the server counts of itself, and the size of the newest snapshot, in the words of Prometheus."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage.lake import Lake

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Meters:
    """Requests by route and status, how long they took, and rows per table."""

    def __init__(self, lake: Lake) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "xmodal_requests", "Requests.", ("route", "method", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "xmodal_request_seconds", "Time to answer.", ("route",), registry=self.registry, buckets=_BUCKETS
        )
        self.registry.register(_Rows(lake))

    def text(self) -> bytes:
        """Return all numbers as Prometheus reads them."""
        return generate_latest(self.registry)


class Metered:
    """ASGI middleware that counts. A route is counted as it is written, so no path makes a new series."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self.app, self.meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and count how it went."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), "500"

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
            self.meters.requests.labels(route, method, status).inc()
            self.meters.seconds.labels(route).observe(time.perf_counter() - began)


class _Rows(Collector):
    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Give the rows of each table of the newest snapshot."""
        rows = GaugeMetricFamily("xmodal_snapshot_rows", "Rows of the newest snapshot.", labels=("table",))
        for table, n in sorted(self._lake.tables().items()):
            rows.add_metric([table], n)
        yield rows
