"""Statements (ad spend, social posts, search volumes): what was said last about each key.

The newest by (batch, place) gives figures and dimensions. A correction sent without a date must
not move the figures to the day of the correction: the time is that of the newest statement that
is dated, or, while none is, that of the first one received.
"""

from __future__ import annotations

from service.domain.kinds import STATEMENT_KINDS, Flag
from service.project.rollups import NEW_EVENTS, booked, difference, probed, stored
from service.store.contributions import STATEMENT

_COLUMNS = "kind, key, batch_id, seq, occurred_at, dated, dated_batch, dated_seq, dim_id, data"
_KEYS = "(SELECT DISTINCT kind, key FROM said)"

# The sign turns "newest dated, else first received" into one order.
_BY_DATE = """dated DESC, CASE WHEN dated THEN -dated_batch ELSE dated_batch END,
                  CASE WHEN dated THEN -dated_seq ELSE dated_seq END"""


def _newest(column: str) -> str:
    return f"(array_agg({column} ORDER BY batch_id DESC, seq DESC))[1] AS {column}"


def _by_date(column: str) -> str:
    return f"(array_agg({column} ORDER BY {_BY_DATE}))[1] AS {column}"


_STEPS = f"""
said AS MATERIALIZED (
    SELECT e.kind, (e.data->>'key')::uuid AS key, e.batch_id, e.seq, e.occurred_at,
           (e.flags & {int(Flag.DATED)}) <> 0 AS dated, e.dim_id, e.data
    FROM {NEW_EVENTS} AND e.kind IN ({", ".join(str(int(kind)) for kind in STATEMENT_KINDS)})
),
old AS MATERIALIZED (
    {probed("statement", _COLUMNS, _KEYS, "kind, key")}
),
pieces AS (
    SELECT {_COLUMNS} FROM old
    UNION ALL
    SELECT kind, key, batch_id, seq, occurred_at, dated, batch_id, seq, dim_id, data FROM said
),
fresh AS MATERIALIZED (
    SELECT kind, key, max(batch_id) AS batch_id, {_newest("seq")}, {_by_date("occurred_at")},
           bool_or(dated) AS dated, {_by_date("dated_batch")}, {_by_date("dated_seq")},
           {_newest("dim_id")}, {_newest("data")}
    FROM pieces GROUP BY kind, key
),{stored(STATEMENT, _COLUMNS, "kind, key")}"""

STATEMENTS = booked(_STEPS, difference(STATEMENT))
