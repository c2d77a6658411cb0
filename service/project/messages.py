"""E-mail journeys: each message's first time of every outcome.

All parts merge by taking the smaller, so the order in which events arrive does not matter.
Opens by bots do not count, clicks by bots or machines do not count; an open by a machine (a mail
client that fetches every image) counts as an open, and not as one by a person.
"""

from __future__ import annotations

from service.domain.kinds import EMAIL_KINDS, Flag, Kind
from service.project.rollups import NEW_EVENTS, booked
from service.store.contributions import MESSAGE, contributions

_BOT = int(Flag.BOT)
_NO_PERSON = int(Flag.BOT | Flag.MACHINE)

_OUTCOMES = (
    ("delivered_at", Kind.EMAIL_DELIVERED, 0),
    ("bounced_at", Kind.EMAIL_BOUNCED, 0),
    ("opened_at", Kind.EMAIL_OPENED, _BOT),
    ("opened_human_at", Kind.EMAIL_OPENED, _NO_PERSON),
    ("clicked_at", Kind.EMAIL_CLICKED, _NO_PERSON),
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
    SELECT m.* FROM journeys AS j JOIN message AS m
    ON m.site_id = :site_id AND m.message = j.message
),
fresh AS MATERIALIZED (
    SELECT message, least(o.sent_at, f.sent_at) AS sent_at, {_earlier("sent_at", "sent_dim")},
           least(o.seen_at, f.seen_at) AS seen_at, {_earlier("seen_at", "seen_dim")},
           {", ".join(f"least(o.{name}, f.{name}) AS {name}" for name, _, _ in _OUTCOMES)}
    FROM journeys AS f LEFT JOIN old AS o USING (message)
),
stored AS (
    INSERT INTO message (site_id, {_COLUMNS})
    SELECT CAST(:site_id AS bigint), changed.*
    FROM (SELECT {_COLUMNS} FROM fresh EXCEPT SELECT {_COLUMNS} FROM old) AS changed
    ON CONFLICT (site_id, message) DO UPDATE
    SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")[1:])}
)"""

MESSAGES = booked(
    _STEPS, f"{contributions(MESSAGE, 'fresh')} UNION ALL {contributions(MESSAGE, 'old', -1)}"
)
