from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, combinations

import pytest
from sqlalchemy import text

from service.domain.access import Site
from service.domain.dimensions import DIMENSIONS, Detail, detail_id
from service.domain.events import LogRow, Refusal
from service.store.append import Batch, Log, Rejected, statement
from service.store.engine import connect
from service.store.partitions import ensure_partitions
from service.store.tables import detail, dimension, rejection
from tests.conftest import Database
from tests.submissions import AT, NAMED, SEEN, key, row

STEPS = ("keys", "rows", "dimensions", "details", "rejected")
SETS = [
    steps
    for steps in chain.from_iterable(combinations(STEPS, size) for size in range(1, 6))
    if "rows" in steps or "keys" not in steps
]


@pytest.mark.parametrize("steps", SETS, ids="+".join)
async def test_every_statement_can_be_prepared(database: Database, steps: tuple[str, ...]) -> None:
    connection = await connect(database.engine, {})
    await connection.prepare(statement(steps))
    await connection.close()


async def test_a_large_flush_is_not_planned_as_a_quadratic_join(database: Database) -> None:
    """Postgres expects ten rows of any array, so whatever it joins it joins in nested loops."""
    connection = await connect(database.engine, {"plan_cache_mode": "force_generic_plan"})
    await connection.execute(f"PREPARE append AS {statement(STEPS)}")
    arguments = await connection.fetchval(
        "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'append'"
    )
    nulls = ", ".join(["NULL"] * arguments)
    plan = await connection.fetch(f"EXPLAIN EXECUTE append ({nulls})")
    lines = "\n".join(line[0] for line in plan)
    assert "hashed SubPlan" in lines
    assert "Nested Loop" not in lines
    assert "Join" not in lines
    await connection.close()


def test_the_statement_names_every_column() -> None:
    sql = statement(STEPS)
    assert f"site_id, dim_id, {', '.join(DIMENSIONS)})" in " ".join(sql.split())
    assert [column.name for column in dimension.columns] == ["site_id", "dim_id", *DIMENSIONS]
    columns = [column.name for column in detail.columns]
    assert columns == ["site_id", "detail_id", *Detail._fields]
    assert f"INSERT INTO detail ({', '.join(columns)})" in sql
    columns = [column.name for column in rejection.columns if column.name != "id"]
    assert f"INSERT INTO rejection ({', '.join(columns)})" in sql
    assert LogRow._fields[1:] == (
        "kind", "occurred_at", "visitor", "dim_id", "detail_id", "flags", "key", "data",
    )  # fmt: skip
    assert Refusal._fields[1:-1] == ("code", "message", "field", "payload")


async def test_batches_are_committed_together_or_not_at_all(
    database: Database, make_site: Callable[..., Awaitable[Site]]
) -> None:
    await ensure_partitions(database.engine, AT)
    sites = [await make_site(database.engine, f"s{n}") for n in range(2)]
    log = await Log.open(database.engine, 1.0)
    batches = [Batch(site.id, rows=[row(0, 1), row(1)], dimensions={5: NAMED}) for site in sites]
    batches[1].rejected = [Rejected("events", Refusal(0, "code", "", "", "\x00"))]
    with pytest.raises(Exception, match="0x00"):
        await log.append(batches, AT, again=False)
    counts = text("SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM event_key)")
    async with database.engine.connect() as connection:
        assert (await connection.execute(counts)).one() == (0, 0)
    batches[1].rejected = []
    assert await log.append(batches, AT, again=False) == [(None,), (None,)]
    async with database.engine.connect() as connection:
        assert (await connection.execute(counts)).one() == (4, 2)
    # Sent again with their tokens they are found; with new ones all that had ids is a duplicate.
    assert await log.append(batches, AT, again=True) == [(frozenset({0, 1}),)] * 2
    only_ids = [Batch(site.id, rows=[row(0, 1)]) for site in sites]
    assert await log.append(only_ids, AT, again=False) == [(frozenset(),)] * 2
    assert await log.append(only_ids, AT, again=True) == [(frozenset(),)] * 2
    await log.close()


async def test_an_answer_says_which_rows_are_new(
    database: Database, make_site: Callable[..., Awaitable[Site]]
) -> None:
    await ensure_partitions(database.engine, AT)
    site = await make_site(database.engine)
    log = await Log.open(database.engine, 1.0)
    await log.append([Batch(site.id, rows=[row(0, 2)])], AT, again=False)
    rows = [row(0, 1), row(1, 2), row(2), row(3, 3)]
    batch = Batch(site.id, rows=rows)
    [result] = await log.append([batch], AT, again=False)
    assert result.seqs == frozenset({0, 2, 3})
    assert [result.has(seq) for seq in range(4)] == [True, False, True, True]
    assert await log.append([batch], AT, again=True) == [result]
    assert await log.probe()
    await log.close()
    assert key(3) == rows[3].key


async def test_two_processes_do_not_wait_for_each_other_in_a_circle(
    database: Database, make_site: Callable[..., Awaitable[Site]]
) -> None:
    await ensure_partitions(database.engine, AT)
    site = await make_site(database.engine)
    logs = [await Log.open(database.engine, 5.0) for _ in range(2)]
    for start in range(0, 20_000, 4_000):
        rows = [row(n, n) for n in range(start, start + 4_000)]
        batches = [Batch(site.id, rows=rows), Batch(site.id, rows=rows[::-1])]
        appending = [
            log.append([batch], AT, again=False) for log, batch in zip(logs, batches, strict=True)
        ]
        results = [result for [result] in await asyncio.gather(*appending)]
        assert sum(len(rows if each.seqs is None else each.seqs) for each in results) == 4_000
    for log in logs:
        await log.close()


async def test_a_detail_is_stored_once_with_its_props(
    database: Database, make_site: Callable[..., Awaitable[Site]]
) -> None:
    await ensure_partitions(database.engine, AT)
    site = await make_site(database.engine)
    plain = Detail("/cart", "", "desktop")
    log = await Log.open(database.engine, 1.0)
    for details in ([SEEN], [SEEN, plain]):
        rows = [row(place, detail=detail) for place, detail in enumerate(details)]
        named = {detail_id(detail): detail for detail in details}
        await log.append([Batch(site.id, rows=rows, details=named)], AT, again=False)
    await log.close()
    query = text(
        "SELECT d.page, d.country, d.device, d.props, count(*) FROM event AS e"
        " JOIN detail AS d USING (site_id, detail_id) GROUP BY 1, 2, 3, 4 ORDER BY 1"
    )
    async with database.engine.connect() as connection:
        assert (await connection.execute(query)).all() == [
            ("/cart", "", "desktop", {}, 1),
            ("/shoes", "DK", "mobile", {"plan": "pro"}, 2),
        ]


@pytest.mark.parametrize("known", [None, 1])
async def test_refusals_are_recorded_once_also_without_new_events(
    database: Database, make_site: Callable[..., Awaitable[Site]], known: int | None
) -> None:
    await ensure_partitions(database.engine, AT)
    site = await make_site(database.engine)
    log = await Log.open(database.engine, 5.0)
    rows = [row(0, known)] if known else []
    if known:
        await log.append([Batch(site.id, rows=rows)], AT, again=False)
    batch = Batch(site.id, rows=rows, rejected=[Rejected("events", Refusal(1, "code", "", "", ""))])
    for again in (False, True):
        [result] = await log.append([batch], AT, again=again)
        assert not any(result.has(seq) for seq in range(len(rows)))
    await log.close()
    query = "SELECT (SELECT count(*) FROM rejection), (SELECT count(*) FROM batch WHERE events = 0)"
    async with database.engine.connect() as connection:
        assert (await connection.execute(text(query))).one() == (1, 1)
        waiting = "SELECT count(*) FROM batch WHERE events = 0 AND projected_at IS NULL"
        assert await connection.scalar(text(waiting)) == 0
