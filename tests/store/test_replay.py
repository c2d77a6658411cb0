"""The replay's statement: each batch once, whatever it is sent together with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from itertools import chain, combinations
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import detail_id, dimension_id
from service.domain.events import Refusal
from service.store.append import Batch, Log, Rejected
from service.store.engine import connect
from service.store.partitions import ensure_partitions
from service.store.replay import SESSION, Kept, ReplayLog, statement
from tests.conftest import Database
from tests.submissions import AT, NAMED, SEEN, row

MakeSite = Callable[..., Awaitable[Site]]
STEPS = ("keys", "rows", "dimensions", "details", "rejected")
SETS = [
    steps
    for steps in chain.from_iterable(combinations(STEPS, size) for size in range(6))
    if "rows" in steps or "keys" not in steps
]
LATER = AT + timedelta(minutes=5)
REFUSAL = Rejected("events", Refusal(3, "code", "message", "/x", "{}"))


@pytest.fixture
async def site(database: Database, make_site: MakeSite) -> Site:
    await ensure_partitions(database.engine, AT)
    return await make_site(database.engine)


@pytest.fixture
async def log(database: Database) -> AsyncIterator[ReplayLog]:
    log = await ReplayLog.open(database.engine, 5.0, SESSION)
    yield log
    await log.close()


async def rows_of(engine: AsyncEngine, query: str) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(query))).all())


def a_batch(site: Site, *ids: int | None, rejected: int = 0) -> Batch:
    return Batch(
        site.id,
        rows=[row(position, id_) for position, id_ in enumerate(ids)],
        dimensions={dimension_id(NAMED): NAMED},
        details={detail_id(SEEN): SEEN},
        rejected=[REFUSAL] * rejected,
    )


async def test_every_statement_can_be_prepared(database: Database) -> None:
    connection = await connect(database.engine, SESSION)
    for steps in SETS:
        await connection.prepare(statement(steps))
    await connection.close()


async def test_a_large_replay_is_not_planned_as_quadratic_joins(database: Database) -> None:
    connection = await connect(
        database.engine, {**SESSION, "plan_cache_mode": "force_generic_plan"}
    )
    await connection.execute(f"PREPARE replay AS {statement(STEPS)}")
    arguments = await connection.fetchval(
        "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'replay'"
    )
    nulls = ", ".join(["NULL"] * arguments)
    plan = await connection.fetch(f"EXPLAIN EXECUTE replay ({nulls})")
    lines = "\n".join(line[0] for line in plan)
    assert "hashed SubPlan" in lines
    assert "Nested Loop" not in lines
    await connection.close()


async def test_many_batches_are_what_each_would_be_by_itself(
    database: Database, site: Site, log: ReplayLog
) -> None:
    first, second = a_batch(site, 1, None, 2), a_batch(site, 2, None, 3, rejected=1)
    known, empty = a_batch(site, 1, 3), a_batch(site, rejected=2)
    kept = [Kept(AT, first), Kept(LATER, second), Kept(LATER, known), Kept(LATER, empty)]
    results = await log.replay(kept)
    assert [sorted(result.seqs or ()) for result in results] == [[0, 1, 2], [1, 2], [], []]
    batches = await rows_of(
        database.engine, "SELECT token, events, received_at, projected_at FROM batch ORDER BY id"
    )
    assert batches == [
        (first.token, 3, AT, None),
        (second.token, 2, LATER, None),
        # Nothing to project, but the next one who comes with them knows.
        (known.token, 0, LATER, LATER),
        (empty.token, 0, LATER, LATER),
    ]
    places = "SELECT b.token, e.seq FROM event AS e JOIN batch AS b ON b.id = e.batch_id ORDER BY 2"
    assert sorted(await rows_of(database.engine, places)) == sorted(
        [(first.token, seq) for seq in (0, 1, 2)] + [(second.token, seq) for seq in (1, 2)]
    )
    named = "SELECT (SELECT count(*) FROM dimension), (SELECT count(*) FROM detail)"
    assert await rows_of(database.engine, named) == [(1, 1)]
    stored = "SELECT received_at, door, code, message, field, payload FROM rejection"
    assert (
        await rows_of(database.engine, stored)
        == [(LATER, "events", "code", "message", "/x", "{}")] * 3
    )
    span = "SELECT first_at, last_at FROM batch WHERE events > 0"
    assert await rows_of(database.engine, span) == [(AT, AT)] * 2


async def test_sites_do_not_mix(
    database: Database, make_site: MakeSite, site: Site, log: ReplayLog
) -> None:
    other = await make_site(database.engine, "other")
    kept = [Kept(AT, a_batch(each, 1, None)) for each in (other, site, other)]
    results = await log.replay(kept)
    assert [len(result.seqs or ()) for result in results] == [2, 2, 1]
    counts = "SELECT site_id, count(*) FROM event GROUP BY 1 ORDER BY 1"
    assert await rows_of(database.engine, counts) == [(site.id, 2), (other.id, 3)]


async def test_what_is_there_is_known_and_left_alone(
    database: Database, site: Site, log: ReplayLog
) -> None:
    direct = await Log.open(database.engine, 1.0)
    there, new = a_batch(site, 1, None), a_batch(site, 1, None, rejected=1)
    await direct.append([there], AT, again=False)
    await direct.close()
    assert await log.known([there, new]) == {there.token: False}
    assert (await log.outcome(there)).seqs == frozenset({0, 1})
    # As when it was committed between the question and the statement.
    results = await log.replay([Kept(AT, there), Kept(AT, new)])
    assert [result.seqs for result in results] == [frozenset({0, 1}), frozenset({1})]
    assert await log.known([there, new]) == {there.token: False, new.token: False}
    results = await log.replay([Kept(AT, new)])
    assert [result.seqs for result in results] == [frozenset({1})]
    counts = "SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM rejection)"
    assert await rows_of(database.engine, counts) == [(3, 1)]


async def test_a_batch_is_divided_only_if_it_is_not_there(
    database: Database, site: Site, log: ReplayLog
) -> None:
    stored, new = Kept(AT, a_batch(site, 1)), Kept(AT, a_batch(site, 2))
    await log.replay([stored])
    assert not await log.divide(stored)
    assert await log.divide(new)
    assert not await log.divide(new)
    assert await log.known([stored.batch, new.batch]) == {
        stored.batch.token: False,
        new.batch.token: True,
    }
    # Its token is taken: it never goes in as a whole any more.
    assert [result.seqs for result in await log.replay([new])] == [frozenset()]
    assert await rows_of(database.engine, "SELECT count(*) FROM event") == [(1,)]


async def test_nothing_is_committed_when_one_batch_is_refused(
    database: Database, site: Site, log: ReplayLog
) -> None:
    bad = a_batch(site, 2)
    bad.rows[0] = bad.rows[0]._replace(data='{"title": "\\u0000"}')
    with pytest.raises(Exception, match="u0000"):
        await log.replay([Kept(AT, a_batch(site, 1)), Kept(AT, bad)])
    assert await rows_of(database.engine, "SELECT count(*) FROM batch") == [(0,)]
