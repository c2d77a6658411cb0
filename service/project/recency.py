"""Recency of visits: how many began on which day, by the day on which the one before them began.

A visitor counts in a window with the visit whose predecessor began before it. That adds up, so a
rollup answers for distinct visitors, where the window and its buckets begin with site-local days.
"""

from __future__ import annotations

from service.store.recency import CAMPAIGN, NEVER, VISITOR

_ZONE = "CAST(:zone AS text)"


def _rows(scope: int, unit: str, previous: str, dim: str) -> str:
    before = f"coalesce(date_trunc('day', {previous}, {_ZONE}), '{NEVER}')"
    return (
        f"SELECT date_trunc('{unit}', started_at, {_ZONE}) AS bucket, {before} AS previous,"
        f" {dim} AS dim_id, value, {scope}::smallint AS scope FROM turned"
    )


# What cancels out as it is needs no days.
RECENCY = f"""
turned AS MATERIALIZED (
    SELECT started_at, previous_at, campaign_previous_at, dim_id, sum(sign) AS value
    FROM (SELECT started_at, previous_at, campaign_previous_at, dim_id, 1 AS sign FROM changed
          UNION ALL
          SELECT started_at, previous_at, campaign_previous_at, dim_id, -1 FROM gone) AS signed
    GROUP BY 1, 2, 3, 4
    HAVING sum(sign) <> 0
),
recency AS (
    INSERT INTO rollup_recency (site_id, bucket, previous, dim_id, value, scope)
    SELECT CAST(:site_id AS bigint), bucket, previous, dim_id, sum(value), scope
    FROM ({_rows(VISITOR, "day", "previous_at", "0::bigint")}
          UNION ALL
          {_rows(CAMPAIGN, "month", "campaign_previous_at", "dim_id")}) AS r
    GROUP BY bucket, previous, dim_id, scope
    HAVING sum(value) <> 0
)"""
"""CTEs that append what the visits `changed` and `gone` add to the rollup, and take away."""
