"""Who has the credit, by plain counting: visits, people, touches, and each model's shares."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from service.domain.dimensions import Dimension, dimension_id
from service.domain.kinds import Flag, Kind
from service.domain.measures import MONEY, Measure
from service.domain.models import MOVED, Model, moved
from tests.project.log import Placed, Row

GAP = timedelta(minutes=30)
WEEK = timedelta(days=7)
MOST_LINKS = 20


class Visit(NamedTuple):
    started_at: datetime
    visitor: int
    dim: Dimension
    detail: int
    hits: int


class Place(NamedTuple):
    """A dimension, what it gets, the detail it gets it at, and the detail of the event itself."""

    dim: int
    value: int
    detail: int
    own: int


@dataclass(frozen=True)
class Credit:
    """What a conversion, a refund or a lead is credited to; without touches to its own place."""

    row: Row
    at: datetime
    touches: tuple[Visit, ...]
    own: tuple[Dimension, int]

    def of(self, row: Row) -> Credit:
        """The same for a refund of it, which is an event of its own."""
        return replace(self, row=row)

    def place(self, amount: int) -> Place:
        """Last non-direct touch, unless the event itself names its touch."""
        known = [v for v in self.touches if v.dim.channel not in ("Direct", "")]
        for candidates in (known, self.touches):
            if candidates:
                return self._at(candidates[-1].dim, candidates[-1].detail, amount)
        return self._at(*self.own, amount)

    def _at(self, dim: Dimension, detail: int, amount: int) -> Place:
        return Place(dimension_id(dim), amount, detail, self.row.detail)

    def moves(self, measure: Measure, amount: int) -> Iterator[tuple[int, Place]]:
        """What each model gives instead: the stored number, and more or less somewhere."""
        if not self.touches:
            return
        parts = amount if measure in MONEY else amount * MOVED
        last_non_direct = self.place(-parts)
        for model, shares in MODELS.items():
            weights = shares([self.at - v.started_at for v in self.touches])
            given = [parts * weight // sum(weights) for weight in weights]
            given[-1] = parts - sum(given[:-1])
            yield moved(measure, model), last_non_direct
            for visit, value in zip(self.touches, given, strict=True):
                yield moved(measure, model), self._at(visit.dim, visit.detail, value)


def _last(ages: list[timedelta]) -> list[int]:
    return [0] * (len(ages) - 1) + [1]


def _first(ages: list[timedelta]) -> list[int]:
    return [1] + [0] * (len(ages) - 1)


def _linear(ages: list[timedelta]) -> list[int]:
    return [1] * len(ages)


def _position_based(ages: list[timedelta]) -> list[int]:
    middle = len(ages) - 2
    return [1] * len(ages) if middle <= 0 else [2 * middle, *[1] * middle, 2 * middle]


def _time_decay(ages: list[timedelta]) -> list[int]:
    return [max(1, round(2.0 ** -(age / WEEK) * 10**12)) for age in ages]


MODELS: dict[Model, Callable[[list[timedelta]], list[int]]] = {
    Model.LAST: _last,
    Model.FIRST: _first,
    Model.LINEAR: _linear,
    Model.POSITION_BASED: _position_based,
    Model.TIME_DECAY: _time_decay,
}


def visits_of(people: Sequence[Placed]) -> list[Visit]:
    """Each visitor's visits: page views with gaps of at most 30 minutes."""
    views = defaultdict(list)
    for placed in people:
        if placed.row.kind is Kind.PAGE_VIEW and placed.row.visitor:
            views[placed.row.visitor].append(placed.row)
    found = []
    for rows in views.values():
        pieces = [[rows[0]]]
        for before, row in itertools.pairwise(rows):
            if row.at - before.at <= GAP:
                pieces[-1].append(row)
            else:
                pieces.append([row])
        found += [Visit(p[0].at, p[0].visitor, p[0].dim, p[0].detail, len(p)) for p in pieces]
    return sorted(found, key=lambda visit: (visit.started_at, visit.visitor))


def _linked(people: Iterable[Placed]) -> dict[str, set[int]]:
    """The visitors that each customer and lead is known to be, but for crowds on either side."""
    links = {
        (placed.row.data[what], placed.row.visitor)
        for placed in people
        for what in ("customer", "lead")
        if placed.row.visitor and Flag.CONSENT in placed.row.flags and what in placed.row.data
    }
    visitors: dict[str, set[int]] = defaultdict(set)
    persons: dict[int, set[str]] = defaultdict(set)
    for person, visitor in links:
        visitors[person].add(visitor)
        persons[visitor].add(person)
    return {
        person: {visitor for visitor in known if len(persons[visitor]) <= MOST_LINKS}
        for person, known in visitors.items()
        if len(known) <= MOST_LINKS
    }


class Journeys:
    """The visits of a site's people, in the order of time."""

    def __init__(self, people: Sequence[Placed], lookback_days: int) -> None:
        self.visits = visits_of(people)
        self._linked = _linked(people)
        self._lookback = timedelta(days=lookback_days)

    def own(self, row: Row) -> Credit:
        """The credit of what has no touches."""
        return Credit(row, row.at, (), (row.dim, row.detail))

    def credit(self, row: Row, visitor: int, names: Iterable[str]) -> Credit:
        """The touches of what happened to a visitor or to people of these names."""
        if row.dim.source or row.dim.medium or row.dim.campaign:
            return self.own(row)
        visitors = {visitor}.union(*(self._linked.get(name, set()) for name in names)) - {0}
        touches = tuple(
            visit
            for visit in self.visits
            if visit.visitor in visitors and row.at - self._lookback <= visit.started_at <= row.at
        )
        return replace(self.own(row), touches=touches)
