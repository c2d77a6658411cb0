"""The writer on a real Postgres: receipts, what is in the log, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension, dimension_id
from service.domain.events import Refusal
from service.errors import OverloadedError, RetryableError
from service.ingest.lane import Patience
from service.ingest.writer import Bounds, Writer
from service.telemetry import REGISTRY
from tests.clock import FixedClock
from tests.conftest import Database
from tests.submissions import AT, NAMED, key, row, submission, with_ids

MakeSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def site(database: Database, make_site: MakeSite) -> Site:
    return await make_site(database.engine)


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Writer]:
    writer = Writer(database.engine, FixedClock(AT))
    await writer.start()
    yield writer
    await writer.stop()


async def rows_of(engine: AsyncEngine, query: str, **parameters: object) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(query), parameters)).all())


async def log_of(engine: AsyncEngine, site: Site) -> list[Any]:
    return await rows_of(
        engine, "SELECT * FROM event WHERE site_id = :id ORDER BY batch_id, seq", id=site.id
    )


async def test_a_row_is_in_the_log_as_it_was_handed_in(
    database: Database, site: Site, writer: Writer
) -> None:
    handed = row(0, 1, data='{"page": "a/b", "props": {"x": 1.50}}', kind=40, visitor=-(2**63))
    assert (await writer.submit(submission(site.id, [handed])))[:2] == (1, 0)
    [stored] = await log_of(database.engine, site)
    assert (stored.occurred_at, stored.visitor, stored.kind) == (AT, -(2**63), 40)
    assert (stored.dim_id, stored.seq, stored.flags) == (dimension_id(NAMED), 0, 0)
    [raw] = await rows_of(database.engine, "SELECT data::text FROM event")
    assert raw.data == '{"page": "a/b", "props": {"x": 1.50}}'
    [batch] = await rows_of(database.engine, "SELECT * FROM batch")
    assert (batch.site_id, batch.events, batch.received_at) == (site.id, 1, AT)
    assert (batch.first_at, batch.last_at, batch.projected_at) == (AT, AT, None)
    assert stored.batch_id == batch.id
    [named] = await rows_of(database.engine, "SELECT * FROM dimension")
    assert (named.site_id, named.dim_id) == (site.id, dimension_id(NAMED))
    assert Dimension(*named[2:]) == NAMED


async def test_an_id_counts_once(database: Database, site: Site, writer: Writer) -> None:
    assert (await writer.submit(with_ids(site.id, 1, 2, 1)))[:2] == (2, 1)
    assert (await writer.submit(with_ids(site.id, 2, 3)))[:2] == (1, 1)
    assert (await writer.submit(with_ids(site.id, 1, 2, 3)))[:2] == (0, 3)
    assert len(await log_of(database.engine, site)) == 3


async def test_the_same_id_at_once_counts_once(
    database: Database, site: Site, writer: Writer
) -> None:
    receipts = await asyncio.gather(*(writer.submit(with_ids(site.id, 1)) for _ in range(5)))
    assert [receipt.accepted for receipt in receipts] == [1, 0, 0, 0, 0]
    assert [receipt.duplicates for receipt in receipts] == [0, 1, 1, 1, 1]


async def test_the_first_of_two_with_one_id_wins(
    database: Database, site: Site, writer: Writer
) -> None:
    rows = [row(0, 1, visitor=1), row(1, 1, visitor=2)]
    await writer.submit(submission(site.id, rows))
    assert [stored.visitor for stored in await log_of(database.engine, site)] == [1]


async def test_events_without_id_count_each_time(
    database: Database, site: Site, writer: Writer
) -> None:
    assert (await writer.submit(with_ids(site.id, None, None)))[:2] == (2, 0)
    assert (await writer.submit(with_ids(site.id, None, 1, None)))[:2] == (3, 0)
    assert (await writer.submit(with_ids(site.id, None, 1, None)))[:2] == (2, 1)
    stored = await log_of(database.engine, site)
    assert [row.seq for row in stored] == [0, 1, 0, 1, 2, 0, 2]


async def test_an_event_of_several_rows_is_one_event(
    database: Database, site: Site, writer: Writer
) -> None:
    days = [AT - timedelta(days=day) for day in range(3)]
    statement = [row(0, 1, at=at) for at in days]
    assert (await writer.submit(submission(site.id, [*statement, row(1, 2)])))[:2] == (2, 0)
    assert (await writer.submit(submission(site.id, [*statement, row(1, 3)])))[:2] == (1, 1)
    assert len(await log_of(database.engine, site)) == 5
    batches = await rows_of(database.engine, "SELECT * FROM batch ORDER BY id")
    assert [batch.events for batch in batches] == [4, 1]
    assert (batches[0].first_at, batches[0].last_at) == (days[-1], AT)


async def test_an_id_belongs_to_its_site(
    database: Database, make_site: MakeSite, writer: Writer
) -> None:
    sites = [await make_site(database.engine, f"s{n}") for n in range(4)]
    receipts = await asyncio.gather(*(writer.submit(with_ids(site.id, 1, 2)) for site in sites))
    assert [receipt.accepted for receipt in receipts] == [2, 2, 2, 2]
    batches = await rows_of(database.engine, "SELECT site_id, events FROM batch ORDER BY site_id")
    assert batches == [(site.id, 2) for site in sites]


async def test_nothing_new_leaves_no_batch(database: Database, site: Site) -> None:
    woken: list[int] = []
    writer = Writer(database.engine, FixedClock(AT), lambda: woken.append(1))
    await writer.start()
    await writer.submit(with_ids(site.id, 1, 2))
    assert len(woken) == 1
    await writer.submit(with_ids(site.id, 2, 1))
    await writer.submit(submission(site.id, []))
    assert len(woken) == 1
    [batch] = await rows_of(database.engine, "SELECT events FROM batch")
    assert batch.events == 2
    await writer.stop()


async def test_a_batch_spans_the_rows_it_really_has(
    database: Database, site: Site, writer: Writer
) -> None:
    await writer.submit(submission(site.id, [row(0, 1, at=AT - timedelta(days=9))]))
    again = [row(0, 1, at=AT - timedelta(days=9)), row(1, 2), row(2, 3, at=AT)]
    await writer.submit(submission(site.id, again))
    batch = (await rows_of(database.engine, "SELECT * FROM batch ORDER BY id"))[-1]
    assert (batch.events, batch.first_at, batch.last_at) == (2, AT, AT)


async def test_a_repeated_id_is_remembered_for_another_while(
    database: Database, site: Site, writer: Writer
) -> None:
    await writer.submit(with_ids(site.id, 1, 2))
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE event_key SET seen_on = '2026-04-22'"))
    assert (await writer.submit(with_ids(site.id, 1)))[:2] == (0, 1)
    seen = await rows_of(database.engine, "SELECT seen_on FROM event_key ORDER BY key")
    assert seen == [(AT.date(),), (date(2026, 4, 22),)]


async def test_refusals_are_recorded_beside_the_good_events(
    database: Database, site: Site, writer: Writer
) -> None:
    refusal = Refusal(1, "wrong_type", "`url` must be a text.", "/url", '{"url":1}')
    receipt = await writer.submit(submission(site.id, [row(0, 1)], refusals=[refusal]))
    assert receipt == (1, 0, [refusal])
    receipt = await writer.submit(submission(site.id, [], refusals=[refusal]))
    assert receipt == (0, 0, [refusal])
    stored = await rows_of(database.engine, "SELECT * FROM rejection ORDER BY id")
    assert [tuple(each)[2:] for each in stored] == [(AT, "events", *refusal[1:-1])] * 2


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"kompas_{name}_total", labels) or 0.0


async def test_what_happened_is_counted(site: Site, writer: Writer) -> None:
    def figures() -> list[float]:
        return [
            counted("events", kind="lead", outcome="accepted"),
            counted("events", kind="lead", outcome="duplicate"),
            counted("events", kind="lead", outcome="rejected"),
            counted("events", kind="unknown", outcome="rejected"),
            counted("rejections", code="counted_here"),
            REGISTRY.get_sample_value("kompas_batch_events_sum") or 0.0,
            REGISTRY.get_sample_value("kompas_commit_seconds_count") or 0.0,
        ]

    before = figures()
    rows = [row(0, 1, kind=20), row(1, 2, kind=20), row(2, 1, kind=20)]
    refusals = [Refusal(position, "counted_here", "", "", "") for position in (-1, 3)]
    refusals.append(Refusal(4, "counted_here", "", "", "", kind=20))
    await writer.submit(submission(site.id, rows, refusals=refusals))
    gained = [after - figure for after, figure in zip(figures(), before, strict=True)]
    assert gained == [2, 1, 1, 1, 3, 2, 1]
    assert REGISTRY.get_sample_value("kompas_pending_events") == 0


async def test_dimensions_are_sent_until_they_are_known(
    database: Database, site: Site, writer: Writer
) -> None:
    spring = Dimension("Email", campaign="spring")
    rows = [row(0), row(1, dimension=spring)]
    for _ in range(2):
        await writer.submit(submission(site.id, rows, [NAMED, spring]))
    stored = await rows_of(database.engine, "SELECT campaign FROM dimension ORDER BY campaign")
    assert stored == [("",), ("spring",)]
    async with database.engine.begin() as connection:
        await connection.execute(text("DELETE FROM dimension"))
    await writer.submit(submission(site.id, rows, [NAMED, spring]))
    assert await rows_of(database.engine, "SELECT 1 FROM dimension") == []


async def test_events_of_any_month_are_taken(
    database: Database, site: Site, writer: Writer
) -> None:
    years = [1990, 2004, 2026]
    times = [datetime(year, 12, 31, 23, 59, tzinfo=AT.tzinfo) for year in years[:2]]
    rows = [row(n, n, at=at) for n, at in enumerate([*times, AT, AT + timedelta(hours=24)])]
    assert (await writer.submit(submission(site.id, rows))).accepted == 4
    stored = await rows_of(database.engine, "SELECT DISTINCT tableoid::regclass::text FROM event")
    assert {name for (name,) in stored} == {
        "event_y1990m12",
        "event_y2004m12",
        "event_y2026m05",
    }


async def test_a_month_that_was_dropped_is_made_again(
    database: Database, site: Site, writer: Writer
) -> None:
    await writer.submit(with_ids(site.id, 1))
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP TABLE event_y2026m05"))
    assert (await writer.submit(with_ids(site.id, 2))).accepted == 1


async def test_one_submission_may_be_larger_than_a_batch(database: Database, site: Site) -> None:
    # Two seconds are enough for ten thousand rows, but not on every busy machine.
    writer = Writer(database.engine, FixedClock(AT), patience=Patience(attempt=30, total=60))
    await writer.start()
    rows = [row(n // 5, n // 5) for n in range(20_500)]
    assert (await writer.submit(submission(site.id, rows)))[:2] == (4_100, 0)
    batches = await rows_of(database.engine, "SELECT events FROM batch ORDER BY id")
    assert batches == [(10_000,), (10_000,), (500,)]
    assert (await writer.submit(submission(site.id, rows)))[:2] == (0, 4_100)
    await writer.stop()


async def test_stop_commits_what_waits(database: Database, site: Site) -> None:
    writer = Writer(database.engine, FixedClock(AT))
    with pytest.raises(RetryableError):
        await writer.submit(with_ids(site.id, 1))
    await writer.start()
    waiting = [asyncio.create_task(writer.submit(with_ids(site.id, n))) for n in range(5)]
    await asyncio.sleep(0)
    await writer.stop()
    assert [(await task).accepted for task in waiting] == [1] * 5
    assert len(await log_of(database.engine, site)) == 5
    with pytest.raises(RetryableError):
        await writer.submit(with_ids(site.id, 9))
    assert not await writer.can_write()
    left = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%appended%'"
        " AND datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(5):  # the server takes a moment to see it off
        while await rows_of(database.engine, left) != [(0,)]:  # noqa: ASYNC110 -- no event tells
            await asyncio.sleep(0.01)


async def test_what_is_submitted_meanwhile_is_flushed_together(
    database: Database, site: Site
) -> None:
    writer = Writer(database.engine, FixedClock(AT), bounds=Bounds(flush_rows=4))
    await writer.start()
    sizes = [1, 2, 1, 3, 9, 1]
    await asyncio.gather(*(writer.submit(with_ids(site.id, *([None] * size))) for size in sizes))
    batches = await rows_of(database.engine, "SELECT events FROM batch ORDER BY id")
    assert batches == [(4,), (3,), (9,), (1,)]
    await writer.stop()


async def test_too_much_is_refused_at_once(database: Database, site: Site) -> None:
    bounds = Bounds(pending_rows=3)
    writer = Writer(database.engine, FixedClock(AT), bounds=bounds)
    await writer.start()
    huge = asyncio.create_task(writer.submit(with_ids(site.id, 1, 2, 3, 4)))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as caught:
        await writer.submit(with_ids(site.id, 5))
    assert (caught.value.status, caught.value.retry_after) == (503, 1)
    assert not await writer.can_write()
    assert (await huge).accepted == 4
    assert (await writer.submit(with_ids(site.id, 5))).accepted == 1
    assert await writer.can_write()
    await writer.stop()


async def test_memory_is_bounded_in_bytes_too(database: Database, site: Site) -> None:
    writer = Writer(database.engine, FixedClock(AT), bounds=Bounds(pending_bytes=5_000))
    await writer.start()
    long = submission(site.id, [row(data=f'{{"title": "{"x" * 4_000}"}}')])
    waiting = asyncio.create_task(writer.submit(long))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await writer.submit(long)
    assert (await waiting).accepted == 1
    await writer.stop()


# --- Once: any number of writers, ids in any order --------------------------------------------

IDS = st.lists(st.lists(st.integers(1, 25), min_size=1, max_size=8), min_size=1, max_size=12)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(requests=IDS)
async def test_every_id_counts_once_whoever_sends_it(
    database: Database, make_site: MakeSite, requests: list[list[int]]
) -> None:
    failures = counted("commit_failures")
    known = await rows_of(database.engine, "SELECT count(*) FROM site")
    site = await make_site(database.engine, f"site-{known[0][0]}")
    writers = [
        Writer(database.engine, FixedClock(AT), bounds=Bounds(flush_rows=10)) for _ in range(2)
    ]
    for writer in writers:
        await writer.start()
    receipts = await asyncio.gather(
        *(writers[n % 2].submit(with_ids(site.id, *ids)) for n, ids in enumerate(requests))
    )
    for writer in writers:
        await writer.stop()
    distinct = {id_ for ids in requests for id_ in ids}
    assert sum(receipt.accepted for receipt in receipts) == len(distinct)
    assert [sum(receipt[:2]) for receipt in receipts] == [len(ids) for ids in requests]
    assert len(await log_of(database.engine, site)) == len(distinct)
    keys = await rows_of(
        database.engine, "SELECT key FROM event_key WHERE site_id = :id", id=site.id
    )
    assert {each.key for each in keys} == {key(id_) for id_ in distinct}
    batches = await rows_of(
        database.engine, "SELECT sum(events) FROM batch WHERE site_id = :id", id=site.id
    )
    assert batches == [(len(distinct),)]
    assert counted("commit_failures") == failures, "two writers waited for each other"
