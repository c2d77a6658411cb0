"""`kompas serve` as a process: what an operator sees when it starts, stops, fails and recovers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from service.store.embedded import EmbeddedPostgres
from tests.conftest import FAST_AND_LOOSE, Database
from tests.running import ADMIN_KEY, Service, free_port, kompas_serve

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for data directories that the server's own user can reach."""
    folder = tmp_path_factory.mktemp("serve")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def cluster(home: Path) -> Path:
    """A database cluster that was stopped in good order, to be copied: initdb takes its time."""
    server = EmbeddedPostgres(home / "made", settings=FAST_AND_LOOSE)
    server.start()
    server.stop()
    return server.cluster


def copied(cluster: Path, data_dir: Path) -> Path:
    """A data directory as if it had been started once."""
    data_dir.mkdir()
    subprocess.run(["cp", "-a", cluster, data_dir], check=True)  # with its owner
    return data_dir


def kompas(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "service.cli", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=60)


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """One clear sentence on stderr, a non-zero exit, no traceback."""
    assert result.returncode not in {0, None}
    assert result.stderr.startswith("kompas: ")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def postmaster(data_dir: Path) -> int | None:
    """The pid of the data directory's server, None when it is not running."""
    for path in data_dir.glob("*/postmaster.pid"):
        return int(path.read_text().splitlines()[0])
    return None


def spend(service: Service, cost: str) -> None:
    body = {"source": "google", "date": "2026-01-05", "cost": cost, "currency": "DKK"}
    assert service.post("/v1/ad-spend", body).json["accepted"] == 1


JANUARY = {"from": "2026-01-01", "to": "2026-02-01"}


def test_life_of_an_embedded_service(home: Path) -> None:
    """First start, stop, quick second start with the same data, kill -9, start again.

    No second service starts on the directory of a running one.
    """
    data = home / "life"
    with kompas_serve(KOMPAS_DATA_DIR=str(data), KOMPAS_BOOTSTRAP_ADMIN_KEY="") as service:
        assert service.process
        assert service.process.stdout
        greeting = "".join(service.process.stdout.readline() for _ in range(5))
        assert re.search(r"pk_[\w-]{20,}", greeting)
        (service.key,) = re.findall(r"sk_[\w-]{20,}", greeting)
        spend(service, "100.25")
        assert postmaster(data)
        refused(kompas("serve", "--port", "0", KOMPAS_DATA_DIR=str(data)), str(data), "in use")
    assert postmaster(data) is None, "SIGTERM also stops the database"

    started = time.monotonic()
    with kompas_serve(KOMPAS_DATA_DIR=str(data)) as service:
        assert time.monotonic() - started < 10  # 1.7 s alone; others share the machine
        assert str(service.kpi("spend", **JANUARY)["value"]) == "100.25"
        assert service.process
        service.process.kill()
        service.process.wait()
        assert postmaster(data), "kill -9 of the service leaves the database running"
        service.process.returncode = 0

    with kompas_serve(KOMPAS_DATA_DIR=str(data)) as service:
        assert str(service.kpi("spend", **JANUARY)["value"]) == "100.25"
        spend(service, "50")
        server = postmaster(data)
        assert server
        assert service.process
        service.process.kill()
        service.process.wait()
        os.kill(server, signal.SIGKILL)
        service.process.returncode = 0

    with kompas_serve(KOMPAS_DATA_DIR=str(data)) as service:
        assert str(service.kpi("spend", **JANUARY)["value"]) == "50"
        assert service.process
        service.process.send_signal(signal.SIGINT)  # Ctrl-C
        assert service.process.wait(15) == 0
    assert postmaster(data) is None


def test_sigterm_answers_what_is_under_way(cluster: Path, home: Path) -> None:
    """A request whose body arrives after SIGTERM is answered, then the service exits with 0."""
    with kompas_serve(KOMPAS_DATA_DIR=str(copied(cluster, home / "drain"))) as service:
        body = b'{"source":"google","date":"2026-01-05","cost":"1","currency":"DKK"}'
        head = (
            f"POST /v1/ad-spend HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(head.encode() + body[:10])
            time.sleep(0.1)
            assert service.process
            service.process.terminate()
            time.sleep(0.1)
            connection.sendall(body[10:])
            connection.settimeout(10)
            answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert service.process.wait(15) == 0


def test_a_database_that_dies_beside_its_service_comes_back(cluster: Path, home: Path) -> None:
    data = copied(cluster, home / "dies")
    with kompas_serve(KOMPAS_DATA_DIR=str(data)) as service:
        spend(service, "12")
        server = postmaster(data)
        assert server
        os.kill(server, signal.SIGKILL)
        body = {"source": "google", "date": "2026-01-06", "cost": "3", "currency": "DKK"}
        answer = service.post("/v1/ad-spend", body)
        assert (answer.status, answer.json["accepted"]) == (200, 1), "the spool took it"
        assert service.get("/readyz").status == 200
        deadline = time.monotonic() + 30
        while True:
            answer = service.get("/v1/kpis/spend", **JANUARY)
            if answer.status == 200 and answer.json["value"] == 15:
                break
            assert answer.status == 200 or int(answer.headers["Retry-After"]) > 0
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("command", [("serve", "--no-worker", "--port", "0"), ("worker",)])
def test_parts_of_a_service_need_a_shared_database(command: tuple[str, ...], home: Path) -> None:
    result = kompas(*command, KOMPAS_DATA_DIR=str(home / "parts"))
    refused(result, command[0], "KOMPAS_DATABASE_URL")


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_busy_port_is_one_sentence(busy: int, home: Path) -> None:
    result = kompas("serve", "--port", str(busy), KOMPAS_DATA_DIR=str(home / "busy"))
    refused(result, str(busy), "--port")


def test_a_host_that_is_not_ours_is_one_sentence(home: Path) -> None:
    refused(kompas("serve", "--host", "203.0.113.7", "--port", "0"), "203.0.113.7")


def test_an_unwritable_data_directory_is_one_sentence(home: Path) -> None:
    (home / "file").write_text("not a folder")
    refused(kompas("serve", "--port", "0", KOMPAS_DATA_DIR=str(home / "file")), "file")
    refused(kompas("serve", "--port", "0", KOMPAS_DATA_DIR="/proc/kompas"), "/proc/kompas")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mysql://root@127.0.0.1/kompas", "postgresql://"),
        ("not an address", "postgresql://"),
        ("postgresql://kompas:hidden@127.0.0.1:port/kompas", "postgresql://"),
        ("postgresql://kompas:hidden@127.0.0.1/kompas?bogus=5", "'bogus'"),
    ],
)
def test_a_wrong_database_url_is_one_sentence(url: str, word: str) -> None:
    result = kompas("serve", "--port", "0", KOMPAS_DATABASE_URL=url)
    refused(result, word)
    assert "hidden" not in result.stderr


def test_a_database_that_is_not_there_is_one_sentence() -> None:
    """Which a service says after a minute, and whoever only looks at once."""
    url = "postgresql://kompas:hidden@127.0.0.1:1/kompas"
    result = kompas("check", KOMPAS_DATABASE_URL=url)
    refused(result, "127.0.0.1:1")
    assert "hidden" not in result.stderr


def test_a_data_directory_of_another_major_version(cluster: Path, home: Path) -> None:
    data = copied(cluster, home / "older")
    (version,) = data.glob("*/PG_VERSION")
    version.write_text("17\n")
    refused(kompas("serve", "--port", "0", KOMPAS_DATA_DIR=str(data)), "17", "18")


@pytest.fixture
async def empty_database(postgres_url: str) -> str:
    name = f"empty_{free_port()}"
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    head, _, query = postgres_url.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{name}?{query}"


async def test_an_external_database_is_migrated_by_hand(empty_database: str) -> None:
    """`serve` never migrates somebody else's database; it names the command that does."""
    refused(kompas("serve", "--port", "0", KOMPAS_DATABASE_URL=empty_database), "kompas migrate")
    done = kompas("migrate", KOMPAS_DATABASE_URL=empty_database)
    assert done.returncode == 0, done.stderr
    with kompas_serve(KOMPAS_DATABASE_URL=empty_database) as service:
        spend(service, "7")
        assert service.kpi("spend", **JANUARY)["value"] == 7
    connection = await asyncpg.connect(empty_database)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    refused(kompas("serve", "--port", "0", KOMPAS_DATABASE_URL=empty_database), "9999", "newer")
    refused(kompas("migrate", KOMPAS_DATABASE_URL=empty_database), "9999", "newer")


def test_a_wheel_carries_the_migrations(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "service/store/migrations/env.py" in names
    assert any(re.fullmatch(r"service/store/migrations/versions/0001_\w+\.py", n) for n in names)


def test_logs_carry_a_request_id_and_nobody(database: Database) -> None:
    """At level info each request is one JSON line without query, address or user agent."""
    port = free_port()
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port)]
    env = {
        **os.environ,
        "KOMPAS_BOOTSTRAP_ADMIN_KEY": ADMIN_KEY,
        "KOMPAS_DATABASE_URL": database.url,
        "KOMPAS_LOG_LEVEL": "info",
        "KOMPAS_LOG_FORMAT": "json",
    }
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    service = Service(port, process=process)
    try:
        service.wait_ready()
        headers = {"User-Agent": "Somebody/1.0", "X-Request-Id": "req-12345678"}
        service.get("/v1/pixel.gif", headers, url="https://a.example/?email=x@y.dk", visitor="v77")
    finally:
        service.close()
        process.terminate()
        _, errors = process.communicate(timeout=15)
    assert "req-12345678" in errors
    for personal in ("Somebody/1.0", "x@y.dk", "v77", "127.0.0.1", ADMIN_KEY):
        assert personal not in errors, errors
