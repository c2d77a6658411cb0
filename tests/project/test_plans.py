"""What Postgres does with the hot statements: it looks up what a chunk touches, and reads no more,
whether its statistics are of now, of yesterday or none at all.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.domain.access import Site
from service.project.backlog import waiting
from service.project.conversions import CONVERSIONS_AGAIN
from service.project.leads import LEADS_AGAIN
from service.project.projections import PROJECTIONS, parameters_of
from service.project.recredit import NOTHING_NEW
from service.store.contributions import FACTS, Fact, edge_contributions, facts

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
FACT_TABLES = ("visit", "message", "lead", "conversion", "statement", "identity", "answer")
TABLES = ("event", "batch", *FACT_TABLES)
LOOKUPS = (
    r"kind, key\)",
    "visitor",
    "person",
    "message",
    "lead",
    '"order"',
    "customer",
    "key",
    "batch_id",
)
"""Columns that a fact is looked up by; the site and a time are not enough."""
PEOPLE = 500

# A past of big batches, then a chunk of small ones with one late event, which widens its span.
_PAST = text("""
    INSERT INTO event SELECT :site_id, 1000 + n / 1000, timestamptz '2026-04-01+00' + n * interval
        '2 minutes', 1 + n % 4000, 0, n % 1000, (ARRAY[1, 1, 30, 20, 10, 50])[1 + n % 6], 0, '{}'
    FROM generate_series(0, 24999) AS n""")
_SMALL_BATCHES = text("""
    INSERT INTO batch (id, site_id, token, received_at, events, first_at, last_at)
    OVERRIDING SYSTEM VALUE
    SELECT n, :site_id, gen_random_uuid(), now(), 3, timestamptz '2026-04-01+00',
           timestamptz '2026-05-10+00' FROM generate_series(2000, 2499) AS n""")
_SMALL = text("""
    INSERT INTO event SELECT :site_id, 2000 + n / 3, timestamptz '2026-05-09+00' + n * interval
        '1 second', 1 + n % 4000, 0, n % 3,
        (ARRAY[1, 1, 30, 20, 10, 50])[1 + n % 6], 2,
        jsonb_build_object('order', md5(n::text), 'lead', md5(n::text), 'message', md5(n::text),
                           'key', md5(n::text), 'customer', md5(n::text))
    FROM generate_series(0, 1499) AS n""")
_FACTS = (
    """INSERT INTO visit SELECT :site_id, 1 + n % 4000, timestamptz '2026-04-01+00' + n * interval
        '2 minutes', timestamptz '2026-04-01+00', NULL, 0, 1000, 0, 1
        FROM generate_series(0, 19999) AS n""",
    """INSERT INTO conversion SELECT :site_id, 1000, n, timestamptz '2026-04-01+00' + n * interval
        '2 minutes', false, md5(n::text)::uuid, md5((n / 2)::text)::uuid, 1 + n % 4000, 'DKK', 1,
        NULL, 1, NULL, true, 0, 0 FROM generate_series(0, 19999) AS n""",
    """INSERT INTO lead SELECT :site_id, md5(n::text)::uuid, timestamptz '2026-04-01+00' + n *
        interval '2 minutes', 1000, 0, 1 + n % 4000, NULL, NULL, NULL, 0, 0, NULL
        FROM generate_series(0, 19999) AS n""",
    """INSERT INTO message (site_id, message, seen_at, seen_dim) SELECT :site_id,
        md5(n::text)::uuid, timestamptz '2026-04-01+00', 0 FROM generate_series(0, 19999) AS n""",
    """INSERT INTO statement SELECT :site_id, 50, md5(n::text)::uuid, 1000, 0,
        timestamptz '2026-04-01+00', true, 1000, 0, 0, '{}' FROM generate_series(0, 19999) AS n""",
    """INSERT INTO identity SELECT :site_id, md5(n::text)::uuid, 1 + n % 4000, 1000
        FROM generate_series(0, 19999) AS n""",
)


@pytest.fixture
async def past(
    engine: AsyncEngine, new_site: Callable[..., Awaitable[Site]]
) -> AsyncIterator[tuple[AsyncConnection, Site]]:
    """A site with a past, in a transaction that never commits: autovacuum does not look at it."""
    site = await new_site()
    async with engine.connect() as connection:
        for statement in (_PAST, _SMALL_BATCHES, *map(text, _FACTS)):
            await connection.execute(statement, {"site_id": site.id})
        yield connection, site
        await connection.rollback()


async def analyze(connection: AsyncConnection, tables: Iterable[str]) -> None:
    for table in tables:
        await connection.execute(text(f"ANALYZE {table}"))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    # Which visits are gone is joined, not looked up: they are few, or a scan is cheaper.
    if plan.get("Operation") == "Delete":
        return
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def scans(
    connection: AsyncConnection, sql: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    """The parts of a plan that read a table or an index."""
    plan = await connection.scalar(text(f"EXPLAIN (FORMAT JSON) {sql}"), parameters)
    return [node for node in nodes(plan[0]["Plan"]) if "Scan" in node["Node Type"]]


def reads_widely(scan: dict[str, Any]) -> bool:
    """Whether it reads facts without being told which."""
    what = scan.get("Index Name") or scan.get("Relation Name", "")
    if what.split("_")[0] not in FACT_TABLES or scan["Node Type"] == "Bitmap Heap Scan":
        return False
    condition = scan.get("Index Cond", "")
    return not any(tells(condition, name) for name in LOOKUPS)


def tells(condition: str, name: str) -> bool:
    """Whether a column is said, or bounded from both sides: by itself or first of a row."""
    bounds = re.findall(rf"[(.]{name}(?:, \w+\))? [<>]", condition)
    return f"({name} =" in condition or f".{name} =" in condition or len(bounds) > 1


async def some_people(connection: AsyncConnection) -> dict[str, Any]:
    """People to be looked at again, as the identities answer them."""
    people = await connection.scalars(text(f"SELECT person FROM identity LIMIT {PEOPLE}"))
    return {
        "people": list(people),
        "people_from": [NOON - timedelta(days=30)] * PEOPLE,
        "people_to": [NOON] * PEOPLE,
    }


@pytest.mark.parametrize("when", ["empty", "before", "after"])
@pytest.mark.parametrize("tables", [(), ("event",), TABLES], ids=["none", "log", "all"])
async def test_projections_look_up_what_they_touch(
    engine: AsyncEngine, past: tuple[AsyncConnection, Site], tables: tuple[str, ...], when: str
) -> None:
    """With statistics of these tables from before or after the new rows came in.

    Or of what everybody else sees: that there is nothing.
    """
    connection, site = past
    if when == "empty":
        async with engine.connect() as other:
            await other.execution_options(isolation_level="AUTOCOMMIT")
            await analyze(other, tables)
    if when == "before":
        await analyze(connection, tables)
    await connection.execute(_SMALL, {"site_id": site.id})
    if when == "after":
        await analyze(connection, tables)
    chunk = await waiting(connection, site.id)
    assert chunk is not None
    # A planner that thinks little of lookups, as one does that expects too many, has no choice.
    await connection.execute(text("SET LOCAL enable_nestloop = off"))
    parameters = parameters_of(chunk) | await some_people(connection)
    for projection in PROJECTIONS:
        found = await scans(connection, projection.statement.text, parameters)
        wide = [(s["Index Name"], s["Index Cond"]) for s in found if reads_widely(s)]
        assert wide == [], projection.name
        log = [scan for scan in found if scan.get("Relation Name", "").startswith("event_")]
        assert log
        batches = [scan for scan in found if scan.get("Relation Name") == "batch"]
        assert bool(batches) == (projection.name == "statements")
        whole = [scan for scan in (*log, *batches) if scan["Node Type"] == "Seq Scan"]
        assert whole == [], projection.name


VARIANTS = [
    FACTS,
    facts(detailed=True),
    facts(horizon=True),
    facts(product=True),
    facts(detailed=True, horizon=True, product=True),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=["edge", "details", "horizon", "product", "all"])
async def test_edges_read_their_quarter_hour_only(
    past: tuple[AsyncConnection, Site], variant: tuple[Fact, ...]
) -> None:
    connection, site = past
    await analyze(connection, TABLES)
    parameters = {"site_id": site.id, "lo": NOON, "hi": NOON.replace(minute=7), "horizon": 30}
    for fact in variant:
        found = await scans(connection, edge_contributions(fact), parameters)
        names = {fact.table, "event_y2026m05"}
        tables = [scan for scan in found if scan.get("Relation Name") in names]
        assert tables
        assert [scan for scan in tables if scan["Node Type"] == "Seq Scan"] == [], fact.name


async def test_a_slice_to_be_credited_again_is_found_by_its_time(
    past: tuple[AsyncConnection, Site],
) -> None:
    connection, site = past
    await analyze(connection, TABLES)
    span = {"slice_from": NOON - timedelta(hours=3), "slice_to": NOON}
    parameters = {"site_id": site.id, "zone": "UTC", "lookback": 60, **NOTHING_NEW, **span}
    for table, statement in (("conversion", CONVERSIONS_AGAIN), ("lead", LEADS_AGAIN)):
        found = await scans(connection, statement, parameters)
        facts_read = [scan for scan in found if scan.get("Relation Name", "") in FACT_TABLES]
        assert {scan["Relation Name"] for scan in facts_read} >= {table, "visit", "identity"}
        assert [scan for scan in facts_read if scan["Node Type"] == "Seq Scan"] == []
