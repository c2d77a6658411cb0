"""A real `kompas serve` process, and a small HTTP client for it."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

ADMIN_KEY = f"sk_{secrets.token_hex(24)}"
READY_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body, with amounts read exactly."""
        return json.loads(self.body, parse_float=Decimal)


@dataclass
class Service:
    """A running service; one keep-alive connection, requests one after the other."""

    port: int
    key: str = ADMIN_KEY
    process: subprocess.Popen[str] | None = None
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)
    _others: list[Service] = field(default_factory=list, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        payload = None if body is None else json.dumps(body, default=str).encode()
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        try:
            self._connection.request(method, path, payload, sent)
            answer = self._connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        except (http.client.HTTPException, OSError):
            self._connection.close()
            self._connection = None
            raise

    def get(self, path: str, headers: Mapping[str, str] | None = None, **query: object) -> Answer:
        return self.request("GET", f"{path}?{urlencode(query)}" if query else path, None, headers)

    def post(self, path: str, body: object) -> Answer:
        return self.request("POST", path, body)

    def kpi(self, kpi: str, **query: object) -> Any:
        """A KPI's answer; fails loudly when there is none."""
        answer = self.get(f"/v1/kpis/{kpi}", **query)
        assert answer.status == 200, answer.body
        return answer.json

    def site_key(self, slug: str, timezone: str, currency: str, **rules: object) -> str:
        """Makes a site of its own and a key with all scopes for it."""
        site = {"slug": slug, "name": slug, "timezone": timezone, "currency": currency, **rules}
        made = self.post("/v1/sites", site)
        assert made.status in {200, 201}, made.body
        key = {"site": slug, "name": "test", "scopes": ["ingest", "read", "admin"]}
        answer = self.post("/v1/keys", key)
        assert answer.status in {200, 201}, answer.body
        return str(answer.json["key"])

    def of_site(self, slug: str, timezone: str, currency: str, **rules: object) -> Service:
        """The same service with the key of a new site, and a connection of its own."""
        self._hang_up()  # as the service may have done: it keeps no idle connection
        other = Service(self.port, self.site_key(slug, timezone, currency, **rules))
        self._others.append(other)
        return other

    def close(self) -> None:
        """Gives the connections back, and what was printed."""
        for other in self._others:
            other.close()
        self._hang_up()
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process is None or self.process.poll() is None, "the service exited"
            try:
                if self.get("/readyz").status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError("the service did not become ready")


@contextmanager
def kompas_serve(*arguments: str, **environment: str) -> Iterator[Service]:
    """`kompas serve` on a free port until the block ends (SIGTERM, must exit with 0).

    Without a data directory of its own it gets a spool of its own.
    """
    with kompas_starting(*arguments, **environment) as service:
        service.wait_ready()
        yield service


@contextmanager
def kompas_starting(*arguments: str, **environment: str) -> Iterator[Service]:
    """`kompas_serve` that waits for nothing."""
    with TemporaryDirectory() as folder:
        own = {} if "KOMPAS_DATA_DIR" in environment else {"KOMPAS_SPOOL_DIR": folder}
        with _kompas_serve(*arguments, **{**own, **environment}) as service:
            yield service


@contextmanager
def _kompas_serve(*arguments: str, **environment: str) -> Iterator[Service]:
    port = free_port()
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), *arguments]
    env = {**os.environ, "KOMPAS_BOOTSTRAP_ADMIN_KEY": ADMIN_KEY, **environment}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    service = Service(port, process=process)
    try:
        yield service
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            service.close()
    assert process.returncode == 0
