"""Who is credited, by plain counting: touches, the models' shares, and linked people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import NamedTuple

from service.domain.dimensions import Detail, Dimension
from service.domain.kinds import Flag, Kind
from service.domain.models import Model
from tests.kpi.world import Event

GAP = timedelta(minutes=30)
HALF_LIFE = timedelta(days=7)
MOST_LINKS = 20
"""A person seen as more visitors is several people (a shop's "guest"); a visitor seen as more
people is a machine that they share."""


class Place(NamedTuple):
    """What an amount is credited to."""

    dim: Dimension
    detail: Detail


class Visit(NamedTuple):
    """Page views of one visitor with gaps of at most half an hour."""

    at: datetime
    visitor: int
    dim: Dimension
    detail: Detail
    views: int

    @property
    def own(self) -> Detail:
        """A visit's own props are those of its first page view."""
        return self.detail

    @property
    def product(self) -> str:
        """None."""
        return ""


def visits_of(events: Sequence[Event]) -> list[Visit]:
    views = sorted(
        (event.visitor, event.at, number)
        for number, event in enumerate(events)
        if event.kind is Kind.PAGE_VIEW and event.visitor and not event.flags & Flag.BOT
    )
    found: list[list[tuple[int, datetime, int]]] = []
    for one in views:
        if found and found[-1][-1][0] == one[0] and one[1] - found[-1][-1][1] <= GAP:
            found[-1].append(one)
        else:
            found.append([one])
    firsts = [(visit[0], events[visit[0][2]], len(visit)) for visit in found]
    return [
        Visit(when, visitor, first.dim, first.detail, count)
        for (visitor, when, _), first, count in firsts
    ]


def links_of(events: Iterable[Event]) -> dict[str, set[int]]:
    """The visitors that each customer or lead agreed to be recognised as."""
    linked: dict[str, set[int]] = defaultdict(set)
    people: dict[int, set[str]] = defaultdict(set)
    for event in events:
        if event.visitor and event.flags & Flag.CONSENT and not event.flags & Flag.BOT:
            for name in ("customer", "lead"):
                if name in event.data:
                    linked[event.data[name]].add(event.visitor)
                    people[event.visitor].add(event.data[name])
    shared = {visitor for visitor, some in people.items() if len(some) > MOST_LINKS}
    return {who: some - shared for who, some in linked.items() if len(some) <= MOST_LINKS}


class Journeys:
    """The touches of whatever happens on a site."""

    def __init__(self, events: Sequence[Event], lookback: timedelta) -> None:
        self.visits = visits_of(events)
        self._links = links_of(events)
        self._lookback = lookback

    def credit(
        self, own: Place, at: datetime, visitor: int, people: Iterable[str | None]
    ) -> Credit:
        """What something at `at` by a visitor, or by people known by name, is credited to."""
        visitors = {visitor}.union(*(self._links.get(name or "", set()) for name in people)) - {0}
        names_itself = bool(own.dim.source or own.dim.medium or own.dim.campaign)
        touches = [
            visit
            for visit in sorted(self.visits, key=lambda visit: (visit.at, visit.visitor))
            if visit.visitor in visitors and at - self._lookback <= visit.at <= at
        ]
        return Credit(own, at, () if names_itself else tuple(touches))


@dataclass(frozen=True)
class Credit:
    """The touches of one lead or conversion, the earliest first; none: it is its own."""

    own: Place
    at: datetime
    touches: tuple[Visit, ...]

    @property
    def place(self) -> Place:
        """The last touch that is not direct, else the last one."""
        if not self.touches:
            return self.own
        known = [touch for touch in self.touches if touch.dim.channel not in ("Direct", "")]
        last = (known or self.touches)[-1]
        return Place(last.dim, last.detail)

    def places(self, model: Model) -> set[Place]:
        """Whatever a model gives a part to."""
        if model is Model.LAST_NON_DIRECT or not self.touches:
            return {self.place}
        weights = WEIGHTS[model]([self.at - touch.at for touch in self.touches])
        given = zip(self.touches, weights, strict=True)
        return {Place(touch.dim, touch.detail) for touch, weight in given if weight}

    def parts(self, model: Model, amount: int) -> list[tuple[Place, int]]:
        """A whole number shared among the touches; what cannot be shared is the last one's."""
        if model is Model.LAST_NON_DIRECT or not self.touches:
            return [(self.place, amount)]
        weights = WEIGHTS[model]([self.at - touch.at for touch in self.touches])
        shares = [amount * weight // sum(weights) for weight in weights[:-1]]
        places = [Place(touch.dim, touch.detail) for touch in self.touches]
        return list(zip(places, [*shares, amount - sum(shares)], strict=True))


Weights = Callable[[list[timedelta]], list[int]]


def _first(ages: list[timedelta]) -> list[int]:
    return [1] + [0] * (len(ages) - 1)


def _last(ages: list[timedelta]) -> list[int]:
    return [0] * (len(ages) - 1) + [1]


def _linear(ages: list[timedelta]) -> list[int]:
    return [1] * len(ages)


def _position(ages: list[timedelta]) -> list[int]:
    middle = len(ages) - 2
    return [1] * len(ages) if middle < 1 else [2 * middle, *[1] * middle, 2 * middle]


def _decay(ages: list[timedelta]) -> list[int]:
    exact = Context(prec=60)
    micro = timedelta(microseconds=1)
    halvings = [exact.divide(Decimal(age // micro), Decimal(HALF_LIFE // micro)) for age in ages]
    weights = [exact.power(Decimal(2), -count) for count in halvings]
    return [max(1, int(w.scaleb(12).quantize(Decimal(1), ROUND_HALF_UP))) for w in weights]


WEIGHTS: dict[Model, Weights] = {
    Model.FIRST: _first,
    Model.LAST: _last,
    Model.LINEAR: _linear,
    Model.POSITION_BASED: _position,
    Model.TIME_DECAY: _decay,
}
