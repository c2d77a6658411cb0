"""How Postgres runs every form of query: by index, never over a whole big table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.store.columns import AGAIN
from tests.kpi.world import CATALOGUE, NOW, World

BIG = {"event", "event_any", "rollup_quarter", "rollup_day", "rollup_recency", "rollup_month",
       "rollup_total", "rollup_total_quarter", "visit",
       "conversion", "message", "lead", "statement", "answer"}  # fmt: skip

# Another site's rows are there as well: an index that ignored the site would find them, too.
FILL = """
CREATE TEMP TABLE n AS SELECT n, n % 2 + {first} AS site_id,
    CAST('{now}' AS timestamptz) - n * interval '7 minutes' AS at FROM generate_series(1, 20000) n;
INSERT INTO rollup_quarter SELECT site_id, date_bin('15 minutes', at, 'epoch'), n % 50, 1, m,
    CASE m WHEN 41 THEN 'DKK' WHEN 50 THEN CASE n % 9 WHEN 0 THEN 'EUR' ELSE 'DKK' END ELSE '' END
    FROM n CROSS JOIN unnest('{{1,2,3,40,41,50,70}}'::smallint[]) m;
INSERT INTO rollup_day SELECT site_id, date_trunc('day', bucket, 'Europe/Copenhagen'), dim_id,
    sum(value), measure, currency FROM rollup_quarter GROUP BY 1, 2, 3, 5, 6;
INSERT INTO rollup_month SELECT site_id, date_trunc('month', bucket, 'Europe/Copenhagen'), dim_id,
    sum(value), measure, currency FROM rollup_day GROUP BY 1, 2, 3, 5, 6;
INSERT INTO rollup_total SELECT site_id, bucket, 0, sum(value), measure, currency FROM rollup_day
    GROUP BY 1, 2, 5, 6;
INSERT INTO rollup_total_quarter SELECT site_id, bucket, 0, sum(value), measure, currency
    FROM rollup_quarter GROUP BY 1, 2, 5, 6;
INSERT INTO dimension SELECT s, d, 'Email', 'own', 'mail', 'c' || d
    FROM generate_series({first}, {first} + 1) s CROSS JOIN generate_series(1, 49) d;
INSERT INTO detail SELECT s, d, '/page/' || d, 'DK', 'mobile', '{{"plan": "pro"}}'
    FROM generate_series({first}, {first} + 1) s CROSS JOIN generate_series(1, 99) d;
INSERT INTO visit SELECT site_id, n, at, at, CASE WHEN n % 3 = 0 THEN
        at - CASE WHEN n % 30 = 0 THEN interval '1 hour' ELSE interval '9 days' END END,
    n % 50, 1, 0, 1, n % 100 FROM n;
INSERT INTO rollup_recency SELECT site_id, date_trunc('day', at, 'Europe/Copenhagen'), '-infinity',
    scope * (n % 50), 1, scope FROM n CROSS JOIN unnest('{{0,1}}'::smallint[]) scope;
INSERT INTO conversion SELECT site_id, n, 0, at, n % 20 = 0, gen_random_uuid(),
    md5((n / 4)::text)::uuid, n, 'DKK', 1, NULL, 1, NULL, true, 0, n % 50, NULL,
    at - interval '2 days', 2, '[["a", 2, 1]]', n % 100, n % 100,
    CASE WHEN n % 2 = 0 THEN ARRAY[3, n % 50] END, CASE WHEN n % 2 = 0 THEN ARRAY[3, n % 100] END,
    CASE WHEN n % 2 = 0 THEN ARRAY[1, 1000] END,
    CASE WHEN n % 4 > 0 AND n % 20 <> 0 THEN at - interval '8 days' END, NULL,
    n % 4 = 1 AND n % 20 <> 0 FROM n;
INSERT INTO message SELECT site_id, gen_random_uuid(), at, 0, at, 0 FROM n;
INSERT INTO lead SELECT site_id, gen_random_uuid(), at, 1, 1, 0, NULL, NULL, NULL, 0, 0, NULL
    FROM n;
INSERT INTO statement SELECT site_id, 50, gen_random_uuid(), n, 0, at, true, n, 0, 0, '{{}}' FROM n;
INSERT INTO answer SELECT site_id, n, 0, at, md5((n / 4)::text)::uuid, n % 50, n % 100 FROM n;
INSERT INTO event SELECT site_id, n, at, n, n % 50, 0, 1, 0, '{{}}' FROM n ORDER BY at;
"""


@pytest.fixture(scope="module")
async def filled(warehouse: AsyncEngine, make_site: Any) -> World:
    site: Site = await make_site(warehouse, "big", "Europe/Copenhagen", "DKK")
    await make_site(warehouse, "big-2", "Europe/Copenhagen", "DKK")
    async with warehouse.begin() as connection:
        for statement in FILL.format(first=site.id, now=NOW.isoformat()).split(";\n"):
            if statement.strip():
                await connection.execute(text(statement))
    async with warehouse.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE"))
    return World(warehouse, site)


@pytest.fixture
def asked(warehouse: AsyncEngine) -> Iterator[list[tuple[str, Any]]]:
    """Every statement with its parameters, as the driver gets them."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _k: Any, statement: str, parameters: Any, *_more: Any) -> None:
        seen.append((statement, parameters))

    event.listen(warehouse.sync_engine, "before_cursor_execute", note)
    yield seen
    event.remove(warehouse.sync_engine, "before_cursor_execute", note)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


async def connected(world: World) -> asyncpg.Connection[Any]:
    url = world.engine.url.render_as_string(hide_password=False).replace("+asyncpg", "")
    return await asyncpg.connect(url)


async def plan_of(connection: asyncpg.Connection[Any], sql: str, values: Any) -> dict[str, Any]:
    found = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *values)
    plan: dict[str, Any] = json.loads(found)[0]["Plan"]
    return plan


EVERYTHING = tuple(kpi.id for kpi in CATALOGUE)
DIMENSIONAL = tuple(kpi.id for kpi in CATALOGUE if "campaign" in kpi.breakdowns)
CUT = {"start": "2026-03-01T10:07:00Z", "end": "2026-03-31T09:59:59.5Z"}
DAYS = {"start": "2026-03-20", "end": "2026-03-25"}
FORMS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "a sum of whole days": (("revenue",), {"window": "last_30_days"}),
    "another zone": (("roas",), {"window": "last_30_days", "tz": "Asia/Kathmandu"}),
    "cut quarter hours": (EVERYTHING, CUT),
    "a series of days": (EVERYTHING, {"window": "last_30_days", "grain": "day"}),
    "days of another zone": (
        EVERYTHING,
        {"window": "last_30_days", "grain": "day", "tz": "America/New_York"},
    ),
    "a filtered series of another zone": (
        ("organic_share", "visits"),
        {"window": "last_30_days", "grain": "day", "tz": "Asia/Kathmandu", "where": "campaign:c7"},
    ),
    "a series of hours": (EVERYTHING, {"window": "last_7_days", "grain": "hour"}),
    "a breakdown": (DIMENSIONAL, {"window": "last_30_days", "by": "campaign"}),
    "a cut breakdown": (DIMENSIONAL, {**CUT, "by": "channel"}),
    "a filter": (DIMENSIONAL, {"window": "last_30_days", "where": "campaign:c7,channel:email"}),
    "prefixes and what is not": (
        DIMENSIONAL,
        {"window": "last_30_days", "where": "campaign:c1*,!campaign:c12,!source:own"},
    ),
    "two dimensions": (DIMENSIONAL, {"window": "last_30_days", "by": "channel,campaign"}),
    "a model": (("revenue", "leads"), {**CUT, "by": "campaign", "model": "time_decay"}),
    "a detail": (("visits", "orders"), {**DAYS, "by": "landing_page"}),
    "a detail and a model": (("orders",), {**DAYS, "by": "device,campaign", "model": "linear"}),
    "a detail in a series": (("revenue",), {**DAYS, "where": "country:dk", "grain": "day"}),
    "products": (("gross_revenue",), {**DAYS, "by": "product"}),
    "a horizon": (("lead_to_customer",), {**DAYS, "view": "cohort", "horizon": 30}),
    "a filtered series": (
        ("organic_share", "visitors", "repeat_purchase_rate"),
        {"window": "last_30_days", "where": "campaign:c7", "grain": "day"},
    ),
    "respondents": (("respondents",), {"window": "last_30_days", "by": "survey", "grain": "day"}),
    "respondents by a detail": (("respondents",), {**DAYS, "by": "country"}),
    "today": (EVERYTHING, {"window": "today", "compare": "previous_period"}),
}


@pytest.mark.parametrize("form", FORMS)
async def test_no_form_reads_a_whole_table(
    filled: World, asked: list[tuple[str, Any]], form: str
) -> None:
    kpis, query = FORMS[form]
    await filled.ask(*kpis, **query)
    reads = [
        (sql, values)
        for sql, values in asked
        if any(f" {name}" in sql for name in BIG) and not sql.startswith("EXPLAIN")
    ]
    assert reads
    connection = await connected(filled)
    try:
        for sql, values in reads:
            for node in nodes(await plan_of(connection, sql, values)):
                whole = node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG
                assert not whole, (node["Relation Name"], sql)
                if node.get("Index Name", "").startswith("rollup"):
                    told_apart = "scope" if "recency" in node["Index Name"] else "measure"
                    assert "site_id = " in node["Index Cond"], sql
                    assert f"{told_apart} = " in node["Index Cond"], sql
    finally:
        await connection.close()


@pytest.mark.parametrize("tz", ["America/New_York", "Asia/Kathmandu"])
@pytest.mark.parametrize("grain", ["day", "hour"])
async def test_of_visits_only_those_are_read_that_may_be_of_the_same_day(
    filled: World, asked: list[tuple[str, Any]], tz: str, grain: str
) -> None:
    """By the index that holds nothing else; visits as such are counted by rollups of totals."""
    await filled.ask("visitors", window="last_30_days", grain=grain, tz=tz)
    (read,) = [one for one in asked if AGAIN in one[0] and not one[0].startswith("EXPLAIN")]
    connection = await connected(filled)
    try:
        scans = [node for node in nodes(await plan_of(connection, *read)) if "Index Name" in node]
    finally:
        await connection.close()
    found = {node["Index Name"]: node["Node Type"] for node in scans}
    assert found.pop("visit_again") == "Index Only Scan"
    assert found
    assert set(found) <= {"rollup_total_measure", "rollup_total_quarter_measure"}


@pytest.mark.parametrize("series", [{}, {"grain": "day"}, {"grain": "day", "tz": "Asia/Kathmandu"}])
async def test_customers_of_all_dimensions_are_counted_along_an_index(
    filled: World, asked: list[tuple[str, Any]], series: dict[str, str]
) -> None:
    """Nothing is grouped, sorted or looked up in the table."""
    kpis = ("returning_customer_rate", "new_customer_rate", "repeat_purchase_rate",
            "orders_per_customer", "customer_retention")  # fmt: skip
    await filled.ask(*kpis, window="last_30_days", **series)
    reads = [one for one in asked if "FROM conversion" in one[0] and "EXPLAIN" not in one[0]]
    assert len(reads) == (4 if series else 2)
    connection = await connected(filled)
    try:
        found = [node for one in reads for node in nodes(await plan_of(connection, *one))]
    finally:
        await connection.close()
    scans = {node["Index Name"]: node["Node Type"] for node in found if "Index Name" in node}
    of_index = "Index Only Scan"
    assert scans == {"conversion_chain": of_index, "conversion_retained": of_index}
    joined = {"Nested Loop", "Function Scan", "Subquery Scan"} if series else {"Subquery Scan"}
    assert {node["Node Type"] for node in found} <= {of_index, "Aggregate", *joined}
    assert {node["Strategy"] for node in found if "Strategy" in node} == {"Plain"}


async def test_a_question_takes_few_statements(filled: World, asked: list[tuple[str, Any]]) -> None:
    """One to wait, one for everything that adds up, and one for each kind of people."""
    for kpis, count in {
        ("visits", "orders", "gross_revenue"): 2,
        # What has the day as the unit of its uncertainty is read by day, the rest at once.
        ("visits", "orders", "conversion_rate"): 2,
        ("visits", "orders", "conversion_rate", "gross_revenue"): 3,
        ("visits", "visitors", "repeat_purchase_rate"): 4,
        # Refunds were never seen here: one more to tell whether the site has any orders at all.
        ("visits", "refunds"): 3,
    }.items():
        asked.clear()
        await filled.ask(*kpis, window="last_30_days", currency="DKK")
        # What may read many facts is looked at first.
        assert sum(not sql.startswith("EXPLAIN") for sql, _ in asked) == count, kpis


async def test_only_other_currencies_need_rates(
    filled: World, asked: list[tuple[str, Any]]
) -> None:
    """The same window again by day, and the rates of those days."""
    await filled.ask("spend", window="last_30_days")
    assert len(asked) == 4
    assert "fx_rate" in asked[-1][0]
