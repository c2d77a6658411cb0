"""What is read: amounts by (quantity, filter) for one bucket, one breakdown row, or the total."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from service.domain.models import Model
from service.kpi.filters import Filters
from service.kpi.formula import Distinct, TermKey, Where
from service.kpi.money import MissingRate

Exact = int | Fraction
"""Integers, unless a model splits counts or an exchange rate converts amounts."""

CellKey = int | tuple[str, ...]
"""A bucket of the series, from 1, or the values of the breakdown's dimensions ('' for none)."""


@dataclass(slots=True)
class Cell:
    """Sums of measures (money in millionths of the reporting currency) and distinct counts.

    A quantity of which nothing was found has no amount. `missing` holds the exchange rates that
    an amount lacks: it is then not the whole amount.
    """

    amounts: dict[TermKey, Exact] = field(default_factory=dict)
    missing: dict[TermKey, set[MissingRate]] = field(default_factory=dict)

    def add(self, key: TermKey, amount: Exact) -> None:
        """Add to an amount."""
        self.amounts[key] = self.amounts.get(key, 0) + amount

    def lacks(self, key: TermKey, rate: MissingRate) -> None:
        """Say that an amount is not whole."""
        self.missing.setdefault(key, set()).add(rate)


Cells = dict[CellKey, Cell]


def sum_of(cells: Iterable[Cell]) -> Cell:
    """The total of additive cells; distinct counts do not add up and are left out."""
    total = Cell()
    for cell in cells:
        for key, amount in cell.amounts.items():
            if not isinstance(key[0], Distinct):
                total.add(key, amount)
        for key, rates in cell.missing.items():
            total.missing.setdefault(key, set()).update(rates)
    return total


@dataclass(frozen=True, slots=True)
class Slice:
    """One thing to read: the buckets between `bounds`, or one window broken down `by` dimensions.

    `bounds` are ascending UTC instants, see `grains.bounds`; `zone` is the site's, whose days the
    day tier holds and whose days have exchange rates into `currency`. `model` shares the credit
    for leads and orders; with a `horizon` of so many days, outcomes of a cohort count only when
    they came within it.
    """

    site_id: int
    zone: ZoneInfo
    bounds: tuple[datetime, ...]
    by: tuple[str, ...]
    filters: Filters
    currency: str
    model: Model = Model.LAST_NON_DIRECT
    horizon: int | None = None

    @property
    def is_series(self) -> bool:
        """Whether there is more than one bucket."""
        return len(self.bounds) > 2

    @property
    def names(self) -> frozenset[str]:
        """Every dimension that the breakdown and the filters use."""
        return frozenset(self.by).union(condition.name for condition in self.filters)

    def names_with(self, wheres: Iterable[Where]) -> frozenset[str]:
        """`names`, and the dimensions of formulas' own filters."""
        return self.names.union(name for where in wheres for name, _ in where)
