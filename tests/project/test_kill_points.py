"""Exactly once, wherever it is killed: before and after every statement, at every await, and while
its COMMIT is under way.

The points are counted in the work itself, so a new statement is covered by being there. Some of
them are tried each time; `KOMPAS_EXAMPLES=1 pytest tests/project/test_kill_points.py` tries all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension
from service.domain.kinds import Flag, Kind
from service.kit.clock import SystemClock
from service.project.compact import compact
from service.project.rebuild import rebuild, rebuild_months
from service.project.recredit import recredit
from service.project.runner import Runner
from service.store.engine import make_engine, reading
from tests.project.agreement import check_rollups
from tests.project.facts import facts
from tests.project.log import Placed, Row, append, uid
from tests.project.recount import recount
from tests.proxy import proxy_to

ALL = bool(os.environ.get("KOMPAS_EXAMPLES"))
SOME = 2
"""So many points of each kind and work are tried each time."""

COMMIT = "before COMMIT"

FIRST_BATCH = 10**12
"""Ids of batches are no other number in any fact."""

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)
GOOGLE = Dimension("Organic Search", "google", "organic")
SPRING = Dimension("Paid Search", "google", "cpc", "spring")

NewSite = Callable[..., Awaitable[Site]]
Work = Callable[[AsyncEngine, int], Coroutine[Any, Any, object]]


@pytest.fixture(autouse=True, scope="module")
async def _numbers(module_engine: AsyncEngine) -> None:
    async with module_engine.begin() as connection:
        restart = f"ALTER TABLE batch ALTER COLUMN id RESTART WITH {FIRST_BATCH}"
        await connection.execute(text(restart))


class KilledError(BaseException):
    """Nothing of ours catches it, as nothing catches kill -9."""


def rows(number: int) -> list[Row]:
    """A batch with something for every projection, about the same few people each time."""
    at = NOON + timedelta(minutes=25 * number)
    order = {"order": uid(f"order {number}"), "quantity": 1, "value": 99, "currency": "DKK"}
    return [
        Row(Kind.PAGE_VIEW, at - timedelta(days=5), GOOGLE, 1),
        Row(Kind.PAGE_VIEW, at, SPRING, 1),
        Row(Kind.CONVERSION, at, visitor=1, flags=Flag.CONSENT,
            data={**order, "customer": uid("ada"), "lead": uid("lead")}),
        Row(Kind.REFUND, at, data={**order, "value": 9}),
        Row(Kind.LEAD, at, visitor=1, data={"lead": uid("lead")}),
        Row(Kind.EMAIL_OPENED, at, data={"message": uid("mail")}),
        Row(Kind.AD_SPEND, at, data={"key": uid("ad"), "cost": number, "currency": "DKK"}),
        Row(Kind.SURVEY_ANSWER, at, data={"survey": "nps", "grade": 1, "respondent": uid("ada")}),
    ]  # fmt: skip


# --- What is killed ---------------------------------------------------------------------------


async def project(engine: AsyncEngine, site_id: int) -> None:
    """Two transactions, of which the second changes what the first one made."""
    runner = Runner(engine, SystemClock())
    while await runner.run_once(limit_events=1):
        pass


async def compact_all(engine: AsyncEngine, site_id: int) -> None:
    await compact(engine, site_id, FAR)


async def rebuild_month(engine: AsyncEngine, site_id: int) -> None:
    await rebuild_months(engine, site_id, date(2026, 5, 1), date(2026, 6, 1))


async def credit_with_a_new_lookback(engine: AsyncEngine, site_id: int) -> None:
    await recredit(engine, site_id, slice_rows=2)


WORKS: dict[str, Work] = {
    "project": project,
    "compact": compact_all,
    "recredit": credit_with_a_new_lookback,
    "rebuild": rebuild,
    "rebuild a month": rebuild_month,
}


async def prepare(engine: AsyncEngine, site: Site, work: str) -> list[Placed]:
    """What the work finds: its site's log of two batches."""
    log = await append(engine, site.id, rows(0)) + await append(engine, site.id, rows(1))
    if work != "project":
        await project(engine, site.id)
    if work == "recredit":
        async with engine.begin() as connection:
            query = text("UPDATE site SET lookback_days = 1 WHERE id = :site_id")
            await connection.execute(query, {"site_id": site.id})
    return log


# --- How it is killed -------------------------------------------------------------------------


@dataclass
class Killer:
    """Counts points as they are passed, and kills at number `at`."""

    at: int | None = None
    passed: int = 0
    names: list[str] = field(default_factory=list)

    def is_due(self, name: str) -> bool:
        self.passed += 1
        self.names.append(name)
        return self.passed == self.at


def at_statements(engine: AsyncEngine, killer: Killer) -> None:
    """Points before and after each statement, and before each COMMIT.

    The connection goes as that of a dead process does, without a rollback.
    """

    def reached(name: str, connection: Any) -> None:
        if killer.is_due(name):
            connection.connection.driver_connection.terminate()
            raise KilledError

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def before(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        reached(f"before {statement.split(None, 4)[:4]}", connection)

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def after(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        reached(f"after {statement.split(None, 4)[:4]}", connection)

    @event.listens_for(engine.sync_engine, "commit")
    def commit(connection: Any) -> None:
        reached(COMMIT, connection)


class AtAwaits:
    """Runs a coroutine and cancels its task where it waits for the `at`th time."""

    def __init__(self, running: Coroutine[Any, Any, object], killer: Killer) -> None:
        self._running = running
        self._killer = killer

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._running.__await__()
        try:
            waiting = next(steps)
            while True:
                if self._killer.is_due("await"):
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                try:
                    answer = yield waiting
                except BaseException as error:  # what its task is told, it is told
                    waiting = steps.throw(error)
                else:
                    waiting = steps.send(answer)
        except StopIteration:
            return


async def _awaiting(running: Coroutine[Any, Any, object], killer: Killer) -> None:
    await AtAwaits(running, killer)


@asynccontextmanager
async def mortal(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """An engine of a process's own."""
    own = make_engine(engine.url.render_as_string(hide_password=False).replace("+asyncpg", ""))
    try:
        yield own
    finally:
        await own.dispose()


async def run_killed(engine: AsyncEngine, work: Work, site: Site, how: str, killer: Killer) -> None:
    """Run the work in a process of its own that is killed at its point, if it comes that far."""
    async with mortal(engine) as own:
        running = work(own, site.id)
        if how == "statement":
            at_statements(own, killer)
            task = asyncio.create_task(running)
        else:
            task = asyncio.create_task(_awaiting(running, killer))
        await asyncio.wait([task])
        if killer.at is not None and killer.passed >= killer.at:
            assert task.cancelled() or task.exception() is not None, killer.names[killer.at - 1]
        else:
            await task


# --- What must hold ---------------------------------------------------------------------------


async def check_wholeness(engine: AsyncEngine, site: Site, log: list[Placed]) -> None:
    """Rollups are those of the batches that are marked, under the lookback that is marked."""
    marks = text("SELECT id FROM batch WHERE site_id = :site_id AND projected_at IS NOT NULL")
    days = text("SELECT credited_days FROM site WHERE id = :site_id")
    async with reading(engine) as connection:
        marked = set((await connection.scalars(marks, {"site_id": site.id})).all())
        lookback = int(await connection.scalar(days, {"site_id": site.id}) or 0)
    projected = [placed for placed in log if placed.batch in marked]
    await check_rollups(engine, site, recount(projected, lookback))


async def made(engine: AsyncEngine, site: Site, log: list[Placed]) -> Any:
    """The facts of a site, as those of any other one with the same events."""
    numbers = {batch: n for n, batch in enumerate(sorted({placed.batch for placed in log}))}
    return {
        table: sorted(
            (tuple(numbers.get(v, v) if type(v) is int else v for v in row[1:]) for row in found),
            key=repr,
        )
        for table, found in (await facts(engine, site.id)).items()
    }


async def finish(engine: AsyncEngine, site: Site, work: Work) -> None:
    """A fresh process does the work, once the server has noticed that the dead one is gone."""
    held = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with asyncio.timeout(10), engine.connect() as connection:
        while await connection.scalar(held):  # noqa: ASYNC110 (the event is in the database)
            await asyncio.sleep(0.002)
    await work(engine, site.id)


async def undisturbed(
    engine: AsyncEngine, new_site: NewSite, name: str, how: str
) -> tuple[Killer, Any]:
    """The points of the work, and the facts that it comes to."""
    site, killer = await new_site(), Killer()
    log = await prepare(engine, site, name)
    await run_killed(engine, WORKS[name], site, how, killer)
    await check_wholeness(engine, site, log)
    return killer, await made(engine, site, log)


def chosen(clean: Killer) -> list[int]:
    """All points, or some of them: the first two COMMITs, and others evenly."""
    points = len(clean.names)
    if ALL:
        return list(range(1, points + 1))
    commits = [at for at, name in enumerate(clean.names, 1) if name == COMMIT]
    return sorted({*commits[:2], *(points * place // (SOME + 1) for place in range(1, SOME + 1))})


@pytest.mark.parametrize("how", ["statement", "await"])
@pytest.mark.parametrize("name", WORKS)
async def test_killed_at_any_point_it_is_whole_and_goes_on(
    engine: AsyncEngine, new_site: NewSite, name: str, how: str
) -> None:
    work = WORKS[name]
    clean, expected = await undisturbed(engine, new_site, name, how)
    assert clean.passed >= 4
    for at in chosen(clean):
        site, killer = await new_site(), Killer(at)
        log = await prepare(engine, site, name)
        await run_killed(engine, work, site, how, killer)
        await check_wholeness(engine, site, log)
        await finish(engine, site, work)
        await check_wholeness(engine, site, log)
        assert await made(engine, site, log) == expected


COMMITS = [("project", 2), ("compact", 2), *((name, 1) for name in WORKS)]


@pytest.mark.parametrize(("name", "commit"), COMMITS)
async def test_a_commit_whose_outcome_nobody_heard_counts_once(
    engine: AsyncEngine, new_site: NewSite, name: str, commit: int
) -> None:
    """The connection ends when COMMIT has arrived, and the answer does not come back."""
    work, site = WORKS[name], await new_site()
    log = await prepare(engine, site, name)
    address = engine.url.render_as_string(hide_password=False).replace("+asyncpg", "")
    async with proxy_to(address) as proxy:
        own = make_engine(proxy.url)

        @event.listens_for(own.sync_engine, "commit")
        def committing(_: Any) -> None:
            nonlocal commit
            commit -= 1
            if commit == 0:
                proxy.cut_after = b"COMMIT"

        task = asyncio.create_task(work(own, site.id))
        await asyncio.wait([task])
        assert task.exception() is not None
        assert commit <= 0
        await own.dispose()
    await check_wholeness(engine, site, log)
    await finish(engine, site, work)
    await check_wholeness(engine, site, log)
