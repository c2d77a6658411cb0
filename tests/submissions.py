"""Submissions as `normalise` makes them, without a request around them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from service.domain.dimensions import Detail, Dimension, detail_id, dimension_id
from service.domain.events import LogRow, Refusal, Submission

AT = datetime(2026, 5, 20, 12, 30, tzinfo=UTC)
NAMED = Dimension("Direct", "(direct)")
SEEN = Detail("/shoes", "DK", "mobile", (("plan", "pro"),))


def key(number: int) -> UUID:
    return UUID(int=number)


def row(
    position: int = 0,
    id_: int | None = None,
    *,
    at: datetime = AT,
    data: str = '{"page": "shop.example/"}',
    kind: int = 1,
    visitor: int = 7,
    dimension: Dimension = NAMED,
    detail: Detail = SEEN,
) -> LogRow:
    key_ = None if id_ is None else key(id_)
    ids = dimension_id(dimension), detail_id(detail)
    return LogRow(position, kind, at, visitor, *ids, 0, key_, data)


def submission(
    site_id: int,
    rows: Sequence[LogRow],
    dimensions: Sequence[Dimension] = (NAMED,),
    refusals: Sequence[Refusal] = (),
    details: Sequence[Detail] = (SEEN,),
) -> Submission:
    named = {dimension_id(dimension): dimension for dimension in dimensions}
    seen = {detail_id(detail): detail for detail in details}
    return Submission(site_id, "events", list(rows), named, seen, list(refusals))


def with_ids(site_id: int, *ids: int | None) -> Submission:
    """One event an id; None for an event without one."""
    return submission(site_id, [row(position, id_) for position, id_ in enumerate(ids)])
