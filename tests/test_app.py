"""What stands around every door: ids, metrics, problem documents, health."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from service import telemetry
from service.app.observe import Observe
from service.kit.clock import SystemClock
from service.worker import Worker, working
from tests.conftest import Database
from tests.doors import cloned, doors, problem


@pytest.fixture(scope="module")
async def client(postgres_url: str, template: str) -> AsyncIterator[httpx.AsyncClient]:
    async with cloned(postgres_url, template) as engine, doors(engine) as client:
        yield client


@pytest.fixture
async def own_client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """For tests that break the database."""
    async with doors(database.engine, spool_mb=0) as client:
        yield client


async def test_a_request_keeps_its_own_id(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz", headers={"X-Request-Id": "order.17_retry-2"})
    assert answer.headers["x-request-id"] == "order.17_retry-2"


@pytest.mark.parametrize("given", ["short", "x" * 65, "with space", 'quote"quote'])
async def test_an_id_that_cannot_be_logged_is_replaced(
    client: httpx.AsyncClient, given: str
) -> None:
    first = await client.get("/healthz", headers={"X-Request-Id": given})
    await client.get("/v1/pixel.gif")
    second = await client.get("/v1/pixel.gif")
    assert len(first.headers["x-request-id"]) == 16
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(second.headers.get_list("x-request-id")) == 1


async def test_a_message_that_a_door_keeps_stays_as_it_is() -> None:
    start: Message = {"type": "http.response.start", "status": 200, "headers": []}
    sent: list[Message] = []

    async def door(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start)

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    for _ in range(2):
        scope = {"type": "http", "method": "GET", "headers": []}
        await Observe(door, SystemClock())(scope, receive, send)
    assert start["headers"] == []
    assert [len(message["headers"]) for message in sent] == [1, 1]


def counted(method: str, route: str, status: int) -> float:
    labels = {"method": method, "route": route, "status": str(status)}
    return telemetry.REGISTRY.get_sample_value("kompas_http_requests_total", labels) or 0.0


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/v1/kpis/roas?wait=0", "/v1/kpis/{id}", 200),
        ("GET", "/v1/kpis/rosa", "/v1/kpis/{id}", 404),
        ("PATCH", "/v1/kpis/roas", "/v1/kpis/{id}", 405),
        ("GET", "/v1/pixel.gif?url=nonsense", "/v1/pixel.gif", 422),
        ("GET", "/v1/open/nonsense.gif", "/v1/open/{token}.gif", 404),
        ("POST", "/v1/leads", "/v1/leads", 400),
        ("GET", "/wp-login.php", "unmatched", 404),
        ("BREW", "/healthz", "/healthz", 405),
    ],
)
async def test_requests_are_counted_by_template(
    client: httpx.AsyncClient, method: str, path: str, route: str, status: int
) -> None:
    known = method if method != "BREW" else "other"
    before = counted(known, route, status)
    answer = await client.request(method, path)
    assert answer.status_code == status, answer.text
    assert counted(known, route, status) == before + 1


async def test_what_is_not_there_is_a_problem(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs", "/v1/kpis/", "/v1/sites/shop/", "/v1/%00"):
        problem(await client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/sites", {"GET", "POST"}),
        ("POST", "/v1/fx-rates", {"GET", "PUT"}),
        ("PUT", "/v1/leads", {"POST", "OPTIONS"}),
        ("POST", "/openapi.json", {"GET"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    client: httpx.AsyncClient, method: str, path: str, allow: set[str]
) -> None:
    answer = await client.request(method, path)
    problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allow


async def test_a_head_request_finds_out_about_health(client: httpx.AsyncClient) -> None:
    assert (await client.head("/healthz")).status_code == 200
    assert (await client.head("/readyz")).status_code == 200


async def test_the_unforeseen_shows_nothing_of_itself(
    own_client: httpx.AsyncClient, database: Database
) -> None:
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE fx_rate")
    with capture_logs() as logs:
        answer = await own_client.get("/v1/fx-rates")
    found = problem(answer, 500, "internal")
    assert found["detail"] == {"request_id": answer.headers["x-request-id"]}
    assert "fx_rate" not in answer.text
    (line,) = [log for log in logs if log["event"] == "request_failed"]
    assert "42P01" in line["error"]
    assert "fx_rate" not in str(line["error"])


async def test_without_the_database_it_says_try_again(
    own_client: httpx.AsyncClient, database: Database, postgres_url: str
) -> None:
    assert (await own_client.get("/readyz")).json() == {"status": "ready"}
    assert (await own_client.get("/v1/kpis/roas", params={"wait": 0})).status_code == 200
    async with closed(database, postgres_url):
        for path in ("/v1/kpis/roas", "/v1/sites", "/v1/rejections", "/readyz"):
            answer = await own_client.get(path)
            problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        assert (await own_client.get("/healthz")).json() == {"status": "ok"}
        assert "process_cpu_seconds_total" in (await own_client.get("/metrics")).text
    assert (await own_client.get("/v1/sites")).status_code == 200


class closed:  # noqa: N801 - read as a phrase: `async with closed(database, …)`
    """The test's database takes no connection while the block runs."""

    def __init__(self, database: Database, postgres_url: str) -> None:
        self._name = str(database.engine.url.database)
        self._url = postgres_url

    async def __aenter__(self) -> None:
        self._admin = await asyncpg.connect(self._url)
        await self._admin.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        await self._admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", self._name
        )

    async def __aexit__(self, *_: object) -> None:
        await self._admin.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")
        await self._admin.close()


class Failing(Worker):
    """Fails once, then waits."""

    def __init__(self) -> None:
        self.runs = 0
        self.again = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise RuntimeError("for once")
        self.again.set()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        pass


async def test_a_worker_that_fails_is_logged_and_started_again() -> None:
    worker = Failing()
    with capture_logs() as logs:
        async with working(worker, restart_seconds=0.01):
            await asyncio.wait_for(worker.again.wait(), 5)
    assert [log["event"] for log in logs] == ["worker_failed"]


async def test_the_lag_is_the_database_s_own(postgres_url: str, template: str) -> None:
    """Whoever should project: here nobody does."""
    async with cloned(postgres_url, template) as engine, doors(engine) as client:
        lag = "kompas_projection_lag_seconds"
        assert f"\n{lag} 0.0\n" in (await client.get("/metrics")).text
        sent = await client.post("/v1/events", json={"kind": "lead", "lead": "l-1"})
        assert sent.status_code == 200
        (waited,) = re.findall(rf"^{lag} (\S+)$", (await client.get("/metrics")).text, re.M)
        assert 0 < float(waited) < 60
