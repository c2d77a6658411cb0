"""What ingest hands to the log: one row per event, and what rows refer to by its id."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from service.domain.dimensions import Detail, Dimension


class LogRow(NamedTuple):
    """One row of the log, before it has a batch.

    `position` is the event's place in the request (a statement over several days makes several rows
    with one position); `key` the idempotency key, the same for all rows of one event, or None;
    `occurred_at` aware UTC; `visitor` a 64-bit hash, 0 for none; `data` JSON text with the
    kind's own fields (money in millionths, ids hashed), see `docs/reference/log.md`.
    """

    position: int
    kind: int
    occurred_at: datetime
    visitor: int
    dim_id: int
    detail_id: int
    flags: int
    key: UUID | None
    data: str


class Refusal(NamedTuple):
    """Why one event was not stored: `field` is a pointer such as `/value`, '' for the whole.

    `kind` is 0 where the event does not say a kind that exists.
    """

    position: int
    code: str
    message: str
    field: str
    payload: str
    kind: int = 0


@dataclass(slots=True)
class Submission:
    """One request's events for one site, normalised.

    `corrected` counts those whose time was corrected because the client's clock was wrong.
    """

    site_id: int
    door: str
    rows: list[LogRow] = field(default_factory=list)
    dimensions: dict[int, Dimension] = field(default_factory=dict)
    details: dict[int, Detail] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    corrected: int = 0


class Receipt(NamedTuple):
    """What became of a submission, in events: durable when this exists."""

    accepted: int
    duplicates: int
    refusals: list[Refusal]
