"""Recency of visits: how many began on which day, by the day on which the one before them began.

A visitor counts in a window with the visit whose predecessor began before it. That adds up, so a
rollup answers for distinct visitors, where the window and its buckets begin with site-local days.
"""

from __future__ import annotations

from service.store.recency import CAMPAIGN, NEVER, VISITOR

_ZONE = "CAST(:zone AS text)"
_COLUMNS = "started_at, previous_at, campaign_previous_at, dim_id"


def campaign_key(campaign: str) -> str:
    """A campaign as a number, which no lookup needs: 64 bits of its MD5, 0 for none."""
    digest = f"('x' || left(md5({campaign}), 16))::bit(64)::bigint"
    return f"CASE WHEN coalesce({campaign}, '') = '' THEN 0 ELSE {digest} END"


def _day(at: str) -> str:
    return f"date_trunc('day', {at}, {_ZONE})"


# What cancels out as it is needs no days, and what follows the same visit in both chains no
# second one.
RECENCY = f"""
turned AS (
    SELECT {_COLUMNS}, sum(sign)::integer AS value
    FROM (SELECT {_COLUMNS}, 1 AS sign FROM changed
          UNION ALL SELECT {_COLUMNS}, -1 FROM gone) AS signed
    GROUP BY {_COLUMNS}
    HAVING sum(sign) <> 0
),
dated AS MATERIALIZED (
    SELECT day, previous, dim_id, value,
           CASE WHEN campaign_previous_at IS NULL THEN timestamptz '{NEVER}'
                WHEN campaign_previous_at = previous_at THEN previous
                ELSE {_day("campaign_previous_at")} END AS of_campaign
    FROM (SELECT {_day("started_at")} AS day, *,
                 coalesce({_day("previous_at")}, '{NEVER}') AS previous
          FROM turned OFFSET 0) AS t
),
monthly AS (
    SELECT day, of_campaign, dim_id, sum(value) AS value FROM dated GROUP BY 1, 2, 3
),
recency AS (
    INSERT INTO rollup_recency (site_id, bucket, previous, dim_id, value, scope)
    SELECT CAST(:site_id AS bigint), day, previous, 0, sum(value), {VISITOR}
    FROM dated GROUP BY day, previous HAVING sum(value) <> 0
    UNION ALL
    SELECT CAST(:site_id AS bigint), date_trunc('month', day, {_ZONE}) AS month, of_campaign,
           dim_id, sum(value), {CAMPAIGN}
    FROM monthly GROUP BY month, of_campaign, dim_id HAVING sum(value) <> 0
)"""
"""CTEs that append what the visits `changed` and `gone` add to the rollup, and take away."""
