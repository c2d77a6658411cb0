"""What every projection's statement shares: its new log rows, and how it books differences.

Parameters of every statement: `site_id`, `batches` (ids to project), `first_at` and `last_at` (the
span of their events, so that only those partitions of the log are read), `zone` (IANA, the site's).
"""

from __future__ import annotations

from service.domain.kinds import Flag, Kind

NEW_EVENTS = """event AS e
    WHERE e.site_id = :site_id AND e.batch_id = ANY(CAST(:batches AS bigint[]))
      AND e.occurred_at >= :first_at AND e.occurred_at <= :last_at"""
"""FROM and WHERE of the log rows to project; a projection adds `AND …`."""

PEOPLES_VIEWS = (
    f"e.kind = {int(Kind.PAGE_VIEW)} AND e.visitor <> 0 AND (e.flags & {int(Flag.BOT)}) = 0"
)
"""Log rows that make visits."""

VISIT_GAP = "interval '30 minutes'"
"""Page views further apart than this belong to different visits; exactly this far, to one."""


def booked(steps: str, delta: str) -> str:
    """One statement: the CTEs `steps`, and `delta` (contributions) appended to both rollups.

    All CTEs see the facts as they were before the statement. What cancels out is not written, so
    `delta` may take away every old fact of a neighbourhood and add every new one. The statement
    answers one row: `rows` appended to the quarter tier, the `first` and the `last` bucket.
    A day starts at a quarter hour in every time zone, so days are summed from quarter hours.
    """
    return f"""WITH {steps},
delta AS MATERIALIZED (
    SELECT date_bin('15 minutes', c.at, 'epoch') AS bucket, c.measure, c.currency, c.dim_id,
           sum(c.value)::bigint AS value
    FROM ({delta}) AS c
    GROUP BY 1, 2, 3, 4
    HAVING sum(c.value) <> 0
),
quarter AS (
    INSERT INTO rollup_quarter (site_id, bucket, dim_id, value, measure, currency)
    SELECT CAST(:site_id AS bigint), bucket, dim_id, value, measure, currency FROM delta
),
day AS (
    INSERT INTO rollup_day (site_id, bucket, dim_id, value, measure, currency)
    SELECT CAST(:site_id AS bigint), date_trunc('day', bucket, CAST(:zone AS text)),
           dim_id, sum(value)::bigint, measure, currency
    FROM delta
    GROUP BY 1, 2, 3, 5, 6
    HAVING sum(value) <> 0
)
SELECT count(*) AS rows, min(bucket) AS first, max(bucket) AS last FROM delta"""
