"""How an answer came about: the formula with its numbers, every statement, the rows it read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.domain.access import Site
from service.kit.clock import Clock
from service.kpi.answer import Answer, Number, published, published_term
from service.kpi.document import readable
from service.kpi.engine import KpiEngine
from service.kpi.formula import Factor, Formula, Term, Unit, is_money
from service.kpi.query import KpiQuery
from service.kpi.run import LISTENER, Listener, Ran, scans
from service.kpi.written import written
from service.store.engine import reading

TIERS = {
    "rollup_month": "months",
    "rollup_day": "days",
    "rollup_total": "days of all dimensions together",
    "rollup_total_quarter": "quarter hours of all dimensions together",
    "rollup_quarter": "quarter hours",
    "rollup_recency": "recency of visits",
}
FACTS = "facts"
LOOKUPS = {
    "dimension": "names",
    "detail": "names",
    "fx_rate": "exchange rates",
    "batch": "what is projected",
}
"""What the tables of a plan are; all others hold facts, or the log."""


_ABOUT = ("kpi", "version", "unit", "currency", "view", "model")
_VALUE = ("value", "reason", "numerator", "denominator")


@dataclass(frozen=True, slots=True)
class Read:
    """What one statement did. `read` are the rows that its scans read, by table."""

    sql: str
    values: Mapping[str, Any]
    rows: int
    milliseconds: float
    read: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer and how it came about; `where` is the filter as it was asked for.

    `milliseconds` is the whole time of the answer, with the wait for events to be projected.
    """

    answer: Answer
    where: str | None
    reads: Sequence[Read]
    milliseconds: float

    @property
    def formula(self) -> str:
        """The formula in names, such as `spend / new_customers`."""
        return readable(self.answer.formula)

    @property
    def filled(self) -> str:
        """The formula with its numbers, and what that comes to."""
        kpi, figure = self.answer.kpi, self.answer.figure
        if figure.value is None:
            result = f"no value ({figure.reason})"
        else:
            value = published(kpi, figure.value)
            result = _number(value, money=kpi.unit is Unit.CURRENCY)
        return f"{filled(self.answer.formula, dict(self.answer.terms))} = {result}"

    @property
    def tiers(self) -> list[dict[str, Any]]:
        """Which tables were read, as what, and how many rows of each; the coarsest first."""
        by_table: Counter[str] = Counter()
        for one in self.reads:
            by_table.update(one.read)
        facts = sorted(by_table.keys() - TIERS.keys() - LOOKUPS.keys())
        named = TIERS | dict.fromkeys(facts, FACTS) | LOOKUPS
        return [
            {"tier": tier, "table": table, "rows_read": by_table[table]}
            for table, tier in named.items()
            if table in by_table
        ]

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of the contract; numbers are int, Decimal, float or None."""
        answer = self.answer
        said = answer.as_dict()
        instants = {"from_utc": _plain(answer.window.start), "to_utc": _plain(answer.window.end)}
        return {
            **{name: said[name] for name in _ABOUT},
            "window": {**said["window"], **instants},
            "where": self.where,
            "formula": self.formula,
            "filled": self.filled,
            **{name: said[name] for name in _VALUE},
            "terms": [{"name": name, "value": value} for name, value in answer.terms],
            "tiers": self.tiers,
            "statements": [_statement(one) for one in self.reads],
            "rows_read": sum(sum(one.read.values()) for one in self.reads),
            "milliseconds": self.milliseconds,
            "as_of": said["as_of"],
        }


def _statement(one: Read) -> dict[str, Any]:
    return {
        "sql": one.sql,
        "values": {name: _plain(value) for name, value in one.values.items()},
        "rows": one.rows,
        "rows_read": sum(one.read.values()),
        "milliseconds": one.milliseconds,
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | Decimal):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [_plain(item) for item in value]
    # Bytes are hashes or keys, which nobody reads.
    return "…" if isinstance(value, bytes) else str(value)


# --- The formula with its numbers -------------------------------------------------------------


def filled(formula: Formula, values: Mapping[str, Number]) -> str:
    """A formula as `readable` writes it, with the values of its terms in place of their names.

    What it derives from stands in brackets, with its own numbers.
    """

    def term(one: Term) -> str:
        name, _ = published_term(one.key, None)
        return _number(values.get(name), money=is_money(one.quantity))

    def factor(one: Factor) -> str:
        inside = filled(one.formula, values)
        return f"({inside})" if " " in inside else inside

    return written(formula, term, factor)


def _number(value: Number, *, money: bool) -> str:
    """With thousands apart, amounts with two decimals or more; `?` for what is not known."""
    if value is None:
        return "?"
    shown = f"{value:,}"
    if money:
        whole, _, decimals = f"{Decimal(value):,f}".partition(".")
        shown = f"{whole}.{decimals.rstrip('0'):0<2}"
    return f"({shown})" if value < 0 else shown


# --- What was read ----------------------------------------------------------------------------


class Explainer:
    """Answers a question and tells how."""

    def __init__(self, kpis: KpiEngine, engine: AsyncEngine, clock: Clock) -> None:
        self._kpis = kpis
        self._engine = engine
        self._clock = clock

    async def explain(self, site: Site, query: KpiQuery) -> Explanation:
        """How the answer to a query of one KPI comes about; raises as `KpiEngine.answer` does.

        Each statement is run once more, to count what it reads.
        """
        listener = Listener(self._clock)
        listening = LISTENER.set(listener)
        started = self._clock.monotonic()
        try:
            (answer,) = await self._kpis.answer(site, query)
        finally:
            LISTENER.reset(listening)
        milliseconds = _rounded(self._clock.monotonic() - started)
        async with reading(self._engine) as connection:
            reads = [await _read(connection, one) for one in listener.ran]
        return Explanation(answer, query.where, reads, milliseconds)


async def _read(connection: AsyncConnection, ran: Ran) -> Read:
    explain = text(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {ran.sql}")
    (document,) = await connection.scalar(explain, ran.values)
    read: dict[str, int] = {}
    for table, rows in scans(document["Plan"], "Actual Rows"):
        read[table] = read.get(table, 0) + rows
    named = explain.compile().params  # the engine hands over more values than a statement takes
    values = {name: value for name, value in ran.values.items() if name in named}
    return Read(ran.sql, values, ran.rows, _rounded(ran.seconds), read)


def _rounded(seconds: float) -> float:
    return round(seconds * 1000, 3)
