"""The application out of its parts: the doors, and what stands around them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service import telemetry
from service.admin.admission import Admission
from service.admin.fx import FxDoors
from service.admin.keys import KeyDoors
from service.admin.rejections import RejectionDoors
from service.admin.sites import SiteDoors
from service.app.durable import Durable
from service.app.health import HealthDoors
from service.app.observe import Observe
from service.app.openapi import merged
from service.app.problems import Problems, answer_to
from service.domain.access import Scope as KeyScope
from service.edge.contract import edge_paths
from service.edge.options import EdgeOptions
from service.edge.pixel import PATH as PIXEL_PATH
from service.edge.routes import edge_routes
from service.ingest.intake import Intake
from service.kit.clock import Clock
from service.kit.http import json_response
from service.kpi.engine import KpiEngine
from service.kpi.explain import Explainer
from service.kpi.live import LiveCatalogue
from service.kpi.snapshot import read_snapshots
from service.publish.definitions import DefinitionDoors
from service.publish.explain import ExplainDoor
from service.publish.kpis import KpiDoors
from service.publish.metrics import KpiExposition, MetricsDoor
from service.settings import Settings
from service.store.access import KeyStore
from service.store.engine import reading
from service.store.freshness import oldest_waiting
from service.store.secrets import Vault
from service.store.tables import kpi_snapshot


class Parts:
    """One of everything that the doors need, made but not started.

    `wake` is called after each commit when the projection runs in this process.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        settings: Settings,
        clock: Clock,
        wake: Callable[[], None] | None = None,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.clock = clock
        self.keys = KeyStore(engine)
        self.durable = Durable(engine, settings, clock, wake)
        self.intake = Intake(self.durable.writer, Vault(engine), clock)
        self.catalogue = LiveCatalogue(engine, clock, settings.kpi_dir)
        wait_seconds = settings.read_wait_ms / 1000
        self.kpis = KpiEngine(engine, self.catalogue, clock, wait_seconds, self.durable.held_since)

    @cached_property
    def edge(self) -> EdgeOptions:
        """What the edge is told of the settings."""
        return EdgeOptions(
            public_url=self.settings.public_url,
            cors_origins=self.settings.cors_origins,
            trusted_proxies=self.settings.trusted_proxies,
            country_header=self.settings.country_header,
        )

    def _token_secret(self, slug: str) -> str:
        # The signing keys are there only after the start.
        return self.intake.tokens.site_secret(slug)

    async def _snapshot_stamp(self) -> object:
        oldest = await oldest_waiting(self.engine)
        waited = 0.0 if oldest is None else (self.clock.now() - oldest).total_seconds()
        telemetry.PROJECTION_LAG.set(max(0.0, waited))
        newest = select(func.count(), func.max(kpi_snapshot.c.taken_at)).select_from(kpi_snapshot)
        async with reading(self.engine) as connection:
            return tuple((await connection.execute(newest)).one())

    def routers(self) -> list[APIRouter]:
        """The doors that FastAPI knows, in the order of the contract."""
        admin = Admission(self.keys, KeyScope.ADMIN)
        reader = Admission(self.keys, KeyScope.READ)
        token = self.settings.metrics_token
        snapshots = partial(read_snapshots, self.engine)
        exposition = KpiExposition(self._snapshot_stamp, snapshots, self.catalogue.current)
        explainer = Explainer(self.kpis, self.engine, self.clock)
        doors = (
            KpiDoors(self.kpis, self.keys),
            DefinitionDoors(self.catalogue, self.keys),
            ExplainDoor(explainer, self.keys),
            SiteDoors(
                self.engine,
                admin,
                self.settings.default_timezone,
                self.settings.default_currency,
                self._token_secret,
                self.keys.site_changed,
            ),
            KeyDoors(self.engine, admin),
            FxDoors(self.engine, admin),
            RejectionDoors(self.engine, reader),
            MetricsDoor(exposition, token.get_secret_value() if token else None),
            HealthDoors(self.durable.writer.can_write),
        )
        return [door.router() for door in doors]


class Contract:
    """The OpenAPI document of some doors, made when it is first asked for."""

    def __init__(self, routers: Sequence[APIRouter]) -> None:
        self._routers = routers

    @cached_property
    def document(self) -> dict[str, Any]:
        """OpenAPI 3.1, the same for the same code."""
        described = FastAPI(generate_unique_id_function=lambda route: route.name)
        for router in self._routers:
            described.include_router(router)
        return merged(described, edge_paths())

    @cached_property
    def _written(self) -> bytes:
        # Once: writing it takes 10 ms, and everybody may ask for it.
        return bytes(json_response(self.document).body)

    async def openapi(self) -> Response:
        """The document itself."""
        written = await asyncio.to_thread(lambda: self._written)
        return Response(written, media_type="application/json")


def methods_of(routers: Sequence[APIRouter]) -> dict[str, str]:
    """The methods of each route template, as the header Allow lists them."""
    found: dict[str, set[str]] = {}
    for router in routers:
        for route in router.routes:
            if isinstance(route, Route | APIRoute):
                found.setdefault(route.path, set()).update(route.methods or ())
    return {path: ", ".join(sorted(methods)) for path, methods in found.items()}


class Door(Route):
    """A route of the edge that says which one it is, as FastAPI's routes do."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any route, with itself in the scope."""
        match, found = super().matches(scope)
        return match, {**found, "route": self}


class Front:
    """ASGI: the hot door before any router, everything else behind them."""

    def __init__(self, hot: Door, app: ASGIApp) -> None:
        self._hot = hot
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Dispatch by path."""
        if scope["type"] == "http" and scope["path"] == self._hot.path:
            scope["route"] = self._hot
            await self._hot.app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def framed(routers: Sequence[APIRouter]) -> FastAPI:
    """FastAPI with these doors, answering a problem document for every exception."""
    methods = methods_of(routers)
    problems = Middleware(Problems, methods)
    # No pages of its own: the library's load scripts from somebody else's machine.
    app = FastAPI(openapi_url=None, redirect_slashes=False, middleware=[problems])

    async def answered(request: Request, error: Exception) -> Response:
        return answer_to(error, request.scope, methods)

    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answered)
    for router in routers:
        app.include_router(router)
    return app


def build(parts: Parts) -> ASGIApp:
    """The ASGI application: what is observed, then the hot door, then everything else."""
    routers = parts.routers()
    contract = Contract(routers)
    others = APIRouter()
    others.add_api_route("/openapi.json", contract.openapi, include_in_schema=False)
    app = framed([*routers, others])
    edge = [Door(r.path, r.endpoint) for r in edge_routes(parts.intake, parts.keys, parts.edge)]
    app.router.routes.extend(edge)
    hot = next(door for door in edge if door.path == PIXEL_PATH)
    return Observe(Front(hot, app), parts.clock)
