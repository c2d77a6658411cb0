"""A site to ask about: events put into the log, projected by the real runner."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Detail, Dimension, detail_id, dimension_id
from service.domain.kinds import Flag, Kind
from service.kit.clock import SystemClock
from service.kpi.catalogue import Catalogue, load_catalogue
from service.kpi.engine import KpiEngine
from service.kpi.query import KpiQuery
from service.project.runner import Runner
from tests.clock import FixedClock


@dataclass(frozen=True)
class Shipped:
    """A catalogue that nobody adds to."""

    catalogue: Catalogue

    async def current(self) -> Catalogue:
        """The catalogue."""
        return self.catalogue


CATALOGUE = load_catalogue()
NOW = datetime(2026, 4, 10, 12, 34, 56, 789_123, UTC)

_BATCH = text(
    "INSERT INTO batch (site_id, token, received_at, events, first_at, last_at)"
    " VALUES (:site_id, gen_random_uuid(), :now, :events, :first_at, :last_at) RETURNING id"
)
_EVENT = text(
    "INSERT INTO event (site_id, batch_id, occurred_at, visitor, dim_id, detail_id, seq, kind,"
    " flags, data) VALUES (:site_id, :batch_id, :at, :visitor, :dim_id, :detail_id, :seq, :kind,"
    " :flags, CAST(:data AS jsonb))"
)
_DIMENSION = text(
    "INSERT INTO dimension VALUES (:site_id, :dim_id, :channel, :source, :medium, :campaign,"
    " :content, :term, :survey, :event) ON CONFLICT DO NOTHING"
)
_DETAIL = text(
    "INSERT INTO detail VALUES (:site_id, :detail_id, :page, :country, :device,"
    " CAST(:props AS jsonb)) ON CONFLICT DO NOTHING"
)


def at(value: str) -> datetime:
    """An instant; without an offset it is UTC."""
    found = datetime.fromisoformat(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def uid(*parts: object) -> str:
    """The stored form of an id."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, repr(parts)))


def micros(amount: float) -> int:
    return round(amount * 1_000_000)


NOWHERE = Dimension()
NO_DETAIL = Detail()


@dataclass(frozen=True)
class Event:
    kind: Kind
    at: datetime
    dim: Dimension = NOWHERE
    data: dict[str, Any] = field(default_factory=dict)
    visitor: int = 0
    flags: int = int(Flag.DATED)
    detail: Detail = NO_DETAIL


@dataclass
class World:
    """One site; the clock stands at `NOW` unless a test moves it."""

    engine: AsyncEngine
    site: Site
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW))

    @property
    def kpis(self) -> KpiEngine:
        return KpiEngine(self.engine, Shipped(CATALOGUE), self.clock, 0.0)

    async def log(self, *events: Event) -> None:
        """Append one batch, projected by nobody yet."""
        async with self.engine.begin() as connection:
            times = [event.at for event in events]
            batch_id = await connection.scalar(
                _BATCH,
                {
                    "site_id": self.site.id,
                    "now": NOW,
                    "events": len(events),
                    "first_at": min(times),
                    "last_at": max(times),
                },
            )
            named = {"site_id": self.site.id}
            if dims := {event.dim for event in events if any(event.dim)}:
                found = [named | {"dim_id": dimension_id(d)} | d._asdict() for d in dims]
                await connection.execute(_DIMENSION, found)
            if details := {event.detail for event in events if any(event.detail)}:
                await connection.execute(_DETAIL, [named | _detail(one) for one in details])
            rows = [
                {
                    "site_id": self.site.id,
                    "batch_id": batch_id,
                    "at": event.at,
                    "visitor": event.visitor,
                    "dim_id": dimension_id(event.dim),
                    "detail_id": detail_id(event.detail),
                    "seq": seq,
                    "kind": int(event.kind),
                    "flags": event.flags,
                    "data": json.dumps(event.data),
                }
                for seq, event in enumerate(events)
            ]
            await connection.execute(_EVENT, rows)

    async def project(self) -> None:
        runner = Runner(self.engine, SystemClock())
        while await runner.run_once():
            pass

    async def happen(self, *events: Event) -> None:
        """Append and project."""
        await self.log(*events)
        await self.project()

    async def ask(self, *kpis: str, **query: Any) -> list[dict[str, Any]]:
        answers = await self.kpis.answer(self.site, KpiQuery(kpis=kpis, **query))
        return [answer.as_dict() for answer in answers]

    async def ask_one(self, kpi: str, **query: Any) -> dict[str, Any]:
        (answer,) = await self.ask(kpi, **query)
        return answer


def _detail(detail: Detail) -> dict[str, Any]:
    values = detail._asdict() | {"props": json.dumps(dict(detail.props))}
    return values | {"detail_id": detail_id(detail)}


# --- Events ----------------------------------------------------------------------------------


def spend(when: str, cost: float, campaign: str = "", currency: str = "DKK", **more: Any) -> Event:
    data = {
        "key": uid(when, campaign, currency, more.get("key")),
        "cost": micros(cost),
        "currency": currency,
        "impressions": more.get("impressions", 0),
        "clicks": more.get("clicks", 0),
    }
    dim = Dimension(channel="Paid Search", source="google", campaign=campaign)
    return Event(Kind.AD_SPEND, at(when), dim, data)


def order(when: str, value: float, order_id: str, currency: str = "DKK", **more: Any) -> Event:
    data: dict[str, Any] = {
        "order": uid("order", order_id),
        "quantity": 1,
        "value": micros(value),
        "currency": currency,
    }
    if "customer" in more:
        data["customer"] = uid("customer", more["customer"])
    if "cost" in more:
        data["cost"] = micros(more["cost"])
    if "new" in more:
        data["new"] = more["new"]
    dim = Dimension(channel=more.get("channel", "Email"), campaign=more.get("campaign", ""))
    return Event(Kind.CONVERSION, at(when), dim, data, more.get("visitor", 0))


def refund(when: str, value: float, order_id: str, currency: str = "DKK") -> Event:
    data = {"order": uid("order", order_id), "value": micros(value), "currency": currency}
    return Event(Kind.REFUND, at(when), Dimension(), data)


def view(when: str, visitor: int, channel: str = "Direct", campaign: str = "") -> Event:
    dim = Dimension(channel=channel, campaign=campaign)
    return Event(Kind.PAGE_VIEW, at(when), dim, {"page": "shop.example/"}, visitor)


def answer(when: str, survey: str, grade: int, respondent: int = 0) -> Event:
    data = {"survey": survey, "score": 5 + grade, "grade": grade, "respondent": uid(respondent)}
    return Event(Kind.SURVEY_ANSWER, at(when), Dimension(survey=survey), data)
