"""Last non-direct attribution: which dimensions a conversion or a lead is credited to.

The rule, in this order: what names its own source, medium or campaign is credited to that; else
the visitor's latest visit of the 30 days before whose channel is not Direct; else the latest
visit of those 30 days; else the dimensions it came with.
"""

from __future__ import annotations

from service.project.rollups import NEW_EVENTS, PEOPLES_VIEWS, VISIT_GAP

LOOKBACK = "interval '720 hours'"
"""30 days; in hours, because a day's length depends on the time zone of the session."""

TOUCHED = f"""
touched AS MATERIALIZED (
    SELECT e.visitor, min(e.occurred_at) AS first_at,
           max(e.occurred_at) + {VISIT_GAP} + {LOOKBACK} AS last_at
    FROM {NEW_EVENTS} AND {PEOPLES_VIEWS}
    GROUP BY e.visitor
)"""
"""CTE: visitors whose visits have changed, and when a credit to those visits can lie.

A new page view moves no start of a visit but those after it, by at most the gap.
"""


def credited(rows: str, at: str) -> str:
    """A SELECT of `rows` (aliased `r`; with visitor, own_dim and the time `at`) and `credit`.

    One probe of the visits' primary key for each row: only that index can answer the row
    comparison, and without it a fresh table's planner takes the one on `started_at`.
    """
    return f"""
    SELECT r.*, coalesce(touch.dim_id, r.own_dim) AS credit
    FROM {rows} AS r LEFT JOIN LATERAL (
        SELECT v.dim_id
        FROM visit AS v
        LEFT JOIN dimension AS d ON d.site_id = v.site_id AND d.dim_id = v.dim_id
        WHERE v.site_id = :site_id AND v.visitor = r.visitor AND r.visitor <> 0
          AND (v.visitor, v.started_at) <= (r.visitor, r.{at})
          AND (v.visitor, v.started_at) >= (r.visitor, r.{at} - {LOOKBACK})
          AND NOT EXISTS (
              SELECT FROM dimension AS own
              WHERE own.site_id = :site_id AND own.dim_id = r.own_dim
                AND (own.source <> '' OR own.medium <> '' OR own.campaign <> ''))
        ORDER BY (coalesce(d.channel, '') NOT IN ('Direct', '')) DESC, v.started_at DESC
        LIMIT 1
    ) AS touch ON true"""
