"""Any sequence of outages and crashes: what was acknowledged is in the log exactly once."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count as numbers
from pathlib import Path

import asyncpg
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.events import LogRow, Refusal, Submission
from service.errors import RetryableError
from service.ingest.lane import Patience
from service.ingest.outage import Outage
from service.ingest.spool.drain import Drainer
from service.ingest.spool.folder import Spool
from service.ingest.writer import Writer
from service.kit.clock import SystemClock
from service.store.engine import make_engine
from service.store.partitions import ensure_partitions
from tests.conftest import Database
from tests.ingest.process import rows_of
from tests.proxy import Mode, Proxy, proxy_to
from tests.submissions import AT, row, submission

MakeSite = Callable[..., Awaitable[Site]]
EXAMPLES = int(os.environ.get("KOMPAS_EXAMPLES", "10"))
ATTEMPT = 0.3
SLOW = 0.4
DRAIN_SECONDS = 1.0
COMMITTED = b"s\x00\x00\x00\x04Z\x00\x00\x00\x05I"
"""What the server says last of an append: one row was asked for, and no transaction is open."""

IDS = st.one_of(st.none(), st.integers(1, 8))
SUBMIT = st.tuples(st.just("submit"), st.lists(IDS, min_size=1, max_size=4))
REFUSE = st.tuples(st.just("refuse"), st.just([]))
OTHERS = [st.tuples(st.just(name), st.just([])) for name in (
    "away", "back", "hang", "slow", "cut", "crash", "drain", "settle",
)]  # fmt: skip
SEQUENCES = st.lists(st.one_of(SUBMIT, SUBMIT, SUBMIT, REFUSE, *OTHERS), min_size=3, max_size=14)


CUT_AFTER_COMMIT: list[tuple[str, list[int | None]]] = [
    *([("submit", [None, 1]), ("refuse", []), ("drain", [])] * 2),
    *[("cut", []), ("submit", [None, 2]), ("settle", []), ("back", []), ("drain", [])],
    *[("cut", []), ("refuse", []), ("settle", []), ("back", []), ("drain", [])],
]


class World:
    """One service that is started again and again, and what its senders were told.

    `visitor` marks each event that was sent, and `payload` each refusal.
    """

    def __init__(self, proxy: Proxy, site: Site, folder: Path) -> None:
        self._proxy = proxy
        self._site = site
        self._folder = folder
        self._marks = numbers(1)
        self._waiting: dict[asyncio.Task[bool], list[LogRow] | str] = {}
        self.acknowledged: list[LogRow] = []
        self.sent: list[LogRow] = []
        self.refusals: list[str] = []

    async def start(self) -> None:
        """A new process on the same folder."""
        clock, outage = SystemClock(), Outage()
        self._engine = make_engine(self._proxy.url)
        self._spool = Spool(self._folder, 2**20, clock)
        await self._spool.open()
        patience = Patience(attempt=ATTEMPT, total=ATTEMPT, insists=False)
        self._writer = Writer(
            self._engine, clock, spool=self._spool, outage=outage, patience=patience
        )
        self._drainer = Drainer(self._spool, self._engine, clock, outage)
        await self._writer.start()

    async def do(self, name: str, ids: list[int | None]) -> None:
        await getattr(self, f"_{name}")(ids)

    async def _submit(self, ids: list[int | None]) -> None:
        marks = [next(self._marks) for _ in ids]
        rows = [
            row(n, id_, visitor=mark) for n, (id_, mark) in enumerate(zip(ids, marks, strict=True))
        ]
        self.sent += rows
        await self._send(submission(self._site.id, rows), rows)

    async def _refuse(self, _ids: list[int | None]) -> None:
        mark = str(next(self._marks))
        refusal = Refusal(0, "code", "", "", mark)
        await self._send(submission(self._site.id, [], refusals=[refusal]), mark)

    async def _send(self, sent: Submission, what: list[LogRow] | str) -> None:
        self._waiting[asyncio.create_task(self._told(sent))] = what
        await asyncio.sleep(0)

    async def _told(self, sent: Submission) -> bool:
        try:
            await self._writer.submit(sent)
        except RetryableError:
            return False
        return True

    async def _settle(self, _ids: list[int | None]) -> None:
        await self.settle()

    async def settle(self) -> None:
        """Wait for everybody's answer."""
        for task, what in self._waiting.items():
            with suppress(asyncio.CancelledError):
                if await task:
                    self._note(what)
        self._waiting.clear()

    def _note(self, what: list[LogRow] | str) -> None:
        if isinstance(what, str):
            self.refusals.append(what)
        else:
            self.acknowledged += what

    async def _away(self, _ids: list[int | None]) -> None:
        self._proxy.refuse()

    async def _back(self, _ids: list[int | None]) -> None:
        self._proxy.mend()

    async def _hang(self, _ids: list[int | None]) -> None:
        self._proxy.mode = Mode.SWALLOW

    async def _slow(self, _ids: list[int | None]) -> None:
        self._proxy.delay = SLOW

    async def _cut(self, _ids: list[int | None]) -> None:
        self._proxy.cut_at = COMMITTED

    async def _drain(self, _ids: list[int | None]) -> None:
        await self.settle()
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._drainer.drain_all()

    async def _crash(self, _ids: list[int | None]) -> None:
        await self.kill()
        await self.start()

    async def kill(self) -> None:
        """Nothing is finished; who had no answer by now gets none."""
        for task, what in self._waiting.items():
            if task.done() and not task.cancelled() and task.result():
                self._note(what)
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        self._waiting.clear()
        running, self._writer._running = self._writer._running, None
        assert running is not None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        self._writer._lane._drop()
        await self._spool.close()
        await self._engine.dispose()

    async def end(self) -> None:
        """Everything heals, and is drained."""
        self._proxy.mend()
        await self.settle()
        await self._writer.stop()
        await self._drainer.drain_all()
        assert self._spool.records == 0
        await self._spool.close()
        await self._engine.dispose()


async def verify(engine: AsyncEngine, site: Site, world: World) -> None:
    found = await rows_of(engine, f"SELECT visitor FROM event WHERE site_id = {site.id}")
    logged = Counter(visitor for (visitor,) in found)
    assert set(logged.values()) <= {1}, "an event is there twice"
    ids = {each.visitor: each.key for each in world.sent}
    keys = Counter(ids[visitor] for visitor in logged if ids[visitor] is not None)
    assert set(keys.values()) <= {1}, "an id is there twice"
    for each in world.acknowledged:
        assert each.visitor in logged if each.key is None else each.key in keys, "lost"
    told = await rows_of(engine, f"SELECT payload FROM rejection WHERE site_id = {site.id}")
    recorded = Counter(payload for (payload,) in told)
    assert set(recorded.values()) <= {1}, "a refusal is there twice"
    assert set(world.refusals) <= recorded.keys(), "a refusal is lost"


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(sequence=CUT_AFTER_COMMIT)
@given(sequence=SEQUENCES)
async def test_what_is_acknowledged_is_there_once_whatever_happens(
    database: Database,
    make_site: MakeSite,
    tmp_path: Path,
    sequence: list[tuple[str, list[int | None]]],
) -> None:
    async with database.engine.connect() as connection:
        known = await connection.scalar(text("SELECT count(*) FROM site"))
    site = await make_site(database.engine, f"site-{known}")
    folder = tmp_path / str(known)
    await ensure_partitions(database.engine, AT)
    async with proxy_to(database.url) as proxy:
        world = World(proxy, site, folder)
        await world.start()
        for name, ids in sequence:
            await world.do(name, ids)
        await world.end()
    await verify(database.engine, site, world)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
