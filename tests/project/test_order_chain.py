"""Who is new, and the chain of a customer's orders, against a plain recount."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.kinds import Kind
from service.kit.clock import SystemClock
from service.project.backlog import waiting
from service.project.projections import PROJECTIONS, parameters_of
from service.project.rebuild import rebuild
from service.project.runner import Runner
from service.store.engine import reading
from tests.project.log import Placed, Row, append, next_batch_ids, uid

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

NewSite = Callable[..., Awaitable[Site]]


class Bought(NamedTuple):
    """An order or a refund of somebody ('' for nobody), hours from `NOON`."""

    hours: int
    customer: str
    quantity: int = 1
    said_new: bool | None = None
    refund: bool = False

    @property
    def row(self) -> Row:
        data: dict[str, Any] = {"value": 5, "currency": "DKK", "quantity": self.quantity}
        if self.refund or self.hours % 3 == 0:
            data["order"] = uid(f"order {self.hours % 4}")
        if self.customer:
            data["customer"] = uid(self.customer)
        if self.said_new is not None:
            data["new"] = self.said_new
        kind = Kind.REFUND if self.refund else Kind.CONVERSION
        return Row(kind, NOON + self.hours * HOUR, data=data)


class Link(NamedTuple):
    """What is stored of a row's place in its chain."""

    batch_id: int
    seq: int
    is_new: bool
    previous_at: datetime | None
    repeated_at: datetime | None
    follows_new: bool


# Few hours, so that many orders are of the same instant.
BOUGHT = st.builds(
    Bought,
    st.integers(0, 8),
    st.sampled_from(("ada", "ada", "bo", "")),
    st.sampled_from((1, 1, 1, 0, 2, 3)),
    st.sampled_from((None, None, None, True, False)),
    st.sampled_from((False, False, False, False, True)),
)
BATCHES = st.lists(st.lists(BOUGHT, min_size=1, max_size=5), min_size=1, max_size=8)


def links_of(log: Sequence[Placed]) -> list[Link]:
    """Everybody's orders by (time, batch, place), each looking back at all before it."""
    before: dict[str, list[tuple[datetime, int, bool]]] = defaultdict(list)
    found = []
    for placed in sorted(log, key=lambda p: (p.row.at, p.batch, p.seq)):
        data, key = placed.row.data, (placed.batch, placed.seq)
        may_be_new = data.get("new") is not False
        if placed.row.kind is Kind.REFUND:
            found.append(Link(*key, False, None, None, False))
        elif "customer" not in data:
            found.append(Link(*key, may_be_new, None, None, False))
        else:
            mine = before[data["customer"]]
            is_new = may_be_new and not mine
            # The times of single orders; one with a quantity of 2 or more is two at one time.
            singly = [at for at, quantity, _ in mine for _ in range(2 if quantity >= 2 else 1)]
            previous_at = mine[-1][0] if mine else None
            repeated_at = singly[-2] if len(singly) > 1 else None
            found.append(Link(*key, is_new, previous_at, repeated_at, bool(mine and mine[-1][2])))
            mine.append((placed.row.at, data["quantity"], is_new))
    return sorted(found)


async def stored_links(engine: AsyncEngine, site: Site) -> list[Link]:
    query = text(f"SELECT {', '.join(Link._fields)} FROM conversion WHERE site_id = :site_id")
    async with reading(engine) as connection:
        rows = await connection.execute(query, {"site_id": site.id})
        return sorted(Link(*row) for row in rows)


async def project(engine: AsyncEngine) -> None:
    runner = Runner(engine, SystemClock())
    while await runner.run_once():
        pass


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=BATCHES, data=st.data())
async def test_chains_are_a_recount(
    engine: AsyncEngine, new_site: NewSite, batches: list[list[Bought]], data: Any
) -> None:
    """Orders in any order, projected batch by batch or several at once, and again from nothing."""
    site, other = await new_site(), await new_site()
    ids = await next_batch_ids(engine, len(batches))
    log: list[Placed] = []
    for place in data.draw(st.permutations(range(len(batches)))):
        rows = [one.row for one in batches[place]]
        log += await append(engine, site.id, rows, ids[place])
        await append(engine, other.id, rows[:1])
        if data.draw(st.booleans()):
            await project(engine)
    await project(engine)
    expected = links_of(log)
    assert await stored_links(engine, site) == expected
    await rebuild(engine, site.id)
    assert await stored_links(engine, site) == expected


async def links_after(engine: AsyncEngine, site: Site, *orders: Bought) -> list[Link]:
    """What is stored when each came in a batch of its own, in this order; by time."""
    log: list[Placed] = []
    for one in orders:
        log += await append(engine, site.id, [one.row])
        await project(engine)
    found = await stored_links(engine, site)
    assert found == links_of(log)
    return found


async def test_a_late_order_changes_the_two_that_follow_it(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    """It makes the first one a second one, too."""
    late = Bought(0, "ada", quantity=2)
    made = [Bought(hours, "ada") for hours in (2, 4, 6, 8)]
    *found, latest = await links_after(engine, await new_site(), *made, late)
    at = [NOON + hours * HOUR for hours in (0, 2, 4, 6)]
    assert latest[2:] == (True, None, None, False)
    assert [one.is_new for one in found] == [False] * 4
    assert [one.previous_at for one in found] == at
    assert [one.repeated_at for one in found] == [at[0], at[0], at[1], at[2]]
    assert [one.follows_new for one in found] == [True, False, False, False]


async def test_an_order_without_a_quantity_is_one(engine: AsyncEngine, new_site: NewSite) -> None:
    made = (Bought(0, "ada", quantity=0), Bought(1, "ada", quantity=0), Bought(2, "ada"))
    found = await links_after(engine, await new_site(), *made)
    assert [one.repeated_at for one in found] == [None, None, NOON]


MANY = text("""
    INSERT INTO conversion (site_id, batch_id, seq, occurred_at, refund, customer, visitor,
        currency, value, quantity, is_new, own_dim, dim_id)
    SELECT :site_id, -1, n, timestamptz '2026-05-01+00' + n * interval '1 second', false, :customer,
        0, 'DKK', 1, 1, n = 1, 0, 0
    FROM generate_series(1, :rows) AS n""")


@pytest.mark.parametrize("known", ["nothing", "everything", "another site"])
@pytest.mark.parametrize("many", [1_000, 6_500])
async def test_what_is_read_does_not_grow_with_a_chain(
    engine: AsyncEngine, new_site: NewSite, many: int, known: str
) -> None:
    """A shop that sends "guest" for everybody; one of the new orders comes late.

    Statistics know nothing, everything, or only what was there before the site was.
    """
    site, other = await new_site(), await new_site()
    statement = next(one for one in PROJECTIONS if one.name == "conversions").statement.text
    rows = [Bought(hours, "guest").row for hours in (-200, 1, 1, 3)]
    await append(engine, site.id, rows)
    async with engine.connect() as connection:
        for one, analyzed in ((other, known == "another site"), (site, known == "everything")):
            guests = {"site_id": one.id, "customer": uid("guest"), "rows": many}
            await connection.execute(MANY, guests)
            if analyzed:
                await connection.execute(text("ANALYZE conversion"))
        chunk = await waiting(connection, site.id)
        assert chunk is not None
        explained = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        plan = await connection.scalar(explained, parameters_of(chunk))
        await connection.rollback()
    read = [
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes(plan[0]["Plan"])
        if node.get("Relation Name") == "conversion" and "Scan" in node["Node Type"]
    ]
    assert read
    assert sum(read) < 100


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", ()) for node in nodes(part))]
