"""Statements (ad spend, social posts, search volumes): what was said last about each key.

The newest by (receipt, batch, place) gives figures and dimensions. A correction sent without a date
must not move the figures to the day of the correction: the time is that of the newest statement
that is dated, or, while none is, that of the first one received.

Receipt decides, not the batch's id: what waited in a spool is replayed with a higher id than the
correction that was received after it.
"""

from __future__ import annotations

from service.domain.kinds import STATEMENT_KINDS, Flag
from service.project.rollups import NEW_EVENTS, ONE, booked, difference, probed, stored
from service.store.contributions import STATEMENT

_COLUMNS = "kind, key, batch_id, seq, occurred_at, dated, dated_batch, dated_seq, dim_id, data"
_KEYS = "(SELECT DISTINCT kind, key FROM said)"


def received(batch_id: str) -> str:
    """When a batch was received; one that is not there any more, before all others."""
    # Fenced as what is `found`: a batch is known by its id alone, without its site.
    return f"""coalesce((
        SELECT b.received_at FROM batch AS b CROSS JOIN {ONE}
        WHERE b.id >= {batch_id} AND b.id <= {batch_id} ORDER BY b.id LIMIT 1
    ), '-infinity')"""


def _newest(column: str) -> str:
    return f"""(array_agg({column} ORDER BY received_at DESC, batch_id DESC, seq DESC))[1]
               AS {column}"""


def _by_date(column: str) -> str:
    newest = "dated_received_at DESC, dated_batch DESC, dated_seq DESC"
    first = "dated_received_at, dated_batch, dated_seq"
    return f"""coalesce((array_agg({column} ORDER BY {newest}) FILTER (WHERE dated))[1],
                    (array_agg({column} ORDER BY {first}))[1]) AS {column}"""


_STEPS = f"""
said AS MATERIALIZED (
    SELECT e.kind, (e.data->>'key')::uuid AS key, e.batch_id, e.seq, e.occurred_at,
           (e.flags & {int(Flag.DATED)}) <> 0 AS dated, e.dim_id, e.data,
           {received("e.batch_id")} AS received_at
    FROM {NEW_EVENTS} AND e.kind IN ({", ".join(str(int(kind)) for kind in STATEMENT_KINDS)})
),
old AS MATERIALIZED (
    {probed("statement", _COLUMNS, _KEYS, "kind, key")}
),
pieces AS MATERIALIZED (
    SELECT {_COLUMNS}, {received("o.batch_id")} AS received_at,
           {received("o.dated_batch")} AS dated_received_at
    FROM old AS o
    UNION ALL
    SELECT kind, key, batch_id, seq, occurred_at, dated, batch_id, seq, dim_id, data, received_at,
           received_at
    FROM said
),
fresh AS MATERIALIZED (
    SELECT kind, key, {_newest("batch_id")}, {_newest("seq")}, {_by_date("occurred_at")},
           bool_or(dated) AS dated, {_by_date("dated_batch")}, {_by_date("dated_seq")},
           {_newest("dim_id")}, {_newest("data")}
    FROM pieces GROUP BY kind, key
),{stored(STATEMENT, _COLUMNS, "kind, key")}"""

STATEMENTS = booked(_STEPS, difference(STATEMENT))
