"""The drainer on a real Postgres: poison, crashes at every step, records that nobody can store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Detail, Dimension, detail_id, dimension_id
from service.domain.events import LogRow, Refusal
from service.ingest.refusals import RefusalCode
from service.ingest.spool import drain, quarantine
from service.ingest.spool.payload import Flush
from service.ingest.spool.pieces import DOOR, outcomes, pieces
from service.kit.clock import SystemClock
from service.store.append import Appended, Batch, Rejected
from tests.conftest import Database
from tests.ingest.process import (
    count,
    counted,
    drained,
    draining,
    eventually,
    process,
    rows_of,
    until,
)
from tests.proxy import Proxy, proxy_to
from tests.submissions import AT, NAMED, SEEN, key, row

MakeSite = Callable[..., Awaitable[Site]]
REFUSED = Rejected("events", Refusal(0, "code", "message", "/x", "{}"))
NUL = "\x00"


@pytest.fixture
async def site(database: Database, make_site: MakeSite) -> Site:
    return await make_site(database.engine)


def a_flush(*rows: LogRow, site: Site, rejected: int = 0) -> Flush:
    dimensions = {dimension_id(each): each for each in (NAMED, Dimension(NUL))}
    details = {detail_id(each): each for each in (SEEN, Detail(NUL))}
    batch = Batch(
        site.id,
        rows=list(rows),
        dimensions={r.dim_id: dimensions[r.dim_id] for r in rows},
        details={r.detail_id: details[r.detail_id] for r in rows},
        rejected=[REFUSED] * rejected,
    )
    return Flush(AT, [batch])


# --- Pieces -------------------------------------------------------------------------------------

BATCHES = st.tuples(st.lists(st.integers(1, 3), max_size=9), st.integers(0, 4))


def leaves(batch: Batch) -> list[Batch]:
    parts = pieces(batch)
    return [leaf for part in parts for leaf in leaves(part)] if len(parts) > 1 else [batch]


@given(made=BATCHES)
def test_pieces_are_the_same_every_time_and_lose_nothing(made: tuple[list[int], int]) -> None:
    events, rejected = made
    rows = [row(position, position) for position, size in enumerate(events) for _ in range(size)]
    named = {dimension_id(NAMED): NAMED} if rows else {}
    batch = Batch(1, UUID(int=5), rows, named, rejected=[REFUSED] * rejected)
    found = leaves(batch)
    assert found == leaves(batch)
    assert [each for leaf in found for each in leaf.rows] == rows
    assert sum(len(leaf.rejected) for leaf in found) == rejected
    if events or rejected:
        assert len(found) == len({leaf.token for leaf in found}) == len(events) + rejected
    for leaf in found:
        assert len({each.position for each in leaf.rows}) + len(leaf.rejected) <= 1
        assert set(leaf.dimensions) == {each.dim_id for each in leaf.rows}


def test_of_a_single_event_remains_its_refusal_and_of_that_nothing() -> None:
    batch = Batch(1, rows=[row(3, 1, kind=20), row(3, 1, kind=20)])
    [refusal] = pieces(batch)
    [(door, refused)] = refusal.rejected
    assert (door, refused.code, refused.kind) == (DOOR, RefusalCode.NOT_STORABLE, 20)
    assert refused.payload == batch.rows[0].data
    assert (refusal.rows, refusal.token) == ([], pieces(batch)[0].token)
    assert refusal.token != batch.token
    assert pieces(refusal) == []


def test_outcomes_are_counted_by_event() -> None:
    batch = Batch(1, rows=[row(0, 1), row(0, 1), row(1, 2, kind=20), row(2, 3)])
    assert outcomes(batch, Appended(frozenset({0, 1, 3}))) == {
        ("page_view", "accepted"): 2,
        ("lead", "duplicate"): 1,
    }
    assert outcomes(batch, Appended()).total() == 3


# --- What Postgres refuses ----------------------------------------------------------------------

POISON = {
    "NUL in JSON": row(2, 102, data='{"title": "\\u0000"}'),
    "NUL in text": row(2, 102, data='{"title": "\x00"}'),
    "lone surrogate": row(2, 102, data='{"title": "\ud800"}'),
    "no JSON": row(2, 102, data="{"),
    "visitor out of range": row(2, 102, visitor=2**63),
    "kind out of range": row(2, 102, kind=40_000),
    "no month for it": row(2, 102, at=datetime(2300, 1, 1, tzinfo=AT.tzinfo)),
    "dimension with NUL": row(2, 102, dimension=Dimension(NUL)),
    "detail with NUL": row(2, 102, detail=Detail(NUL)),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_a_poisonous_event_is_refused_and_the_others_are_stored(
    database: Database, site: Site, tmp_path: Path, poison: LogRow
) -> None:
    before = counted("rejections_total", code="not_storable")
    async with process(database.url, tmp_path) as made:
        await made.spool.append(a_flush(row(0, 1), row(1), site=site))
        mixed = a_flush(row(0, 2), row(1), poison, poison, row(3), site=site, rejected=1)
        await made.spool.append(mixed)
        await made.spool.append(a_flush(row(0, 3), site=site))
        await made.drainer.drain_all()
        assert made.spool.records == 0
    assert await count(database.engine) == 6
    stored = "SELECT code, door, received_at FROM rejection ORDER BY code"
    assert await rows_of(database.engine, stored) == [
        ("code", "events", AT),
        ("not_storable", DOOR, AT),
    ]
    assert counted("rejections_total", code="not_storable") == before + 1


async def test_a_twentieth_of_poison_costs_only_itself(
    database: Database, site: Site, tmp_path: Path
) -> None:
    bad = POISON["NUL in JSON"]
    async with process(database.url, tmp_path) as made:
        for start in range(0, 400, 40):
            rows = [row(n, start + n) for n in range(40)]
            rows[7] = bad._replace(position=7, key=key(start + 7))
            rows[29] = bad._replace(position=29, key=None)
            await made.spool.append(a_flush(*rows, site=site))
        await made.drainer.drain_all()
    assert await count(database.engine) == 380
    assert await count(database.engine, "rejection") == 20


async def crash(proxy: Proxy, folder: Path, answers: int) -> bool:
    """A process that drains until so many answers came; whether that was enough."""
    async with process(proxy.url, folder) as made:
        proxy.answers_left = answers
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await made.drainer.drain_all()
        proxy.mend()
        return made.spool.records == 0


async def test_a_crash_at_any_point_doubles_nothing(
    database: Database, site: Site, tmp_path: Path
) -> None:
    """Before, between and after the halves: the process dies with the answer that it waits for."""
    bad = POISON["NUL in JSON"]
    flushes = [
        a_flush(row(0), row(1), bad._replace(position=2, key=None), row(3), site=site, rejected=2),
        a_flush(row(0), row(1), site=site),
    ]
    async with proxy_to(database.url) as proxy:
        async with process(proxy.url, tmp_path) as made:
            for flush in flushes:
                await made.spool.append(flush)
        crashes = 0
        while not await crash(proxy, tmp_path, answers=3 + crashes):
            crashes += 1
    assert crashes > 3
    assert await count(database.engine) == 5
    stored = "SELECT code, count(*) FROM rejection GROUP BY 1 ORDER BY 1"
    assert await rows_of(database.engine, stored) == [("code", 2), ("not_storable", 1)]


async def test_what_becomes_storable_after_a_crash_between_the_halves_is_not_doubled(
    database: Database, site: Site, tmp_path: Path
) -> None:
    """The whole would be taken now; but a half of it is there already."""
    async with database.engine.begin() as connection:
        await connection.execute(
            text("ALTER TABLE event ADD CONSTRAINT picky CHECK (visitor <> 13)")
        )
    async with proxy_to(database.url) as proxy:
        async with process(proxy.url, tmp_path) as made:
            whole = a_flush(row(0), row(1), row(2), row(3, visitor=13), site=site)
            await made.spool.append(whole)
        for answers in range(3, 50):
            await crash(proxy, tmp_path, answers)
            if await count(database.engine):
                break
        assert await count(database.engine) == 2, "the first half"
        async with database.engine.begin() as connection:
            await connection.execute(text("ALTER TABLE event DROP CONSTRAINT picky"))
        proxy.mend()
        async with process(proxy.url, tmp_path) as made:
            await made.drainer.drain_all()
    assert await count(database.engine) == 4
    assert await count(database.engine, "rejection") == 0


# --- What fails for a reason that nobody knows --------------------------------------------------

FAULTY = """
CREATE FUNCTION faulty() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.visitor = 666 OR {always} THEN
        RAISE EXCEPTION 'nobody knows' USING ERRCODE = 'KO001';
    END IF;
    RETURN NEW;
END $$"""
ON_EVENT = "CREATE TRIGGER faulty BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION faulty()"


async def make_faulty(engine: AsyncEngine, *, always: bool) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(FAULTY.format(always=str(always).lower())))
        await connection.execute(text(ON_EVENT))


def stuck(folder: Path) -> int:
    """Segments that are left for whoever finds out why."""
    return len(list(folder.glob("quarantine/stuck-*.spool")))


async def fails_again(times: int) -> None:
    wanted = counted("replay_failures_total") + times

    async def has_failed() -> bool:
        return counted("replay_failures_total") >= wanted

    await eventually(has_failed)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "PATIENCE", 4)
    monkeypatch.setattr(drain, "FIRST_REST", 0.01)
    monkeypatch.setattr(drain, "LONGEST_REST", 0.02)
    monkeypatch.setattr(drain, "PROBE_REST", 0.02)


@pytest.mark.usefixtures("_impatient")
async def test_a_record_that_cannot_be_stored_does_not_hold_up_the_others(
    database: Database, site: Site, tmp_path: Path
) -> None:
    await make_faulty(database.engine, always=False)
    before = counted("spool_damaged_records_total", kind="stuck")
    async with process(database.url, tmp_path) as made:
        for visitor in (1, 666, 3):
            await made.spool.append(a_flush(row(0, visitor=visitor), site=site))
        async with draining(made):
            await drained(made)
    assert await rows_of(database.engine, "SELECT visitor FROM event ORDER BY 1") == [(1,), (3,)]
    assert counted("spool_damaged_records_total", kind="stuck") == before + 1
    assert stuck(tmp_path) == 1


@pytest.mark.usefixtures("_impatient")
async def test_nothing_is_set_aside_while_nothing_can_be_stored(
    database: Database, site: Site, tmp_path: Path
) -> None:
    await make_faulty(database.engine, always=True)
    async with process(database.url, tmp_path) as made:
        for visitor in range(5):
            await made.spool.append(a_flush(row(0, visitor=visitor), site=site))
        async with draining(made):
            await fails_again(3 * drain.PATIENCE)
            assert made.spool.records == 5
            async with database.engine.begin() as connection:
                await connection.execute(text("DROP FUNCTION faulty CASCADE"))
            await drained(made)
    assert await count(database.engine) == 5


@pytest.mark.usefixtures("_impatient")
async def test_a_lone_record_is_set_aside_when_the_writer_stores_others(
    database: Database, site: Site, tmp_path: Path
) -> None:
    await make_faulty(database.engine, always=False)
    async with process(database.url, tmp_path) as made:
        await made.spool.append(a_flush(row(0, visitor=666), site=site))
        async with draining(made):
            await fails_again(drain.PATIENCE + 3)
            assert made.spool.records == 1
            made.outage.commits += 1
            await drained(made)
    assert await count(database.engine) == 0


@pytest.mark.usefixtures("_impatient")
async def test_what_is_stuck_holds_up_no_other_segment(
    database: Database, site: Site, tmp_path: Path
) -> None:
    await make_faulty(database.engine, always=False)
    async with process(database.url, tmp_path) as left:
        for visitor in (666, 3):
            await left.spool.append(a_flush(row(0, visitor=visitor), site=site))
            assert await left.spool.next() is not None
    async with process(database.url, tmp_path) as made:
        await made.spool.append(a_flush(row(0, visitor=4), site=site))
        async with draining(made):
            await until(database.engine, "SELECT 1 FROM event HAVING count(*) = 2")
            await drained(made)
    assert stuck(tmp_path) == 1
    assert quarantine.give_back(tmp_path) == quarantine.count_stuck(tmp_path) + 1 == 1
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP FUNCTION faulty CASCADE"))
    async with process(database.url, tmp_path) as later:
        assert await later.drainer.drain_all() == 0
    assert await count(database.engine) == 3


@pytest.mark.usefixtures("_impatient")
async def test_what_will_pass_is_never_set_aside(
    database: Database, site: Site, tmp_path: Path
) -> None:
    async with database.engine.begin() as connection:
        # A full disk, of which a canary needs nothing.
        await connection.execute(text(FAULTY.format(always="true").replace("KO001", "53100")))
        await connection.execute(text(ON_EVENT))
    async with process(database.url, tmp_path) as made:
        await made.spool.append(Flush(AT, []))  # a canary comes through
        for visitor in range(3):
            await made.spool.append(a_flush(row(0, visitor=visitor), site=site))
        async with draining(made):
            await fails_again(3 * drain.PATIENCE)
            made.outage.commits += 1
            await fails_again(3 * drain.PATIENCE)
            assert stuck(tmp_path) == 0
            async with database.engine.begin() as connection:
                await connection.execute(text("DROP FUNCTION faulty CASCADE"))
            await drained(made)
    assert await count(database.engine) == 3


async def test_leftovers_are_found_while_running(
    database: Database, site: Site, tmp_path: Path
) -> None:
    async with process(database.url, tmp_path) as made:
        made.drainer._adopt_at = SystemClock().monotonic()
        async with process(database.url, tmp_path) as other:
            await other.spool.append(a_flush(row(0), site=site))
        async with draining(made):
            await until(database.engine, "SELECT 1 FROM event")
            await drained(made)
