"""The ordered table of projections, and the one place that applies it to batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.domain.kinds import EMAIL_KINDS, STATEMENT_KINDS, Kind
from service.project.answers import ANSWERS
from service.project.backlog import Chunk
from service.project.conversions import CONVERSIONS
from service.project.events import EVENTS
from service.project.identities import IDENTITIES
from service.project.leads import LEADS
from service.project.messages import MESSAGES
from service.project.rollups import NEW_ROWS
from service.project.statements import STATEMENTS
from service.project.visits import VISITS


@dataclass(frozen=True, slots=True)
class Projection:
    """One statement over new log rows, skipped when none of them is of its `kinds`.

    One that `follows` journeys runs also when people are to be looked at again.
    """

    name: str
    kinds: frozenset[int]
    statement: TextClause
    follows: bool = False


def _projection(name: str, kinds: Iterable[Kind], sql: str, *, follows: bool = False) -> Projection:
    return Projection(name, frozenset(int(kind) for kind in kinds), text(sql), follows)


_SALES = (Kind.PAGE_VIEW, Kind.CONVERSION, Kind.REFUND)
_LEADS = (Kind.PAGE_VIEW, Kind.LEAD, Kind.CONVERSION)


PROJECTIONS = (
    _projection("visits", (Kind.PAGE_VIEW,), VISITS),
    _projection("messages", EMAIL_KINDS, MESSAGES),
    # After the visits, because it says whose credit they can change.
    _projection("identities", Kind, IDENTITIES),
    # After the visits, which they are credited to; page views re-credit them.
    _projection("conversions", _SALES, CONVERSIONS, follows=True),
    _projection("leads", _LEADS, LEADS, follows=True),
    _projection("statements", STATEMENT_KINDS, STATEMENTS),
    _projection("answers", (Kind.SURVEY_ANSWER,), ANSWERS),
    _projection("events", Kind, EVENTS),
)


@dataclass(frozen=True, slots=True)
class Booked:
    """What was appended to the quarter tier: rows, and the span of their buckets."""

    rows: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def __add__(self, other: Booked) -> Booked:
        firsts = [at for at in (self.first, other.first) if at is not None]
        lasts = [at for at in (self.last, other.last) if at is not None]
        return Booked(self.rows + other.rows, min(firsts, default=None), max(lasts, default=None))


_KINDS = text(f"SELECT DISTINCT e.kind FROM {NEW_ROWS}")


def parameters_of(chunk: Chunk) -> dict[str, object]:
    """The parameters of every projection's statement."""
    return {
        "site_id": chunk.site_id,
        "zone": chunk.zone,
        "batches": chunk.batches,
        "first_batch": chunk.batches[0],
        "last_batch": chunk.batches[-1],
        "first_at": chunk.first_at,
        "last_at": chunk.last_at,
        "lookback": chunk.lookback_days,
        "people": [],
        "people_from": [],
        "people_to": [],
    }


async def apply(
    connection: AsyncConnection, chunk: Chunk, projections: Sequence[Projection] = PROJECTIONS
) -> Booked:
    """Project the chunk within the caller's transaction, which holds the site's lock.

    What a projection answers beside `Booked` are parameters of those after it.
    """
    parameters = parameters_of(chunk)
    kinds = set((await connection.scalars(_KINDS, parameters)).all())
    booked = Booked()
    for projection in projections:
        if kinds.isdisjoint(projection.kinds) and not (projection.follows and parameters["people"]):
            continue
        answered = (await connection.execute(projection.statement, parameters)).one()._mapping
        booked += Booked(answered["rows"], answered["first"], answered["last"])
        parameters |= answered
    return booked
