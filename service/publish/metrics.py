"""`GET /metrics`: KPIs from the stored snapshots, and the service's own metrics.

A scrape never computes a KPI: all replicas show what a worker stored, rendered once per snapshot.
"""

from __future__ import annotations

import asyncio
import gzip
import hmac
from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from service import telemetry
from service.errors import UnauthorizedError
from service.kit.http import bearer
from service.kit.log import get_logger
from service.kpi.catalogue import Catalogue
from service.kpi.snapshot import Snapshot
from service.publish.exposition import render

READ_SECONDS = 2.0
"""How long a scrape waits for the snapshots; then it shows the ones that it has."""

TEXT = "text/plain; version=0.0.4"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
END = b"# EOF\n"
"""The last line of OpenMetrics."""

_log = get_logger(__name__)

Stamp = Callable[[], Awaitable[object]]
"""Something that differs when a stored snapshot is newer; cheap."""
ReadSnapshots = Callable[[], Awaitable[Sequence[Snapshot]]]
CurrentCatalogue = Callable[[], Awaitable[Catalogue]]


class KpiExposition:
    """The KPI part of `/metrics` as bytes: read and made again only for newer snapshots."""

    def __init__(self, stamp: Stamp, read: ReadSnapshots, catalogue: CurrentCatalogue) -> None:
        self._stamp = stamp
        self._read = read
        self._catalogue = catalogue
        self._lock = asyncio.Lock()
        self._shown: object = None
        self._bytes = b""

    async def latest(self) -> bytes:
        """Empty until snapshots were read once; the last known ones while the database is away."""
        async with self._lock:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    await self._refresh()
            except Exception as error:
                # Whatever it is: the process's own metrics say most when something is wrong, and
                # the age of the KPIs stands beside them.
                _log.warning("snapshots_not_read", error=type(error).__name__)
            return self._bytes

    async def _refresh(self) -> None:
        stamp = await self._stamp()
        if stamp != self._shown:
            snapshots = await self._read()
            catalogue = await self._catalogue()
            self._bytes = await asyncio.to_thread(render, snapshots, catalogue)
            self._shown = stamp


def accepts_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics 1.0.0 may be answered; a q of 0 and older versions say no."""
    for item in accept.split(","):
        media, *rest = (part.strip().lower() for part in item.split(";"))
        options = dict(part.partition("=")[::2] for part in rest)
        if media == "application/openmetrics-text":
            old = options.get("version", "1").startswith("0")
            return not old and options.get("q", "1").strip("0.") != ""
    return False


class MetricsDoor:
    """Open to everybody who reaches it, unless a token is set."""

    def __init__(self, kpis: KpiExposition, token: str | None) -> None:
        self._kpis = kpis
        self._token = token
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)

    def router(self) -> APIRouter:
        """The one door."""
        router = APIRouter(tags=["metrics"])
        media = ("text/plain", "application/openmetrics-text")
        text = {name: {"schema": {"type": "string"}} for name in media}
        router.add_api_route(
            "/metrics",
            self.metrics,
            response_class=Response,
            responses={200: {"description": "Prometheus text, or OpenMetrics.", "content": text}},
        )
        return router

    async def metrics(self, request: Request) -> Response:
        """Everything for Prometheus; how old the KPIs are stands beside them."""
        self._admit(bearer(request.headers))
        kpis = await self._kpis.latest()
        form = OPENMETRICS if accepts_openmetrics(request.headers.get("accept", "")) else TEXT
        encode, media = choose_encoder(form)
        zipped = "gzip" in request.headers.get("accept-encoding", "").lower()
        body = await asyncio.to_thread(self._render, kpis, encode, zipped)
        headers = {"Content-Type": media, "Vary": "Accept, Accept-Encoding"}
        if zipped:
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers)

    def _render(self, kpis: bytes, encode: Callable[[Collector], bytes], zipped: bool) -> bytes:
        service, process = encode(telemetry.REGISTRY), encode(self._process)
        body = kpis + service.removesuffix(END) + process
        return gzip.compress(body, compresslevel=1) if zipped else body

    def _admit(self, given: str | None) -> None:
        if self._token is None:
            return
        if given is None or not hmac.compare_digest(given.encode(), self._token.encode()):
            raise UnauthorizedError("/metrics needs its own bearer token: KOMPAS_METRICS_TOKEN.")
