"""The drill: a backup of a running service, kill -9, a restore that lost and doubled nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from itertools import count
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.cli import commands
from service.domain.dimensions import Dimension, dimension_id
from service.domain.events import LogRow
from service.domain.kinds import Kind
from service.errors import StartupError
from service.ingest.spool.folder import Spool
from service.ingest.spool.payload import Flush
from service.ingest.spool.replay import Replay
from service.store.append import Batch
from service.store.embedded import EmbeddedPostgres
from service.store.embedded_cluster import PidFile
from service.store.engine import make_engine
from tests.running import Service, kompas_serve

PACE = 0.01
ENOUGH = 20
LANES = 2
AT = datetime(2026, 5, 4, 10, 15, tzinfo=UTC)
MAY = {"from": "2026-05-01", "to": "2026-06-01"}
MILLION = 1_000_000
NOWHERE = Dimension("Direct", "(direct)")


def kompas(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "service.cli", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=60)


async def run_here(*arguments: str, **environment: str) -> Result:
    """Run a command in this process, which has loaded everything already."""
    invoke = CliRunner(env=environment).invoke
    return await asyncio.to_thread(invoke, commands, arguments)


async def refused(*arguments: str, **environment: str) -> str:
    """What a command says that fails."""
    result = await run_here(*arguments, **environment)
    assert isinstance(result.exception, StartupError), result.output
    return str(result.exception)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder that the server's own account can reach; in memory, where there is room."""
    memory = Path("/dev/shm")  # noqa: S108 -- mkdtemp makes a name of its own in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    folder = Path(tempfile.mkdtemp(prefix="kb-", dir=memory if roomy else None))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


# --- Events that tell themselves apart -----------------------------------------------------------


@dataclass
class Lane:
    """Sends one request after the other: an order and a visit each, of a value of its own."""

    service: Service
    number: int
    sent: int = 0
    acknowledged: int = 0
    is_well_under_way: threading.Event = field(default_factory=threading.Event)

    def value(self, place: int) -> int:
        return place * LANES + self.number

    def events(self, place: int) -> list[dict[str, object]]:
        value = self.value(place)
        order = {"kind": "conversion", "order": f"o-{value}", "value": value, "currency": "DKK"}
        visit = {"kind": "page_view", "url": "https://shop.example/", "visitor": f"v-{value}"}
        visit |= {"id": f"p-{value}", "consent": True}
        return [{**each, "occurred_at": AT.isoformat()} for each in (order, visit)]

    def run(self) -> None:
        """Until the service is gone."""
        for self.sent in count(1):
            time.sleep(PACE)
            try:
                answer = self.service.post("/v1/events", self.events(self.sent))
            except (OSError, HTTPException):
                return
            assert answer.json["accepted"] == 2
            self.acknowledged = self.sent
            if self.sent == ENOUGH:
                self.is_well_under_way.set()


def spooled(site_id: int, values: range) -> Flush:
    """Orders as they are in the spool."""
    dim = dimension_id(NOWHERE)
    rows = [
        LogRow(place, int(Kind.CONVERSION), AT, 0, dim, 0, 2, uuid4(),
               f'{{"order":"{uuid4()}","quantity":1,"value":{value * MILLION},"currency":"DKK"}}')
        for place, value in enumerate(values)
    ]  # fmt: skip
    return Flush(AT, [Batch(site_id, rows=rows, dimensions={dim: NOWHERE})])


WAITING = range(10_000_001, 10_000_006)
DRAINED = range(10_000_006, 10_000_009)


async def fill_spool(data: Path, stack: AsyncExitStack) -> None:
    """A living process's spool with what waits, and with what is committed but not deleted yet."""
    url = EmbeddedPostgres(data).running_url()
    assert url
    engine = make_engine(url)
    connection = await asyncpg.connect(url)
    site_id = await connection.fetchval("SELECT id FROM site")
    await connection.close()
    spool = Spool(data / "spool", 1 << 20)
    await spool.open()
    stack.push_async_callback(spool.close)
    waiting, drained = spooled(site_id, WAITING), spooled(site_id, DRAINED)
    await spool.append(waiting)
    await spool.append(drained)
    replay = Replay(engine)
    await replay.store([drained])
    await replay.close()
    await engine.dispose()


async def stored(data: Path) -> tuple[Counter[int], int]:
    """Values of the orders in the log of a running database, and the number of its page views."""
    connection = await asyncpg.connect(EmbeddedPostgres(data).running_url())
    values = await connection.fetch(
        f"SELECT (data->>'value')::bigint / {MILLION} FROM event WHERE kind = {Kind.CONVERSION}"
    )
    views = await connection.fetchval(
        f"SELECT count(*) FROM event WHERE kind = {Kind.PAGE_VIEW} AND data->>'page' IS NOT NULL"
    )
    await connection.close()
    return Counter(row[0] for row in values), views


# --- The drill ----------------------------------------------------------------------------------


@dataclass
class Drill:
    """`promised`: what each lane had acknowledged before the backup began."""

    lanes: list[Lane]
    promised: list[int]
    archive: Path
    first: Path
    second: Path


@pytest.fixture(scope="module")
async def drill(home: Path) -> Drill:
    data, archive = home / "first", home / "backup.tar"
    async with AsyncExitStack() as stack:
        with kompas_serve(KOMPAS_DATA_DIR=str(data)) as service:
            lanes = [Lane(Service(service.port), number) for number in range(LANES)]
            threads = [threading.Thread(target=lane.run) for lane in lanes]
            for thread in threads:
                thread.start()
            await fill_spool(data, stack)
            await asyncio.to_thread(lanes[-1].is_well_under_way.wait)
            promised = [lane.acknowledged for lane in lanes]
            done = await asyncio.to_thread(
                kompas, "backup", str(archive), KOMPAS_DATA_DIR=str(data)
            )
            later = [lane.acknowledged for lane in lanes]
            assert service.process
            service.process.kill()
            service.process.wait()
            service.process.returncode = 0
            # Nobody holds the data directory, and its database is in use.
            said = await refused("restore", str(archive), "--force", KOMPAS_DATA_DIR=str(data))
            assert "left by a Kompas that was killed" in said
            server = PidFile.read(data / "postgres")
            assert server
            os.kill(server.pid, signal.SIGKILL)
            for thread, lane in zip(threads, lanes, strict=True):
                thread.join()
                lane.service.close()
    assert done.returncode == 0, done.stderr
    assert "schema" in done.stdout
    assert all(after > before for before, after in zip(promised, later, strict=True))
    second = home / "second"
    (second / "postgres").mkdir(parents=True)
    (second / "postgres" / "PG_VERSION").touch()
    put_back = await run_here("restore", str(archive), "--force", KOMPAS_DATA_DIR=str(second))
    assert put_back.exit_code == 0, put_back.exception
    assert "spool" in put_back.stdout
    (aside,) = second.glob("postgres-until-*")
    assert str(aside) in put_back.stdout
    return Drill(lanes, promised, archive, data, second)


@pytest.fixture(scope="module")
def restored(drill: Drill) -> Iterator[Service]:
    """A service on what was restored."""
    with kompas_serve(KOMPAS_DATA_DIR=str(drill.second)) as service:
        yield service


async def test_what_was_acknowledged_before_the_backup_is_there_once(
    drill: Drill, restored: Service
) -> None:
    found, views = await stored(drill.second)
    for _ in range(1000):
        if found.keys() >= set(WAITING):
            break
        await asyncio.sleep(PACE)
        found, views = await stored(drill.second)
    assert set(found.values()) == {1}, "nothing is doubled"

    expected = {*WAITING, *DRAINED}
    assert expected <= found.keys()
    for lane, promised in zip(drill.lanes, drill.promised, strict=True):
        there = len([value for value in found.keys() - expected if value % LANES == lane.number])
        assert promised <= there <= lane.sent
        # Committed in this order: the backup is the log of one moment.
        expected |= {lane.value(place) for place in range(1, there + 1)}
    assert found.keys() == expected
    assert views == len(found) - len(WAITING) - len(DRAINED)

    assert restored.kpi("orders", **MAY)["value"] == len(found)
    assert restored.kpi("revenue", **MAY)["value"] == sum(found)
    assert restored.kpi("visits", **MAY)["value"] == views

    again = restored.post("/v1/events", drill.lanes[0].events(1)).json
    assert (again["accepted"], again["duplicates"]) == (0, 2), "keys came along"


async def test_after_a_crash_with_no_service_running(drill: Drill, home: Path) -> None:
    archive = str(home / "crashed.tar")
    made = await run_here("backup", archive, KOMPAS_DATA_DIR=str(drill.first))
    assert made.exit_code == 0, made.exception
    assert PidFile.read(drill.first / "postgres") is None, "the database is stopped again"
    whole = await run_here("backup", "--verify", archive)
    assert whole.stdout.startswith(f"{archive} is whole: everything until 20")


# --- What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_somebody_elses_database_is_left_to_its_tools(command: str, tmp_path: Path) -> None:
    runner = CliRunner(env={"KOMPAS_DATABASE_URL": "postgresql://a:b@h/k"})
    result = runner.invoke(commands, [command, str(tmp_path / "b")])
    assert result.exit_code == 2
    assert "pg_dump, pgBackRest" in result.stderr
    assert not list(tmp_path.iterdir())


def test_no_database_is_no_backup(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    runner = CliRunner(env={"KOMPAS_DATA_DIR": data})
    result = runner.invoke(commands, ["backup", str(tmp_path / "b")])
    assert str(result.exception) == f"{data} holds no database that could be backed up."
    assert not list(tmp_path.iterdir()), "and none is made"


@pytest.mark.usefixtures("restored")
async def test_what_is_there_is_not_written_over(drill: Drill) -> None:
    archive, environment = str(drill.archive), {"KOMPAS_DATA_DIR": str(drill.second)}
    assert "exists already" in await refused("backup", archive, **environment)
    assert "--force" in await refused("restore", archive, **environment)
    assert "another Kompas" in await refused("restore", archive, "--force", **environment)


@pytest.mark.usefixtures("restored")
def test_a_disk_that_fills_up_leaves_nothing_behind(drill: Drill, tmp_path: Path) -> None:
    """As on a full disk: no file may be longer than 16 KiB."""
    target = tmp_path / "b.tar"
    limited = f"ulimit -f 16; exec {sys.executable} -m service.cli backup {target}"
    env = {**os.environ, "KOMPAS_DATA_DIR": str(drill.second), "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["bash", "-c", limited]
    full = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    assert full.returncode == 1
    assert full.stderr == f"kompas: {target}.part: File too large; no backup was made.\n"
    assert not list(tmp_path.iterdir())


async def test_a_damaged_backup_is_not_restored(drill: Drill, tmp_path: Path) -> None:
    damaged, data = tmp_path / "damaged.tar", tmp_path / "data"
    body = bytearray(drill.archive.read_bytes())
    body[len(body) // 2] ^= 1
    damaged.write_bytes(body)
    said = f"{damaged} is no whole backup: postgres.dump is damaged."
    assert await refused("backup", "--verify", str(damaged)) == said
    assert await refused("restore", str(damaged), KOMPAS_DATA_DIR=str(data)) == said
    assert not data.exists(), "nothing was touched"
