"""Runs the engine's statements: refuses those that would read too much, and tells who listens.

Everything that the engine reads goes through `run`, so an explanation shows all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import InvalidError
from service.kit.clock import Clock

MOST_ROWS = 20_000_000
"""A statement that Postgres expects to read more rows is refused."""

FEW_FACTS = timedelta(days=1)
FEW_QUARTERS = timedelta(days=100)
FEW_DAYS = timedelta(days=1000)
"""Spans up to which facts, quarter hours and days are read without looking at how many there are:
that costs a millisecond."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One statement that was run: its text, its values, rows answered and seconds taken."""

    sql: str
    values: Mapping[str, Any]
    rows: int
    seconds: float


class Listener:
    """Whoever wants to know which statements were run; `ran` are those, in their order."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ran: list[Ran] = []


LISTENER: ContextVar[Listener | None] = ContextVar("LISTENER", default=None)
"""Who listens to what is run in this context."""


async def run(
    connection: AsyncConnection,
    statement: TextClause,
    values: Mapping[str, Any],
    *,
    guarded: bool = False,
) -> Sequence[Row[Any]]:
    """The rows of a statement.

    A `guarded` one reads facts in bulk: InvalidError (`too_many_facts`) if the planner expects it
    to read more than `MOST_ROWS` rows.
    """
    if guarded:
        await _check(connection, statement, values)
    listener = LISTENER.get()
    if listener is None:
        return (await connection.execute(statement, values)).all()
    started = listener.clock.monotonic()
    rows = (await connection.execute(statement, values)).all()
    seconds = listener.clock.monotonic() - started
    listener.ran.append(Ran(statement.text, values, len(rows), seconds))
    return rows


async def _check(
    connection: AsyncConnection, statement: TextClause, values: Mapping[str, Any]
) -> None:
    plan = await connection.scalar(text(f"EXPLAIN (FORMAT JSON) {statement.text}"), values)
    expected = sum(rows for _, rows in scans(plan[0]["Plan"], "Plan Rows"))
    if expected > MOST_ROWS:
        raise InvalidError(
            f"This would read about {expected:,} stored facts, and may read {MOST_ROWS:,};"
            " choose a shorter window, or a breakdown that the rollups hold.",
            code="too_many_facts",
            field="window",
        )


def scans(node: Mapping[str, Any], rows: str, times: float = 1) -> Iterator[tuple[str, int]]:
    """Each scan of a table in a plan (as EXPLAIN's JSON has it), and how many rows it reads.

    `rows` is "Plan Rows" for what is expected, or "Actual Rows" for what was read; rows that a
    filter left out were read as well. What is expected is said for one of `times`.
    """
    children = node.get("Plans", ())
    for number, child in enumerate(children):
        inside = node["Node Type"] == "Nested Loop" and number == 1
        yield from scans(child, rows, times * max(1, children[0][rows]) if inside else times)
    if "Relation Name" in node:
        removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
        read = node[rows] + sum(node.get(name, 0) for name in removed)
        yield node["Relation Name"], round(read * node.get("Actual Loops", times))
