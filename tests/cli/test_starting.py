"""`kompas serve` while its database is away: alive, not ready, and losing nothing."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.edge.gif import GIF
from tests.running import Answer, Service, kompas_starting

PAGE = "https://shop.example/"


def first_answer(service: Service, path: str) -> Answer:
    """What the process answers as soon as it listens."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return service.get(path)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_it_is_alive_and_loses_nothing_while_it_waits(absent: tuple[str, Path, Path]) -> None:
    url, later, folder = absent
    with kompas_starting(KOMPAS_DATABASE_URL=url) as service, ThreadPoolExecutor(1) as sender:
        alive = first_answer(service, "/healthz")
        assert (alive.status, alive.json) == (200, {"status": "ok"})
        assert alive.headers["X-Request-Id"]
        waiting = service.get("/readyz")
        assert (waiting.status, waiting.json["code"]) == (503, "unavailable")
        assert "starting" in waiting.json["message"]
        assert int(waiting.headers["Retry-After"]) > 0
        other = Service(service.port)
        sent = sender.submit(other.get, "/v1/pixel.gif", url=PAGE)
        time.sleep(0.2)
        assert not sent.done()
        assert service.get("/healthz").status == 200
        later.symlink_to(folder)
        answer = sent.result(20)
        assert (answer.status, answer.body) == (200, GIF)
        assert service.get("/readyz").json == {"status": "ready"}
        other.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a database that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"postgresql://kompas@127.0.0.1:{listener.getsockname()[1]}/kompas"


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_signal_ends_the_waiting(is_silent: bool, silent: str, tmp_path: Path) -> None:
    url = silent if is_silent else f"postgresql://kompas@/kompas?host={tmp_path}"
    with kompas_starting(KOMPAS_DATABASE_URL=url) as service, ThreadPoolExecutor(1) as sender:
        assert first_answer(service, "/healthz").status == 200
        other = Service(service.port)
        sent = sender.submit(other.get, "/v1/pixel.gif", url=PAGE)
        time.sleep(0.2)
        assert service.process
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(2) == 0
        answer = sent.result(1)
        assert (answer.status, answer.body) == (503, GIF)
        other.close()
