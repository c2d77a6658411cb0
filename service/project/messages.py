"""E-mail journeys: each message's first time of every outcome.

All parts merge by taking the smaller, so the order in which events arrive does not matter.
A click by a machine does not count; an open by a machine (a mail client that fetches every image)
counts as an open, and not as one by a person.
"""

from __future__ import annotations

from service.domain.kinds import EMAIL_KINDS, Flag, Kind
from service.project.rollups import NEW_EVENTS, booked, difference, probed, stored
from service.store.contributions import MESSAGE

_MACHINE = int(Flag.MACHINE)

_OUTCOMES = (
    ("delivered_at", Kind.EMAIL_DELIVERED, 0),
    ("bounced_at", Kind.EMAIL_BOUNCED, 0),
    ("opened_at", Kind.EMAIL_OPENED, 0),
    ("opened_human_at", Kind.EMAIL_OPENED, _MACHINE),
    ("clicked_at", Kind.EMAIL_CLICKED, _MACHINE),
    ("unsubscribed_at", Kind.EMAIL_UNSUBSCRIBED, 0),
    ("complained_at", Kind.EMAIL_COMPLAINED, 0),
)
"""Column, kind, and the flags that an event must not carry to count."""


def _first(column: str, kind: Kind, without: int) -> str:
    return (
        f"min(occurred_at) FILTER (WHERE kind = {int(kind)} AND (flags & {without}) = 0)"
        f" AS {column}"
    )


def _earlier(at: str, dim: str) -> str:
    """The dimension of the earlier (time, dimension) of `f` and `o`; either may be absent."""
    return (
        f"CASE WHEN o.{at} IS NULL OR (f.{at}, f.{dim}) < (o.{at}, o.{dim})"
        f" THEN f.{dim} ELSE o.{dim} END AS {dim}"
    )


_COLUMNS = ", ".join(
    ("message", "sent_at", "sent_dim", "seen_at", "seen_dim", *(name for name, _, _ in _OUTCOMES))
)
_SENT = f"FILTER (WHERE kind = {int(Kind.EMAIL_SENT)})"

_STEPS = f"""
said AS (
    SELECT (e.data->>'message')::uuid AS message, e.occurred_at, e.dim_id, e.kind, e.flags
    FROM {NEW_EVENTS} AND e.kind IN ({", ".join(str(int(kind)) for kind in EMAIL_KINDS)})
),
journeys AS MATERIALIZED (
    SELECT message,
           min(occurred_at) {_SENT} AS sent_at,
           (array_agg(dim_id ORDER BY occurred_at, dim_id) {_SENT})[1] AS sent_dim,
           min(occurred_at) AS seen_at,
           (array_agg(dim_id ORDER BY occurred_at, dim_id))[1] AS seen_dim,
           {", ".join(_first(*outcome) for outcome in _OUTCOMES)}
    FROM said WHERE message IS NOT NULL GROUP BY message
),
old AS MATERIALIZED (
    {probed("message", _COLUMNS, "journeys", "message")}
),
fresh AS MATERIALIZED (
    SELECT message, least(o.sent_at, f.sent_at) AS sent_at, {_earlier("sent_at", "sent_dim")},
           least(o.seen_at, f.seen_at) AS seen_at, {_earlier("seen_at", "seen_dim")},
           {", ".join(f"least(o.{name}, f.{name}) AS {name}" for name, _, _ in _OUTCOMES)}
    FROM journeys AS f LEFT JOIN old AS o USING (message)
),{stored(MESSAGE, _COLUMNS, "message")}"""

MESSAGES = booked(_STEPS, difference(MESSAGE))
