"""Columns and indexes that several tables have in common."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY

Moment = DateTime(timezone=True)


def site_id() -> Column[int]:
    """Whose row it is; a lone integer key would be made a serial by SQLAlchemy."""
    return Column("site_id", BigInteger, nullable=False, autoincrement=False)


def text_of(name: str) -> Column[str]:
    """A text, '' where there is none."""
    return Column(name, Text, nullable=False, server_default=text("''"))


def small(name: str, default: int) -> Column[int]:
    """A small number that a site decides."""
    return Column(name, SmallInteger, nullable=False, server_default=text(str(default)))


def detail_id(name: str = "detail_id") -> Column[int]:
    """A row of `detail`, 0 for the empty one."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def touches() -> tuple[Column[list[int]], ...]:
    """The touches of a fact in the order of time; NULL where attribution models agree."""
    names = ("touch_dims", "touch_details", "touch_weights")
    return tuple(Column(name, ARRAY(BigInteger)) for name in names)


CHAIN = ("previous_at", "repeated_at", "follows_new")


def chain() -> tuple[Column[Any], ...]:
    """How an order follows those that its customer made before, by (time, batch, place).

    `previous_at`: when the one before was made. `repeated_at`: the latest start of a span up to
    that one which holds two orders. `follows_new`: the one before made the customer.
    """
    *times, follows_new = CHAIN
    moments = (Column(name, Moment) for name in times)
    return *moments, Column(follows_new, Boolean, nullable=False, server_default=text("false"))


AGAIN = "(started_at - previous_at) <= '25:00:00'::interval"
"""Holds for a visit that may lie in the same local day as the one before it: none is longer."""

MAY_BE_STATED = ("impressions", "clicks", "reach", "viewable", "measurable", "invalid_clicks")
"""Figures of statements, of which a single one says that a site states them at all."""


def stating(member: str) -> Index:
    """Finds the first statement with such a figure, or that there is none."""
    where = text(f"(data ->> '{member}'::text) IS NOT NULL")
    return Index(f"statement_{member}", "site_id", "kind", "key", postgresql_where=where)
